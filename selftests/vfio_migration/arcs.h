/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the state machine of v2 is to do, by linux/vfio.h: the errno and the
 * data fd of every pair of states, for a function that has been given nothing
 * in RESUMING.
 */
#ifndef _VFIO_MIGRATION_ARCS_H
#define _VFIO_MIGRATION_ARCS_H

#include "vfio.h"

/* 0 or -errno, of SET_STATE to @to in state @from. */
int arc_result(struct vf *vf, u32 from, u32 to);
/* If it succeeds: does it give a data fd? */
bool arc_opens_stream(u32 from, u32 to);
/* Into a state, by reset where there is no other way. */
void arc_go(struct vf *vf, u32 state);

#endif /* _VFIO_MIGRATION_ARCS_H */
