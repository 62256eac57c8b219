/* SPDX-License-Identifier: GPL-2.0 */
/*
 * How long an 82576 VF and its PF take, and how long they are waited for.
 *
 * All numbers are here. Documentation/igbvf.rst has them as a table, together
 * with those windows that are waited for elsewhere, or not at all. Sources:
 * Linux' drivers igb (the PF's) and igbvf (the guest's), which work with the
 * chip; FreeBSD's igbv; QEMU, measured. The datasheet has hardly any.
 */
#ifndef _IGBVF_TIMES_H
#define _IGBVF_TIMES_H

#include <linux/jiffies.h>
#include <linux/minmax.h>
#include <linux/time64.h>

/*
 * A queue that is switched on or off says so in its xXDCTL. FreeBSD's igbv
 * polls for 1.1 ms, igb and igbvf wait 10 ms without a look. A ring that is
 * drained first holds some ms of frames at worst: 4096 of 1.5 KB take 50 ms
 * at 1 Gbit/s. Default of the parameter drain_timeout_ms.
 */
#define IGBVF_DRAIN_MS		100
#define IGBVF_QUEUE_POLL_US	20

/*
 * What VTCTRL.RST resets has settled: igbvf goes on after 200 times 5 us. The
 * bit cannot be polled, it reads as 0.
 */
#define IGBVF_RESTART_US	1000

/*
 * The PF's answer to a message: igbvf polls 2000 times, each 500 us, for
 * "read", and as often for "answered". Default of the parameter
 * mailbox_timeout_ms; also for the end of the PF's own reset. It covers what
 * the PF has to wait for, such as VFTA.
 */
#define IGBVF_MAILBOX_MS	2000
#define IGBVF_MAILBOX_POLL_US	500

/* VFU is refused while the PF is writing a message; igbvf tries 10 times, each ms. */
#define IGBVF_MAILBOX_OWN_US	10000

/*
 * All messages of a migration together, as locks are held meanwhile: a busy
 * PF answers in 50 ms at most (QEMU without KVM), and VLANs may be many.
 */
#define IGBVF_REPLAY_MS		20000

/* A parameter may be any number. Never 0, which would be forever. */
#define IGBVF_TIMEOUT_MAX_MS	60000u

static inline u64 igbvf_timeout_us(unsigned int ms)
{
	return clamp(READ_ONCE(ms), 1u, IGBVF_TIMEOUT_MAX_MS) *
	       (u64)USEC_PER_MSEC;
}

#endif /* _IGBVF_TIMES_H */
