/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the state machine of v2 is to do, by linux/vfio.h: the errno and the
 * data fd of every pair of states, for a function that has been given nothing
 * in RESUMING.
 */
#ifndef _VFIO_MIGRATION_ARCS_H
#define _VFIO_MIGRATION_ARCS_H

#include "vfio.h"

/*
 * The states in which the function is quiet. In those before RESUMING, which is
 * the last one, it keeps its state by itself.
 */
#define QUIET_STATES	5u
#define KEEPING		(QUIET_STATES - 1)
extern const u32 quiet_states[QUIET_STATES];

/* The numbers of those of the first @_limit that are offered. */
#define for_each_quiet(_n, _vf, _limit)	\
	for (_n = 0; next_quiet(_vf, &(_n), _limit); _n++)
bool next_quiet(struct vf *vf, unsigned int *n, unsigned int limit);

/* 0 or -errno, of SET_STATE to @to in state @from. */
int arc_result(struct vf *vf, u32 from, u32 to);
/* If it succeeds: does it give a data fd? */
bool arc_opens_stream(u32 from, u32 to);
/* Into a state, by reset where there is no other way. */
void arc_go(struct vf *vf, u32 state);

#endif /* _VFIO_MIGRATION_ARCS_H */
