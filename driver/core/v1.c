// SPDX-License-Identifier: GPL-2.0
/*
 * The v1 door: the migration region with the NDMA bit.
 * uapi/vfio_pci_migration_v1.h has its layout.
 */
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "../../uapi/vfio_pci_migration_v1.h"
#include "compat.h"
#include "core.h"

/* The header has a page of its own; the window is behind. */
#define MIG_V1_WINDOW	PAGE_SIZE

static_assert(VFIO_MIG_V1_RUNNING == MIG_R && VFIO_MIG_V1_SAVING == MIG_S &&
	      VFIO_MIG_V1_RESUMING == MIG_M && VFIO_MIG_V1_NDMA == MIG_N);

static int mig_v1_set_state(struct vfio_pci_mig *mig, u32 state)
{
	return mig_request_locked(mig, MIG_DOOR_V1, &state, 1, NULL);
}

/* The stream, if it is v1's and goes in that direction. */
static struct mig_session *mig_v1_session(struct vfio_pci_mig *mig,
					  bool incoming)
{
	if (mig->owner != MIG_DOOR_V1 || !mig->session ||
	    mig->session->incoming != incoming)
		return NULL;
	return mig->session;
}

static int mig_v1_pending(struct vfio_pci_mig *mig, u64 *value)
{
	struct mig_session *session = mig_v1_session(mig, false);

	*value = 0;
	if (!session)
		return 0;
	mig_session_ack_locked(session);
	*value = mig_session_left_locked(session);
	return 0;
}

/* Make a segment available, unless there is one. */
static int mig_v1_offer(struct vfio_pci_mig *mig, u64 *value)
{
	struct mig_session *session = mig_v1_session(mig, false);
	size_t bytes;
	int ret;

	if (!session && !mig_v1_session(mig, true))
		return -EINVAL;
	*value = MIG_V1_WINDOW;
	if (!session || session->segment)
		return 0;

	ret = mig_session_fill_locked(session);
	if (ret)
		return ret;
	bytes = min_t(size_t, mig_session_pending_locked(session),
		      mig_window_size(&mig->window));
	ret = mig_window_copy(mig, 0, session->buf + session->pos, bytes, true);
	if (!ret)
		session->segment = bytes;
	return ret;
}

static int mig_v1_segment(struct vfio_pci_mig *mig, u64 *value)
{
	struct mig_session *session = mig_v1_session(mig, false);

	if (!session)
		return -EINVAL;
	*value = session->segment;
	session->segment_taken = session->segment;
	return 0;
}

/* The user has placed @size bytes in the window. */
static int mig_v1_consume(struct vfio_pci_mig *mig, u64 size)
{
	struct mig_session *session = mig_v1_session(mig, true);
	size_t done, bytes;
	int ret = 0;

	if (!session || size > mig_window_size(&mig->window))
		return -EINVAL;
	/* Copied first: the user may write to its mapping meanwhile. */
	for (done = 0; !ret && done < size; done += bytes) {
		bytes = min_t(size_t, size - done, sizeof(session->bounce));
		ret = mig_window_copy(mig, done, session->bounce, bytes, false);
		if (!ret)
			ret = mig_session_take_locked(session, session->bounce,
						      bytes);
	}
	return ret;
}

static int mig_v1_read_field(struct vfio_pci_mig *mig, size_t field, u64 *value)
{
	switch (field) {
	case offsetof(struct vfio_mig_v1_info, device_state):
		*value = mig->state;
		return 0;
	case offsetof(struct vfio_mig_v1_info, reserved):
		*value = 0;
		return 0;
	case offsetof(struct vfio_mig_v1_info, pending_bytes):
		return mig_v1_pending(mig, value);
	case offsetof(struct vfio_mig_v1_info, data_offset):
		return mig_v1_offer(mig, value);
	case offsetof(struct vfio_mig_v1_info, data_size):
		return mig_v1_segment(mig, value);
	default:
		return -EINVAL;
	}
}

static int mig_v1_write_field(struct vfio_pci_mig *mig, size_t field, u64 value)
{
	switch (field) {
	case offsetof(struct vfio_mig_v1_info, device_state):
		return mig_v1_set_state(mig, value);
	case offsetof(struct vfio_mig_v1_info, reserved):
		return 0;
	case offsetof(struct vfio_mig_v1_info, data_size):
		return mig_v1_consume(mig, value);
	default:
		return -EINVAL;
	}
}

static ssize_t mig_v1_header_rw(struct vfio_pci_mig *mig, char __user *buf,
				size_t count, u64 pos, bool write)
{
	size_t width = pos < offsetof(struct vfio_mig_v1_info, pending_bytes) ?
		       sizeof(u32) : sizeof(u64);
	u64 value = 0;
	u32 value32;
	int ret;

	if (count != width || !IS_ALIGNED(pos, width) ||
	    pos >= sizeof(struct vfio_mig_v1_info))
		return -EINVAL;

	if (write && width == sizeof(u32)) {
		if (copy_from_user(&value32, buf, width))
			return -EFAULT;
		value = value32;
	} else if (write && copy_from_user(&value, buf, width)) {
		return -EFAULT;
	}

	mig_guard_lock(mig->guard);
	ret = write ? mig_v1_write_field(mig, pos, value) :
		      mig_v1_read_field(mig, pos, &value);
	mig_guard_unlock(mig->guard);
	if (ret)
		return ret;

	if (!write && width == sizeof(u32)) {
		value32 = value;
		if (copy_to_user(buf, &value32, width))
			return -EFAULT;
	} else if (!write && copy_to_user(buf, &value, width)) {
		return -EFAULT;
	}
	return count;
}

static ssize_t mig_v1_window_rw(struct vfio_pci_mig *mig, char __user *buf,
				size_t count, u64 offset, bool write)
{
	size_t done = 0, bytes;
	u8 bounce[256];
	int ret = 0;

	if (offset >= mig_window_size(&mig->window) ||
	    count > mig_window_size(&mig->window) - offset)
		return -EINVAL;

	for (; done < count; done += bytes) {
		bytes = min(count - done, sizeof(bounce));
		if (write && copy_from_user(bounce, buf + done, bytes)) {
			ret = -EFAULT;
			break;
		}
		ret = mig_window_copy(mig, offset + done, bounce, bytes, write);
		if (ret)
			break;
		if (!write && copy_to_user(buf + done, bounce, bytes)) {
			ret = -EFAULT;
			break;
		}
	}
	return done ? done : ret;
}

static ssize_t mig_v1_rw(struct vfio_pci_core_device *core, char __user *buf,
			 size_t count, loff_t *ppos, bool write)
{
	struct vfio_pci_mig *mig =
		container_of(core, struct vfio_pci_mig, core);
	u64 pos = *ppos & VFIO_PCI_OFFSET_MASK;
	ssize_t done;

	if (pos < MIG_V1_WINDOW)
		done = mig_v1_header_rw(mig, buf, count, pos, write);
	else
		done = mig_v1_window_rw(mig, buf, count, pos - MIG_V1_WINDOW,
					write);
	if (done > 0)
		*ppos += done;
	return done;
}

static int mig_v1_mmap(struct vfio_pci_core_device *core,
		       struct vfio_pci_region *region,
		       struct vm_area_struct *vma)
{
	return mig_window_mmap(container_of(core, struct vfio_pci_mig, core),
			       vma);
}

static int mig_v1_add_capability(struct vfio_pci_core_device *core,
				 struct vfio_pci_region *region,
				 struct vfio_info_cap *caps)
{
	struct vfio_pci_mig *mig =
		container_of(core, struct vfio_pci_mig, core);
	struct vfio_info_cap_header ndma = {
		.id = VFIO_REGION_INFO_CAP_MIG_NDMA,
		.version = 1,
	};
	struct vfio_region_info_cap_sparse_mmap *sparse;
	int ret;

	ret = vfio_info_add_capability(caps, &ndma, sizeof(ndma));
	if (ret || !MIG_COMPAT_CAN_ZAP)
		return ret;

	sparse = kzalloc(struct_size(sparse, areas, 1), GFP_KERNEL);
	if (!sparse)
		return -ENOMEM;
	sparse->header.id = VFIO_REGION_INFO_CAP_SPARSE_MMAP;
	sparse->header.version = 1;
	sparse->nr_areas = 1;
	sparse->areas[0].offset = MIG_V1_WINDOW;
	sparse->areas[0].size = mig_window_size(&mig->window);
	ret = vfio_info_add_capability(caps, &sparse->header,
				       struct_size(sparse, areas, 1));
	kfree(sparse);
	return ret;
}

static void mig_v1_release(struct vfio_pci_core_device *core,
			   struct vfio_pci_region *region)
{
	container_of(core, struct vfio_pci_mig, core)->window.region = 0;
}

static const struct vfio_pci_regops mig_v1_regops = {
	.rw = mig_v1_rw,
	.release = mig_v1_release,
	.mmap = mig_v1_mmap,
	.add_capability = mig_v1_add_capability,
};

/**
 * mig_v1_open - offer the region to a new user
 * @mig: the device, being opened
 *
 * Return: 0 or -ENOMEM.
 */
int mig_v1_open(struct vfio_pci_mig *mig)
{
	u32 flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
	int ret;

	if (MIG_COMPAT_CAN_ZAP)
		flags |= VFIO_REGION_INFO_FLAG_MMAP;
	ret = vfio_pci_core_register_dev_region(&mig->core,
						VFIO_MIG_V1_REGION_TYPE,
						VFIO_MIG_V1_REGION_SUBTYPE,
						&mig_v1_regops, MIG_V1_WINDOW +
						mig_window_size(&mig->window),
						flags, NULL);
	if (ret)
		return ret;
	mig->window.region = VFIO_PCI_NUM_REGIONS + mig->core.num_regions - 1;
	return 0;
}
