// SPDX-License-Identifier: GPL-2.0
/* PRE_COPY: the identity, early enough for a destination to refuse. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "ability.h"
#include "harness.h"
#include "igbvf.h"
#include "state.h"
#include "vfio.h"

static void need_precopy(struct vf *vf)
{
	if (!vf_state_offered(vf, VFIO_DEVICE_STATE_PRE_COPY) ||
	    !vf_state_offered(vf, VFIO_DEVICE_STATE_PRE_COPY_P2P))
		th_skip("PRE_COPY is not offered");
}

static int open_precopy(struct vf *vf)
{
	return vf_open_stream(vf, VFIO_DEVICE_STATE_PRE_COPY);
}

static int precopy_info(int fd, struct vfio_precopy_info *info)
{
	*info = (struct vfio_precopy_info){
		.argsz = sizeof(*info),
		.flags = 0xaaaaaaaa,
		.initial_bytes = ~0ull,
		.dirty_bytes = ~0ull,
	};
	return ioctl(fd, VFIO_MIG_GET_PRECOPY_INFO, info) ? -errno : 0;
}

static void expect_pending(int fd, u64 initial)
{
	struct vfio_precopy_info info;

	EXPECT_EQ(0, precopy_info(fd, &info));
	EXPECT_EQ(0u, info.flags);
	EXPECT_EQ((unsigned long long)initial,
		  (unsigned long long)info.initial_bytes);
	EXPECT_EQ(0ull, (unsigned long long)info.dirty_bytes);
}

/* Append what can be read until @end: 0, or -ENOMSG for the end of PRE_COPY. */
static void read_on(int fd, struct state *state, int end)
{
	ssize_t got;

	do {
		got = read(fd, state->buf + state->len,
			   sizeof(state->buf) - state->len);
		if (got > 0)
			state->len += got;
	} while (got > 0);
	EXPECT_EQ(end, got ? -errno : 0);
}

TEST_ALONE(precopy,
	"PRE_COPY yields at once what initial_bytes says, then ENOMSG; "
	"STOP_COPY goes on in the same fd; the whole loads elsewhere")
{
	static struct state state;
	struct vfio_precopy_info info;
	struct iommu iommu = {};
	struct nic nic;
	struct vf vf[2];
	int fd, other;

	vf_open_both(vf, &iommu);
	need_rings_load(vf);
	need_precopy(&vf[0]);
	nic_start(&nic, &vf[0], 0);
	fd = open_precopy(&vf[0]);
	ASSERT_EQ(0, precopy_info(fd, &info));
	EXPECT_LE(1ull, (unsigned long long)info.initial_bytes);
	expect_pending(fd, info.initial_bytes);
	ASSERT_EQ((ssize_t)10, read(fd, state.buf, 10));
	state.len = 10;
	expect_pending(fd, info.initial_bytes - 10);
	read_on(fd, &state, -ENOMSG);
	EXPECT_EQ((unsigned long long)info.initial_bytes,
		  (unsigned long long)state.len);
	expect_pending(fd, 0);
	/* It is a working device all the time. */
	EXPECT_TRUE(nic_send(&nic, 1, 2));

	ASSERT_EQ(0, vf_set_state(&vf[0], VFIO_DEVICE_STATE_PRE_COPY_P2P,
				  &other));
	EXPECT_EQ(-1, other);
	expect_pending(fd, 0);
	read_on(fd, &state, -ENOMSG);
	ASSERT_EQ(0, vf_set_state(&vf[0], VFIO_DEVICE_STATE_STOP_COPY, &other));
	EXPECT_EQ(-1, other);
	EXPECT_EQ(-EINVAL, precopy_info(fd, &info));
	read_on(fd, &state, 0);
	EXPECT_LE((u64)state.len, vf_data_size(&vf[0]));
	close(fd);

	EXPECT_TRUE(state_whole(&state));
	EXPECT_EQ(0, state_load(&vf[1], &state));
	EXPECT_EQ(0, vf_set_state(&vf[1], VFIO_DEVICE_STATE_RUNNING, NULL));
	EXPECT_EQ(2u, vf_read(&vf[1], TDH(0)));
}

TEST_ALONE(precopy_refused,
	"the part that comes in PRE_COPY is enough for a destination to "
	"refuse an unfit source")
{
	static struct state state;
	struct iommu iommu = {};
	struct vfio_mig_record head;
	struct vf vf[2];
	size_t at;
	int fd;

	vf_need_core();
	vf_open_both(vf, &iommu);
	need_precopy(&vf[0]);
	fd = open_precopy(&vf[0]);
	read_on(fd, &state, -ENOMSG);
	close(fd);
	ASSERT_EQ(0, vf_set_state(&vf[0], VFIO_DEVICE_STATE_RUNNING, NULL));

	th_context("fit");
	EXPECT_EQ(0, state_load(&vf[1], &state));
	EXPECT_EQ(-ENODATA, vf_set_state(&vf[1], VFIO_DEVICE_STATE_RUNNING,
					 NULL));
	ASSERT_EQ(0, vf_reset(&vf[1]));

	th_context("unfit");
	memcpy(&head, state.buf, sizeof(head));
	at = sizeof(head) + le32toh(head.length);
	ASSERT_LE(at + sizeof(head) + sizeof(struct vfio_mig_identity),
		  state.len);
	state.buf[at + sizeof(head) +
		  offsetof(struct vfio_mig_identity, device)] ^= 1;
	state_seal(&state, at);
	EXPECT_EQ(-EINVAL, state_load(&vf[1], &state));
}

/* Every so many bytes; prime, so that it hits all parts of the records. */
#define SAMPLE	5

TH_TEST(precopy_cut, 120, false,
	"wherever the reading was when the device was stopped, the stream as "
	"a whole is complete")
{
	static struct state state;
	struct iommu iommu = {};
	struct vfio_precopy_info info;
	struct vf vf;
	size_t cut, step = getenv("TEST_ALL") ? 1 : SAMPLE;
	int fd;

	vf_open(&vf, &iommu, vf_bdf[0]);
	need_precopy(&vf);
	fd = open_precopy(&vf);
	ASSERT_EQ(0, precopy_info(fd, &info));
	close(fd);
	for (cut = 0; cut <= info.initial_bytes; cut += step) {
		th_context("cut at %zu", cut);
		ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_RUNNING, NULL));
		fd = open_precopy(&vf);
		state.len = 0;
		if (cut)
			ASSERT_EQ((ssize_t)cut, read(fd, state.buf, cut));
		state.len = cut;
		if (cut % 2)
			ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_PRE_COPY_P2P,
						  NULL));
		ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_STOP_COPY, NULL));
		read_on(fd, &state, 0);
		close(fd);
		/* A load costs a reset. */
		if (vf_has_core())
			EXPECT_TRUE(state_whole(&state));
		else
			state_expect_loads(&vf, &state);
	}
	th_context("the last one loads");
	state_expect_loads(&vf, &state);
}

TEST(precopy_retracted,
	"PRE_COPY can be given up for RUNNING and begun again; the fd of "
	"before is dead; a reset ends it, too")
{
	static struct state state;
	struct vfio_precopy_info info;
	struct iommu iommu = {};
	struct vf vf;
	unsigned int n;
	u8 byte;
	int fd;

	vf_open(&vf, &iommu, vf_bdf[0]);
	need_precopy(&vf);
	for (n = 0; n < 4; n++) {
		th_context("round %u", n);
		fd = open_precopy(&vf);
		ASSERT_EQ((ssize_t)1, read(fd, &byte, 1));
		if (n & 1) {
			ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_PRE_COPY_P2P,
						  NULL));
			ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_PRE_COPY,
						  NULL));
		}
		if (n & 2)
			ASSERT_EQ(0, vf_reset(&vf));
		else
			ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_RUNNING,
						  NULL));
		EXPECT_STATE(VFIO_DEVICE_STATE_RUNNING, &vf);
		EXPECT_EQ((ssize_t)-1, read(fd, &byte, 1));
		EXPECT_EQ(ENODEV, errno);
		EXPECT_TRUE(precopy_info(fd, &info) < 0);
		close(fd);
	}
	state_save(&vf, &state);
	state_expect_loads(&vf, &state);
}

TEST(precopy_info,
	"GET_PRECOPY_INFO refuses an argsz that is too small and states other "
	"than PRE_COPY with EINVAL, and is no ioctl of a resume fd")
{
	struct vfio_precopy_info info;
	struct iommu iommu = {};
	struct vf vf;
	u32 argsz;
	int fd;

	vf_open(&vf, &iommu, vf_bdf[0]);
	need_precopy(&vf);
	fd = open_precopy(&vf);
	for (argsz = 0; argsz < sizeof(info); argsz++) {
		th_context("argsz %u", argsz);
		info = (struct vfio_precopy_info){ .argsz = argsz };
		EXPECT_EQ(-1, ioctl(fd, VFIO_MIG_GET_PRECOPY_INFO, &info));
		EXPECT_EQ(EINVAL, errno);
	}
	th_context("no buffer");
	EXPECT_EQ(-1, ioctl(fd, VFIO_MIG_GET_PRECOPY_INFO, NULL));
	EXPECT_EQ(EFAULT, errno);
	th_context("other ioctl");
	EXPECT_EQ(-1, ioctl(fd, VFIO_DEVICE_RESET));
	EXPECT_EQ(ENOTTY, errno);
	close(fd);

	th_context("STOP_COPY");
	ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_RUNNING, NULL));
	ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_STOP_COPY, &fd));
	EXPECT_EQ(-EINVAL, precopy_info(fd, &info));
	close(fd);
	th_context("RESUMING");
	ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_RESUMING, &fd));
	EXPECT_EQ(-ENOTTY, precopy_info(fd, &info));
	close(fd);
}
