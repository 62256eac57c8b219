// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/pci_regs.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "harness.h"
#include "vfio.h"

static int group_of(const char *bdf)
{
	char group[16];

	bdf_link(bdf, "iommu_group", group, sizeof(group));
	if (!*group) {
		th_log("%s is in no IOMMU group", bdf);
		th_abort();
	}
	return atoi(group);
}

int iommu_map(struct iommu *iommu, volatile void *vaddr, u64 iova, u64 size)
{
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof(map),
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.vaddr = (uintptr_t)vaddr,
		.iova = iova,
		.size = size,
	};

	return ioctl(iommu->fd, VFIO_IOMMU_MAP_DMA, &map) ? -errno : 0;
}

int iommu_unmap(struct iommu *iommu, u64 iova, u64 size)
{
	struct vfio_iommu_type1_dma_unmap unmap = {
		.argsz = sizeof(unmap),
		.iova = iova,
		.size = size,
	};

	return ioctl(iommu->fd, VFIO_IOMMU_UNMAP_DMA, &unmap) ? -errno : 0;
}

/* The container takes its IOMMU type with its first group. */
static void iommu_open(struct iommu *iommu, int group)
{
	iommu->fd = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, iommu->fd);
	ASSERT_EQ(0, ioctl(group, VFIO_GROUP_SET_CONTAINER, &iommu->fd));
	ASSERT_EQ(0, ioctl(iommu->fd, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU));

	iommu->mem = mmap(NULL, DMA_SIZE, PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	ASSERT_NE(MAP_FAILED, (void *)iommu->mem);
	ASSERT_EQ(0, iommu_map(iommu, iommu->mem, DMA_IOVA, DMA_SIZE));
}

static int group_open(const char *bdf)
{
	char path[32];
	int i, fd = -1;

	/* Whoever had it last may still be closing it. */
	snprintf(path, sizeof(path), "/dev/vfio/%d", group_of(bdf));
	for (i = 0; i < 500 && fd < 0; i++) {
		fd = open(path, O_RDWR | O_CLOEXEC);
		if (fd < 0 && errno != EBUSY && errno != ENOENT)
			break;
		if (fd < 0)
			sleep_ms(10);
	}
	if (fd < 0)
		th_log("%s of %s: %s", path, bdf, strerror(errno));
	ASSERT_LE(0, fd);
	return fd;
}

void vf_region_info(struct vf *vf, u32 index, struct vf_region *region)
{
	memset(region, 0, sizeof(*region));
	region->info.argsz = sizeof(*region);
	region->info.index = index;
	ASSERT_EQ(0, ioctl(vf->fd, VFIO_DEVICE_GET_REGION_INFO, &region->info));
	ASSERT_LE(region->info.argsz, sizeof(*region));
}

const void *vf_region_cap(const struct vf_region *region, u16 id)
{
	const struct vfio_info_cap_header *cap;
	u32 at;

	if (!(region->info.flags & VFIO_REGION_INFO_FLAG_CAPS))
		return NULL;
	for (at = region->info.cap_offset; at; at = cap->next) {
		ASSERT_LE(at + sizeof(*cap), sizeof(*region));
		cap = (const void *)(region->bytes + at);
		if (cap->id == id)
			return cap;
	}
	return NULL;
}

static u64 region_offset(struct vf *vf, u32 index, u64 *size)
{
	struct vf_region region;

	vf_region_info(vf, index, &region);
	if (size)
		*size = region.info.size;
	return region.info.offset;
}

static void device_prepare(struct vf *vf)
{
	u16 command;

	vf->bar = region_offset(vf, VFIO_PCI_BAR0_REGION_INDEX, &vf->bar_size);
	vf->config = region_offset(vf, VFIO_PCI_CONFIG_REGION_INDEX, NULL);

	command = vf_config_read(vf, PCI_COMMAND);
	vf_config_write(vf, PCI_COMMAND,
			command | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

static void device_open(struct vf *vf)
{
	vf->fd = ioctl(vf->group, VFIO_GROUP_GET_DEVICE_FD, vf->bdf);
	if (vf->fd < 0)
		th_log("no device fd of %s: %s", vf->bdf, strerror(errno));
	ASSERT_LE(0, vf->fd);
	device_prepare(vf);
}

void vf_open(struct vf *vf, struct iommu *iommu, const char *bdf)
{
	unsigned int vector;

	memset(vf, 0, sizeof(*vf));
	for (vector = 0; vector < VECTORS; vector++)
		vf->event[vector] = -1;
	vf->bdf = bdf;
	vf->iommu = iommu;
	vf->group = group_open(bdf);
	if (!iommu->mem)
		iommu_open(iommu, vf->group);
	else
		ASSERT_EQ(0, ioctl(vf->group, VFIO_GROUP_SET_CONTAINER,
				   &iommu->fd));
	device_open(vf);
	/* Not every driver does that when it is closed, as it should. */
	if (!vf_has_core())
		vf_must_reset(vf);
}

bool vf_try_open(struct vf *vf, struct iommu *iommu, const char *bdf)
{
	char path[32];

	*vf = (struct vf){ .bdf = bdf, .iommu = iommu, .fd = -1 };
	memset(vf->event, -1, sizeof(vf->event));
	snprintf(path, sizeof(path), "/dev/vfio/%d", group_of(bdf));
	vf->group = open(path, O_RDWR | O_CLOEXEC);
	if (vf->group < 0)
		return false;
	iommu->fd = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, iommu->fd);
	if (!ioctl(vf->group, VFIO_GROUP_SET_CONTAINER, &iommu->fd) &&
	    !ioctl(iommu->fd, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU))
		vf->fd = ioctl(vf->group, VFIO_GROUP_GET_DEVICE_FD, bdf);
	if (vf->fd < 0) {
		close(vf->group);
		close(iommu->fd);
		return false;
	}
	device_prepare(vf);
	return true;
}

void vf_open_both(struct vf vf[2], struct iommu *iommu)
{
	vf_need_both();
	vf_open(&vf[0], iommu, vf_bdf[0]);
	vf_open(&vf[1], iommu, vf_bdf[1]);
}

void vf_close_device(struct vf *vf)
{
	unsigned int vector;

	vf_unmap_rings(vf);
	for (vector = 0; vector < VECTORS; vector++) {
		if (vf->event[vector] >= 0)
			close(vf->event[vector]);
		vf->event[vector] = -1;
	}
	if (vf->fd >= 0)
		close(vf->fd);
	vf->fd = -1;
}

void vf_reopen(struct vf *vf)
{
	vf_close_device(vf);
	device_open(vf);
}

void vf_close(struct vf *vf)
{
	vf_close_device(vf);
	close(vf->group);
	vf->group = -1;
}

int vf_feature_argsz(struct vf *vf, u32 flags, void *payload, size_t size,
		     u32 argsz)
{
	u64 buf[16] = {};
	struct vfio_device_feature *feature = (void *)buf;
	int ret;

	ASSERT_LE(sizeof(*feature) + size, sizeof(buf));
	feature->argsz = argsz;
	feature->flags = flags;
	if (size)
		memcpy(feature->data, payload, size);
	ret = ioctl(vf->fd, VFIO_DEVICE_FEATURE, feature) ? -errno : 0;
	if (size)
		memcpy(payload, feature->data, size);
	return ret;
}

int vf_feature(struct vf *vf, u32 flags, void *payload, size_t size)
{
	return vf_feature_argsz(vf, flags, payload, size,
				sizeof(struct vfio_device_feature) + size);
}

u64 vf_migration_flags(struct vf *vf)
{
	struct vfio_device_feature_migration mig = {};

	ASSERT_EQ(0, vf_feature(vf, VFIO_DEVICE_FEATURE_GET |
				VFIO_DEVICE_FEATURE_MIGRATION, &mig,
				sizeof(mig)));
	return mig.flags;
}

u64 vf_data_size(struct vf *vf)
{
	struct vfio_device_feature_mig_data_size size = {};

	ASSERT_EQ(0, vf_feature(vf, VFIO_DEVICE_FEATURE_GET |
				VFIO_DEVICE_FEATURE_MIG_DATA_SIZE, &size,
				sizeof(size)));
	return size.stop_copy_length;
}

int vf_set_state(struct vf *vf, u32 state, int *fd)
{
	struct vfio_device_feature_mig_state mig = {
		.device_state = state,
		.data_fd = -2,
	};
	int ret = vf_feature(vf, VFIO_DEVICE_FEATURE_SET |
			     VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, &mig,
			     sizeof(mig));

	if (!ret)
		th_count(TH_TRANSITIONS, 1);
	if (fd)
		*fd = mig.data_fd;
	else if (!ret && mig.data_fd >= 0)
		close(mig.data_fd);
	return ret;
}

int vf_open_stream(struct vf *vf, u32 state)
{
	int fd = -1;

	ASSERT_EQ(0, vf_set_state(vf, state, &fd));
	ASSERT_LE(0, fd);
	return fd;
}

int vf_get_state(struct vf *vf)
{
	struct vfio_device_feature_mig_state mig = {};
	int ret = vf_feature(vf, VFIO_DEVICE_FEATURE_GET |
			     VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, &mig,
			     sizeof(mig));

	return ret ? ret : (int)mig.device_state;
}

int vf_reset(struct vf *vf)
{
	if (ioctl(vf->fd, VFIO_DEVICE_RESET))
		return -errno;
	th_count(TH_RESETS, 1);
	return 0;
}

void vf_must_reset(struct vf *vf)
{
	ASSERT_EQ(0, vf_reset(vf));
}

void vf_flr(struct vf *vf)
{
	u16 at = vf_config_read(vf, PCI_CAPABILITY_LIST) & 0xff, head;

	for (; at; at = head >> 8) {
		head = vf_config_read(vf, at);
		if ((head & 0xff) == PCI_CAP_ID_EXP)
			break;
	}
	if (!at)
		th_skip("no PCI Express capability");
	vf_config_write(vf, at + PCI_EXP_DEVCTL,
			vf_config_read(vf, at + PCI_EXP_DEVCTL) |
			PCI_EXP_DEVCTL_BCR_FLR);
	th_count(TH_RESETS, 1);
	vf_config_write(vf, PCI_COMMAND, PCI_COMMAND_MEMORY |
			PCI_COMMAND_MASTER);
}

bool vf_state_offered(struct vf *vf, u32 state)
{
	u64 flags = vf_migration_flags(vf);

	switch (state) {
	case VFIO_DEVICE_STATE_RUNNING:
	case VFIO_DEVICE_STATE_STOP:
	case VFIO_DEVICE_STATE_STOP_COPY:
	case VFIO_DEVICE_STATE_RESUMING:
		return flags & VFIO_MIGRATION_STOP_COPY;
	case VFIO_DEVICE_STATE_RUNNING_P2P:
		return flags & VFIO_MIGRATION_P2P;
	case VFIO_DEVICE_STATE_PRE_COPY:
		return flags & VFIO_MIGRATION_PRE_COPY;
	case VFIO_DEVICE_STATE_PRE_COPY_P2P:
		return (flags & VFIO_MIGRATION_PRE_COPY) &&
		       (flags & VFIO_MIGRATION_P2P);
	default:
		return false;
	}
}

const char *state_name(u32 state)
{
	static const char * const names[STATES] = {
		[VFIO_DEVICE_STATE_ERROR]		= "ERROR",
		[VFIO_DEVICE_STATE_STOP]		= "STOP",
		[VFIO_DEVICE_STATE_RUNNING]		= "RUNNING",
		[VFIO_DEVICE_STATE_STOP_COPY]		= "STOP_COPY",
		[VFIO_DEVICE_STATE_RESUMING]		= "RESUMING",
		[VFIO_DEVICE_STATE_RUNNING_P2P]		= "RUNNING_P2P",
		[VFIO_DEVICE_STATE_PRE_COPY]		= "PRE_COPY",
		[VFIO_DEVICE_STATE_PRE_COPY_P2P]	= "PRE_COPY_P2P",
	};

	return state < STATES ? names[state] : "no state";
}

u32 vf_read(struct vf *vf, u32 offset)
{
	u32 value = 0;

	ASSERT_EQ(4, pread(vf->fd, &value, 4, vf->bar + offset));
	return value;
}

void vf_write(struct vf *vf, u32 offset, u32 value)
{
	ASSERT_EQ(4, pwrite(vf->fd, &value, 4, vf->bar + offset));
}

/* Where BAR0 can be mapped: all of it, if no capability says otherwise. */
static bool find_rings(struct vf *vf)
{
	const struct vfio_region_info_cap_sparse_mmap *sparse;
	struct vf_region region;

	vf_region_info(vf, VFIO_PCI_BAR0_REGION_INDEX, &region);
	if (!(region.info.flags & VFIO_REGION_INFO_FLAG_MMAP))
		return false;
	sparse = vf_region_cap(&region, VFIO_REGION_INFO_CAP_SPARSE_MMAP);
	if (!sparse) {
		vf->rings_at = 0;
		vf->rings_size = vf->bar_size;
		return true;
	}
	ASSERT_EQ(1u, sparse->nr_areas);
	vf->rings_at = sparse->areas[0].offset;
	vf->rings_size = sparse->areas[0].size;
	return true;
}

bool vf_try_map_rings(struct vf *vf)
{
	void *at;

	if (!find_rings(vf))
		return false;
	at = mmap(NULL, vf->rings_size, PROT_READ | PROT_WRITE, MAP_SHARED,
		  vf->fd, vf->bar + vf->rings_at);
	ASSERT_NE(MAP_FAILED, at);
	/* A process of ours that had it would keep the function open. */
	ASSERT_EQ(0, madvise(at, vf->rings_size, MADV_DONTFORK));
	vf->rings = at;
	return true;
}

void vf_map_rings(struct vf *vf)
{
	if (!vf_try_map_rings(vf))
		th_skip("the rings cannot be mapped on this host");
}

void vf_unmap_rings(struct vf *vf)
{
	if (vf->rings)
		munmap((void *)vf->rings, vf->rings_size);
	vf->rings = NULL;
}

u32 vf_mread(struct vf *vf, u32 offset)
{
	return *(volatile u32 *)(vf->rings + offset - vf->rings_at);
}

void vf_mwrite(struct vf *vf, u32 offset, u32 value)
{
	*(volatile u32 *)(vf->rings + offset - vf->rings_at) = value;
}

u16 vf_config_read(struct vf *vf, u32 offset)
{
	u16 value = 0;

	ASSERT_EQ(2, pread(vf->fd, &value, 2, vf->config + offset));
	return value;
}

void vf_config_write(struct vf *vf, u32 offset, u16 value)
{
	ASSERT_EQ(2, pwrite(vf->fd, &value, 2, vf->config + offset));
}

u16 vf_real_command(struct vf *vf)
{
	char path[PATH_MAX];
	u16 value = 0;
	int fd;

	bdf_path(vf->bdf, "config", path);
	fd = open(path, O_RDONLY);
	ASSERT_LE(0, fd);
	ASSERT_EQ(2, pread(fd, &value, 2, PCI_COMMAND));
	close(fd);
	return value;
}

/* One eventfd for each vector of an interrupt of VFIO's. */
static void set_events(struct vf *vf, u32 index, const int *event, u32 count)
{
	struct {
		struct vfio_irq_set set;
		int fd[VECTORS];
	} arg = {
		.set = {
			.argsz = sizeof(arg),
			.flags = VFIO_IRQ_SET_DATA_EVENTFD |
				 VFIO_IRQ_SET_ACTION_TRIGGER,
			.index = index,
			.count = count,
		},
	};

	ASSERT_LE(count, (u32)VECTORS);
	memcpy(arg.fd, event, count * sizeof(*event));
	ASSERT_EQ(0, ioctl(vf->fd, VFIO_DEVICE_SET_IRQS, &arg));
}

static int new_event(void)
{
	int event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

	ASSERT_LE(0, event);
	return event;
}

bool wait_event(int event, int timeout_ms)
{
	struct pollfd poll_fd = { .fd = event, .events = POLLIN };

	return poll(&poll_fd, 1, timeout_ms) == 1;
}

int vf_error_event(struct vf *vf)
{
	int event = new_event();

	set_events(vf, VFIO_PCI_ERR_IRQ_INDEX, &event, 1);
	return event;
}

void vf_arm_interrupts(struct vf *vf)
{
	set_events(vf, VFIO_PCI_MSIX_IRQ_INDEX, vf->event, VECTORS);
}

void vf_disarm_interrupts(struct vf *vf)
{
	struct vfio_irq_set set = {
		.argsz = sizeof(set),
		.flags = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER,
		.index = VFIO_PCI_MSIX_IRQ_INDEX,
	};

	ASSERT_EQ(0, ioctl(vf->fd, VFIO_DEVICE_SET_IRQS, &set));
}

void vf_enable_interrupts(struct vf *vf)
{
	unsigned int vector;

	for (vector = 0; vector < VECTORS; vector++)
		vf->event[vector] = new_event();
	vf_arm_interrupts(vf);
}

u64 vf_interrupts(struct vf *vf, unsigned int vector)
{
	u64 count = 0;

	if (read(vf->event[vector], &count, sizeof(count)) != sizeof(count))
		return 0;
	return count;
}

u64 vf_all_interrupts(struct vf *vf)
{
	unsigned int vector;
	u64 sum = 0;

	for (vector = 0; vector < VECTORS; vector++)
		sum += vf_interrupts(vf, vector);
	return sum;
}

bool vf_wait_interrupt(struct vf *vf, unsigned int vector, int timeout_ms)
{
	return wait_event(vf->event[vector], timeout_ms);
}

/*
 * In a process that has nothing of the function open, or it would wait for
 * itself once the test has failed. It outlives the test, too, so that the next
 * one finds a driver.
 */
pid_t aside_begin(struct vf *vf, int (*what)(const char *bdf))
{
	int event = new_event(), ret;
	pid_t pid;

	vf_need_pci();
	/* VFIO asks for the function when somebody has got as far as that. */
	set_events(vf, VFIO_PCI_REQ_IRQ_INDEX, &event, 1);
	pid = fork();
	ASSERT_NE(-1, pid);
	if (!pid) {
		setsid();
		close_range(STDERR_FILENO + 1, ~0u, 0);
		ret = what(vf->bdf);
		if (ret)
			th_log("aside, with %s: %s", vf->bdf, strerror(-ret));
		_exit(!!ret);
	}
	ASSERT_TRUE(wait_event(event, 5000));
	close(event);
	EXPECT_EQ(0, waitpid(pid, NULL, WNOHANG));
	return pid;
}

void aside_end(pid_t pid)
{
	int status;

	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

bool kernel_since(unsigned int major, unsigned int minor)
{
	unsigned int is_major = 0, is_minor = 0;
	struct utsname name;

	ASSERT_EQ(0, uname(&name));
	ASSERT_EQ(2, sscanf(name.release, "%u.%u", &is_major, &is_minor));
	return is_major > major || (is_major == major && is_minor >= minor);
}

static int unbind_and_bind(const char *bdf)
{
	char driver[64];
	int ret;

	bdf_driver(bdf, driver, sizeof(driver));
	ret = bdf_unbind(bdf);
	return ret ? ret : bdf_bind(bdf, driver);
}

pid_t unbind_begin(struct vf *vf)
{
	return aside_begin(vf, unbind_and_bind);
}

void unbind_end(pid_t pid)
{
	aside_end(pid);
}

int module_unload(const char *name)
{
	return syscall(SYS_delete_module, name, O_NONBLOCK) ? -errno : 0;
}

void sleep_ms(unsigned int ms)
{
	struct timespec left = {
		.tv_sec = ms / 1000,
		.tv_nsec = ms % 1000 * 1000000l,
	};

	while (nanosleep(&left, &left) && errno == EINTR)
		;
}

u64 time_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000ull + time.tv_nsec;
}

u64 time_ms(void)
{
	return time_ns() / 1000000;
}
