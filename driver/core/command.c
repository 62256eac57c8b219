// SPDX-License-Identifier: GPL-2.0
/*
 * The PCI Command register: what the function may do, and the user's view of
 * it.
 *
 * While the device is quiet its bus mastering is off, whatever the user wants;
 * and its memory decoding on, so that registers can be reached. A VMM switches
 * that off before it restores a device. For a VF that should have no effect
 * (SR-IOV: the bit is hardwired to 0), but QEMU's igb obeys it. Each change of
 * one of these bits has an emulated machine lay out its memory anew, which
 * takes longer than all registers of a load; so they are left as they are until
 * quiet ends, and what the user wants comes then, by one write.
 */
#include <linux/uaccess.h>

#include "compat.h"
#include "core.h"

/* What the user keeps a view of its own of. Both are in the low byte. */
#define MIG_COMMAND_VIEW	(PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER)

/* The user's memory decoding; vfio-pci-core goes by the same. */
static bool mig_memory_wanted(struct vfio_pci_mig *mig)
{
	return mig->core.vconfig[PCI_COMMAND] & PCI_COMMAND_MEMORY;
}

/**
 * mig_memory_enabled - may the user's accesses reach the BARs
 * @mig: the device; memory_lock is held
 *
 * Return: what vfio-pci-core would answer. A VF's memory decoding is switched
 * by its PF, so for a VF COMMAND does not count.
 */
bool mig_memory_enabled(struct vfio_pci_mig *mig)
{
	struct pci_dev *pdev = mig->core.pdev;

	if (pdev->current_state == PCI_D3hot ||
	    pdev->current_state == PCI_D3cold)
		return false;
	return pdev->no_command_memory || mig_memory_wanted(mig);
}

/**
 * mig_io_lock - take io_lock and make sure that registers can be reached
 * @mig: the device
 *
 * Memory decoding is switched on if need be: for as long as the lock is held, or,
 * if the device is quiet then, until it is so no more.
 */
void mig_io_lock(struct vfio_pci_mig *mig)
{
	struct pci_dev *pdev = mig->core.pdev;
	u16 command;

	mutex_lock(&mig->io_lock);
	pci_read_config_word(pdev, PCI_COMMAND, &command);
	mig->mem_forced = !(command & PCI_COMMAND_MEMORY);
	if (mig->mem_forced)
		pci_write_config_word(pdev, PCI_COMMAND,
				      command | PCI_COMMAND_MEMORY);
}

/**
 * mig_io_unlock - undo mig_io_lock()
 * @mig: the device
 */
void mig_io_unlock(struct vfio_pci_mig *mig)
{
	struct pci_dev *pdev = mig->core.pdev;
	u16 command;

	if (mig->mem_forced && !mig->bus_blocked) {
		pci_read_config_word(pdev, PCI_COMMAND, &command);
		pci_write_config_word(pdev, PCI_COMMAND,
				      command & ~PCI_COMMAND_MEMORY);
	}
	mig->mem_forced = false;
	mutex_unlock(&mig->io_lock);
}

/**
 * mig_device_lock - have the device to oneself
 * @mig: the device; the state lock is held
 *
 * Keeps out resets and changes of COMMAND by vfio-pci-core, accesses to the
 * watched BARs, and page faults on them.
 */
void mig_device_lock(struct vfio_pci_mig *mig)
{
	lockdep_assert_held(&mig->guard->mutex);
	down_read(&mig->core.memory_lock);
	mig_io_lock(mig);
}

/**
 * mig_device_unlock - undo mig_device_lock()
 * @mig: the device
 */
void mig_device_unlock(struct vfio_pci_mig *mig)
{
	mig_io_unlock(mig);
	up_read(&mig->core.memory_lock);
}

static bool mig_bus_master(struct pci_dev *pdev)
{
	u16 command;

	pci_read_config_word(pdev, PCI_COMMAND, &command);
	/* All ones: the device is gone, and masters nothing. */
	return command != 0xffff && (command & PCI_COMMAND_MASTER);
}

/**
 * mig_bus_block - switch bus mastering off behind the user's back
 * @mig: the device; io_lock is held by mig_io_lock()
 *
 * The last line of quiet: without bus mastering the function can neither DMA
 * nor send an MSI, whatever the user writes to it. Only to be called when the
 * backend has stopped the device: some lose what is under way.
 */
void mig_bus_block(struct vfio_pci_mig *mig)
{
	struct pci_dev *pdev = mig->core.pdev;

	lockdep_assert_held(&mig->io_lock);
	if (!mig->bus_blocked)
		mig->bus_wanted = mig_bus_master(pdev);
	mig->bus_blocked = true;
	pci_clear_master(pdev);
}

/**
 * mig_bus_unblock - give bus mastering back as the user wants it
 * @mig: the device; io_lock is held by mig_io_lock()
 *
 * Memory decoding is as the user wants it when that lock is released.
 */
void mig_bus_unblock(struct vfio_pci_mig *mig)
{
	lockdep_assert_held(&mig->io_lock);
	if (!mig->bus_blocked)
		return;
	mig->bus_blocked = false;
	mig->mem_forced = !mig_memory_wanted(mig);
	if (mig->bus_wanted)
		pci_set_master(mig->core.pdev);
}

/*
 * Not if it is so already: most writes are for what the user sees only. Not
 * while it is being reset through sysfs either: to wait for that would be to
 * wait for io_lock, which the end of the reset wants. What the user keeps a view
 * of is known, and comes with the end of quiet.
 */
static int mig_command_low(struct pci_dev *pdev, u8 value)
{
	int ret;
	u8 now;

	if (!pci_cfg_access_trylock(pdev))
		return 0;
	ret = pci_read_config_byte(pdev, PCI_COMMAND, &now);
	if (!ret && now != value)
		ret = pci_write_config_byte(pdev, PCI_COMMAND, value);
	pci_cfg_access_unlock(pdev);
	return ret;
}

/*
 * The user writes the low byte of COMMAND while bus mastering is blocked.
 * vfio-pci-core would let the bit through; so it is done here, and all other
 * bits of this byte as there. Return: 1; 0 if vfio-pci-core can do it; -errno.
 */
static int mig_command_write(struct vfio_pci_mig *mig, const u8 __user *buf)
{
	const u8 decode = PCI_COMMAND_MEMORY | PCI_COMMAND_IO;
	struct pci_dev *pdev = mig->core.pdev;
	u8 *shown = &mig->core.vconfig[PCI_COMMAND];
	int ret = 0;
	u8 value;

	if (get_user(value, buf))
		return -EFAULT;

	down_write(&mig->core.memory_lock);
	mutex_lock(&mig->io_lock);
	if (mig->bus_blocked) {
		mig->bus_wanted = value & PCI_COMMAND_MASTER;
		*shown = (*shown & ~decode) | (value & decode);
		if (!(value & PCI_COMMAND_MEMORY))
			mig_compat_zap_bars(&mig->core);
		value = (value & ~PCI_COMMAND_MASTER) | PCI_COMMAND_MEMORY;
		ret = mig_command_low(pdev, value) ? -EIO : 1;
	}
	mutex_unlock(&mig->io_lock);
	up_write(&mig->core.memory_lock);
	return ret;
}

/* Is it the user's own view that counts? Then get it. */
static bool mig_command_view(struct vfio_pci_mig *mig, u8 *view)
{
	bool held;

	mutex_lock(&mig->io_lock);
	held = mig->bus_blocked;
	if (held)
		*view = (mig->bus_wanted ? PCI_COMMAND_MASTER : 0) |
			(mig_memory_wanted(mig) ? PCI_COMMAND_MEMORY : 0);
	mutex_unlock(&mig->io_lock);
	return held;
}

static ssize_t mig_config_write(struct vfio_pci_mig *mig, char __user *buf,
				size_t count, loff_t *ppos)
{
	loff_t pos = *ppos & VFIO_PCI_OFFSET_MASK;
	size_t before = PCI_COMMAND - pos;
	ssize_t done = 0, ret;
	int ours;

	if (pos > PCI_COMMAND || pos + count <= PCI_COMMAND)
		return vfio_pci_core_write(&mig->core.vdev, buf, count, ppos);

	if (before) {
		done = vfio_pci_core_write(&mig->core.vdev, buf, before, ppos);
		if (done < 0 || done < before)
			return done;
	}

	ret = mig_command_write(mig, (u8 __user *)buf + before);
	if (ret == 1) {
		++*ppos;
		++done;
	}
	ours = ret;
	if (ret >= 0 && done < count) {
		ret = vfio_pci_core_write(&mig->core.vdev, buf + done,
					  count - done, ppos);
		if (ret > 0)
			done += ret;
	}
	/* Quiet may have begun in between: then it is as if it had before. */
	if (!ours && ret > 0)
		mig_command_write(mig, (u8 __user *)buf + before);
	return done ? done : ret;
}

static ssize_t mig_config_read(struct vfio_pci_mig *mig, char __user *buf,
			       size_t count, loff_t *ppos)
{
	loff_t pos = *ppos & VFIO_PCI_OFFSET_MASK;
	u8 __user *byte = (u8 __user *)buf + (PCI_COMMAND - pos);
	u8 value, view;
	ssize_t done;
	bool held;

	/* Before and after: quiet may end or begin meanwhile. */
	held = mig_command_view(mig, &view);
	done = vfio_pci_core_read(&mig->core.vdev, buf, count, ppos);
	if (done <= 0 || pos > PCI_COMMAND || pos + done <= PCI_COMMAND)
		return done;
	held |= mig_command_view(mig, &view);
	if (held && (get_user(value, byte) ||
		     put_user((u8)((value & ~MIG_COMMAND_VIEW) | view), byte)))
		return -EFAULT;
	return done;
}

/**
 * mig_config_rw - the user's access to config space
 * @mig: the device
 * @buf: the user's buffer
 * @count: bytes
 * @ppos: position in the device fd
 * @write: direction
 *
 * vfio-pci-core does it; while the device is quiet the user keeps its own
 * view of Bus Master Enable and Memory Space Enable. A write may reset the
 * function.
 *
 * Return: bytes, or -errno.
 */
ssize_t mig_config_rw(struct vfio_pci_mig *mig, char __user *buf, size_t count,
		      loff_t *ppos, bool write)
{
	int resets = atomic_read(&mig->resets);
	ssize_t done;

	if (!write)
		return mig_config_read(mig, buf, count, ppos);
	done = mig_config_write(mig, buf, count, ppos);
	if (atomic_read(&mig->resets) != resets)
		mig_guard_settle(mig->guard);
	return done;
}
