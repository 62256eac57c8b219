// SPDX-License-Identifier: GPL-2.0
/*
 * The v2 door: VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE and its companions, as
 * linux/vfio.h describes them.
 */
#include <linux/file.h>

#include "compat.h"
#include "core.h"

/* More than the longest path has: RESUMING to PRE_COPY takes four. */
#define MIG_V2_ARCS	8

static enum vfio_device_mig_state mig_v2_state(u32 state)
{
	switch (state) {
	case MIG_R:
		return VFIO_DEVICE_STATE_RUNNING;
	case MIG_R | MIG_N:
		return VFIO_DEVICE_STATE_RUNNING_P2P;
	case MIG_R | MIG_S:
		return VFIO_DEVICE_STATE_PRE_COPY;
	case MIG_R | MIG_S | MIG_N:
		return VFIO_DEVICE_STATE_PRE_COPY_P2P;
	case 0:
	case MIG_N:
		return VFIO_DEVICE_STATE_STOP;
	case MIG_S:
	case MIG_S | MIG_N:
		return VFIO_DEVICE_STATE_STOP_COPY;
	case MIG_M:
	case MIG_M | MIG_N:
		return VFIO_DEVICE_STATE_RESUMING;
	default:
		return VFIO_DEVICE_STATE_ERROR;
	}
}

/* Not all of the states are in the enum of every kernel; see compat.h. */
static int mig_v2_bits(u32 state, u32 *bits)
{
	switch (state) {
	case VFIO_DEVICE_STATE_RUNNING:
		*bits = MIG_R;
		return 0;
	case VFIO_DEVICE_STATE_RUNNING_P2P:
		*bits = MIG_R | MIG_N;
		return 0;
	case VFIO_DEVICE_STATE_STOP:
		*bits = 0;
		return 0;
	case VFIO_DEVICE_STATE_STOP_COPY:
		*bits = MIG_S;
		return 0;
	case VFIO_DEVICE_STATE_RESUMING:
		*bits = MIG_M;
		return 0;
	case VFIO_DEVICE_STATE_PRE_COPY:
		*bits = MIG_R | MIG_S;
		return 0;
	case VFIO_DEVICE_STATE_PRE_COPY_P2P:
		*bits = MIG_R | MIG_S | MIG_N;
		return 0;
	default:
		return -EINVAL;
	}
}

/*
 * The arcs from one state to another. Return: their number, or -EINVAL. Not for
 * ERROR: vfio_mig_get_next_state() warns of states that we do not advertise.
 */
static int mig_v2_path(struct vfio_device *vdev,
		       enum vfio_device_mig_state at,
		       enum vfio_device_mig_state target, u32 *path)
{
	unsigned int arcs = 0;
	int ret;

	while (at != target) {
		if (WARN_ON_ONCE(arcs == MIG_V2_ARCS))
			return -EINVAL;
		ret = vfio_mig_get_next_state(vdev, at, target, &at);
		if (!ret)
			ret = mig_v2_bits(at, &path[arcs++]);
		if (ret)
			return ret;
	}
	return arcs;
}

static struct file *mig_v2_set_state(struct vfio_device *vdev,
				     enum vfio_device_mig_state target)
{
	struct vfio_pci_mig *mig = mig_from_vdev(vdev);
	enum vfio_device_mig_state from;
	struct file *filp = NULL;
	u32 path[MIG_V2_ARCS];
	int ret = 0;

	mig_guard_lock(mig->guard);
	from = mig_v2_state(mig->state);
	if (from != target) {
		ret = mig_check_door_locked(mig, MIG_DOOR_V2);
		if (!ret)
			ret = mig_v2_path(vdev, from, target, path);
		if (ret > 0)
			ret = mig_request_locked(mig, MIG_DOOR_V2, path, ret,
						 &filp);
	}
	mig_guard_unlock(mig->guard);
	return ret ? ERR_PTR(ret) : filp;
}

static int mig_v2_get_state(struct vfio_device *vdev,
			    enum vfio_device_mig_state *state)
{
	struct vfio_pci_mig *mig = mig_from_vdev(vdev);

	mig_guard_lock(mig->guard);
	*state = mig_v2_state(mig->state);
	mig_guard_unlock(mig->guard);
	return 0;
}

/**
 * mig_v2_data_size - how much there is to be saved
 * @vdev: the device
 * @length: receives a fixed upper bound in bytes: VMMs ask thousands of times
 *	a second, and use it as the size of their reads as well
 *
 * Return: 0.
 */
int mig_v2_data_size(struct vfio_device *vdev, unsigned long *length)
{
	struct vfio_pci_mig *mig = mig_from_vdev(vdev);

	*length = 2 * mig->stream_max + READ_ONCE(mig->chunk_bytes);
	return 0;
}

const struct vfio_migration_ops mig_v2_ops = {
	.migration_set_state = mig_v2_set_state,
	.migration_get_state = mig_v2_get_state,
	MIG_COMPAT_DATA_SIZE_OPS
};
