// SPDX-License-Identifier: (GPL-2.0 OR BSD-2-Clause)
/*
 * syscalls: how often the target makes each system call, how long these take, and how
 * often they fail with which error. All is counted in the kernel; no call makes an event.
 */
#include "gadget.h"
#include "syscall.h"

#define BUCKETS 40 /* of powers of two, in ns: the last is 9 minutes and more */
#define MAX_ERRNO 4095

struct syscall_stats {
	__u64 count;
	__u64 total; /* ns */
	__u64 buckets[BUCKETS];
};
const struct syscall_stats *unused_syscall_stats __attribute__((unused));

struct syscall_error {
	__u16 nr;
	__u16 error; /* errno */
};
const struct syscall_error *unused_syscall_error __attribute__((unused));

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2 * MAX_NR);
	__type(key, __u32);
	__type(value, struct syscall_stats);
} stats SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct syscall_error);
	__type(value, __u64);
} errors SEC(".maps");

/* A thread keeps its entry from call to call: that is cheaper than to delete it and to add
 * it again. */
struct call {
	__u64 time; /* ns, monotonic; 0: no call */
	__u32 nr;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, __u64); /* kernel PID and TID */
	__type(value, struct call);
} calls SEC(".maps");

SEC("raw_tp/sys_enter")
int syscalls_enter(struct raw_args *ctx)
{
	__u64 id = bpf_get_current_pid_tgid();
	struct call *known = bpf_map_lookup_elem(&calls, &id);
	struct call fresh = {};
	__u64 nr = ctx->args[1];

	if (nr >= MAX_NR)
		return 0;
	if (is_compat())
		nr |= COMPAT;
	if (known) {
		known->nr = nr;
		known->time = bpf_ktime_get_ns();
		return 0;
	}
	if (!is_target())
		return 0;
	fresh.nr = nr;
	fresh.time = bpf_ktime_get_ns();
	if (bpf_map_update_elem(&calls, &id, &fresh, BPF_ANY))
		count(MISSED);
	return 0;
}

static __always_inline __u32 log2_of(__u64 v)
{
	__u32 r = 0;

	if (v >> 32) {
		v >>= 32;
		r += 32;
	}
	if (v >> 16) {
		v >>= 16;
		r += 16;
	}
	if (v >> 8) {
		v >>= 8;
		r += 8;
	}
	if (v >> 4) {
		v >>= 4;
		r += 4;
	}
	if (v >> 2) {
		v >>= 2;
		r += 2;
	}
	return v >> 1 ? r + 1 : r;
}

SEC("raw_tp/sys_exit")
int syscalls_exit(struct raw_args *ctx)
{
	__u64 id = bpf_get_current_pid_tgid(), now, took;
	struct call *call = bpf_map_lookup_elem(&calls, &id);
	struct syscall_stats *s;
	__s64 ret = ctx->args[1];
	__u32 nr, bucket;

	if (!call || !call->time)
		return 0;
	now = bpf_ktime_get_ns();
	took = now - call->time;
	call->time = 0;
	nr = call->nr;
	s = bpf_map_lookup_elem(&stats, &nr);
	if (!s)
		return 0;
	count(SEEN);
	s->count++;
	s->total += took;
	bucket = log2_of(took);
	if (bucket >= BUCKETS)
		bucket = BUCKETS - 1;
	s->buckets[bucket]++;
	if (ret < 0 && ret >= -MAX_ERRNO) {
		struct syscall_error key = { .nr = nr, .error = -ret };
		__u64 *n = bpf_map_lookup_elem(&errors, &key), one = 1;

		if (n)
			(*n)++;
		else if (bpf_map_update_elem(&errors, &key, &one, BPF_ANY))
			count(MISSED);
	}
	return 0;
}

/* A thread that starts a program gets the number of its process. */
SEC("raw_tp/sched_process_exec")
int syscalls_exec(struct raw_args *ctx)
{
	__u64 id = bpf_get_current_pid_tgid(), before = id >> 32 << 32 | (__u32)ctx->args[1];
	struct call *found, call;

	if (before == id)
		return 0;
	found = bpf_map_lookup_elem(&calls, &before);
	if (!found)
		return 0;
	call = *found;
	bpf_map_delete_elem(&calls, &before);
	if (bpf_map_update_elem(&calls, &id, &call, BPF_ANY))
		count(MISSED);
	return 0;
}

SEC("raw_tp/sched_process_exit")
int syscalls_thread_exit(struct raw_args *ctx)
{
	__u64 id = bpf_get_current_pid_tgid();

	bpf_map_delete_elem(&calls, &id);
	return 0;
}
