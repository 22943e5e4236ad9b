// SPDX-License-Identifier: (GPL-2.0 OR BSD-2-Clause)
/*
 * open: files that the target opens or fails to open. Arguments are saved at the entry of
 * the syscall. The path is read at its exit, because then the kernel has paged it in.
 */
#include "gadget.h"

#define PATH_LEN 256

#if defined(__TARGET_ARCH_x86)
#define NR_OPEN 2
#define NR_CREAT 85
#define NR_OPENAT 257
#define NR_OPENAT2 437
#else
#define NR_OPENAT 56
#define NR_OPENAT2 437
#endif

struct open_event {
	__u64 time; /* ns, monotonic */
	__u64 took; /* ns */
	__u32 pid;
	__u32 tid;
	__s32 ret; /* file descriptor, or negative errno */
	__u32 flags;
	char comm[COMM_LEN];
	char path[PATH_LEN];
};
const struct open_event *unused_open_event __attribute__((unused));

struct pending {
	__u64 time;
	__u64 path; /* address in user space */
	__u32 flags;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 10240);
	__type(key, __u64); /* kernel PID and TID */
	__type(value, struct pending);
} calls SEC(".maps");

static __always_inline __u64 arg(struct pt_regs *regs, int n)
{
#if defined(__TARGET_ARCH_x86)
	return n == 0 ? BPF_CORE_READ(regs, di) : n == 1 ? BPF_CORE_READ(regs, si) : BPF_CORE_READ(regs, dx);
#else
	return n == 0 ? BPF_CORE_READ(regs, orig_x0) : n == 1 ? BPF_CORE_READ(regs, regs[1]) : BPF_CORE_READ(regs, regs[2]);
#endif
}

SEC("raw_tp/sys_enter")
int open_enter(struct raw_args *ctx)
{
	struct pt_regs *regs = (struct pt_regs *)ctx->args[0];
	struct pending call = {};
	__u64 id;

	switch (ctx->args[1]) {
#ifdef NR_OPEN
	case NR_OPEN:
		call.path = arg(regs, 0);
		call.flags = arg(regs, 1);
		break;
	case NR_CREAT:
		call.path = arg(regs, 0);
		call.flags = 01 | 0100 | 01000; /* O_WRONLY|O_CREAT|O_TRUNC */
		break;
#endif
	case NR_OPENAT:
		call.path = arg(regs, 1);
		call.flags = arg(regs, 2);
		break;
	case NR_OPENAT2: {
		__u64 how = 0; /* flags come first in struct open_how */

		call.path = arg(regs, 1);
		bpf_probe_read_user(&how, sizeof(how), (void *)arg(regs, 2));
		call.flags = how;
		break;
	}
	default:
		return 0;
	}
	if (!is_target())
		return 0;
	call.time = bpf_ktime_get_ns();
	id = bpf_get_current_pid_tgid();
	bpf_map_update_elem(&calls, &id, &call, BPF_ANY);
	return 0;
}

SEC("raw_tp/sys_exit")
int open_exit(struct raw_args *ctx)
{
	__u64 id = bpf_get_current_pid_tgid();
	struct pending *call = bpf_map_lookup_elem(&calls, &id);
	struct open_event *e;

	if (!call)
		return 0;
	e = reserve(sizeof(*e));
	if (e) {
		e->time = bpf_ktime_get_ns();
		e->took = e->time - call->time;
		e->ret = ctx->args[1];
		e->flags = call->flags;
		current_pid(&e->pid, &e->tid);
		bpf_get_current_comm(e->comm, sizeof(e->comm));
		if (bpf_probe_read_user_str(e->path, sizeof(e->path), (void *)call->path) < 0)
			e->path[0] = 0;
		submit(e);
	}
	bpf_map_delete_elem(&calls, &id);
	return 0;
}
