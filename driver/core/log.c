// SPDX-License-Identifier: GPL-2.0
/*
 * VFIO_DEVICE_FEATURE_DMA_LOGGING_*: the user asks the device itself which
 * pages it has written.
 *
 * What the device may still write is recorded by dirty.c; a report has all of
 * that. What it will not write any more is *marked* here when it goes from
 * there, and a report takes the marks away. So a page that is written is in
 * each report until the device is done with it, and in one after that. Room for
 * a mark is made when the page is recorded, where that can still fail.
 *
 * Only ranges that the user wants to be logged have marks, so how much memory
 * they take is not the guest's choice. Where it would be more than
 * MIG_LOG_LEAVES, all pages count as dirty from then on.
 *
 * Reports may come from several threads, tens of thousands a second, and with
 * nobody else to be waited for: they take dirty.lock, for a moment, and never
 * while the user's bitmap is written, which may fault.
 */
#include <linux/bitmap.h>
#include <linux/interval_tree.h>
#include <linux/iommu.h>
#include <linux/log2.h>
#include <linux/sizes.h>
#include <linux/slab.h>

#include "compat.h"
#include "core.h"

/* A leaf is a page of marks, for 128 MiB where pages are 4 KiB. */
#define MIG_LOG_LEAF_PAGES	(PAGE_SIZE * BITS_PER_BYTE)

/* How many of them at most: enough for 1 TiB. */
#define MIG_LOG_LEAVES		(SZ_32M / PAGE_SIZE)

/* Leaves with marks in them. */
#define MIG_LOG_MARKED		XA_MARK_0

/* Pages that are taken into a report at a time. */
#define MIG_LOG_BATCH		64

MIG_COMPAT_IMPORT_BITMAP;

/**
 * struct mig_log_range - what is to be logged
 * @first: number of the first page
 * @last: of the last one
 */
struct mig_log_range {
	unsigned long first;
	unsigned long last;
};

static bool mig_log_covers(const struct mig_log *log, unsigned long index)
{
	unsigned int i;

	for (i = 0; i < log->ranges; i++)
		if (index >= log->range[i].first && index <= log->range[i].last)
			return true;
	return false;
}

/**
 * mig_log_room - a page will be recorded: see to it that it can be marked
 * @mig: the device; dirty.lock is held
 * @index: number of the page
 *
 * Return: 0 or -ENOMEM.
 */
int mig_log_room(struct vfio_pci_mig *mig, unsigned long index)
{
	unsigned long number = index / MIG_LOG_LEAF_PAGES;
	struct mig_log *log = &mig->log;
	unsigned long *leaf;
	int ret;

	lockdep_assert_held(&mig->dirty.lock);
	if (!log->on || log->lost || xa_load(&log->leaf, number) ||
	    !mig_log_covers(log, index))
		return 0;
	if (log->leaves >= MIG_LOG_LEAVES) {
		dev_warn_ratelimited(&mig->core.pdev->dev,
				     "buffers in too many places to log: all pages count as dirty\n");
		log->lost = true;
		return 0;
	}

	leaf = bitmap_zalloc(MIG_LOG_LEAF_PAGES, GFP_KERNEL_ACCOUNT);
	if (!leaf)
		return -ENOMEM;
	ret = xa_err(xa_store(&log->leaf, number, leaf, GFP_KERNEL_ACCOUNT));
	if (ret) {
		bitmap_free(leaf);
		return ret;
	}
	log->leaves++;
	return 0;
}

/**
 * mig_log_mark - the device will not write a page any more
 * @mig: the device; dirty.lock is held
 * @index: number of the page
 */
void mig_log_mark(struct vfio_pci_mig *mig, unsigned long index)
{
	unsigned long number = index / MIG_LOG_LEAF_PAGES;
	struct mig_log *log = &mig->log;
	unsigned long *leaf;

	lockdep_assert_held(&mig->dirty.lock);
	leaf = xa_load(&log->leaf, number);
	if (!leaf)
		return;
	__set_bit(index % MIG_LOG_LEAF_PAGES, leaf);
	xa_set_mark(&log->leaf, number, MIG_LOG_MARKED);
}

/* Recorded pages from @first to @last, a batch of them. */
static unsigned int mig_log_recorded(struct vfio_pci_mig *mig,
				     unsigned long first, unsigned long last,
				     unsigned long *page)
{
	unsigned int pages = 0;
	unsigned long index;
	void *entry;

	xa_for_each_range(&mig->dirty.posted, index, entry, first, last) {
		page[pages++] = index;
		if (pages == MIG_LOG_BATCH)
			break;
	}
	return pages;
}

/* Marked pages from @first to @last, a batch of them: not marked any more. */
static unsigned int mig_log_marked(struct vfio_pci_mig *mig,
				   unsigned long first, unsigned long last,
				   unsigned long *page)
{
	unsigned long number = first / MIG_LOG_LEAF_PAGES;
	unsigned long end = last / MIG_LOG_LEAF_PAGES;
	struct xarray *xa = &mig->log.leaf;
	unsigned long bit, base, *leaf;
	unsigned int pages = 0;

	for (leaf = xa_find(xa, &number, end, MIG_LOG_MARKED); leaf;
	     leaf = xa_find_after(xa, &number, end, MIG_LOG_MARKED)) {
		base = number * MIG_LOG_LEAF_PAGES;
		bit = first > base ? first - base : 0;
		for_each_set_bit_from(bit, leaf, MIG_LOG_LEAF_PAGES) {
			if (base + bit > last)
				break;
			if (pages == MIG_LOG_BATCH)
				return pages;
			__clear_bit(bit, leaf);
			page[pages++] = base + bit;
		}
		if (bitmap_empty(leaf, MIG_LOG_LEAF_PAGES))
			xa_clear_mark(xa, number, MIG_LOG_MARKED);
	}
	return pages;
}

/* Put what @next finds into the user's bitmap. */
static void mig_log_collect(struct vfio_pci_mig *mig,
			    unsigned int (*next)(struct vfio_pci_mig *mig,
						 unsigned long first,
						 unsigned long last,
						 unsigned long *page),
			    unsigned long first, unsigned long last,
			    struct iova_bitmap *dirty)
{
	unsigned long page[MIG_LOG_BATCH];
	unsigned int i, pages;

	do {
		mutex_lock(&mig->dirty.lock);
		pages = next(mig, first, last, page);
		mutex_unlock(&mig->dirty.lock);
		for (i = 0; i < pages; i++)
			iova_bitmap_set(dirty, page[i] << PAGE_SHIFT,
					PAGE_SIZE);
		if (pages)
			first = page[pages - 1] + 1;
		cond_resched();
	} while (pages == MIG_LOG_BATCH && first <= last);
}

static int mig_log_read_and_clear(struct vfio_device *vdev, unsigned long iova,
				  unsigned long length,
				  struct iova_bitmap *dirty)
{
	struct vfio_pci_mig *mig = mig_from_vdev(vdev);
	unsigned long first = iova >> PAGE_SHIFT;
	unsigned long last = (iova + length - 1) >> PAGE_SHIFT;
	bool on, lost;

	/* The rest of a page would be cleared and not reported. */
	if (!length || !PAGE_ALIGNED(iova) || !PAGE_ALIGNED(length))
		return -EINVAL;

	mutex_lock(&mig->dirty.lock);
	on = mig->log.on;
	lost = mig->log.lost;
	mutex_unlock(&mig->dirty.lock);
	if (!on)
		return -EINVAL;
	if (lost) {
		iova_bitmap_set(dirty, iova, length);
		return 0;
	}

	/* In this order: a page may go from the former to the latter. */
	mig_log_collect(mig, mig_log_recorded, first, last, dirty);
	mig_log_collect(mig, mig_log_marked, first, last, dirty);
	return 0;
}

static struct mig_log_range *mig_log_ranges(struct rb_root_cached *ranges,
					    u32 count)
{
	struct interval_tree_node *node;
	struct mig_log_range *range;
	unsigned int i = 0;

	range = kvcalloc(count, sizeof(*range), GFP_KERNEL_ACCOUNT);
	if (!range)
		return ERR_PTR(-ENOMEM);
	for (node = interval_tree_iter_first(ranges, 0, ULONG_MAX);
	     node && i < count;
	     node = interval_tree_iter_next(node, 0, ULONG_MAX)) {
		range[i].first = node->start >> PAGE_SHIFT;
		range[i++].last = node->last >> PAGE_SHIFT;
	}
	return range;
}

/*
 * No bytes are no range. VFIO makes of them a node that ends before it begins,
 * or at 0, one of everything.
 */
static bool mig_log_ranges_valid(struct rb_root_cached *ranges)
{
	struct interval_tree_node *node;
	struct rb_node *rb;

	for (rb = rb_first_cached(ranges); rb; rb = rb_next(rb)) {
		node = rb_entry(rb, struct interval_tree_node, rb);
		if (node->last - node->start == ULONG_MAX)
			return false;
	}
	return true;
}

/* What is recorded already needs room, too. */
static int mig_log_begin(struct vfio_pci_mig *mig, struct mig_log_range *range,
			 unsigned int ranges)
{
	struct mig_log *log = &mig->log;
	unsigned long index;
	void *entry;
	int ret = 0;

	mutex_lock(&mig->dirty.lock);
	log->range = range;
	log->ranges = ranges;
	log->on = true;
	xa_for_each(&mig->dirty.posted, index, entry) {
		ret = mig_log_room(mig, index);
		if (ret)
			break;
	}
	mutex_unlock(&mig->dirty.lock);
	return ret;
}

/**
 * mig_log_forget - logging is over
 * @mig: the device; the state lock is held, or it has been closed
 */
void mig_log_forget(struct vfio_pci_mig *mig)
{
	struct mig_log *log = &mig->log;
	unsigned long number;
	unsigned long *leaf;

	mutex_lock(&mig->dirty.lock);
	log->on = false;
	log->lost = false;
	log->leaves = 0;
	log->ranges = 0;
	kvfree(log->range);
	log->range = NULL;
	xa_for_each(&log->leaf, number, leaf)
		bitmap_free(leaf);
	xa_destroy(&log->leaf);
	mutex_unlock(&mig->dirty.lock);
}

static int mig_log_start_locked(struct vfio_pci_mig *mig,
				struct rb_root_cached *ranges, u32 count,
				u64 *page_size)
{
	struct mig_log_range *range;
	int ret;

	if (mig->log.on)
		return mig_note_refusal(mig, -EBUSY, "DMA logging is on");
	if (!is_power_of_2(*page_size) || !mig_log_ranges_valid(ranges))
		return mig_note_refusal(mig, -EINVAL,
					"DMA logging of no page, or none of such a size");

	range = mig_log_ranges(ranges, count);
	if (IS_ERR(range))
		return PTR_ERR(range);
	ret = mig_log_begin(mig, range, count);
	if (!ret && !mig->tracking)
		ret = mig_dirty_start(mig, false);
	if (ret) {
		mig_log_forget(mig);
		return mig_note_refusal(mig, ret, "DMA logging cannot begin");
	}
	*page_size = PAGE_SIZE;
	return 0;
}

static int mig_log_start(struct vfio_device *vdev,
			 struct rb_root_cached *ranges, u32 count,
			 u64 *page_size)
{
	struct vfio_pci_mig *mig = mig_from_vdev(vdev);
	int ret;

	mig_guard_lock(mig->guard);
	ret = mig_log_start_locked(mig, ranges, count, page_size);
	mig_guard_unlock(mig->guard);
	return ret;
}

/* It is no error to stop what is not on. */
static int mig_log_stop(struct vfio_device *vdev)
{
	struct vfio_pci_mig *mig = mig_from_vdev(vdev);

	mig_guard_lock(mig->guard);
	if (mig->log.on) {
		/* Pages that type1 reports are tracked until close. */
		if (!mig->dirty.pinning)
			mig_dirty_end(mig);
		mig_log_forget(mig);
	}
	mig_guard_unlock(mig->guard);
	return 0;
}

static const struct vfio_log_ops mig_log_ops = {
	.log_start = mig_log_start,
	.log_stop = mig_log_stop,
	.log_read_and_clear = mig_log_read_and_clear,
};

/**
 * mig_log_open - offer logging to a new user, if it can be had
 * @mig: the device
 *
 * A VMM to which it is offered will use it, and a migration fails where it
 * cannot be started. So what stands in the way must be known before: with
 * iommufd, or without an IOMMU, descriptors cannot be read. VFIO looks at
 * log_ops when it is asked for the feature, which nobody can before the open is
 * complete.
 */
void mig_log_open(struct vfio_pci_mig *mig)
{
	struct vfio_device *vdev = &mig->core.vdev;

	vdev->log_ops = NULL;
	if (!MIG_COMPAT_CAN_LOG || !mig_dirty_offered(mig))
		return;
	if (mig_compat_iommufd(vdev) ||
	    !iommu_get_domain_for_dev(&mig->core.pdev->dev))
		pci_info(mig->core.pdev,
			 "no DMA logging: opened without a type1 container\n");
	else
		vdev->log_ops = &mig_log_ops;
}

/**
 * mig_log_init - before the device is registered
 * @mig: the device
 */
void mig_log_init(struct vfio_pci_mig *mig)
{
	xa_init(&mig->log.leaf);
}
