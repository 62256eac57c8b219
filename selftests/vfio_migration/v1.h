/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The migration region of a function: finding it, its fields, and device
 * states through its data window.
 */
#ifndef _VFIO_MIGRATION_V1_H
#define _VFIO_MIGRATION_V1_H

#include "driver/core/fsm.h"
#include "uapi/vfio_pci_migration_v1.h"
#include "state.h"
#include "vfio.h"

#define V1_FIELD(_name)	offsetof(struct vfio_mig_v1_info, _name)

#define V1_R		VFIO_MIG_V1_RUNNING
#define V1_S		VFIO_MIG_V1_SAVING
#define V1_M		VFIO_MIG_V1_RESUMING
#define V1_N		VFIO_MIG_V1_NDMA

/* The ten states that can be asked for. */
#define V1_STATES	10
extern const u32 v1_states[V1_STATES];

/* How the data window is accessed. */
enum v1_by {
	V1_BY_RW,	/* pread(2) and pwrite(2) */
	V1_BY_MMAP,	/* the mapping, which v1_map() has made */
	V1_BY_TURNS,	/* one access this way, the next one that way */
};

/**
 * struct v1 - the migration region of a function
 * @vf: the function
 * @index: number of the region
 * @at: where it begins in the device fd
 * @size: its size
 * @sparse_at: where in the region the part is that can be mapped
 * @sparse_size: its size; 0: nothing can be mapped
 * @ndma: it has the NDMA capability
 * @map: mapping of that part; or NULL
 * @by: how v1_collect() and v1_feed() access the window
 * @chunk: and how many bytes at once; 0: as many as there are
 * @turn: accesses so far
 */
struct v1 {
	struct vf *vf;
	u32 index;
	u64 at;
	u64 size;
	u64 sparse_at;
	u64 sparse_size;
	bool ndma;
	u8 *map;
	enum v1_by by;
	size_t chunk;
	unsigned int turn;
};

/* Find the region of a function that is open; ends the test without one. */
void v1_open(struct v1 *v1, struct vf *vf);
/* Open a function, with a container of its own, and find the region. */
void v1_open_vf(struct v1 *v1, struct vf *vf, struct iommu *iommu,
		const char *bdf);

/* Any access of the region: 0 or -errno; -EIO if it was a short one. */
int v1_read(struct v1 *v1, u64 offset, void *buf, size_t len);
int v1_write(struct v1 *v1, u64 offset, const void *buf, size_t len);

/* A field at its own width: 0 or -errno. */
int v1_get(struct v1 *v1, size_t field, u64 *value);
int v1_put(struct v1 *v1, size_t field, u64 value);

/* device_state: its value, or -errno; 0 or -errno. */
int v1_state(struct v1 *v1);
int v1_set_state(struct v1 *v1, u32 state);
/* The same, and it must succeed. */
void v1_go(struct v1 *v1, u32 state);
/* The state of v2 that this one is. */
u32 v1_as_v2(u32 state);

/* Expect a state, as seen through both doors. */
#define EXPECT_V1_STATE(_state, _v1)				\
	do {							\
		EXPECT_EQ((int)(_state), v1_state(_v1));	\
		EXPECT_STATE(v1_as_v2(_state), (_v1)->vf);	\
	} while (0)

/* The other fields; these must succeed. */
u64 v1_pending(struct v1 *v1);
u64 v1_data_offset(struct v1 *v1);
u64 v1_data_size(struct v1 *v1);

/*
 * Map the window where that is offered (false: it is not), for this process alone
 * or for its children, too; and what the window holds, read or written as @v1
 * says; @offset is that in the region.
 */
bool v1_map(struct v1 *v1);
bool v1_map_inherited(struct v1 *v1);
void v1_unmap(struct v1 *v1);
void v1_window_read(struct v1 *v1, u64 offset, void *buf, size_t len);
void v1_window_write(struct v1 *v1, u64 offset, const void *buf, size_t len);

/*
 * Append one segment that is pending, and all of them until nothing is. The
 * state must be a saving one.
 */
void v1_collect_segment(struct v1 *v1, struct state *state);
void v1_collect(struct v1 *v1, struct state *state);
/* -> SAVING, and all of the stream. */
void v1_save(struct v1 *v1, struct state *state);

/*
 * Give @len bytes to a function that is RESUMING, in segments of @segment bytes
 * (0: as large as the window allows); 0 or -errno of the data_size write that
 * was refused.
 */
int v1_feed(struct v1 *v1, const void *buf, size_t len, size_t segment);
/* -> RESUMING, and the whole stream. */
int v1_load(struct v1 *v1, const struct state *state);

#endif /* _VFIO_MIGRATION_V1_H */
