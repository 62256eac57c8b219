// SPDX-License-Identifier: GPL-2.0
/*
 * debugfs/vfio_pci_migration/<PCI name>/: the file "status" for people, and
 * what fault.c has there. No interface: programs have the uAPI. Where VFIO has a
 * directory for each device, a link in it leads here.
 *
 * debugfs_remove() waits for those who are within a file, and later ones do
 * not get there. So a file may use the device without a reference, and nothing
 * in it may wait for what a remove holds. "status" waits for no lock that is
 * held for long: it is to be of use when something hangs.
 */
#include <linux/debugfs.h>
#include <linux/module.h>
#include <linux/seq_file.h>
#include <linux/slab.h>

#include "core.h"

static struct dentry *mig_debugfs_root;

static void mig_status_stream(struct seq_file *file, const char *which,
			      const struct mig_last_stream *stream)
{
	if (!stream->records)
		return;
	seq_printf(file, "last stream %s: sequence %u, %u records, %llu bytes, %s\n",
		   which, stream->sequence, stream->records, stream->bytes,
		   stream->whole ? "whole" : "no END");
}

static int mig_status_show(struct seq_file *file, void *unused)
{
	struct vfio_pci_mig *mig = file->private;
	struct mig_so_far so_far;

	spin_lock(&mig->note.lock);
	so_far = mig->note.so_far;
	spin_unlock(&mig->note.lock);

	seq_printf(file, "state: %s\n", READ_ONCE(mig->opened) ?
		   mig_state_name(READ_ONCE(mig->state)) : "not open");
	seq_printf(file, "door: %s\n", mig_door_name(READ_ONCE(mig->owner)));
	if (so_far.doing)
		seq_printf(file, "now: %s, for %lld ms\n", so_far.doing,
			   ktime_ms_delta(ktime_get(), so_far.since));
	seq_printf(file, "transitions: %llu\n", so_far.transitions);
	seq_printf(file, "resets: %llu\n", so_far.resets);
	seq_printf(file, "refusals: %llu\n", so_far.refusals);
	seq_printf(file, "bytes saved: %llu\n", so_far.saved);
	seq_printf(file, "bytes loaded: %llu\n", so_far.loaded);
	mig_status_stream(file, "out", &so_far.stream[false]);
	mig_status_stream(file, "in", &so_far.stream[true]);
	if (so_far.refusals)
		seq_printf(file, "last refusal: %ptTs UTC, %pe: %s\n",
			   &so_far.when, ERR_PTR(so_far.error), so_far.reason);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(mig_status);

/**
 * mig_debugfs_add - make the files of a device
 * @mig: the device, not registered yet
 *
 * That there is no debugfs is no error, as always with debugfs.
 */
void mig_debugfs_add(struct vfio_pci_mig *mig)
{
	mig->debugfs = debugfs_create_dir(pci_name(mig->core.pdev),
					  mig_debugfs_root);
	debugfs_create_file("status", 0400, mig->debugfs, mig,
			    &mig_status_fops);
	mig_fault_debugfs(mig, mig->debugfs);
}

/**
 * mig_debugfs_link - let them be found in VFIO's own directory of the device
 * @mig: the device, registered; VFIO takes its directory away
 */
void mig_debugfs_link(struct vfio_pci_mig *mig)
{
#ifdef CONFIG_VFIO_DEBUGFS
	struct vfio_device *vdev = &mig->core.vdev;
	char *target = kasprintf(GFP_KERNEL, "../../vfio_pci_migration/%s",
				 pci_name(mig->core.pdev));

	if (target && !IS_ERR_OR_NULL(vdev->debug_root))
		debugfs_create_symlink("vfio_pci_migration", vdev->debug_root,
				       target);
	kfree(target);
#endif
}

/**
 * mig_debugfs_remove - take them away
 * @mig: the device, being removed
 */
void mig_debugfs_remove(struct vfio_pci_mig *mig)
{
	debugfs_remove(mig->debugfs);
}

static int __init mig_debugfs_init(void)
{
	mig_debugfs_root = debugfs_create_dir("vfio_pci_migration", NULL);
	return 0;
}
module_init(mig_debugfs_init);

static void __exit mig_debugfs_exit(void)
{
	debugfs_remove(mig_debugfs_root);
}
module_exit(mig_debugfs_exit);
