/* SPDX-License-Identifier: (GPL-2.0 OR BSD-2-Clause) */
/* Shared by the programs that look at system calls. */
#ifndef OSC_DEBUG_SYSCALL_H
#define OSC_DEBUG_SYSCALL_H

#include "kernel.h"

/* This bit marks the numbers of the 32-bit table. */
#define COMPAT 512
#define MAX_NR 512

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

/* The number of the call that ends now. */
static __always_inline __u64 call_number(struct pt_regs *regs)
{
#if defined(__TARGET_ARCH_x86)
	return BPF_CORE_READ(regs, orig_ax);
#else
	return BPF_CORE_READ(regs, syscallno);
#endif
}

/* The registers with a call's arguments, which its exit has too. */
struct registers {
#if defined(__TARGET_ARCH_x86)
	unsigned long bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di; /* in this order in struct pt_regs */
#else
	__u64 x[6];
	__u64 orig_x0;
#endif
};

static __always_inline void read_registers(struct registers *r, struct pt_regs *regs)
{
#if defined(__TARGET_ARCH_x86)
	bpf_core_read(r, sizeof(*r), &regs->bp); /* one read instead of many */
#else
	bpf_core_read(r->x, sizeof(r->x), &regs->regs);
	r->orig_x0 = BPF_CORE_READ(regs, orig_x0);
#endif
}

/* The n-th argument of a call, from 0. */
static __always_inline __u64 argument(const struct registers *r, int n, bool compat)
{
#if defined(__TARGET_ARCH_x86)
	if (compat) {
		switch (n) {
		case 0:
			return (__u32)r->bx;
		case 1:
			return (__u32)r->cx;
		case 2:
			return (__u32)r->dx;
		case 3:
			return (__u32)r->si;
		case 4:
			return (__u32)r->di;
		default:
			return (__u32)r->bp;
		}
	}
	switch (n) {
	case 0:
		return r->di;
	case 1:
		return r->si;
	case 2:
		return r->dx;
	case 3:
		return r->r10;
	case 4:
		return r->r8;
	default:
		return r->r9;
	}
#else
	__u64 value = n == 0 ? r->orig_x0 : r->x[n];

	return compat ? (__u32)value : value;
#endif
}

#endif
