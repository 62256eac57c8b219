// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <linux/pci_regs.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "harness.h"
#include "pf.h"
#include "port.h"
#include "vfio.h"

/* A card's place in sysfs is below its port. */
bool find_port(const char *bdf, char name[PORT_BDF_SIZE])
{
	char path[PATH_MAX], real[PATH_MAX];

	bdf_path(bdf, "", path);
	if (!realpath(path, real))
		return false;
	snprintf(name, PORT_BDF_SIZE, "%s", basename(dirname(real)));
	return strlen(name) == strlen("0000:00:00.0");
}

/* Config space, of which the kernel is to know nothing. */
static int open_config(const char *bdf)
{
	char path[PATH_MAX];
	int fd;

	bdf_path(bdf, "config", path);
	fd = open(path, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, fd);
	return fd;
}

static u16 read_word(int config, u32 offset)
{
	__le16 value = 0;

	ASSERT_EQ(2, pread(config, &value, 2, offset));
	return le16toh(value);
}

static void write_word(int config, u32 offset, u16 value)
{
	__le16 word = htole16(value);

	ASSERT_EQ(2, pwrite(config, &word, 2, offset));
}

static u32 find_sriov(int config)
{
	u32 at = PCI_CFG_SPACE_SIZE;

	while (at && read_word(config, at) != PCI_EXT_CAP_ID_SRIOV)
		at = read_word(config, at + 2) >> 4;
	ASSERT_NE(0u, at);
	return at;
}

static void switch_vfs(const char *bdf, bool on)
{
	const u16 bits = PCI_SRIOV_CTRL_VFE | PCI_SRIOV_CTRL_MSE;
	char pf[PF_BDF_SIZE];
	int config;
	u32 at;

	ASSERT_TRUE(pf_bdf(bdf, pf));
	config = open_config(pf);
	at = find_sriov(config) + PCI_SRIOV_CTRL;
	write_word(config, at, on ? read_word(config, at) | bits :
				    read_word(config, at) & ~bits);
	close(config);
}

void vfs_vanish(const char *bdf)
{
	switch_vfs(bdf, false);
}

void vfs_return(const char *bdf)
{
	switch_vfs(bdf, true);
	/* PCI Express r6.0, 9.3.3.3.1 */
	sleep_ms(100);
}

static u32 find_express(int config)
{
	u8 at = read_word(config, PCI_CAPABILITY_LIST) & 0xff;
	u16 head;

	for (; at; at = head >> 8) {
		head = read_word(config, at);
		if ((head & 0xff) == PCI_CAP_ID_EXP)
			break;
	}
	ASSERT_NE(0, at);
	return at;
}

void port_power_off(const char *bdf)
{
	char port[PORT_BDF_SIZE];
	int config;
	u32 at;

	ASSERT_TRUE(find_port(bdf, port));
	config = open_config(port);
	at = find_express(config) + PCI_EXP_SLTCTL;
	write_word(config, at, read_word(config, at) |
		   PCI_EXP_SLTCTL_PWR_IND_OFF | PCI_EXP_SLTCTL_PWR_OFF);
	close(config);
}

int port_remove(const char *bdf)
{
	char name[PORT_BDF_SIZE];

	return find_port(bdf, name) ? bdf_write(name, "remove", "1") : -ENODEV;
}

int port_rescan(void)
{
	return sysfs_write("/sys/bus/pci/rescan", "1");
}

/* A root port's service for that: drivers/pci/pcie/portdrv.c. */
bool port_has_aer(const char *bdf)
{
	char port[PORT_BDF_SIZE], path[128];
	unsigned int kind;

	if (!find_port(bdf, port))
		return false;
	/* 2 is the service; kernels differ in what they put before it. */
	for (kind = 0; kind < 16; kind++) {
		snprintf(path, sizeof(path),
			 "/sys/bus/pci_express/devices/%s:pcie%x02", port, kind);
		if (!access(path, F_OK))
			return true;
	}
	return false;
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
	/* It takes a lock where lockdep allows no such, and is reported for it. */
	if (lockdep())
		return -ENOENT;
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

void aer_inject_end(void)
{
	int ret = module_unload("aer_inject");

	EXPECT_TRUE(!ret || ret == -ENOENT);
}

int aer_recovery_begin(void)
{
	int log = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	if (log >= 0)
		ASSERT_EQ((off_t)0, lseek(log, 0, SEEK_END));
	return log;
}

bool aer_recovery_end(int log, unsigned int timeout_ms)
{
	struct pollfd poll_fd = { .fd = log, .events = POLLIN };
	u64 limit = time_ms() + timeout_ms;
	bool ended = false, good = false;
	char line[1024];
	ssize_t length;

	/* A line for each read(); EPIPE: some have been overwritten. */
	while (!ended && time_ms() < limit) {
		length = read(log, line, sizeof(line) - 1);
		if (length < 0 && errno == EAGAIN)
			poll(&poll_fd, 1, 100);
		if (length < 0)
			continue;
		line[length] = '\0';
		good = strstr(line, "device recovery successful");
		ended = good || strstr(line, "device recovery failed");
	}
	close(log);
	return good;
}
