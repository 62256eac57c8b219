// SPDX-License-Identifier: GPL-2.0
/*
 * Hardware that is not like QEMU's igb: each answer of the driver's own trial is
 * forced, and what follows from it is seen. Where rings cannot go on where they
 * were, the guest is asked to start them over, on the same function, too.
 */
#include <errno.h>
#include <linux/pci_regs.h>
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

#define LIKE_QEMU	\
	"heads_writable=1 heads_kept=1 mask_readable=0 tails_latched=1 " \
	"start_over=Y map_interrupts=-1"
#define NOT_KEPT	"heads_kept=0"

/* In IDENTITY. */
#define NEEDS_HEADS	(1u << 0)
#define NEEDS_START_OVER (1u << 1)
#define IS_WRITABLE	(1u << 0)
#define IS_KEPT		(1u << 1)
#define IS_READABLE	(1u << 2)
#define IS_LATCHED	(1u << 3)
#define IS_ALL		(IS_WRITABLE | IS_KEPT | IS_READABLE | IS_LATCHED)

/**
 * struct hardware - what it may be like, and what follows
 * @answers: as parameters
 * @needs: required features of a state
 * @is: optional features of a state
 * @stays: rings go on after quiet, on the same function
 * @moves: rings go on at another function
 */
static const struct hardware {
	const char *answers;
	u64 needs;
	u64 is;
	bool stays;
	bool moves;
} hardwares[] = {
	{ "heads_writable=1", NEEDS_HEADS,
	  IS_WRITABLE | IS_KEPT | IS_LATCHED, true, true },
	{ "heads_writable=0", NEEDS_HEADS, IS_KEPT | IS_LATCHED, true, false },
	{ "heads_kept=0", NEEDS_START_OVER, IS_WRITABLE | IS_LATCHED, false,
	  false },
	{ "mask_readable=1", NEEDS_HEADS, IS_ALL, true, true },
	{ "tails_latched=0", NEEDS_HEADS, IS_WRITABLE | IS_KEPT, true, true },
	{ "heads_writable=0 heads_kept=0 mask_readable=1 tails_latched=0",
	  NEEDS_START_OVER, IS_READABLE, false, false },
};

static void be_like(const char *answers)
{
	parameters_set(LIKE_QEMU);
	parameters_set(answers);
}

/* In both directions; QEMU's igb returns what the sender broadcasts, too. */
static void exchange(struct nic *one, struct nic *other, u32 *number)
{
	EXPECT_TRUE(nic_send(one, *number, 5));
	nic_expect(other, *number, 5);
	*number += 5;
	EXPECT_TRUE(nic_send(other, *number, 5));
	nic_expect(one, *number, 5);
	*number += 5;
}

/* The function works again: at the next descriptor, or when it has been told. */
static void goes_on(struct nic *nic, struct nic *other, bool rings, u32 *number)
{
	if (!rings) {
		expect_start_over(nic->vf);
		nic_start_over(nic);
	} else {
		EXPECT_NE(MSG_NACK, vf_read(nic->vf, VMBMEM(0)));
	}
	exchange(nic, other, number);
}

static void expect_identity(const struct hardware *hw, const struct state *state)
{
	struct record record[RECORDS_MAX];
	unsigned int count = state_records(state, record);
	const struct record *found = state_find(record, count,
						VFIO_MIG_RECORD_IDENTITY);
	struct vfio_mig_identity identity;

	ASSERT_TRUE(found);
	memcpy(&identity, found->payload, sizeof(identity));
	EXPECT_EQ(hw->needs, (u64)identity.required);
	EXPECT_EQ(hw->is, (u64)identity.optional & IS_ALL);
}

static void live_on(const struct hardware *hw)
{
	static struct state state;
	struct iommu iommu = {};
	struct nic moving, other;
	struct vf vf[2];
	u32 number = 1;

	th_context("%s", hw->answers);
	be_like(hw->answers);
	vf_open_both(vf, &iommu);
	EXPECT_EQ(hw->stays, rings_stay(&vf[0]));
	EXPECT_EQ(hw->moves, rings_load(&vf[0]));
	nic_start(&moving, &vf[0], 0);
	nic_start(&other, &vf[1], 1);
	exchange(&moving, &other, &number);

	th_context("%s, a migration that is cancelled", hw->answers);
	state_save(&vf[0], &state);
	expect_identity(hw, &state);
	vf_all_interrupts(&vf[0]);
	ASSERT_EQ(0, vf_set_state(&vf[0], VFIO_DEVICE_STATE_RUNNING, NULL));
	goes_on(&moving, &other, hw->stays, &number);

	th_context("%s, a migration", hw->answers);
	state_save(&vf[0], &state);
	ASSERT_EQ(0, state_load(&vf[1], &state));
	vf_all_interrupts(&vf[1]);
	ASSERT_EQ(0, vf_set_state(&vf[1], VFIO_DEVICE_STATE_RUNNING, NULL));
	nic_move(&moving, &vf[1]);
	ASSERT_EQ(0, vf_reset(&vf[0]));
	nic_start(&other, &vf[0], 1);
	goes_on(&moving, &other, hw->stays && hw->moves, &number);
	vf_close(&vf[0]);
	vf_close(&vf[1]);
	close(iommu.fd);
}

TEST_ALONE(over_answers,
	"whatever the hardware can do, a guest goes on after a cancelled and "
	"after a completed migration, and is asked to start its rings over "
	"where it must be, and nowhere else")
{
	unsigned int n;

	parameters_keep();
	for (n = 0; n < ARRAY_SIZE(hardwares); n++)
		live_on(&hardwares[n]);
	parameters_restore();
}

TEST_ALONE(over_trial,
	"what the driver tries out on a function leaves nothing behind")
{
	struct iommu iommu = {};
	unsigned int n;
	struct vf vf;

	parameters_keep();
	parameters_set("heads_writable=-1 heads_kept=-1 mask_readable=-1 "
		       "tails_latched=-1");
	vf_open(&vf, &iommu, vf_bdf[0]);
	vf_enable_interrupts(&vf);
	vf_config_write(&vf, PCI_COMMAND, vf_config_read(&vf, PCI_COMMAND) |
					  PCI_COMMAND_MASTER);
	for (n = 0; n < 2; n++) {
		th_context("queue %u", n);
		EXPECT_EQ(0u, vf_read(&vf, RDLEN(n)));
		EXPECT_EQ(0u, vf_read(&vf, RDH(n)));
		EXPECT_EQ(0u, vf_read(&vf, RDT(n)));
		EXPECT_EQ(0u, vf_read(&vf, RXDCTL(n)) & DCTL_ENABLE);
		EXPECT_EQ(0u, vf_read(&vf, TDLEN(n)));
		EXPECT_EQ(0u, vf_read(&vf, TDH(n)));
		EXPECT_EQ(0u, vf_read(&vf, TDT(n)));
		EXPECT_EQ(0u, vf_read(&vf, TXDCTL(n)) & DCTL_ENABLE);
	}
	th_context("interrupts");
	EXPECT_EQ(0u, vf_read(&vf, EIMS));
	EXPECT_EQ(0u, vf_read(&vf, IVAR0));
	vf_write(&vf, EIMS, 7);
	sleep_ms(20);
	EXPECT_EQ((u64)0, vf_all_interrupts(&vf));
	parameters_restore();
}

/* There and back. */
static void pause_in(struct vf *vf, u32 state)
{
	th_context("%s", state_name(state));
	ASSERT_EQ(0, vf_set_state(vf, state, NULL));
	ASSERT_EQ(0, vf_set_state(vf, VFIO_DEVICE_STATE_RUNNING, NULL));
}

TEST_ALONE(over_cancelled,
	"where heads are not kept: after any quiet state the guest is asked to "
	"start over; again, if it is made quiet before it does; with its "
	"filters, and its interrupts where it had them")
{
	struct iommu iommu = {};
	struct nic nic, other;
	struct vf vf[2];
	u32 number = 1;
	unsigned int n;

	parameters_keep();
	be_like(NOT_KEPT);
	vf_open_both(vf, &iommu);
	nic_start(&nic, &vf[0], 0);
	nic_start(&other, &vf[1], 1);
	for_each_quiet(n, &vf[0], KEEPING) {
		vf_all_interrupts(&vf[0]);
		pause_in(&vf[0], quiet_states[n]);
		expect_start_over(&vf[0]);
		EXPECT_EQ(IVAR0_VALUE, vf_read(&vf[0], IVAR0));
		EXPECT_EQ(IVAR_MISC_VALUE, vf_read(&vf[0], IVAR_MISC));
		EXPECT_EQ(7u, vf_read(&vf[0], EIMS));
		EXPECT_EQ(RING * 16u, vf_read(&vf[0], RDLEN(0)));
		/* Nobody takes notice, and nothing is received. */
		EXPECT_TRUE(nic_send(&other, number, 3));
		EXPECT_EQ((long long)-ETIMEDOUT, nic_receive(&nic, 20));
		vf_all_interrupts(&vf[0]);
		pause_in(&vf[0], quiet_states[n]);
		expect_start_over(&vf[0]);
		/* Half of the time without a reset of the function. */
		if (n % 2)
			nic_start(&nic, &vf[0], 0);
		else
			nic_start_over(&nic);
		exchange(&nic, &other, &number);
		EXPECT_NE(MSG_NACK, vf_read(&vf[0], VMBMEM(0)));
	}
	parameters_restore();
}

TEST_ALONE(over_reset,
	"where heads are not kept: a guest that resets its function while it is "
	"quiet is not asked any more, also at the destination")
{
	static struct state state;
	struct iommu iommu = {};
	struct vf vf[2];
	struct nic nic;

	parameters_keep();
	be_like(NOT_KEPT);
	vf_open_both(vf, &iommu);
	nic_start(&nic, &vf[0], 0);
	ASSERT_EQ(0, vf_set_state(&vf[0], VFIO_DEVICE_STATE_STOP, NULL));
	EXPECT_EQ(MSG_NACK, vf_read(&vf[0], VMBMEM(0)));
	vf_write(&vf[0], VTCTRL, VTCTRL_RST);
	EXPECT_NE(MSG_NACK, vf_read(&vf[0], VMBMEM(0)));
	vf_write(&vf[0], EITR(RX_VECTOR), 0x3d0);
	state_save(&vf[0], &state);
	ASSERT_EQ(0, vf_set_state(&vf[0], VFIO_DEVICE_STATE_RUNNING, NULL));
	EXPECT_NE(MSG_NACK, vf_read(&vf[0], VMBMEM(0)));
	/* What it has written since is there, whatever the reset has cleared. */
	EXPECT_EQ(0x3d0u, vf_read(&vf[0], EITR(RX_VECTOR)));
	EXPECT_EQ(IVAR0_VALUE, vf_read(&vf[0], IVAR0));

	ASSERT_EQ(0, state_load(&vf[1], &state));
	ASSERT_EQ(0, vf_set_state(&vf[1], VFIO_DEVICE_STATE_RUNNING, NULL));
	EXPECT_NE(MSG_NACK, vf_read(&vf[1], VMBMEM(0)));
	nic_move(&nic, &vf[1]);
	nic_start_over(&nic);
	EXPECT_TRUE(nic_send(&nic, 1, 5));
	parameters_restore();
}

TEST_ALONE(over_stands,
	"where heads are not kept: a question that the guest has not answered "
	"migrates with it, also to hardware that keeps heads and sets them")
{
	static struct state state;
	struct iommu iommu = {};
	struct nic nic, other;
	struct vf vf[2];
	u32 number = 1;

	parameters_keep();
	be_like(NOT_KEPT);
	vf_open_both(vf, &iommu);
	nic_start(&nic, &vf[0], 0);
	state_save(&vf[0], &state);
	ASSERT_EQ(0, vf_reset(&vf[0]));
	nic_start(&other, &vf[0], 1);

	be_like("heads_kept=1");
	vf_reopen(&vf[1]);
	ASSERT_EQ(0, state_load(&vf[1], &state));
	vf_enable_interrupts(&vf[1]);
	ASSERT_EQ(0, vf_set_state(&vf[1], VFIO_DEVICE_STATE_RUNNING, NULL));
	expect_start_over(&vf[1]);
	pause_in(&vf[1], VFIO_DEVICE_STATE_STOP);
	expect_start_over(&vf[1]);
	nic_move(&nic, &vf[1]);
	nic_start_over(&nic);
	exchange(&nic, &other, &number);
	/* And now they are kept. */
	pause_in(&vf[1], VFIO_DEVICE_STATE_STOP);
	EXPECT_NE(MSG_NACK, vf_read(&vf[1], VMBMEM(0)));
	exchange(&nic, &other, &number);
	parameters_restore();
}

TEST_ALONE(over_unused,
	"where heads are not kept: a guest without rings is not asked anything, "
	"and its state loads where nobody may be asked")
{
	static struct state state;
	struct iommu iommu = {};
	struct vf vf;
	struct nic nic;

	parameters_keep();
	be_like(NOT_KEPT);
	vf_open(&vf, &iommu, vf_bdf[0]);
	nic_start(&nic, &vf, 0);
	vf_write(&vf, RXDCTL(0), 0);
	vf_write(&vf, TXDCTL(0), 0);
	vf_all_interrupts(&vf);
	state_save(&vf, &state);
	ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_RUNNING, NULL));
	EXPECT_NE(MSG_NACK, vf_read(&vf, VMBMEM(0)));
	EXPECT_EQ(false, vf_wait_interrupt(&vf, MISC_VECTOR, 50));
	ASSERT_EQ(0, state_load(&vf, &state));
	ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_RUNNING, NULL));
	EXPECT_NE(MSG_NACK, vf_read(&vf, VMBMEM(0)));
	parameters_restore();
}

TEST_ALONE(over_forbidden,
	"start_over=N: a source that does not keep its heads refuses to be quiet "
	"while its rings are in use, and works on; a destination that may not ask "
	"refuses such a source, and where heads cannot be set any, by IDENTITY")
{
	static const char * const unable[] = {
		"heads_writable=1 start_over=N", "heads_writable=0 start_over=N",
	};
	static struct state state[2];
	struct record record[RECORDS_MAX];
	unsigned int n, from, count;
	struct iommu iommu = {};
	struct nic nic, other;
	struct vf vf[2];
	u32 number = 1;
	int fd, ret;

	parameters_keep();
	be_like(NOT_KEPT " start_over=N");
	vf_open_both(vf, &iommu);
	nic_start(&nic, &vf[0], 0);
	nic_start(&other, &vf[1], 1);
	for_each_quiet(n, &vf[0], KEEPING) {
		th_context("%s", state_name(quiet_states[n]));
		EXPECT_EQ(-EOPNOTSUPP,
			  vf_set_state(&vf[0], quiet_states[n], NULL));
		ASSERT_EQ(0, vf_set_state(&vf[0], VFIO_DEVICE_STATE_RUNNING,
					  NULL));
		exchange(&nic, &other, &number);
	}
	th_context("without rings");
	ASSERT_EQ(0, vf_reset(&vf[0]));
	ASSERT_EQ(0, vf_set_state(&vf[0], VFIO_DEVICE_STATE_STOP, NULL));

	/* States of a source that does not keep heads, and of one that does. */
	for (from = 0; from < 2; from++) {
		be_like(from ? "heads_kept=1" : NOT_KEPT);
		vf_reopen(&vf[0]);
		nic_start(&nic, &vf[0], 0);
		state_save(&vf[0], &state[from]);
	}
	for (n = 0; n < ARRAY_SIZE(unable); n++) {
		be_like(unable[n]);
		vf_reopen(&vf[1]);
		for (from = 0; from < 2; from++) {
			th_context("%s, %s", unable[n],
				   from ? "kept" : "not kept");
			count = state_records(&state[from], record);
			ASSERT_LE(3u, count);
			fd = vf_open_stream(&vf[1], VFIO_DEVICE_STATE_RESUMING);
			/* Up to IDENTITY, which may come in PRE_COPY. */
			ret = state_write(fd, state[from].buf, record[2].at);
			EXPECT_EQ(from && !n ? 0 : -EOPNOTSUPP, ret);
			close(fd);
			ASSERT_EQ(0, vf_reset(&vf[1]));
		}
	}
	parameters_restore();
}

struct toggler {
	struct vf *vf;
	atomic_bool stop;
	atomic_uint times;
};

static void *toggle_thread(void *arg)
{
	struct toggler *toggler = arg;
	unsigned int n;

	for (n = 0; !atomic_load(&toggler->stop); n++) {
		atomic_store(&toggler->times, n);
		EXPECT_EQ(0, vf_set_state(toggler->vf, n % 2 ?
					  VFIO_DEVICE_STATE_STOP :
					  VFIO_DEVICE_STATE_RUNNING_P2P, NULL));
		EXPECT_EQ(0, vf_set_state(toggler->vf,
					  VFIO_DEVICE_STATE_RUNNING, NULL));
	}
	return NULL;
}

/* What a driver does to set its function up, as far as it gets. */
static void try_start(struct vf *vf)
{
	u32 request = MSG_RESET, answer[3];

	vf_write(vf, VTCTRL, VTCTRL_RST);
	mbx_call(vf, &request, 1, answer, 3);
	vf_write(vf, RXDCTL(0), 0);
	vf_write(vf, TXDCTL(0), 0);
	vf_write(vf, TXDCTL(0), DCTL_ENABLE);
	vf_write(vf, RXDCTL(0), DCTL_ENABLE | 0x10810);
	vf_write(vf, RDT(0), RING - 1);
}

TEST_ALONE(over_races,
	"where heads are not kept: a guest that sets its function up over and "
	"over, while that is made quiet and released, has it working in the end")
{
	struct toggler toggler = {};
	struct iommu iommu = {};
	struct nic nic, other;
	struct vf vf[2];
	pthread_t thread;
	unsigned int n = 0;
	u32 number = 1;

	parameters_keep();
	be_like(NOT_KEPT);
	vf_open_both(vf, &iommu);
	nic_start(&nic, &vf[0], 0);
	nic_start(&other, &vf[1], 1);
	toggler.vf = &vf[0];
	ASSERT_EQ(0, pthread_create(&thread, NULL, toggle_thread, &toggler));
	while (atomic_load(&toggler.times) < th_times(20)) {
		th_context("round %u", n++);
		try_start(&vf[0]);
	}
	atomic_store(&toggler.stop, true);
	ASSERT_EQ(0, pthread_join(thread, NULL));
	th_log("set up %u times", n);
	nic_start_over(&nic);
	exchange(&nic, &other, &number);
	parameters_restore();
}
