// SPDX-License-Identifier: GPL-2.0
/*
 * Faults on demand, for tests of this driver and of VMMs: at named points, an
 * operation fails, is late, or the device stops answering.
 * Documentation/faults.rst has the user's side: the file "fault" in
 * debugfs/vfio_pci_migration/<PCI name>/. Kernels as distributions build them
 * have no CONFIG_FAULT_INJECTION.
 *
 * Only with CONFIG_VFIO_PCI_MIGRATION_FAULTS; core.h has what is left without.
 */
#include <linux/debugfs.h>
#include <linux/module.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "core.h"

/* The user may have to be killed; locks are held meanwhile. */
#define MIG_FAULT_DELAY_MAX_MS	10000u
#define MIG_FAULT_ERRNO_MAX	133
#define MIG_FAULT_LINE		96

enum mig_fault_kind {
	MIG_FAULT_NONE,
	MIG_FAULT_FAIL,
	MIG_FAULT_DELAY,
	MIG_FAULT_SILENT,
};

/**
 * struct mig_fault - what is armed
 * @kind: what happens
 * @arg: -errno; or milliseconds
 */
struct mig_fault {
	enum mig_fault_kind kind;
	int arg;
};

/**
 * struct mig_fault_slot - a point
 * @hits: how often it was passed
 * @left: hits until @armed happens; 0: nothing is armed
 * @armed: once
 */
struct mig_fault_slot {
	u64 hits;
	u32 left;
	struct mig_fault armed;
};

/**
 * struct mig_faults - the faults of a device
 * @lock: protects @last and @slot
 * @silent: the device does not answer, until it is reset or closed by the user
 * @last: point where a fault happened last; MIG_POINT_ANY: nowhere
 * @count: number of @slot
 * @slot: enum mig_point; then put and get of each of the backend's record
 *	types; then the backend's own points
 */
struct mig_faults {
	spinlock_t lock;	/* innermost */
	bool silent;
	unsigned int last;
	unsigned int count;
	struct mig_fault_slot slot[];
};

/* An undo that never happens has no name, and so cannot be armed. */
static const char * const mig_fault_names[MIG_POINT_COUNT] = {
	[MIG_POINT_ANY]					= "any",
	[MIG_POINT_STEP + MIG_STEP_QUIESCE]		= "quiesce",
	[MIG_POINT_STEP + MIG_STEP_RELEASE]		= "release",
	[MIG_POINT_STEP + MIG_STEP_STOP]		= "stop",
	[MIG_POINT_STEP + MIG_STEP_START]		= "start",
	[MIG_POINT_STEP + MIG_STEP_SAVE_BEGIN]		= "save-begin",
	[MIG_POINT_STEP + MIG_STEP_CAPTURE]		= "capture",
	[MIG_POINT_STEP + MIG_STEP_SAVE_END]		= "save-end",
	[MIG_POINT_STEP + MIG_STEP_RESUME_BEGIN]	= "resume-begin",
	[MIG_POINT_STEP + MIG_STEP_RESUME_END]		= "resume-end",
	[MIG_POINT_UNDO + MIG_STEP_QUIESCE]		= "undo-quiesce",
	[MIG_POINT_UNDO + MIG_STEP_STOP]		= "undo-stop",
	[MIG_POINT_UNDO + MIG_STEP_START]		= "undo-start",
	[MIG_POINT_UNDO + MIG_STEP_SAVE_BEGIN]		= "undo-save-begin",
	[MIG_POINT_UNDO + MIG_STEP_SAVE_END]		= "undo-save-end",
	[MIG_POINT_UNDO + MIG_STEP_RESUME_END]		= "undo-resume-end",
	[MIG_POINT_BACKEND_OPEN]			= "backend-open",
	[MIG_POINT_BACKEND_RESET]			= "backend-reset",
	[MIG_POINT_BACKEND_QUIESCE]			= "backend-quiesce",
	[MIG_POINT_BACKEND_RELEASE]			= "backend-release",
	[MIG_POINT_BACKEND_SAVE]			= "backend-save",
	[MIG_POINT_BACKEND_SAVE_AHEAD]			= "backend-save-ahead",
	[MIG_POINT_BACKEND_PREPARE]			= "backend-prepare",
	[MIG_POINT_BACKEND_LOAD]			= "backend-load",
	[MIG_POINT_TRANSACTIONS]			= "transactions",
	[MIG_POINT_FUNCTION_RESET]			= "function-reset",
	[MIG_POINT_POWER]				= "power",
	[MIG_POINT_SESSION]				= "session",
	[MIG_POINT_DATA_FD]				= "data-fd",
	[MIG_POINT_WINDOW]				= "window",
	[MIG_POINT_SEQUENCE_BEGIN]			= "sequence-begin",
	[MIG_POINT_SEQUENCE_END]			= "sequence-end",
};

/* The name of point number @point, in @buf if it is none of the constants. */
static const char *mig_fault_name(const struct vfio_pci_mig *mig,
				  unsigned int point, char *buf, size_t size)
{
	const struct vfio_pci_mig_backend *backend = mig->backend;

	if (point < MIG_POINT_COUNT)
		return mig_fault_names[point];
	point -= MIG_POINT_COUNT;
	if (point >= 2 * backend->nr_records)
		return backend->fault_points[point - 2 * backend->nr_records];
	snprintf(buf, size, "%s-%#x", point % 2 ? "get" : "put",
		 backend->records[point / 2].type);
	return buf;
}

/* Count a hit. Return: what happens now. */
static struct mig_fault mig_fault_count(struct mig_fault_slot *slot)
{
	slot->hits++;
	if (slot->left && !--slot->left)
		return slot->armed;
	return (struct mig_fault){};
}

/**
 * mig_fault - a point is passed
 * @mig: the device
 * @point: enum mig_point, or one that follows them
 *
 * To be called where an operation begins that can fail by itself: whatever it
 * would leave behind then, such as @broken, is the caller's to do. May sleep.
 *
 * Return: 0, or the -errno that the operation fails with.
 */
int mig_fault(struct vfio_pci_mig *mig, unsigned int point)
{
	struct mig_faults *faults = mig->faults;
	struct mig_fault any, fault;
	char buf[16];

	spin_lock(&faults->lock);
	any = mig_fault_count(&faults->slot[MIG_POINT_ANY]);
	fault = mig_fault_count(&faults->slot[point]);
	if (!fault.kind)
		fault = any;
	if (fault.kind)
		faults->last = point;
	spin_unlock(&faults->lock);
	if (!fault.kind)
		return 0;

	dev_notice_ratelimited(&mig->core.pdev->dev, "fault injected at %s\n",
			       mig_fault_name(mig, point, buf, sizeof(buf)));
	switch (fault.kind) {
	case MIG_FAULT_FAIL:
		return fault.arg;
	case MIG_FAULT_SILENT:
		WRITE_ONCE(faults->silent, true);
		return 0;
	default:
		schedule_timeout_killable(msecs_to_jiffies(fault.arg));
		return 0;
	}
}

/**
 * mig_fault_record - a record is written or looked for
 * @mig: the device
 * @type: one of the backend's record types; others are no points
 * @get: looked for
 *
 * Return: as mig_fault().
 */
int mig_fault_record(struct vfio_pci_mig *mig, u16 type, bool get)
{
	unsigned int n;

	for (n = 0; n < mig->backend->nr_records; n++)
		if (mig->backend->records[n].type == type)
			return mig_fault(mig, MIG_POINT_COUNT + 2 * n + get);
	return 0;
}

/**
 * vfio_pci_mig_fault - a point of the backend's own is passed
 * @mig: the device
 * @point: index into the backend's @fault_points
 *
 * Return: 0, or the -errno that the operation which begins here fails with.
 */
int vfio_pci_mig_fault(struct vfio_pci_mig *mig, unsigned int point)
{
	return mig_fault(mig, MIG_POINT_COUNT +
			 2 * mig->backend->nr_records + point);
}
EXPORT_SYMBOL_GPL(vfio_pci_mig_fault);

/**
 * mig_fault_silent - does the device not answer
 * @mig: the device
 *
 * For the backend's access to registers: reads give all ones then, and what is
 * written is lost.
 *
 * Return: true until the user resets or closes it.
 */
bool mig_fault_silent(struct vfio_pci_mig *mig)
{
	return READ_ONCE(mig->faults->silent);
}

/**
 * mig_fault_answer - the user has reset the device: it answers again
 * @mig: the device
 */
void mig_fault_answer(struct vfio_pci_mig *mig)
{
	WRITE_ONCE(mig->faults->silent, false);
}

/*
 * Errors that have a name here. Not by %pe: it knows names only if the kernel
 * has CONFIG_SYMBOLIC_ERRNAME, and what is written here must not depend on that.
 */
#define MIG_NAMED(_name)	{ "-" #_name, -(_name) }

static const struct {
	const char *name;
	int error;
} mig_errors[] = {
	MIG_NAMED(EPERM), MIG_NAMED(ENOENT), MIG_NAMED(EINTR), MIG_NAMED(EIO),
	MIG_NAMED(ENXIO), MIG_NAMED(EAGAIN), MIG_NAMED(ENOMEM),
	MIG_NAMED(EACCES), MIG_NAMED(EFAULT), MIG_NAMED(EBUSY),
	MIG_NAMED(EEXIST), MIG_NAMED(EXDEV), MIG_NAMED(ENODEV),
	MIG_NAMED(EINVAL), MIG_NAMED(ENFILE), MIG_NAMED(EMFILE),
	MIG_NAMED(EFBIG), MIG_NAMED(ENOSPC), MIG_NAMED(ERANGE),
	MIG_NAMED(ENODATA), MIG_NAMED(ETIME), MIG_NAMED(EPROTO),
	MIG_NAMED(EBADMSG), MIG_NAMED(EOVERFLOW), MIG_NAMED(EOPNOTSUPP),
	MIG_NAMED(ETIMEDOUT), MIG_NAMED(ECANCELED),
};

static void mig_fault_print_error(struct seq_file *file, int error)
{
	unsigned int n;

	for (n = 0; n < ARRAY_SIZE(mig_errors); n++) {
		if (mig_errors[n].error == error) {
			seq_puts(file, mig_errors[n].name);
			return;
		}
	}
	seq_printf(file, "%d", error);
}

static void mig_fault_print(struct seq_file *file,
			    const struct mig_fault *fault)
{
	switch (fault->kind) {
	case MIG_FAULT_FAIL:
		seq_puts(file, "fail=");
		mig_fault_print_error(file, fault->arg);
		break;
	case MIG_FAULT_DELAY:
		seq_printf(file, "delay=%d", fault->arg);
		break;
	default:
		seq_puts(file, "silent");
		break;
	}
}

static int mig_fault_show(struct seq_file *file, void *unused)
{
	struct vfio_pci_mig *mig = file->private;
	struct mig_faults *faults = mig->faults;
	struct mig_fault_slot slot;
	const char *name;
	unsigned int n, last = MIG_POINT_ANY;
	char buf[16];

	for (n = 0; n < faults->count; n++) {
		name = mig_fault_name(mig, n, buf, sizeof(buf));
		if (!name)
			continue;
		spin_lock(&faults->lock);
		slot = faults->slot[n];
		last = faults->last;
		spin_unlock(&faults->lock);
		seq_printf(file, "%s %llu", name, slot.hits);
		if (slot.left) {
			seq_printf(file, " %u ", slot.left);
			mig_fault_print(file, &slot.armed);
		}
		seq_putc(file, '\n');
	}
	if (last != MIG_POINT_ANY)
		seq_printf(file, "# the last fault was at %s\n",
			   mig_fault_name(mig, last, buf, sizeof(buf)));
	if (mig_fault_silent(mig))
		seq_puts(file, "# the device does not answer\n");
	return 0;
}

/* "-EIO" or "-5". Return: the -errno, or 0 if it is none. */
static int mig_fault_errno(const char *text)
{
	unsigned int n;
	int error;

	for (n = 0; n < ARRAY_SIZE(mig_errors); n++)
		if (!strcmp(mig_errors[n].name, text))
			return mig_errors[n].error;
	if (kstrtoint(text, 10, &error))
		return 0;
	return error < 0 && error >= -MIG_FAULT_ERRNO_MAX ? error : 0;
}

static int mig_fault_parse(struct mig_fault *fault, char *text)
{
	char *arg = strchr(text, '=');
	unsigned int ms;

	if (arg)
		*arg++ = '\0';
	if (arg && !strcmp(text, "fail")) {
		fault->kind = MIG_FAULT_FAIL;
		fault->arg = mig_fault_errno(arg);
		return fault->arg ? 0 : -EINVAL;
	}
	if (arg && !strcmp(text, "delay")) {
		if (kstrtouint(arg, 10, &ms) || ms > MIG_FAULT_DELAY_MAX_MS)
			return -EINVAL;
		fault->kind = MIG_FAULT_DELAY;
		fault->arg = ms;
		return 0;
	}
	if (!arg && !strcmp(text, "silent")) {
		fault->kind = MIG_FAULT_SILENT;
		return 0;
	}
	return -EINVAL;
}

/* "POINT NTH ACTION" */
static int mig_fault_arm(struct vfio_pci_mig *mig, const char *line)
{
	char point[32], action[32], rest[2], buf[16];
	struct mig_faults *faults = mig->faults;
	struct mig_fault fault = {};
	const char *name;
	unsigned int n;
	u32 nth;

	if (sscanf(line, "%31s %u %31s %1s", point, &nth, action, rest) != 3 ||
	    !nth || mig_fault_parse(&fault, action))
		return -EINVAL;

	for (n = 0; n < faults->count; n++) {
		name = mig_fault_name(mig, n, buf, sizeof(buf));
		if (name && !strcmp(name, point))
			break;
	}
	if (n == faults->count)
		return -ENOENT;

	spin_lock(&faults->lock);
	faults->slot[n].left = nth;
	faults->slot[n].armed = fault;
	spin_unlock(&faults->lock);
	return 0;
}

static void mig_fault_clear(struct mig_faults *faults)
{
	spin_lock(&faults->lock);
	faults->last = MIG_POINT_ANY;
	memset(faults->slot, 0, array_size(faults->count,
					   sizeof(*faults->slot)));
	spin_unlock(&faults->lock);
}

static ssize_t mig_fault_write(struct file *filp, const char __user *buf,
			       size_t len, loff_t *pos)
{
	struct vfio_pci_mig *mig = file_inode(filp)->i_private;
	char line[MIG_FAULT_LINE];
	int ret = 0;

	if (len >= sizeof(line))
		return -EINVAL;
	if (copy_from_user(line, buf, len))
		return -EFAULT;
	line[len] = '\0';

	if (sysfs_streq(line, "clear"))
		mig_fault_clear(mig->faults);
	else
		ret = mig_fault_arm(mig, line);
	return ret ? ret : len;
}

static int mig_fault_open(struct inode *inode, struct file *filp)
{
	return single_open(filp, mig_fault_show, inode->i_private);
}

static const struct file_operations mig_fault_fops = {
	.owner = THIS_MODULE,
	.open = mig_fault_open,
	.read = seq_read,
	.write = mig_fault_write,
	.llseek = seq_lseek,
	.release = single_release,
};

/**
 * mig_fault_init - nothing is armed
 * @mig: the device, whose backend is set, not registered yet
 *
 * Return: 0 or -ENOMEM.
 */
int mig_fault_init(struct vfio_pci_mig *mig)
{
	unsigned int count = MIG_POINT_COUNT + 2 * mig->backend->nr_records +
			     mig->backend->nr_fault_points;
	struct mig_faults *faults;

	faults = kzalloc(struct_size(faults, slot, count), GFP_KERNEL);
	if (!faults)
		return -ENOMEM;
	spin_lock_init(&faults->lock);
	faults->count = count;
	mig->faults = faults;
	return 0;
}

/**
 * mig_fault_debugfs - make the file
 * @mig: the device
 * @dir: its directory; what is armed may still happen when that has gone
 */
void mig_fault_debugfs(struct vfio_pci_mig *mig, struct dentry *dir)
{
	debugfs_create_file("fault", 0600, dir, mig, &mig_fault_fops);
}

/**
 * mig_fault_free - undo mig_fault_init()
 * @mig: the device, whose file is gone
 */
void mig_fault_free(struct vfio_pci_mig *mig)
{
	kfree(mig->faults);
}
