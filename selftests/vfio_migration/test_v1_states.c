// SPDX-License-Identifier: GPL-2.0
/* The state machine as v1 shows it. */
#include <errno.h>
#include <linux/pci_regs.h>

#include "ability.h"
#include "harness.h"
#include "igbvf.h"
#include "v1.h"

static bool is_quiet(u32 state)
{
	return !(state & V1_R) || (state & V1_N);
}

/* Stopped and saving: what is pending is all of the function's state. */
static bool is_final(u32 state)
{
	return (state & (V1_S | V1_R)) == V1_S;
}

/* From RUNNING; in RESUMING with @saved loaded. */
static void enter(struct v1 *v1, u32 state, const struct state *saved)
{
	v1_go(v1, state);
	if (state & V1_M)
		ASSERT_EQ(0, v1_feed(v1, saved->buf, saved->len, 0));
	EXPECT_V1_STATE(state, v1);
}

static void pair(struct v1 *v1, u32 from, u32 to, const struct state *saved)
{
	static struct state back;

	th_context("%s -> %s", mig_state_name(from), mig_state_name(to));
	enter(v1, from, saved);
	EXPECT_EQ(0, v1_set_state(v1, to));
	EXPECT_V1_STATE(to, v1);
	if (is_final(to)) {
		back.len = 0;
		v1_collect(v1, &back);
		EXPECT_TRUE(state_whole(&back));
		if (from & V1_M)
			expect_loaded(v1->vf, saved, &back);
	} else if (!(to & V1_S)) {
		EXPECT_EQ((u64)0, v1_pending(v1));
	}
	ASSERT_EQ(0, vf_reset(v1->vf));
	EXPECT_V1_STATE(V1_R, v1);
}

static void half_of_the_pairs(unsigned int which)
{
	static struct state saved;
	struct iommu iommu = {};
	unsigned int from, to;
	struct nic nic;
	struct v1 v1;
	struct vf vf;

	v1_open_vf(&v1, &vf, &iommu, vf_bdf[which]);
	nic_start(&nic, &vf, 0);
	v1_save(&v1, &saved);
	ASSERT_EQ(0, vf_reset(&vf));
	for (from = 0; from < V1_STATES; from++)
		for (to = 0; to < V1_STATES; to++)
			if ((from + to) % 2 == which)
				pair(&v1, v1_states[from], v1_states[to],
				     &saved);
}

TEST_LONG(v1_matrix,
	"each of the 100 ordered pairs of states is one write of device_state "
	"that succeeds, RESUMING with a whole stream included; both doors show "
	"the new state, and VFIO_DEVICE_RESET leads back to RUNNING "
	"(uapi/vfio_pci_migration_v1.h: every state from every other)")
{
	vf_need_both();
	th_both(half_of_the_pairs);
}

/* RESUMING, in either form, cannot be left. */
static void expect_stuck(struct v1 *v1, u32 state, size_t bytes)
{
	unsigned int to;

	for (to = 0; to < V1_STATES; to++) {
		if (v1_states[to] & V1_M)
			continue;
		th_context("%s -> %s with %zu bytes", mig_state_name(state),
			   mig_state_name(v1_states[to]), bytes);
		EXPECT_EQ(-ENODATA, v1_set_state(v1, v1_states[to]));
		EXPECT_V1_STATE(state, v1);
	}
}

TEST(v1_no_end,
	"without a whole stream RESUMING cannot be left for any state but "
	"RESUMING: ENODATA, and the state and the stream stay as they are "
	"(Documentation/design.rst, Failures)")
{
	static const u32 resuming[] = { V1_M, V1_M | V1_N };
	static struct state saved;
	struct iommu iommu = {};
	struct v1 v1;
	struct vf vf;
	unsigned int n;
	size_t most;

	v1_open_vf(&v1, &vf, &iommu, vf_bdf[0]);
	v1_save(&v1, &saved);
	most = saved.len - 1;
	for (n = 0; n < ARRAY_SIZE(resuming); n++) {
		v1_go(&v1, resuming[n]);
		expect_stuck(&v1, resuming[n], 0);
		ASSERT_EQ(0, v1_feed(&v1, saved.buf, most, 0));
		expect_stuck(&v1, resuming[n], most);
		v1_go(&v1, resuming[!n]);
		expect_stuck(&v1, resuming[!n], most);
		th_context("the last byte in %s", mig_state_name(resuming[!n]));
		EXPECT_EQ(0, v1_feed(&v1, saved.buf + most, 1, 0));
		v1_go(&v1, V1_R);
	}
}

/* The frames and the interrupt that quiet_pair() asks for while quiet. */
#define ASKED	2u

static void quiet_pair(struct v1 *v1, struct nic *nic, u32 from, u32 to)
{
	static struct state saved;
	struct vf *vf = v1->vf;
	bool stay = from & V1_M ? rings_load(vf) : rings_stay(vf);
	u64 print;
	u32 tail;

	th_context("%s -> %s", mig_state_name(from), mig_state_name(to));
	if (from & V1_M) {
		v1_save(v1, &saved);
		v1_go(v1, V1_R);
	}
	enter(v1, from, &saved);

	vf_all_interrupts(vf);
	tail = nic_post(nic, 1, ASKED);
	vf_write(vf, TDT(0), tail);
	vf_write(vf, EICS, 1u << 2);
	print = nic_fingerprint(nic);
	EXPECT_EQ(0, v1_set_state(v1, to));
	EXPECT_V1_STATE(to, v1);

	/* Had it been let go on the way, these would show it for good. */
	EXPECT_EQ(print, nic_fingerprint(nic));
	EXPECT_EQ((u64)0, vf_all_interrupts(vf));
	EXPECT_EQ(0, vf_real_command(vf) & PCI_COMMAND_MASTER);

	if (to & V1_M) {
		/* What has been asked for belonged to a state that is gone. */
		ASSERT_EQ(0, vf_reset(vf));
		EXPECT_EQ(print, nic_fingerprint(nic));
		EXPECT_EQ((u64)0, vf_all_interrupts(vf));
		nic_start(nic, vf, 0);
		return;
	}
	v1_go(v1, V1_R);
	/* The frame is gone, where rings have to start over. */
	if (stay)
		EXPECT_TRUE(nic_wait_sent(nic));
	EXPECT_TRUE(vf_wait_interrupt(vf, MISC_VECTOR, 1000));
	EXPECT_TRUE(vf_real_command(vf) & PCI_COMMAND_MASTER);
	if (!stay)
		nic_start_over(nic);
}

static void half_of_the_quiet_pairs(unsigned int which)
{
	struct iommu iommu = {};
	unsigned int from, to;
	struct nic nic;
	struct v1 v1;
	struct vf vf;

	v1_open_vf(&v1, &vf, &iommu, vf_bdf[which]);
	nic_start(&nic, &vf, 0);
	for (from = 0; from < V1_STATES; from++) {
		if (!is_quiet(v1_states[from]))
			continue;
		for (to = 0; to < V1_STATES; to++)
			if (is_quiet(v1_states[to]) &&
			    (from + to) % 2 == which)
				quiet_pair(&v1, &nic, v1_states[from],
					   v1_states[to]);
	}
}

TEST_LONG(v1_quiet,
	"between any two states of NDMA or not RUNNING, a frame and an "
	"interrupt that the user asks for stay where they are: no DMA, no "
	"eventfd, no Bus Master Enable on the way; all come with RUNNING "
	"(uapi/vfio_pci_migration_v1.h, NDMA; Documentation/design.rst, Quiet)")
{
	vf_need_both();
	th_both(half_of_the_quiet_pairs);
}

TEST_ALONE(v1_working,
	"RUNNING with SAVING is a working function, and so is RUNNING after "
	"each of the other states")
{
	struct iommu iommu = {};
	u32 number = 1, state;
	struct nic nic[2];
	struct vf vf[2];
	unsigned int n;
	struct v1 v1;

	vf_open_both(vf, &iommu);
	v1_open(&v1, &vf[0]);
	nic_start(&nic[0], &vf[0], 0);
	nic_start(&nic[1], &vf[1], 1);
	for (n = 0; n < V1_STATES; n++) {
		state = v1_states[n];
		if (state & V1_M)
			continue;
		v1_go(&v1, state);
		if (is_quiet(state)) {
			v1_go(&v1, V1_R);
			nic_goes_on(&nic[0]);
		}
		th_context("after %s, in %s", mig_state_name(state),
			   mig_state_name(v1_state(&v1)));
		EXPECT_TRUE(nic_send(&nic[0], number, 2));
		nic_expect(&nic[1], number, 2);
		EXPECT_TRUE(nic_send(&nic[1], number, 2));
		nic_expect(&nic[0], number, 2);
		number += 2;
		v1_go(&v1, V1_R);
	}
}

TEST(v1_same_state,
	"writing the state that it has, or NDMA while stopped, changes nothing "
	"else: the stream in progress goes on where it was")
{
	static struct state saved, back;
	struct iommu iommu = {};
	struct v1 v1;
	struct vf vf;

	v1_open_vf(&v1, &vf, &iommu, vf_bdf[0]);
	v1_save(&v1, &saved);
	v1_go(&v1, 0);
	EXPECT_EQ(0, v1_set_state(&v1, 0));
	EXPECT_EQ(0, v1_set_state(&v1, V1_N));
	EXPECT_V1_STATE(V1_N, &v1);

	th_context("SAVING");
	v1_go(&v1, V1_S);
	EXPECT_EQ((u64)saved.len, v1_pending(&v1));
	v1_data_offset(&v1);
	EXPECT_EQ(0, v1_set_state(&v1, V1_S));
	EXPECT_EQ((u64)saved.len, v1_data_size(&v1));
	EXPECT_EQ(0, v1_set_state(&v1, V1_S | V1_N));
	EXPECT_V1_STATE(V1_S | V1_N, &v1);
	v1_collect_segment(&v1, &back);
	EXPECT_EQ(0, v1_set_state(&v1, V1_S | V1_N));
	EXPECT_EQ(0, v1_set_state(&v1, V1_S));
	EXPECT_EQ((u64)0, v1_pending(&v1));
	EXPECT_EQ(saved.len, back.len);
	state_expect_same(&saved, &back);
	v1_go(&v1, V1_R);
	EXPECT_EQ(0, v1_set_state(&v1, V1_R));

	th_context("RESUMING");
	v1_go(&v1, V1_M);
	ASSERT_EQ(0, v1_feed(&v1, saved.buf, 333, 0));
	EXPECT_EQ(0, v1_set_state(&v1, V1_M));
	ASSERT_EQ(0, v1_feed(&v1, saved.buf + 333, 222, 0));
	EXPECT_EQ(0, v1_set_state(&v1, V1_M | V1_N));
	EXPECT_V1_STATE(V1_M | V1_N, &v1);
	EXPECT_EQ(0, v1_feed(&v1, saved.buf + 555, saved.len - 555, 0));
	EXPECT_EQ(0, v1_set_state(&v1, V1_M));
	v1_go(&v1, V1_R);
}

TEST_ALONE(v1_save_again,
	"saving consumes nothing: SAVING, stopped and RUNNING in any order "
	"give the same state each time, and a function that goes on with it")
{
	static const u32 between[] = { 0, V1_N, V1_R, V1_R | V1_N };
	static struct state one, other;
	struct iommu iommu = {};
	struct nic nic;
	unsigned int n;
	struct v1 v1;
	struct vf vf;

	v1_open_vf(&v1, &vf, &iommu, vf_bdf[0]);
	nic_start(&nic, &vf, 0);
	ASSERT_TRUE(nic_send(&nic, 1, 3));
	v1_save(&v1, &one);
	for (n = 0; n < ARRAY_SIZE(between); n++) {
		th_context("after %s", mig_state_name(between[n]));
		v1_go(&v1, between[n]);
		EXPECT_EQ((u64)0, v1_pending(&v1));
		v1_save(&v1, &other);
		state_expect_same(&one, &other);
	}
	v1_go(&v1, V1_R);
	nic_goes_on(&nic);
	EXPECT_TRUE(nic_send(&nic, 4, 2));
}

static const struct {
	const char *name;
	void (*leave)(struct vf *vf);
} ways_out[] = {
	{ "VFIO_DEVICE_RESET", vf_must_reset },
	{ "function level reset", vf_flr },
	{ "close and open", vf_reopen },
};

static void way_out(struct v1 *v1, u32 from, bool failed, unsigned int way,
		    const struct state *saved)
{
	static struct state back;
	struct vf *vf = v1->vf;
	u8 rubbish[64] = { 0xee };

	th_context("%s from %s%s", ways_out[way].name, mig_state_name(from),
		   failed ? " with an error" : "");
	v1_go(v1, from);
	if (failed)
		EXPECT_EQ(-EINVAL, v1_feed(v1, rubbish, sizeof(rubbish), 0));
	else if (from & V1_M)
		EXPECT_EQ(0, v1_feed(v1, saved->buf, 200, 0));
	else if (from & V1_S)
		v1_data_offset(v1);

	ways_out[way].leave(vf);
	EXPECT_V1_STATE(V1_R, v1);
	EXPECT_EQ((u64)0, v1_pending(v1));
	EXPECT_EQ(0u, vf_read(vf, EIMS));
	EXPECT_EQ(0u, vf_read(vf, RDLEN(1)));

	/* It is fit for another life: both directions from the start. */
	vf_write(vf, RDLEN(1), 0x300);
	v1_save(v1, &back);
	EXPECT_TRUE(state_whole(&back));
	v1_go(v1, V1_R);
	vf_write(vf, RDLEN(1), 0x400);
	EXPECT_EQ(0, v1_load(v1, &back));
	v1_go(v1, V1_R);
	EXPECT_EQ(0x300u, vf_read(vf, RDLEN(1)));
}

static void ways_out_of_half(unsigned int which)
{
	static struct state saved;
	struct iommu iommu = {};
	unsigned int n, way;
	struct v1 v1;
	struct vf vf;

	v1_open_vf(&v1, &vf, &iommu, vf_bdf[which]);
	v1_save(&v1, &saved);
	v1_go(&v1, V1_R);
	for (way = 0; way < ARRAY_SIZE(ways_out); way++) {
		for (n = which; n < V1_STATES; n += 2)
			way_out(&v1, v1_states[n], false, way, &saved);
		way_out(&v1, which ? V1_M : V1_M | V1_N, true, way, &saved);
	}
}

TEST_LONG(v1_ways_out,
	"reset, by ioctl or config space, and close lead from every state, and "
	"from a refused stream, to RUNNING with nothing of the past "
	"(Documentation/design.rst, Failures)")
{
	vf_need_both();
	th_both(ways_out_of_half);
}

TEST(v1_unwound,
	"a transition that fails half way leaves state, stream and window as "
	"they were: RESUMING while an unbind keeps the function from being "
	"reset (Documentation/design.rst, Who does what)")
{
	static struct state saved, back;
	struct iommu iommu = {};
	struct v1 v1;
	struct vf vf;
	pid_t pid;

	v1_open_vf(&v1, &vf, &iommu, vf_bdf[0]);
	v1_save(&v1, &saved);
	v1_go(&v1, V1_R);
	pid = unbind_begin(&vf);

	th_context("from SAVING");
	v1_go(&v1, V1_S);
	v1_data_offset(&v1);
	EXPECT_EQ(-EAGAIN, v1_set_state(&v1, V1_M));
	EXPECT_V1_STATE(V1_S, &v1);
	EXPECT_EQ((u64)saved.len, v1_data_size(&v1));
	v1_collect_segment(&v1, &back);
	v1_collect(&v1, &back);
	state_expect_same(&saved, &back);
	EXPECT_EQ(-EAGAIN, v1_set_state(&v1, V1_M | V1_N));
	EXPECT_EQ((u64)0, v1_pending(&v1));
	EXPECT_V1_STATE(V1_S, &v1);

	th_context("from RUNNING");
	v1_go(&v1, V1_R);
	EXPECT_EQ(-EAGAIN, v1_set_state(&v1, V1_M));
	EXPECT_V1_STATE(V1_R, &v1);
	EXPECT_TRUE(vf_real_command(&vf) & PCI_COMMAND_MASTER);
	/* And nobody owns it. */
	EXPECT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_STOP, NULL));
	EXPECT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_RUNNING, NULL));

	vf_close(&vf);
	unbind_end(pid);
}
