// SPDX-License-Identifier: (GPL-2.0 OR BSD-2-Clause)
/*
 * exec: programs that processes of the target start in their own place. The arguments
 * are read from the new program's memory, where the kernel has just put them. For a
 * program that cannot be started, path and arguments are those of the call.
 */
#include "gadget.h"
#include "syscall.h"

#define PATH_LEN 256
#define ARGS_LEN 512
#define MAX_ARGS 20 /* of a program that cannot be started */

#if defined(__TARGET_ARCH_x86)
#define NR_EXECVE 59
#define NR_EXECVEAT 322
#else
#define NR_EXECVE 221
#define NR_EXECVEAT 281
#endif
#define NR_COMPAT_EXECVE 11
#if defined(__TARGET_ARCH_x86)
#define NR_COMPAT_EXECVEAT 358
#else
#define NR_COMPAT_EXECVEAT 387
#endif

struct exec_event {
	__u64 time; /* ns, monotonic */
	__u32 pid;
	__u32 tid;
	__u32 parent;
	__u32 uid;
	__s32 error;    /* errno, 0 if the program was started */
	__u32 args_len; /* bytes of all arguments, each with a zero at its end */
	char comm[COMM_LEN];
	char file[PATH_LEN];
	char args[ARGS_LEN];
};
const struct exec_event *unused_exec_event __attribute__((unused));

struct call {
	__u64 file; /* addresses in user space */
	__u64 argv;
	__u32 pointer; /* bytes of an address in argv */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 10240);
	__type(key, __u64); /* kernel PID and TID */
	__type(value, struct call);
} calls SEC(".maps");

static __always_inline void describe(struct exec_event *e)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();

	e->time = bpf_ktime_get_ns();
	e->error = 0;
	e->args_len = 0;
	e->file[0] = 0;
	e->uid = bpf_get_current_uid_gid();
	e->parent = number_of(BPF_CORE_READ(task, real_parent, signal, pids[PIDTYPE_TGID]));
	current_pid(&e->pid, &e->tid);
	bpf_get_current_comm(e->comm, sizeof(e->comm));
}

SEC("raw_tp/sched_process_exec")
int exec_started(struct raw_args *ctx)
{
	struct task_struct *task = (struct task_struct *)ctx->args[0];
	struct linux_binprm *bprm = (struct linux_binprm *)ctx->args[2];
	struct exec_event *e;
	unsigned long begin, length;
	__u64 id = bpf_get_current_pid_tgid(), before = id >> 32 << 32 | (__u32)ctx->args[1];

	bpf_map_delete_elem(&calls, &before); /* a thread that starts a program gets the number of its process */
	if (!is_target())
		return 0;
	e = reserve(sizeof(*e));
	if (!e)
		return 0;
	describe(e);
	bpf_probe_read_kernel_str(e->file, sizeof(e->file), BPF_CORE_READ(bprm, filename));
	begin = BPF_CORE_READ(task, mm, arg_start);
	length = BPF_CORE_READ(task, mm, arg_end) - begin;
	e->args_len = length;
	if (length > ARGS_LEN)
		length = ARGS_LEN;
	if (bpf_probe_read_user(e->args, length, (void *)begin))
		e->args_len = 0;
	submit(e, sizeof(*e));
	return 0;
}

SEC("raw_tp/sys_enter")
int exec_enter(struct raw_args *ctx)
{
	__u64 nr = ctx->args[1], id;
	struct registers regs;
	struct call call = {};
	bool compat;
	int first; /* argument that is the path: execveat has a directory before it */

	if (nr != NR_EXECVE && nr != NR_EXECVEAT && nr != NR_COMPAT_EXECVE && nr != NR_COMPAT_EXECVEAT)
		return 0;
	compat = is_compat();
	if (nr == (compat ? NR_COMPAT_EXECVE : NR_EXECVE))
		first = 0;
	else if (nr == (compat ? NR_COMPAT_EXECVEAT : NR_EXECVEAT))
		first = 1;
	else
		return 0;
	if (!is_target())
		return 0;
	read_registers(&regs, (struct pt_regs *)ctx->args[0]);
	call.file = first ? argument(&regs, 1, compat) : argument(&regs, 0, compat);
	call.argv = first ? argument(&regs, 2, compat) : argument(&regs, 1, compat);
	call.pointer = compat ? 4 : 8;
	id = bpf_get_current_pid_tgid();
	if (bpf_map_update_elem(&calls, &id, &call, BPF_ANY))
		count(MISSED);
	return 0;
}

/* Runs only for a program that could not be started: exec_started has deleted the call
 * of one that could. */
SEC("raw_tp/sys_exit")
int exec_failed(struct raw_args *ctx)
{
	__u64 id = bpf_get_current_pid_tgid();
	struct call *found = bpf_map_lookup_elem(&calls, &id);
	struct exec_event *e;
	struct call call;
	__u32 at = 0;

	if (!found)
		return 0;
	call = *found;
	bpf_map_delete_elem(&calls, &id);
	e = reserve(sizeof(*e));
	if (!e)
		return 0;
	describe(e);
	e->error = -(__s32)ctx->args[1];
	if (bpf_probe_read_user_str(e->file, sizeof(e->file), (void *)call.file) < 0)
		e->file[0] = 0;
	for (int i = 0; i < MAX_ARGS; i++) {
		__u64 address = 0;
		long n;

		if (bpf_probe_read_user(&address, call.pointer == 4 ? 4 : 8, (void *)(call.argv + i * call.pointer)) || !address)
			break;
		if (at >= ARGS_LEN - 64) {
			at = ARGS_LEN + 1; /* cut */
			break;
		}
		n = bpf_probe_read_user_str(&e->args[at], 64, (void *)address);
		if (n <= 0)
			break;
		at += n;
	}
	e->args_len = at;
	submit(e, sizeof(*e));
	return 0;
}
