// SPDX-License-Identifier: GPL-2.0
/* The migration region as such: finding it, and what may be accessed how. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "harness.h"
#include "v1.h"

#define HEADER	sizeof(struct vfio_mig_v1_info)

static u64 page_size(void)
{
	return sysconf(_SC_PAGESIZE);
}

static void check_region(struct vf *vf)
{
	const struct vfio_info_cap_header *ndma;
	struct vf_region region;
	bool mappable;
	struct v1 v1;
	u32 rw = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;

	v1_open(&v1, vf);
	vf_region_info(vf, v1.index, &region);
	th_log("region %u: %llu bytes, %llu of them can be mapped", v1.index,
	       (unsigned long long)v1.size, (unsigned long long)v1.sparse_size);

	ndma = vf_region_cap(&region, VFIO_REGION_INFO_CAP_MIG_NDMA);
	ASSERT_TRUE(ndma);
	EXPECT_EQ((u16)1, ndma->version);
	EXPECT_EQ(rw, region.info.flags & rw);
	mappable = region.info.flags & VFIO_REGION_INFO_FLAG_MMAP;
	EXPECT_EQ(mappable, v1.sparse_size != 0);
	/* Since then mappings can be withdrawn. */
	if (kernel_since(6, 10))
		EXPECT_TRUE(mappable);
	EXPECT_EQ((u64)0, v1.at % page_size());
	EXPECT_EQ((u64)0, v1.size % page_size());
	EXPECT_LE(2 * page_size(), v1.size);
	if (mappable) {
		EXPECT_EQ((u64)0, v1.sparse_at % page_size());
		EXPECT_EQ((u64)0, v1.sparse_size % page_size());
		/* The fields cannot be mapped. */
		EXPECT_LE((u64)HEADER, v1.sparse_at);
		EXPECT_LE(v1.sparse_at + v1.sparse_size, v1.size);
	}

	/* The window that can be mapped is the one with the data. */
	v1_go(&v1, V1_S);
	EXPECT_EQ((u64)0, v1_data_offset(&v1) % page_size());
	EXPECT_LE(v1_data_offset(&v1) + v1_data_size(&v1), v1.size);
	if (mappable) {
		EXPECT_LE(v1.sparse_at, v1_data_offset(&v1));
		EXPECT_LE(v1_data_offset(&v1) + v1_data_size(&v1),
			  v1.sparse_at + v1.sparse_size);
	}
	v1_go(&v1, V1_R);
}

TEST_ALONE(v1_region,
	"each function has one region of type 3, subtype 1 (linux/vfio.h) with "
	"the NDMA capability, a page for the fields, and a window at a page "
	"boundary behind; after it is opened again it is the same region")
{
	struct iommu iommu = {};
	struct v1 before, after;
	struct vf vf[2];
	unsigned int n;

	vf_open_both(vf, &iommu);
	for (n = 0; n < 2; n++) {
		th_context("%s", vf[n].bdf);
		check_region(&vf[n]);
		v1_open(&before, &vf[n]);
		vf_reopen(&vf[n]);
		v1_open(&after, &vf[n]);
		EXPECT_EQ(before.index, after.index);
		EXPECT_EQ(before.at, after.at);
		EXPECT_EQ(before.size, after.size);
		EXPECT_EQ(before.sparse_at, after.sparse_at);
		EXPECT_EQ(before.sparse_size, after.sparse_size);
		EXPECT_V1_STATE(V1_R, &after);
	}
}

TEST(v1_region_argsz,
	"region info says how large an argsz its capabilities need, and gives "
	"none of them to a smaller one (linux/vfio.h, VFIO_DEVICE_GET_REGION_INFO)")
{
	struct iommu iommu = {};
	struct vf_region region;
	struct v1 v1;
	struct vf vf;
	u32 argsz, needed = 0;

	v1_open_vf(&v1, &vf, &iommu, vf_bdf[0]);
	for (argsz = 0; argsz < sizeof(region); argsz++) {
		th_context("argsz %u", argsz);
		memset(&region, 0xee, sizeof(region));
		region.info.argsz = argsz;
		region.info.index = v1.index;
		if (argsz < sizeof(region.info)) {
			EXPECT_EQ(-1, ioctl(vf.fd, VFIO_DEVICE_GET_REGION_INFO,
					    &region));
			EXPECT_EQ(EINVAL, errno);
			continue;
		}
		EXPECT_EQ(0, ioctl(vf.fd, VFIO_DEVICE_GET_REGION_INFO, &region));
		EXPECT_TRUE(region.info.flags & VFIO_REGION_INFO_FLAG_CAPS);
		if (!region.info.cap_offset) {
			/* How much it wants, to be asked again with. */
			EXPECT_LE(argsz + 1, region.info.argsz);
			needed = region.info.argsz;
		} else {
			EXPECT_LE(needed, argsz);
		}
		EXPECT_EQ((u8)0xee, region.bytes[argsz > sizeof(region.info) ?
						 argsz : sizeof(region.info)]);
	}
}

TEST(v1_map_where,
	"the window can be mapped where the sparse mmap capability says, "
	"shared, and nothing else of the region can")
{
	struct iommu iommu = {};
	struct v1 v1;
	struct vf vf;
	void *map;
	u64 at;

	v1_open_vf(&v1, &vf, &iommu, vf_bdf[0]);
	for (at = 0; at <= v1.size; at += page_size()) {
		bool offered = v1.sparse_size && at >= v1.sparse_at &&
			       at < v1.sparse_at + v1.sparse_size;

		th_context("page at %#llx", (unsigned long long)at);
		map = mmap(NULL, page_size(), PROT_READ | PROT_WRITE,
			   MAP_SHARED, vf.fd, v1.at + at);
		EXPECT_EQ(offered, map != MAP_FAILED);
		if (map != MAP_FAILED)
			munmap(map, page_size());
		map = mmap(NULL, page_size(), PROT_READ | PROT_WRITE,
			   MAP_PRIVATE, vf.fd, v1.at + at);
		EXPECT_TRUE(map == MAP_FAILED);
	}
	th_context("all of it");
	map = mmap(NULL, v1.size, PROT_READ, MAP_SHARED, vf.fd, v1.at);
	EXPECT_TRUE(map == MAP_FAILED);
	th_context("beyond the window");
	map = mmap(NULL, v1.sparse_size + page_size(), PROT_READ, MAP_SHARED,
		   vf.fd, v1.at + v1.sparse_at);
	EXPECT_TRUE(map == MAP_FAILED);
}

/* Which fields there are, and what may be done to them at their own width. */
static const struct field {
	size_t at;
	size_t width;
	bool writable;		/* in RESUMING */
} fields[] = {
	{ V1_FIELD(device_state), 4, true },
	{ V1_FIELD(reserved), 4, true },
	{ V1_FIELD(pending_bytes), 8, false },
	{ V1_FIELD(data_offset), 8, false },
	{ V1_FIELD(data_size), 8, true },
};

static bool is_field(size_t at, size_t width, bool write)
{
	unsigned int n;

	for (n = 0; n < ARRAY_SIZE(fields); n++)
		if (fields[n].at == at && fields[n].width == width)
			return !write || fields[n].writable;
	return false;
}

/*
 * Every access of the fields' page that is none of a field. If one of the
 * writes were taken, it would stop the function, or take 8 bytes.
 */
static void wrong_accesses(struct v1 *v1)
{
	static const size_t widths[] = { 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 24, 32,
					 64, 4096 };
	static u8 image[3 * 4096], buf[4096];
	const struct vfio_mig_v1_info wanted = { .data_size = 8 };
	size_t at, width;
	unsigned int n;

	memcpy(image, &wanted, sizeof(wanted));
	for (n = 0; n < ARRAY_SIZE(widths); n++) {
		width = widths[n];
		for (at = 0; at < page_size(); at += at < 72 ? 1 : 61) {
			/* Straddling into the window, too. */
			if (at + width > page_size() + 64)
				break;
			th_context("%s, %zu bytes at %zu",
				   mig_state_name(v1_state(v1)), width, at);
			if (!is_field(at, width, false))
				EXPECT_EQ(-EINVAL, v1_read(v1, at, buf, width));
			if (!is_field(at, width, true))
				EXPECT_EQ(-EINVAL, v1_write(v1, at, image + at,
							    width));
		}
	}
	for (width = 1; width <= 8; width++) {
		at = page_size() - width + 1;
		th_context("%s, %zu bytes into the window",
			   mig_state_name(v1_state(v1)), width);
		if (width > 1) {
			EXPECT_EQ(-EINVAL, v1_read(v1, at, buf, width));
			EXPECT_EQ(-EINVAL, v1_write(v1, at, image, width));
		}
		th_context("%s, %zu bytes beyond the end",
			   mig_state_name(v1_state(v1)), width);
		at = v1->size - width + 1;
		EXPECT_EQ(-EINVAL, v1_read(v1, at, buf, width));
		EXPECT_EQ(-EINVAL, v1_write(v1, at, image, width));
		EXPECT_EQ(-EINVAL, v1_read(v1, v1->size, buf, width));
		EXPECT_EQ(-EINVAL, v1_write(v1, v1->size, image, width));
	}
	th_context("afterwards");
}

TEST(v1_widths,
	"fields are accessed at their own width and offset; everything else is "
	"refused with EINVAL and changes nothing "
	"(uapi/vfio_pci_migration_v1.h)")
{
	static struct state state, back;
	struct iommu iommu = {};
	u64 pending, offset;
	struct v1 v1;
	struct vf vf;

	v1_open_vf(&v1, &vf, &iommu, vf_bdf[0]);
	wrong_accesses(&v1);
	EXPECT_V1_STATE(V1_R, &v1);
	v1_save(&v1, &state);
	v1_go(&v1, V1_R);

	v1_go(&v1, V1_S);
	pending = v1_pending(&v1);
	offset = v1_data_offset(&v1);
	wrong_accesses(&v1);
	EXPECT_V1_STATE(V1_S, &v1);
	EXPECT_EQ(pending, v1_pending(&v1));
	EXPECT_EQ(offset, v1_data_offset(&v1));
	v1_collect(&v1, &back);
	state_expect_same(&state, &back);
	v1_go(&v1, V1_R);

	v1_go(&v1, V1_M);
	EXPECT_EQ(0, v1_feed(&v1, state.buf, 100, 0));
	wrong_accesses(&v1);
	EXPECT_V1_STATE(V1_M, &v1);
	EXPECT_EQ(0, v1_feed(&v1, state.buf + 100, state.len - 100, 0));
	v1_go(&v1, V1_R);
}

TEST(v1_reserved,
	"the reserved field reads 0 in every state, and what is written to it "
	"is ignored (uapi/vfio_pci_migration_v1.h)")
{
	struct iommu iommu = {};
	unsigned int n;
	struct v1 v1;
	struct vf vf;
	u64 value;

	v1_open_vf(&v1, &vf, &iommu, vf_bdf[0]);
	for (n = 0; n < V1_STATES; n++) {
		th_context("%s", mig_state_name(v1_states[n]));
		v1_go(&v1, v1_states[n]);
		EXPECT_EQ(0, v1_put(&v1, V1_FIELD(reserved), 0xffffffff));
		EXPECT_EQ(0, v1_put(&v1, V1_FIELD(reserved), V1_R | V1_N));
		EXPECT_EQ(0, v1_get(&v1, V1_FIELD(reserved), &value));
		EXPECT_EQ((u64)0, value);
		EXPECT_V1_STATE(v1_states[n], &v1);
		if (v1_states[n] & V1_M)
			ASSERT_EQ(0, vf_reset(&vf));
	}
}

static void refuse_state(struct v1 *v1, u32 from, u32 value)
{
	th_context("%s -> %#x", mig_state_name(from), value);
	EXPECT_EQ(-EINVAL, v1_set_state(v1, value));
	EXPECT_EQ((int)from, v1_state(v1));
}

TEST(v1_invalid_states,
	"device_state values that are no state are refused with EINVAL in "
	"every state, and change neither it nor the stream "
	"(uapi/vfio_pci_migration_v1.h)")
{
	static const u32 invalid[] = {
		VFIO_MIG_V1_ERROR, V1_M | V1_R, V1_M | V1_S | V1_R,
		V1_M | V1_R | V1_N, V1_M | V1_S | V1_N,
		V1_M | V1_S | V1_R | V1_N, 0xffffffff, 0xfffffff0,
	};
	static struct state state, back;
	struct iommu iommu = {};
	unsigned int n, i, bit;
	struct v1 v1;
	struct vf vf;
	u32 from;

	v1_open_vf(&v1, &vf, &iommu, vf_bdf[0]);
	v1_save(&v1, &state);
	for (n = 0; n < V1_STATES; n++) {
		from = v1_states[n];
		v1_go(&v1, from);
		if (from & V1_M)
			ASSERT_EQ(0, v1_feed(&v1, state.buf, 100, 0));

		for (i = 0; i < ARRAY_SIZE(invalid); i++)
			refuse_state(&v1, from, invalid[i]);
		for (bit = 4; bit < 32; bit++)
			for (i = 0; i < V1_STATES; i++)
				refuse_state(&v1, from,
					     v1_states[i] | 1u << bit);

		th_context("%s afterwards", mig_state_name(from));
		EXPECT_V1_STATE(from, &v1);
		if (from & V1_M)
			EXPECT_EQ(0, v1_feed(&v1, state.buf + 100,
					     state.len - 100, 0));
		if ((from & (V1_S | V1_R)) == V1_S) {
			back.len = 0;
			v1_collect(&v1, &back);
			state_expect_same(&state, &back);
		}
		v1_go(&v1, V1_R);
	}
}

TEST(v1_read_only,
	"pending_bytes and data_offset cannot be written, data_size not while "
	"saving, and there is no data_size to read or write without a stream "
	"in that direction: EINVAL, and nothing changes")
{
	struct iommu iommu = {};
	unsigned int n;
	struct v1 v1;
	struct vf vf;
	u64 value;
	u32 state;

	v1_open_vf(&v1, &vf, &iommu, vf_bdf[0]);
	for (n = 0; n < V1_STATES; n++) {
		state = v1_states[n];
		th_context("%s", mig_state_name(state));
		v1_go(&v1, state);
		EXPECT_EQ(-EINVAL, v1_put(&v1, V1_FIELD(pending_bytes), 0));
		EXPECT_EQ(-EINVAL, v1_put(&v1, V1_FIELD(data_offset), 4096));
		if (!(state & V1_M)) {
			EXPECT_EQ(-EINVAL, v1_put(&v1, V1_FIELD(data_size), 0));
			EXPECT_EQ(-EINVAL, v1_put(&v1, V1_FIELD(data_size), 64));
		}
		if (!(state & V1_S)) {
			EXPECT_EQ(-EINVAL, v1_get(&v1, V1_FIELD(data_size),
						  &value));
			/* There is nothing to be collected. */
			EXPECT_EQ((u64)0, v1_pending(&v1));
		}
		if (!(state & (V1_S | V1_M)))
			EXPECT_EQ(-EINVAL, v1_get(&v1, V1_FIELD(data_offset),
						  &value));
		EXPECT_V1_STATE(state, &v1);
		if (state & V1_M)
			ASSERT_EQ(0, vf_reset(&vf));
	}
}

TEST(v1_window_access,
	"read(2) and write(2) access the window in any width at any offset, "
	"with and without a stream (uapi/vfio_pci_migration_v1.h)")
{
	static const u32 states[] = { V1_R, V1_S, V1_M };
	static u8 content[2 * 4096], back[2 * 4096];
	struct iommu iommu = {};
	size_t at, width, size;
	unsigned int n;
	struct v1 v1;
	struct vf vf;
	u64 window;

	v1_open_vf(&v1, &vf, &iommu, vf_bdf[0]);
	v1_go(&v1, V1_S);
	window = v1_data_offset(&v1);
	v1_go(&v1, V1_R);
	size = v1.size - window;
	if (size > sizeof(content))
		size = sizeof(content);
	for (n = 0; n < ARRAY_SIZE(states); n++) {
		v1_go(&v1, states[n]);
		memset(content, 0, size);
		for (at = 0, width = 1; at + width <= size;
		     at += width, width = width % 67 + 1) {
			th_context("%s, %zu bytes at %zu",
				   mig_state_name(states[n]), width, at);
			memset(content + at, at + n, width);
			EXPECT_EQ(0, v1_write(&v1, window + at, content + at,
					      width));
			EXPECT_EQ(0, v1_read(&v1, window + at, back, width));
			EXPECT_EQ(0, memcmp(back, content + at, width));
		}
		th_context("%s, all of it", mig_state_name(states[n]));
		EXPECT_EQ(0, v1_read(&v1, window, back, at));
		EXPECT_EQ(0, memcmp(back, content, at));
		/* Nothing of it has been taken for a stream. */
		EXPECT_EQ((int)states[n], v1_state(&v1));
	}
	ASSERT_EQ(0, vf_reset(&vf));
}
