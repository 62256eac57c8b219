/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Allocations that fail on demand, by /proc/self/fail-nth (Linux'
 * Documentation/fault-injection): in this thread, one of the next call.
 */
#ifndef _VFIO_MIGRATION_FAILNTH_H
#define _VFIO_MIGRATION_FAILNTH_H

#include <stdbool.h>

/* Make this possible, or skip the test. */
void failnth_setup(void);
/* No allocation fails below this function of the kernel, if there is such. */
void failnth_spare(const char *function);
/* The @nth allocation from now on fails, counted from 1. */
void failnth_arm(unsigned int nth);
/* No more; has it failed? */
bool failnth_disarm(void);

#endif /* _VFIO_MIGRATION_FAILNTH_H */
