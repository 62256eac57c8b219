// SPDX-License-Identifier: GPL-2.0
/*
 * The migration of a device at work, with libvfio: in every IOMMU mode that
 * there is, with a driver (igbvf.c) that does not notice. With a second
 * function on the command line or in VFIO_SELFTESTS_BDF2, to that one.
 */
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/pci_regs.h>
#include <linux/sizes.h>
#include <linux/vfio.h>

#include <libvfio.h>

#include "kselftest_harness.h"

#define STATE_MAX	SZ_64K
#define COPIES		64

static char **bdfs;
static int nr_bdfs;

/* A saved device state. */
struct stream {
	size_t len;
	char data[STATE_MAX];
};

static struct stream stream;

/* Bytes that nothing else leaves behind. */
static void pattern(void *memory, size_t size, u32 seed)
{
	u32 *word = memory;
	size_t i;

	for (i = 0; i < size / sizeof(*word); i++)
		word[i] = seed * 2654435761u + i;
}

static int feature(struct vfio_pci_device *device, u32 flags, void *data,
		   size_t size)
{
	u64 buf[8] = {};
	struct vfio_device_feature *feature = (void *)buf;
	int ret;

	VFIO_ASSERT_LE(sizeof(*feature) + size, sizeof(buf));
	feature->argsz = sizeof(*feature) + size;
	feature->flags = flags;
	memcpy(feature->data, data, size);
	ret = ioctl(device->fd, VFIO_DEVICE_FEATURE, feature) ? -errno : 0;
	memcpy(data, feature->data, size);
	return ret;
}

static int get_state(struct vfio_pci_device *device)
{
	struct vfio_device_feature_mig_state state = {};
	int ret = feature(device, VFIO_DEVICE_FEATURE_GET |
			  VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, &state,
			  sizeof(state));

	return ret ? ret : (int)state.device_state;
}

/* The data fd, or -1 if there is none. */
static int set_state(struct vfio_pci_device *device, u32 to)
{
	struct vfio_device_feature_mig_state state = {
		.device_state = to,
		.data_fd = -1,
	};

	VFIO_ASSERT_EQ(feature(device, VFIO_DEVICE_FEATURE_SET |
			       VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, &state,
			       sizeof(state)), 0, "to state %u\n", to);
	return state.data_fd;
}

static void save(struct vfio_pci_device *device)
{
	int fd = set_state(device, VFIO_DEVICE_STATE_STOP_COPY);
	ssize_t len;

	VFIO_ASSERT_GE(fd, 0);
	stream.len = 0;
	do {
		len = read(fd, stream.data + stream.len,
			   sizeof(stream.data) - stream.len);
		VFIO_ASSERT_GE(len, 0);
		stream.len += len;
	} while (len);
	VFIO_ASSERT_GT(stream.len, 0);
	VFIO_ASSERT_LT(stream.len, sizeof(stream.data));
	VFIO_ASSERT_EQ(close(fd), 0);
}

static void load(struct vfio_pci_device *device)
{
	int fd = set_state(device, VFIO_DEVICE_STATE_RESUMING);

	VFIO_ASSERT_GE(fd, 0);
	VFIO_ASSERT_EQ(write(fd, stream.data, stream.len), stream.len);
	VFIO_ASSERT_EQ(close(fd), 0);
}

FIXTURE(igbvf_migration_test) {
	struct iommu *iommu;
	struct iova_allocator *iova_allocator;
	struct vfio_pci_device *device;
	struct dma_region memory;
	void *src;
	void *dst;
	u64 size;
	u32 seed;
};

FIXTURE_VARIANT(igbvf_migration_test) {
	const char *iommu_mode;
};

#define FIXTURE_VARIANT_ADD_IOMMU_MODE(_iommu_mode)			\
FIXTURE_VARIANT_ADD(igbvf_migration_test, _iommu_mode) {		\
	.iommu_mode = #_iommu_mode,					\
}

FIXTURE_VARIANT_ADD_ALL_IOMMU_MODES();

static void region_setup(struct iommu *iommu, struct iova_allocator *allocator,
			 struct dma_region *region, u64 size)
{
	region->vaddr = mmap(NULL, size, PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	VFIO_ASSERT_NE(region->vaddr, MAP_FAILED);
	region->iova = iova_allocator_alloc(allocator, size);
	region->size = size;
	iommu_map(iommu, region);
}

static void region_teardown(struct iommu *iommu, struct dma_region *region)
{
	iommu_unmap(iommu, region);
	VFIO_ASSERT_EQ(munmap(region->vaddr, region->size), 0);
}

static bool is_migratable(struct vfio_pci_device *device)
{
	struct vfio_device_feature_migration migration = {};

	return !feature(device, VFIO_DEVICE_FEATURE_GET |
			VFIO_DEVICE_FEATURE_MIGRATION, &migration,
			sizeof(migration)) &&
	       (migration.flags & VFIO_MIGRATION_P2P);
}

static void device_setup(FIXTURE_DATA(igbvf_migration_test) *self,
			 const char *iommu_mode)
{
	struct vfio_pci_driver *driver;

	self->iommu = iommu_init(iommu_mode);
	self->device = vfio_pci_device_init(bdfs[0], self->iommu);
	self->iova_allocator = iova_allocator_init(self->iommu);
	driver = &self->device->driver;
	region_setup(self->iommu, self->iova_allocator, &self->memory, SZ_2M);
	region_setup(self->iommu, self->iova_allocator, &driver->region, SZ_2M);

	self->src = self->memory.vaddr;
	self->dst = self->memory.vaddr + SZ_1M;
}

static void device_teardown(FIXTURE_DATA(igbvf_migration_test) *self)
{
	region_teardown(self->iommu, &self->memory);
	region_teardown(self->iommu, &self->device->driver.region);
	iova_allocator_cleanup(self->iova_allocator);
	self->device->driver.initialized = false;
	vfio_pci_device_cleanup(self->device);
	iommu_cleanup(self->iommu);
}

static void driver_init(FIXTURE_DATA(igbvf_migration_test) *self)
{
	vfio_pci_driver_init(self->device);
	self->size = self->device->driver.max_memcpy_size;
}

FIXTURE_SETUP(igbvf_migration_test)
{
	if (!strncmp(variant->iommu_mode, "iommufd", 7) &&
	    access("/dev/iommu", F_OK))
		SKIP(return, "the kernel has no IOMMUFD");

	device_setup(self, variant->iommu_mode);
	if (!is_migratable(self->device))
		SKIP(return, "%s does not migrate", bdfs[0]);
	driver_init(self);
}

FIXTURE_TEARDOWN(igbvf_migration_test)
{
	/* Its reset ends a migration, too. */
	if (self->device->driver.initialized)
		vfio_pci_driver_remove(self->device);
	device_teardown(self);
}

static void copies_start(FIXTURE_DATA(igbvf_migration_test) *self, u64 count)
{
	pattern(self->src, self->size, ++self->seed);
	memset(self->dst, 0, self->size);
	vfio_pci_driver_memcpy_start(self->device,
				     to_iova(self->device, self->src),
				     to_iova(self->device, self->dst),
				     self->size, count);
}

static bool copies_done(FIXTURE_DATA(igbvf_migration_test) *self)
{
	return !vfio_pci_driver_memcpy_wait(self->device) &&
	       !memcmp(self->src, self->dst, self->size);
}

static bool nothing_copied(FIXTURE_DATA(igbvf_migration_test) *self)
{
	const char *byte = self->dst;
	size_t i;

	for (i = 0; i < self->size; i++)
		if (byte[i])
			return false;
	return true;
}

static bool copies(FIXTURE_DATA(igbvf_migration_test) *self, u64 count)
{
	copies_start(self, count);
	return copies_done(self);
}

/* How many interrupts, after having waited for one if there is one to come. */
static u64 interrupts(struct vfio_pci_device *device, int timeout_ms)
{
	struct pollfd event = {
		.fd = device->msi_eventfds[device->driver.msi],
		.events = POLLIN,
	};
	u64 count;

	if (poll(&event, 1, timeout_ms) != 1)
		return 0;
	VFIO_ASSERT_EQ(read(event.fd, &count, sizeof(count)), 8);
	return count;
}

static u64 interrupts_of_one(struct vfio_pci_device *device)
{
	vfio_pci_driver_send_msi(device);
	return interrupts(device, 1000);
}

/* Saved, reset and loaded again, the device goes on without a new start. */
TEST_F(igbvf_migration_test, same_function)
{
	unsigned int round;
	u64 late;

	for (round = 0; round < 3; round++) {
		ASSERT_TRUE(copies(self, COPIES + round));
		save(self->device);
		vfio_pci_device_reset(self->device);
		load(self->device);
		set_state(self->device, VFIO_DEVICE_STATE_RUNNING);
		late = interrupts(self->device, 0);
		ASSERT_TRUE(copies(self, COPIES));
		late += interrupts(self->device, 0);
		/* One that was raised before may be raised once more. */
		ASSERT_GE(round ? 1 : 0, late);
		ASSERT_EQ(1, interrupts_of_one(self->device));
	}
}

/* The same, into the other function, over the same memory. */
TEST_F(igbvf_migration_test, other_function)
{
	struct vfio_pci_device *source = self->device, *other;

	if (nr_bdfs < 2)
		SKIP(return, "only one function was given");

	other = vfio_pci_device_init(bdfs[1], self->iommu);
	vfio_pci_msix_enable(other, source->driver.msi, 1);
	vfio_pci_config_writew(other, PCI_COMMAND, PCI_COMMAND_MEMORY |
			       PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE);

	ASSERT_TRUE(copies(self, COPIES));
	save(source);
	load(other);
	set_state(other, VFIO_DEVICE_STATE_RUNNING);

	other->driver = source->driver;
	source->driver.initialized = false;
	vfio_pci_device_cleanup(source);
	self->device = other;

	ASSERT_TRUE(copies(self, COPIES));
	ASSERT_EQ(0, interrupts(self->device, 0));
	ASSERT_EQ(1, interrupts_of_one(self->device));
}

/* What is asked of a quiet device is done when it runs, and not before. */
TEST_F(igbvf_migration_test, posted_in_quiet)
{
	static const u32 quiet[] = {
		VFIO_DEVICE_STATE_RUNNING_P2P, VFIO_DEVICE_STATE_STOP,
		VFIO_DEVICE_STATE_STOP_COPY,
	};
	unsigned int i;
	int fd;

	for (i = 0; i < ARRAY_SIZE(quiet); i++) {
		fd = set_state(self->device, quiet[i]);
		copies_start(self, COPIES);
		usleep(20000);
		ASSERT_TRUE(nothing_copied(self));
		set_state(self->device, VFIO_DEVICE_STATE_RUNNING);
		ASSERT_TRUE(copies_done(self));
		if (fd >= 0)
			ASSERT_EQ(0, close(fd));
	}
}

/* What is asked of a quiet device goes with its state. */
TEST_F(igbvf_migration_test, posted_and_saved)
{
	set_state(self->device, VFIO_DEVICE_STATE_STOP);
	copies_start(self, COPIES);
	save(self->device);
	vfio_pci_device_reset(self->device);
	load(self->device);
	ASSERT_TRUE(nothing_copied(self));
	set_state(self->device, VFIO_DEVICE_STATE_RUNNING);
	ASSERT_TRUE(copies_done(self));
}

/* Closed in the middle of it, a device starts afresh. */
TEST_F(igbvf_migration_test, closed)
{
	static const u32 states[] = {
		VFIO_DEVICE_STATE_RUNNING_P2P, VFIO_DEVICE_STATE_STOP_COPY,
		VFIO_DEVICE_STATE_RESUMING,
	};
	unsigned int i;
	char byte = 0;
	ssize_t ret;
	int fd;

	for (i = 0; i < ARRAY_SIZE(states); i++) {
		fd = set_state(self->device, states[i]);
		device_teardown(self);
		if (fd >= 0) {
			if (states[i] == VFIO_DEVICE_STATE_RESUMING)
				ret = write(fd, &byte, 1);
			else
				ret = read(fd, &byte, 1);
			ASSERT_EQ(-1, ret);
			ASSERT_EQ(ENODEV, errno);
			ASSERT_EQ(0, close(fd));
		}

		device_setup(self, variant->iommu_mode);
		ASSERT_EQ(VFIO_DEVICE_STATE_RUNNING, get_state(self->device));
		driver_init(self);
		ASSERT_TRUE(copies(self, COPIES));
	}
}

int main(int argc, char *argv[])
{
	static char *both[2];

	bdfs = vfio_selftests_get_bdfs(&argc, argv, &nr_bdfs);
	both[0] = bdfs[0];
	both[1] = getenv("VFIO_SELFTESTS_BDF2");
	if (nr_bdfs == 1 && both[1] && *both[1]) {
		bdfs = both;
		nr_bdfs = 2;
	}
	return test_harness_run(argc, argv);
}
