// SPDX-License-Identifier: GPL-2.0
/*
 * Which pages the device may write, and how that is told to the user.
 *
 * A device without a dirty log of its own writes only where it has been told
 * to. So while *tracking* is on, what tells it goes through our hands: the
 * user's registers are stand-ins (bar.c), and a poller looks at them. For each
 * change it *records* first which pages the device may write from then on, and
 * only then lets the device know. A page stays recorded until the device
 * cannot write it any more.
 *
 * There are two ways to tell. For DMA logging (log.c) it is enough to know the
 * pages; tracking begins and ends when the user says so.
 *
 * Otherwise recorded pages are *pinned* (vfio_pin_pages()). That is how type1 is
 * told of dirty pages: with the first pin a group has the "pinned page dirty
 * scope", and then only pages that are or were pinned are reported, and no
 * longer all. What is pinned at the time of a report will be in the next report,
 * too. There is no way back from that scope while the group is in its container;
 * so such tracking goes on until close, and at once after another open of the
 * device in the same container. It begins with the first entry into SAVING and
 * RUNNING without logging, never before.
 *
 * Locks: forward_lock, and below it either the device lock or @lock, never
 * both. Pinning takes the container's lock, and with it the user's mmap_lock,
 * below which a fault on a BAR takes memory_lock and io_lock. So does
 * vfio_dma_rw(), below forward_lock only.
 */
#include <linux/delay.h>
#include <linux/highmem.h>
#include <linux/iommu.h>
#include <linux/kthread.h>
#include <linux/math64.h>
#include <linux/moduleparam.h>
#include <linux/pm_runtime.h>
#include <linux/slab.h>
#include <linux/workqueue.h>

#include "compat.h"
#include "core.h"

/* Pages that can be recorded at a time: 1 GiB. It bounds our own memory. */
#define MIG_POSTED_MAX		BIT(18)

/* No device has addresses beyond, so nothing can be mapped there. */
#define MIG_IOVA_BITS		57

#define MIG_POLL_MIN_US		50
#define MIG_RETRY_MS		10
#define MIG_FENCE_MS		20
#define MIG_FENCE_SHIFT_MAX	6

/* New, and it takes the data path through our hands: to be asked for. */
static bool mig_dirty_wanted;
module_param_named(dirty_tracking, mig_dirty_wanted, bool, 0644);
MODULE_PARM_DESC(dirty_tracking,
		 "Tell which pages a device may have written: by DMA logging, or type1 from PRE_COPY on (default N)");

/**
 * mig_dirty_offered - can the writes of a device be tracked
 * @mig: the device
 *
 * Return: true if it is of a kind for which that is possible, and wanted.
 */
bool mig_dirty_offered(struct vfio_pci_mig *mig)
{
	return mig->backend->track && READ_ONCE(mig_dirty_wanted);
}

/**
 * struct mig_posted_page - a page that the device may write
 * @page: pinned; NULL if it is not, for want of a mapping or of a reason
 * @posted: how many times it has been recorded; 0: it is no longer, but a mark
 *	is still owed
 */
struct mig_posted_page {
	struct page *page;
	u32 posted;
};

/*
 * type1 retries an unmap as long as there are pins in the range, and BUG()s
 * after ten times. It asks us to unpin before each, but does not say when it
 * is done. So nothing is pinned there for a while, which gets longer if that
 * was too short.
 */
static bool mig_fenced(const struct mig_dirty *dirty, unsigned long index)
{
	return index >= dirty->fence_first && index <= dirty->fence_last &&
	       time_before(jiffies, dirty->fence_end);
}

static void mig_fence(struct mig_dirty *dirty, unsigned long first,
		      unsigned long last)
{
	unsigned long window = msecs_to_jiffies(MIG_FENCE_MS);

	if (time_before(jiffies, dirty->fence_end +
			(window << dirty->fence_shift))) {
		dirty->fence_first = min(dirty->fence_first, first);
		dirty->fence_last = max(dirty->fence_last, last);
		if (dirty->fence_shift < MIG_FENCE_SHIFT_MAX)
			dirty->fence_shift++;
	} else {
		dirty->fence_first = first;
		dirty->fence_last = last;
		dirty->fence_shift = 0;
	}
	dirty->fence_end = jiffies + (window << dirty->fence_shift);
}

static bool mig_page_pin(struct vfio_pci_mig *mig, unsigned long index,
			 struct page **page)
{
	struct mig_dirty *dirty = &mig->dirty;

	lockdep_assert_held(&dirty->lock);
	if (mig_fenced(dirty, index))
		return false;
	if (vfio_pin_pages(&mig->core.vdev, (dma_addr_t)index << PAGE_SHIFT, 1,
			   IOMMU_WRITE, page) != 1)
		return false;
	dirty->scope = iommu_get_domain_for_dev(&mig->core.pdev->dev);
	dirty->pinned = true;
	return true;
}

static void mig_page_unpin(struct vfio_pci_mig *mig, unsigned long index)
{
	vfio_unpin_pages(&mig->core.vdev, (dma_addr_t)index << PAGE_SHIFT, 1);
}

static void mig_page_forget(struct mig_dirty *dirty, unsigned long index,
			    struct mig_posted_page *page)
{
	if (dirty->pinning && !page->page)
		dirty->missing--;
	dirty->pages--;
	xa_erase(&dirty->posted, index);
	kfree(page);
}

/* Pin a page that could not be pinned before, or mark it as it is owed. */
static void mig_page_retry(struct vfio_pci_mig *mig, unsigned long index,
			   struct mig_posted_page *page)
{
	struct mig_dirty *dirty = &mig->dirty;

	if (!dirty->pinning || page->page || mig_fenced(dirty, index))
		return;
	if (mig_page_pin(mig, index, &page->page))
		dirty->missing--;
	if (page->posted)
		return;
	if (page->page)
		mig_page_unpin(mig, index);
	mig_page_forget(dirty, index, page);
}

static int mig_page_get(struct vfio_pci_mig *mig, unsigned long index)
{
	struct mig_dirty *dirty = &mig->dirty;
	struct mig_posted_page *page;
	int ret;

	page = xa_load(&dirty->posted, index);
	if (!page || !page->posted) {
		ret = mig_log_room(mig, index);
		if (ret)
			return ret;
	}
	if (!page) {
		if (dirty->pages >= MIG_POSTED_MAX)
			return -ENOSPC;
		page = kzalloc(sizeof(*page), GFP_KERNEL);
		if (!page)
			return -ENOMEM;
		ret = xa_err(xa_store(&dirty->posted, index, page, GFP_KERNEL));
		if (ret) {
			kfree(page);
			return ret;
		}
		dirty->pages++;
		if (dirty->pinning)
			dirty->missing++;
	}
	page->posted++;
	mig_page_retry(mig, index, page);
	return 0;
}

static void mig_page_put(struct vfio_pci_mig *mig, unsigned long index)
{
	struct mig_posted_page *page = xa_load(&mig->dirty.posted, index);

	if (WARN_ON_ONCE(!page || !page->posted))
		return;
	if (--page->posted)
		return;
	mig_log_mark(mig, index);
	if (mig->dirty.pinning && !page->page) {
		mig_page_retry(mig, index, page);
		return;
	}
	if (page->page)
		mig_page_unpin(mig, index);
	mig_page_forget(&mig->dirty, index, page);
}

/* The pages of a buffer; false if there are none that could be mapped. */
static bool mig_posted_range(u64 iova, size_t bytes, unsigned long *first,
			     unsigned long *last)
{
	const u64 end = BIT_ULL(MIG_IOVA_BITS);

	if (!bytes || iova >= end)
		return false;
	*first = iova >> PAGE_SHIFT;
	*last = (min_t(u64, iova + bytes, end) - 1) >> PAGE_SHIFT;
	return true;
}

/**
 * vfio_pci_mig_posted - the device may write a buffer from now on
 * @mig: the device; called from @record
 * @iova: its address
 * @bytes: its size
 *
 * A buffer that is not mapped is no error: as long as it is not, the device
 * cannot write there either.
 *
 * Return: 0; -ENOMEM, or -ENOSPC if there are too many already: then the
 * device must not be told of the buffer.
 */
int vfio_pci_mig_posted(struct vfio_pci_mig *mig, u64 iova, size_t bytes)
{
	struct mig_dirty *dirty = &mig->dirty;
	unsigned long index, first, last;
	int ret = 0;

	if (!mig_posted_range(iova, bytes, &first, &last))
		return 0;
	mutex_lock(&dirty->lock);
	for (index = first; index <= last && !ret; index++)
		ret = mig_page_get(mig, index);
	if (ret)
		for (last = index - 1, index = first; index < last; index++)
			mig_page_put(mig, index);
	mutex_unlock(&dirty->lock);
	return ret;
}
EXPORT_SYMBOL_GPL(vfio_pci_mig_posted);

/**
 * vfio_pci_mig_unposted - the device will not write a buffer any more
 * @mig: the device; called from @record, @retire or @stop
 * @iova: as given to vfio_pci_mig_posted(), which has succeeded
 * @bytes: the same
 */
void vfio_pci_mig_unposted(struct vfio_pci_mig *mig, u64 iova, size_t bytes)
{
	struct mig_dirty *dirty = &mig->dirty;
	unsigned long index, first, last;

	if (!mig_posted_range(iova, bytes, &first, &last))
		return;
	mutex_lock(&dirty->lock);
	for (index = first; index <= last; index++)
		mig_page_put(mig, index);
	mutex_unlock(&dirty->lock);
}
EXPORT_SYMBOL_GPL(vfio_pci_mig_unposted);

/**
 * struct mig_dma_read - a read of the user's memory
 * @work: does it
 * @mig: the device
 * @iova: address
 * @data: where to
 * @bytes: how many
 * @ret: 0 or -errno
 */
struct mig_dma_read {
	struct work_struct work;
	struct vfio_pci_mig *mig;
	u64 iova;
	void *data;
	size_t bytes;
	int ret;
};

static void mig_dma_read_work(struct work_struct *work)
{
	struct mig_dma_read *read =
		container_of(work, struct mig_dma_read, work);

	read->ret = vfio_dma_rw(&read->mig->core.vdev, read->iova, read->data,
				read->bytes, false);
}

/*
 * type1 refuses a process that is not the one which mapped the memory; a kernel
 * thread may be anybody.
 */
static int mig_dma_read(struct vfio_pci_mig *mig, u64 iova, void *data,
			size_t bytes)
{
	struct mig_dma_read read = {
		.mig = mig, .iova = iova, .data = data, .bytes = bytes,
	};

	mig_dma_read_work(&read.work);
	if (read.ret && current->mm) {
		INIT_WORK_ONSTACK(&read.work, mig_dma_read_work);
		schedule_work(&read.work);
		flush_work(&read.work);
		destroy_work_on_stack(&read.work);
	}
	return read.ret;
}

/**
 * vfio_pci_mig_posted_read - read from a page that is recorded
 * @mig: the device; called from @record
 * @iova: address; what is read does not cross a page
 * @data: where to
 * @bytes: how many
 *
 * For descriptors in a ring that has been given to vfio_pci_mig_posted().
 *
 * Return: 0; -EFAULT if there is no memory, so that the device cannot read it
 * either.
 */
int vfio_pci_mig_posted_read(struct vfio_pci_mig *mig, u64 iova, void *data,
			     size_t bytes)
{
	struct mig_dirty *dirty = &mig->dirty;
	struct mig_posted_page *page;
	int ret = -EFAULT;

	if (!dirty->pinning)
		return mig_dma_read(mig, iova, data, bytes) ? -EFAULT : 0;

	mutex_lock(&dirty->lock);
	page = xa_load(&dirty->posted, iova >> PAGE_SHIFT);
	if (page && !page->page)
		mig_page_retry(mig, iova >> PAGE_SHIFT, page);
	/* What is reserved may be registers, which the kernel has not mapped. */
	if (page && page->page && !PageReserved(page->page)) {
		memcpy_from_page(data, page->page, offset_in_page(iova), bytes);
		ret = 0;
	}
	mutex_unlock(&dirty->lock);
	return ret;
}
EXPORT_SYMBOL_GPL(vfio_pci_mig_posted_read);

/**
 * mig_dirty_unmap - the user withdraws memory from the container
 * @vdev: the device
 * @iova: where it begins
 * @length: bytes
 *
 * Our pins must be gone when this returns. What they stood for is in the
 * bitmap that an unmap can return. What is mapped there later is pinned again.
 */
void mig_dirty_unmap(struct vfio_device *vdev, u64 iova, u64 length)
{
	struct vfio_pci_mig *mig = mig_from_vdev(vdev);
	struct mig_dirty *dirty = &mig->dirty;
	unsigned long index, first = iova >> PAGE_SHIFT;
	unsigned long last = (iova + length - 1) >> PAGE_SHIFT;
	struct mig_posted_page *page;

	mutex_lock(&dirty->lock);
	mig_fence(dirty, first, last);
	xa_for_each_range(&dirty->posted, index, page, first, last) {
		if (!page->page)
			continue;
		mig_page_unpin(mig, index);
		page->page = NULL;
		dirty->missing++;
	}
	mutex_unlock(&dirty->lock);
}

/* Whatever could not be pinned: is it mapped now? */
static void mig_retry_missing(struct vfio_pci_mig *mig)
{
	struct mig_dirty *dirty = &mig->dirty;
	struct mig_posted_page *page;
	unsigned long index;

	mutex_lock(&dirty->lock);
	if (dirty->missing)
		xa_for_each(&dirty->posted, index, page)
			mig_page_retry(mig, index, page);
	dirty->retry_at = jiffies + msecs_to_jiffies(MIG_RETRY_MS);
	mutex_unlock(&dirty->lock);
}

/* Have the device to ourselves, if it can be reached now. */
static bool mig_track_lock(struct vfio_pci_mig *mig)
{
	down_read(&mig->core.memory_lock);
	mutex_lock(&mig->io_lock);
	if (mig->opened && mig->tracking && !mig->shielded &&
	    !mig->core.pm_runtime_engaged && mig_memory_enabled(mig))
		return true;
	mutex_unlock(&mig->io_lock);
	up_read(&mig->core.memory_lock);
	return false;
}

static void mig_track_unlock(struct vfio_pci_mig *mig)
{
	mutex_unlock(&mig->io_lock);
	up_read(&mig->core.memory_lock);
}

/**
 * mig_dirty_forward - let the device know what the user has told it
 * @mig: the device; none of its locks is held
 *
 * Does nothing unless tracking is on. The device is not told what could not be
 * recorded; the next time it is tried again.
 */
void mig_dirty_forward(struct vfio_pci_mig *mig)
{
	const struct vfio_pci_mig_track_ops *ops = mig->backend->track;
	struct mig_dirty *dirty = &mig->dirty;
	bool changed;

	if (!READ_ONCE(mig->tracking))
		return;

	mutex_lock(&dirty->forward_lock);
	if (!mig_track_lock(mig))
		goto unlock;
	mig_shield_sync(mig);
	changed = ops->look(mig);
	mig_shield_refresh(mig);
	mig_track_unlock(mig);

	if (changed) {
		ops->record(mig);
		if (mig_track_lock(mig)) {
			ops->apply(mig);
			mig_track_unlock(mig);
		}
		ops->retire(mig);
	}
	if (READ_ONCE(dirty->missing) && time_after(jiffies, dirty->retry_at))
		mig_retry_missing(mig);
unlock:
	mutex_unlock(&dirty->forward_lock);
}

/* It rests as long as it has worked, so that no guest can make it busy. */
static int mig_poller(void *arg)
{
	struct vfio_pci_mig *mig = arg;
	u64 began, rest;

	while (!kthread_should_stop()) {
		began = ktime_get_ns();
		mig_dirty_forward(mig);
		rest = div_u64(ktime_get_ns() - began, NSEC_PER_USEC);
		rest = clamp_t(u64, rest, MIG_POLL_MIN_US, USEC_PER_SEC);
		usleep_range_state(rest, rest + MIG_POLL_MIN_US, TASK_IDLE);
	}
	return 0;
}

/**
 * mig_dirty_hold - nothing is forwarded until mig_dirty_resume()
 * @mig: the device; the state lock is held
 */
void mig_dirty_hold(struct vfio_pci_mig *mig)
{
	lockdep_assert_held(&mig->guard->mutex);
	mutex_lock(&mig->dirty.forward_lock);
}

/**
 * mig_dirty_prepare - record what a quiet device is about to be told
 * @mig: the device, quiet, under mig_dirty_hold()
 */
void mig_dirty_prepare(struct vfio_pci_mig *mig)
{
	const struct vfio_pci_mig_track_ops *ops = mig->backend->track;

	if (!mig->tracking)
		return;
	mig_device_lock(mig);
	mig_shield_sync(mig);
	ops->look(mig);
	mig_device_unlock(mig);
	ops->record(mig);
}

/**
 * mig_dirty_resume - undo mig_dirty_hold()
 * @mig: the device; the state lock is held
 */
void mig_dirty_resume(struct vfio_pci_mig *mig)
{
	if (mig->tracking)
		mig->backend->track->retire(mig);
	mutex_unlock(&mig->dirty.forward_lock);
}

/**
 * mig_dirty_settle - the device has become quiet: nothing is owed any more
 * @mig: the device; the state lock is held
 *
 * Waits until pages can be pinned again that cannot for a while after an
 * unmap; that is bounded.
 */
void mig_dirty_settle(struct vfio_pci_mig *mig)
{
	struct mig_dirty *dirty = &mig->dirty;
	long wait;

	if (!mig->tracking || !READ_ONCE(dirty->missing))
		return;
	wait = READ_ONCE(dirty->fence_end) - jiffies;
	if (wait > 0)
		msleep(jiffies_to_msecs(wait) + 1);
	mig_retry_missing(mig);
}

/*
 * A device that has nothing posted takes the scope, too. Memory begins
 * somewhere, and but for small and odd guests a power of two is in it.
 */
static bool mig_dirty_take_scope(struct vfio_pci_mig *mig)
{
	struct mig_dirty *dirty = &mig->dirty;
	unsigned int bit = PAGE_SHIFT - 1;
	struct page *page;
	u64 iova = 0;

	mutex_lock(&dirty->lock);
	while (!dirty->pinned && bit < MIG_IOVA_BITS) {
		if (mig_page_pin(mig, iova >> PAGE_SHIFT, &page))
			mig_page_unpin(mig, iova >> PAGE_SHIFT);
		iova = BIT_ULL(++bit);
	}
	mutex_unlock(&dirty->lock);
	return dirty->pinned;
}

/**
 * mig_dirty_start - tracking begins
 * @mig: the device, in any state; the state lock is held
 * @pin: pages are to be pinned; there is no way back from that
 *
 * Without a poller where all accesses are trapped anyway.
 *
 * Return: 0 or -errno.
 */
int mig_dirty_start(struct vfio_pci_mig *mig, bool pin)
{
	struct task_struct *poller = NULL;

	if (mig->nr_standins) {
		poller = kthread_create(mig_poller, mig, "mig-dirty/%s",
					pci_name(mig->core.pdev));
		if (IS_ERR(poller))
			return PTR_ERR(poller);
	}

	mig->dirty.pinned = false;
	mig->dirty.pinning = pin;
	mig_device_lock(mig);
	if (mig->shielded) {
		/* The user has stand-ins already, and the backend knows. */
		WRITE_ONCE(mig->tracking, true);
	} else {
		mig_shield_zap(mig);
		mig->backend->track->start(mig);
		WRITE_ONCE(mig->tracking, true);
		mig_shield_renew(mig);
	}
	mig_device_unlock(mig);

	mig->dirty.poller = poller;
	mig_dirty_forward(mig);
	if (poller)
		wake_up_process(poller);
	return 0;
}

/**
 * mig_dirty_stop - the device is being closed: end the poller
 * @mig: the device
 *
 * It may still be working. mig_dirty_close() is to follow when it is not.
 */
void mig_dirty_stop(struct vfio_pci_mig *mig)
{
	if (mig->dirty.poller)
		kthread_stop(mig->dirty.poller);
	mig->dirty.poller = NULL;
}

/* Nothing is recorded any more. */
static void mig_dirty_drop(struct vfio_pci_mig *mig)
{
	struct mig_dirty *dirty = &mig->dirty;
	struct mig_posted_page *page;
	unsigned long index;

	mig->backend->track->stop(mig);

	/* Marks that are owed to memory that has not come back yet. */
	mutex_lock(&dirty->lock);
	dirty->fence_end = jiffies;
	xa_for_each(&dirty->posted, index, page)
		mig_page_retry(mig, index, page);
	WARN_ON_ONCE(dirty->pages);
	mutex_unlock(&dirty->lock);
}

/**
 * mig_dirty_end - there is nobody to report to any more
 * @mig: the device, in any state; the state lock is held
 *
 * The user gets its registers back.
 */
void mig_dirty_end(struct vfio_pci_mig *mig)
{
	const struct vfio_pci_mig_track_ops *ops = mig->backend->track;

	mig_dirty_stop(mig);
	mig_dirty_hold(mig);
	mig_device_lock(mig);
	if (!mig->shielded) {
		mig_shield_zap(mig);
		mig_shield_sync(mig);
		ops->look(mig);
		ops->apply(mig);
	}
	WRITE_ONCE(mig->tracking, false);
	if (!mig->shielded)
		mig_shield_renew(mig);
	mig_device_unlock(mig);
	mig_dirty_drop(mig);
	mig_dirty_resume(mig);
}

/**
 * mig_dirty_saving - the device is SAVING and RUNNING
 * @mig: the device; the state lock is held
 *
 * Tracking and the scope begin here. If that fails, all pages go on being
 * reported, if they are. With DMA logging on, nobody will ask the container.
 */
void mig_dirty_saving(struct vfio_pci_mig *mig)
{
	bool begins = !mig->tracking;
	int ret;

	lockdep_assert_held(&mig->guard->mutex);
	if (!mig_dirty_offered(mig) || (mig->log.on && !mig->dirty.pinning))
		return;
	if (begins) {
		ret = mig_dirty_start(mig, true);
		if (ret) {
			dev_warn_ratelimited(&mig->core.pdev->dev,
					     "no dirty tracking (%d)\n", ret);
			return;
		}
	}
	/* If it has gone on since before, the scope may be there all the same. */
	if (!mig_dirty_take_scope(mig) && begins)
		mig_dirty_end(mig);
}

/**
 * mig_dirty_open - the device has been opened
 * @mig: the device; the state lock is held
 *
 * If its group was not taken out of its container in the meantime the scope is
 * still there, and so must be tracking. The IOMMU domain tells; one that only
 * happens to be at the same address costs time and does no harm.
 *
 * Return: 0 or -errno.
 */
int mig_dirty_open(struct vfio_pci_mig *mig)
{
	struct mig_dirty *dirty = &mig->dirty;

	if (!dirty->scope ||
	    dirty->scope != iommu_get_domain_for_dev(&mig->core.pdev->dev)) {
		dirty->scope = NULL;
		return 0;
	}
	pci_info(mig->core.pdev,
		 "dirty tracking goes on: opened in the container of before\n");
	return mig_dirty_start(mig, true);
}

/**
 * mig_dirty_close - tracking ends
 * @mig: the device, silent, closed by its user
 */
void mig_dirty_close(struct vfio_pci_mig *mig)
{
	if (!mig->tracking)
		return;
	mig->tracking = false;
	mig_dirty_drop(mig);
	mig_log_forget(mig);
}

/**
 * mig_dirty_init - before the device is registered
 * @mig: the device
 */
void mig_dirty_init(struct vfio_pci_mig *mig)
{
	mutex_init(&mig->dirty.forward_lock);
	mutex_init(&mig->dirty.lock);
	xa_init(&mig->dirty.posted);
	mig->dirty.fence_end = jiffies;
}

/**
 * mig_dirty_free - undo mig_dirty_init()
 * @mig: the device
 */
void mig_dirty_free(struct vfio_pci_mig *mig)
{
	xa_destroy(&mig->dirty.posted);
	mutex_destroy(&mig->dirty.lock);
	mutex_destroy(&mig->dirty.forward_lock);
}
