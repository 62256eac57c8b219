// SPDX-License-Identifier: GPL-2.0
/*
 * Where memory runs out: the first allocation of a call is made to fail, then
 * the second, and so on, until the call makes fewer. Whether something was
 * leaked is for the kernel to say (kmemleak).
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "arcs.h"
#include "failnth.h"
#include "harness.h"
#include "igbvf.h"
#include "state.h"
#include "vfio.h"

#define ENOUGH	2000	/* no call makes that many allocations */

#define TEST_SLOW(_name, _contract)	TH_TEST(_name, 600, false, _contract)

/*
 * A call under test. What @before opens, or @run, @after closes.
 */
struct trial {
	void (*before)(void);
	int (*run)(void);		/* 0 or -errno */
	void (*after)(int ret);
};

/* Each test has a process of its own. */
static struct iommu iommu;
static struct vf vf;
static int fd = -1;		/* a data fd */
static u32 from, to;		/* states */
static struct state reference, state;

static void open_vf(void)
{
	failnth_setup();
	vf_open(&vf, &iommu, vf_bdf[0]);
}

static unsigned int open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned int count = 0;

	ASSERT_TRUE(dir);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

static void close_stream(void)
{
	if (fd >= 0)
		close(fd);
	fd = -1;
}

/* How many times has the call failed? */
static unsigned int exhaust(const char *what, const struct trial *trial)
{
	unsigned int nth, fds, enomem = 0;
	bool missing = true;
	int ret;

	for (nth = 1; missing; nth++) {
		ASSERT_LE(nth, (unsigned int)ENOUGH);
		th_context("%s, allocation %u", what, nth);
		fds = open_fds();
		trial->before();
		failnth_arm(nth);
		ret = trial->run();
		missing = failnth_disarm();
		th_count(TH_NOMEM, missing);
		if (ret)
			EXPECT_EQ(-ENOMEM, ret);
		if (!missing)
			EXPECT_EQ(0, ret);
		enomem += !!ret;
		trial->after(ret);
		EXPECT_EQ(fds, open_fds());
	}
	th_log("%s: %u allocations, failed %u times", what, nth - 2, enomem);
	return enomem;
}

/* After all that the function can do everything. */
static void expect_working(void)
{
	struct nic nic;

	th_context("afterwards");
	ASSERT_EQ(0, vf_reset(&vf));
	EXPECT_STATE(VFIO_DEVICE_STATE_RUNNING, &vf);
	nic_start(&nic, &vf, 0);
	EXPECT_TRUE(nic_send(&nic, 1, 2));
	state_save(&vf, &state);
	EXPECT_TRUE(state_whole(&state));
	ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_RUNNING, NULL));
	EXPECT_TRUE(nic_send(&nic, 3, 2));
	ASSERT_EQ(0, state_load(&vf, &state));
	ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_RUNNING, NULL));
}

static void before_arc(void)
{
	arc_go(&vf, from);
}

static int run_arc(void)
{
	return vf_set_state(&vf, to, &fd);
}

static void after_arc(int ret)
{
	int now = vf_get_state(&vf);

	if (ret) {
		EXPECT_TRUE(now == (int)from || now == (int)to);
		EXPECT_TRUE(fd < 0);
	} else {
		EXPECT_EQ((int)to, now);
		EXPECT_EQ(arc_opens_stream(from, to), fd >= 0);
	}
	close_stream();
}

TEST_SLOW(nomem_arcs,
	"without memory SET_STATE gives ENOMEM, and the function stays as it "
	"was or is where it was to go")
{
	static const struct trial trial = { before_arc, run_arc, after_arc };
	unsigned int enomem = 0;
	char what[64];

	open_vf();
	for (from = 0; from < STATES; from++) {
		if (!vf_state_offered(&vf, from))
			continue;
		for (to = 0; to < STATES; to++) {
			if (from == to || arc_result(&vf, from, to))
				continue;
			snprintf(what, sizeof(what), "%s -> %s",
				 state_name(from), state_name(to));
			enomem += exhaust(what, &trial);
		}
	}
	EXPECT_LE(1u, enomem);
	expect_working();
}

static void before_read(void)
{
	arc_go(&vf, VFIO_DEVICE_STATE_STOP);
	fd = vf_open_stream(&vf, VFIO_DEVICE_STATE_STOP_COPY);
	state.len = 0;
}

static int run_read(void)
{
	ssize_t got = read(fd, state.buf, sizeof(state.buf));

	if (got < 0)
		return -errno;
	state.len = got;
	return 0;
}

static void after_read(int ret)
{
	static struct state rest;

	(void)ret;
	ASSERT_EQ(0, state_read(fd, &rest));
	ASSERT_LE(state.len + rest.len, sizeof(state.buf));
	memcpy(state.buf + state.len, rest.buf, rest.len);
	state.len += rest.len;
	EXPECT_TRUE(state_whole(&state));
	state_expect_same(&reference, &state);
	EXPECT_STATE(VFIO_DEVICE_STATE_STOP_COPY, &vf);
	close_stream();
}

TEST_SLOW(nomem_read,
	"a stream is read completely, whatever read() could not have")
{
	static const struct trial trial = { before_read, run_read, after_read };

	open_vf();
	state_save(&vf, &reference);
	memset(state.buf, 0, sizeof(state.buf));
	exhaust("read", &trial);
	expect_working();
}

static void before_load(void)
{
	arc_go(&vf, VFIO_DEVICE_STATE_RUNNING);
	fd = vf_open_stream(&vf, VFIO_DEVICE_STATE_RESUMING);
}

static int run_load(void)
{
	return state_write(fd, reference.buf, reference.len);
}

static void after_load(int ret)
{
	EXPECT_STATE(VFIO_DEVICE_STATE_RESUMING, &vf);
	close_stream();
	if (ret) {
		EXPECT_NE(0, vf_set_state(&vf, VFIO_DEVICE_STATE_RUNNING, NULL));
		EXPECT_STATE(VFIO_DEVICE_STATE_RESUMING, &vf);
		ASSERT_EQ(0, vf_reset(&vf));
		ASSERT_EQ(0, state_load(&vf, &reference));
	}
	state_save(&vf, &state);
	state_expect_same(&reference, &state);
}

TEST_SLOW(nomem_load,
	"without memory write() refuses the stream, and after a reset takes "
	"it; what it takes is loaded")
{
	static const struct trial trial = { before_load, run_load, after_load };
	struct nic nic;

	open_vf();
	nic_start(&nic, &vf, 0);
	state_save(&vf, &reference);
	EXPECT_LE(1u, exhaust("write", &trial));
	expect_working();
}

static int run_reset(void)
{
	return vf_reset(&vf);
}

static void after_reset(int ret)
{
	int now = vf_get_state(&vf);

	if (ret)
		EXPECT_TRUE(now == (int)from ||
			    now == VFIO_DEVICE_STATE_RUNNING);
	else
		EXPECT_EQ(VFIO_DEVICE_STATE_RUNNING, now);
}

TEST_SLOW(nomem_reset,
	"without memory VFIO_DEVICE_RESET leads to RUNNING, or gives ENOMEM "
	"and changes nothing")
{
	static const struct trial trial = { before_arc, run_reset, after_reset };

	open_vf();
	for (from = 0; from < STATES; from++)
		if (vf_state_offered(&vf, from))
			exhaust(state_name(from), &trial);
	expect_working();
}

static void before_open(void)
{
}

static int run_open(void)
{
	vf.fd = ioctl(vf.group, VFIO_GROUP_GET_DEVICE_FD, vf.bdf);
	return vf.fd < 0 ? -errno : 0;
}

static void after_open(int ret)
{
	/* What has failed can be had at once. */
	if (ret)
		ASSERT_EQ(0, run_open());
	EXPECT_STATE(VFIO_DEVICE_STATE_RUNNING, &vf);
	vf_close_device(&vf);
}

TEST_SLOW(nomem_open,
	"without memory a device fd cannot be had (ENOMEM), and with memory "
	"it can")
{
	static const struct trial trial = { before_open, run_open, after_open };

	open_vf();
	vf_close_device(&vf);
	EXPECT_LE(1u, exhaust("open", &trial));
	vf_reopen(&vf);
	expect_working();
}

static void before_close(void)
{
	vf_reopen(&vf);
	arc_go(&vf, from);
	vf_map_rings(&vf);
	vf_mread(&vf, RDLEN(0));
	vf_unmap_rings(&vf);
}

static int run_close(void)
{
	return close(vf.fd) ? -errno : 0;
}

static void after_close(int ret)
{
	(void)ret;
	vf.fd = -1;
}

TEST_SLOW(nomem_close,
	"closing the device fd needs no memory")
{
	static const struct trial trial = { before_close, run_close, after_close };

	open_vf();
	for (from = 0; from < STATES; from++) {
		if (!vf_state_offered(&vf, from))
			continue;
		vf_close_device(&vf);
		exhaust(state_name(from), &trial);
		vf_reopen(&vf);
		EXPECT_STATE(VFIO_DEVICE_STATE_RUNNING, &vf);
	}
	expect_working();
}

static void *map;

static void before_map(void)
{
	arc_go(&vf, from);
	map = MAP_FAILED;
}

/* A page fault that finds no memory is tried again. */
static int run_map(void)
{
	map = mmap(NULL, vf.rings_size, PROT_READ | PROT_WRITE, MAP_SHARED,
		   vf.fd, vf.bar + vf.rings_at);
	if (map == MAP_FAILED)
		return -errno;
	*(volatile u32 *)((u8 *)map + RDBAL(1) - vf.rings_at) = 0x12345680;
	return 0;
}

static void after_map(int ret)
{
	EXPECT_STATE(from, &vf);
	if (ret)
		return;
	EXPECT_EQ(0x12345680u, vf_read(&vf, RDBAL(1)));
	vf_write(&vf, RDBAL(1), 0);
	munmap(map, vf.rings_size);
}

TEST_SLOW(nomem_map,
	"without memory mmap() gives ENOMEM; what is mapped can be used, in "
	"RUNNING and in STOP")
{
	static const struct trial trial = { before_map, run_map, after_map };
	static const u32 states[] = {
		VFIO_DEVICE_STATE_RUNNING, VFIO_DEVICE_STATE_STOP,
	};
	unsigned int n, enomem = 0;

	open_vf();
	vf_map_rings(&vf);
	vf_unmap_rings(&vf);
	for (n = 0; n < ARRAY_SIZE(states); n++) {
		from = states[n];
		enomem += exhaust(state_name(from), &trial);
	}
	EXPECT_LE(1u, enomem);
	expect_working();
}

static u32 region;

/* All that there is to know about a region, with its capabilities. */
static int run_info(void)
{
	static u64 buf[64];
	struct vfio_region_info *info = (void *)buf;

	info->argsz = sizeof(buf);
	info->index = region;
	return ioctl(vf.fd, VFIO_DEVICE_GET_REGION_INFO, info) ? -errno : 0;
}

static void after_info(int ret)
{
	if (ret)
		EXPECT_EQ(0, run_info());
}

TEST_SLOW(nomem_info,
	"without memory GET_REGION_INFO gives ENOMEM, for each region")
{
	static const struct trial trial = { before_open, run_info, after_info };
	struct vfio_device_info info = { .argsz = sizeof(info) };
	unsigned int enomem = 0;
	char what[32];

	open_vf();
	ASSERT_EQ(0, ioctl(vf.fd, VFIO_DEVICE_GET_INFO, &info));
	for (region = 0; region < info.num_regions; region++) {
		/* Such as VGA, of a device that has none. */
		if (run_info())
			continue;
		snprintf(what, sizeof(what), "region %u", region);
		enomem += exhaust(what, &trial);
	}
	EXPECT_LE(1u, enomem);
	expect_working();
}

static char driver[64];

static int run_bind(void)
{
	return bdf_bind(vf_bdf[0], driver);
}

static void after_bind(int ret)
{
	char now[64];

	bdf_driver(vf_bdf[0], now, sizeof(now));
	EXPECT_EQ(ret ? -1 : 0, strcmp(now, driver) ? -1 : 0);
	if (!ret)
		ASSERT_EQ(0, bdf_unbind(vf_bdf[0]));
}

static void before_unbind(void)
{
	ASSERT_EQ(0, run_bind());
}

static int run_unbind(void)
{
	return bdf_unbind(vf_bdf[0]);
}

static void after_unbind(int ret)
{
	if (ret)
		ASSERT_EQ(0, run_unbind());
}

TEST_SLOW(nomem_bind,
	"without memory the driver does not take the device (ENOMEM) and "
	"leaves it alone; it lets it go in any case")
{
	static const struct trial bind = { before_open, run_bind, after_bind };
	static const struct trial unbind = {
		before_unbind, run_unbind, after_unbind
	};

	failnth_setup();
	/* Its way out warns and forgets a reference, up to Linux 7.2 at least. */
	failnth_spare("vfio_create_group");
	bdf_driver(vf_bdf[0], driver, sizeof(driver));
	ASSERT_NE(0, strcmp(driver, ""));
	ASSERT_EQ(0, bdf_unbind(vf_bdf[0]));
	EXPECT_LE(1u, exhaust("bind", &bind));
	exhaust("unbind", &unbind);
	ASSERT_EQ(0, run_bind());
	vf_open(&vf, &iommu, vf_bdf[0]);
	expect_working();
}
