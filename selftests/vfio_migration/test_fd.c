// SPDX-License-Identifier: GPL-2.0
/* The data fd: reading, writing, and what is left of it afterwards. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "harness.h"
#include "state.h"
#include "vfio.h"

/* Both kinds of data fd. */
static const u32 kinds[] = {
	VFIO_DEVICE_STATE_STOP_COPY, VFIO_DEVICE_STATE_RESUMING,
};

/* And the one that is there before the device stops, where the kernel has it. */
static const u32 all_kinds[] = {
	VFIO_DEVICE_STATE_STOP_COPY, VFIO_DEVICE_STATE_RESUMING,
	VFIO_DEVICE_STATE_PRE_COPY,
};

static bool saves(u32 kind)
{
	return kind != VFIO_DEVICE_STATE_RESUMING;
}

static short poll_now(int fd)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN | POLLOUT };

	ASSERT_LE(0, poll(&poll_fd, 1, 0));
	return poll_fd.revents;
}

static void expect_dead(int fd, u32 kind)
{
	struct vfio_precopy_info info = { .argsz = sizeof(info) };
	u8 buf[64] = {};
	int i;

	for (i = 0; i < 2; i++) {
		errno = 0;
		if (saves(kind))
			EXPECT_EQ((ssize_t)-1, read(fd, buf, sizeof(buf)));
		else
			EXPECT_EQ((ssize_t)-1, write(fd, buf, sizeof(buf)));
		EXPECT_EQ(ENODEV, errno);
	}
	if (!vf_has_core())
		return;
	EXPECT_TRUE(poll_now(fd) & POLLHUP);
	errno = 0;
	EXPECT_EQ(-1, ioctl(fd, VFIO_MIG_GET_PRECOPY_INFO, &info));
	EXPECT_EQ(saves(kind) ? ENODEV : ENOTTY, errno);
}

TEST(read_pieces,
	"a stream read byte by byte is the stream read at once; its end reads "
	"as 0, again and again")
{
	static struct state whole, pieces;
	struct iommu iommu = {};
	struct vf vf;
	ssize_t got;
	int fd;

	vf_open(&vf, &iommu, vf_bdf[0]);
	state_save(&vf, &whole);
	ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_STOP, NULL));
	fd = vf_open_stream(&vf, VFIO_DEVICE_STATE_STOP_COPY);
	EXPECT_EQ((ssize_t)0, read(fd, pieces.buf, 0));
	do {
		got = read(fd, pieces.buf + pieces.len, 1);
		ASSERT_LE((ssize_t)0, got);
		pieces.len += got;
		ASSERT_LE(pieces.len, whole.len);
	} while (got);
	EXPECT_EQ(whole.len, pieces.len);
	state_expect_same(&whole, &pieces);
	for (got = 0; got < 3; got++)
		EXPECT_EQ((ssize_t)0, read(fd, pieces.buf, 16));
}

TEST(wrong_direction,
	"a save fd cannot be written, a resume fd cannot be read, and neither "
	"can be positioned")
{
	struct iommu iommu = {};
	struct vf vf;
	unsigned int n;
	u8 byte = 0;
	int fd;

	vf_open(&vf, &iommu, vf_bdf[0]);
	for (n = 0; n < ARRAY_SIZE(kinds); n++) {
		th_context("%s", state_name(kinds[n]));
		fd = vf_open_stream(&vf, kinds[n]);
		errno = 0;
		if (saves(kinds[n]))
			EXPECT_EQ((ssize_t)-1, write(fd, &byte, 1));
		else
			EXPECT_EQ((ssize_t)-1, read(fd, &byte, 1));
		EXPECT_EQ(EBADF, errno);
		errno = 0;
		if (saves(kinds[n]))
			EXPECT_EQ((ssize_t)-1, pread(fd, &byte, 1, 1));
		else
			EXPECT_EQ((ssize_t)-1, pwrite(fd, &byte, 1, 1));
		EXPECT_EQ(ESPIPE, errno);
		EXPECT_EQ((off_t)-1, lseek(fd, 0, SEEK_SET));
		EXPECT_EQ(ESPIPE, errno);
		EXPECT_STATE(kinds[n], &vf);
		close(fd);
	}
}

TEST(poll_fd,
	"poll says readable or writable while the stream is open, hang-up "
	"once it is over, and wakes who waits for that")
{
	struct iommu iommu = {};
	struct vf vf;
	int fd;

	vf_need_core();
	vf_open(&vf, &iommu, vf_bdf[0]);
	th_context("STOP_COPY");
	fd = vf_open_stream(&vf, VFIO_DEVICE_STATE_STOP_COPY);
	EXPECT_EQ((short)POLLIN, poll_now(fd));
	ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_STOP, NULL));
	EXPECT_TRUE(poll_now(fd) & POLLHUP);
	close(fd);

	th_context("RESUMING");
	fd = vf_open_stream(&vf, VFIO_DEVICE_STATE_RESUMING);
	EXPECT_EQ((short)POLLOUT, poll_now(fd));
	ASSERT_EQ(0, vf_reset(&vf));
	EXPECT_TRUE(poll_now(fd) & POLLHUP);
	close(fd);
}

static void *wait_hangup(void *arg)
{
	struct pollfd poll_fd = { .fd = *(int *)arg, .events = 0 };

	return poll(&poll_fd, 1, 5000) == 1 ? arg : NULL;
}

TEST(poll_wakes,
	"a thread that waits in poll for the end of a stream is woken by the "
	"reset that ends it")
{
	struct iommu iommu = {};
	struct vf vf;
	pthread_t thread;
	void *woken;
	u64 began;
	int fd;

	vf_need_core();
	vf_open(&vf, &iommu, vf_bdf[0]);
	fd = vf_open_stream(&vf, VFIO_DEVICE_STATE_STOP_COPY);
	ASSERT_EQ(0, pthread_create(&thread, NULL, wait_hangup, &fd));
	sleep_ms(50);
	began = time_ms();
	ASSERT_EQ(0, vf_reset(&vf));
	ASSERT_EQ(0, pthread_join(thread, &woken));
	EXPECT_TRUE(woken);
	EXPECT_LE(time_ms() - began, (u64)2000);
}

TEST(closed_fd,
	"closing the data fd changes no state: STOP_COPY stays, what was "
	"loaded is kept, what is incomplete stays incomplete")
{
	static struct state state;
	struct iommu iommu = {};
	struct vf vf;
	int fd;

	vf_open(&vf, &iommu, vf_bdf[0]);
	close(vf_open_stream(&vf, VFIO_DEVICE_STATE_STOP_COPY));
	EXPECT_STATE(VFIO_DEVICE_STATE_STOP_COPY, &vf);
	EXPECT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_RUNNING, NULL));
	state_save(&vf, &state);

	th_context("complete");
	ASSERT_EQ(0, state_load(&vf, &state));
	EXPECT_STATE(VFIO_DEVICE_STATE_RESUMING, &vf);
	EXPECT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_RUNNING, NULL));

	th_context("incomplete");
	fd = vf_open_stream(&vf, VFIO_DEVICE_STATE_RESUMING);
	ASSERT_EQ(0, state_write(fd, state.buf, state.len - 1));
	close(fd);
	EXPECT_STATE(VFIO_DEVICE_STATE_RESUMING, &vf);
	state_expect_missing(vf_set_state(&vf, VFIO_DEVICE_STATE_RUNNING, NULL));
	EXPECT_STATE(VFIO_DEVICE_STATE_RESUMING, &vf);
}

TEST(fd_after_leave,
	"once its state has been left, a data fd gives ENODEV, and hang-up with "
	"vfio_pci_migration")
{
	static struct state state;
	struct iommu iommu = {};
	struct vf vf;
	int fd;

	vf_open(&vf, &iommu, vf_bdf[0]);
	state_save(&vf, &state);
	ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_STOP, NULL));

	fd = vf_open_stream(&vf, VFIO_DEVICE_STATE_STOP_COPY);
	ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_RUNNING, NULL));
	expect_dead(fd, VFIO_DEVICE_STATE_STOP_COPY);
	close(fd);

	fd = vf_open_stream(&vf, VFIO_DEVICE_STATE_RESUMING);
	ASSERT_EQ(0, state_write(fd, state.buf, state.len));
	ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_RUNNING, NULL));
	expect_dead(fd, VFIO_DEVICE_STATE_RESUMING);
	close(fd);
}

/* A data fd that something else than its state ends. */
static void outlive(void (*end)(struct vf *vf))
{
	struct iommu iommu = {};
	struct vf vf;
	unsigned int n;
	int fd;

	vf_open(&vf, &iommu, vf_bdf[0]);
	for (n = 0; n < ARRAY_SIZE(all_kinds); n++) {
		if (!vf_state_offered(&vf, all_kinds[n]))
			continue;
		th_context("%s", state_name(all_kinds[n]));
		fd = vf_open_stream(&vf, all_kinds[n]);
		end(&vf);
		expect_dead(fd, all_kinds[n]);
		/* A new life does not wake the old fd. */
		ASSERT_STATE(VFIO_DEVICE_STATE_RUNNING, &vf);
		close(vf_open_stream(&vf, all_kinds[n]));
		expect_dead(fd, all_kinds[n]);
		ASSERT_EQ(0, vf_reset(&vf));
		close(fd);
	}
}

TEST(fd_after_reset,
	"after VFIO_DEVICE_RESET a data fd gives ENODEV, also when a new "
	"stream is open")
{
	outlive(vf_must_reset);
}

TEST(fd_after_close,
	"after its device fd was closed a data fd gives ENODEV, also when the "
	"device is opened again")
{
	outlive(vf_reopen);
}

TEST(fd_after_unbind,
	"after the driver was unbound, and bound again, a data fd gives "
	"ENODEV and can be closed")
{
	char driver[64];
	unsigned int n;

	vf_need_pci();
	bdf_driver(vf_bdf[0], driver, sizeof(driver));
	for (n = 0; n < ARRAY_SIZE(all_kinds); n++) {
		struct iommu iommu = {};
		struct vf vf;
		int fd;

		th_context("%s", state_name(all_kinds[n]));
		vf_open(&vf, &iommu, vf_bdf[0]);
		if (!vf_state_offered(&vf, all_kinds[n])) {
			vf_close(&vf);
			close(iommu.fd);
			continue;
		}
		fd = vf_open_stream(&vf, all_kinds[n]);
		vf_close(&vf);
		close(iommu.fd);
		ASSERT_EQ(0, bdf_unbind(vf_bdf[0]));
		expect_dead(fd, all_kinds[n]);
		EXPECT_EQ(0, bdf_bind(vf_bdf[0], driver));
		expect_dead(fd, all_kinds[n]);

		iommu = (struct iommu){};
		vf_open(&vf, &iommu, vf_bdf[0]);
		EXPECT_STATE(VFIO_DEVICE_STATE_RUNNING, &vf);
		expect_dead(fd, all_kinds[n]);
		close(fd);
		vf_close(&vf);
		close(iommu.fd);
	}
}

/* Somebody who opens the function whenever that is possible. */
static atomic_bool impatient_stop;

static void *impatient_thread(void *arg)
{
	unsigned int *opened = arg;
	struct iommu iommu = {};
	struct vf vf;
	int fd;

	while (!atomic_load(&impatient_stop)) {
		if (!vf_try_open(&vf, &iommu, vf_bdf[0])) {
			sched_yield();
			continue;
		}
		EXPECT_STATE(VFIO_DEVICE_STATE_RUNNING, &vf);
		EXPECT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_STOP_COPY,
					  &fd));
		close(fd);
		vf_close(&vf);
		close(iommu.fd);
		++*opened;
	}
	return NULL;
}

TEST(bind_opened,
	"a function that is opened at the very moment that its driver has it, "
	"again and again, while it is unbound and bound, is RUNNING and can be "
	"saved each time")
{
	unsigned int round, opened = 0;
	pthread_t thread;
	char driver[64];

	vf_need_pci();
	bdf_driver(vf_bdf[0], driver, sizeof(driver));
	ASSERT_EQ(0, pthread_create(&thread, NULL, impatient_thread, &opened));
	for (round = 0; round < 8; round++) {
		ASSERT_EQ(0, bdf_unbind(vf_bdf[0]));
		ASSERT_EQ(0, bdf_bind(vf_bdf[0], driver));
		sleep_ms(round % 2 ? 30 : 0);
	}
	atomic_store(&impatient_stop, true);
	ASSERT_EQ(0, pthread_join(thread, NULL));
	th_log("opened %u times", opened);
	EXPECT_NE(0u, opened);
}

TEST(unbind_open,
	"while an unbind waits for the user, states can be changed, what "
	"needs a reset fails without hanging, and closing lets the unbind go "
	"on")
{
	static struct state state;
	struct iommu iommu = {};
	struct vf vf;
	int fd, ret;
	pid_t pid;

	vf_open(&vf, &iommu, vf_bdf[0]);
	pid = unbind_begin(&vf);

	state_save(&vf, &state);
	ret = vf_set_state(&vf, VFIO_DEVICE_STATE_RESUMING, &fd);
	th_log("RESUMING during unbind: %d, state then %s", ret,
	       state_name(vf_get_state(&vf)));
	if (ret)
		EXPECT_NE((int)VFIO_DEVICE_STATE_RESUMING, vf_get_state(&vf));
	else
		close(fd);
	ret = vf_reset(&vf);
	th_log("reset during unbind: %d", ret);
	if (vf_get_state(&vf) != VFIO_DEVICE_STATE_RESUMING)
		EXPECT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_STOP_COPY, &fd));
	vf_close(&vf);
	unbind_end(pid);
	if (fd >= 0)
		expect_dead(fd, VFIO_DEVICE_STATE_STOP_COPY);
}
