// SPDX-License-Identifier: (GPL-2.0 OR BSD-2-Clause)
/*
 * slow: system calls of the target that take longer than a threshold, with their arguments.
 * A path among them is read at the exit, because then the kernel has paged it in.
 */
#include "gadget.h"
#include "syscall.h"

#define PATH_LEN 128
#define ARGS 6

/* Set before loading, in ns. */
volatile const __u64 threshold = 10000000;

/* Which argument of a call is a path: 1 or 2 for the first or second, 0 for none. */
volatile const __u8 path_argument[2 * MAX_NR] = {};

struct slow_event {
	__u64 time; /* ns, monotonic, at the exit */
	__u64 took; /* ns */
	__u64 args[ARGS];
	__s64 ret;
	__u32 pid;
	__u32 tid;
	__u32 nr; /* with COMPAT for the 32-bit table */
	__u32 pad;
	char comm[COMM_LEN];
	char path[PATH_LEN];
};
const struct slow_event *unused_slow_event __attribute__((unused));

/* What a record has if its call has no path: all fields before it. */
#define WITHOUT_PATH __builtin_offsetof(struct slow_event, path)

struct call {
	__u64 began; /* ns, monotonic; 0: no call */
	__u32 pid;   /* in the sandbox */
	__u32 tid;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, __u64); /* kernel PID and TID */
	__type(value, struct call);
} calls SEC(".maps");

/* Every call of the target runs this, so it does little: the exit has the arguments too. (Not
 * those of a successful execve, whose path was in the old program's memory.) */
SEC("raw_tp/sys_enter")
int slow_enter(struct raw_args *ctx)
{
	__u64 id = bpf_get_current_pid_tgid();
	struct call *call = bpf_map_lookup_elem(&calls, &id), fresh = {};

	if (!call) {
		if (!is_target())
			return 0;
		current_pid(&fresh.pid, &fresh.tid);
		if (bpf_map_update_elem(&calls, &id, &fresh, BPF_ANY)) {
			count(MISSED);
			return 0;
		}
		call = bpf_map_lookup_elem(&calls, &id);
		if (!call)
			return 0;
	}
	call->began = bpf_ktime_get_ns();
	return 0;
}

/* A call that has ended. */
struct ended {
	__u64 began, now;
	__s64 ret;
	__u32 pid, tid, nr;
	struct registers regs;
};

static __always_inline void describe(struct slow_event *e, const struct ended *call)
{
	e->time = call->now;
	e->took = call->now - call->began;
	e->ret = call->ret;
	e->nr = call->nr;
	e->pid = call->pid;
	e->tid = call->tid;
	e->pad = 0;
	if (call->nr & COMPAT) {
#pragma unroll
		for (int i = 0; i < ARGS; i++)
			e->args[i] = argument(&call->regs, i, true);
	} else {
#pragma unroll
		for (int i = 0; i < ARGS; i++)
			e->args[i] = argument(&call->regs, i, false);
	}
	bpf_get_current_comm(e->comm, sizeof(e->comm));
}

SEC("raw_tp/sys_exit")
int slow_exit(struct raw_args *ctx)
{
	struct ended ended = { .ret = ctx->args[1] };
	__u64 id = bpf_get_current_pid_tgid(), nr, path_at;
	struct call *call = bpf_map_lookup_elem(&calls, &id);
	struct slow_event *e;
	__u32 path;

	if (!call || !call->began)
		return 0;
	ended.now = bpf_ktime_get_ns();
	ended.began = call->began;
	ended.pid = call->pid;
	ended.tid = call->tid;
	call->began = 0;
	if (ended.now - ended.began < threshold)
		return 0;
	read_registers(&ended.regs, (struct pt_regs *)ctx->args[0]);
	nr = call_number((struct pt_regs *)ctx->args[0]);
	if (nr >= MAX_NR)
		return 0;
	if (is_compat())
		nr |= COMPAT;
	/* The compiler knows that this changes nothing and would leave it out; 5.10 and 6.1 kernels do
	 * not know. */
	asm volatile("" : "+r"(nr));
	nr &= 2 * MAX_NR - 1;
	ended.nr = nr;
	path = path_argument[nr];
	if (path == 0) {
		e = reserve(WITHOUT_PATH);
		if (!e)
			return 0;
		describe(e, &ended);
		submit(e, WITHOUT_PATH);
		return 0;
	}
	e = reserve(sizeof(*e));
	if (!e)
		return 0;
	describe(e, &ended);
	path_at = path == 1 ? e->args[0] : e->args[1];
	if (bpf_probe_read_user_str(e->path, sizeof(e->path), (void *)path_at) < 0)
		e->path[0] = 0;
	submit(e, sizeof(*e));
	return 0;
}

/* A thread that starts a program gets the number of its process. */
SEC("raw_tp/sched_process_exec")
int slow_exec(struct raw_args *ctx)
{
	__u64 id = bpf_get_current_pid_tgid(), before = id >> 32 << 32 | (__u32)ctx->args[1];
	struct call *found, call;

	if (before == id)
		return 0;
	found = bpf_map_lookup_elem(&calls, &before);
	if (!found)
		return 0;
	call = *found;
	call.tid = call.pid;
	bpf_map_delete_elem(&calls, &before);
	if (bpf_map_update_elem(&calls, &id, &call, BPF_ANY))
		count(MISSED);
	return 0;
}

SEC("raw_tp/sched_process_exit")
int slow_thread_exit(struct raw_args *ctx)
{
	__u64 id = bpf_get_current_pid_tgid();

	bpf_map_delete_elem(&calls, &id);
	return 0;
}
