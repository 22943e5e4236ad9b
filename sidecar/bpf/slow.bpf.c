// SPDX-License-Identifier: (GPL-2.0 OR BSD-2-Clause)
/*
 * slow: system calls of the target that take longer than a threshold, with their arguments.
 * A path among them is read at the exit, because then the kernel has paged it in.
 */
#include "syscall.h"

#define PATH_LEN 128
#define ARGS 6

/* Set before loading, in ns. */
volatile const __u64 threshold = 10000000;

/* Which argument of a call is a path: its number from 1, 0 for none. */
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

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, __u64); /* kernel PID and TID */
	__type(value, __u64); /* beginning of the call, ns, monotonic; 0: no call */
} calls SEC(".maps");

/* Every call of the target runs this, so it does little: the exit has the arguments too. (Not
 * those of a successful execve, whose path belongs to a memory that is gone by then.) */
SEC("raw_tp/sys_enter")
int slow_enter(struct raw_args *ctx)
{
	__u64 id = bpf_get_current_pid_tgid(), fresh = 0;
	__u64 *began = bpf_map_lookup_elem(&calls, &id);

	if (!began) {
		if (!is_target())
			return 0;
		if (bpf_map_update_elem(&calls, &id, &fresh, BPF_ANY)) {
			count(MISSED);
			return 0;
		}
		began = bpf_map_lookup_elem(&calls, &id);
		if (!began)
			return 0;
	}
	*began = bpf_ktime_get_ns();
	return 0;
}

static __always_inline void describe(struct slow_event *e, struct pt_regs *regs, __u32 nr, __u64 began, __u64 now, __s64 ret)
{
	e->time = now;
	e->took = now - began;
	e->ret = ret;
	e->nr = nr;
	e->pad = 0;
#pragma unroll
	for (int i = 0; i < ARGS; i++)
		e->args[i] = argument(regs, i, nr & COMPAT);
	current_pid(&e->pid, &e->tid);
	bpf_get_current_comm(e->comm, sizeof(e->comm));
}

SEC("raw_tp/sys_exit")
int slow_exit(struct raw_args *ctx)
{
	struct pt_regs *regs = (struct pt_regs *)ctx->args[0];
	__u64 id = bpf_get_current_pid_tgid(), now, began, nr;
	__u64 *call = bpf_map_lookup_elem(&calls, &id);
	struct slow_event *e;
	__u32 path;

	if (!call || !*call)
		return 0;
	now = bpf_ktime_get_ns();
	began = *call;
	*call = 0;
	if (now - began < threshold)
		return 0;
	nr = call_number(regs);
	if (nr >= MAX_NR)
		return 0;
	if (is_compat())
		nr |= COMPAT;
	/* The compiler knows that this changes nothing and would leave it out; 5.10 and 6.1 kernels do
	 * not know. */
	asm volatile("" : "+r"(nr));
	nr &= 2 * MAX_NR - 1;
	path = path_argument[nr];
	if (path == 0 || path > ARGS) {
		e = reserve(WITHOUT_PATH);
		if (!e)
			return 0;
		describe(e, regs, nr, began, now, ctx->args[1]);
		submit(e);
		return 0;
	}
	e = reserve(sizeof(*e));
	if (!e)
		return 0;
	describe(e, regs, nr, began, now, ctx->args[1]);
	if (bpf_probe_read_user_str(e->path, sizeof(e->path), (void *)argument(regs, path - 1, nr & COMPAT)) < 0)
		e->path[0] = 0;
	submit(e);
	return 0;
}

SEC("raw_tp/sched_process_exit")
int slow_thread_exit(struct raw_args *ctx)
{
	__u64 id = bpf_get_current_pid_tgid();

	bpf_map_delete_elem(&calls, &id);
	return 0;
}
