// SPDX-License-Identifier: GPL-2.0
/*
 * Dirty tracking by pinned pages, as type1 reports it.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "harness.h"
#include "igbvf.h"
#include "state.h"
#include "tracked.h"
#include "vfio.h"

TEST_ALONE(dirty_scope,
	"type1 reports all pages until SAVING and RUNNING is entered, and only "
	"what the function may have written from then on, while the group is "
	"in its container; another container begins anew")
{
	static struct tracked t;

	begin(&t, false, false);
	EXPECT_EQ(PAGES, report(&t));
	EXPECT_EQ(PAGES, report(&t));
	stop(&t);
	EXPECT_EQ(PAGES, report(&t));
	running(&t);
	EXPECT_EQ(PAGES, report(&t));

	saving(&t);
	EXPECT_GE(REPORT_MAX, report(&t));
	EXPECT_LE(1u, t.reported);
	running(&t);
	EXPECT_GE(REPORT_MAX, report(&t));
	EXPECT_LE(1u, t.reported);

	/* The device comes and goes, the group stays: so does the scope. */
	vf_reopen(&t.vf);
	report(&t);
	EXPECT_EQ(0u, report(&t));
	nic_start(&t.nic, &t.vf, 0);
	rx_start(&t, RING_PAGE, BUFFERS / 4);
	memset(t.cpu, true, sizeof(t.cpu));
	transfer(&t);
	rx_frames(&t, 10);
	expect_copied(&t);

	vf_close(&t.vf);
	memset(&t.iommu, 0, sizeof(t.iommu));
	vf_open(&t.vf, &t.iommu, vf_bdf[0]);
	log_start(&t);
	EXPECT_EQ(PAGES, report(&t));
}

TEST_ALONE(dirty_receive,
	"no received frame misses its page; doorbells by write")
{
	static struct tracked t;

	begin(&t, false, false);
	rx_frames(&t, 10);
	saving(&t);
	receive_rounds(&t, 40);
}

TEST_ALONE(dirty_receive_mapped,
	"no received frame misses its page; doorbells by mmap")
{
	static struct tracked t;

	begin(&t, false, true);
	rx_frames(&t, 10);
	saving(&t);
	receive_rounds(&t, 40);
}

TEST_ALONE(dirty_transmit,
	"no write-back of transmit descriptors or heads misses its page; "
	"doorbells by write")
{
	static struct tracked t;

	begin(&t, false, false);
	saving(&t);
	write_backs(&t);
}

TEST_ALONE(dirty_transmit_mapped,
	"the same, doorbells by mmap, which shows the heads as well")
{
	static struct tracked t;

	begin(&t, false, true);
	saving(&t);
	write_backs(&t);
}

TEST_LONG(dirty_restart,
	"rings that are set up while tracking, after switching off, RST, reset "
	"or a stop, are tracked; doorbells by write")
{
	static struct tracked t;

	begin(&t, false, false);
	saving(&t);
	restart_rounds(&t);
}

TEST_LONG(dirty_restart_mapped,
	"the same, doorbells by mmap")
{
	static struct tracked t;

	begin(&t, false, true);
	saving(&t);
	restart_rounds(&t);
}

TEST_ALONE(dirty_cancel,
	"a migration that was cancelled and begun again misses no page, "
	"although the scope has stayed")
{
	static struct tracked t;
	unsigned int n;

	begin(&t, false, false);
	for (n = 0; n < 4; n++) {
		th_context("migration %u", n);
		saving(&t);
		rx_frames(&t, 10);
		expect_copied(&t);
		running(&t);
		rx_frames(&t, 10);
		expect_copied(&t);
		log_stop(&t);
		rx_frames(&t, 10);
		log_start(&t);
		/* Before the log began nobody counted: all is sent again. */
		memset(t.cpu, true, sizeof(t.cpu));
		transfer(&t);
		rx_frames(&t, 10);
		expect_copied(&t);
	}
	saving(&t);
	receive_rounds(&t, 3);
}

TEST_ALONE(dirty_idle,
	"a function that nothing is posted to reports nothing, and no longer "
	"all pages")
{
	static struct tracked t;

	vf_open(&t.vf, &t.iommu, vf_bdf[0]);
	t.precopy = vf_state_offered(&t.vf, VFIO_DEVICE_STATE_PRE_COPY);
	log_start(&t);
	EXPECT_EQ(PAGES, report(&t));
	saving(&t);
	EXPECT_EQ(0u, report(&t));
	stop_copy(&t);
	EXPECT_EQ(0u, report(&t));
}

TEST_ALONE(dirty_reload,
	"a function whose state is loaded while its writes are looked for is "
	"tracked, from its first frame on")
{
	static struct state state;
	static struct tracked t;
	unsigned int n;

	begin(&t, false, false);
	saving(&t);
	for (n = 0; n < 4; n++) {
		th_context("load %u", n);
		rx_frames(&t, 10);
		expect_copied(&t);
		running(&t);
		state_save(&t.vf, &state);
		ASSERT_EQ(0, vf_reset(&t.vf));
		ASSERT_EQ(0, state_load(&t.vf, &state));
		expect_copied(&t);
		ASSERT_EQ(0, vf_set_state(&t.vf, VFIO_DEVICE_STATE_RUNNING,
					  NULL));
		rx_frames(&t, 10);
		expect_copied(&t);
		EXPECT_GE(REPORT_MAX, t.reported);
	}
}

/* Some other memory, above the first. */
#define OTHER_IOVA	(DMA_IOVA + 0x40000000ull)
#define OTHER_PAGES	16u

static unsigned int unmap_report(struct tracked *t, u64 *bitmap)
{
	struct {
		struct vfio_iommu_type1_dma_unmap unmap;
		struct vfio_bitmap bitmap;
	} arg = {
		.unmap = {
			.argsz = sizeof(arg),
			.flags = VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP,
			.iova = OTHER_IOVA,
			.size = OTHER_PAGES * PAGE,
		},
		.bitmap = {
			.pgsize = PAGE,
			.size = sizeof(*bitmap),
			.data = (void *)bitmap,
		},
	};

	*bitmap = 0;
	ASSERT_EQ(0, ioctl(t->iommu.fd, VFIO_IOMMU_UNMAP_DMA, &arg));
	return arg.unmap.size / PAGE;
}

TEST_ALONE(dirty_unmap,
	"memory that buffers are posted in can be unmapped while tracking; the "
	"pages written are in that report; what is mapped there later is "
	"tracked")
{
	static u8 before[OTHER_PAGES * PAGE];
	static struct tracked t;
	unsigned int slot, page, n;
	u64 bitmap;
	u8 *other;

	if (lockdep())
		th_skip("lockdep would complain of type1's own locks");
	begin(&t, false, false);
	saving(&t);
	for (n = 0; n < 6; n++) {
		th_context("round %u", n);
		other = mmap(NULL, sizeof(before), PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
		ASSERT_NE(MAP_FAILED, (void *)other);
		if (!(n & 1))
			ASSERT_EQ(0, iommu_map(&t.iommu, other, OTHER_IOVA,
					       sizeof(before)));
		/* All buffers are there; in odd rounds before it is mapped. */
		rx_start(&t, RING_PAGE, 16);
		for (slot = 0; slot < 16; slot++)
			t.ring[slot].q[0] = OTHER_IOVA + slot * PAGE;
		reg(&t, RXDCTL(0), 0);
		vf_read(&t.vf, STATUS);
		reg(&t, RDH(0), 0);
		reg(&t, RXDCTL(0), DCTL_ENABLE | 0x10810);
		reg(&t, RDT(0), 15);
		if (n & 1)
			ASSERT_EQ(0, iommu_map(&t.iommu, other, OTHER_IOVA,
					       sizeof(before)));
		memcpy(before, other, sizeof(before));
		EXPECT_TRUE(nic_send(&t.peer, t.number, 7));
		t.number += 7;
		for (page = 0; page < WAIT_MS && !(t.ring[6].q[1] & 1); page++)
			sleep_ms(1);
		EXPECT_TRUE(t.ring[6].q[1] & 1);
		/* What could not be pinned at first is by now, or when quiet. */
		stop_copy(&t);
		EXPECT_EQ(OTHER_PAGES, unmap_report(&t, &bitmap));
		for (page = 0; page < OTHER_PAGES; page++)
			if (memcmp(before + page * PAGE, other + page * PAGE,
				   PAGE))
				EXPECT_TRUE(bitmap >> page & 1);
		EXPECT_NE(0, memcmp(before, other, 7 * PAGE));
		munmap(other, sizeof(before));
		running(&t);
		saving(&t);
	}
	rx_start(&t, RING_PAGE, 16);
	memset(t.cpu, true, sizeof(t.cpu));
	receive_rounds(&t, 5);
}

TEST_LONG(dirty_flood,
	"under a flood of frames, with reports at the same time, what is "
	"copied is the memory whenever the function is quiet")
{
	static struct tracked t;

	begin(&t, false, false);
	saving(&t);
	flood_rounds(&t, 20);
}

TEST_LONG(dirty_flood_mapped,
	"the same, doorbells by mmap")
{
	static struct tracked t;

	begin(&t, false, true);
	saving(&t);
	flood_rounds(&t, 20);
}

static void storm_report(struct tracked *t)
{
	report(t);
}

TEST_LONG(dirty_storm,
	"senseless rings, resets, state changes, memory that comes and goes, "
	"and reports, all at the same time: afterwards the function works, and "
	"is tracked")
{
	static struct tracked t;

	begin(&t, false, false);
	/* Kernels without PRE_COPY cannot map the rings either. */
	if (t.precopy)
		vf_map_rings(&t.vf);
	t.mapped = t.precopy;
	saving(&t);
	storm(&t, !lockdep(), storm_report);
	saving(&t);
	transfer(&t);
	receive_rounds(&t, 5);
}
