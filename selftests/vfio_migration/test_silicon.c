// SPDX-License-Identifier: GPL-2.0
/*
 * What only the hardware can tell: the questions of Documentation/igbvf.rst,
 * put to a function that is bound to vfio-pci itself, so that nothing is
 * emulated. There is no right answer, so a test fails only if it gets none.
 * Answers are lines "fact NAME=VALUE"; those named like parameters of
 * igbvf_vfio_pci are what its own trial should find. scripts/silicon.py makes
 * parameters of them, so that it can be seen elsewhere what they lead to
 * (scripts/lab demo --profile FILE).
 *
 * Works on the function that it is given and on nothing else; another function
 * of the same NIC can be in use meanwhile.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <linux/pci_regs.h>

#include "harness.h"
#include "igbvf.h"

#define TRY	5u
#define TRY_LEN	128u
#define FRAMES	5u

static void fact(const char *name, long long value)
{
	th_log("fact %s=%lld", name, value);
}

static u64 now_us(void)
{
	return time_ns() / 1000;
}

static void raw_open(struct vf *vf, struct iommu *iommu)
{
	char driver[32];

	bdf_driver(vf_bdf[0], driver, sizeof(driver));
	if (strcmp(driver, "vfio-pci"))
		th_skip("%s is bound to %s, not to vfio-pci", vf_bdf[0], driver);
	memset(iommu, 0, sizeof(*iommu));
	vf_open(vf, iommu, vf_bdf[0]);
}

/* A working NIC that has sent a few frames. */
static void raw_start(struct nic *nic, struct vf *vf, struct iommu *iommu)
{
	raw_open(vf, iommu);
	nic_start(nic, vf, 0);
	ASSERT_TRUE(nic_send(nic, 0, FRAMES));
}

/* Microseconds until a queue is on or off, -1: not within a second. */
static long long switched(struct vf *vf, u32 dctl, bool on)
{
	u64 begin = now_us(), end = begin + 1000000;

	while (!!(vf_read(vf, dctl) & DCTL_ENABLE) != on)
		if (now_us() > end)
			return -1;
	return now_us() - begin;
}

TEST_ALONE(heads, "Question 1: can heads of a queue that is off be written?")
{
	struct iommu iommu;
	struct vf vf;
	bool rx, tx;

	raw_open(&vf, &iommu);
	vf_write(&vf, RDLEN(1), TRY_LEN);
	vf_write(&vf, TDLEN(1), TRY_LEN);
	vf_write(&vf, RDH(1), TRY);
	vf_write(&vf, TDH(1), TRY);
	rx = (vf_read(&vf, RDH(1)) & 0xffff) == TRY;
	tx = (vf_read(&vf, TDH(1)) & 0xffff) == TRY;
	fact("rx_head_writable", rx);
	fact("tx_head_writable", tx);
	fact("heads_writable", rx && tx);
	vf_write(&vf, RDH(1), 0);
	vf_write(&vf, TDH(1), 0);
	vf_write(&vf, RDLEN(1), 0);
	vf_write(&vf, TDLEN(1), 0);
	vf_close(&vf);
}

TEST_ALONE(kept, "Question 2: do heads survive switching a queue off and on?")
{
	u32 off, on, before;
	struct iommu iommu;
	struct nic nic;
	struct vf vf;

	raw_start(&nic, &vf, &iommu);
	before = vf_read(&vf, TDH(0)) & 0xffff;
	vf_write(&vf, TXDCTL(0), 0);
	ASSERT_LE(0, switched(&vf, TXDCTL(0), false));
	off = vf_read(&vf, TDH(0)) & 0xffff;
	vf_write(&vf, TXDCTL(0), DCTL_ENABLE);
	ASSERT_LE(0, switched(&vf, TXDCTL(0), true));
	on = vf_read(&vf, TDH(0)) & 0xffff;
	th_log("TDH was %u, %u when off, %u when on again", before, off, on);
	ASSERT_EQ(FRAMES, before);
	fact("heads_kept", off == before && on == before);
	vf_close(&vf);
}

TEST_ALONE(tails, "Question 3: is a tail kept that is written to a queue that is off?")
{
	struct iommu iommu;
	struct vf vf;
	bool rx, tx;

	raw_open(&vf, &iommu);
	vf_write(&vf, RDLEN(1), TRY_LEN);
	vf_write(&vf, TDLEN(1), TRY_LEN);
	vf_write(&vf, RDT(1), TRY);
	vf_write(&vf, TDT(1), TRY);
	rx = vf_read(&vf, RDT(1)) == TRY;
	tx = vf_read(&vf, TDT(1)) == TRY;
	fact("rx_tail_latched", rx);
	fact("tx_tail_latched", tx);
	fact("tails_latched", rx && tx);
	vf_write(&vf, RDT(1), 0);
	vf_write(&vf, TDT(1), 0);
	vf_write(&vf, RDLEN(1), 0);
	vf_write(&vf, TDLEN(1), 0);
	vf_close(&vf);
}

static void survivors(struct vf *vf, const char *what)
{
	th_log("after %s: RDBAL %#x RDLEN %#x RDH %u RXDCTL %#x TDH %u TXDCTL %#x",
	       what, vf_read(vf, RDBAL(0)), vf_read(vf, RDLEN(0)),
	       vf_read(vf, RDH(0)), vf_read(vf, RXDCTL(0)),
	       vf_read(vf, TDH(0)), vf_read(vf, TXDCTL(0)));
	th_log("after %s: IVAR0 %#x IVAR_MISC %#x EITR0 %#x EIMS %#x EIAC %#x",
	       what, vf_read(vf, IVAR0), vf_read(vf, IVAR_MISC),
	       vf_read(vf, EITR(0)), vf_read(vf, EIMS), vf_read(vf, EIAC));
}

TEST_ALONE(resets, "Question 4: what survives VTCTRL.RST and a function level reset?")
{
	struct iommu iommu;
	struct nic nic;
	struct vf vf;
	u16 command;

	raw_start(&nic, &vf, &iommu);
	survivors(&vf, "nothing");
	vf_write(&vf, VTCTRL, VTCTRL_RST);
	sleep_ms(20);
	survivors(&vf, "VTCTRL.RST");

	nic_start(&nic, &vf, 0);
	ASSERT_TRUE(nic_send(&nic, 0, FRAMES));
	ASSERT_EQ(0, vf_reset(&vf));
	command = vf_config_read(&vf, PCI_COMMAND);
	vf_config_write(&vf, PCI_COMMAND, command | PCI_COMMAND_MEMORY);
	survivors(&vf, "FLR");
	vf_close(&vf);
}

/* Where a capability is in config space. */
static u32 capability(struct vf *vf, u8 id)
{
	u32 at = vf_config_read(vf, PCI_CAPABILITY_LIST) & 0xfc;
	u16 head;

	while (at) {
		head = vf_config_read(vf, at);
		if ((head & 0xff) == id)
			return at;
		at = (head >> 8) & 0xfc;
	}
	return 0;
}

TEST_ALONE(pending, "Question 5: is Transactions Pending ever seen set?")
{
	unsigned int seen = 0, i;
	struct iommu iommu;
	struct nic nic;
	struct vf vf;
	u32 at;

	raw_start(&nic, &vf, &iommu);
	at = capability(&vf, PCI_CAP_ID_EXP);
	ASSERT_NE(0u, at);
	for (i = 0; i < 200; i++) {
		ASSERT_TRUE(nic_send(&nic, i, 1));
		seen += !!(vf_config_read(&vf, at + PCI_EXP_DEVSTA) &
			   PCI_EXP_DEVSTA_TRPND);
	}
	fact("transactions_pending_seen", seen);
	vf_close(&vf);
}

TEST_ALONE(stopping, "Question 6: how long does a queue under load take to go off, and where does it stop?")
{
	long long took, longest = 0;
	unsigned int i, middle = 0;
	struct iommu iommu;
	struct nic nic;
	struct vf vf;
	u32 tail, head;

	raw_open(&vf, &iommu);
	for (i = 0; i < 10; i++) {
		nic_start(&nic, &vf, 0);
		tail = nic_post(&nic, i, 8);
		vf_write(&vf, TDT(0), tail);
		vf_write(&vf, TXDCTL(0), 0);
		took = switched(&vf, TXDCTL(0), false);
		ASSERT_LE(0, took);
		if (took > longest)
			longest = took;
		head = vf_read(&vf, TDH(0)) & 0xffff;
		middle += head != tail;
	}
	fact("queue_off_us_longest", longest);
	fact("queue_off_with_frames_left", middle);
	vf_close(&vf);
}

/* Those that have something to do with interrupts, and are plain registers. */
static bool interrupts_read_back(struct vf *vf)
{
	static const u32 try[][2] = {
		{ EIAC, 5 }, { EIAM, 6 }, { EITR(0), 0x10 }, { EITR(1), 0x20 },
		{ EITR(2), 0x40 }, { IVAR0, IVAR0_VALUE },
		{ IVAR_MISC, IVAR_MISC_VALUE },
	};
	bool same = true;
	unsigned int n;

	for (n = 0; n < ARRAY_SIZE(try); n++) {
		vf_write(vf, try[n][0], try[n][1]);
		/* The upper half of EITR counts. */
		same &= (vf_read(vf, try[n][0]) & 0xffff) == try[n][1];
		vf_write(vf, try[n][0], 0);
	}
	return same;
}

TEST_ALONE(masks, "Question 7: do EIMS and EICR read back?")
{
	struct iommu iommu;
	u32 mask, causes;
	struct vf vf;

	raw_open(&vf, &iommu);
	vf_write(&vf, EIMC, 7);
	vf_write(&vf, EICR, 7);
	vf_write(&vf, EIMS, 3);
	vf_write(&vf, EIMC, 2);
	mask = vf_read(&vf, EIMS);
	vf_write(&vf, EIMC, 7);
	vf_write(&vf, EICS, 2);
	causes = vf_read(&vf, EICR);
	th_log("EIMS %#x (the mask is 1), EICR %#x (2 was raised)", mask, causes);
	fact("mask_readable", (mask & 7) == 1);
	fact("causes_readable", (causes & 7) == 2);
	/* Not where the mask does not: QEMU's igb would hand some to the PF. */
	fact("interrupts_readable", (mask & 7) == 1 && interrupts_read_back(&vf));
	vf_close(&vf);
}

TEST_ALONE(pba, "Question 8: where are the pending bits of MSI-X?")
{
	struct iommu iommu;
	struct vf vf;
	u32 at, pba;

	raw_open(&vf, &iommu);
	at = capability(&vf, PCI_CAP_ID_MSIX);
	ASSERT_NE(0u, at);
	pba = vf_config_read(&vf, at + PCI_MSIX_PBA) |
	      (u32)vf_config_read(&vf, at + PCI_MSIX_PBA + 2) << 16;
	fact("msix_pba_bar", pba & PCI_MSIX_PBA_BIR);
	fact("msix_pba_offset", pba & PCI_MSIX_PBA_OFFSET);
	/* Not the card's, but with larger ones all of BAR0 is trapped. */
	fact("page_size", sysconf(_SC_PAGESIZE));
	vf_close(&vf);
}

/* Is there an interrupt of a vector that is raised while all are masked? */
static bool masked_fires(struct vf *vf, u32 auto_mask)
{
	vf_write(vf, EIAM, auto_mask);
	vf_write(vf, EIMC, 7);
	vf_write(vf, EICR, 7);
	sleep_ms(50);
	vf_all_interrupts(vf);
	vf_write(vf, EICS, 1u << RX_VECTOR);
	return vf_wait_interrupt(vf, RX_VECTOR, 100);
}

TEST_ALONE(masked, "Question 9: is a cause that is raised while it is masked kept?")
{
	struct iommu iommu;
	struct nic nic;
	struct vf vf;

	raw_start(&nic, &vf, &iommu);
	fact("masked_cause_fires", masked_fires(&vf, 0));
	vf_write(&vf, EIMS, 7);
	fact("masked_cause_fires_when_unmasked",
	     vf_wait_interrupt(&vf, RX_VECTOR, 500));
	/* The datasheet says that raising a vector unmasks it then. */
	fact("auto_mask_unmasks", masked_fires(&vf, 7));
	vf_close(&vf);
}

TEST_ALONE(loopback, "Question 10: does a frame to the own address come back?")
{
	u8 frame[FRAME] = {}, got[BUFFER];
	struct iommu iommu;
	struct nic nic;
	struct vf vf;
	int len, tries;

	raw_start(&nic, &vf, &iommu);
	memcpy(frame, nic.mac, 6);
	memcpy(frame + 6, nic.mac, 6);
	frame[12] = 0x88;
	frame[13] = 0xb6;
	memcpy(iommu.mem + DMA_SIZE - BUFFER, frame, sizeof(frame));
	ASSERT_TRUE(nic_send_parts(&nic, frame, 64,
				   DMA_IOVA + DMA_SIZE - BUFFER + 64,
				   FRAME - 64));
	len = -EAGAIN;
	for (tries = 0; tries < 20; tries++) {
		len = nic_receive_raw(&nic, got, sizeof(got), 100);
		if (len >= FRAME && !memcmp(got, frame, 14))
			break;
	}
	fact("self_loopback", tries < 20);
	vf_close(&vf);
}
