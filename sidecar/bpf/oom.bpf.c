// SPDX-License-Identifier: (GPL-2.0 OR BSD-2-Clause)
/*
 * oom: processes of the target that the kernel kills because memory ran out. The current
 * process is the one that needed memory.
 */
#include "gadget.h"

struct oom_event {
	__u64 time; /* ns, monotonic */
	__u32 pid;  /* victim */
	__u32 tid;
	__u32 by;
	__s32 score; /* oom_score_adj */
	char comm[COMM_LEN];
	char needy[COMM_LEN];
};
const struct oom_event *unused_oom_event __attribute__((unused));

static __always_inline int killed(struct task_struct *victim)
{
	struct oom_event *e;
	__u32 tid;

	if (!is_target_task(victim))
		return 0;
	e = reserve(sizeof(*e));
	if (!e)
		return 0;
	e->time = bpf_ktime_get_ns();
	e->score = BPF_CORE_READ(victim, signal, oom_score_adj);
	pid_of(victim, &e->pid, &e->tid);
	BPF_CORE_READ_STR_INTO(&e->comm, victim, comm);
	current_pid(&e->by, &tid);
	bpf_get_current_comm(e->needy, sizeof(e->needy));
	submit(e, sizeof(*e));
	return 0;
}

/* From 6.8 on; before, the tracepoint has only the victim's number. */
SEC("raw_tp/mark_victim")
int oom_victim(struct raw_args *ctx)
{
	return killed((struct task_struct *)ctx->args[0]);
}

SEC("kprobe/oom_kill_process")
int oom_kill(struct pt_regs *ctx)
{
#if defined(__TARGET_ARCH_x86)
	struct oom_control *oc = (struct oom_control *)ctx->di;
#else
	struct oom_control *oc = (struct oom_control *)ctx->regs[0];
#endif
	return killed(BPF_CORE_READ(oc, chosen));
}
