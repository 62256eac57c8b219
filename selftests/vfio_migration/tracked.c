// SPDX-License-Identifier: GPL-2.0
/*
 * See tracked.h.
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
#include "tracked.h"
#include "v1.h"

#define TX_RING_PAGE	1	/* see igbvf.c, area 0 */
#define TX_PAGE		16	/* igbvf.c's transmit buffers */
#define TX_PAGES	8
#define WB_PAGE		40
#define NUMBER_AT	22	/* in a frame, see igbvf.c */
#define STORM_MS	8000
#define SENDER_AT	26

int dirty_pages(struct iommu *iommu, u32 flags)
{
	struct vfio_iommu_type1_dirty_bitmap dirty = {
		.argsz = sizeof(dirty),
		.flags = flags,
	};

	return ioctl(iommu->fd, VFIO_IOMMU_DIRTY_PAGES, &dirty) ? -errno : 0;
}

int log_range(struct vf *vf, u64 iova, u64 size)
{
	struct vfio_device_feature_dma_logging_range range = {
		.iova = iova, .length = size,
	};
	struct vfio_device_feature_dma_logging_control control = {
		.page_size = PAGE, .num_ranges = 1, .ranges = (uintptr_t)&range,
	};

	return vf_feature(vf, VFIO_DEVICE_FEATURE_SET |
			  VFIO_DEVICE_FEATURE_DMA_LOGGING_START,
			  &control, sizeof(control));
}

int log_end(struct vf *vf)
{
	return vf_feature(vf, VFIO_DEVICE_FEATURE_SET |
			  VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP, NULL, 0);
}

int log_report(struct vf *vf, u64 iova, u64 size, u64 *bitmap)
{
	struct vfio_device_feature_dma_logging_report report = {
		.iova = iova, .length = size, .page_size = PAGE,
		.bitmap = (uintptr_t)bitmap,
	};

	return vf_feature(vf, VFIO_DEVICE_FEATURE_GET |
			  VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT,
			  &report, sizeof(report));
}

void log_start(struct tracked *t)
{
	if (t->logged)
		ASSERT_EQ(0, log_range(&t->vf, DMA_IOVA, DMA_SIZE));
	else
		ASSERT_EQ(0, dirty_pages(&t->iommu,
					 VFIO_IOMMU_DIRTY_PAGES_FLAG_START));
}

void log_stop(struct tracked *t)
{
	if (t->logged)
		ASSERT_EQ(0, log_end(&t->vf));
	else
		ASSERT_EQ(0, dirty_pages(&t->iommu,
					 VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP));
}

bool reported(struct tracked *t, unsigned int page)
{
	return t->bitmap[page / 64] >> page % 64 & 1;
}

static void container_report(struct tracked *t)
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

	ASSERT_EQ(0, ioctl(t->iommu.fd, VFIO_IOMMU_DIRTY_PAGES, &arg));
}

unsigned int report(struct tracked *t)
{
	unsigned int page;

	memset(t->bitmap, 0, sizeof(t->bitmap));
	if (t->logged)
		ASSERT_EQ(0, log_report(&t->vf, DMA_IOVA, DMA_SIZE, t->bitmap));
	else
		container_report(t);
	t->reported = 0;
	for (page = 0; page < PAGES; page++)
		t->reported += reported(t, page);
	return t->reported;
}

void transfer(struct tracked *t)
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

int differs(struct tracked *t)
{
	unsigned int page;

	for (page = 0; page < PAGES; page++)
		if (memcmp(t->copy + page * PAGE, t->iommu.mem + page * PAGE,
			   PAGE))
			return page;
	return -1;
}

/*
 * Somebody else's frame may come in
 * between the report and the comparison; it is in the next report then.
 */
void expect_copied(struct tracked *t)
{
	unsigned int n;

	for (n = 0; n < 3; n++) {
		transfer(t);
		if (differs(t) < 0)
			break;
	}
	EXPECT_EQ(-1, differs(t));
}

/* By the v1 region on kernels whose v2 has no PRE_COPY. */
static void go(struct tracked *t, u32 v2_state, u32 v1_state)
{
	struct v1 v1;

	if (t->precopy) {
		ASSERT_EQ(0, vf_set_state(&t->vf, v2_state, NULL));
	} else {
		v1_open(&v1, &t->vf);
		v1_go(&v1, v1_state);
	}
}

void running(struct tracked *t)
{
	go(t, VFIO_DEVICE_STATE_RUNNING, V1_R);
}

void saving(struct tracked *t)
{
	go(t, VFIO_DEVICE_STATE_PRE_COPY, V1_S | V1_R);
	report(t);
	memset(t->cpu, true, sizeof(t->cpu));
}

void stop_copy(struct tracked *t)
{
	go(t, VFIO_DEVICE_STATE_STOP_COPY, V1_S);
}

void stop(struct tracked *t)
{
	go(t, VFIO_DEVICE_STATE_STOP, 0);
}

void reg(struct tracked *t, u32 offset, u32 value)
{
	if (t->mapped)
		vf_mwrite(&t->vf, offset, value);
	else
		vf_write(&t->vf, offset, value);
}

/* A buffer anywhere, pages do not matter to the function. */
void rx_fill(struct tracked *t, unsigned int slot)
{
	u32 range = DMA_SIZE - FIRST * PAGE - BUFFER;

	t->buffer[slot] = FIRST * PAGE + (random() % range & ~15u);
	t->ring[slot].q[1] = 0;
	t->ring[slot].q[0] = DMA_IOVA + t->buffer[slot];
	__sync_synchronize();
}

void rx_start(struct tracked *t, unsigned int page, unsigned int slots)
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

unsigned int rx_take(struct tracked *t, bool all)
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

void rx_frames(struct tracked *t, unsigned int count)
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

void begin(struct tracked *t, bool logged, bool mapped)
{
	memset(t, 0, sizeof(*t));
	vf_open(&t->vf, &t->iommu, vf_bdf[0]);
	t->logged = logged;
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
	memset(t->cpu, true, sizeof(t->cpu));
}

void receive_rounds(struct tracked *t, unsigned int rounds)
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

/* Frames that leave: descriptors, or the head, are written back. */
void transmit_rounds(struct tracked *t, unsigned int rounds)
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

void write_backs(struct tracked *t)
{
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

/* New rings, by all the ways there are to get rid of the old ones. */
void restart_rounds(struct tracked *t)
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

void flood_rounds(struct tracked *t, unsigned int rounds)
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

void storm(struct tracked *t, bool memory, void (*meanwhile)(struct tracked *t))
{
	struct storm storm = { .t = t };
	pthread_t thread[3];
	int n, threads = 2;
	u64 end;

	storm.other = mmap(NULL, DMA_SIZE, PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	ASSERT_NE(MAP_FAILED, (void *)storm.other);
	ASSERT_EQ(0, pthread_create(&thread[0], NULL, storm_registers, &storm));
	ASSERT_EQ(0, pthread_create(&thread[1], NULL, storm_states, &storm));
	if (memory)
		ASSERT_EQ(0, pthread_create(&thread[threads++], NULL,
					    storm_memory, &storm));
	for (end = time_ms() + STORM_MS; time_ms() < end; )
		meanwhile(t);
	atomic_store(&storm.stop, true);
	for (n = 0; n < threads; n++)
		ASSERT_EQ(0, pthread_join(thread[n], NULL));

	th_context("afterwards");
	ASSERT_EQ(0, vf_reset(&t->vf));
	nic_start(&t->nic, &t->vf, 0);
	rx_start(t, RING_PAGE, 16);
}
