/* SPDX-License-Identifier: (GPL-2.0 OR BSD-2-Clause) */
/* What every gadget has: whom to look at, a way out for events, and the books. */
#ifndef OSC_DEBUG_GADGET_H
#define OSC_DEBUG_GADGET_H

#include "kernel.h"

#define COMM_LEN 16

/* Set before loading. A process counts when its mount namespace is the target's: the
 * containers of a sandbox share PIDs and network, but each has mounts of its own.
 * Kernel PIDs are translated to the PID namespace that the tracer lives in. */
volatile const __u32 target_mnt_ns = 0;
volatile const __u32 target_net_ns = 0;
volatile const __u64 pid_ns_dev = 0;
volatile const __u64 pid_ns_ino = 0;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 << 20);
} events SEC(".maps");

/* The ledger: every event is counted once as seen, and once more as lost when the
 * ring buffer had no room for it. */
enum { SEEN, LOST, COUNTERS };

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTERS);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

static __always_inline void count(__u32 which)
{
	__u64 *n = bpf_map_lookup_elem(&counters, &which);

	if (n)
		(*n)++;
}

static __always_inline void *reserve(__u64 size)
{
	void *e = bpf_ringbuf_reserve(&events, size, 0);

	count(SEEN);
	if (!e)
		count(LOST);
	return e;
}

/* Waking the reader for each event would cost more than the event: it polls, and is
 * woken only when a quarter of the buffer is full. */
static __always_inline void submit(void *e)
{
	__u64 full = bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA);

	bpf_ringbuf_submit(e, full > (1 << 20) ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP);
}

static __always_inline bool is_target(void)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();

	return BPF_CORE_READ(task, nsproxy, mnt_ns, ns.inum) == target_mnt_ns;
}

/* The current process as the sandbox numbers it; 0 where it has no number there. */
static __always_inline void current_pid(__u32 *pid, __u32 *tid)
{
	struct bpf_pidns_info info = {};

	*pid = *tid = 0;
	if (bpf_get_ns_current_pid_tgid(pid_ns_dev, pid_ns_ino, &info, sizeof(info)) == 0) {
		*pid = info.tgid;
		*tid = info.pid;
	}
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#endif
