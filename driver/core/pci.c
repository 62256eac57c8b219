// SPDX-License-Identifier: GPL-2.0
/*
 * The PCI part of quiet: bus mastering, memory decoding, transactions under
 * way, interrupt handlers, function reset, and the user's view of COMMAND.
 */
#include <linux/cpu.h>
#include <linux/interrupt.h>
#include <linux/irq.h>
#include <linux/uaccess.h>
#include <linux/workqueue.h>

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

	if (pdev->current_state == PCI_D3hot ||
	    pdev->current_state == PCI_D3cold)
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
 * mig_present - does the function answer at all
 * @mig: the device
 *
 * Registers of a function that is not there read as all ones on most machines,
 * but not on all: QEMU answers zeros, with which every queue seems to stop and to
 * start as it should. Config space reads as all ones everywhere (PCI Express
 * r6.0, 2.3.2), which no working function has in COMMAND.
 *
 * Return: true if it does.
 */
bool mig_present(struct vfio_pci_mig *mig)
{
	u16 command;

	pci_read_config_word(mig->core.pdev, PCI_COMMAND, &command);
	return !PCI_POSSIBLE_ERROR(command);
}

/**
 * mig_check_lost - a device that was reset by error recovery is broken
 * @mig: the device; the state lock is held
 *
 * Return: 0 or -EIO.
 */
int mig_check_lost(struct vfio_pci_mig *mig)
{
	if (!READ_ONCE(mig->lost))
		return 0;
	vfio_pci_mig_broken(mig, "its link was reset after a fatal error");
	return -EIO;
}

/**
 * mig_check_present - a device that does not answer is broken
 * @mig: the device; the state lock is held
 *
 * Return: 0, -ENODEV, or as mig_check_lost().
 */
int mig_check_present(struct vfio_pci_mig *mig)
{
	int ret = mig_check_lost(mig);

	if (ret)
		return ret;
	if (mig_present(mig))
		return 0;
	vfio_pci_mig_broken(mig, "it does not answer");
	return -ENODEV;
}

/**
 * mig_wait_transactions - wait until the function's requests are answered
 * @mig: the device, stopped by its backend
 *
 * Bounded by the PCI core (PCIe r6.0, 7.5.3.5 "Transactions Pending").
 *
 * Return: 0; or -ETIMEDOUT, and the device is broken: what is under way may
 * still write to memory; or as mig_check_present().
 */
int mig_wait_transactions(struct vfio_pci_mig *mig)
{
	int ret = mig_check_present(mig);
	u16 status;

	if (ret)
		return ret;
	if (!pcie_capability_read_word(mig->core.pdev, PCI_EXP_DEVSTA,
				       &status) &&
	    (status & PCI_EXP_DEVSTA_TRPND))
		mig_note_pending(mig);
	if (!mig_fault(mig, MIG_POINT_TRANSACTIONS) &&
	    pci_wait_for_pending_transaction(mig->core.pdev))
		return 0;
	vfio_pci_mig_broken(mig, "transactions still pending");
	return -ETIMEDOUT;
}

static void mig_nothing(struct work_struct *work)
{
}

/* Is one of the device's interrupts for that CPU? igate is held. */
static bool mig_interrupts_cpu(struct pci_dev *pdev, int count,
			       unsigned int cpu)
{
	const struct cpumask *mask;
	int i, irq;

	for (i = 0; i < count; i++) {
		irq = pci_irq_vector(pdev, i);
		mask = irq > 0 ? irq_get_effective_affinity_mask(irq) : NULL;
		if (mask && cpumask_test_cpu(cpu, mask))
			return true;
	}
	return false;
}

/*
 * An interrupt that has arrived at a CPU which has them disabled is pending in
 * its APIC, where synchronize_irq() does not look. When a task has run there
 * since, it has been taken. This one is such a task, where it runs now.
 */
static void mig_wait_pending(struct pci_dev *pdev, int count)
{
	struct work_struct work;
	unsigned int cpu;

	cpus_read_lock();
	for_each_online_cpu(cpu) {
		if (cpu == raw_smp_processor_id() ||
		    !mig_interrupts_cpu(pdev, count, cpu))
			continue;
		INIT_WORK_ONSTACK(&work, mig_nothing);
		/* The guest's CPUs may keep that one busy. */
		queue_work_on(cpu, system_highpri_wq, &work);
		flush_work(&work);
		destroy_work_on_stack(&work);
	}
	cpus_read_unlock();
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
	int i, irq, count = 0;

	/* igate keeps the vectors; it is outside of memory_lock. */
	mutex_lock(&mig->core.igate);
	if (pdev->msix_enabled)
		count = pci_msix_vec_count(pdev);
	else if (pdev->msi_enabled)
		count = pci_msi_vec_count(pdev);
	mig_wait_pending(pdev, count);
	for (i = 0; i < count; i++) {
		/* There may be holes: vectors can be added one by one. */
		irq = pci_irq_vector(pdev, i);
		if (irq > 0)
			synchronize_irq(irq);
	}
	mutex_unlock(&mig->core.igate);
}

/**
 * mig_reset_function - reset the function on the way into RESUMING, or within
 * @mig: the device, quiet; the state lock is held
 *
 * Config space, MSI-X included, is as before afterwards.
 *
 * Return: 0; -EAGAIN while somebody else has the PCI device, such as an unbind:
 * nothing has been done; other -errno: broken. A function that is not there is
 * not reset: the PCI core would wait for it for a minute.
 */
int mig_reset_function(struct vfio_pci_mig *mig)
{
	struct pci_dev *pdev = mig->core.pdev;
	int ret;

	lockdep_assert_held(&mig->guard->mutex);
	ret = mig_check_present(mig);
	if (ret)
		return ret;
	down_write(&mig->core.memory_lock);
	mig_compat_zap_bars(&mig->core);
	/* Our own reset_done is not to take this for the user's reset. */
	WRITE_ONCE(mig->resetting, current);
	ret = mig_fault(mig, MIG_POINT_FUNCTION_RESET);
	if (!ret)
		ret = pci_try_reset_function(pdev);
	WRITE_ONCE(mig->resetting, NULL);
	if (!ret) {
		mig_io_lock(mig);
		if (mig_fault(mig, MIG_POINT_BACKEND_RESET) ||
		    mig->backend->reset(mig))
			ret = -EIO;
		mig_shield_fill(mig);
		mig_io_unlock(mig);
	}
	if (ret && ret != -EAGAIN)
		vfio_pci_mig_broken(mig, "function reset failed");
	up_write(&mig->core.memory_lock);
	mig_note_reset(mig, "RESUMING", ret);
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
		ret = pci_user_write_config_byte(pdev, PCI_COMMAND,
						 value & ~PCI_COMMAND_MASTER);
		ret = ret ? -EIO : 1;
	}
	mutex_unlock(&mig->io_lock);
	up_write(&mig->core.memory_lock);
	return ret;
}

static bool mig_bus_master_hidden(struct vfio_pci_mig *mig)
{
	bool hidden;

	mutex_lock(&mig->io_lock);
	hidden = mig->bus_blocked && mig->bus_wanted;
	mutex_unlock(&mig->io_lock);
	return hidden;
}

static ssize_t mig_config_write(struct vfio_pci_mig *mig, char __user *buf,
				size_t count, loff_t *ppos)
{
	loff_t pos = *ppos & VFIO_PCI_OFFSET_MASK;
	size_t before = PCI_COMMAND - pos;
	ssize_t done = 0, ret;

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
	if (ret >= 0 && done < count) {
		ret = vfio_pci_core_write(&mig->core.vdev, buf + done,
					  count - done, ppos);
		if (ret > 0)
			done += ret;
	}
	return done ? done : ret;
}

static ssize_t mig_config_read(struct vfio_pci_mig *mig, char __user *buf,
			       size_t count, loff_t *ppos)
{
	loff_t pos = *ppos & VFIO_PCI_OFFSET_MASK;
	u8 __user *byte = (u8 __user *)buf + (PCI_COMMAND - pos);
	bool hidden;
	ssize_t done;
	u8 value;

	/* Before and after: quiet may end or begin meanwhile. */
	hidden = mig_bus_master_hidden(mig);
	done = vfio_pci_core_read(&mig->core.vdev, buf, count, ppos);
	if (done <= 0 || pos > PCI_COMMAND || pos + done <= PCI_COMMAND)
		return done;
	hidden |= mig_bus_master_hidden(mig);
	if (hidden && (get_user(value, byte) ||
		       put_user((u8)(value | PCI_COMMAND_MASTER), byte)))
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
 * view of Bus Master Enable. A write may reset the function.
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
