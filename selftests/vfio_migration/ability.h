/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the driver takes the hardware for, and telling it what to take it for.
 */
#ifndef _VFIO_MIGRATION_ABILITY_H
#define _VFIO_MIGRATION_ABILITY_H

#include "igbvf.h"

/*
 * Do rings go on where they were when the function is stopped and goes on; and
 * when their state is loaded into it? As the status file in debugfs says of a
 * function that is, or was, open; true if there is none.
 */
bool rings_stay(const struct vf *vf);
bool rings_load(const struct vf *vf);

/*
 * Are rings offered for mapping: are pages small enough, and has nobody forbidden
 * it when the driver was bound?
 */
bool rings_mappable(void);

/* Skip the test, unless rings stay where they were, or load. */
void need_rings_stay(const struct vf *vf);
void need_rings_load(const struct vf *vf);

/*
 * The guest is asked to start its rings over: expect that, and that nothing
 * works on in the meantime.
 */
void expect_start_over(struct vf *vf);

/*
 * RUNNING again, on the same function or at another one: if rings do not go on,
 * expect that, and start them over.
 */
void nic_goes_on(struct nic *nic);
void nic_goes_on_moved(struct nic *nic);

/*
 * Expect of a state that was loaded into @vf, and saved again: it is the same,
 * unless rings that came in use do not load.
 */
struct state;
void expect_loaded(const struct vf *vf, const struct state *saved,
		   const struct state *back);

/*
 * Parameters of the driver, for functions that are opened from now on:
 * "NAME=VALUE NAME=VALUE...". parameters_keep() notes what they are, or skips
 * the test; parameters_restore() makes them so again.
 */
void parameters_keep(void);
void parameters_set(const char *settings);
void parameters_restore(void);

#endif /* _VFIO_MIGRATION_ABILITY_H */
