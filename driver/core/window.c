// SPDX-License-Identifier: GPL-2.0
/*
 * The data window of the v1 migration region: pages that belong to a session.
 *
 * There is always a window to be mapped, and a mapping of it never faults in
 * vain: QEMU 7.2 maps it before it begins a session, and crashes if it cannot.
 * When a session begins or ends, the pages are withdrawn from all mappings and
 * the next access finds fresh ones, so nothing of an earlier stream is seen.
 */
#include <linux/mm.h>
#include <linux/slab.h>

#include "compat.h"
#include "core.h"

/* More would not be faster: a segment is a few KiB for most devices, or a chunk. */
#define MIG_WINDOW_MAX	(1u << 20)

/**
 * mig_window_init - size the window
 * @mig: the device, not registered yet
 *
 * Return: 0 or -ENOMEM.
 */
int mig_window_init(struct vfio_pci_mig *mig)
{
	struct mig_window *window = &mig->window;

	window->pages = DIV_ROUND_UP(min_t(size_t,
					   mig->stream_max + mig->chunk_max,
					   MIG_WINDOW_MAX), PAGE_SIZE);
	window->page = kcalloc(window->pages, sizeof(*window->page),
			       GFP_KERNEL);
	return window->page ? 0 : -ENOMEM;
}

static void mig_window_drop(struct mig_window *window)
{
	unsigned int i;

	for (i = 0; window->page && i < window->pages; i++) {
		if (window->page[i])
			put_page(window->page[i]);
		window->page[i] = NULL;
	}
}

/**
 * mig_window_free - undo mig_window_init()
 * @mig: the device
 */
void mig_window_free(struct vfio_pci_mig *mig)
{
	mig_window_drop(&mig->window);
	kfree(mig->window.page);
	mutex_destroy(&mig->window.lock);
}

/**
 * mig_window_size - bytes of the window
 * @window: the window
 *
 * Return: their number.
 */
size_t mig_window_size(const struct mig_window *window)
{
	return (size_t)window->pages * PAGE_SIZE;
}

/**
 * mig_window_renew - from now on, the window is fresh
 * @mig: the device
 */
void mig_window_renew(struct vfio_pci_mig *mig)
{
	struct mig_window *window = &mig->window;

	mutex_lock(&window->lock);
	/* Who still maps a page keeps it, but it is no window any more. */
	mig_window_drop(window);
	if (window->region)
		mig_compat_zap(&mig->core,
			       VFIO_PCI_INDEX_TO_OFFSET(window->region),
			       PAGE_SIZE + mig_window_size(window));
	mutex_unlock(&window->lock);
}

static struct page *mig_window_page(struct vfio_pci_mig *mig,
				    unsigned int index)
{
	struct mig_window *window = &mig->window;

	lockdep_assert_held(&window->lock);
	if (!window->page[index] && !mig_fault(mig, MIG_POINT_WINDOW))
		window->page[index] = alloc_page(GFP_KERNEL_ACCOUNT |
						 __GFP_ZERO);
	return window->page[index];
}

/**
 * mig_window_copy - read or write the window
 * @mig: the device
 * @offset: from the start of the window; @offset + @len is within
 * @data: kernel memory
 * @len: bytes
 * @write: into the window
 *
 * Return: 0 or -ENOMEM.
 */
int mig_window_copy(struct vfio_pci_mig *mig, size_t offset, void *data,
		    size_t len, bool write)
{
	struct mig_window *window = &mig->window;
	struct page *page;
	size_t bytes;
	int ret = 0;
	u8 *at;

	mutex_lock(&window->lock);
	for (; len; len -= bytes, data += bytes, offset += bytes) {
		bytes = min_t(size_t, len, PAGE_SIZE - offset_in_page(offset));
		page = mig_window_page(mig, offset / PAGE_SIZE);
		if (!page) {
			ret = -ENOMEM;
			break;
		}
		at = page_address(page) + offset_in_page(offset);
		if (write)
			memcpy(at, data, bytes);
		else
			memcpy(data, at, bytes);
	}
	mutex_unlock(&window->lock);
	return ret;
}

static vm_fault_t mig_window_fault(struct vm_fault *vmf)
{
	struct vfio_pci_mig *mig = vmf->vma->vm_private_data;
	u64 pos = ((u64)vmf->pgoff << PAGE_SHIFT) & VFIO_PCI_OFFSET_MASK;
	u64 index = (pos >> PAGE_SHIFT) - 1;
	vm_fault_t ret = VM_FAULT_OOM;
	struct page *page;

	if (!pos || index >= mig->window.pages)
		return VM_FAULT_SIGBUS;

	/*
	 * The page is inserted below the lock, so that it cannot be renewed
	 * between here and its mapping.
	 */
	mutex_lock(&mig->window.lock);
	page = mig_window_page(mig, index);
	if (page)
		ret = vmf_insert_page(vmf->vma, vmf->address, page);
	mutex_unlock(&mig->window.lock);
	return ret;
}

static const struct vm_operations_struct mig_window_vm_ops = {
	.fault = mig_window_fault,
};

/**
 * mig_window_mmap - map the window
 * @mig: the device
 * @vma: what the user wants
 *
 * Return: 0, -EINVAL beyond the window or for a private mapping.
 */
int mig_window_mmap(struct vfio_pci_mig *mig, struct vm_area_struct *vma)
{
	u64 pos = ((u64)vma->vm_pgoff << PAGE_SHIFT) & VFIO_PCI_OFFSET_MASK;
	u64 len = vma->vm_end - vma->vm_start;

	if (!MIG_COMPAT_CAN_ZAP || !(vma->vm_flags & VM_SHARED) ||
	    pos < PAGE_SIZE ||
	    pos - PAGE_SIZE + len > mig_window_size(&mig->window))
		return -EINVAL;

	mig_compat_vm_flags_set(vma, VM_MIXEDMAP | VM_DONTEXPAND | VM_DONTDUMP);
	vma->vm_private_data = mig;
	vma->vm_ops = &mig_window_vm_ops;
	return 0;
}
