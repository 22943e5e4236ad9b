// SPDX-License-Identifier: (GPL-2.0 OR BSD-2-Clause)
/*
 * When someone set the wall clock: the entry of the last system call that can. User space
 * learns that the clock was set only later, when the program has gone on.
 * It is not a gadget, and looks at all processes: a time service is not the target.
 */
#include "syscall.h"

#if defined(__TARGET_ARCH_x86)
#define NR_ADJTIMEX 159
#define NR_SETTIMEOFDAY 164
#define NR_CLOCK_SETTIME 227
#define NR_CLOCK_ADJTIME 305
#define NR_COMPAT_CLOCK_SETTIME 264
#define NR_COMPAT_CLOCK_ADJTIME 343
#else
#define NR_CLOCK_SETTIME 112
#define NR_SETTIMEOFDAY 170
#define NR_ADJTIMEX 171
#define NR_CLOCK_ADJTIME 266
#define NR_COMPAT_CLOCK_SETTIME 262
#define NR_COMPAT_CLOCK_ADJTIME 372
#endif
#define NR_COMPAT_STIME 25
#define NR_COMPAT_SETTIMEOFDAY 79
#define NR_COMPAT_ADJTIMEX 124
#define NR_COMPAT_CLOCK_SETTIME64 404
#define NR_COMPAT_CLOCK_ADJTIME64 405

#define ADJ_SETOFFSET 0x100 /* in the first field of struct timex */

__u64 maybe_set = 0; /* ns, monotonic */

/* Which argument of an adjustment is its struct timex, from 0; -1: the call sets the clock
 * without one, -2: it sets no clock. */
static __always_inline int timex_of(__u64 nr, bool compat)
{
	if (!compat) {
		switch (nr) {
		case NR_SETTIMEOFDAY:
		case NR_CLOCK_SETTIME:
			return -1;
		case NR_ADJTIMEX:
			return 0;
		case NR_CLOCK_ADJTIME:
			return 1;
		}
		return -2;
	}
	switch (nr) {
	case NR_COMPAT_STIME:
	case NR_COMPAT_SETTIMEOFDAY:
	case NR_COMPAT_CLOCK_SETTIME:
	case NR_COMPAT_CLOCK_SETTIME64:
		return -1;
	case NR_COMPAT_ADJTIMEX:
		return 0;
	case NR_COMPAT_CLOCK_ADJTIME:
	case NR_COMPAT_CLOCK_ADJTIME64:
		return 1;
	}
	return -2;
}

SEC("raw_tp/sys_enter")
int clock_enter(struct raw_args *ctx)
{
	__u64 nr = ctx->args[1];
	struct registers regs;
	__u32 modes = 0;
	bool compat;
	int timex;

	if (timex_of(nr, false) == -2 && timex_of(nr, true) == -2)
		return 0;
	compat = is_compat();
	timex = timex_of(nr, compat);
	if (timex == -2)
		return 0;
	if (timex >= 0) {
		read_registers(&regs, (struct pt_regs *)ctx->args[0]);
		bpf_probe_read_user(&modes, sizeof(modes), (void *)(timex ? argument(&regs, 1, compat) : argument(&regs, 0, compat)));
		if (!(modes & ADJ_SETOFFSET))
			return 0;
	}
	maybe_set = bpf_ktime_get_ns();
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
