/* SPDX-License-Identifier: (GPL-2.0 OR BSD-2-Clause) */
/* Shared by the gadgets that pair the entry of a system call with its exit. */
#ifndef OSC_DEBUG_SYSCALL_H
#define OSC_DEBUG_SYSCALL_H

#include "gadget.h"

/* This bit marks the numbers of the 32-bit table. */
#define COMPAT 512
#define MAX_NR 512
#define NO_CALL 0xffff

#if defined(__TARGET_ARCH_x86)
#define TS_COMPAT 2
#else
#define TIF_32BIT 22
#endif

/* Whether the current call is one of the 32-bit table. */
static __always_inline bool is_compat(void)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();

#if defined(__TARGET_ARCH_x86)
	return BPF_CORE_READ(task, thread_info.status) & TS_COMPAT;
#else
	return BPF_CORE_READ(task, thread_info.flags) & (1UL << TIF_32BIT);
#endif
}

/* The number of the call is in the registers, which the exit has too. */
static __always_inline __u64 call_number(struct pt_regs *regs)
{
#if defined(__TARGET_ARCH_x86)
	return BPF_CORE_READ(regs, orig_ax);
#else
	return BPF_CORE_READ(regs, syscallno);
#endif
}

/* The n-th argument of a system call, from 0. */
static __always_inline __u64 argument(struct pt_regs *regs, int n, bool compat)
{
#if defined(__TARGET_ARCH_x86)
	if (compat) {
		switch (n) {
		case 0:
			return (__u32)BPF_CORE_READ(regs, bx);
		case 1:
			return (__u32)BPF_CORE_READ(regs, cx);
		case 2:
			return (__u32)BPF_CORE_READ(regs, dx);
		case 3:
			return (__u32)BPF_CORE_READ(regs, si);
		case 4:
			return (__u32)BPF_CORE_READ(regs, di);
		default:
			return (__u32)BPF_CORE_READ(regs, bp);
		}
	}
	switch (n) {
	case 0:
		return BPF_CORE_READ(regs, di);
	case 1:
		return BPF_CORE_READ(regs, si);
	case 2:
		return BPF_CORE_READ(regs, dx);
	case 3:
		return BPF_CORE_READ(regs, r10);
	case 4:
		return BPF_CORE_READ(regs, r8);
	default:
		return BPF_CORE_READ(regs, r9);
	}
#else
	__u64 value = n == 0 ? BPF_CORE_READ(regs, orig_x0) : BPF_CORE_READ(regs, regs[n]);

	return compat ? (__u32)value : value;
#endif
}

#endif
