// SPDX-License-Identifier: GPL-2.0
/*
 * The PCI part of quiet: is the function there, transactions under way,
 * interrupt handlers, function reset. command.c has what it may do.
 */
#include <linux/cpu.h>
#include <linux/interrupt.h>
#include <linux/irq.h>
#include <linux/workqueue.h>

#include "compat.h"
#include "core.h"

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
		mig_shield_renew(mig);
		mig_io_unlock(mig);
	}
	if (ret && ret != -EAGAIN)
		vfio_pci_mig_broken(mig, "function reset failed");
	up_write(&mig->core.memory_lock);
	mig_note_reset(mig, "RESUMING", ret);
	return ret;
}
