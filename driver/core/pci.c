// SPDX-License-Identifier: GPL-2.0
/*
 * The PCI part of quiet: bus mastering, memory decoding, transactions under
 * way, interrupt handlers, function reset, and the user's view of COMMAND.
 */
#include <linux/interrupt.h>
#include <linux/uaccess.h>

#include "compat.h"
#include "core.h"

/**
 * mig_memory_enabled - may the user's accesses reach the BARs
 * @mig: the device; memory_lock is held
 *
 * Return: what vfio-pci-core would answer. A VF's memory decoding is switched
 * by its PF, so for a VF COMMAND does not count.
 */
bool mig_memory_enabled(struct vfio_pci_mig *mig)
{
	struct vfio_pci_core_device *core = &mig->core;
	struct pci_dev *pdev = core->pdev;

	if (core->pm_runtime_engaged || pdev->current_state >= PCI_D3hot)
		return false;
	return pdev->no_command_memory ||
	       (core->vconfig[PCI_COMMAND] & PCI_COMMAND_MEMORY);
}

/**
 * mig_io_lock - take io_lock and make sure that registers can be reached
 * @mig: the device
 *
 * A VMM switches memory decoding off before it restores a device. For a VF
 * that should have no effect (SR-IOV: the bit is hardwired to 0), but QEMU's
 * igb obeys it; so it is switched on for as long as the lock is held.
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

	if (mig->mem_forced) {
		pci_read_config_word(pdev, PCI_COMMAND, &command);
		pci_write_config_word(pdev, PCI_COMMAND,
				      command & ~PCI_COMMAND_MEMORY);
		mig->mem_forced = false;
	}
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
 * @mig: the device; io_lock is held
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
 * @mig: the device; io_lock is held
 */
void mig_bus_unblock(struct vfio_pci_mig *mig)
{
	lockdep_assert_held(&mig->io_lock);
	if (!mig->bus_blocked)
		return;
	mig->bus_blocked = false;
	if (mig->bus_wanted)
		pci_set_master(mig->core.pdev);
}

/**
 * mig_wait_transactions - wait until the function's requests are answered
 * @mig: the device, stopped by its backend
 *
 * Bounded by the PCI core (PCIe r6.0, 7.5.3.5 "Transactions Pending").
 */
void mig_wait_transactions(struct vfio_pci_mig *mig)
{
	struct pci_dev *pdev = mig->core.pdev;

	if (!pci_wait_for_pending_transaction(pdev))
		dev_warn_ratelimited(&pdev->dev,
				     "transactions still pending after quiesce\n");
}

/**
 * mig_wait_interrupts - wait until interrupts that have arrived are handled
 * @mig: the device; the state lock is held, memory_lock is not
 *
 * So that the user's eventfd has its count before quiet is acknowledged.
 */
void mig_wait_interrupts(struct vfio_pci_mig *mig)
{
	struct pci_dev *pdev = mig->core.pdev;
	int i, irq;

	/* igate keeps the vectors; it is outside of memory_lock. */
	mutex_lock(&mig->core.igate);
	for (i = 0; pdev->msix_enabled || pdev->msi_enabled; i++) {
		irq = pci_irq_vector(pdev, i);
		if (irq < 0)
			break;
		synchronize_irq(irq);
	}
	mutex_unlock(&mig->core.igate);
}

/**
 * mig_reset_function - reset the function on the way into RESUMING
 * @mig: the device, quiet; the state lock is held
 *
 * Config space, MSI-X included, is as before afterwards.
 *
 * Return: 0, or -errno: -EAGAIN while the device is being unbound.
 */
int mig_reset_function(struct vfio_pci_mig *mig)
{
	struct pci_dev *pdev = mig->core.pdev;
	int ret;

	lockdep_assert_held(&mig->guard->mutex);
	down_write(&mig->core.memory_lock);
	mig_compat_zap_bars(&mig->core);
	/* Our own reset_done is not to take this for the user's reset. */
	WRITE_ONCE(mig->resetting, current);
	ret = pci_try_reset_function(pdev);
	WRITE_ONCE(mig->resetting, NULL);
	if (!ret) {
		mig_io_lock(mig);
		mig->backend->reset(mig);
		mig_shield_fill(mig);
		mig_io_unlock(mig);
	}
	up_write(&mig->core.memory_lock);
	return ret;
}

/* After the user wrote COMMAND: note what it wants, keep what we need. */
static void mig_command_written(struct vfio_pci_mig *mig)
{
	struct pci_dev *pdev = mig->core.pdev;

	down_read(&mig->core.memory_lock);
	mutex_lock(&mig->io_lock);
	if (mig->bus_blocked) {
		/*
		 * vfio-pci-core has let the bit through for a moment. The
		 * backend's rings are off meanwhile, so nothing has used it.
		 */
		mig->bus_wanted = mig_bus_master(pdev);
		pci_clear_master(pdev);
	}
	mutex_unlock(&mig->io_lock);
	up_read(&mig->core.memory_lock);
}

/* After the user read COMMAND: show the bit as it wants it. */
static int mig_command_read(struct vfio_pci_mig *mig, u8 __user *byte)
{
	bool show;
	u8 value;

	mutex_lock(&mig->io_lock);
	show = mig->bus_blocked && mig->bus_wanted;
	mutex_unlock(&mig->io_lock);
	if (!show)
		return 0;
	if (get_user(value, byte) ||
	    put_user((u8)(value | PCI_COMMAND_MASTER), byte))
		return -EFAULT;
	return 0;
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
 * view of Bus Master Enable.
 *
 * Return: bytes, or -errno.
 */
ssize_t mig_config_rw(struct vfio_pci_mig *mig, char __user *buf, size_t count,
		      loff_t *ppos, bool write)
{
	loff_t pos = *ppos & VFIO_PCI_OFFSET_MASK;
	ssize_t done;

	if (write)
		done = vfio_pci_core_write(&mig->core.vdev, buf, count, ppos);
	else
		done = vfio_pci_core_read(&mig->core.vdev, buf, count, ppos);

	if (done <= 0 || pos > PCI_COMMAND || pos + done <= PCI_COMMAND)
		return done;
	if (write)
		mig_command_written(mig);
	else if (mig_command_read(mig, (u8 __user *)buf + PCI_COMMAND - pos))
		return -EFAULT;
	return done;
}
