// SPDX-License-Identifier: GPL-2.0
/*
 * DMA logging: VFIO_DEVICE_FEATURE_DMA_LOGGING_*.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "stall.h"
#include "state.h"
#include "tracked.h"

#define PARAMETER	"/sys/module/vfio_pci_migration/parameters/dirty_tracking"
#define START		VFIO_DEVICE_FEATURE_DMA_LOGGING_START
#define STOP		VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP
#define REPORT		VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT

/* Where this kernel has what is needed: in VFIO, or later in iommufd. */
static bool possible(void)
{
	return !kernel_since(6, 7) || !access("/dev/iommu", F_OK);
}

static void begin_log(struct tracked *t, bool mapped)
{
	if (!possible())
		th_skip("this kernel has no iommufd");
	begin(t, true, mapped);
}

static void expect_offered(struct vf *vf, int start, int report)
{
	u32 set = VFIO_DEVICE_FEATURE_PROBE | VFIO_DEVICE_FEATURE_SET;
	u32 get = VFIO_DEVICE_FEATURE_PROBE | VFIO_DEVICE_FEATURE_GET;

	EXPECT_EQ(start, vf_feature(vf, set | START, NULL, 0));
	EXPECT_EQ(start, vf_feature(vf, set | STOP, NULL, 0));
	EXPECT_EQ(report, vf_feature(vf, get | REPORT, NULL, 0));
	/* As QEMU asks. */
	EXPECT_EQ(start, vf_feature(vf, VFIO_DEVICE_FEATURE_PROBE | START, NULL,
				    0));
}

static void parameter(const char *value)
{
	int fd = open(PARAMETER, O_WRONLY | O_CLOEXEC);

	ASSERT_LE(0, fd);
	ASSERT_EQ((ssize_t)strlen(value), write(fd, value, strlen(value)));
	close(fd);
}

TEST_ALONE(log_offered,
	"DMA logging is offered where the kernel has what it takes, and only "
	"with dirty_tracking=Y at the time of the open")
{
	int offered = possible() ? 0 : -ENOTTY;
	struct iommu iommu = {};
	struct vf vf;

	vf_open(&vf, &iommu, vf_bdf[0]);
	expect_offered(&vf, offered, offered);
	parameter("N");
	expect_offered(&vf, offered, offered);
	vf_reopen(&vf);
	expect_offered(&vf, -ENOTTY, -ENOTTY);
	EXPECT_EQ(-ENOTTY, log_range(&vf, DMA_IOVA, DMA_SIZE));
	parameter("Y");
	vf_reopen(&vf);
	expect_offered(&vf, offered, offered);
}

/* The device itself, without a group. */
static int open_cdev(const char *bdf)
{
	char path[PATH_MAX];
	struct dirent *entry;
	int fd = -1;
	DIR *dir;

	bdf_path(bdf, "vfio-dev", path);
	dir = opendir(path);
	if (!dir)
		return -1;
	while (fd < 0 && (entry = readdir(dir))) {
		snprintf(path, sizeof(path), "/dev/vfio/devices/%.32s",
			 entry->d_name);
		if (entry->d_name[0] != '.')
			fd = open(path, O_RDWR | O_CLOEXEC);
	}
	closedir(dir);
	return fd;
}

TEST_ALONE(log_iommufd,
	"DMA logging is not offered to who comes by iommufd, where the memory "
	"cannot be read")
{
	struct vfio_device_bind_iommufd bind = { .argsz = sizeof(bind) };
	struct vf vf = { .bdf = vf_bdf[0] };
	struct iommu iommu = {};

	bind.iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	if (bind.iommufd < 0)
		th_skip("this kernel has no iommufd");
	vf.fd = open_cdev(vf.bdf);
	if (vf.fd < 0)
		th_skip("this kernel has no device files for VFIO");
	ASSERT_EQ(0, ioctl(vf.fd, VFIO_DEVICE_BIND_IOMMUFD, &bind));
	expect_offered(&vf, -ENOTTY, -ENOTTY);
	EXPECT_EQ(-ENOTTY, log_range(&vf, DMA_IOVA, DMA_SIZE));
	close(vf.fd);
	close(bind.iommufd);

	vf_open(&vf, &iommu, vf_bdf[0]);
	expect_offered(&vf, 0, 0);
}

/* Begin a log with all that can be said; @got: the answer. */
static int start(struct vf *vf, u64 page_size, u32 count,
		 struct vfio_device_feature_dma_logging_range *range, u64 *got)
{
	struct vfio_device_feature_dma_logging_control control = {
		.page_size = page_size, .num_ranges = count,
		.ranges = (uintptr_t)range,
	};
	int ret = vf_feature(vf, VFIO_DEVICE_FEATURE_SET | START, &control,
			     sizeof(control));

	if (got)
		*got = control.page_size;
	return ret;
}

TEST(log_refusals,
	"no page size, no range and no report that makes no sense is accepted, "
	"and a refusal leaves no log behind; any other page size is told ours")
{
	struct vfio_device_feature_dma_logging_range range[300] = {};
	u64 page_size, bitmap[PAGES / 64] = {};
	struct iommu iommu = {};
	struct vf vf;
	unsigned int n;

	if (!possible())
		th_skip("this kernel has no iommufd");
	vf_open(&vf, &iommu, vf_bdf[0]);
	EXPECT_EQ(-EINVAL, log_report(&vf, DMA_IOVA, DMA_SIZE, bitmap));
	EXPECT_EQ(0, log_end(&vf));

	range[0].length = 0;
	EXPECT_EQ(-EINVAL, start(&vf, 0, 1, range, NULL));
	EXPECT_EQ(-EINVAL, start(&vf, PAGE, 1, range, NULL));
	range[0].iova = DMA_IOVA;
	EXPECT_EQ(-EINVAL, start(&vf, PAGE, 1, range, NULL));
	range[0].length = DMA_SIZE;
	EXPECT_EQ(-EINVAL, start(&vf, 0, 1, range, NULL));
	EXPECT_EQ(-EINVAL, start(&vf, 3 * PAGE, 1, range, NULL));
	EXPECT_EQ(-EINVAL, start(&vf, PAGE, 0, range, NULL));
	EXPECT_EQ(-EFAULT, start(&vf, PAGE, 1, NULL, NULL));
	range[0].length = PAGE / 2;
	EXPECT_EQ(-EINVAL, start(&vf, PAGE, 1, range, NULL));
	range[0].iova = ~0ull - PAGE + 1;
	range[0].length = 2 * PAGE;
	EXPECT_EQ(-EOVERFLOW, start(&vf, PAGE, 1, range, NULL));
	for (n = 0; n < ARRAY_SIZE(range); n++) {
		range[n].iova = DMA_IOVA + 2 * n * PAGE;
		range[n].length = PAGE;
	}
	EXPECT_EQ(-E2BIG, start(&vf, PAGE, ARRAY_SIZE(range), range, NULL));
	range[1] = range[0];
	EXPECT_EQ(-EINVAL, start(&vf, PAGE, 2, range, NULL));
	EXPECT_EQ(-EINVAL, log_report(&vf, DMA_IOVA, DMA_SIZE, bitmap));

	/* As many as there can be; a log that is on is not begun again. */
	range[1].iova = range[0].iova + 2 * PAGE;
	EXPECT_EQ(0, start(&vf, PAGE, 256, range, &page_size));
	EXPECT_EQ((u64)PAGE, page_size);
	EXPECT_EQ(-EBUSY, start(&vf, PAGE, 1, range, NULL));
	EXPECT_EQ(0, log_report(&vf, DMA_IOVA, DMA_SIZE, bitmap));
	EXPECT_EQ(-EINVAL, log_report(&vf, DMA_IOVA, 0, bitmap));
	EXPECT_EQ(-EINVAL, log_report(&vf, DMA_IOVA + 1, PAGE, bitmap));
	EXPECT_EQ(-EINVAL, log_report(&vf, DMA_IOVA, PAGE + 1, bitmap));
	for (n = 0; n < ARRAY_SIZE(bitmap); n++)
		EXPECT_EQ(0ull, bitmap[n]);
	EXPECT_EQ(0, log_end(&vf));
	EXPECT_EQ(0, log_end(&vf));
	EXPECT_EQ(-EINVAL, log_report(&vf, DMA_IOVA, DMA_SIZE, bitmap));

	range[0].iova = 0;
	range[0].length = 1ull << 56;
	EXPECT_EQ(0, start(&vf, 2u << 20, 1, range, &page_size));
	EXPECT_EQ((u64)PAGE, page_size);
	EXPECT_EQ(0, log_end(&vf));
}

TEST_ALONE(log_receive,
	"no received frame misses its page in the function's own log; doorbells "
	"by write")
{
	static struct tracked t;

	begin_log(&t, false);
	receive_rounds(&t, 30);
}

TEST_ALONE(log_receive_mapped,
	"no received frame misses its page in the function's own log; doorbells "
	"by mmap")
{
	static struct tracked t;

	begin_log(&t, true);
	receive_rounds(&t, 30);
}

TEST_ALONE(log_transmit,
	"no write-back of transmit descriptors or heads misses its page there")
{
	static struct tracked t;

	begin_log(&t, false);
	write_backs(&t);
}

TEST_ALONE(log_pages,
	"reports can be had of a part of the memory, and of larger pages; what "
	"has not been asked for stays in the log")
{
	struct vfio_device_feature_dma_logging_report large = {
		.iova = DMA_IOVA, .length = DMA_SIZE, .page_size = 16 * PAGE,
	};
	u64 part[PAGES / 128], bits = 0;
	static struct tracked t;
	unsigned int n, page, half;

	begin_log(&t, false);
	transfer(&t);
	for (n = 0; n < 8; n++) {
		half = n & 1;
		rx_frames(&t, 12);
		memset(part, 0, sizeof(part));
		ASSERT_EQ(0, log_report(&t.vf, DMA_IOVA + half * DMA_SIZE / 2,
					DMA_SIZE / 2, part));
		for (page = 0; page < PAGES / 2; page++)
			if (part[page / 64] >> page % 64 & 1)
				t.cpu[half * PAGES / 2 + page] = true;
		expect_copied(&t);
	}

	rx_frames(&t, 12);
	large.bitmap = (uintptr_t)&bits;
	ASSERT_EQ(0, vf_feature(&t.vf, VFIO_DEVICE_FEATURE_GET | REPORT, &large,
				sizeof(large)));
	for (page = 0; page < PAGES; page++)
		if (bits >> page / 16 & 1)
			t.cpu[page] = true;
	expect_copied(&t);
}

TEST_LONG(log_restart,
	"rings that are set up while logging, after switching off, RST, reset "
	"or a stop, are logged; doorbells by write")
{
	static struct tracked t;

	begin_log(&t, false);
	restart_rounds(&t);
}

TEST_LONG(log_restart_mapped,
	"the same, doorbells by mmap")
{
	static struct tracked t;

	begin_log(&t, true);
	restart_rounds(&t);
}

/* PRE_COPY comes last: there, the scope is taken if no log is on. */
static bool go(struct tracked *t, unsigned int where)
{
	static const u32 states[] = {
		VFIO_DEVICE_STATE_RUNNING, VFIO_DEVICE_STATE_RUNNING_P2P,
		VFIO_DEVICE_STATE_STOP, VFIO_DEVICE_STATE_STOP_COPY,
		VFIO_DEVICE_STATE_RESUMING, VFIO_DEVICE_STATE_PRE_COPY,
	};
	static struct state saved;
	u32 state;

	if (where == ARRAY_SIZE(states))
		return false;
	state = states[where];
	if (state == VFIO_DEVICE_STATE_PRE_COPY && !t->precopy)
		return false;
	th_context("log begins or ends in %s", state_name(state));
	if (state == VFIO_DEVICE_STATE_RESUMING) {
		state_save(&t->vf, &saved);
		ASSERT_EQ(0, vf_reset(&t->vf));
		ASSERT_EQ(0, state_load(&t->vf, &saved));
	} else {
		ASSERT_EQ(0, vf_set_state(&t->vf, state, NULL));
	}
	return true;
}

TEST_ALONE(log_states,
	"a log can begin and end in any state, and nothing is missing from it "
	"from then on; without it the function works as before")
{
	static struct tracked t;
	unsigned int n;

	begin_log(&t, false);
	log_stop(&t);
	for (n = 0; go(&t, n); n++) {
		log_start(&t);
		memset(t.cpu, true, sizeof(t.cpu));
		transfer(&t);
		ASSERT_EQ(0, vf_set_state(&t.vf, VFIO_DEVICE_STATE_RUNNING,
					  NULL));
		rx_frames(&t, 10);
		expect_copied(&t);
		rx_frames(&t, 10);
		expect_copied(&t);
		EXPECT_GE(REPORT_MAX, t.reported);

		go(&t, n);
		log_stop(&t);
		ASSERT_EQ(0, vf_set_state(&t.vf, VFIO_DEVICE_STATE_RUNNING,
					  NULL));
		rx_frames(&t, 10);
	}
}

/* Of the report that stalls. */
static u64 *log_bitmap;

static void *stalled_report(void *arg)
{
	struct tracked *t = arg;

	EXPECT_EQ(0, log_report(&t->vf, DMA_IOVA, DMA_SIZE, log_bitmap));
	return NULL;
}

TEST_ALONE(log_stalled,
	"nothing has to wait for a user whose bitmap stalls in the middle of a "
	"report: not a state, nor a reset, nor another report")
{
	static struct tracked t;
	u64 other[PAGES / 64];
	static u8 page[PAGE];
	struct stall stall;
	pthread_t thread;
	u64 began;

	begin_log(&t, false);
	rx_frames(&t, 10);
	stall_begin(&stall);
	log_bitmap = (u64 *)stall.page;
	ASSERT_EQ(0, pthread_create(&thread, NULL, stalled_report, &t));
	stall_wait(&stall);

	began = time_ms();
	EXPECT_EQ(0, log_report(&t.vf, DMA_IOVA, DMA_SIZE, other));
	ASSERT_EQ(0, vf_set_state(&t.vf, VFIO_DEVICE_STATE_STOP, NULL));
	ASSERT_EQ(0, vf_set_state(&t.vf, VFIO_DEVICE_STATE_RUNNING, NULL));
	EXPECT_EQ(0, vf_reset(&t.vf));
	EXPECT_LE(time_ms() - began, (u64)5000);
	stall_end(&stall, page);
	ASSERT_EQ(0, pthread_join(thread, NULL));
	stall_close(&stall);
}

TEST_ALONE(log_lives,
	"a log outlives a reset of the function, and does not outlive its file")
{
	static struct tracked t;
	u64 bitmap[PAGES / 64];

	begin_log(&t, false);
	transfer(&t);
	rx_frames(&t, 10);
	ASSERT_EQ(0, vf_reset(&t.vf));
	expect_copied(&t);
	nic_start(&t.nic, &t.vf, 0);
	rx_start(&t, RING_PAGE + 1, 16);
	memset(t.cpu, true, sizeof(t.cpu));
	transfer(&t);
	rx_frames(&t, 10);
	expect_copied(&t);
	EXPECT_GE(REPORT_MAX, t.reported);

	vf_reopen(&t.vf);
	EXPECT_EQ(-EINVAL, log_report(&t.vf, DMA_IOVA, DMA_SIZE, bitmap));
	nic_start(&t.nic, &t.vf, 0);
	rx_start(&t, RING_PAGE, 16);
	log_start(&t);
	memset(t.cpu, true, sizeof(t.cpu));
	receive_rounds(&t, 5);
}

/* Both at a time: the copy is kept up by one, then by the other. */
TEST_ALONE(log_scope,
	"with a log of the function's own the container goes on reporting all "
	"pages, before and after; with the scope that is there from before, "
	"both are right, and the scope stays when the log ends")
{
	static struct tracked t;
	unsigned int n;

	begin_log(&t, false);
	t.logged = false;
	log_start(&t);
	EXPECT_EQ(PAGES, report(&t));
	rx_frames(&t, 10);
	saving(&t);
	EXPECT_EQ(PAGES, report(&t));
	running(&t);
	t.logged = true;
	log_stop(&t);
	t.logged = false;
	EXPECT_EQ(PAGES, report(&t));

	saving(&t);
	EXPECT_GE(REPORT_MAX, report(&t));
	for (n = 0; n < 3; n++) {
		th_context("log %u in the scope", n);
		rx_frames(&t, 10);
		t.logged = true;
		log_start(&t);
		t.logged = false;
		expect_copied(&t);
		t.logged = true;
		rx_frames(&t, 10);
		expect_copied(&t);
		log_stop(&t);
		t.logged = false;
		rx_frames(&t, 10);
		expect_copied(&t);
		EXPECT_GE(REPORT_MAX, t.reported);
	}
}

/* Some other memory, above the first; the ring is there, too. */
#define OTHER_IOVA	0x50000000ull
#define OTHER_PAGES	16u
#define OTHER_SLOTS	8u

static void other_ring(struct tracked *t, volatile struct desc *ring)
{
	unsigned int slot;

	for (slot = 0; slot < OTHER_SLOTS; slot++) {
		ring[slot].q[0] = OTHER_IOVA + (slot + 1) * PAGE;
		ring[slot].q[1] = 0;
	}
	__sync_synchronize();
	reg(t, RXDCTL(0), 0);
	vf_read(&t->vf, STATUS);
	reg(t, RDBAL(0), OTHER_IOVA);
	reg(t, RDBAH(0), 0);
	reg(t, RDLEN(0), OTHER_SLOTS * sizeof(*ring));
	reg(t, RDH(0), 0);
	reg(t, RXDCTL(0), DCTL_ENABLE | 0x10810);
	reg(t, RDT(0), OTHER_SLOTS - 1);
}

/* Any access has it tried again; hosts without mappings have nothing else. */
static void other_posted(struct tracked *t)
{
	u64 end = time_ms() + WAIT_MS;
	struct real real;

	do {
		vf_read(&t->vf, STATUS);
		real = vf_real(&t->vf);
		if (!real.known)
			th_skip("the PF does not show the VF's registers");
		if (real.rdt == OTHER_SLOTS - 1)
			return;
	} while (time_ms() < end);
	EXPECT_EQ(OTHER_SLOTS - 1, real.rdt);
}

TEST_ALONE(log_unmapped,
	"descriptors in memory that is not mapped are posted when it is; what "
	"is written there is in the log, which does not mind if it is unmapped")
{
	static u8 before[OTHER_PAGES * PAGE];
	volatile struct desc *ring;
	static struct tracked t;
	unsigned int n, page;
	u64 bitmap, end;
	u8 *other;

	begin_log(&t, false);
	log_stop(&t);
	ASSERT_EQ(0, log_range(&t.vf, DMA_IOVA,
			       OTHER_IOVA + sizeof(before) - DMA_IOVA));
	other = mmap(NULL, sizeof(before), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	ASSERT_NE(MAP_FAILED, (void *)other);
	ring = (void *)other;
	for (n = 0; n < 4; n++) {
		th_context("round %u", n);
		if (n & 1)
			ASSERT_EQ(0, iommu_map(&t.iommu, other, OTHER_IOVA,
					       sizeof(before)));
		other_ring(&t, ring);
		if (!(n & 1))
			ASSERT_EQ(0, iommu_map(&t.iommu, other, OTHER_IOVA,
					       sizeof(before)));
		other_posted(&t);
		memcpy(before, other, sizeof(before));
		EXPECT_TRUE(nic_send(&t.peer, t.number, 5));
		t.number += 5;
		for (end = time_ms() + WAIT_MS;
		     !(ring[4].q[1] & 1) && time_ms() < end; )
			sleep_ms(1);
		EXPECT_TRUE(ring[4].q[1] & 1);
		bitmap = 0;
		ASSERT_EQ(0, log_report(&t.vf, OTHER_IOVA, sizeof(before),
					&bitmap));
		for (page = 0; page < OTHER_PAGES; page++)
			if (memcmp(before + page * PAGE, other + page * PAGE,
				   PAGE))
				EXPECT_TRUE(bitmap >> page & 1);
		/* The ring and what is posted, one less than it has; no more. */
		EXPECT_EQ((1ull << OTHER_SLOTS) - 1, bitmap);

		ASSERT_EQ(0, vf_set_state(&t.vf, VFIO_DEVICE_STATE_STOP, NULL));
		EXPECT_EQ(0, iommu_unmap(&t.iommu, OTHER_IOVA, sizeof(before)));
		ASSERT_EQ(0, log_report(&t.vf, OTHER_IOVA, sizeof(before),
					&bitmap));
		reg(&t, RXDCTL(0), 0);
		ASSERT_EQ(0, vf_set_state(&t.vf, VFIO_DEVICE_STATE_RUNNING,
					  NULL));
	}
	rx_start(&t, RING_PAGE, 16);
	memset(t.cpu, true, sizeof(t.cpu));
	receive_rounds(&t, 3);
}

TEST_ALONE(log_process,
	"descriptors are read, whichever process begins the log and rings the "
	"doorbells")
{
	struct tracked *t = mmap(NULL, sizeof(*t), PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int status;
	pid_t pid;

	ASSERT_NE(MAP_FAILED, (void *)t);
	begin_log(t, false);
	log_stop(t);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		log_start(t);
		rx_start(t, RING_PAGE + 1, 16);
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_EQ(0, status);
	memset(t->cpu, true, sizeof(t->cpu));
	receive_rounds(t, 3);
}

/* Buffers with as much between them as a part of the log covers. */
TEST_ALONE(log_too_much,
	"buffers in more places than the log has room for make all pages count "
	"as dirty, until it ends")
{
	const unsigned int slots = 8320, page = 256;
	static struct tracked t;
	volatile struct desc *ring;
	unsigned int n;

	if (lockdep())
		th_skip("so many allocations take half a minute here");
	begin_log(&t, false);
	log_stop(&t);
	ASSERT_EQ(0, log_range(&t.vf, 0, 1ull << 48));
	transfer(&t);
	EXPECT_GE(REPORT_MAX, report(&t));

	reg(&t, RXDCTL(0), 0);
	vf_read(&t.vf, STATUS);
	ring = (void *)(t.iommu.mem + (page - slots / 256 - 1) * PAGE);
	for (n = 0; n < slots; n++) {
		ring[n].q[0] = 0x8000000ull * (n + 1);
		ring[n].q[1] = 0;
	}
	__sync_synchronize();
	reg(&t, RDBAL(0), DMA_IOVA + (page - slots / 256 - 1) * PAGE);
	reg(&t, RDLEN(0), slots * sizeof(struct desc));
	reg(&t, RDH(0), 0);
	reg(&t, RXDCTL(0), DCTL_ENABLE | 0x10810);
	reg(&t, RDT(0), slots - 1);
	EXPECT_EQ(PAGES, report(&t));
	rx_start(&t, RING_PAGE, 16);
	EXPECT_EQ(PAGES, report(&t));
	EXPECT_EQ(PAGES, report(&t));
	log_stop(&t);
	log_start(&t);
	report(&t);
	EXPECT_GE(REPORT_MAX, report(&t));
	memset(t.cpu, true, sizeof(t.cpu));
	receive_rounds(&t, 3);
}

TEST_LONG(log_flood,
	"under a flood of frames, with reports at the same time, what is "
	"copied is the memory whenever the function is quiet; doorbells by "
	"write")
{
	static struct tracked t;

	begin_log(&t, false);
	flood_rounds(&t, 10);
}

TEST_LONG(log_flood_mapped,
	"the same, doorbells by mmap")
{
	static struct tracked t;

	begin_log(&t, true);
	flood_rounds(&t, 10);
}

static atomic_bool log_thread_stop;

static void *log_thread(void *arg)
{
	struct tracked *t = arg;
	u64 bitmap[PAGES / 64];
	int ret;

	while (!atomic_load(&log_thread_stop)) {
		ret = log_report(&t->vf, DMA_IOVA, DMA_SIZE, bitmap);
		if (ret && ret != -EINVAL)
			EXPECT_EQ(0, ret);
	}
	return NULL;
}

/* Beside log_thread(): reports in between may come too late, or be the last. */
static void log_on_and_off(struct tracked *t)
{
	unsigned int n;

	log_start(t);
	for (n = 0; n < 20; n++)
		report(t);
	log_stop(t);
}

TEST_LONG(log_storm,
	"logs that begin and end, with reports by two threads, among senseless "
	"rings, resets, state changes and memory that comes and goes: "
	"afterwards the function works, and is logged")
{
	static struct tracked t;
	pthread_t thread;

	begin_log(&t, false);
	log_stop(&t);
	if (t.precopy)
		vf_map_rings(&t.vf);
	t.mapped = t.precopy;
	ASSERT_EQ(0, pthread_create(&thread, NULL, log_thread, &t));
	/* PRE_COPY between two logs takes the scope, which has pins. */
	storm(&t, !lockdep(), log_on_and_off);
	atomic_store(&log_thread_stop, true);
	ASSERT_EQ(0, pthread_join(thread, NULL));
	log_start(&t);
	memset(t.cpu, true, sizeof(t.cpu));
	receive_rounds(&t, 5);
}
