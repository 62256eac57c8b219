// SPDX-License-Identifier: GPL-2.0
/*
 * Registers of the device, as backends access them: counted, for people who
 * look for what takes its time; and dead, if a fault says so.
 */
#include <linux/io.h>

#include "core.h"

/* All callbacks of a backend hold io_lock; who shows the numbers does not. */
static void mig_reg_count(struct vfio_pci_mig *mig, unsigned long *count)
{
	lockdep_assert_held(&mig->io_lock);
	WRITE_ONCE(*count, *count + 1);
}

/**
 * vfio_pci_mig_rd32 - read a register
 * @mig: the device; called from a callback of the backend
 * @reg: where it is mapped
 *
 * Return: its value; all ones if the device does not answer.
 */
u32 vfio_pci_mig_rd32(struct vfio_pci_mig *mig, const void __iomem *reg)
{
	mig_reg_count(mig, &mig->accesses.reads);
	return mig_fault_silent(mig) ? U32_MAX : ioread32(reg);
}
EXPORT_SYMBOL_GPL(vfio_pci_mig_rd32);

/**
 * vfio_pci_mig_wr32 - write a register
 * @mig: the device; called from a callback of the backend
 * @reg: where it is mapped
 * @value: what to write
 */
void vfio_pci_mig_wr32(struct vfio_pci_mig *mig, void __iomem *reg, u32 value)
{
	mig_reg_count(mig, &mig->accesses.writes);
	if (!mig_fault_silent(mig))
		iowrite32(value, reg);
}
EXPORT_SYMBOL_GPL(vfio_pci_mig_wr32);
