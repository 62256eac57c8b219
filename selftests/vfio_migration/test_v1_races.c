// SPDX-License-Identifier: GPL-2.0
/* Many at once, and users that stall or give bad addresses, at the v1 door. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/pci_regs.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ability.h"
#include "harness.h"
#include "igbvf.h"
#include "stall.h"
#include "v1.h"

static bool is_state(int state)
{
	unsigned int n;

	for (n = 0; n < V1_STATES; n++)
		if (state == (int)v1_states[n])
			return true;
	return false;
}

/* Two threads that write device_state at the same moment, and one that reads. */
struct race {
	struct v1 *v1;
	pthread_barrier_t start;
	u32 wanted[2];
	int ret[2];
	u32 from;
	atomic_bool over;
};

struct racer {
	struct race *race;
	unsigned int which;
};

static void *race_write(void *arg)
{
	struct racer *racer = arg;
	struct race *race = racer->race;

	pthread_barrier_wait(&race->start);
	race->ret[racer->which] = v1_set_state(race->v1,
					       race->wanted[racer->which]);
	return NULL;
}

static void *race_read(void *arg)
{
	struct race *race = arg;
	int seen;

	pthread_barrier_wait(&race->start);
	do {
		seen = v1_state(race->v1);
		EXPECT_TRUE(seen == (int)race->from ||
			    seen == (int)race->wanted[0] ||
			    seen == (int)race->wanted[1]);
	} while (!atomic_load(&race->over));
	return NULL;
}

static void run_race(struct race *race)
{
	struct racer racer[2] = { { race, 0 }, { race, 1 } };
	pthread_t thread[2], reader;
	unsigned int n;
	int now;

	atomic_store(&race->over, false);
	ASSERT_EQ(0, pthread_create(&reader, NULL, race_read, race));
	for (n = 0; n < 2; n++)
		ASSERT_EQ(0, pthread_create(&thread[n], NULL, race_write,
					    &racer[n]));
	for (n = 0; n < 2; n++)
		ASSERT_EQ(0, pthread_join(thread[n], NULL));
	atomic_store(&race->over, true);
	ASSERT_EQ(0, pthread_join(reader, NULL));

	EXPECT_EQ(0, race->ret[0]);
	EXPECT_EQ(0, race->ret[1]);
	now = v1_state(race->v1);
	EXPECT_TRUE(now == (int)race->wanted[0] ||
		    now == (int)race->wanted[1]);
	EXPECT_STATE(v1_as_v2(now), race->v1->vf);
}

TEST(v1_two_writers,
	"of two states that are written at the same time both are entered, one "
	"after the other, and nobody ever sees a third one")
{
	struct iommu iommu = {};
	unsigned int one, two;
	struct race race;
	struct v1 v1;
	struct vf vf;

	v1_open_vf(&v1, &vf, &iommu, vf_bdf[0]);
	memset(&race, 0, sizeof(race));
	race.v1 = &v1;
	ASSERT_EQ(0, pthread_barrier_init(&race.start, NULL, 3));
	for (one = 0; one < V1_STATES; one++) {
		for (two = 0; two < one; two++) {
			race.from = v1_state(&v1);
			race.wanted[0] = v1_states[one];
			race.wanted[1] = v1_states[two];
			/* RESUMING could not be left. */
			if ((race.wanted[0] | race.wanted[1]) & V1_M)
				continue;
			th_context("%s, then %s and %s",
				   mig_state_name(race.from),
				   mig_state_name(race.wanted[0]),
				   mig_state_name(race.wanted[1]));
			run_race(&race);
		}
	}
	v1_go(&v1, V1_R);
}

/* Threads that do all kinds of things to one function at once. */
struct storm {
	struct v1 v1;		/* to be copied: each thread has its own */
	const struct state *state;
	atomic_bool stop;
	atomic_uint count[7];
};

static bool going_on(struct storm *storm, unsigned int kind)
{
	atomic_fetch_add(&storm->count[kind], 1);
	return !atomic_load(&storm->stop);
}

/* RESUMING costs a reset to get in, and as a rule one to leave. */
static bool too_often(bool resuming, unsigned int *seed)
{
	return resuming && th_dice(seed, 20);
}

static void *storm_v1_states(void *arg)
{
	struct storm *storm = arg;
	struct v1 v1 = storm->v1;
	unsigned int seed = th_seed();
	u32 state;

	while (going_on(storm, 0)) {
		do {
			state = th_dice(&seed, 18);
		} while (too_often(state & V1_M, &seed));
		if (!is_state(state))
			EXPECT_EQ(-EINVAL, v1_set_state(&v1, state));
		else
			v1_set_state(&v1, state);
	}
	return NULL;
}

static void *storm_v2_states(void *arg)
{
	struct storm *storm = arg;
	struct vf *vf = storm->v1.vf;
	unsigned int seed = th_seed();
	u32 state;

	while (going_on(storm, 1)) {
		do {
			state = 1 + th_dice(&seed, STATES - 1);
		} while (too_often(state == VFIO_DEVICE_STATE_RESUMING, &seed));
		vf_set_state(vf, state, NULL);
	}
	return NULL;
}

static void *storm_look(void *arg)
{
	struct storm *storm = arg;
	struct v1 v1 = storm->v1;
	u64 reserved;

	while (going_on(storm, 2)) {
		EXPECT_TRUE(is_state(v1_state(&v1)));
		EXPECT_EQ(0, v1_get(&v1, V1_FIELD(reserved), &reserved));
	}
	return NULL;
}

static void *storm_collect(void *arg)
{
	struct storm *storm = arg;
	struct v1 v1 = storm->v1;
	u64 value, offset, size;
	u8 buf[512];

	while (going_on(storm, 3)) {
		EXPECT_EQ(0, v1_get(&v1, V1_FIELD(pending_bytes), &value));
		if (v1_get(&v1, V1_FIELD(data_offset), &offset) ||
		    v1_get(&v1, V1_FIELD(data_size), &size))
			continue;
		EXPECT_LE(offset + size, v1.size);
		EXPECT_EQ(0, v1_read(&v1, offset, buf,
				     size < sizeof(buf) ? size + 1 : sizeof(buf)));
	}
	return NULL;
}

static void *storm_feed(void *arg)
{
	struct storm *storm = arg;
	const struct state *state = storm->state;
	struct v1 v1 = storm->v1;
	unsigned int seed = th_seed();
	size_t len;
	u64 offset;

	while (going_on(storm, 4)) {
		if (v1_get(&v1, V1_FIELD(data_offset), &offset))
			continue;
		len = th_dice(&seed, 2) ? state->len :
					  th_dice(&seed, state->len);
		EXPECT_EQ(0, v1_write(&v1, offset, state->buf, len + 1));
		v1_put(&v1, V1_FIELD(data_size), len);
	}
	return NULL;
}

static void *storm_map(void *arg)
{
	struct storm *storm = arg;
	struct v1 v1 = storm->v1;
	unsigned int seed = th_seed(), n;
	u64 at;

	while (going_on(storm, 5)) {
		if (!v1_map(&v1))
			return NULL;
		for (n = 0; n < 20; n++) {
			at = th_dice(&seed, v1.sparse_size);
			if (th_dice(&seed, 2))
				v1.map[at] = n;
			else
				(void)*(volatile u8 *)&v1.map[at];
		}
		v1_unmap(&v1);
	}
	return NULL;
}

static void *storm_resets(void *arg)
{
	struct storm *storm = arg;
	unsigned int seed = th_seed();

	while (going_on(storm, 6)) {
		EXPECT_EQ(0, vf_reset(storm->v1.vf));
		sleep_ms(th_dice(&seed, 60));
	}
	return NULL;
}

TEST_ALONE(v1_storm,
	"state changes through both doors, streams in both directions, "
	"mappings and resets all at once: no state is seen that is "
	"none, and a reset brings back a function that works and migrates")
{
	static void *(*const what[])(void *) = {
		storm_v1_states, storm_v1_states, storm_v2_states, storm_look,
		storm_collect, storm_feed, storm_map, storm_resets,
	};
	pthread_t thread[ARRAY_SIZE(what)];
	static struct state blank, moved;
	static struct storm storm;
	struct iommu iommu = {};
	struct vf vf[2];
	struct nic nic[2];
	struct v1 v1[2];
	unsigned int n;

	vf_open_both(vf, &iommu);
	for (n = 0; n < 2; n++)
		v1_open(&v1[n], &vf[n]);
	v1_save(&v1[0], &blank);
	v1_go(&v1[0], V1_R);
	storm.v1 = v1[0];
	storm.state = &blank;
	for (n = 0; n < ARRAY_SIZE(what); n++)
		ASSERT_EQ(0, pthread_create(&thread[n], NULL, what[n], &storm));
	sleep_ms(3000);
	atomic_store(&storm.stop, true);
	for (n = 0; n < ARRAY_SIZE(what); n++)
		ASSERT_EQ(0, pthread_join(thread[n], NULL));
	th_log("v1 states %u, v2 states %u, looks %u, collects %u",
	       storm.count[0], storm.count[1], storm.count[2], storm.count[3]);
	th_log("feeds %u, mappings %u, resets %u", storm.count[4],
	       storm.count[5], storm.count[6]);

	EXPECT_TRUE(is_state(v1_state(&v1[0])));
	ASSERT_EQ(0, vf_reset(&vf[0]));
	EXPECT_V1_STATE(V1_R, &v1[0]);
	EXPECT_TRUE(vf_real_command(&vf[0]) & PCI_COMMAND_MASTER);
	nic_start(&nic[0], &vf[0], 0);
	EXPECT_TRUE(nic_send(&nic[0], 1, 3));
	v1_save(&v1[0], &moved);
	EXPECT_EQ(0, v1_load(&v1[1], &moved));
	vf_enable_interrupts(&vf[1]);
	v1_go(&v1[1], V1_R);
	nic_move(&nic[0], &vf[1]);
	nic_goes_on_moved(&nic[0]);
	ASSERT_EQ(0, vf_reset(&vf[0]));
	nic_start(&nic[1], &vf[0], 1);
	EXPECT_TRUE(nic_send(&nic[0], 4, 3));
	nic_expect(&nic[1], 4, 3);
	EXPECT_TRUE(nic_send(&nic[1], 7, 3));
	nic_expect(&nic[0], 7, 3);
}

/* If any of this had to wait for the stalled user, it would never return. */
static void expect_responsive(struct v1 *v1)
{
	u32 now = v1_state(v1);
	u64 value;

	EXPECT_EQ(0, v1_set_state(v1, now ^ V1_N));
	EXPECT_V1_STATE(now ^ V1_N, v1);
	EXPECT_EQ(0, v1_set_state(v1, now));
	v1_get(v1, V1_FIELD(data_offset), &value);
	EXPECT_EQ(0, v1_read(v1, v1->size - sizeof(value), &value,
			     sizeof(value)));
	EXPECT_EQ((u16)0x8086, vf_config_read(v1->vf, PCI_VENDOR_ID));
}

static const struct stalled {
	const char *name;
	u32 state;
	bool write;
	bool window;
	size_t field;
	size_t len;
} stalled[] = {
	{ "device_state read", V1_S, false, false, V1_FIELD(device_state), 4 },
	{ "device_state written", V1_R, true, false, V1_FIELD(device_state), 4 },
	{ "pending_bytes read", V1_R | V1_S, false, false,
	  V1_FIELD(pending_bytes), 8 },
	{ "data_size written", V1_M, true, false, V1_FIELD(data_size), 8 },
	{ "window read", V1_S, false, true, 0, 600 },
	{ "window written", V1_M, true, true, 0, 600 },
};

static void stall_in(struct v1 *v1, const struct stalled *it, bool reset)
{
	/* As device_state: stopped. As data_size: nothing. */
	static const u8 page[PAGE];
	ssize_t want = it->len;
	struct transfer transfer = {
		.fd = v1->vf->fd, .write = it->write, .len = it->len,
	};
	struct stall stall;

	v1_go(v1, it->state);
	stall_begin(&stall);
	transfer.buf = stall.page;
	transfer.at = v1->at;
	transfer.at += it->window ? v1_data_offset(v1) : it->field;
	transfer_start(&transfer);
	stall_wait(&stall);

	expect_responsive(v1);
	EXPECT_EQ(false, atomic_load(&transfer.done));
	if (reset) {
		EXPECT_EQ(0, vf_reset(v1->vf));
		EXPECT_EQ(false, atomic_load(&transfer.done));
		EXPECT_V1_STATE(V1_R, v1);
		/* The stream that it belonged to is no more. */
		if (it->field == V1_FIELD(data_size))
			want = -EINVAL;
	}
	stall_end(&stall, page);
	EXPECT_EQ(want, transfer_end(&transfer));
	stall_close(&stall);
	ASSERT_EQ(0, vf_reset(v1->vf));
}

TEST(v1_stalled,
	"nothing has to wait for a user that stalls in its buffer, be it of "
	"device_state, of data_size or of the window; not even a reset")
{
	struct iommu iommu = {};
	unsigned int n;
	struct v1 v1;
	struct vf vf;

	v1_open_vf(&v1, &vf, &iommu, vf_bdf[0]);
	for (n = 0; n < ARRAY_SIZE(stalled); n++) {
		th_context("%s", stalled[n].name);
		stall_in(&v1, &stalled[n], false);
		th_context("%s, reset", stalled[n].name);
		stall_in(&v1, &stalled[n], true);
	}
}

TEST(v1_bad_buffers,
	"EFAULT in an access changes no state and takes no bytes: the stream "
	"goes on where it was")
{
	static const u64 offsets[] = {
		V1_FIELD(device_state), V1_FIELD(reserved),
		V1_FIELD(pending_bytes), V1_FIELD(data_size),
	};
	static struct state saved;
	struct iommu iommu = {};
	unsigned int n;
	u64 window, size;
	struct v1 v1;
	struct vf vf;
	u8 *edge;
	void *gap;

	gap = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, gap);
	ASSERT_EQ(0, munmap((u8 *)gap + PAGE, PAGE));
	edge = (u8 *)gap + PAGE;

	v1_open_vf(&v1, &vf, &iommu, vf_bdf[0]);
	v1_save(&v1, &saved);
	v1_go(&v1, V1_R);
	v1_go(&v1, V1_M);
	window = v1_data_offset(&v1);
	ASSERT_EQ(0, v1_feed(&v1, saved.buf, 100, 0));
	for (n = 0; n < ARRAY_SIZE(offsets); n++) {
		th_context("field at %llu", (unsigned long long)offsets[n]);
		size = offsets[n] < 8 ? 4 : 8;
		/* Without an address, and with the end of one. */
		if (offsets[n] != V1_FIELD(data_size)) {
			EXPECT_EQ(-EFAULT, v1_read(&v1, offsets[n], NULL, size));
			EXPECT_EQ(-EFAULT, v1_read(&v1, offsets[n], edge - 1,
						   size));
		}
		if (offsets[n] == V1_FIELD(pending_bytes))
			continue;
		EXPECT_EQ(-EFAULT, v1_write(&v1, offsets[n], NULL, size));
		EXPECT_EQ(-EFAULT, v1_write(&v1, offsets[n], edge - 1, size));
		EXPECT_V1_STATE(V1_M, &v1);
	}
	th_context("window");
	EXPECT_EQ(-EFAULT, v1_read(&v1, window, edge, 100));
	EXPECT_EQ(-EFAULT, v1_write(&v1, window, edge, 100));
	/* What is said to be done has been done. */
	memset(edge - 1000, 0x5a, 1000);
	size = pwrite(vf.fd, edge - 1000, 2000, v1.at + window);
	EXPECT_LE(size, (u64)1000);
	memset(edge - 1000, 0, 1000);
	EXPECT_EQ(0, v1_read(&v1, window, edge - 1000, size));
	for (n = 0; n < size; n++)
		EXPECT_EQ((u8)0x5a, edge[(int)n - 1000]);

	EXPECT_EQ(0, v1_feed(&v1, saved.buf + 100, saved.len - 100, 0));
	v1_go(&v1, V1_R);
}

static void *reset_until(void *arg)
{
	struct storm *storm = arg;

	while (!atomic_load(&storm->stop))
		EXPECT_EQ(0, vf_reset(storm->v1.vf));
	return NULL;
}

TEST(v1_own_memory,
	"accesses to fields and window whose buffer is the window's mapping, or "
	"the function's own registers, against resets, do not hang")
{
	static struct storm storm;
	struct iommu iommu = {};
	unsigned int n, good = 0;
	pthread_t thread;
	struct v1 v1;
	struct vf vf;
	void *buf;
	u64 end;

	v1_open_vf(&v1, &vf, &iommu, vf_bdf[0]);
	if (!v1_map(&v1))
		th_skip("the window cannot be mapped on this host");
	vf_map_rings(&vf);
	storm.v1 = v1;
	ASSERT_EQ(0, pthread_create(&thread, NULL, reset_until, &storm));
	end = time_ms() + 1500;
	for (n = 0; time_ms() < end; n++) {
		/* Where no register is, the registers are all zeros. */
		buf = n % 2 ? (void *)vf.rings : v1.map + 16;
		v1_set_state(&v1, n % 3 ? V1_S : V1_R | V1_N);
		good += !v1_read(&v1, V1_FIELD(device_state), buf, 4);
		good += !v1_read(&v1, V1_FIELD(pending_bytes), buf, 8);
		good += !v1_read(&v1, v1.sparse_at, buf, 300);
		good += !v1_write(&v1, v1.sparse_at, buf, 300);
		good += !v1_write(&v1, V1_FIELD(reserved), buf, 4);
	}
	atomic_store(&storm.stop, true);
	ASSERT_EQ(0, pthread_join(thread, NULL));
	th_log("%u rounds, %u accesses succeeded", n, good);
	ASSERT_EQ(0, vf_reset(&vf));
	EXPECT_V1_STATE(V1_R, &v1);
}
