// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <linux/pci_regs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "harness.h"
#include "port.h"
#include "vfio.h"

#define SYSFS	"/sys/bus/pci/devices"

/* A card's place in sysfs is below its port. */
static bool find_port(const char *bdf, char name[PORT_BDF_SIZE])
{
	char path[128], real[PATH_MAX];

	snprintf(path, sizeof(path), SYSFS "/%s", bdf);
	if (!realpath(path, real))
		return false;
	snprintf(name, PORT_BDF_SIZE, "%s", basename(dirname(real)));
	return strlen(name) == strlen("0000:00:00.0");
}

static u16 read_word(struct port *port, u32 offset)
{
	__le16 value = 0;

	ASSERT_EQ(2, pread(port->config, &value, 2, offset));
	return le16toh(value);
}

static void write_word(struct port *port, u32 offset, u16 value)
{
	__le16 word = htole16(value);

	ASSERT_EQ(2, pwrite(port->config, &word, 2, offset));
}

void port_open(struct port *port, const char *bdf)
{
	char path[128];

	ASSERT_TRUE(find_port(bdf, port->bdf));
	snprintf(path, sizeof(path), SYSFS "/%s/config", port->bdf);
	port->config = open(path, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, port->config);
}

static u8 find_express(struct port *port)
{
	u8 at = read_word(port, PCI_CAPABILITY_LIST) & 0xff;
	u16 head;

	for (; at; at = head >> 8) {
		head = read_word(port, at);
		if ((head & 0xff) == PCI_CAP_ID_EXP)
			return at;
	}
	th_log("%s has no PCIe capability", port->bdf);
	th_abort();
}

void port_power_off(struct port *port)
{
	u32 at = find_express(port) + PCI_EXP_SLTCTL;

	write_word(port, at, read_word(port, at) |
		   PCI_EXP_SLTCTL_PWR_IND_OFF | PCI_EXP_SLTCTL_PWR_OFF);
}

int port_remove(const char *bdf)
{
	char name[PORT_BDF_SIZE], path[128];

	if (!find_port(bdf, name))
		return -ENODEV;
	snprintf(path, sizeof(path), SYSFS "/%s/remove", name);
	return sysfs_write(path, "1");
}

int port_rescan(void)
{
	return sysfs_write("/sys/bus/pci/rescan", "1");
}

/* As in the kernel's drivers/pci/pcie/aer_inject.c. */
struct aer_error {
	u8 bus;
	u8 dev;
	u8 fn;
	u32 uncorrectable;
	u32 correctable;
	u32 header_log[4];
	u32 domain;
};

int aer_inject(const char *bdf, u32 uncorrectable, u32 correctable)
{
	struct aer_error error = {
		.uncorrectable = uncorrectable, .correctable = correctable,
	};
	unsigned int domain, bus, dev, fn;
	int fd, ret = 0;

	ASSERT_EQ(4, sscanf(bdf, "%x:%x:%x.%x", &domain, &bus, &dev, &fn));
	error.domain = domain;
	error.bus = bus;
	error.dev = dev;
	error.fn = fn;
	if (system("modprobe -q aer_inject"))
		return -ENOENT;
	fd = open("/dev/aer_inject", O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (write(fd, &error, sizeof(error)) != sizeof(error))
		ret = -errno;
	close(fd);
	return ret;
}
