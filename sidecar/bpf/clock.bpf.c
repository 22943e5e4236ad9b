// SPDX-License-Identifier: (GPL-2.0 OR BSD-2-Clause)
/*
 * When someone may have set the wall clock: the entry of the last system call that can.
 * User space is told that the clock was set, but only some time after, when the program has
 * gone on. It is not a gadget, and looks at all processes: a time service is not the target.
 */
#include "kernel.h"

#if defined(__TARGET_ARCH_x86)
#define NR_ADJTIMEX 159
#define NR_SETTIMEOFDAY 164
#define NR_CLOCK_SETTIME 227
#define NR_CLOCK_ADJTIME 305
#else
#define NR_CLOCK_SETTIME 112
#define NR_SETTIMEOFDAY 170
#define NR_ADJTIMEX 171
#define NR_CLOCK_ADJTIME 266
#endif

__u64 maybe_set = 0; /* ns, monotonic */

SEC("raw_tp/sys_enter")
int clock_enter(struct raw_args *ctx)
{
	switch (ctx->args[1]) {
	case NR_ADJTIMEX:
	case NR_SETTIMEOFDAY:
	case NR_CLOCK_SETTIME:
	case NR_CLOCK_ADJTIME:
		maybe_set = bpf_ktime_get_ns();
	}
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
