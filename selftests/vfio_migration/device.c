// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "device.h"
#include "harness.h"

#define PCI	"/sys/bus/pci/devices"
#define MDEV	"/sys/bus/mdev/devices"
#define CORE	"/sys/module/vfio_pci_migration/holders"

const char *vf_bdf[2];

static bool exists(const char *bus, const char *bdf)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", bus, bdf);
	return *bdf && !strchr(bdf, '/') && !access(path, F_OK);
}

bool bdf_is_pci(const char *bdf)
{
	return exists(PCI, bdf);
}

bool bdf_exists(const char *bdf)
{
	return exists(PCI, bdf) || exists(MDEV, bdf);
}

void bdf_path(const char *bdf, const char *name, char path[PATH_MAX])
{
	/* By its form: to look it up is a system call, which may be made to fail. */
	snprintf(path, PATH_MAX, "%s/%s/%s", strchr(bdf, ':') ? PCI : MDEV, bdf,
		 name);
}

void bdf_link(const char *bdf, const char *name, char *target, size_t size)
{
	char path[PATH_MAX], whole[PATH_MAX];
	ssize_t len;

	bdf_path(bdf, name, path);
	len = readlink(path, whole, sizeof(whole) - 1);
	whole[len < 0 ? 0 : len] = '\0';
	snprintf(target, size, "%s", len < 0 ? "" : basename(whole));
}

static bool has_id(const char *bdf, const char *name, unsigned int wanted)
{
	char path[PATH_MAX];
	unsigned int id = 0;
	FILE *file;

	bdf_path(bdf, name, path);
	file = fopen(path, "r");
	if (!file)
		return false;
	if (fscanf(file, "%x", &id) != 1)
		id = 0;
	fclose(file);
	return id == wanted;
}

bool vf_is_igbvf(void)
{
	return has_id(vf_bdf[0], "vendor", 0x8086) &&
	       has_id(vf_bdf[0], "device", 0x10ca);
}

bool vf_has_core(void)
{
	static char module[NAME_MAX];
	char path[PATH_MAX];

	/* Once known, also while the driver is being unbound: the link goes first. */
	if (!*module)
		bdf_link(vf_bdf[0], "driver/module", module, sizeof(module));
	snprintf(path, sizeof(path), CORE "/%s", module);
	return *module && !access(path, F_OK);
}

void vf_need_both(void)
{
	if (!vf_bdf[1])
		th_skip("only one function was given");
}

void vf_need_pci(void)
{
	if (!bdf_is_pci(vf_bdf[0]))
		th_skip("not a PCI function");
}

void vf_need_igbvf(void)
{
	if (!vf_is_igbvf())
		th_skip("not an 82576 VF");
}

void vf_need_core(void)
{
	if (!vf_has_core())
		th_skip("linux/vfio.h leaves this open; it is said of drivers upon vfio_pci_migration");
}

int sysfs_write(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), ret = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, value, strlen(value)) < 0)
		ret = -errno;
	close(fd);
	return ret;
}

int bdf_write(const char *bdf, const char *name, const char *value)
{
	char path[PATH_MAX];

	bdf_path(bdf, name, path);
	return sysfs_write(path, value);
}

int bdf_unbind(const char *bdf)
{
	return bdf_write(bdf, "driver/unbind", bdf);
}

int bdf_bind(const char *bdf, const char *driver)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "/sys/bus/pci/drivers/%s/bind", driver);
	return sysfs_write(path, bdf);
}

void bdf_driver(const char *bdf, char *name, size_t size)
{
	bdf_link(bdf, "driver", name, size);
}
