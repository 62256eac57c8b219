// SPDX-License-Identifier: GPL-2.0
/*
 * The core's side of vfio: device life cycle and callbacks.
 */
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "compat.h"
#include "core.h"

/**
 * vfio_pci_mig_priv - the backend's private data of a device
 * @mig: the device
 *
 * Return: priv_size bytes, zeroed when the device was probed.
 */
void *vfio_pci_mig_priv(struct vfio_pci_mig *mig)
{
	return mig->priv;
}
EXPORT_SYMBOL_GPL(vfio_pci_mig_priv);

/**
 * vfio_pci_mig_pdev - the PCI function
 * @mig: the device
 *
 * Return: the function.
 */
struct pci_dev *vfio_pci_mig_pdev(struct vfio_pci_mig *mig)
{
	return mig->core.pdev;
}
EXPORT_SYMBOL_GPL(vfio_pci_mig_pdev);

/**
 * vfio_pci_mig_bar - the registers of a watched BAR
 * @mig: the device, open
 * @bar: index of the BAR
 *
 * Return: its mapping, between open and close.
 */
void __iomem *vfio_pci_mig_bar(struct vfio_pci_mig *mig, unsigned int bar)
{
	return mig->bar[bar];
}
EXPORT_SYMBOL_GPL(vfio_pci_mig_bar);

/**
 * vfio_pci_mig_quiet - is an access to be kept from the device
 * @mig: the device; called from a backend callback
 *
 * Return: true if the device must not notice the access.
 */
bool vfio_pci_mig_quiet(struct vfio_pci_mig *mig)
{
	lockdep_assert_held(&mig->io_lock);
	return mig->shielded;
}
EXPORT_SYMBOL_GPL(vfio_pci_mig_quiet);

/**
 * vfio_pci_mig_tracking - are accesses to shielded ranges only remembered
 * @mig: the device; called from a backend callback
 *
 * Return: true while dirty pages are tracked, quiet or not.
 */
bool vfio_pci_mig_tracking(struct vfio_pci_mig *mig)
{
	return mig->tracking;
}
EXPORT_SYMBOL_GPL(vfio_pci_mig_tracking);

/**
 * vfio_pci_mig_changed - the user is to see other values in shielded ranges
 * @mig: the device; called from @bar_write for a register elsewhere
 */
void vfio_pci_mig_changed(struct vfio_pci_mig *mig)
{
	lockdep_assert_held(&mig->io_lock);
	mig->changed = true;
}
EXPORT_SYMBOL_GPL(vfio_pci_mig_changed);

/**
 * vfio_pci_mig_broken - nothing but a reset will help this device
 * @mig: the device; called from @quiesce, @release, @save, @prepare or @load,
 *	which then fails
 * @reason: for the log
 *
 * The transition under way ends in ERROR.
 */
void vfio_pci_mig_broken(struct vfio_pci_mig *mig, const char *reason)
{
	lockdep_assert_held(&mig->guard->mutex);
	/* Only the first reason is one, the others follow from it. */
	if (!mig->broken)
		dev_err_ratelimited(&mig->core.pdev->dev, "device lost: %s\n",
				    reason);
	mig->broken = true;
	mig_note_reason(mig, reason);
}
EXPORT_SYMBOL_GPL(vfio_pci_mig_broken);

/**
 * vfio_pci_mig_set_features - say what a stream of this device is like
 * @mig: the device; called from @open
 * @required: feature bits for IDENTITY: a reader that does not know them all
 *	refuses the stream, before the source's guest stops
 * @optional: feature bits for IDENTITY that a reader may ignore
 * @known: bits of @required that this device can read
 *
 * Without a call, all are 0.
 */
void vfio_pci_mig_set_features(struct vfio_pci_mig *mig, u64 required,
			       u64 optional, u64 known)
{
	lockdep_assert_held(&mig->guard->mutex);
	mig->self.required = required;
	mig->self.optional = optional;
	mig->self.known = known;
}
EXPORT_SYMBOL_GPL(vfio_pci_mig_set_features);

/**
 * vfio_pci_mig_set_chunks - say how large a state with chunks can be
 * @mig: the device; called from @open or @save
 * @count: number of chunks that @save_chunk will write, at most
 * @bytes: of their payloads, at most
 *
 * For what users are told about the size of the state. Without a call, both
 * are 0.
 */
void vfio_pci_mig_set_chunks(struct vfio_pci_mig *mig, u32 count, u64 bytes)
{
	lockdep_assert_held(&mig->guard->mutex);
	WRITE_ONCE(mig->chunk_bytes,
		   bytes + (u64)count * (MIG_RECORD_SIZE(0) +
					 VFIO_MIG_RECORD_ALIGN - 1));
}
EXPORT_SYMBOL_GPL(vfio_pci_mig_set_chunks);

/**
 * vfio_pci_mig_map_direct - direct ranges can be read back from this device
 * @mig: the device; called from @open
 *
 * Without a call, they are trapped.
 *
 * Return: are they mapped? Not on hosts where nothing is.
 */
bool vfio_pci_mig_map_direct(struct vfio_pci_mig *mig)
{
	lockdep_assert_held(&mig->io_lock);
	mig->direct = mig_bar_mmap_possible(mig);
	return mig->direct;
}
EXPORT_SYMBOL_GPL(vfio_pci_mig_map_direct);

static void mig_close_backend(struct vfio_pci_mig *mig)
{
	mig_guard_lock(mig->guard);
	mig_close_locked(mig);
	mig_guard_unlock(mig->guard);
}

/* The scope of an earlier open may still be there, see mig_dirty_open(). */
static int mig_open_dirty(struct vfio_pci_mig *mig)
{
	int ret;

	mig_guard_lock(mig->guard);
	ret = mig_dirty_open(mig);
	mig_guard_unlock(mig->guard);
	return ret;
}

static int mig_open_device(struct vfio_device *vdev)
{
	struct vfio_pci_mig *mig = mig_from_vdev(vdev);
	int ret;

	ret = vfio_pci_core_enable(&mig->core);
	if (ret)
		return ret;
	if (!mig->core.reset_works) {
		dev_err_ratelimited(&mig->core.pdev->dev,
				    "cannot be reset, so not opened\n");
		ret = -EOPNOTSUPP;
		goto disable;
	}
	ret = mig_bar_open(mig);
	if (ret)
		goto disable;

	mig_guard_lock(mig->guard);
	mig->state = MIG_R;
	mig->owner = MIG_DOOR_NONE;
	mig->broken = false;
	WRITE_ONCE(mig->lost, false);
	mig_io_lock(mig);
	mig->shielded = false;
	mig->exposed = false;
	mig->direct = false;
	mig->bus_blocked = false;
	mig_fault_answer(mig);
	ret = mig_fault(mig, MIG_POINT_BACKEND_OPEN);
	if (!ret)
		ret = mig->backend->open(mig);
	mig->opened = !ret;
	if (!ret)
		mig_shield_renew(mig);
	mig_io_unlock(mig);
	mig_guard_unlock(mig->guard);
	if (ret)
		goto close_bar;

	ret = mig_v1_open(mig);
	if (ret)
		goto close_backend;
	ret = mig_open_dirty(mig);
	if (ret)
		goto close_backend;

	mig_log_open(mig);
	vfio_pci_core_finish_enable(&mig->core);
	return 0;

close_backend:
	mig_close_backend(mig);
close_bar:
	mig_bar_close(mig);
disable:
	vfio_pci_core_disable(&mig->core);
	return ret;
}

static void mig_close_device(struct vfio_device *vdev)
{
	struct vfio_pci_mig *mig = mig_from_vdev(vdev);

	mig_dirty_stop(mig);
	mig_close_backend(mig);
	mig_bar_close(mig);
	vfio_pci_core_close_device(vdev);
	/* Now it is silent: what it might have written until now is marked. */
	mig_dirty_close(mig);
}

static ssize_t mig_rw(struct vfio_device *vdev, char __user *buf, size_t count,
		      loff_t *ppos, bool write)
{
	struct vfio_pci_mig *mig = mig_from_vdev(vdev);
	unsigned int index = VFIO_PCI_OFFSET_TO_INDEX(*ppos);

	if (!count)
		return 0;
	if (index == VFIO_PCI_CONFIG_REGION_INDEX)
		return mig_config_rw(mig, buf, count, ppos, write);
	if (mig_bar_watched(mig, index))
		return mig_bar_rw(mig, buf, count, ppos, write);
	if (write)
		return vfio_pci_core_write(vdev, buf, count, ppos);
	return vfio_pci_core_read(vdev, buf, count, ppos);
}

static ssize_t mig_read(struct vfio_device *vdev, char __user *buf,
			size_t count, loff_t *ppos)
{
	return mig_rw(vdev, buf, count, ppos, false);
}

static ssize_t mig_write(struct vfio_device *vdev, const char __user *buf,
			 size_t count, loff_t *ppos)
{
	return mig_rw(vdev, (char __user *)buf, count, ppos, true);
}

static long mig_ioctl(struct vfio_device *vdev, unsigned int cmd,
		      unsigned long arg)
{
	struct vfio_pci_mig *mig = mig_from_vdev(vdev);
	struct vfio_device_ioeventfd ioeventfd;
	long ret;

	switch (cmd) {
	case VFIO_DEVICE_IOEVENTFD:
		/* It would write to the device behind the shield. */
		if (copy_from_user(&ioeventfd, (void __user *)arg,
				   offsetofend(struct vfio_device_ioeventfd,
					       fd)))
			return -EFAULT;
		if (mig_bar_watched(mig,
				    VFIO_PCI_OFFSET_TO_INDEX(ioeventfd.offset)))
			return -EINVAL;
		return mig_compat_ioctl(vdev, cmd, arg);
	case VFIO_DEVICE_RESET:
		/* The PCI core would wait for it for a minute, with locks held. */
		if (!mig_present(mig))
			return -ENODEV;
		fallthrough;
	case VFIO_DEVICE_PCI_HOT_RESET:
		ret = mig_compat_ioctl(vdev, cmd, arg);
		mig_guard_settle(mig->guard);
		return ret;
	default:
		return mig_compat_ioctl(vdev, cmd, arg);
	}
}

static int mig_mmap(struct vfio_device *vdev, struct vm_area_struct *vma)
{
	struct vfio_pci_mig *mig = mig_from_vdev(vdev);
	u64 pos = (u64)vma->vm_pgoff << PAGE_SHIFT;

	if (mig_bar_watched(mig, VFIO_PCI_OFFSET_TO_INDEX(pos)))
		return mig_bar_mmap(mig, vma);
	return vfio_pci_core_mmap(vdev, vma);
}

static int mig_init_device(struct vfio_device *vdev)
{
	struct vfio_pci_mig *mig = mig_from_vdev(vdev);
	int ret;

	mutex_init(&mig->io_lock);
	mutex_init(&mig->window.lock);
	mig_dirty_init(mig);
	mig_log_init(mig);
	mig->guard = mig_guard_alloc(mig);
	if (!mig->guard)
		return -ENOMEM;

	ret = vfio_pci_core_init_dev(vdev);
	if (ret) {
		mig_guard_remove(mig->guard);
		return ret;
	}
	vdev->migration_flags = VFIO_MIGRATION_STOP_COPY | VFIO_MIGRATION_P2P |
				VFIO_MIGRATION_PRE_COPY;
	vdev->mig_ops = &mig_v2_ops;
	return 0;
}

static void mig_release_device(struct vfio_device *vdev)
{
	struct vfio_pci_mig *mig = mig_from_vdev(vdev);

	mig_fault_free(mig);
	mig_window_free(mig);
	mig_bar_free(mig);
	mig_dirty_free(mig);
	mig_guard_remove(mig->guard);
	mutex_destroy(&mig->io_lock);
	vfio_pci_core_release_dev(vdev);
}

static const struct vfio_device_ops mig_device_ops = {
	.name		= "vfio-pci-migration",
	.init		= mig_init_device,
	.release	= mig_release_device,
	.open_device	= mig_open_device,
	.close_device	= mig_close_device,
	.ioctl		= mig_ioctl,
	.device_feature	= mig_compat_feature,
	.read		= mig_read,
	.write		= mig_write,
	.mmap		= mig_mmap,
	.dma_unmap	= mig_dirty_unmap,
	.request	= vfio_pci_core_request,
	.match		= vfio_pci_core_match,
	MIG_COMPAT_REGION_OPS
	MIG_COMPAT_TOKEN_OPS
	MIG_COMPAT_IOMMUFD_OPS
};

static void mig_set_backend(struct vfio_pci_mig *mig, struct pci_dev *pdev,
			    const struct vfio_pci_mig_backend *backend)
{
	const struct mig_record_desc *desc;
	unsigned int i;
	size_t size;

	mig->backend = backend;
	mig->self = (struct mig_stream_self) {
		.backend = backend->name,
		.state_version = backend->state_version,
		.vendor = pdev->vendor,
		.device = pdev->device,
		.subsystem_vendor = pdev->subsystem_vendor,
		.subsystem_device = pdev->subsystem_device,
		.revision = pdev->revision,
		.records = backend->records,
		.nr_records = backend->nr_records,
	};
	mig->stream_max = MIG_STREAM_OVERHEAD;
	for (i = 0; i < backend->nr_records; i++) {
		desc = &backend->records[i];
		size = MIG_RECORD_SIZE(desc->max);
		if (desc->chunked)
			mig->chunk_max = max(mig->chunk_max, size);
		else
			mig->stream_max += size;
	}
}

/**
 * vfio_pci_mig_probe - make a PCI function a migratable vfio device
 * @pdev: the function
 * @backend: what it is
 *
 * For the probe callback of the backend's pci_driver, whose err_handler is
 * vfio_pci_mig_err_handlers and whose driver_managed_dma is true. Takes the
 * function's driver data.
 *
 * Return: 0 or -errno.
 */
int vfio_pci_mig_probe(struct pci_dev *pdev,
		       const struct vfio_pci_mig_backend *backend)
{
	struct vfio_device *vdev;
	struct vfio_pci_mig *mig;
	int ret;

	if (WARN_ON(strlen(backend->name) >= VFIO_MIG_BACKEND_NAME_LEN ||
		    backend->nr_records > MIG_RECORD_DESC_MAX))
		return -EINVAL;

	vdev = _vfio_alloc_device(sizeof(*mig) + backend->priv_size,
				  &pdev->dev, &mig_device_ops);
	if (IS_ERR(vdev))
		return PTR_ERR(vdev);
	mig = mig_from_vdev(vdev);
	mig_set_backend(mig, pdev, backend);

	ret = -EINVAL;
	if (WARN_ON(!backend->save_chunk != !mig->chunk_max ||
		    !backend->load_chunk != !mig->chunk_max))
		goto put;
	ret = mig_bar_init(mig);
	if (ret)
		goto put;
	ret = mig_window_init(mig);
	if (ret)
		goto put;
	ret = mig_fault_init(mig);
	if (ret)
		goto put;
	mig_note_init(mig);
	mig_debugfs_add(mig);
	dev_set_drvdata(&pdev->dev, &mig->core);
	ret = vfio_pci_core_register_device(&mig->core);
	if (ret)
		goto hide;

	mig_debugfs_link(mig);

	pci_info(pdev, "%s: migration v1 (NDMA) and v2 (STOP_COPY, P2P%s), state up to %zu bytes, rings %s\n",
		 backend->name,
		 vdev->migration_flags & VFIO_MIGRATION_PRE_COPY ? ", PRE_COPY" : "",
		 mig->stream_max,
		 mig_bar_mmap_possible(mig) ? "mmapped" : "trapped");
	return 0;

hide:
	mig_debugfs_remove(mig);
put:
	vfio_put_device(vdev);
	return ret;
}
EXPORT_SYMBOL_GPL(vfio_pci_mig_probe);

/**
 * vfio_pci_mig_remove - undo vfio_pci_mig_probe()
 * @pdev: the function
 *
 * Waits until the user has closed the device. Data fds may live on.
 */
void vfio_pci_mig_remove(struct pci_dev *pdev)
{
	struct vfio_pci_core_device *core = dev_get_drvdata(&pdev->dev);

	vfio_pci_core_unregister_device(core);
	mig_debugfs_remove(container_of(core, struct vfio_pci_mig, core));
	vfio_put_device(&core->vdev);
}
EXPORT_SYMBOL_GPL(vfio_pci_mig_remove);

static void mig_reset_done(struct pci_dev *pdev)
{
	struct vfio_pci_core_device *core = dev_get_drvdata(&pdev->dev);
	struct vfio_pci_mig *mig = container_of(core, struct vfio_pci_mig, core);

	/* The reset on the way into RESUMING is a step, not a way out. */
	if (READ_ONCE(mig->resetting) == current)
		return;
	atomic_inc(&mig->resets);
	mig_guard_reset_done(mig->guard);
}

/*
 * The kernel recovers from a fatal error by a reset of the link, and so of the
 * function, in which all but config space is lost. Afterwards it looks like one that
 * is idle, and would be saved as such.
 */
static pci_ers_result_t mig_error_detected(struct pci_dev *pdev,
					   pci_channel_state_t state)
{
	struct vfio_pci_core_device *core = dev_get_drvdata(&pdev->dev);
	struct vfio_pci_mig *mig = container_of(core, struct vfio_pci_mig, core);

	if (state != pci_channel_io_normal)
		WRITE_ONCE(mig->lost, true);
	return vfio_pci_core_aer_err_detected(pdev, state);
}

/*
 * To be named by the backend's pci_driver.
 */
const struct pci_error_handlers vfio_pci_mig_err_handlers = {
	.error_detected = mig_error_detected,
	.reset_done = mig_reset_done,
};
EXPORT_SYMBOL_GPL(vfio_pci_mig_err_handlers);

/**
 * vfio_pci_mig_put_record - write a record of the device state
 * @enc: as given to @save or @save_ahead
 * @type: one of the backend's record types
 * @flags: VFIO_MIG_RECORD_REQUIRED or 0
 * @payload: content
 * @length: bytes of @payload
 *
 * Return: 0 or -ENOSPC, which is latched.
 */
int vfio_pci_mig_put_record(struct mig_encoder *enc, u16 type, u16 flags,
			    const void *payload, u32 length)
{
	struct mig_session *session =
		container_of(enc, struct mig_session, encoder);
	int ret = mig_fault_record(session->mig, type, false);

	/* Latched, like that of a record that does not fit. */
	if (ret)
		enc->error = ret;
	return mig_encode_record(enc, type, flags, payload, length);
}
EXPORT_SYMBOL_GPL(vfio_pci_mig_put_record);

/**
 * vfio_pci_mig_space - where the payload of the next record will be
 * @enc: as given to @save or @save_chunk
 * @length: bytes that may be put there, at most
 *
 * For payloads that are too long to be copied once more: what is put there is
 * given to vfio_pci_mig_put_record() as if it were elsewhere.
 *
 * Return: room for @length bytes, aligned to 8; NULL if they do not fit.
 */
void *vfio_pci_mig_space(struct mig_encoder *enc, u32 length)
{
	return mig_encode_space(enc, length);
}
EXPORT_SYMBOL_GPL(vfio_pci_mig_space);

/**
 * vfio_pci_mig_get_record - find a record of the device state
 * @state: as given to @load or @prepare
 * @type: one of the backend's record types
 * @length: receives the bytes of the payload; may be NULL
 *
 * Return: the payload, aligned to 8; NULL if there is no such record. To be
 * checked for mandatory ones, too.
 */
const void *vfio_pci_mig_get_record(const struct mig_parser *state, u16 type,
				    u32 *length)
{
	struct mig_session *session =
		container_of(state, struct mig_session, parser);

	if (mig_fault_record(session->mig, type, true))
		return NULL;
	return mig_parser_record(state, type, length);
}
EXPORT_SYMBOL_GPL(vfio_pci_mig_get_record);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Migration core for vfio-pci variant drivers");
