/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The driver's fault injection (Documentation/faults.rst), and a function with a
 * working nic to inject them into.
 */
#ifndef _VFIO_MIGRATION_FAULT_H
#define _VFIO_MIGRATION_FAULT_H

#include "igbvf.h"
#include "state.h"
#include "v1.h"
#include "vfio.h"

#define POINTS_MAX	80
#define POINT_NAME	24

/**
 * struct fault_point - a line of the file
 * @name: the point
 * @hits: how often it was passed
 * @armed: something is going to happen there
 */
struct fault_point {
	char name[POINT_NAME];
	u64 hits;
	bool armed;
};

/**
 * struct faults - what the file says
 * @count: number of @point
 * @point: the points
 * @last: where a fault happened last; empty: nowhere
 * @silent: the function does not answer
 */
struct faults {
	unsigned int count;
	struct fault_point point[POINTS_MAX];
	char last[POINT_NAME];
	bool silent;
};

/* The file's name; skips the test if there is none. */
const char *fault_path(struct vf *vf);
/* Write a line: 0 or -errno. */
int fault_write(struct vf *vf, const char *line);
/* "POINT NTH ACTION", and it must be accepted. */
void fault_arm(struct vf *vf, const char *point, u64 nth, const char *action);
void fault_clear(struct vf *vf);
void fault_read(struct vf *vf, struct faults *faults);
/* Hits of one point; ends the test if there is no such point. */
u64 fault_hits(const struct faults *faults, const char *point);
/* Sessions, data fds and devices that keep the module in use. */
int module_users(void);
/* Wait until it has been passed @hits times. */
void fault_wait(struct vf *vf, const char *point, u64 hits);

/**
 * struct scene - a function with a nic that works
 * @iommu: its container
 * @vf: the function; its rings are mapped where they can be
 * @v1: its migration region
 * @nic: the nic
 * @saved: the nic's state just after it was started
 * @v2: scene_go() uses v2
 * @fd: v2's data fd; -1: none
 */
struct scene {
	struct iommu iommu;
	struct vf vf;
	struct v1 v1;
	struct nic nic;
	struct state saved;
	bool v2;
	int fd;
};

/* The first function. Skips the test without fault injection. */
void scene_open(struct scene *scene, bool v2);
/* Reset, and a nic just started. */
void scene_fresh(struct scene *scene);
/*
 * Go to a state, in v1's terms: 0 or -errno. A failure that leaves a file
 * descriptor behind is one more.
 */
int scene_go(struct scene *scene, u32 state);
/* Go there, with a state loaded if it is RESUMING; from wherever it is. */
void scene_enter(struct scene *scene, u32 state);
/* Does it send, and raise an interrupt? */
void scene_expect_working(struct scene *scene);
/*
 * A transition has failed, and the function is in @state as before: nothing
 * else is to have changed.
 */
void scene_expect_unchanged(struct scene *scene, u32 state);
/*
 * It is in ERROR: it cannot be left, and nothing leaves the function. Then it
 * is reset, and has to work.
 */
void scene_expect_error(struct scene *scene);

#endif /* _VFIO_MIGRATION_FAULT_H */
