// SPDX-License-Identifier: (GPL-2.0 OR BSD-2-Clause)
/*
 * signal: signals sent to processes of the target. The current process is the sender,
 * except of signals that the kernel sends: it may send them while any process runs.
 */
#include "gadget.h"

struct signal_event {
	__u64 time; /* ns, monotonic */
	__u32 pid;  /* receiver */
	__u32 tid;
	__u32 from; /* sender */
	__s32 code; /* si_code */
	__u32 number;
	__u32 result; /* TRACE_SIGNAL_* of the kernel */
	__u32 by_kernel;
	__u32 pad;
	char comm[COMM_LEN];
	char sender[COMM_LEN];
};
const struct signal_event *unused_signal_event __attribute__((unused));

/* Instead of a siginfo, the kernel passes these for signals of its own, such as SIGPIPE. */
enum { NO_INFO = 0, INFO_OF_KERNEL = 1 };

/* What processes send has one of these codes: kill(2), sigqueue(3), tgkill(2). */
enum { BY_KILL = 0, BY_QUEUE = -1, BY_TKILL = -6, OF_KERNEL = 0x80 };

SEC("raw_tp/signal_generate")
int signal_sent(struct raw_args *ctx)
{
	struct kernel_siginfo *info = (struct kernel_siginfo *)ctx->args[1];
	struct task_struct *task = (struct task_struct *)ctx->args[2];
	struct signal_event *e;
	__u32 tid;

	if (!is_target_task(task))
		return 0;
	e = reserve(sizeof(*e));
	if (!e)
		return 0;
	e->time = bpf_ktime_get_ns();
	e->number = ctx->args[0];
	e->result = ctx->args[4];
	e->pad = 0;
	e->code = OF_KERNEL;
	if ((__u64)info > INFO_OF_KERNEL)
		e->code = BPF_CORE_READ(info, si_code);
	e->by_kernel = e->code != BY_KILL && e->code != BY_QUEUE && e->code != BY_TKILL;
	e->from = 0;
	e->sender[0] = 0;
	if (!e->by_kernel) {
		current_pid(&e->from, &tid);
		bpf_get_current_comm(e->sender, sizeof(e->sender));
	}
	pid_of(task, &e->pid, &e->tid);
	BPF_CORE_READ_STR_INTO(&e->comm, task, comm);
	submit(e, sizeof(*e));
	return 0;
}
