// SPDX-License-Identifier: GPL-2.0
/* The modules. Linked last: the driver is unloaded here, and loaded again. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "harness.h"
#include "state.h"
#include "vfio.h"

#define BACKEND	"igbvf_vfio_pci"
#define CORE	"vfio_pci_migration"

static void bind_again(const char *bdf, const char *driver)
{
	char now[64];

	bdf_driver(bdf, now, sizeof(now));
	if (!*now)
		bdf_bind(bdf, driver);
	bdf_driver(bdf, now, sizeof(now));
	EXPECT_EQ(0, strcmp(now, driver));
}

TEST_ALONE(module_pinned,
	"no module goes while a device is open; the backend goes without a "
	"device, the core not before the last data fd is closed, and that fd "
	"gives ENODEV")
{
	struct iommu iommu = {};
	char driver[64];
	struct vf vf;
	int fd = -1, i;
	u8 byte = 0;

	vf_need_igbvf();
	vf_need_core();
	bdf_driver(vf_bdf[0], driver, sizeof(driver));
	vf_open(&vf, &iommu, vf_bdf[0]);
	ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_RESUMING, &fd));
	ASSERT_LE(0, fd);

	th_context("device open");
	EXPECT_EQ(-EAGAIN, module_unload(BACKEND));
	EXPECT_EQ(-EAGAIN, module_unload(CORE));
	vf_close(&vf);
	close(iommu.fd);

	th_context("data fd open");
	if (access("/sys/module/" BACKEND, F_OK))
		th_skip("the driver is not a module");
	/* The group's references go a moment after close. */
	for (i = 0; i < 100 && module_unload(BACKEND) == -EAGAIN; i++)
		sleep_ms(10);
	EXPECT_TRUE(access("/sys/module/" BACKEND, F_OK));
	EXPECT_EQ((ssize_t)-1, write(fd, &byte, 1));
	EXPECT_EQ(ENODEV, errno);
	EXPECT_EQ(-EAGAIN, module_unload(CORE));
	close(fd);

	th_context("nothing open");
	EXPECT_EQ(0, module_unload(CORE));
	EXPECT_EQ(0, system("modprobe " BACKEND));
	bind_again(vf_bdf[0], driver);
	if (vf_bdf[1])
		bind_again(vf_bdf[1], driver);

	iommu = (struct iommu){};
	vf_open(&vf, &iommu, vf_bdf[0]);
	EXPECT_STATE(VFIO_DEVICE_STATE_RUNNING, &vf);
}
