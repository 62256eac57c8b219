// SPDX-License-Identifier: GPL-2.0
/* Traffic: nothing moves in quiet states, nothing is lost or done twice. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "ability.h"
#include "arcs.h"
#include "harness.h"
#include "igbvf.h"
#include "state.h"
#include "vfio.h"

/* One of them, in turn. */
static u32 quiet_state(struct vf *vf, unsigned int n)
{
	u32 state = quiet_states[n % KEEPING];

	return vf_state_offered(vf, state) ? state :
					     VFIO_DEVICE_STATE_RUNNING_P2P;
}

/* Both functions work; frames go from the first one to the second one. */
static void start_both(struct vf vf[2], struct iommu *iommu, struct nic nic[2])
{
	vf_open_both(vf, iommu);
	nic_start(&nic[0], &vf[0], 0);
	nic_start(&nic[1], &vf[1], 1);
}

/* Frames for a quiet function: it leaves memory and eventfds alone. */
static void send_in_vain(struct nic *from, struct nic *to)
{
	u64 print = nic_fingerprint(to);
	unsigned int n;

	vf_all_interrupts(to->vf);
	for (n = 0; n < 3; n++)
		EXPECT_TRUE(nic_send(from, 1000000, 10));
	sleep_ms(20);
	EXPECT_EQ(print, nic_fingerprint(to));
	EXPECT_EQ((u64)0, vf_all_interrupts(to->vf));
}

TEST_ALONE(receive,
	"frames are received in order in consecutive descriptors and "
	"interrupt")
{
	struct iommu iommu = {};
	struct nic nic[2];
	struct vf vf[2];
	unsigned int n;

	start_both(vf, &iommu, nic);
	for (n = 0; n < 5; n++) {
		vf_all_interrupts(&vf[1]);
		EXPECT_TRUE(nic_send(&nic[0], 1 + n * 10, 10));
		EXPECT_TRUE(vf_wait_interrupt(&vf[1], RX_VECTOR, 1000));
		nic_expect(&nic[1], 1 + n * 10, 10);
	}
}

TEST_ALONE(receive_refused,
	"a request for a state that is none, or that nobody can ask for, leaves "
	"a working function at work: no frame is lost, no interrupt")
{
	static const u32 wrong[] = {
		VFIO_DEVICE_STATE_ERROR, STATES, 0x7fffffff, 0xffffffff,
	};
	struct iommu iommu = {};
	struct nic nic[2];
	struct vf vf[2];
	unsigned int n;

	start_both(vf, &iommu, nic);
	for (n = 0; n < ARRAY_SIZE(wrong); n++) {
		th_context("%#x", wrong[n]);
		vf_all_interrupts(&vf[1]);
		EXPECT_EQ(-EINVAL, vf_set_state(&vf[1], wrong[n], NULL));
		EXPECT_STATE(VFIO_DEVICE_STATE_RUNNING, &vf[1]);
		EXPECT_TRUE(nic_send(&nic[0], 1 + n * 5, 5));
		EXPECT_TRUE(vf_wait_interrupt(&vf[1], RX_VECTOR, 1000));
		nic_expect(&nic[1], 1 + n * 5, 5);
	}
}

TEST_ALONE(receive_quiet,
	"in quiet states no frame reaches memory and no eventfd counts; with "
	"RUNNING reception goes on at the very next descriptor")
{
	struct iommu iommu = {};
	struct nic nic[2];
	struct vf vf[2];
	unsigned int n;
	u32 number = 1;

	start_both(vf, &iommu, nic);
	need_rings_stay(vf);
	for (n = 0; n < 8; n++) {
		u32 state = quiet_state(&vf[1], n);

		th_context("%s", state_name(state));
		EXPECT_TRUE(nic_send(&nic[0], number, 5));
		nic_expect(&nic[1], number, 5);
		number += 5;
		ASSERT_EQ(0, vf_set_state(&vf[1], state, NULL));
		send_in_vain(&nic[0], &nic[1]);
		ASSERT_EQ(0, vf_set_state(&vf[1], VFIO_DEVICE_STATE_RUNNING,
					  NULL));
		vf_all_interrupts(&vf[1]);
		EXPECT_TRUE(nic_send(&nic[0], number, 3));
		EXPECT_TRUE(vf_wait_interrupt(&vf[1], RX_VECTOR, 1000));
		nic_expect(&nic[1], number, 3);
		number += 3;
	}
}

TEST_ALONE(receive_reload,
	"saved, reset, loaded again: reception goes on at the very next "
	"descriptor, with interrupts")
{
	static struct state state;
	struct iommu iommu = {};
	struct nic nic[2];
	struct vf vf[2];
	unsigned int n;
	u32 number = 1;

	start_both(vf, &iommu, nic);
	need_rings_load(vf);
	for (n = 0; n < 3; n++) {
		th_context("round %u", n);
		EXPECT_TRUE(nic_send(&nic[0], number, 7));
		nic_expect(&nic[1], number, 7);
		number += 7;
		state_save(&vf[1], &state);
		ASSERT_EQ(0, vf_reset(&vf[1]));
		send_in_vain(&nic[0], &nic[1]);
		ASSERT_EQ(0, state_load(&vf[1], &state));
		send_in_vain(&nic[0], &nic[1]);
		ASSERT_EQ(0, vf_set_state(&vf[1], VFIO_DEVICE_STATE_RUNNING,
					  NULL));
		/* All vectors in use are raised: nothing may be missed. */
		EXPECT_TRUE(vf_wait_interrupt(&vf[1], RX_VECTOR, 1000));
		sleep_ms(5);
		vf_all_interrupts(&vf[1]);
		EXPECT_TRUE(nic_send(&nic[0], number, 5));
		EXPECT_TRUE(vf_wait_interrupt(&vf[1], RX_VECTOR, 1000));
		nic_expect(&nic[1], number, 5);
		number += 5;
	}
}

TEST_ALONE(move,
	"the state goes to the other function and back, over the same memory: "
	"it receives and sends at the very next descriptors there")
{
	static struct state state;
	struct iommu iommu = {};
	struct nic moving, other;
	struct vf vf[2];
	unsigned int at = 0, n;
	u32 number = 1;

	vf_open_both(vf, &iommu);
	need_rings_load(vf);
	nic_start(&moving, &vf[0], 0);
	nic_start(&other, &vf[1], 1);
	for (n = 0; n < 4; n++) {
		th_context("from %s", vf[at].bdf);
		EXPECT_TRUE(nic_send(&other, number, 6));
		nic_expect(&moving, number, 6);
		number += 6;
		EXPECT_TRUE(nic_send(&moving, number, 5));
		nic_expect(&other, number, 5);
		number += 5;

		state_save(&vf[at], &state);
		ASSERT_EQ(0, state_load(&vf[!at], &state));
		vf_all_interrupts(&vf[!at]);
		ASSERT_EQ(0, vf_set_state(&vf[!at], VFIO_DEVICE_STATE_RUNNING,
					  NULL));
		nic_move(&moving, &vf[!at]);
		EXPECT_TRUE(vf_wait_interrupt(&vf[!at], RX_VECTOR, 1000));
		/* The source is reset, and takes the other role. */
		ASSERT_EQ(0, vf_reset(&vf[at]));
		nic_start(&other, &vf[at], 1);
		at = !at;
	}
	th_context("at the end");
	EXPECT_TRUE(nic_send(&other, number, 6));
	nic_expect(&moving, number, 6);
}

TEST_ALONE(transmit_quiet,
	"frames whose doorbell is rung in a quiet state leave with RUNNING, "
	"once and in order, and not before")
{
	struct iommu iommu = {};
	struct nic nic[2];
	struct vf vf[2];
	unsigned int n;
	u32 number = 1;
	bool mapped;

	start_both(vf, &iommu, nic);
	need_rings_stay(vf);
	mapped = vf_try_map_rings(&vf[0]);
	for (n = 0; n < 8; n++) {
		u32 state = quiet_state(&vf[0], n);
		u64 here, there;
		u32 tail;

		th_context("%s, %s", state_name(state),
			   n < 4 || !mapped ? "write" : "mmap");
		EXPECT_TRUE(nic_send(&nic[0], number, 3));
		nic_expect(&nic[1], number, 3);
		number += 3;
		ASSERT_EQ(0, vf_set_state(&vf[0], state, NULL));
		tail = nic_post(&nic[0], number, 4);
		here = nic_fingerprint(&nic[0]);
		there = nic_fingerprint(&nic[1]);
		if (n < 4 || !mapped)
			vf_write(&vf[0], TDT(0), tail);
		else
			vf_mwrite(&vf[0], TDT(0), tail);
		sleep_ms(20);
		EXPECT_EQ(here, nic_fingerprint(&nic[0]));
		EXPECT_EQ(there, nic_fingerprint(&nic[1]));
		ASSERT_EQ(0, vf_set_state(&vf[0], VFIO_DEVICE_STATE_RUNNING,
					  NULL));
		nic_expect(&nic[1], number, 4);
		number += 4;
	}
}

TEST_ALONE(transmit_moved,
	"frames that were posted and not sent before saving are sent by the "
	"destination, once and in order")
{
	static struct state state;
	struct iommu iommu = {};
	struct nic moving, other;
	struct vf vf[2];

	vf_open_both(vf, &iommu);
	need_rings_load(vf);
	nic_start(&moving, &vf[0], 0);
	nic_start(&other, &vf[1], 1);
	EXPECT_TRUE(nic_send(&moving, 1, 5));
	nic_expect(&other, 1, 5);

	ASSERT_EQ(0, vf_set_state(&vf[0], VFIO_DEVICE_STATE_STOP, NULL));
	vf_write(&vf[0], TDT(0), nic_post(&moving, 6, 4));
	state_save(&vf[0], &state);
	ASSERT_EQ(0, state_load(&vf[1], &state));
	/* The source becomes the receiver, in memory of its own. */
	ASSERT_EQ(0, vf_reset(&vf[0]));
	nic_start(&other, &vf[0], 2);
	ASSERT_EQ(0, vf_set_state(&vf[1], VFIO_DEVICE_STATE_RUNNING, NULL));
	nic_expect(&other, 6, 4);
	nic_move(&moving, &vf[1]);
	EXPECT_TRUE(nic_send(&moving, 10, 2));
	nic_expect(&other, 10, 2);
}

struct flood {
	struct nic *nic;
	atomic_bool stop;
	u32 sent;
};

static void *flood_thread(void *arg)
{
	struct flood *flood = arg;

	while (!atomic_load(&flood->stop)) {
		if (!nic_send(flood->nic, flood->sent + 1, 4)) {
			th_log("the flood has dried up");
			break;
		}
		flood->sent += 4;
	}
	return NULL;
}

/* Take what is there; numbers only grow. Number of frames. */
static unsigned int take(struct nic *nic, long long *last,
			 unsigned int timeout_ms)
{
	unsigned int count = 0;
	long long number;

	while (count < RING) {
		number = nic_receive(nic, timeout_ms);
		if (number == -ETIMEDOUT)
			break;
		if (number <= *last)
			th_log("frame %lld after %lld", number, *last);
		ASSERT_EQ(true, number > *last);
		*last = number;
		count++;
	}
	return count;
}

TEST_ALONE(flood,
	"under a flood of frames, memory and eventfds are at rest from the "
	"moment that P2P is acknowledged; no frame comes twice, late or "
	"broken")
{
	struct iommu iommu = {};
	struct nic nic[2];
	struct vf vf[2];
	struct flood flood = { .nic = &nic[0] };
	unsigned int n, received = 0;
	pthread_t thread;
	long long last = 0;
	u64 print;

	start_both(vf, &iommu, nic);
	need_rings_stay(vf);
	ASSERT_EQ(0, pthread_create(&thread, NULL, flood_thread, &flood));
	for (n = 0; n < 40; n++) {
		u32 state = quiet_state(&vf[1], n);

		th_context("round %u, %s", n, state_name(state));
		received += take(&nic[1], &last, 2);
		ASSERT_EQ(0, vf_set_state(&vf[1], state, NULL));
			print = nic_fingerprint(&nic[1]);
		vf_all_interrupts(&vf[1]);
		sleep_ms(5);
		EXPECT_EQ(print, nic_fingerprint(&nic[1]));
		EXPECT_EQ((u64)0, vf_all_interrupts(&vf[1]));
		ASSERT_EQ(0, vf_set_state(&vf[1], VFIO_DEVICE_STATE_RUNNING,
					  NULL));
	}
	atomic_store(&flood.stop, true);
	ASSERT_EQ(0, pthread_join(thread, NULL));
	while (take(&nic[1], &last, 20) == RING)
		;
	th_context("after the flood");
	th_log("%u frames sent, %u received", flood.sent, received);
	EXPECT_LE(1u, received);
	EXPECT_TRUE(nic_send(&nic[0], 2000000, 3));
	nic_expect(&nic[1], 2000000, 3);
}
