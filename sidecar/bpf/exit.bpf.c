// SPDX-License-Identifier: (GPL-2.0 OR BSD-2-Clause)
/*
 * exit: processes of the target that end. A process ends with its last thread; its exit
 * code is that of the call that ended all threads, else that of its first thread.
 */
#include "gadget.h"

struct exit_event {
	__u64 time;  /* ns, monotonic */
	__u64 lived; /* ns */
	__u32 pid;
	__u32 tid;
	__u32 status; /* as wait(2) returns it */
	__u32 pad;
	char comm[COMM_LEN];
};
const struct exit_event *unused_exit_event __attribute__((unused));

SEC("raw_tp/sched_process_exit")
int process_exit(struct raw_args *ctx)
{
	struct task_struct *task = (struct task_struct *)ctx->args[0];
	struct task_struct *leader = BPF_CORE_READ(task, group_leader);
	struct exit_event *e;
	int status;

	if (BPF_CORE_READ(task, signal, live.counter) != 0 || !is_target_task(task))
		return 0;
	e = reserve(sizeof(*e));
	if (!e)
		return 0;
	status = BPF_CORE_READ(task, signal, group_exit_code);
	if (!status)
		status = BPF_CORE_READ(leader, exit_code);
	e->time = bpf_ktime_get_ns();
	e->lived = e->time - BPF_CORE_READ(leader, start_time);
	e->status = status;
	e->pad = 0;
	pid_of(task, &e->pid, &e->tid);
	BPF_CORE_READ_STR_INTO(&e->comm, leader, comm);
	submit(e, sizeof(*e));
	return 0;
}
