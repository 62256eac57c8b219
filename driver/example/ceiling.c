// SPDX-License-Identifier: GPL-2.0
/*
 * What a device state stream is measured against: /dev/edu_ceiling, a file whose
 * read(2) does nothing but copy from memory of the kernel. Each open file has
 * memory of its own, as much as the parameter says, and ends behind it.
 */
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/sizes.h>
#include <linux/vmalloc.h>

static unsigned int mib = 64;
module_param(mib, uint, 0644);
MODULE_PARM_DESC(mib, "MiB that can be read, looked at when the file is opened (default 64)");

/**
 * struct ceiling - an open file
 * @size: bytes
 * @data: content
 */
struct ceiling {
	size_t size;
	u8 data[];
};

static int ceiling_open(struct inode *inode, struct file *filp)
{
	size_t size = (size_t)READ_ONCE(mib) * SZ_1M;
	struct ceiling *ceiling = vmalloc(struct_size(ceiling, data, size));

	if (!ceiling)
		return -ENOMEM;
	ceiling->size = size;
	memset(ceiling->data, 0x5a, size);
	filp->private_data = ceiling;
	return 0;
}

static ssize_t ceiling_read(struct file *filp, char __user *buf, size_t len,
			    loff_t *pos)
{
	struct ceiling *ceiling = filp->private_data;

	return simple_read_from_buffer(buf, len, pos, ceiling->data,
				       ceiling->size);
}

static int ceiling_release(struct inode *inode, struct file *filp)
{
	vfree(filp->private_data);
	return 0;
}

static const struct file_operations ceiling_fops = {
	.owner = THIS_MODULE,
	.open = ceiling_open,
	.read = ceiling_read,
	.release = ceiling_release,
	.llseek = default_llseek,
};

static struct miscdevice ceiling_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "edu_ceiling",
	.fops = &ceiling_fops,
	.mode = 0400,
};
module_misc_device(ceiling_device);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("What read(2) of a device state stream is measured against");
