// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "harness.h"
#include "v1.h"

const u32 v1_states[V1_STATES] = {
	V1_R, V1_R | V1_N, V1_R | V1_S, V1_R | V1_S | V1_N, 0, V1_N, V1_S,
	V1_S | V1_N, V1_M, V1_M | V1_N,
};

static bool is_migration(const struct vf_region *region)
{
	const struct vfio_region_info_cap_type *type =
		vf_region_cap(region, VFIO_REGION_INFO_CAP_TYPE);

	return type && type->type == VFIO_MIG_V1_REGION_TYPE &&
	       type->subtype == VFIO_MIG_V1_REGION_SUBTYPE;
}

void v1_open(struct v1 *v1, struct vf *vf)
{
	const struct vfio_region_info_cap_sparse_mmap *sparse;
	struct vfio_device_info info = { .argsz = sizeof(info) };
	struct vf_region region;
	bool found = false;
	u32 index;

	memset(v1, 0, sizeof(*v1));
	v1->vf = vf;
	ASSERT_EQ(0, ioctl(vf->fd, VFIO_DEVICE_GET_INFO, &info));
	for (index = VFIO_PCI_NUM_REGIONS; index < info.num_regions; index++) {
		vf_region_info(vf, index, &region);
		if (!is_migration(&region))
			continue;
		/* There is only one. */
		ASSERT_EQ(false, found);
		found = true;
		v1->index = index;
		v1->at = region.info.offset;
		v1->size = region.info.size;
		v1->ndma = vf_region_cap(&region, VFIO_REGION_INFO_CAP_MIG_NDMA);
		sparse = vf_region_cap(&region,
				       VFIO_REGION_INFO_CAP_SPARSE_MMAP);
		if (!sparse)
			continue;
		ASSERT_EQ(1u, sparse->nr_areas);
		v1->sparse_at = sparse->areas[0].offset;
		v1->sparse_size = sparse->areas[0].size;
	}
	ASSERT_TRUE(found);
}

void v1_open_vf(struct v1 *v1, struct vf *vf, struct iommu *iommu,
		const char *bdf)
{
	vf_open(vf, iommu, bdf);
	v1_open(v1, vf);
}

static int done(ssize_t ret, size_t len)
{
	if (ret < 0)
		return -errno;
	return ret == (ssize_t)len ? 0 : -EIO;
}

int v1_read(struct v1 *v1, u64 offset, void *buf, size_t len)
{
	return done(pread(v1->vf->fd, buf, len, v1->at + offset), len);
}

int v1_write(struct v1 *v1, u64 offset, const void *buf, size_t len)
{
	return done(pwrite(v1->vf->fd, buf, len, v1->at + offset), len);
}

static size_t field_width(size_t field)
{
	return field < V1_FIELD(pending_bytes) ? sizeof(u32) : sizeof(u64);
}

int v1_get(struct v1 *v1, size_t field, u64 *value)
{
	union {
		u32 narrow;
		u64 wide;
	} content = {};
	size_t width = field_width(field);
	int ret = v1_read(v1, field, &content, width);

	*value = width == sizeof(u32) ? content.narrow : content.wide;
	return ret;
}

int v1_put(struct v1 *v1, size_t field, u64 value)
{
	u32 narrow = value;

	if (field_width(field) == sizeof(u32))
		return v1_write(v1, field, &narrow, sizeof(narrow));
	return v1_write(v1, field, &value, sizeof(value));
}

int v1_state(struct v1 *v1)
{
	u64 value;
	int ret = v1_get(v1, V1_FIELD(device_state), &value);

	return ret ? ret : (int)value;
}

int v1_set_state(struct v1 *v1, u32 state)
{
	int ret = v1_put(v1, V1_FIELD(device_state), state);

	if (!ret)
		th_count(TH_TRANSITIONS, 1);
	return ret;
}

void v1_go(struct v1 *v1, u32 state)
{
	int ret = v1_set_state(v1, state);

	if (ret)
		th_log("%s -> %s", mig_state_name(v1_state(v1)),
		       mig_state_name(state));
	ASSERT_EQ(0, ret);
}

u32 v1_as_v2(u32 state)
{
	if (state == VFIO_MIG_V1_ERROR)
		return VFIO_DEVICE_STATE_ERROR;
	if (state & V1_M)
		return VFIO_DEVICE_STATE_RESUMING;
	if (!(state & V1_R))
		return state & V1_S ? VFIO_DEVICE_STATE_STOP_COPY :
				      VFIO_DEVICE_STATE_STOP;
	if (state & V1_S)
		return state & V1_N ? VFIO_DEVICE_STATE_PRE_COPY_P2P :
				      VFIO_DEVICE_STATE_PRE_COPY;
	return state & V1_N ? VFIO_DEVICE_STATE_RUNNING_P2P :
			      VFIO_DEVICE_STATE_RUNNING;
}

static u64 must_get(struct v1 *v1, size_t field)
{
	u64 value;

	ASSERT_EQ(0, v1_get(v1, field, &value));
	return value;
}

u64 v1_pending(struct v1 *v1)
{
	return must_get(v1, V1_FIELD(pending_bytes));
}

u64 v1_data_offset(struct v1 *v1)
{
	return must_get(v1, V1_FIELD(data_offset));
}

u64 v1_data_size(struct v1 *v1)
{
	return must_get(v1, V1_FIELD(data_size));
}

bool v1_map_inherited(struct v1 *v1)
{
	void *at;

	if (!v1->sparse_size)
		return false;
	at = mmap(NULL, v1->sparse_size, PROT_READ | PROT_WRITE, MAP_SHARED,
		  v1->vf->fd, v1->at + v1->sparse_at);
	ASSERT_NE(MAP_FAILED, at);
	v1->map = at;
	return true;
}

bool v1_map(struct v1 *v1)
{
	if (!v1_map_inherited(v1))
		return false;
	ASSERT_EQ(0, madvise((void *)v1->map, v1->sparse_size, MADV_DONTFORK));
	return true;
}

void v1_unmap(struct v1 *v1)
{
	if (v1->map)
		ASSERT_EQ(0, munmap(v1->map, v1->sparse_size));
	v1->map = NULL;
}

/* The next access to the window: where it is mapped; NULL: not by mmap. */
static u8 *mapped(struct v1 *v1, u64 offset, size_t len)
{
	bool odd = v1->turn++ % 2;

	if (v1->by == V1_BY_RW || (v1->by == V1_BY_TURNS && odd))
		return NULL;
	ASSERT_TRUE(v1->map);
	ASSERT_LE(v1->sparse_at, offset);
	ASSERT_LE(offset + len, v1->sparse_at + v1->sparse_size);
	return v1->map + (offset - v1->sparse_at);
}

/* How much of @len is done by the next access. */
static size_t piece(const struct v1 *v1, size_t len)
{
	return v1->chunk && v1->chunk < len ? v1->chunk : len;
}

void v1_window_read(struct v1 *v1, u64 offset, void *buf, size_t len)
{
	size_t at, bytes;
	const u8 *map;

	for (at = 0; at < len; at += bytes) {
		bytes = piece(v1, len - at);
		map = mapped(v1, offset + at, bytes);
		if (map)
			memcpy((u8 *)buf + at, map, bytes);
		else
			ASSERT_EQ(0, v1_read(v1, offset + at, (u8 *)buf + at,
					     bytes));
	}
}

void v1_window_write(struct v1 *v1, u64 offset, const void *buf, size_t len)
{
	size_t at, bytes;
	u8 *map;

	for (at = 0; at < len; at += bytes) {
		bytes = piece(v1, len - at);
		map = mapped(v1, offset + at, bytes);
		if (map)
			memcpy(map, (const u8 *)buf + at, bytes);
		else
			ASSERT_EQ(0, v1_write(v1, offset + at,
					      (const u8 *)buf + at, bytes));
	}
}

void v1_collect_segment(struct v1 *v1, struct state *state)
{
	u64 offset = v1_data_offset(v1), size = v1_data_size(v1);

	ASSERT_LE((u64)sizeof(struct vfio_mig_v1_info), offset);
	ASSERT_LE(offset + size, v1->size);
	ASSERT_LE(size, (u64)sizeof(state->buf) - state->len);
	v1_window_read(v1, offset, state->buf + state->len, size);
	state->len += size;
}

void v1_collect(struct v1 *v1, struct state *state)
{
	size_t before;

	while (v1_pending(v1)) {
		before = state->len;
		v1_collect_segment(v1, state);
		/* Or this would never end. */
		ASSERT_NE(before, state->len);
	}
}

void v1_save(struct v1 *v1, struct state *state)
{
	v1_go(v1, V1_S);
	state->len = 0;
	v1_collect(v1, state);
	ASSERT_NE((size_t)0, state->len);
}

int v1_feed(struct v1 *v1, const void *buf, size_t len, size_t segment)
{
	u64 offset, room;
	size_t at, bytes;
	int ret = 0;

	for (at = 0; !ret && at < len; at += bytes) {
		offset = v1_data_offset(v1);
		ASSERT_LE((u64)sizeof(struct vfio_mig_v1_info), offset);
		ASSERT_LE(offset + 1, v1->size);
		room = v1->size - offset;
		bytes = len - at < room ? len - at : room;
		if (segment && segment < bytes)
			bytes = segment;
		v1_window_write(v1, offset, (const u8 *)buf + at, bytes);
		ret = v1_put(v1, V1_FIELD(data_size), bytes);
	}
	return ret;
}

int v1_load(struct v1 *v1, const struct state *state)
{
	v1_go(v1, V1_M);
	return v1_feed(v1, state->buf, state->len, 0);
}
