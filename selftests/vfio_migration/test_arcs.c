// SPDX-License-Identifier: GPL-2.0
/* The state machine as v2 shows it. */
#include <errno.h>
#include <unistd.h>

#include "ability.h"
#include "arcs.h"
#include "harness.h"
#include "igbvf.h"
#include "state.h"
#include "vfio.h"

/* Every state that there is, and then numbers that are none. */
static const u32 targets[] = {
	VFIO_DEVICE_STATE_ERROR, VFIO_DEVICE_STATE_STOP,
	VFIO_DEVICE_STATE_RUNNING, VFIO_DEVICE_STATE_STOP_COPY,
	VFIO_DEVICE_STATE_RESUMING, VFIO_DEVICE_STATE_RUNNING_P2P,
	VFIO_DEVICE_STATE_PRE_COPY, VFIO_DEVICE_STATE_PRE_COPY_P2P,
	STATES, 0x7fffffff, 0xffffffff,
};

TEST(arc_matrix,
	"every ordered pair of states ends where vfio_mig_get_next_state() "
	"allows, and otherwise fails with the fitting errno and changes "
	"nothing")
{
	struct iommu iommu = {};
	unsigned int n, pairs = 0;
	struct vf vf;
	int want, got, fd;
	u32 from, to;

	vf_open(&vf, &iommu, vf_bdf[0]);
	for (from = 0; from < STATES; from++) {
		if (!vf_state_offered(&vf, from))
			continue;
		for (n = 0; n < ARRAY_SIZE(targets); n++) {
			to = targets[n];
			th_context("%s -> %s", state_name(from), state_name(to));
			if (vf_get_state(&vf) != (int)from ||
			    from != VFIO_DEVICE_STATE_RESUMING) {
				if (from == VFIO_DEVICE_STATE_RESUMING)
					ASSERT_EQ(0, vf_set_state(&vf, from, NULL));
				else
					arc_go(&vf, from);
			}
			want = arc_result(&vf, from, to);
			fd = -2;
			got = vf_set_state(&vf, to, &fd);
			if (want == -ENODATA)
				state_expect_missing(got);
			else
				EXPECT_EQ(want, got);
			EXPECT_EQ(!want && arc_opens_stream(from, to), fd >= 0);
			if (fd < 0)
				EXPECT_EQ(-1, fd);
			else
				close(fd);
			EXPECT_STATE(want ? from : to, &vf);
			pairs++;
		}
	}
	th_log("%u pairs", pairs);
}

TEST(arc_loaded,
	"with a whole state loaded, RESUMING can be left for every state that "
	"is offered")
{
	static struct state state;
	struct iommu iommu = {};
	struct vf vf;
	u32 to;

	vf_open(&vf, &iommu, vf_bdf[0]);
	state_save(&vf, &state);
	for (to = 0; to < STATES; to++) {
		if (!vf_state_offered(&vf, to) ||
		    to == VFIO_DEVICE_STATE_RESUMING)
			continue;
		th_context("RESUMING -> %s", state_name(to));
		ASSERT_EQ(0, state_load(&vf, &state));
		EXPECT_STATE(VFIO_DEVICE_STATE_RESUMING, &vf);
		EXPECT_EQ(0, vf_set_state(&vf, to, NULL));
		EXPECT_STATE(to, &vf);
	}
}

TEST(same_state,
	"asking for the state that it has gives no new data fd and leaves the "
	"stream in progress alone")
{
	static struct state state;
	struct iommu iommu = {};
	struct vf vf;
	size_t half;
	int fd, other;

	vf_open(&vf, &iommu, vf_bdf[0]);
	state_save(&vf, &state);
	half = state.len / 2;

	th_context("STOP_COPY");
	ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_STOP, NULL));
	ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_STOP_COPY, &fd));
	ASSERT_EQ((ssize_t)half, read(fd, state.buf, half));
	EXPECT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_STOP_COPY, &other));
	EXPECT_EQ(-1, other);
	EXPECT_EQ((ssize_t)(state.len - half),
		  read(fd, state.buf + half, sizeof(state.buf) - half));
	close(fd);

	th_context("RESUMING");
	ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_RESUMING, &fd));
	ASSERT_EQ(0, state_write(fd, state.buf, half));
	EXPECT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_RESUMING, &other));
	EXPECT_EQ(-1, other);
	EXPECT_EQ(0, state_write(fd, state.buf + half, state.len - half));
	EXPECT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_RUNNING, NULL));
	close(fd);
}

TEST_ALONE(save_again,
	"saving consumes nothing: STOP_COPY, STOP and RUNNING in any order, "
	"the same state each time, the old data fd dead")
{
	static struct state one, two, three;
	struct iommu iommu = {};
	struct nic nic;
	struct vf vf;
	int fd;
	u8 byte;

	vf_open(&vf, &iommu, vf_bdf[0]);
	if (vf_is_igbvf()) {
		need_rings_stay(&vf);
		nic_start(&nic, &vf, 0);
		ASSERT_TRUE(nic_send(&nic, 1, 3));
	}
	state_save(&vf, &one);
	ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_STOP, NULL));
	ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_STOP_COPY, &fd));
	ASSERT_EQ(1, read(fd, &byte, 1));
	ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_STOP, NULL));
	EXPECT_EQ(-1, read(fd, &byte, 1));
	EXPECT_EQ(ENODEV, errno);
	state_save(&vf, &two);
	state_expect_same(&one, &two);
	EXPECT_EQ(-1, read(fd, &byte, 1));
	EXPECT_EQ(ENODEV, errno);
	close(fd);

	ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_RUNNING, NULL));
	state_save(&vf, &three);
	state_expect_same(&one, &three);
	ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_RUNNING, NULL));
	if (vf_is_igbvf())
		EXPECT_TRUE(nic_send(&nic, 4, 2));
}

/* Nothing of the past may be seen in a function that has been reset. */
static void expect_fresh(struct vf *vf)
{
	ASSERT_STATE(VFIO_DEVICE_STATE_RUNNING, vf);
	if (!vf_is_igbvf())
		return;
	EXPECT_EQ(0u, vf_read(vf, RDLEN(0)));
	EXPECT_EQ(0u, vf_read(vf, TDLEN(1)));
	EXPECT_EQ(0u, vf_read(vf, RXDCTL(0)) & DCTL_ENABLE);
	EXPECT_EQ(0u, vf_read(vf, TXDCTL(0)) & DCTL_ENABLE);
	EXPECT_EQ(0u, vf_read(vf, EIMS));
}

/* Leave every state by @leave; a failed stream is one more kind of state. */
static void leave_every_state(void (*leave)(struct vf *vf))
{
	struct iommu iommu = {};
	struct nic nic;
	struct vf vf;
	u32 from;
	int fd;
	bool failed;
	u8 byte = 0xff;

	vf_open(&vf, &iommu, vf_bdf[0]);
	/* Only vfio_pci_migration judges a stream before RESUMING is left. */
	for (from = 0; from < STATES + (vf_has_core() ? 1u : 0u); from++) {
		failed = from == STATES;
		if (!failed && !vf_state_offered(&vf, from))
			continue;
		th_context("%s%s", state_name(failed ?
					      VFIO_DEVICE_STATE_RESUMING : from),
			   failed ? " with an error" : "");
		if (vf_is_igbvf())
			nic_start(&nic, &vf, 0);
		fd = -1;
		if (failed) {
			u8 rubbish[64] = { 0xee };

			ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_RESUMING,
						  &fd));
			ASSERT_EQ(-EINVAL, state_write(fd, rubbish, 64));
		} else {
			ASSERT_EQ(0, vf_set_state(&vf, from, &fd));
		}
		leave(&vf);
		expect_fresh(&vf);
		if (fd >= 0) {
			EXPECT_TRUE(read(fd, &byte, 1) < 0);
			EXPECT_TRUE(write(fd, &byte, 1) < 0);
			close(fd);
		}
		/* And it is fit for another life. */
		EXPECT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_STOP, NULL));
		EXPECT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_RUNNING, NULL));
	}
}

TEST(reset_everywhere,
	"VFIO_DEVICE_RESET leads from every state to RUNNING with registers "
	"as after power-on, and ends the stream")
{
	leave_every_state(vf_must_reset);
}

TEST(flr_everywhere,
	"a function level reset through config space does what "
	"VFIO_DEVICE_RESET does")
{
	leave_every_state(vf_flr);
}

TEST(reopen_everywhere,
	"a device fd that is closed in any state and opened again is RUNNING, "
	"with nothing of the life before")
{
	leave_every_state(vf_reopen);
}
