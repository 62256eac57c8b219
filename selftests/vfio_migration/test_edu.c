// SPDX-License-Identifier: GPL-2.0
/*
 * The example backend, driver/example/edu.c, on two of QEMU's edu devices.
 * What a backend of any device has to keep: nothing moves while it is quiet,
 * nothing is lost, and what it cannot carry it refuses.
 */
#include <errno.h>
#include <linux/pci_regs.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "harness.h"
#include "state.h"
#include "vfio.h"

#define LIVE		0x04
#define FACTORIAL	0x08
#define STATUS		0x20
#define  COMPUTING	0x01
#define  IRQ_COMPUTED	0x80
#define IRQ		0x24
#define  CAUSE_COMPUTED	0x001
#define  CAUSE_COPIED	0x100
#define IRQ_RAISE	0x60
#define IRQ_LOWER	0x64
#define SRC		0x80
#define DST		0x88
#define COUNT		0x90
#define CMD		0x98
#define  RUN		0x1
#define  OUT		0x2
#define  IRQ_COPIED	0x4

#define BUFFER		0x40000
#define RECORD		VFIO_MIG_RECORD_BACKEND
#define RECORD_CMD	(7 * 4)		/* of the command in the record */

/* The device has 28 address lines: DMA_IOVA is beyond. */
#define IOVA		0x100000
#define LENGTH		64
#define OLD		0xaa

static void enable_msi(struct vf *vf)
{
	struct {
		struct vfio_irq_set set;
		int fd;
	} arg = {
		.set = {
			.argsz = sizeof(arg),
			.flags = VFIO_IRQ_SET_DATA_EVENTFD |
				 VFIO_IRQ_SET_ACTION_TRIGGER,
			.index = VFIO_PCI_MSI_IRQ_INDEX,
			.count = 1,
		},
	};

	vf->event[0] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	ASSERT_LE(0, vf->event[0]);
	arg.fd = vf->event[0];
	ASSERT_EQ(0, ioctl(vf->fd, VFIO_DEVICE_SET_IRQS, &arg));
}

static void edu_open(struct vf *vf, struct iommu *iommu, const char *bdf)
{
	vf_open(vf, iommu, bdf);
	enable_msi(vf);
}

static void edu_open_both(struct vf vf[2], struct iommu *iommu)
{
	vf_need_both();
	edu_open(&vf[0], iommu, vf_bdf[0]);
	edu_open(&vf[1], iommu, vf_bdf[1]);
	ASSERT_EQ(0, iommu_map(iommu, iommu->mem, IOVA, DMA_SIZE));
}

static void wait_for_0(struct vf *vf, u32 offset, u32 bit)
{
	u64 end = time_ms() + 5000;

	while (vf_read(vf, offset) & bit) {
		ASSERT_LE(time_ms(), end);
		sleep_ms(1);
	}
}

static void compute(struct vf *vf, u32 n)
{
	vf_write(vf, FACTORIAL, n);
	wait_for_0(vf, STATUS, COMPUTING);
}

/* Begin to copy from the device's buffer to the start of the memory. */
static void copy_out(struct vf *vf, u32 more)
{
	memset(vf->iommu->mem, OLD, LENGTH);
	vf_write(vf, SRC, BUFFER);
	vf_write(vf, DST, IOVA);
	vf_write(vf, COUNT, LENGTH);
	vf_write(vf, CMD, RUN | OUT | more);
}

/* Is the memory as it was before the copy? */
static bool untouched(struct iommu *iommu)
{
	unsigned int i;

	for (i = 0; i < LENGTH; i++)
		if (iommu->mem[i] != OLD)
			return false;
	return true;
}

static void expect_fresh(struct vf *vf)
{
	EXPECT_EQ(0u, vf_read(vf, LIVE));
	EXPECT_EQ(0u, vf_read(vf, FACTORIAL));
	EXPECT_EQ(0u, vf_read(vf, STATUS));
	EXPECT_EQ(0u, vf_read(vf, IRQ));
	EXPECT_EQ(0u, vf_read(vf, SRC));
	EXPECT_EQ(0u, vf_read(vf, DST));
	EXPECT_EQ(0u, vf_read(vf, COUNT));
	EXPECT_EQ(0u, vf_read(vf, CMD));
}

/* Something in every register. */
static void dirty(struct vf *vf)
{
	copy_out(vf, 0);
	wait_for_0(vf, CMD, RUN);
	vf_write(vf, LIVE, 0x12345678);
	compute(vf, 10);
	vf_write(vf, STATUS, IRQ_COMPUTED);
	vf_write(vf, IRQ_RAISE, 0x5000);
}

static void expect_dirty(struct vf *vf)
{
	EXPECT_EQ(~0x12345678u, vf_read(vf, LIVE));
	EXPECT_EQ(3628800u, vf_read(vf, FACTORIAL));
	EXPECT_EQ((u32)IRQ_COMPUTED, vf_read(vf, STATUS));
	EXPECT_EQ(0x5000u, vf_read(vf, IRQ));
	EXPECT_EQ((u32)BUFFER, vf_read(vf, SRC));
	EXPECT_EQ((u32)IOVA, vf_read(vf, DST));
	EXPECT_EQ((u32)LENGTH, vf_read(vf, COUNT));
	EXPECT_EQ((u32)OUT, vf_read(vf, CMD));
}

TEST_ALONE(works,
	"the device computes, copies and interrupts, as without a migration; a "
	"factorial that would take seconds does not")
{
	struct iommu iommu = {};
	struct vf vf[2];

	edu_open_both(vf, &iommu);
	vf_write(&vf[0], STATUS, IRQ_COMPUTED);
	compute(&vf[0], 5);
	EXPECT_EQ(120u, vf_read(&vf[0], FACTORIAL));
	EXPECT_TRUE(vf_wait_interrupt(&vf[0], 0, 5000));
	EXPECT_EQ((u64)1, vf_interrupts(&vf[0], 0));
	EXPECT_EQ((u32)CAUSE_COMPUTED, vf_read(&vf[0], IRQ));

	copy_out(&vf[0], IRQ_COPIED);
	EXPECT_TRUE(vf_wait_interrupt(&vf[0], 0, 5000));
	EXPECT_EQ((u32)(CAUSE_COMPUTED | CAUSE_COPIED), vf_read(&vf[0], IRQ));
	EXPECT_EQ(false, untouched(&iommu));

	compute(&vf[0], 33);
	EXPECT_EQ(0x80000000u, vf_read(&vf[0], FACTORIAL));
	compute(&vf[0], 0xffffffff);
	EXPECT_EQ(0u, vf_read(&vf[0], FACTORIAL));
}

TEST_ALONE(reset,
	"after a reset, and for the next user, every register is as in a fresh "
	"device, although the hardware spares them all")
{
	struct iommu iommu = {};
	struct vf vf[2];

	edu_open_both(vf, &iommu);
	expect_fresh(&vf[0]);
	dirty(&vf[0]);
	expect_dirty(&vf[0]);
	ASSERT_EQ(0, vf_reset(&vf[0]));
	expect_fresh(&vf[0]);
	dirty(&vf[0]);
	vf_reopen(&vf[0]);
	expect_fresh(&vf[0]);
}

TEST_ALONE(move,
	"saved and loaded into the other device, every register reads the same, "
	"quiet and working; a pending interrupt comes when it works, and not "
	"before")
{
	static struct state state;
	struct iommu iommu = {};
	struct vf vf[2];
	unsigned int at = 0, n;

	edu_open_both(vf, &iommu);
	dirty(&vf[0]);
	EXPECT_TRUE(vf_wait_interrupt(&vf[0], 0, 5000));
	for (n = 0; n < 4; n++, at = !at) {
		th_context("round %u", n);
		vf_all_interrupts(&vf[at]);
		state_save(&vf[at], &state);
		expect_dirty(&vf[at]);
		EXPECT_EQ((u64)0, vf_interrupts(&vf[at], 0));
		ASSERT_EQ(0, state_load(&vf[!at], &state));
		expect_dirty(&vf[!at]);
		EXPECT_EQ((u64)0, vf_interrupts(&vf[!at], 0));
		ASSERT_EQ(0, vf_set_state(&vf[!at], VFIO_DEVICE_STATE_RUNNING,
					  NULL));
		expect_dirty(&vf[!at]);
		EXPECT_TRUE(vf_wait_interrupt(&vf[!at], 0, 5000));
		ASSERT_EQ(0, vf_reset(&vf[at]));
	}
	th_context("at the end");
	vf_all_interrupts(&vf[at]);
	compute(&vf[at], 6);
	EXPECT_EQ(720u, vf_read(&vf[at], FACTORIAL));
	EXPECT_TRUE(vf_wait_interrupt(&vf[at], 0, 5000));
}

TEST_ALONE(land,
	"a copy that is under way has landed, and its interrupt has been "
	"counted, when RUNNING_P2P is acknowledged")
{
	struct iommu iommu = {};
	struct vf vf[2];

	edu_open_both(vf, &iommu);
	copy_out(&vf[0], IRQ_COPIED);
	ASSERT_EQ(0, vf_set_state(&vf[0], VFIO_DEVICE_STATE_RUNNING_P2P, NULL));
	EXPECT_EQ(false, untouched(&iommu));
	EXPECT_EQ((u64)1, vf_interrupts(&vf[0], 0));
	EXPECT_EQ((u32)(OUT | IRQ_COPIED), vf_read(&vf[0], CMD));
	ASSERT_EQ(0, vf_set_state(&vf[0], VFIO_DEVICE_STATE_RUNNING, NULL));
	EXPECT_EQ((u32)CAUSE_COPIED, vf_read(&vf[0], IRQ));
	EXPECT_EQ((u64)0, vf_interrupts(&vf[0], 0));
}

TEST(memory,
	"registers of a function whose memory decoding the user has switched off "
	"are out of reach for it, quiet or not; and it is off again after quiet")
{
	struct iommu iommu = {};
	struct vf vf;
	u32 value;
	u16 on;

	edu_open(&vf, &iommu, vf_bdf[0]);
	on = vf_config_read(&vf, PCI_COMMAND);
	ASSERT_TRUE(on & PCI_COMMAND_MEMORY);
	compute(&vf, 5);
	vf_config_write(&vf, PCI_COMMAND, on & ~PCI_COMMAND_MEMORY);
	EXPECT_EQ((ssize_t)-1, pread(vf.fd, &value, 4, vf.bar + FACTORIAL));
	ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_STOP, NULL));
	EXPECT_EQ(on & ~PCI_COMMAND_MEMORY, vf_config_read(&vf, PCI_COMMAND));
	EXPECT_TRUE(vf_real_command(&vf) & PCI_COMMAND_MEMORY);
	EXPECT_EQ((ssize_t)-1, pread(vf.fd, &value, 4, vf.bar + FACTORIAL));

	th_context("on in STOP");
	vf_config_write(&vf, PCI_COMMAND, on);
	EXPECT_EQ(120u, vf_read(&vf, FACTORIAL));
	vf_config_write(&vf, PCI_COMMAND, on & ~PCI_COMMAND_MEMORY);

	th_context("RUNNING again");
	ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_RUNNING, NULL));
	EXPECT_EQ(on & ~PCI_COMMAND_MEMORY, vf_config_read(&vf, PCI_COMMAND));
	EXPECT_EQ(0, vf_real_command(&vf) & PCI_COMMAND_MEMORY);
	vf_config_write(&vf, PCI_COMMAND, on);
	EXPECT_EQ(120u, vf_read(&vf, FACTORIAL));

	th_context("reset in STOP");
	ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_STOP, NULL));
	vf_config_write(&vf, PCI_COMMAND, on & ~PCI_COMMAND_MEMORY);
	ASSERT_EQ(0, vf_reset(&vf));
	EXPECT_EQ(0, vf_real_command(&vf) & PCI_COMMAND_MEMORY);
}

TEST(late,
	"the interrupt of a factorial, which comes after the result, has been "
	"counted when RUNNING_P2P is acknowledged")
{
	struct iommu iommu = {};
	struct vf vf;
	unsigned int n;

	edu_open(&vf, &iommu, vf_bdf[0]);
	vf_write(&vf, STATUS, IRQ_COMPUTED);
	for (n = 0; n < 50; n++) {
		th_context("round %u", n);
		vf_write(&vf, FACTORIAL, n);
		ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_RUNNING_P2P,
					  NULL));
		EXPECT_EQ((u64)1, vf_interrupts(&vf, 0));
		EXPECT_EQ((u32)CAUSE_COMPUTED, vf_read(&vf, IRQ));
		ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_RUNNING,
					  NULL));
		vf_write(&vf, IRQ_LOWER, CAUSE_COMPUTED);
		EXPECT_EQ((u64)0, vf_interrupts(&vf, 0));
	}
}

TEST_ALONE(held,
	"what is begun while the device is quiet is done by whoever goes on: "
	"the same device, or another")
{
	static struct state state;
	struct iommu iommu = {};
	struct vf vf[2];
	unsigned int to;

	edu_open_both(vf, &iommu);
	for (to = 0; to < 2; to++) {
		th_context("on device %u", to);
		ASSERT_EQ(0, vf_reset(&vf[0]));
		ASSERT_EQ(0, vf_set_state(&vf[0], VFIO_DEVICE_STATE_RUNNING_P2P,
					  NULL));
		vf_write(&vf[0], FACTORIAL, 7);
		copy_out(&vf[0], IRQ_COPIED);
		/* As in a working device, at work: both are ignored. */
		vf_write(&vf[0], FACTORIAL, 8);
		vf_write(&vf[0], DST, 0);
		EXPECT_EQ((u32)COMPUTING, vf_read(&vf[0], STATUS));
		EXPECT_EQ((u32)IOVA, vf_read(&vf[0], DST));
		EXPECT_EQ((u32)(RUN | OUT | IRQ_COPIED), vf_read(&vf[0], CMD));
		if (to) {
			state_save(&vf[0], &state);
			ASSERT_EQ(0, state_load(&vf[1], &state));
		}
		/* Longer than a copy would take. */
		sleep_ms(200);
		EXPECT_TRUE(untouched(&iommu));
		EXPECT_EQ((u64)0, vf_interrupts(&vf[to], 0));

		ASSERT_EQ(0, vf_set_state(&vf[to], VFIO_DEVICE_STATE_RUNNING,
					  NULL));
		EXPECT_TRUE(vf_wait_interrupt(&vf[to], 0, 5000));
		EXPECT_EQ(false, untouched(&iommu));
		wait_for_0(&vf[to], STATUS, COMPUTING);
		EXPECT_EQ(5040u, vf_read(&vf[to], FACTORIAL));
	}
}

TEST_ALONE(filled,
	"a device whose buffer was filled is not saved, and goes on; after a "
	"reset it can be saved again")
{
	struct iommu iommu = {};
	struct vf vf[2];

	edu_open_both(vf, &iommu);
	memset(iommu.mem, 0x55, LENGTH);
	vf_write(&vf[0], SRC, IOVA);
	vf_write(&vf[0], DST, BUFFER);
	vf_write(&vf[0], COUNT, LENGTH);
	vf_write(&vf[0], CMD, RUN);
	EXPECT_EQ(-EOPNOTSUPP,
		  vf_set_state(&vf[0], VFIO_DEVICE_STATE_STOP_COPY, NULL));
	EXPECT_STATE(VFIO_DEVICE_STATE_STOP, &vf[0]);
	ASSERT_EQ(0, vf_set_state(&vf[0], VFIO_DEVICE_STATE_RUNNING, NULL));
	copy_out(&vf[0], 0);
	wait_for_0(&vf[0], CMD, RUN);
	EXPECT_EQ(0x55, iommu.mem[LENGTH - 1]);
	ASSERT_EQ(0, vf_reset(&vf[0]));
	EXPECT_EQ(0, vf_set_state(&vf[0], VFIO_DEVICE_STATE_STOP_COPY, NULL));
}

TEST(invalid,
	"a value that no user could have set is refused, and the device is as "
	"fresh after a reset")
{
	static struct state state;
	static struct draft draft;
	struct iommu iommu = {};
	struct vf vf;
	u8 *payload;

	edu_open(&vf, &iommu, vf_bdf[0]);
	vf_write(&vf, LIVE, 0x12345678);
	state_save(&vf, &state);
	draft_of(&draft, &state);
	payload = draft_payload(&draft, RECORD);
	payload[RECORD_CMD] |= 0x80;
	state.len = 0;
	draft_append(&draft, &state);
	EXPECT_EQ(-EINVAL, state_load(&vf, &state));
	EXPECT_STATE(VFIO_DEVICE_STATE_RESUMING, &vf);
	EXPECT_EQ(-EINVAL, vf_set_state(&vf, VFIO_DEVICE_STATE_RUNNING, NULL));
	ASSERT_EQ(0, vf_reset(&vf));
	expect_fresh(&vf);
}
