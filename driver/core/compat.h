/* SPDX-License-Identifier: GPL-2.0 */
/*
 * All differences between the kernels we build for. Each MIG_HAVE_* is the
 * result of a probe of the kernel's headers in Kbuild, never of its version:
 * distributions backport.
 */
#ifndef _MIG_COMPAT_H
#define _MIG_COMPAT_H

#include <linux/iova_bitmap.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/uaccess.h>
#include <linux/vfio_pci_core.h>

/*
 * PRE_COPY came with 6.2. Where user space does not know it, it is not offered
 * through v2; v1's SAVING|RUNNING needs none of this.
 */
#ifndef VFIO_MIGRATION_PRE_COPY
#define VFIO_MIGRATION_PRE_COPY		0
#define VFIO_DEVICE_STATE_PRE_COPY	6
#define VFIO_DEVICE_STATE_PRE_COPY_P2P	7
#define VFIO_MIG_GET_PRECOPY_INFO	_IO(VFIO_TYPE, VFIO_BASE + 21)

struct vfio_precopy_info {
	__u32 argsz;
	__u32 flags;
	__aligned_u64 initial_bytes;
	__aligned_u64 dirty_bytes;
};
#endif

/*
 * Mappings of the device fd can be withdrawn by file offset where the fd has
 * an inode of its own. Elsewhere (6.1) it shares one with all anonymous
 * inodes, so there we do not offer mappings that we would have to withdraw.
 */
#ifdef MIG_HAVE_VFIO_INODE
#define MIG_COMPAT_CAN_ZAP	true

static inline void mig_compat_zap(struct vfio_pci_core_device *core,
				  loff_t start, loff_t len)
{
	unmap_mapping_range(core->vdev.inode->i_mapping, start, len, true);
}

static inline void mig_compat_zap_bars(struct vfio_pci_core_device *core)
{
	mig_compat_zap(core, 0,
		       VFIO_PCI_INDEX_TO_OFFSET(VFIO_PCI_ROM_REGION_INDEX));
}
#else
#define MIG_COMPAT_CAN_ZAP	false

static inline void mig_compat_zap(struct vfio_pci_core_device *core,
				  loff_t start, loff_t len)
{
}

static inline void mig_compat_zap_bars(struct vfio_pci_core_device *core)
{
}
#endif

/* VMA flags got a setter with 6.3. */
#ifdef MIG_HAVE_VM_FLAGS_SET
#define mig_compat_vm_flags_set(vma, flags)	vm_flags_set(vma, flags)
#else
#define mig_compat_vm_flags_set(vma, flags)	((vma)->vm_flags |= (flags))
#endif

/*
 * VFIO_DEVICE_GET_REGION_INFO: a callback of its own since 6.19; before, part
 * of the ioctl callback. MIG_COMPAT_REGION_OPS goes into the device ops.
 */
int mig_bar_region_info(struct vfio_device *vdev, struct vfio_region_info *info,
			struct vfio_info_cap *caps);

#ifdef MIG_HAVE_REGION_INFO_CAPS
static inline int mig_compat_region_info(struct vfio_device *vdev,
					 struct vfio_region_info *info,
					 struct vfio_info_cap *caps)
{
	int ret = mig_bar_region_info(vdev, info, caps);

	if (ret == -ENOTTY)
		ret = vfio_pci_ioctl_get_region_info(vdev, info, caps);
	return ret;
}

static inline long mig_compat_ioctl(struct vfio_device *vdev, unsigned int cmd,
				    unsigned long arg)
{
	return vfio_pci_core_ioctl(vdev, cmd, arg);
}

#define MIG_COMPAT_REGION_OPS	.get_region_info_caps = mig_compat_region_info,
#else
static inline long mig_compat_ioctl(struct vfio_device *vdev, unsigned int cmd,
				    unsigned long arg)
{
	const size_t minsz = offsetofend(struct vfio_region_info, offset);
	void __user *uarg = (void __user *)arg;
	struct vfio_info_cap caps = {};
	struct vfio_region_info info = {};
	long ret;

	if (cmd != VFIO_DEVICE_GET_REGION_INFO)
		return vfio_pci_core_ioctl(vdev, cmd, arg);
	if (copy_from_user(&info, uarg, minsz))
		return -EFAULT;
	if (info.argsz < minsz)
		return -EINVAL;
	info.cap_offset = 0;

	ret = mig_bar_region_info(vdev, &info, &caps);
	if (ret == -ENOTTY)
		return vfio_pci_core_ioctl(vdev, cmd, arg);
	if (ret)
		goto free;

	if (caps.size) {
		info.flags |= VFIO_REGION_INFO_FLAG_CAPS;
		if (info.argsz < sizeof(info) + caps.size) {
			info.argsz = sizeof(info) + caps.size;
		} else {
			vfio_info_cap_shift(&caps, sizeof(info));
			if (copy_to_user(uarg + sizeof(info), caps.buf,
					 caps.size)) {
				ret = -EFAULT;
				goto free;
			}
			info.cap_offset = sizeof(info);
		}
	}
	if (copy_to_user(uarg, &info, minsz))
		ret = -EFAULT;
free:
	kfree(caps.buf);
	return ret;
}

#define MIG_COMPAT_REGION_OPS
#endif

/* The VF token has been checked through a callback since 6.17. */
#ifdef MIG_HAVE_MATCH_TOKEN_UUID
#define MIG_COMPAT_TOKEN_OPS	.match_token_uuid = vfio_pci_core_match_token_uuid,
#else
#define MIG_COMPAT_TOKEN_OPS
#endif

/* iommufd came with 6.2, detaching from it with 6.6. */
#ifdef MIG_HAVE_DETACH_IOAS
#define MIG_COMPAT_IOMMUFD_OPS					\
	.bind_iommufd	= vfio_iommufd_physical_bind,		\
	.unbind_iommufd	= vfio_iommufd_physical_unbind,		\
	.attach_ioas	= vfio_iommufd_physical_attach_ioas,	\
	.detach_ioas	= vfio_iommufd_physical_detach_ioas,
#else
#define MIG_COMPAT_IOMMUFD_OPS
#endif

/* The memory of what is attached to iommufd cannot be read by vfio_dma_rw(). */
static inline bool mig_compat_iommufd(struct vfio_device *vdev)
{
#if IS_ENABLED(CONFIG_IOMMUFD)
	return vdev->iommufd_device;
#else
	return false;
#endif
}

/*
 * The bitmaps of DMA logging are part of VFIO, and since 6.7 of iommufd if that
 * is built for drivers. Where they are not, vfio answers no report.
 */
#ifdef MIG_HAVE_IOMMUFD_BITMAP
#define MIG_COMPAT_CAN_LOG	IS_ENABLED(CONFIG_IOMMUFD_DRIVER)
#else
#define MIG_COMPAT_CAN_LOG	true
#endif

/* MODULE_IMPORT_NS() wants its argument with quotes, or without. */
#define MIG_COMPAT_IMPORT_BITMAP	MODULE_INFO(import_ns, "IOMMUFD")

/*
 * VFIO_DEVICE_FEATURE_MIG_DATA_SIZE came with 6.2. It is answered here where
 * VFIO itself does not: QEMU takes a device that says nothing for one with
 * 100 GiB of state, and its migration never converges.
 */
int mig_v2_data_size(struct vfio_device *vdev, unsigned long *length);

#ifdef MIG_HAVE_DATA_SIZE
#define MIG_COMPAT_DATA_SIZE_OPS	.migration_get_data_size = mig_v2_data_size,
#define mig_compat_feature		vfio_pci_core_ioctl_feature
#else
#define MIG_COMPAT_DATA_SIZE_OPS
#define VFIO_DEVICE_FEATURE_MIG_DATA_SIZE	9

struct vfio_device_feature_mig_data_size {
	__aligned_u64 stop_copy_length;
};

static inline int mig_compat_feature(struct vfio_device *vdev, u32 flags,
				     void __user *arg, size_t argsz)
{
	struct vfio_device_feature_mig_data_size size = {};
	unsigned long length;
	int ret;

	if ((flags & VFIO_DEVICE_FEATURE_MASK) !=
	    VFIO_DEVICE_FEATURE_MIG_DATA_SIZE)
		return vfio_pci_core_ioctl_feature(vdev, flags, arg, argsz);

	ret = vfio_check_feature(flags, argsz, VFIO_DEVICE_FEATURE_GET,
				 sizeof(size));
	if (ret != 1)
		return ret;
	ret = mig_v2_data_size(vdev, &length);
	if (ret)
		return ret;
	size.stop_copy_length = length;
	return copy_to_user(arg, &size, sizeof(size)) ? -EFAULT : 0;
}
#endif

#endif /* _MIG_COMPAT_H */
