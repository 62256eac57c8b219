// SPDX-License-Identifier: GPL-2.0
/*
 * igbvf-vfio-pci: vfio-pci variant driver for the Intel 82576 virtual
 * function. Uses only what the hardware shows to a VF: BAR0, config space and
 * the mailbox to the PF.
 */
#include <linux/module.h>
#include <linux/stringify.h>

#include "igbvf.h"

unsigned int igbvf_mailbox_timeout_ms = IGBVF_MAILBOX_MS;
module_param_named(mailbox_timeout_ms, igbvf_mailbox_timeout_ms, uint, 0644);
MODULE_PARM_DESC(mailbox_timeout_ms,
		 "How long to wait for an answer of the PF (default "
		 __stringify(IGBVF_MAILBOX_MS) ")");

unsigned int igbvf_drain_timeout_ms = IGBVF_DRAIN_MS;
module_param_named(drain_timeout_ms, igbvf_drain_timeout_ms, uint, 0644);
MODULE_PARM_DESC(drain_timeout_ms,
		 "How long to wait for a queue to empty or to stop (default "
		 __stringify(IGBVF_DRAIN_MS) ")");

static int igbvf_open(struct vfio_pci_mig *mig)
{
	struct igbvf *vf = igbvf_from_mig(mig);
	int ret;

	vf->mig = mig;
	vf->io = vfio_pci_mig_bar(mig, IGBVF_BAR);
	ret = igbvf_reset(mig);
	if (ret)
		return ret;
	igbvf_probe_ability(vf);
	return igbvf_reset(mig);
}

/*
 * Page 0 (mailbox, statistics) must be emulated; page 1 (interrupts) where it
 * cannot be read back, as in QEMU. Rings and doorbells are left to the guest
 * while it runs.
 */
static const struct vfio_pci_mig_range igbvf_ranges[] = {
	{
		.bar = IGBVF_BAR,
		.kind = VFIO_PCI_MIG_TRAP,
		.offset = 0,
		.size = IGBVF_INTERRUPTS,
	},
	{
		.bar = IGBVF_BAR,
		.kind = VFIO_PCI_MIG_DIRECT,
		.offset = IGBVF_INTERRUPTS,
		.size = IGBVF_QUEUES - IGBVF_INTERRUPTS,
	},
	{
		.bar = IGBVF_BAR,
		.kind = VFIO_PCI_MIG_SHIELD,
		.offset = IGBVF_QUEUES,
		.size = IGBVF_BAR_SIZE - IGBVF_QUEUES,
	},
};

static const char * const igbvf_fault_points[IGBVF_FAULTS] = {
	[IGBVF_FAULT_QUEUE_START]	= "queue-start",
	[IGBVF_FAULT_QUEUE_STOP]	= "queue-stop",
	[IGBVF_FAULT_ANSWER]		= "pf-answer",
	[IGBVF_FAULT_REFUSAL]		= "pf-refusal",
};

static const struct vfio_pci_mig_backend igbvf_backend = {
	.name = "igbvf",
	.state_version = IGBVF_STATE_VERSION,
	.records = igbvf_records,
	.nr_records = IGBVF_NR_RECORDS,
	.ranges = igbvf_ranges,
	.nr_ranges = ARRAY_SIZE(igbvf_ranges),
	.priv_size = sizeof(struct igbvf),
	.fault_points = igbvf_fault_points,
	.nr_fault_points = IGBVF_FAULTS,
	.open = igbvf_open,
	.reset = igbvf_reset,
	.quiesce = igbvf_quiesce,
	.release = igbvf_release,
	.save = igbvf_save,
	.save_ahead = igbvf_save_ahead,
	.prepare = igbvf_prepare,
	.load = igbvf_load,
	.bar_read = igbvf_bar_read,
	.bar_write = igbvf_bar_write,
	.track = &igbvf_track_ops,
};

static int igbvf_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	return vfio_pci_mig_probe(pdev, &igbvf_backend);
}

static const struct pci_device_id igbvf_table[] = {
	{ PCI_DRIVER_OVERRIDE_DEVICE_VFIO(PCI_VENDOR_ID_INTEL, 0x10ca) },
	{}
};
MODULE_DEVICE_TABLE(pci, igbvf_table);

static struct pci_driver igbvf_driver = {
	.name = "igbvf-vfio-pci",
	.id_table = igbvf_table,
	.probe = igbvf_probe,
	.remove = vfio_pci_mig_remove,
	.err_handler = &vfio_pci_mig_err_handlers,
	.driver_managed_dma = true,
};
module_pci_driver(igbvf_driver);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("VFIO PCI driver with live migration for the Intel 82576 virtual function");
