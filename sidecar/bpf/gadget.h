/* SPDX-License-Identifier: (GPL-2.0 OR BSD-2-Clause) */
/* Shared by all gadgets: the filter for the target, the ring buffer, and the counters. */
#ifndef OSC_DEBUG_GADGET_H
#define OSC_DEBUG_GADGET_H

#include "kernel.h"

#define COMM_LEN 16

/* Set before loading. A process belongs to the target if it has the target's mount
 * namespace: the containers of a sandbox share PIDs and network, but not mounts. Before
 * the target's container exists, its mount namespace is 0: then every process in the
 * sandbox's PID namespace is one, except those with the tracer's own mount namespace. PIDs
 * are translated from the kernel's to those in the tracer's PID namespace. */
volatile const __u32 target_mnt_ns = 0;
volatile const __u32 own_mnt_ns = 0;
volatile const __u32 target_net_ns = 0;
volatile const __u64 pid_ns_dev = 0;
volatile const __u64 pid_ns_ino = 0;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 << 20);
} events SEC(".maps");

/* Every event is counted as seen, and also as lost if the ring buffer has no room for
 * it. What could not be followed because a map was full is counted as missed. The
 * tracer's ledger starts from these counters. */
enum { SEEN, LOST, MISSED, COUNTERS };

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

/* Callers check the result at once: a 6.1 kernel rejects a second check after other code, because
 * it does not remember the first one. */
static __always_inline void *reserve(__u64 size)
{
	void *e = bpf_ringbuf_reserve(&events, size, 0);

	count(SEEN);
	if (!e)
		count(LOST);
	return e;
}

/* Waking the reader for each event would cost more than the event itself. So the reader
 * polls, and is woken only each time that so many bytes more are waiting. */
#define WAKE_EVERY (256 << 10)

static __always_inline void submit(void *e, __u64 size)
{
	__u64 room = (size + BPF_RINGBUF_HDR_SZ + 7) / 8 * 8, waiting = bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA);

	bpf_ringbuf_submit(e, waiting % WAKE_EVERY < room ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP);
}

/* The number of a pid in the sandbox, 0 if it has none there: in the innermost PID
 * namespace, which must be the sandbox's. */
static __always_inline __u32 number_of(struct pid *pid)
{
	unsigned int level = BPF_CORE_READ(pid, level);
	struct upid innermost = {};

	/* The array's entries follow each other; its length is not in the type. */
	bpf_core_read(&innermost, sizeof(innermost), (void *)pid + bpf_core_field_offset(struct pid, numbers) + level * bpf_core_type_size(struct upid));
	if (BPF_CORE_READ(innermost.ns, ns.inum) != (__u32)pid_ns_ino)
		return 0;
	return innermost.nr;
}

static __always_inline bool is_target_task(struct task_struct *task)
{
	__u32 mnt_ns = BPF_CORE_READ(task, nsproxy, mnt_ns, ns.inum);

	if (target_mnt_ns)
		return mnt_ns == target_mnt_ns;
	return mnt_ns != own_mnt_ns && number_of(BPF_CORE_READ(task, thread_pid)) != 0;
}

static __always_inline bool is_target(void)
{
	return is_target_task((struct task_struct *)bpf_get_current_task());
}

/* PID and TID of a task in the sandbox. */
static __always_inline void pid_of(struct task_struct *task, __u32 *pid, __u32 *tid)
{
	*pid = number_of(BPF_CORE_READ(task, signal, pids[PIDTYPE_TGID]));
	*tid = number_of(BPF_CORE_READ(task, thread_pid));
}

/* The current PID and TID in the sandbox; 0 if the process is not in its PID namespace. */
static __always_inline void current_pid(__u32 *pid, __u32 *tid)
{
	struct bpf_pidns_info info = {};

	*pid = *tid = 0;
	if (bpf_get_ns_current_pid_tgid(pid_ns_dev, pid_ns_ino, &info, sizeof(info)) == 0) {
		*pid = info.tgid;
		*tid = info.pid;
	}
}

/* The file that a descriptor of the current process refers to, 0 for none. */
static __always_inline struct file *file_of(__u32 fd)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
	struct file *file = NULL;

	if (fd >= BPF_CORE_READ(table, max_fds))
		return NULL;
	bpf_probe_read_kernel(&file, sizeof(file), BPF_CORE_READ(table, fd) + fd);
	return file;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#endif
