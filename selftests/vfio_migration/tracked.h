/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The oracle of dirty tracking. A copy of the memory is kept up as a migration
 * would: after each report the pages that it names are copied, and those that
 * the CPU has written. Whenever nothing moves, memory and copy must be the same,
 * to the last page.
 */
#ifndef _VFIO_MIGRATION_TRACKED_H
#define _VFIO_MIGRATION_TRACKED_H

#include "igbvf.h"
#include "vfio.h"

#define PAGE		4096u
#define PAGES		(DMA_SIZE / PAGE)
#define RING_PAGE	48	/* receive rings */
#define FIRST		64	/* receive buffers are in this page and beyond */
#define BUFFERS		64
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
 * @logged: what it writes is asked of itself: DMA logging, not the container
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
	bool logged;
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

/*
 * A function with a peer that sends, and a log that has begun: the container's,
 * or with @logged the function's own. There the copy begins with that.
 */
void begin(struct tracked *t, bool logged, bool mapped);

/* The log itself. log_range() is about other memory than the container's. */
void log_start(struct tracked *t);
void log_stop(struct tracked *t);
int log_range(struct vf *vf, u64 iova, u64 size);
int log_end(struct vf *vf);
int log_report(struct vf *vf, u64 iova, u64 size, u64 *bitmap);

/* Get a report, which also clears it. Number of pages; and which. */
unsigned int report(struct tracked *t);
bool reported(struct tracked *t, unsigned int page);

/* One round of a migration: send what is reported. */
void transfer(struct tracked *t);
/* The first page that differs, or -1. */
int differs(struct tracked *t);
/* Memory is at rest, so the copy is the same. */
void expect_copied(struct tracked *t);

/* States. After saving() all of the memory is copied once. */
void running(struct tracked *t);
void saving(struct tracked *t);
void stop_copy(struct tracked *t);
void stop(struct tracked *t);

/* A register, through the mapping if that is used. */
void reg(struct tracked *t, u32 offset, u32 value);

/* A new receive ring of @slots descriptors at @page. */
void rx_start(struct tracked *t, unsigned int page, unsigned int slots);
/* Another buffer for a descriptor. */
void rx_fill(struct tracked *t, unsigned int slot);
/*
 * Give descriptors back that have been filled, with other buffers: a ringful at
 * most; or if @all, until the last frame before @t->number has come. Number of
 * frames.
 */
unsigned int rx_take(struct tracked *t, bool all);
/* Frames come, and are taken. */
void rx_frames(struct tracked *t, unsigned int count);

/* Much of it. Each round ends with a look at all of the memory. */
void receive_rounds(struct tracked *t, unsigned int rounds);
void transmit_rounds(struct tracked *t, unsigned int rounds);
void write_backs(struct tracked *t);
void restart_rounds(struct tracked *t);
void flood_rounds(struct tracked *t, unsigned int rounds);

/*
 * Senseless rings, resets and changes of state, and if @memory, memory that
 * comes and goes, all at the same time, while @meanwhile is called over and over.
 * Afterwards the function has been reset and has a ring.
 *
 * No @memory with lockdep(): type1 takes device_list_lock under iommu->lock, and has
 * drivers unpin, which takes iommu->lock, under device_list_lock. Only two threads
 * that unmap at the same time could find out; lockdep complains before.
 */
void storm(struct tracked *t, bool memory, void (*meanwhile)(struct tracked *t));

#endif /* _VFIO_MIGRATION_TRACKED_H */
