// SPDX-License-Identifier: GPL-2.0
/*
 * Both doors of one device: who may change its state, and that they lead to
 * the same stream (Documentation/design.rst, Two doors).
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "ability.h"
#include "harness.h"
#include "igbvf.h"
#include "v1.h"

/* States of v2 that a function in RUNNING can be asked for. */
static bool can_ask(struct vf *vf, u32 state)
{
	return state != VFIO_DEVICE_STATE_RUNNING &&
	       vf_state_offered(vf, state);
}

/* v2 is refused everything that would be a change. */
static void expect_v2_refused(struct v1 *v1)
{
	struct vf *vf = v1->vf;
	u32 now = v1_state(v1), to;
	int fd;

	for (to = 0; to < STATES; to++) {
		if (!vf_state_offered(vf, to) || to == v1_as_v2(now))
			continue;
		th_context("v1 has %s, v2 asks for %s", mig_state_name(now),
			   state_name(to));
		EXPECT_EQ(-EBUSY, vf_set_state(vf, to, &fd));
		EXPECT_V1_STATE(now, v1);
	}
}

/* v2 may do as it likes. */
static void expect_v2_free(struct vf *vf)
{
	EXPECT_EQ(0, vf_set_state(vf, VFIO_DEVICE_STATE_STOP_COPY, NULL));
	EXPECT_EQ(0, vf_set_state(vf, VFIO_DEVICE_STATE_RUNNING, NULL));
}

static void expect_v1_free(struct v1 *v1)
{
	EXPECT_EQ(0, v1_set_state(v1, V1_S));
	EXPECT_EQ(0, v1_set_state(v1, V1_R));
}

TEST(v1_owns,
	"once v1 has moved the device out of RUNNING, v2 can read the state "
	"and gets EBUSY for every change, until v1 has led it back or it was "
	"reset or opened again; v1's stream notices nothing")
{
	static struct state saved, back;
	struct iommu iommu = {};
	unsigned int n;
	struct v1 v1;
	struct vf vf;
	u32 state;

	v1_open_vf(&v1, &vf, &iommu, vf_bdf[0]);
	v1_save(&v1, &saved);
	v1_go(&v1, V1_R);
	for (n = 0; n < V1_STATES; n++) {
		state = v1_states[n];
		if (state == V1_R)
			continue;
		v1_go(&v1, state);
		if (state & V1_M)
			ASSERT_EQ(0, v1_feed(&v1, saved.buf, 100, 0));
		if (state & V1_S)
			v1_data_offset(&v1);
		expect_v2_refused(&v1);
		/* Nor when v1 goes on to another state. */
		v1_go(&v1, state == (V1_R | V1_N) ? 0 : state ^ V1_N);
		expect_v2_refused(&v1);
		v1_go(&v1, state);

		th_context("v1's stream in %s", mig_state_name(state));
		back.len = 0;
		if (state & V1_S)
			v1_collect(&v1, &back);
		if ((state & (V1_S | V1_R)) == V1_S)
			state_expect_same(&saved, &back);
		if (state & V1_M)
			EXPECT_EQ(0, v1_feed(&v1, saved.buf + 100,
					     saved.len - 100, 0));
		v1_go(&v1, V1_R);
		th_context("after %s", mig_state_name(state));
		expect_v2_free(&vf);

		v1_go(&v1, state);
		ASSERT_EQ(0, vf_reset(&vf));
		th_context("after %s and a reset", mig_state_name(state));
		expect_v2_free(&vf);

		v1_go(&v1, state);
		vf_reopen(&vf);
		th_context("after %s, closed and opened", mig_state_name(state));
		expect_v2_free(&vf);
	}
}

/* v1 is refused every state that would be a change, and sees no stream. */
static void expect_v1_refused(struct v1 *v1)
{
	u32 now = vf_get_state(v1->vf);
	u64 value, room = 16;
	unsigned int n;

	for (n = 0; n < V1_STATES; n++) {
		if (v1_as_v2(v1_states[n]) == now)
			continue;
		th_context("v2 has %s, v1 asks for %s", state_name(now),
			   mig_state_name(v1_states[n]));
		EXPECT_EQ(-EBUSY, v1_set_state(v1, v1_states[n]));
		EXPECT_STATE(now, v1->vf);
		EXPECT_EQ(now, v1_as_v2(v1_state(v1)));
	}
	th_context("v2 has %s", state_name(now));
	/* What is no state is none, whoever owns the device. */
	EXPECT_EQ(-EINVAL, v1_set_state(v1, VFIO_MIG_V1_ERROR));
	EXPECT_EQ((u64)0, v1_pending(v1));
	EXPECT_EQ(-EINVAL, v1_get(v1, V1_FIELD(data_offset), &value));
	EXPECT_EQ(-EINVAL, v1_get(v1, V1_FIELD(data_size), &value));
	EXPECT_EQ(-EINVAL, v1_put(v1, V1_FIELD(data_size), room));
}

TEST(v2_owns,
	"once v2 has moved the device out of RUNNING, v1 can read the state, "
	"gets EBUSY for every change and sees nothing of the stream, until v2 "
	"has led it back or it was reset or opened again")
{
	static struct state saved, back;
	struct iommu iommu = {};
	struct v1 v1;
	struct vf vf;
	u32 state;
	int fd;

	v1_open_vf(&v1, &vf, &iommu, vf_bdf[0]);
	state_save(&vf, &saved);
	ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_RUNNING, NULL));
	for (state = 0; state < STATES; state++) {
		if (!can_ask(&vf, state))
			continue;
		ASSERT_EQ(0, vf_set_state(&vf, state, &fd));
		expect_v1_refused(&v1);

		th_context("v2's stream in %s", state_name(state));
		if (state == VFIO_DEVICE_STATE_STOP_COPY) {
			ASSERT_EQ(0, state_read(fd, &back));
			state_expect_same(&saved, &back);
		}
		if (state == VFIO_DEVICE_STATE_RESUMING)
			EXPECT_EQ(0, state_write(fd, saved.buf, saved.len));
		ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_RUNNING, NULL));
		if (fd >= 0)
			close(fd);
		th_context("after %s", state_name(state));
		expect_v1_free(&v1);

		ASSERT_EQ(0, vf_set_state(&vf, state, NULL));
		ASSERT_EQ(0, vf_reset(&vf));
		th_context("after %s and a reset", state_name(state));
		expect_v1_free(&v1);

		ASSERT_EQ(0, vf_set_state(&vf, state, NULL));
		vf_reopen(&vf);
		th_context("after %s, closed and opened", state_name(state));
		expect_v1_free(&v1);
	}
}

TEST(v1_owner_refused,
	"a change that fails gives the device to nobody: after an invalid or a "
	"refused request in RUNNING the other door is free, and the owner "
	"keeps what it has")
{
	struct iommu iommu = {};
	struct v1 v1;
	struct vf vf;

	v1_open_vf(&v1, &vf, &iommu, vf_bdf[0]);
	EXPECT_EQ(-EINVAL, v1_set_state(&v1, VFIO_MIG_V1_ERROR));
	expect_v2_free(&vf);
	EXPECT_EQ(-EINVAL, vf_set_state(&vf, VFIO_DEVICE_STATE_ERROR, NULL));
	EXPECT_EQ(-EINVAL, vf_set_state(&vf, STATES, NULL));
	expect_v1_free(&v1);
	/* RUNNING asked for in RUNNING owns nothing. */
	EXPECT_EQ(0, v1_set_state(&v1, V1_R));
	expect_v2_free(&vf);
	EXPECT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_RUNNING, NULL));
	expect_v1_free(&v1);

	v1_go(&v1, V1_M);
	EXPECT_EQ(-ENODATA, v1_set_state(&v1, V1_R));
	expect_v2_refused(&v1);
	EXPECT_EQ(-EBUSY, vf_set_state(&vf, VFIO_DEVICE_STATE_RUNNING, NULL));
	EXPECT_EQ(-ENODATA, v1_set_state(&v1, 0));
	ASSERT_EQ(0, vf_reset(&vf));
	expect_v2_free(&vf);
}

/* A working nic with content in what a VF can be seen to have. */
static void fill(struct nic *nic, struct vf *vf)
{
	nic_start(nic, vf, 0);
	ASSERT_TRUE(nic_send(nic, 1, 3));
	vf_write(vf, RDLEN(1), 0x380);
	vf_write(vf, EITR(2), 0x7a0);
	vf_write(vf, EIMC, 2);
}

static void expect_filled(struct nic *nic, struct vf *vf)
{
	if (rings_load(vf))
		EXPECT_EQ(3u, vf_read(vf, TDH(0)));
	EXPECT_EQ(RING - 1u, vf_read(vf, RDT(0)));
	EXPECT_EQ(0x380u, vf_read(vf, RDLEN(1)));
	EXPECT_EQ(0x7a0u, vf_read(vf, EITR(2)));
	EXPECT_EQ(5u, vf_read(vf, EIMS));
	nic_move(nic, vf);
	nic_goes_on_moved(nic);
	EXPECT_TRUE(nic_send(nic, 4, 3));
}

/* With SAVING while RUNNING. */
static void v1_save_twice(struct v1 *v1, struct state *state)
{
	state->len = 0;
	v1_go(v1, V1_R | V1_S);
	v1_collect(v1, state);
	v1_go(v1, V1_S);
	v1_collect(v1, state);
}

TEST_ALONE(v1_to_v2,
	"what v1 has saved, in two sequences, v2 loads into the other "
	"function, which goes on with it")
{
	static struct state here, there;
	struct iommu iommu = {};
	struct vf vf[2];
	struct nic nic;
	struct v1 v1;

	vf_open_both(vf, &iommu);
	v1_open(&v1, &vf[0]);
	fill(&nic, &vf[0]);
	v1_save_twice(&v1, &here);
	EXPECT_EQ(2u, state_sequences(&here));
	EXPECT_EQ(0, state_load(&vf[1], &here));
	vf_enable_interrupts(&vf[1]);
	EXPECT_EQ(0, vf_set_state(&vf[1], VFIO_DEVICE_STATE_RUNNING, NULL));
	expect_filled(&nic, &vf[1]);

	th_context("and one sequence");
	v1_go(&v1, 0);
	v1_save(&v1, &here);
	EXPECT_EQ(0, state_load(&vf[1], &here));
	state_save(&vf[1], &there);
	expect_loaded(&vf[1], &here, &there);
}

/* With PRE_COPY (true), where it is offered. */
static bool v2_save(struct vf *vf, struct state *state)
{
	ssize_t got;
	int fd;

	if (!vf_state_offered(vf, VFIO_DEVICE_STATE_PRE_COPY)) {
		state_save(vf, state);
		return false;
	}
	fd = vf_open_stream(vf, VFIO_DEVICE_STATE_PRE_COPY);
	state->len = 0;
	do {
		got = read(fd, state->buf + state->len, 64);
		state->len += got > 0 ? got : 0;
	} while (got > 0);
	EXPECT_EQ(ENOMSG, errno);
	ASSERT_EQ(0, vf_set_state(vf, VFIO_DEVICE_STATE_STOP_COPY, NULL));
	do {
		got = read(fd, state->buf + state->len, 64);
		ASSERT_LE((ssize_t)0, got);
		state->len += got;
	} while (got);
	close(fd);
	return true;
}

TEST_ALONE(v2_to_v1,
	"what v2 has saved, with PRE_COPY where it is offered, v1 loads into "
	"the other function, which goes on with it")
{
	static struct state here, there;
	struct iommu iommu = {};
	struct vf vf[2];
	struct nic nic;
	struct v1 v1;
	bool precopy;

	vf_open_both(vf, &iommu);
	v1_open(&v1, &vf[1]);
	fill(&nic, &vf[0]);
	precopy = v2_save(&vf[0], &here);
	EXPECT_EQ(precopy ? 2u : 1u, state_sequences(&here));
	EXPECT_EQ(0, v1_load(&v1, &here));
	vf_enable_interrupts(&vf[1]);
	v1_go(&v1, V1_R);
	expect_filled(&nic, &vf[1]);

	th_context("and one sequence");
	ASSERT_EQ(0, vf_set_state(&vf[0], VFIO_DEVICE_STATE_STOP, NULL));
	state_save(&vf[0], &here);
	EXPECT_EQ(0, v1_load(&v1, &here));
	v1_save(&v1, &there);
	expect_loaded(&vf[1], &here, &there);
}

static void expect_same_bytes(const struct state *one,
			      const struct state *other)
{
	size_t at;

	EXPECT_EQ(one->len, other->len);
	for (at = 0; at < one->len && one->buf[at] == other->buf[at]; at++)
		;
	/* They differ here. */
	EXPECT_EQ(one->len, at);
}

/*
 * The same device state is the same stream: numbers of sequences and records
 * are counted from the start of a stream, and there is no time and no address
 * in it. Only counters, and what a function reports of interrupts that came
 * meanwhile, may differ; so this function gets no traffic, and is not even let
 * go between two streams but for the round through RUNNING at the end.
 */
TEST_ALONE(v1_same_bytes,
	"the streams of one device state are the same through both doors, "
	"byte by byte, also after the function was RUNNING for a moment")
{
	static struct state one, other;
	struct iommu iommu = {};
	struct nic nic;
	struct v1 v1;
	struct vf vf;

	v1_open_vf(&v1, &vf, &iommu, vf_bdf[0]);
	fill(&nic, &vf);
	vf_write(&vf, RXDCTL(0), 0);

	th_context("v1 and v1");
	v1_save(&v1, &one);
	v1_go(&v1, 0);
	v1_save(&v1, &other);
	expect_same_bytes(&one, &other);

	th_context("v1 and v2");
	v1_go(&v1, V1_R);
	state_save(&vf, &other);
	expect_same_bytes(&one, &other);

	th_context("v2 and v1");
	ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_RUNNING, NULL));
	v1_save(&v1, &other);
	expect_same_bytes(&one, &other);
	v1_go(&v1, V1_R);

	th_context("begun while RUNNING");
	if (!v2_save(&vf, &one)) {
		th_log("not for v2: PRE_COPY is not offered");
		return;
	}
	ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_RUNNING, NULL));
	v1_save_twice(&v1, &other);
	EXPECT_EQ(2u, state_sequences(&other));
	expect_same_bytes(&one, &other);
}
