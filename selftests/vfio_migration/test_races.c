// SPDX-License-Identifier: GPL-2.0
/* Many at once, users that stall, and failures on the way back to the user. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/pci_regs.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "harness.h"
#include "igbvf.h"
#include "stall.h"
#include "state.h"
#include "vfio.h"

/* What must not have to wait for a stalled user. */
static void expect_responsive(struct vf *vf, u32 state)
{
	u64 began = time_ms();

	EXPECT_STATE(state, vf);
	EXPECT_EQ((u16)0x8086, vf_config_read(vf, PCI_VENDOR_ID));
	vf_read(vf, STATUS);
	EXPECT_LE(time_ms() - began, (u64)500);
}

TEST_ALONE(stalled_readers,
	"two readers, one stalled in its buffer: nothing else has to wait for "
	"it, each byte is read once, a reset ends both")
{
	static struct state whole;
	static u8 page[PAGE], rest[STATE_MAX], other[STATE_MAX];
	struct iommu iommu = {};
	struct transfer one, two;
	struct stall stall;
	struct vf vf;
	ssize_t got;
	u64 began;
	int fd;

	vf_need_core();
	vf_open(&vf, &iommu, vf_bdf[0]);
	state_save(&vf, &whole);
	ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_STOP, NULL));

	th_context("to the end");
	fd = vf_open_stream(&vf, VFIO_DEVICE_STATE_STOP_COPY);
	stall_begin(&stall);
	one = (struct transfer){ .fd = fd, .buf = stall.page, .len = 200 };
	two = (struct transfer){ .fd = fd, .buf = other, .len = 300 };
	transfer_start(&one);
	stall_wait(&stall);
	transfer_start(&two);
	sleep_ms(20);
	expect_responsive(&vf, VFIO_DEVICE_STATE_STOP_COPY);
	EXPECT_EQ(false, atomic_load(&one.done));
	stall_end(&stall, page);
	EXPECT_EQ((ssize_t)200, transfer_end(&one));
	EXPECT_EQ((ssize_t)300, transfer_end(&two));
	got = read(fd, rest, sizeof(rest));
	EXPECT_EQ((ssize_t)whole.len - 500, got);
	/* Sequence numbers differ in the HEADER, payloads do not. */
	EXPECT_EQ(0, memcmp(stall.page + 24, whole.buf + 24, 32));
	EXPECT_EQ(0, memcmp(stall.page + 80, whole.buf + 80, 48));
	stall_close(&stall);
	close(fd);
	ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_STOP, NULL));

	th_context("reset");
	fd = vf_open_stream(&vf, VFIO_DEVICE_STATE_STOP_COPY);
	stall_begin(&stall);
	one = (struct transfer){ .fd = fd, .buf = stall.page, .len = PAGE };
	two = (struct transfer){ .fd = fd, .buf = other, .len = PAGE };
	transfer_start(&one);
	stall_wait(&stall);
	transfer_start(&two);
	sleep_ms(20);
	began = time_ms();
	EXPECT_EQ(0, vf_reset(&vf));
	EXPECT_LE(time_ms() - began, (u64)3000);
	expect_responsive(&vf, VFIO_DEVICE_STATE_RUNNING);
	stall_end(&stall, page);
	got = transfer_end(&one);
	EXPECT_TRUE(got == -ENODEV || got > 0);
	EXPECT_EQ((ssize_t)-ENODEV, transfer_end(&two));
	stall_close(&stall);
	close(fd);
}

TEST(stalled_precopy,
	"a reader that stalls in PRE_COPY while the device is stopped leaves "
	"no hole in the stream, or is told so")
{
	static struct state state;
	static u8 page[PAGE];
	struct iommu iommu = {};
	struct transfer one;
	struct stall stall;
	struct vf vf;
	ssize_t got;
	int fd;

	vf_need_core();
	vf_open(&vf, &iommu, vf_bdf[0]);
	if (!vf_state_offered(&vf, VFIO_DEVICE_STATE_PRE_COPY))
		th_skip("PRE_COPY is not offered");
	fd = vf_open_stream(&vf, VFIO_DEVICE_STATE_PRE_COPY);
	stall_begin(&stall);
	one = (struct transfer){ .fd = fd, .buf = stall.page, .len = 70 };
	transfer_start(&one);
	stall_wait(&stall);
	EXPECT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_STOP_COPY, NULL));
	stall_end(&stall, page);
	got = transfer_end(&one);
	th_log("read returns %zd", got);
	EXPECT_TRUE(got == 70 || got == -EIO);
	if (got == 70) {
		memcpy(state.buf, stall.page, got);
		state.len = got;
		do {
			got = read(fd, state.buf + state.len,
				   sizeof(state.buf) - state.len);
			ASSERT_LE((ssize_t)0, got);
			state.len += got;
		} while (got);
		EXPECT_TRUE(state_whole(&state));
	}
	stall_close(&stall);
	close(fd);
}

TEST_ALONE(stalled_writers,
	"two writers, one stalled in its buffer: nothing else has to wait for "
	"it, their bytes come one after the other, a reset ends both")
{
	static struct state whole;
	static u8 page[PAGE];
	struct iommu iommu = {};
	struct transfer one, two;
	struct stall stall;
	struct vf vf;
	u64 began;
	int fd;

	vf_need_core();
	vf_open(&vf, &iommu, vf_bdf[0]);
	state_save(&vf, &whole);
	memcpy(page, whole.buf, 700);

	th_context("to the end");
	fd = vf_open_stream(&vf, VFIO_DEVICE_STATE_RESUMING);
	stall_begin(&stall);
	one = (struct transfer){ .fd = fd, .write = true, .buf = stall.page,
				 .len = 700 };
	two = (struct transfer){ .fd = fd, .write = true,
				 .buf = whole.buf + 700, .len = whole.len - 700 };
	transfer_start(&one);
	stall_wait(&stall);
	transfer_start(&two);
	sleep_ms(20);
	expect_responsive(&vf, VFIO_DEVICE_STATE_RESUMING);
	EXPECT_EQ(-ENODATA, vf_set_state(&vf, VFIO_DEVICE_STATE_STOP, NULL));
	stall_end(&stall, page);
	EXPECT_EQ((ssize_t)700, transfer_end(&one));
	EXPECT_EQ((ssize_t)(whole.len - 700), transfer_end(&two));
	EXPECT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_RUNNING, NULL));
	stall_close(&stall);
	close(fd);

	th_context("reset");
	fd = vf_open_stream(&vf, VFIO_DEVICE_STATE_RESUMING);
	stall_begin(&stall);
	one.fd = fd;
	one.buf = stall.page;
	two.fd = fd;
	transfer_start(&one);
	stall_wait(&stall);
	transfer_start(&two);
	sleep_ms(20);
	began = time_ms();
	EXPECT_EQ(0, vf_reset(&vf));
	EXPECT_LE(time_ms() - began, (u64)3000);
	expect_responsive(&vf, VFIO_DEVICE_STATE_RUNNING);
	stall_end(&stall, page);
	EXPECT_EQ((ssize_t)-ENODEV, transfer_end(&one));
	EXPECT_EQ((ssize_t)-ENODEV, transfer_end(&two));
	stall_close(&stall);
	close(fd);
}

TEST_ALONE(stalled_overrun,
	"two writers that both bring the rest of the stream, from the middle of "
	"its longest record on, one stalled in its buffer: there is room for "
	"one, the other is refused")
{
	static struct state whole;
	struct record record[RECORDS_MAX];
	struct transfer one, two;
	struct iommu iommu = {};
	unsigned int n, count, longest = 0;
	static u8 page[PAGE];
	struct stall stall;
	size_t at, rest;
	struct vf vf;
	ssize_t got;
	int fd;

	vf_need_core();
	vf_open(&vf, &iommu, vf_bdf[0]);
	state_save(&vf, &whole);
	count = state_records(&whole, record);
	for (n = 1; n < count; n++)
		if (record[n].size > record[longest].size)
			longest = n;
	at = record[longest].at + record[longest].size / 2;
	rest = whole.len - at;
	ASSERT_LE(rest, (size_t)PAGE);
	memcpy(page, whole.buf + at, rest);

	fd = vf_open_stream(&vf, VFIO_DEVICE_STATE_RESUMING);
	ASSERT_EQ(0, state_write(fd, whole.buf, at));
	stall_begin(&stall);
	one = (struct transfer){ .fd = fd, .write = true, .buf = stall.page,
				 .len = rest };
	two = (struct transfer){ .fd = fd, .write = true,
				 .buf = whole.buf + at, .len = rest };
	transfer_start(&one);
	stall_wait(&stall);
	transfer_start(&two);
	sleep_ms(20);
	EXPECT_EQ(false, atomic_load(&two.done));
	stall_end(&stall, page);
	EXPECT_EQ((ssize_t)rest, transfer_end(&one));
	got = transfer_end(&two);
	EXPECT_TRUE(got == -EINVAL || got == -EBADMSG);
	EXPECT_EQ((int)got, vf_set_state(&vf, VFIO_DEVICE_STATE_STOP, NULL));
	ASSERT_EQ(0, vf_reset(&vf));
	stall_close(&stall);
	close(fd);
}

static void on_signal(int signal)
{
	(void)signal;
}

static void catch_signal(int flags)
{
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = flags };

	ASSERT_EQ(0, sigaction(SIGUSR1, &action, NULL));
}

TEST(signal_waiting,
	"a signal ends the wait of a second reader or writer with EINTR, and "
	"takes no bytes with it")
{
	static struct state whole;
	static u8 page[PAGE], other[STATE_MAX];
	struct iommu iommu = {};
	struct transfer one, two;
	struct stall stall;
	struct vf vf;
	int fd;

	vf_need_core();
	catch_signal(0);
	vf_open(&vf, &iommu, vf_bdf[0]);
	state_save(&vf, &whole);
	ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_STOP, NULL));

	th_context("read");
	fd = vf_open_stream(&vf, VFIO_DEVICE_STATE_STOP_COPY);
	stall_begin(&stall);
	one = (struct transfer){ .fd = fd, .buf = stall.page, .len = 64 };
	two = (struct transfer){ .fd = fd, .buf = other, .len = 64 };
	transfer_start(&one);
	stall_wait(&stall);
	transfer_start(&two);
	sleep_ms(20);
	ASSERT_EQ(0, pthread_kill(two.thread, SIGUSR1));
	EXPECT_EQ((ssize_t)-EINTR, transfer_end(&two));
	stall_end(&stall, page);
	EXPECT_EQ((ssize_t)64, transfer_end(&one));
	EXPECT_EQ((ssize_t)whole.len - 64, read(fd, other, sizeof(other)));
	stall_close(&stall);
	close(fd);

	th_context("write");
	memcpy(page, whole.buf, 64);
	fd = vf_open_stream(&vf, VFIO_DEVICE_STATE_RESUMING);
	stall_begin(&stall);
	one = (struct transfer){ .fd = fd, .write = true, .buf = stall.page,
				 .len = 64 };
	two = (struct transfer){ .fd = fd, .write = true, .buf = other,
				 .len = 64 };
	transfer_start(&one);
	stall_wait(&stall);
	transfer_start(&two);
	sleep_ms(20);
	ASSERT_EQ(0, pthread_kill(two.thread, SIGUSR1));
	EXPECT_EQ((ssize_t)-EINTR, transfer_end(&two));
	stall_end(&stall, page);
	EXPECT_EQ((ssize_t)64, transfer_end(&one));
	EXPECT_EQ(0, state_write(fd, whole.buf + 64, whole.len - 64));
	EXPECT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_RUNNING, NULL));
	stall_close(&stall);
	close(fd);
}

struct signaller {
	pthread_t target;
	atomic_bool stop;
};

static void *signal_thread(void *arg)
{
	struct signaller *signaller = arg;

	while (!atomic_load(&signaller->stop)) {
		pthread_kill(signaller->target, SIGUSR1);
		usleep(200);
	}
	return NULL;
}

TEST(signal_storm,
	"reads and writes under a rain of signals lose and repeat nothing")
{
	static struct state whole, pieces;
	struct signaller signaller = { .target = pthread_self() };
	struct iommu iommu = {};
	unsigned int round;
	pthread_t thread;
	struct vf vf;
	ssize_t ret;
	size_t at;
	int fd;

	catch_signal(0);
	vf_open(&vf, &iommu, vf_bdf[0]);
	state_save(&vf, &whole);
	ASSERT_EQ(0, pthread_create(&thread, NULL, signal_thread, &signaller));
	for (round = 0; round < 10; round++) {
		ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_STOP, NULL));
		fd = vf_open_stream(&vf, VFIO_DEVICE_STATE_STOP_COPY);
		pieces.len = 0;
		for (;;) {
			ret = read(fd, pieces.buf + pieces.len, 1 + round * 3);
			if (ret < 0 && errno == EINTR)
				continue;
			if (ret <= 0)
				break;
			pieces.len += ret;
		}
		EXPECT_EQ((ssize_t)0, ret);
		close(fd);
		state_expect_same(&whole, &pieces);
	}
	fd = vf_open_stream(&vf, VFIO_DEVICE_STATE_RESUMING);
	for (at = 0; at < whole.len; at += ret) {
		ret = write(fd, whole.buf + at, at + 3 < whole.len ? 3 : 1);
		if (ret < 0 && errno == EINTR)
			ret = 0;
		ASSERT_LE((ssize_t)0, ret);
	}
	atomic_store(&signaller.stop, true);
	ASSERT_EQ(0, pthread_join(thread, NULL));
	EXPECT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_RUNNING, NULL));
	close(fd);
}

/* SET_STATE that succeeds in the driver and cannot be told to the user. */
static void lost_answer(struct vf *vf, u32 state, int want,
			int (*set)(struct vf *vf, u32 state))
{
	static struct state saved;
	int now;

	ASSERT_EQ(0, vf_set_state(vf, VFIO_DEVICE_STATE_RUNNING, NULL));
	th_context("%s", state_name(state));
	EXPECT_EQ(want, set(vf, state));
	now = vf_get_state(vf);
	th_log("%s: %s afterwards", state_name(state), state_name(now));
	EXPECT_TRUE(now == (int)state || now == VFIO_DEVICE_STATE_RUNNING ||
		    now == VFIO_DEVICE_STATE_STOP);
	/* RESUMING without its fd is a truncated stream. */
	if (now == VFIO_DEVICE_STATE_RESUMING) {
		state_expect_missing(vf_set_state(vf, VFIO_DEVICE_STATE_STOP,
						  NULL));
		ASSERT_EQ(0, vf_reset(vf));
	} else {
		EXPECT_EQ(0, vf_set_state(vf, VFIO_DEVICE_STATE_STOP, NULL));
	}
	state_save(vf, &saved);
	ASSERT_EQ(0, vf_set_state(vf, VFIO_DEVICE_STATE_RUNNING, NULL));
}

static int set_with_bad_address(struct vf *vf, u32 state)
{
	struct {
		struct vfio_device_feature feature;
		struct vfio_device_feature_mig_state mig;
	} *arg = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int ret;

	ASSERT_NE(MAP_FAILED, (void *)arg);
	arg->feature.argsz = sizeof(*arg);
	arg->feature.flags = VFIO_DEVICE_FEATURE_SET |
			     VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE;
	arg->mig.device_state = state;
	/* It can be read, but the answer cannot be written. */
	ASSERT_EQ(0, mprotect(arg, PAGE, PROT_READ));
	ret = ioctl(vf->fd, VFIO_DEVICE_FEATURE, arg) ? -errno : 0;
	munmap(arg, PAGE);
	return ret;
}

static int set_without_fds(struct vf *vf, u32 state)
{
	struct rlimit old, none;
	int ret, fd;

	ASSERT_EQ(0, getrlimit(RLIMIT_NOFILE, &old));
	fd = dup(0);
	ASSERT_LE(0, fd);
	close(fd);
	none = old;
	none.rlim_cur = fd;
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &none));
	ret = vf_set_state(vf, state, NULL);
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &old));
	return ret;
}

TEST(set_state_efault,
	"a SET_STATE whose answer cannot be written fails with EFAULT and "
	"leaves a state that can be left")
{
	struct iommu iommu = {};
	struct vf vf;
	u32 state;

	vf_open(&vf, &iommu, vf_bdf[0]);
	for (state = 0; state < STATES; state++)
		if (vf_state_offered(&vf, state))
			lost_answer(&vf, state, -EFAULT, set_with_bad_address);
}

TEST(set_state_emfile,
	"a SET_STATE that finds no free file descriptor fails with EMFILE and "
	"leaves a state that can be left")
{
	struct iommu iommu = {};
	struct vf vf;
	u32 state;

	vf_open(&vf, &iommu, vf_bdf[0]);
	for (state = 0; state < STATES; state++)
		if (vf_state_offered(&vf, state) &&
		    state != VFIO_DEVICE_STATE_RUNNING &&
		    state != VFIO_DEVICE_STATE_RUNNING_P2P &&
		    state != VFIO_DEVICE_STATE_STOP)
			lost_answer(&vf, state, -EMFILE, set_without_fds);
}

TEST(bad_buffers,
	"EFAULT in read or write takes no bytes: the stream goes on where it "
	"was")
{
	static struct state whole, back;
	struct iommu iommu = {};
	struct vf vf;
	size_t half;
	void *gap;
	u8 *edge;
	int fd;

	gap = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, gap);
	ASSERT_EQ(0, munmap((u8 *)gap + PAGE, PAGE));

	vf_open(&vf, &iommu, vf_bdf[0]);
	state_save(&vf, &whole);
	half = whole.len / 2 < 100 ? whole.len / 2 : 100;
	edge = (u8 *)gap + PAGE - half;
	ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_STOP, NULL));
	fd = vf_open_stream(&vf, VFIO_DEVICE_STATE_STOP_COPY);
	EXPECT_EQ((ssize_t)-1, read(fd, edge, 2 * half));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ((ssize_t)-1, read(fd, edge + half, half));
	EXPECT_EQ(EFAULT, errno);
	ASSERT_EQ(0, state_read(fd, &back));
	state_expect_same(&whole, &back);
	close(fd);

	memcpy(edge, whole.buf, half);
	fd = vf_open_stream(&vf, VFIO_DEVICE_STATE_RESUMING);
	EXPECT_EQ(-EFAULT, state_write(fd, edge, 2 * half));
	EXPECT_EQ(-EFAULT, state_write(fd, edge + half, half));
	EXPECT_EQ(0, state_write(fd, whole.buf, whole.len));
	EXPECT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_RUNNING, NULL));
	close(fd);
}

/* Threads that do all kinds of things to one function at once. */
struct storm {
	struct vf *vf;
	struct state *state;
	atomic_bool stop;
	atomic_int fd;
	atomic_uint count[9];
};

static __thread sigjmp_buf *bus_return;

static void on_bus(int signal)
{
	(void)signal;
	if (bus_return)
		siglongjmp(*bus_return, 1);
	_exit(1);
}

static void *storm_states(void *arg)
{
	struct storm *storm = arg;
	u32 seed = th_seed(), state;
	int fd, ret;

	while (!atomic_load(&storm->stop)) {
		fd = -1;
		/* RESUMING costs a reset to get in, and as a rule one to leave. */
		do {
			state = 1 + th_dice(&seed, STATES - 1);
		} while (state == VFIO_DEVICE_STATE_RESUMING && th_dice(&seed, 20));
		ret = vf_set_state(storm->vf, state, &fd);
		if (!ret && fd >= 0) {
			fd = atomic_exchange(&storm->fd, fd);
			if (fd >= 0)
				close(fd);
		}
		atomic_fetch_add(&storm->count[ret ? 1 : 0], 1);
	}
	return NULL;
}

static void *storm_resets(void *arg)
{
	struct storm *storm = arg;
	u32 seed = th_seed();

	while (!atomic_load(&storm->stop)) {
		EXPECT_EQ(0, vf_reset(storm->vf));
		sleep_ms(th_dice(&seed, 60));
		atomic_fetch_add(&storm->count[2], 1);
	}
	return NULL;
}

static void *storm_reads(void *arg)
{
	struct storm *storm = arg;
	u32 seed = th_seed();
	u8 buf[256];
	int fd;

	while (!atomic_load(&storm->stop)) {
		fd = dup(atomic_load(&storm->fd));
		if (fd < 0)
			continue;
		if (read(fd, buf, th_dice(&seed, sizeof(buf))) >= 0)
			atomic_fetch_add(&storm->count[3], 1);
		close(fd);
	}
	return NULL;
}

static void *storm_writes(void *arg)
{
	struct storm *storm = arg;
	u32 seed = th_seed();
	size_t len;
	int fd;

	while (!atomic_load(&storm->stop)) {
		fd = dup(atomic_load(&storm->fd));
		if (fd < 0)
			continue;
		len = th_dice(&seed, 2) ? storm->state->len :
				       th_dice(&seed, storm->state->len);
		if (write(fd, storm->state->buf, len) >= 0)
			atomic_fetch_add(&storm->count[4], 1);
		close(fd);
	}
	return NULL;
}

static void *storm_config(void *arg)
{
	struct storm *storm = arg;
	u32 seed = th_seed();
	u8 config[256];

	while (!atomic_load(&storm->stop)) {
		if (th_dice(&seed, 2))
			vf_config_write(storm->vf, PCI_COMMAND,
					PCI_COMMAND_MEMORY |
					(th_dice(&seed, 2) ? PCI_COMMAND_MASTER : 0));
		EXPECT_EQ((ssize_t)256, pread(storm->vf->fd, config, 256,
					      storm->vf->config));
		atomic_fetch_add(&storm->count[5], 1);
	}
	return NULL;
}

/* No ring has a length, so nothing that is written here makes it fetch. */
static const u32 harmless[] = {
	RDT(0), TDT(0), RDT(1), TDT(1), RXDCTL(0), TXDCTL(0), RXDCTL(1),
	SRRCTL(0), EIMS, EIMC, EICS, EITR(0), VMBMEM(0), VMBMEM(3), STATUS,
};

/* These make the next quiesce wait for the PF, so they are rare. */
static const u32 slow[] = { V2PMAILBOX, VTCTRL };

static void *storm_registers(void *arg)
{
	struct storm *storm = arg;
	u32 seed = th_seed(), offset, value;

	while (!atomic_load(&storm->stop)) {
		offset = harmless[th_dice(&seed, ARRAY_SIZE(harmless))];
		if (!th_dice(&seed, 500))
			offset = slow[th_dice(&seed, ARRAY_SIZE(slow))];
		value = th_dice(&seed, 2) ? th_dice(&seed, 16) : DCTL_ENABLE;
		if (offset == VTCTRL)
			value = 1u << 26;
		if (offset == VMBMEM(0))
			value = MSG_RESET;
		/* Both may fail while it is being reset. */
		if (th_dice(&seed, 2)) {
			if (pread(storm->vf->fd, &value, 4,
				  storm->vf->bar + offset) == 4)
				atomic_fetch_add(&storm->count[6], 1);
		} else if (pwrite(storm->vf->fd, &value, 4,
				  storm->vf->bar + offset) == 4) {
			atomic_fetch_add(&storm->count[6], 1);
		}
	}
	return NULL;
}

static void touch(struct vf *vf, u32 offset, u32 value)
{
	sigjmp_buf back;

	bus_return = &back;
	if (!sigsetjmp(back, 1)) {
		vf_mwrite(vf, offset, value);
		vf_mread(vf, offset);
	}
	bus_return = NULL;
}

static void *storm_mapping(void *arg)
{
	static const u32 offsets[] = { RDT(0), TDT(0), RXDCTL(1), TDT(1) };
	struct storm *storm = arg;
	u32 seed = th_seed();

	while (storm->vf->rings && !atomic_load(&storm->stop)) {
		touch(storm->vf, offsets[th_dice(&seed, ARRAY_SIZE(offsets))],
		      th_dice(&seed, 8));
		if (!th_dice(&seed, 50) &&
		    !iommu_map(storm->vf->iommu, storm->vf->rings, 0x20000000,
			       storm->vf->rings_size))
			iommu_unmap(storm->vf->iommu, 0x20000000,
				    storm->vf->rings_size);
		atomic_fetch_add(&storm->count[7], 1);
	}
	return NULL;
}

/* What an operator may read at any time. */
static void *storm_debugfs(void *arg)
{
	static const char * const files[] = { "status", "fault" };
	struct storm *storm = arg;
	char path[128], text[4096];
	unsigned int n;
	int fd;

	while (!atomic_load(&storm->stop)) {
		for (n = 0; n < ARRAY_SIZE(files); n++) {
			snprintf(path, sizeof(path),
				 "/sys/kernel/debug/vfio_pci_migration/%s/%s",
				 storm->vf->bdf, files[n]);
			fd = open(path, O_RDONLY | O_CLOEXEC);
			if (fd < 0)
				continue;
			EXPECT_TRUE(read(fd, text, sizeof(text)) > 0);
			atomic_fetch_add(&storm->count[8], 1);
			close(fd);
		}
		sleep_ms(1);
	}
	return NULL;
}

TEST_ALONE(storm,
	"states, resets, reads, writes, config space, registers, mappings and "
	"debugfs all at once: no oops, and a reset brings back a function that "
	"works")
{
	static void *(*const what[])(void *) = {
		storm_states, storm_states, storm_resets, storm_reads,
		storm_writes, storm_config, storm_registers, storm_mapping,
		storm_debugfs,
	};
	struct sigaction action = { .sa_handler = on_bus };
	pthread_t thread[ARRAY_SIZE(what)];
	static struct state blank;
	struct storm storm = { .state = &blank, .fd = -1 };
	struct iommu iommu = {};
	struct vf vf[2];
	struct nic nic[2];
	unsigned int n;

	ASSERT_EQ(0, sigaction(SIGBUS, &action, NULL));
	vf_need_igbvf();
	vf_open_both(vf, &iommu);
	state_save(&vf[0], &blank);
	ASSERT_EQ(0, vf_set_state(&vf[0], VFIO_DEVICE_STATE_RUNNING, NULL));
	vf_try_map_rings(&vf[0]);
	storm.vf = &vf[0];
	for (n = 0; n < ARRAY_SIZE(what); n++)
		ASSERT_EQ(0, pthread_create(&thread[n], NULL, what[n], &storm));
	sleep_ms(3000);
	atomic_store(&storm.stop, true);
	for (n = 0; n < ARRAY_SIZE(what); n++)
		ASSERT_EQ(0, pthread_join(thread[n], NULL));
	th_log("states %u (%u refused), resets %u, reads %u, writes %u",
	       storm.count[0], storm.count[1], storm.count[2], storm.count[3],
	       storm.count[4]);
	th_log("config %u, registers %u, mapping %u, debugfs %u",
	       storm.count[5], storm.count[6], storm.count[7], storm.count[8]);

	EXPECT_NE((int)VFIO_DEVICE_STATE_ERROR, vf_get_state(&vf[0]));
	ASSERT_EQ(0, vf_reset(&vf[0]));
	EXPECT_STATE(VFIO_DEVICE_STATE_RUNNING, &vf[0]);
	vf_config_write(&vf[0], PCI_COMMAND,
			PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	EXPECT_TRUE(vf_real_command(&vf[0]) & PCI_COMMAND_MASTER);
	nic_start(&nic[0], &vf[0], 0);
	nic_start(&nic[1], &vf[1], 1);
	EXPECT_TRUE(nic_send(&nic[0], 1, 3));
	nic_expect(&nic[1], 1, 3);
	EXPECT_TRUE(nic_send(&nic[1], 1, 3));
	nic_expect(&nic[0], 1, 3);
}

static void *storm_infos(void *arg)
{
	struct storm *storm = arg;
	struct vfio_precopy_info info;
	int fd;

	while (!atomic_load(&storm->stop)) {
		fd = dup(atomic_load(&storm->fd));
		if (fd < 0)
			continue;
		info = (struct vfio_precopy_info){ .argsz = sizeof(info) };
		if (ioctl(fd, VFIO_MIG_GET_PRECOPY_INFO, &info))
			EXPECT_TRUE(errno == ENODEV || errno == EINVAL ||
				    errno == ENOTTY);
		else
			atomic_fetch_add(&storm->count[5], 1);
		close(fd);
	}
	return NULL;
}

TEST(close_race,
	"a data fd that is in use while its device fd is closed and opened "
	"again only ever gives ENODEV or its own stream")
{
	static const u32 states[] = {
		VFIO_DEVICE_STATE_RESUMING, VFIO_DEVICE_STATE_STOP_COPY,
		VFIO_DEVICE_STATE_PRE_COPY,
	};
	static void *(*const what[])(void *) = {
		storm_reads, storm_writes, storm_infos,
	};
	pthread_t thread[ARRAY_SIZE(what)];
	static struct state blank;
	struct iommu iommu = {};
	struct storm storm = { .state = &blank };
	unsigned int round, n;
	struct vf vf;
	u32 state;
	int fd;

	vf_open(&vf, &iommu, vf_bdf[0]);
	state_save(&vf, &blank);
	storm.vf = &vf;
	atomic_store(&storm.fd, -1);
	for (n = 0; n < ARRAY_SIZE(what); n++)
		ASSERT_EQ(0, pthread_create(&thread[n], NULL, what[n], &storm));
	for (round = 0; round < 9; round++) {
		state = states[round % ARRAY_SIZE(states)];
		if (!vf_state_offered(&vf, state))
			continue;
		ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_RUNNING, NULL));
		ASSERT_EQ(0, vf_set_state(&vf, state, &fd));
		fd = atomic_exchange(&storm.fd, fd);
		if (fd >= 0)
			close(fd);
		sleep_ms(10);
		vf_reopen(&vf);
		ASSERT_STATE(VFIO_DEVICE_STATE_RUNNING, &vf);
	}
	atomic_store(&storm.stop, true);
	for (n = 0; n < ARRAY_SIZE(what); n++)
		ASSERT_EQ(0, pthread_join(thread[n], NULL));
	th_log("reads %u, writes %u, infos %u", storm.count[3],
	       storm.count[4], storm.count[5]);
}

static void *reset_thread(void *arg)
{
	struct storm *storm = arg;

	while (!atomic_load(&storm->stop))
		EXPECT_EQ(0, vf_reset(storm->vf));
	return NULL;
}

TEST(own_registers,
	"reading the stream into the function's own mapped registers, against "
	"resets, does not hang")
{
	struct storm storm = {};
	struct iommu iommu = {};
	unsigned int n, reads = 0;
	pthread_t thread;
	struct vf vf;
	u64 end;
	int fd;

	vf_need_igbvf();
	vf_open(&vf, &iommu, vf_bdf[0]);
	vf_map_rings(&vf);
	storm.vf = &vf;
	ASSERT_EQ(0, pthread_create(&thread, NULL, reset_thread, &storm));
	end = time_ms() + 1500;
	for (n = 0; time_ms() < end; n++) {
		if (vf_set_state(&vf, n % 2 ? VFIO_DEVICE_STATE_STOP_COPY :
				 VFIO_DEVICE_STATE_RESUMING, &fd) || fd < 0)
			continue;
		/* Where no register is. */
		if (n % 2 && read(fd, (void *)vf.rings, 16) > 0)
			reads++;
		if (!(n % 2) && write(fd, (void *)vf.rings, 16) != 0)
			reads++;
		close(fd);
	}
	atomic_store(&storm.stop, true);
	ASSERT_EQ(0, pthread_join(thread, NULL));
	th_log("%u of %u accesses", reads, n);
	ASSERT_EQ(0, vf_reset(&vf));
	EXPECT_STATE(VFIO_DEVICE_STATE_RUNNING, &vf);
}
