// SPDX-License-Identifier: GPL-2.0
/*
 * The watched BARs: trapped ranges, and ranges that are mapped while the
 * device works and shielded while it is quiet; some of these on some devices
 * only.
 *
 * A shielded page is replaced in the user's mappings by a *stand-in*, a page
 * of ordinary memory with the register values that the user should see. What
 * the user writes there is handed to the backend when quiet ends, so a
 * doorbell that is rung in quiet is honoured later. While dirty pages are
 * tracked, stand-ins are in place as well, and a poller hands over what is
 * written (dirty.c).
 *
 * Who wants to map the page for peer DMA must not get a stand-in, nor leave the
 * real page in the user's page tables while its stand-in is used. Both are refused: the fault
 * of such a request (FAULT_FLAG_REMOTE), and by vfio's type1 IOMMU itself a
 * stand-in that is mapped already, since it is not PageReserved. A VMM that
 * maps BARs for peers while RESUMING is told so, and goes on without.
 *
 * The sparse mmap capability says which part of a BAR is to be mapped. Some
 * programs do not look at it and map all of the BAR, as vfio-pci lets them.
 * They may: when they touch trapped registers, they are given the real ones.
 * But then the backend does not know what became of them, so the device
 * cannot be migrated any more until it is closed.
 */
#include <linux/mm.h>
#include <linux/moduleparam.h>
#include <linux/pm_runtime.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "compat.h"
#include "core.h"

static const struct vfio_pci_mig_range *
mig_range_find(struct vfio_pci_mig *mig, unsigned int bar, u64 offset)
{
	const struct vfio_pci_mig_range *range = mig->backend->ranges;
	const struct vfio_pci_mig_range *end = range + mig->backend->nr_ranges;

	for (; range < end; range++)
		if (range->bar == bar && offset >= range->offset &&
		    offset - range->offset < range->size)
			return range;
	return NULL;
}

/* To see here what hosts with larger pages have. */
static bool mig_mmap = true;
module_param_named(mmap, mig_mmap, bool, 0644);
MODULE_PARM_DESC(mmap,
		 "Let users map rings and doorbells of devices bound from now on (default Y)");

/**
 * mig_bar_watched - is a region a BAR that the backend watches
 * @mig: the device
 * @index: region index
 *
 * Return: true if some of its ranges are.
 */
bool mig_bar_watched(struct vfio_pci_mig *mig, unsigned int index)
{
	return index < PCI_STD_NUM_BARS && mig_range_find(mig, index, 0);
}

/**
 * mig_bar_mmap_possible - can shielded ranges be mapped on this host
 * @mig: the device
 *
 * Not where pages are larger than the ranges, nor where the kernel gives the
 * device fd no address space of its own to withdraw mappings from, nor if the
 * operator does not want it. There, all of a watched BAR is trapped.
 *
 * Return: true if so.
 */
bool mig_bar_mmap_possible(struct vfio_pci_mig *mig)
{
	return mig->mappable;
}

static int mig_ranges_check(struct vfio_pci_mig *mig)
{
	const struct vfio_pci_mig_range *range = mig->backend->ranges;
	const struct vfio_pci_mig_range *end = range + mig->backend->nr_ranges;
	struct pci_dev *pdev = mig->core.pdev;
	u32 msix = U32_MAX;
	u64 expect = 0;

	/* vfio-pci-core guards the MSI-X table, and must go on to. */
	if (pdev->msix_cap)
		pci_read_config_dword(pdev, pdev->msix_cap + PCI_MSIX_TABLE,
				      &msix);

	for (; range < end; range++) {
		if (range->bar >= PCI_STD_NUM_BARS || !range->size ||
		    range->bar == (msix & PCI_MSIX_TABLE_BIR) ||
		    range->offset != expect ||
		    !IS_ALIGNED(range->offset | range->size, MIG_PAGE))
			return -EINVAL;
		expect = (u64)range->offset + range->size;
		if (range + 1 < end && range[1].bar == range->bar)
			continue;
		if (expect != pci_resource_len(pdev, range->bar)) {
			pci_err(pdev, "BAR %u is not the size of a %s\n",
				range->bar, mig->backend->name);
			return -ENODEV;
		}
		expect = 0;
	}
	return 0;
}

/**
 * mig_bar_init - check the backend's ranges, allocate stand-ins
 * @mig: the device, not registered yet
 *
 * Return: 0, -EINVAL (ranges), -ENODEV (BAR sizes differ), -ENOMEM.
 */
int mig_bar_init(struct vfio_pci_mig *mig)
{
	const struct vfio_pci_mig_range *range;
	struct mig_standin *standin;
	unsigned int i, pages = 0;
	u32 offset;
	int ret;

	mig->mappable = MIG_COMPAT_CAN_ZAP && PAGE_SIZE == MIG_PAGE &&
			READ_ONCE(mig_mmap);
	ret = mig_ranges_check(mig);
	if (ret || !mig->mappable)
		return ret;

	for (i = 0; i < mig->backend->nr_ranges; i++)
		if (mig->backend->ranges[i].kind != VFIO_PCI_MIG_TRAP)
			pages += mig->backend->ranges[i].size / MIG_PAGE;

	mig->standin = kcalloc(pages, sizeof(*mig->standin), GFP_KERNEL);
	if (!mig->standin)
		return -ENOMEM;

	for (i = 0; i < mig->backend->nr_ranges; i++) {
		range = &mig->backend->ranges[i];
		if (range->kind == VFIO_PCI_MIG_TRAP)
			continue;
		for (offset = 0; offset < range->size; offset += MIG_PAGE) {
			standin = &mig->standin[mig->nr_standins++];
			standin->bar = range->bar;
			standin->offset = range->offset + offset;
			standin->direct = range->kind == VFIO_PCI_MIG_DIRECT;
			standin->page = alloc_page(GFP_KERNEL | __GFP_ZERO);
			standin->seen = kzalloc(MIG_PAGE, GFP_KERNEL);
			if (!standin->page || !standin->seen) {
				mig_bar_free(mig);
				return -ENOMEM;
			}
		}
	}
	return 0;
}

/**
 * mig_bar_free - undo mig_bar_init()
 * @mig: the device, which nobody can have mapped any more
 */
void mig_bar_free(struct vfio_pci_mig *mig)
{
	unsigned int i;

	for (i = 0; i < mig->nr_standins; i++) {
		if (mig->standin[i].page)
			__free_page(mig->standin[i].page);
		kfree(mig->standin[i].seen);
	}
	kfree(mig->standin);
	mig->standin = NULL;
	mig->nr_standins = 0;
}

/**
 * mig_bar_open - map the watched BARs for the backend
 * @mig: the device, enabled
 *
 * Return: 0 or -ENOMEM.
 */
int mig_bar_open(struct vfio_pci_mig *mig)
{
	unsigned int i;

	for (i = 0; i < PCI_STD_NUM_BARS; i++) {
		if (!mig_bar_watched(mig, i))
			continue;
		mig->bar[i] = pci_iomap(mig->core.pdev, i, 0);
		if (!mig->bar[i]) {
			mig_bar_close(mig);
			return -ENOMEM;
		}
	}
	return 0;
}

/**
 * mig_bar_close - undo mig_bar_open()
 * @mig: the device
 */
void mig_bar_close(struct vfio_pci_mig *mig)
{
	unsigned int i;

	for (i = 0; i < PCI_STD_NUM_BARS; i++) {
		if (mig->bar[i])
			pci_iounmap(mig->core.pdev, mig->bar[i]);
		mig->bar[i] = NULL;
	}
}

/* Do the user's accesses to a page that can be mapped go to its stand-in? */
static bool mig_standin_used(struct vfio_pci_mig *mig,
			     const struct mig_standin *standin)
{
	return mig->shielded || (mig->tracking && !standin->direct);
}

/**
 * mig_shield_zap - take the watched BARs out of the user's page tables
 * @mig: the device; io_lock is held
 *
 * Not if nothing is there: it has the CPUs of a guest interrupted.
 */
void mig_shield_zap(struct vfio_pci_mig *mig)
{
	unsigned int i;

	lockdep_assert_held(&mig->io_lock);
	if (!mig->mapped)
		return;
	mig->mapped = false;
	for (i = 0; i < PCI_STD_NUM_BARS; i++)
		if (mig_bar_watched(mig, i))
			mig_compat_zap(&mig->core, VFIO_PCI_INDEX_TO_OFFSET(i),
				       pci_resource_len(mig->core.pdev, i));
}

/**
 * mig_shield_on - take the watched BARs away from the user
 * @mig: the device; io_lock is held
 *
 * From now on, and until mig_shield_off(), no access by the user reaches
 * them. Page faults wait for io_lock.
 */
void mig_shield_on(struct vfio_pci_mig *mig)
{
	lockdep_assert_held(&mig->io_lock);
	mig->shielded = true;
	mig_shield_zap(mig);
}

/**
 * mig_shield_renew - the user is to see the registers as they should be now
 * @mig: the device; io_lock is held
 *
 * What has been written to stand-ins is lost, unless mig_shield_sync() came
 * before, and mig_shield_zap() before that. They are filled when the user
 * touches them, which it seldom does.
 */
void mig_shield_renew(struct vfio_pci_mig *mig)
{
	unsigned int i;

	mig->changed = false;
	mig_shield_zap(mig);
	for (i = 0; i < mig->nr_standins; i++)
		mig->standin[i].shown = false;
}

static void mig_standin_show(struct vfio_pci_mig *mig,
			     struct mig_standin *standin)
{
	__le32 *shown = page_address(standin->page);
	unsigned int word;

	if (standin->shown)
		return;
	for (word = 0; word < MIG_PAGE / 4; word++) {
		standin->seen[word] =
			mig->backend->bar_read(mig, standin->bar,
					       standin->offset + word * 4);
		shown[word] = cpu_to_le32(standin->seen[word]);
	}
	standin->shown = true;
}

/*
 * It shall read there what the backend says now. Unless the user has written
 * just now: that has to be looked at first.
 */
static void mig_standin_answer(struct vfio_pci_mig *mig,
			       struct mig_standin *standin, unsigned int word)
{
	__le32 *shown = page_address(standin->page);
	u32 value = mig->backend->bar_read(mig, standin->bar,
					   standin->offset + word * 4);

	if (cmpxchg(&shown[word], cpu_to_le32(standin->seen[word]),
		    cpu_to_le32(value)) == cpu_to_le32(standin->seen[word]))
		standin->seen[word] = value;
}

/**
 * mig_shield_sync - tell the backend what the user wrote into stand-ins
 * @mig: the device; io_lock is held
 */
void mig_shield_sync(struct vfio_pci_mig *mig)
{
	struct mig_standin *standin;
	unsigned int i, word;
	__le32 *shown;
	u32 value;

	lockdep_assert_held(&mig->io_lock);
	for (i = 0; i < mig->nr_standins; i++) {
		standin = &mig->standin[i];
		shown = page_address(standin->page);
		/* The poller finds mostly this; big endian never does. */
		if (!standin->shown ||
		    !memcmp(shown, standin->seen, MIG_PAGE))
			continue;
		for (word = 0; word < MIG_PAGE / 4; word++) {
			/* A tail comes after the descriptors that it posts. */
			value = le32_to_cpu(smp_load_acquire(&shown[word]));
			if (value == standin->seen[word])
				continue;
			standin->seen[word] = value;
			mig->backend->bar_write(mig, standin->bar,
						standin->offset + word * 4,
						value);
			if (standin->direct)
				mig_standin_answer(mig, standin, word);
		}
	}
}

/**
 * mig_shield_off - the device works again
 * @mig: the device; io_lock is held
 *
 * The user gets its registers back, or while tracking fresh stand-ins.
 */
void mig_shield_off(struct vfio_pci_mig *mig)
{
	lockdep_assert_held(&mig->io_lock);
	mig->shielded = false;
	mig_shield_renew(mig);
}

/* NULL for what is trapped. */
static struct mig_standin *mig_standin_find(struct vfio_pci_mig *mig,
					    unsigned int bar, u64 offset)
{
	struct mig_standin *standin = mig->standin;
	struct mig_standin *end = standin + mig->nr_standins;

	for (; standin < end; standin++)
		if (standin->bar == bar &&
		    standin->offset == round_down(offset, MIG_PAGE))
			return standin->direct && !mig->direct ? NULL : standin;
	return NULL;
}

/**
 * mig_shield_refresh - show the registers that change by themselves
 * @mig: the device, working and tracking; io_lock is held
 *
 * Unless the user has written to one just now.
 */
void mig_shield_refresh(struct vfio_pci_mig *mig)
{
	const struct vfio_pci_mig_track_ops *ops = mig->backend->track;
	struct mig_standin *standin;
	unsigned int i, j;

	for (i = 0; i < mig->nr_standins; i++) {
		standin = &mig->standin[i];
		for (j = 0; standin->shown && j < ops->nr_live; j++)
			if (ops->live[j] >= standin->offset &&
			    ops->live[j] - standin->offset < MIG_PAGE)
				mig_standin_answer(mig, standin,
						   (ops->live[j] -
						    standin->offset) / 4);
	}
}

/* One access of the user's to one dword; @value is in the lanes of the dword. */
static int mig_bar_access(struct vfio_pci_mig *mig, unsigned int bar,
			  u32 offset, u32 *value, bool write)
{
	struct mig_standin *standin;
	int ret = 0;

	down_read(&mig->core.memory_lock);
	mutex_lock(&mig->io_lock);

	if (!mig->opened || !mig_memory_enabled(mig)) {
		ret = -EIO;
		goto unlock;
	}

	standin = mig_standin_find(mig, bar, offset);
	if (standin && !mig_standin_used(mig, standin))
		standin = NULL;
	mig_shield_sync(mig);

	if (!write) {
		*value = mig->backend->bar_read(mig, bar, offset);
		goto unlock;
	}

	mig->backend->bar_write(mig, bar, offset, *value);
	if (standin && standin->shown) {
		mig_standin_answer(mig, standin,
				   (offset - standin->offset) / 4);
	} else if (!standin && (mig->shielded || mig->changed)) {
		/* Such as a reset by register: it changes shielded ones, too. */
		mig_shield_zap(mig);
		mig_shield_sync(mig);
		mig_shield_renew(mig);
	}

unlock:
	mutex_unlock(&mig->io_lock);
	up_read(&mig->core.memory_lock);
	return ret;
}

/**
 * mig_bar_rw - the user's read or write of a watched BAR
 * @mig: the device
 * @buf: the user's buffer
 * @count: bytes
 * @ppos: position in the device fd
 * @write: direction
 *
 * Any width is accepted; the device is accessed in aligned dwords only. A
 * narrower write carries zeros in the other lanes.
 *
 * Return: bytes, or -errno: -EINVAL beyond the BAR, -EIO with memory decoding
 * off, -EFAULT.
 */
ssize_t mig_bar_rw(struct vfio_pci_mig *mig, char __user *buf, size_t count,
		   loff_t *ppos, bool write)
{
	unsigned int bar = VFIO_PCI_OFFSET_TO_INDEX(*ppos);
	u64 pos = *ppos & VFIO_PCI_OFFSET_MASK;
	u64 size = pci_resource_len(mig->core.pdev, bar);
	struct device *dev = &mig->core.pdev->dev;
	ssize_t done = 0;
	int ret;

	if (pos >= size)
		return -EINVAL;
	count = min_t(u64, count, size - pos);

	ret = pm_runtime_resume_and_get(dev);
	if (ret < 0)
		return -EIO;

	ret = 0;
	while (count) {
		unsigned int lane = pos % 4;
		size_t bytes = min_t(size_t, count, 4 - lane);
		__le32 dword = 0;
		u32 value;

		if (write && copy_from_user((u8 *)&dword + lane, buf, bytes)) {
			ret = -EFAULT;
			break;
		}
		value = le32_to_cpu(dword);
		/* What was written to stand-ins before comes before this. */
		mig_dirty_forward(mig);
		ret = mig_bar_access(mig, bar, pos - lane, &value, write);
		if (ret)
			break;
		if (write)
			mig_dirty_forward(mig);
		dword = cpu_to_le32(value);
		if (!write && copy_to_user(buf, (u8 *)&dword + lane, bytes)) {
			ret = -EFAULT;
			break;
		}
		buf += bytes;
		pos += bytes;
		count -= bytes;
		done += bytes;
	}

	pm_runtime_put(dev);
	*ppos += done;
	return done ? done : ret;
}

/*
 * The user gets at trapped registers. Until close and not until reset: that does
 * not take them out of the tables of an IOMMU that has mapped them for peers.
 */
static void mig_expose(struct vfio_pci_mig *mig, unsigned int bar, u64 offset)
{
	if (!mig->exposed)
		dev_warn_ratelimited(&mig->core.pdev->dev,
				     "BAR %u is used at %#llx by a mapping, which is not offered there: no migration until the device is closed\n",
				     bar, offset);
	mig->exposed = true;
}

static vm_fault_t mig_shield_fault(struct vm_fault *vmf)
{
	struct vm_area_struct *vma = vmf->vma;
	struct vfio_pci_core_device *core = vma->vm_private_data;
	struct vfio_pci_mig *mig =
		container_of(core, struct vfio_pci_mig, core);
	u64 pos = (u64)vmf->pgoff << PAGE_SHIFT;
	unsigned int bar = VFIO_PCI_OFFSET_TO_INDEX(pos);
	u64 offset = pos & VFIO_PCI_OFFSET_MASK;
	vm_fault_t ret = VM_FAULT_SIGBUS;
	struct mig_standin *standin;
	unsigned long pfn;
	bool used;

	down_read(&core->memory_lock);
	mutex_lock(&mig->io_lock);

	if (!mig->opened || core->pm_runtime_engaged ||
	    !mig_memory_enabled(mig))
		goto unlock;

	standin = mig_standin_find(mig, bar, offset);
	used = standin && mig_standin_used(mig, standin);
	if (standin ? used && (vmf->flags & FAULT_FLAG_REMOTE) : mig->shielded)
		goto unlock;

	mig->mapped = true;
	if (used) {
		mig_standin_show(mig, standin);
		pfn = page_to_pfn(standin->page);
		ret = vmf_insert_pfn_prot(vma, vmf->address, pfn,
					  vm_get_page_prot(vma->vm_flags));
	} else {
		if (!standin)
			mig_expose(mig, bar, offset);
		pfn = (pci_resource_start(core->pdev, bar) + offset) >>
			PAGE_SHIFT;
		ret = vmf_insert_pfn(vma, vmf->address, pfn);
	}

unlock:
	mutex_unlock(&mig->io_lock);
	up_read(&core->memory_lock);
	return ret;
}

static const struct vm_operations_struct mig_shield_vm_ops = {
	.fault = mig_shield_fault,
};

/**
 * mig_bar_mmap - map a watched BAR or part of it
 * @mig: the device
 * @vma: what the user wants, in the terms of the device fd
 *
 * Return: 0, -EINVAL beyond its end, or where nothing can be mapped.
 */
int mig_bar_mmap(struct vfio_pci_mig *mig, struct vm_area_struct *vma)
{
	int ret;

	if (!mig_bar_mmap_possible(mig))
		return -EINVAL;

	ret = vfio_pci_core_mmap(&mig->core.vdev, vma);
	if (ret)
		return ret;
	vma->vm_ops = &mig_shield_vm_ops;
	return 0;
}

/**
 * mig_bar_region_info - VFIO_DEVICE_GET_REGION_INFO of a watched BAR
 * @vdev: the device
 * @info: to be filled; info->index is set
 * @caps: gets the sparse mmap capability
 *
 * Return: 0, -ENOMEM, or -ENOTTY if the region is left to vfio-pci-core.
 */
int mig_bar_region_info(struct vfio_device *vdev, struct vfio_region_info *info,
			struct vfio_info_cap *caps)
{
	struct vfio_pci_mig *mig = mig_from_vdev(vdev);
	const struct vfio_pci_mig_backend *backend = mig->backend;
	struct vfio_region_info_cap_sparse_mmap *sparse;
	struct vfio_region_sparse_mmap_area *area = NULL;
	const struct vfio_pci_mig_range *range;
	unsigned int i, areas = 0;
	size_t size;
	int ret;

	if (!mig_bar_watched(mig, info->index))
		return -ENOTTY;

	info->offset = VFIO_PCI_INDEX_TO_OFFSET(info->index);
	info->size = pci_resource_len(mig->core.pdev, info->index);
	info->flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
	if (!mig_bar_mmap_possible(mig) ||
	    !mig->core.bar_mmap_supported[info->index])
		return 0;

	size = struct_size(sparse, areas, backend->nr_ranges);
	sparse = kzalloc(size, GFP_KERNEL);
	if (!sparse)
		return -ENOMEM;

	sparse->header.id = VFIO_REGION_INFO_CAP_SPARSE_MMAP;
	sparse->header.version = 1;
	for (i = 0; i < backend->nr_ranges; i++) {
		range = &backend->ranges[i];
		if (range->bar != info->index ||
		    !mig_standin_find(mig, range->bar, range->offset))
			continue;
		/* One area for ranges without a gap. */
		if (area && area->offset + area->size == range->offset) {
			area->size += range->size;
			continue;
		}
		area = &sparse->areas[areas++];
		area->offset = range->offset;
		area->size = range->size;
	}
	sparse->nr_areas = areas;
	info->flags |= VFIO_REGION_INFO_FLAG_MMAP;
	size = struct_size(sparse, areas, areas);
	ret = vfio_info_add_capability(caps, &sparse->header, size);
	kfree(sparse);
	return ret;
}
