// SPDX-License-Identifier: GPL-2.0
/*
 * Dirty tracking. A copy of the memory is kept up as a migration would: after
 * each report the pages that it names are copied, and those that the CPU has
 * written. Whenever nothing moves, memory and copy must be the same, to the
 * last page.
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
#include "vfio.h"
#include "uapi/vfio_pci_migration_v1.h"

#define PAGE		4096u
#define PAGES		(DMA_SIZE / PAGE)
#define TX_RING_PAGE	1	/* see igbvf.c, area 0 */
#define TX_PAGE		16	/* igbvf.c's transmit buffers */
#define TX_PAGES	8
#define WB_PAGE		40
#define RING_PAGE	48	/* receive rings of this file */
#define FIRST		64	/* receive buffers are in this page and beyond */
#define BUFFERS		64
#define NUMBER_AT	22	/* in a frame, see igbvf.c */
#define SENDER_AT	26
#define WAIT_MS		2000

/* What may be reported at most: a ring of buffers, and rings. */
#define REPORT_MAX	(2 * BUFFERS + 8u)

struct desc {
	u64 q[2];
};

/**
 * struct tracked - the function whose writes are looked for
 * @iommu: its container, with nothing else in it
 * @vf: the function
 * @nic: its transmit side
 * @peer_iommu: the container of the other one
 * @peer_vf: the other function
 * @peer: it sends
 * @mapped: doorbells are rung through the mapping
 * @precopy: SAVING and RUNNING can be had through v2
 * @number: of the next frame
 * @ring: receive ring
 * @slots: number of its descriptors
 * @next: the next one to be filled by the function
 * @buffer: where each descriptor's buffer is
 * @copy: what the destination has
 * @cpu: pages that the CPU has written since they were copied
 * @bitmap: the last report
 * @reported: number of pages in it
 */
struct tracked {
	struct iommu iommu;
	struct vf vf;
	struct nic nic;
	struct iommu peer_iommu;
	struct vf peer_vf;
	struct nic peer;
	bool mapped;
	bool precopy;
	u32 number;
	volatile struct desc *ring;
	unsigned int slots;
	unsigned int next;
	u32 buffer[BUFFERS];
	u8 *copy;
	bool cpu[PAGES];
	u64 bitmap[PAGES / 64];
	unsigned int reported;
};

static int dirty_pages(struct iommu *iommu, u32 flags)
{
	struct vfio_iommu_type1_dirty_bitmap dirty = {
		.argsz = sizeof(dirty),
		.flags = flags,
	};

	return ioctl(iommu->fd, VFIO_IOMMU_DIRTY_PAGES, &dirty) ? -errno : 0;
}

static void log_start(struct tracked *t)
{
	ASSERT_EQ(0, dirty_pages(&t->iommu, VFIO_IOMMU_DIRTY_PAGES_FLAG_START));
}

static void log_stop(struct tracked *t)
{
	ASSERT_EQ(0, dirty_pages(&t->iommu, VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP));
}

static bool reported(struct tracked *t, unsigned int page)
{
	return t->bitmap[page / 64] >> page % 64 & 1;
}

/* Get a report, which also clears it. Number of pages. */
static unsigned int report(struct tracked *t)
{
	struct {
		struct vfio_iommu_type1_dirty_bitmap dirty;
		struct vfio_iommu_type1_dirty_bitmap_get get;
	} arg = {
		.dirty = {
			.argsz = sizeof(arg),
			.flags = VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP,
		},
		.get = {
			.iova = DMA_IOVA,
			.size = DMA_SIZE,
			.bitmap = {
				.pgsize = PAGE,
				.size = sizeof(t->bitmap),
				.data = (void *)t->bitmap,
			},
		},
	};
	unsigned int page;

	memset(t->bitmap, 0, sizeof(t->bitmap));
	ASSERT_EQ(0, ioctl(t->iommu.fd, VFIO_IOMMU_DIRTY_PAGES, &arg));
	t->reported = 0;
	for (page = 0; page < PAGES; page++)
		t->reported += reported(t, page);
	return t->reported;
}

/* One round of a migration: send what is reported. */
static void transfer(struct tracked *t)
{
	unsigned int page;

	report(t);
	for (page = 0; page < PAGES; page++) {
		if (!t->cpu[page] && !reported(t, page))
			continue;
		t->cpu[page] = page >= TX_PAGE && page < TX_PAGE + TX_PAGES;
		memcpy(t->copy + page * PAGE, t->iommu.mem + page * PAGE, PAGE);
	}
}

/* The first page that differs, or -1. */
static int differs(struct tracked *t)
{
	unsigned int page;

	for (page = 0; page < PAGES; page++)
		if (memcmp(t->copy + page * PAGE, t->iommu.mem + page * PAGE,
			   PAGE))
			return page;
	return -1;
}

/*
 * Memory is at rest: the copy is the same. Somebody else's frame may come in
 * between the report and the comparison; it is in the next report then.
 */
static void expect_copied(struct tracked *t)
{
	unsigned int n;

	for (n = 0; n < 3; n++) {
		transfer(t);
		if (differs(t) < 0)
			break;
	}
	EXPECT_EQ(-1, differs(t));
}

/* The state of the v1 region, for kernels whose v2 has no PRE_COPY. */
static void v1_state(struct tracked *t, u32 state)
{
	struct vfio_region_info info = {
		.argsz = sizeof(info),
		.index = VFIO_PCI_NUM_REGIONS,
	};

	ASSERT_EQ(0, ioctl(t->vf.fd, VFIO_DEVICE_GET_REGION_INFO, &info));
	ASSERT_EQ(4, pwrite(t->vf.fd, &state, 4, info.offset));
}

static void running(struct tracked *t)
{
	if (t->precopy)
		ASSERT_EQ(0, vf_set_state(&t->vf, VFIO_DEVICE_STATE_RUNNING,
					  NULL));
	else
		v1_state(t, 1);
}

/* SAVING and RUNNING; all of the memory is copied once from then on. */
static void saving(struct tracked *t)
{
	if (t->precopy)
		ASSERT_EQ(0, vf_set_state(&t->vf, VFIO_DEVICE_STATE_PRE_COPY,
					  NULL));
	else
		v1_state(t, 3);
	report(t);
	memset(t->cpu, true, sizeof(t->cpu));
}

static void stop_copy(struct tracked *t)
{
	if (t->precopy)
		ASSERT_EQ(0, vf_set_state(&t->vf, VFIO_DEVICE_STATE_STOP_COPY,
					  NULL));
	else
		v1_state(t, 2);
}

static void stop(struct tracked *t)
{
	if (t->precopy)
		ASSERT_EQ(0, vf_set_state(&t->vf, VFIO_DEVICE_STATE_STOP,
					  NULL));
	else
		v1_state(t, 0);
}

static void reg(struct tracked *t, u32 offset, u32 value)
{
	if (t->mapped)
		vf_mwrite(&t->vf, offset, value);
	else
		vf_write(&t->vf, offset, value);
}

/* A buffer anywhere, pages do not matter to the function. */
static void rx_fill(struct tracked *t, unsigned int slot)
{
	u32 range = DMA_SIZE - FIRST * PAGE - BUFFER;

	t->buffer[slot] = FIRST * PAGE + (random() % range & ~15u);
	t->ring[slot].q[1] = 0;
	t->ring[slot].q[0] = DMA_IOVA + t->buffer[slot];
	__sync_synchronize();
}

/* A new receive ring of @slots descriptors at @page. */
static void rx_start(struct tracked *t, unsigned int page, unsigned int slots)
{
	unsigned int slot, n;

	reg(t, RXDCTL(0), 0);
	/* As drivers do: a read from another page, and time. */
	vf_read(&t->vf, STATUS);
	sleep_ms(2);
	t->ring = (void *)(t->iommu.mem + page * PAGE);
	t->slots = slots;
	t->next = 0;
	memset((void *)t->ring, 0, PAGE);
	for (slot = 0; slot < slots; slot++)
		rx_fill(t, slot);
	t->cpu[page] = true;
	reg(t, RDBAL(0), DMA_IOVA + page * PAGE);
	reg(t, RDBAH(0), 0);
	reg(t, RDLEN(0), slots * sizeof(struct desc));
	reg(t, SRRCTL(0), 0x82000002);
	reg(t, RDH(0), 0);
	reg(t, RXDCTL(0), DCTL_ENABLE | 0x10810);
	vf_read(&t->vf, STATUS);
	for (n = 0; n < 100 && !(vf_read(&t->vf, RXDCTL(0)) & DCTL_ENABLE); n++)
		sleep_ms(1);
	reg(t, RDT(0), slots - 1);
}

/*
 * Give descriptors back that have been filled, with other buffers: a ringful at
 * most; or if @all, until the last frame before @t->number has come. Number of
 * frames.
 */
static unsigned int rx_take(struct tracked *t, bool all)
{
	u64 end = time_ms() + WAIT_MS;
	unsigned int count = 0;
	bool last = false;
	u32 number = 0;
	u8 *frame;

	while (all || count < t->slots) {
		if (t->ring[t->next].q[1] & 1) {
			__sync_synchronize();
			frame = t->iommu.mem + t->buffer[t->next];
			memcpy(&number, frame + NUMBER_AT, sizeof(number));
			last |= frame[SENDER_AT] == t->peer.area &&
				number == t->number - 1;
			rx_fill(t, t->next);
			reg(t, RDT(0), t->next);
			t->next = (t->next + 1) % t->slots;
			count++;
			continue;
		}
		if (!all || last)
			break;
		if (time_ms() > end) {
			th_log("frame %u has not come, the last was %u",
			       t->number - 1, number);
			th_abort();
		}
		sleep_ms(1);
	}
	return count;
}

/*
 * Doorbells that are rung through the mapping take a moment. What waits here
 * does not access the function, which would hurry them.
 */
static void rx_posted(struct tracked *t)
{
	u32 tail = (t->next + t->slots - 1) % t->slots;
	u64 end = time_ms() + WAIT_MS;
	struct real real;

	if (!t->mapped)
		return;
	do {
		real = vf_real(&t->vf);
		if (!real.known)
			th_skip("the PF does not show the VF's registers");
		if (real.rdt == tail && (real.rxdctl & DCTL_ENABLE))
			return;
	} while (time_ms() < end);
	th_log("tail %u is still %u", tail, real.rdt);
	th_abort();
}

static void rx_frames(struct tracked *t, unsigned int count)
{
	rx_posted(t);
	EXPECT_TRUE(nic_send(&t->peer, t->number, count));
	t->number += count;
	rx_take(t, true);
}

static void open_peer(struct tracked *t)
{
	vf_need_both();
	vf_open(&t->peer_vf, &t->peer_iommu, vf_bdf[1]);
	nic_start(&t->peer, &t->peer_vf, 1);
}

static void begin(struct tracked *t, bool mapped)
{
	memset(t, 0, sizeof(*t));
	vf_open(&t->vf, &t->iommu, vf_bdf[0]);
	t->precopy = vf_state_offered(&t->vf, VFIO_DEVICE_STATE_PRE_COPY);
	t->number = 1;
	t->copy = malloc(DMA_SIZE);
	ASSERT_TRUE(t->copy);
	if (mapped)
		vf_map_rings(&t->vf);
	t->mapped = mapped;
	nic_start(&t->nic, &t->vf, 0);
	open_peer(t);
	rx_start(t, RING_PAGE, BUFFERS / 4);
	log_start(t);
}

TEST_ALONE(dirty_scope,
	"type1 reports all pages until SAVING and RUNNING is entered, and only "
	"what the function may have written from then on, while the group is "
	"in its container; another container begins anew")
{
	static struct tracked t;

	begin(&t, false);
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

/* Rounds of frames. Each ends with a look at all of the memory. */
static void receive_rounds(struct tracked *t, unsigned int rounds)
{
	unsigned int n;

	for (n = 0; n < rounds; n++) {
		th_context("round %u", n);
		rx_frames(t, 1 + n % 12);
		expect_copied(t);
		EXPECT_GE(REPORT_MAX, t->reported);
	}
	th_context("stopped");
	stop_copy(t);
	expect_copied(t);
	EXPECT_GE(REPORT_MAX, t->reported);
}

TEST_ALONE(dirty_receive,
	"no received frame misses its page; doorbells by write")
{
	static struct tracked t;

	begin(&t, false);
	rx_frames(&t, 10);
	saving(&t);
	receive_rounds(&t, 40);
}

TEST_ALONE(dirty_receive_mapped,
	"no received frame misses its page; doorbells by mmap")
{
	static struct tracked t;

	begin(&t, true);
	rx_frames(&t, 10);
	saving(&t);
	receive_rounds(&t, 40);
}

/* Frames that leave: descriptors, or the head, are written back. */
static void transmit_rounds(struct tracked *t, unsigned int rounds)
{
	u64 end;
	u32 tail;
	unsigned int n;

	for (n = 0; n < rounds; n++) {
		th_context("transmit round %u", n);
		tail = nic_post(&t->nic, t->number, 3);
		t->cpu[TX_RING_PAGE] = true;
		transfer(t);
		reg(t, TDT(0), tail);
		end = time_ms() + WAIT_MS;
		while (vf_read(&t->vf, TDH(0)) != tail && time_ms() < end)
			sleep_ms(1);
		EXPECT_EQ(tail, vf_read(&t->vf, TDH(0)));
		if (t->mapped) {
			sleep_ms(5);
			EXPECT_EQ(tail, vf_mread(&t->vf, TDH(0)));
		}
		expect_copied(t);
	}
}

static void write_backs(struct tracked *t, bool mapped)
{
	begin(t, mapped);
	saving(t);
	transmit_rounds(t, 5);

	reg(t, TXDCTL(0), 0);
	vf_read(&t->vf, STATUS);
	reg(t, TDWBAL(0), (u32)(DMA_IOVA + WB_PAGE * PAGE + 64) | 1);
	reg(t, TDWBAH(0), 0);
	reg(t, TXDCTL(0), DCTL_ENABLE);
	vf_read(&t->vf, STATUS);
	transmit_rounds(t, 5);
	EXPECT_EQ(vf_read(&t->vf, TDH(0)),
		  *(volatile u32 *)(t->iommu.mem + WB_PAGE * PAGE + 64));
}

TEST_ALONE(dirty_transmit,
	"no write-back of transmit descriptors or heads misses its page; "
	"doorbells by write")
{
	static struct tracked t;

	write_backs(&t, false);
}

TEST_ALONE(dirty_transmit_mapped,
	"the same, doorbells by mmap, which shows the heads as well")
{
	static struct tracked t;

	write_backs(&t, true);
}

/* New rings, by all the ways there are to get rid of the old ones. */
static void restart_rounds(struct tracked *t)
{
	unsigned int n;

	for (n = 0; n < 16; n++) {
		th_context("restart %u", n);
		if (n % 4 == 1)
			vf_write(&t->vf, VTCTRL, 1u << 26);
		if (n % 4 == 2)
			ASSERT_EQ(0, vf_reset(&t->vf));
		if (n % 4 == 1 || n % 4 == 2) {
			memset(t->cpu, true, sizeof(t->cpu));
			nic_start(&t->nic, &t->vf, 0);
		}
		if (n % 4 == 3) {
			stop(t);
			expect_copied(t);
		}
		rx_start(t, RING_PAGE + n % 8, 8 << n % 4);
		if (n % 4 == 3)
			running(t);
		rx_frames(t, 5);
		rx_frames(t, 5);
		expect_copied(t);
		/* Without what was left of the ring before. */
		EXPECT_GE(REPORT_MAX, report(t));
		memset(t->cpu, true, sizeof(t->cpu));
	}
}

TEST_LONG(dirty_restart,
	"rings that are set up while tracking, after switching off, RST, reset "
	"or a stop, are tracked; doorbells by write")
{
	static struct tracked t;

	begin(&t, false);
	saving(&t);
	restart_rounds(&t);
}

TEST_LONG(dirty_restart_mapped,
	"the same, doorbells by mmap")
{
	static struct tracked t;

	begin(&t, true);
	saving(&t);
	restart_rounds(&t);
}

TEST_ALONE(dirty_cancel,
	"a migration that was cancelled and begun again misses no page, "
	"although the scope has stayed")
{
	static struct tracked t;
	unsigned int n;

	begin(&t, false);
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

	begin(&t, false);
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

/*
 * type1 takes device_list_lock under iommu->lock, and has drivers unpin, which
 * takes iommu->lock, under device_list_lock. Only two threads that unmap at the
 * same time could find out; lockdep complains before.
 */
static bool lockdep(void)
{
	return !access("/proc/lockdep", F_OK);
}

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
	begin(&t, false);
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

struct flood {
	struct tracked *t;
	atomic_bool stop;
	atomic_uint rounds;
};

static void *flood_thread(void *arg)
{
	struct flood *flood = arg;
	struct tracked *t = flood->t;

	while (!atomic_load(&flood->stop)) {
		if (!nic_send(&t->peer, t->number, 4)) {
			th_log("the flood has dried up");
			break;
		}
		t->number += 4;
	}
	return NULL;
}

static void *transfer_thread(void *arg)
{
	struct flood *flood = arg;

	while (!atomic_load(&flood->stop)) {
		transfer(flood->t);
		atomic_fetch_add(&flood->rounds, 1);
	}
	return NULL;
}

static void flood_rounds(struct tracked *t, unsigned int rounds)
{
	struct flood flood = { .t = t }, transfers = { .t = t };
	pthread_t thread, transfer;
	unsigned int n, frames = 0;
	u64 end;

	ASSERT_EQ(0, pthread_create(&thread, NULL, flood_thread, &flood));
	for (n = 0; n < rounds; n++) {
		th_context("stop %u", n);
		atomic_store(&transfers.stop, false);
		ASSERT_EQ(0, pthread_create(&transfer, NULL, transfer_thread,
					    &transfers));
		for (end = time_ms() + 100; time_ms() < end; )
			frames += rx_take(t, false);
		atomic_store(&transfers.stop, true);
		ASSERT_EQ(0, pthread_join(transfer, NULL));
		stop_copy(t);
		expect_copied(t);
		running(t);
		saving(t);
	}
	atomic_store(&flood.stop, true);
	ASSERT_EQ(0, pthread_join(thread, NULL));
	th_log("%u frames, %u reports", frames, atomic_load(&transfers.rounds));
	EXPECT_LE(rounds, frames);
}

TEST_LONG(dirty_flood,
	"under a flood of frames, with reports at the same time, what is "
	"copied is the memory whenever the function is quiet")
{
	static struct tracked t;

	begin(&t, false);
	saving(&t);
	flood_rounds(&t, 20);
}

TEST_LONG(dirty_flood_mapped,
	"the same, doorbells by mmap")
{
	static struct tracked t;

	begin(&t, true);
	saving(&t);
	flood_rounds(&t, 20);
}

/* Everything at once that could get into the way of tracking. */
struct storm {
	struct tracked *t;
	atomic_bool stop;
	u8 *other;
};

/* Rings anywhere, of any small size, on and off, with any heads and tails. */
static void *storm_registers(void *arg)
{
	static const u32 registers[] = {
		RDBAL(0), RDLEN(0), SRRCTL(0), RDH(0), RDT(0), RXDCTL(0),
		TDBAL(0), TDLEN(0), TDH(0), TDT(0), TXDCTL(0), TDWBAL(0),
		RDBAL(1), RDLEN(1), RDT(1), RXDCTL(1),
	};
	struct storm *storm = arg;
	struct tracked *t = storm->t;
	unsigned int seed = 1;
	u32 offset, value;

	while (!atomic_load(&storm->stop)) {
		offset = registers[rand_r(&seed) % ARRAY_SIZE(registers)];
		value = rand_r(&seed);
		switch (offset & 0xff) {
		case 0x00:
		case 0x38:
			value = (rand_r(&seed) & 1 ? DMA_IOVA : 0x50000000) +
				(value & (DMA_SIZE - 1));
			break;
		case 0x08:
			value &= 0xf80;
			break;
		case 0x10:
		case 0x18:
			value &= 0xff;
			break;
		case 0x28:
			value = value & 1 ? DCTL_ENABLE : 0;
			break;
		}
		if (t->mapped && value & 0x100)
			vf_mwrite(&t->vf, offset, value);
		else
			vf_write(&t->vf, offset, value);
		if (!(value & 0xff))
			vf_write(&t->vf, VTCTRL, 1u << 26);
	}
	return NULL;
}

static void *storm_states(void *arg)
{
	struct storm *storm = arg;
	struct tracked *t = storm->t;
	unsigned int n;

	for (n = 0; !atomic_load(&storm->stop); n++) {
		if (n % 7 == 6)
			EXPECT_EQ(0, vf_reset(&t->vf));
		/* A reset in between makes some of them impossible. */
		vf_set_state(&t->vf, n & 1 ? VFIO_DEVICE_STATE_STOP :
			     VFIO_DEVICE_STATE_RUNNING, NULL);
		if (t->precopy)
			vf_set_state(&t->vf, VFIO_DEVICE_STATE_PRE_COPY, NULL);
	}
	return NULL;
}

static void *storm_memory(void *arg)
{
	struct storm *storm = arg;

	while (!atomic_load(&storm->stop)) {
		EXPECT_EQ(0, iommu_map(&storm->t->iommu, storm->other,
				       0x50000000, DMA_SIZE));
		sleep_ms(3);
		EXPECT_EQ(0, iommu_unmap(&storm->t->iommu, 0x50000000,
					 DMA_SIZE));
	}
	return NULL;
}

TEST_LONG(dirty_storm,
	"senseless rings, resets, state changes, memory that comes and goes, "
	"and reports, all at the same time: afterwards the function works, and "
	"is tracked")
{
	static struct tracked t;
	struct storm storm = { .t = &t };
	pthread_t thread[3];
	int n, threads = 2;
	u64 end;

	begin(&t, false);
	/* Kernels without PRE_COPY cannot map the rings either. */
	if (t.precopy)
		vf_map_rings(&t.vf);
	t.mapped = t.precopy;
	storm.other = mmap(NULL, DMA_SIZE, PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	ASSERT_NE(MAP_FAILED, (void *)storm.other);
	saving(&t);
	ASSERT_EQ(0, pthread_create(&thread[0], NULL, storm_registers, &storm));
	ASSERT_EQ(0, pthread_create(&thread[1], NULL, storm_states, &storm));
	if (!lockdep())
		ASSERT_EQ(0, pthread_create(&thread[threads++], NULL,
					    storm_memory, &storm));
	for (end = time_ms() + 8000; time_ms() < end; )
		report(&t);
	atomic_store(&storm.stop, true);
	for (n = 0; n < threads; n++)
		ASSERT_EQ(0, pthread_join(thread[n], NULL));

	th_context("afterwards");
	ASSERT_EQ(0, vf_reset(&t.vf));
	nic_start(&t.nic, &t.vf, 0);
	rx_start(&t, RING_PAGE, 16);
	saving(&t);
	transfer(&t);
	receive_rounds(&t, 5);
}
