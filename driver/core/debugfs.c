// SPDX-License-Identifier: GPL-2.0
/*
 * debugfs/vfio_pci_migration/<PCI name>/: the file "status" for people, and
 * what fault.c has there. No interface: programs have the uAPI.
 *
 * debugfs_remove() waits for those who are within a file, and later ones do
 * not get there. So a file may use the device without a reference, and nothing
 * in it may wait for what a remove holds. "status" waits for no lock that is
 * held for long: it is to be of use when something hangs.
 */
#include <linux/debugfs.h>
#include <linux/module.h>
#include <linux/seq_file.h>

#include "core.h"

static struct dentry *mig_debugfs_root;

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
	if (*so_far.ability)
		seq_printf(file, "ability: %s\n", so_far.ability);
	if (so_far.doing)
		seq_printf(file, "now: %s, for %lld ms\n", so_far.doing,
			   ktime_ms_delta(ktime_get(), so_far.since));
	seq_printf(file, "transitions: %llu\n", so_far.transitions);
	seq_printf(file, "resets: %llu\n", so_far.resets);
	seq_printf(file, "transactions pending: seen %llu times\n",
		   so_far.pending);
	seq_printf(file, "refusals: %llu\n", so_far.refusals);
	seq_printf(file, "bytes saved: %llu\n", so_far.saved);
	seq_printf(file, "bytes loaded: %llu\n", so_far.loaded);
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
