// SPDX-License-Identifier: GPL-2.0
/*
 * What moving one function costs, and several at once: no judgement, but figures,
 * one line for each phase of each round,
 *
 *	# cost: vfs=2 way=threads round=0 phase=load all=810 each=402,807
 *	# cost: vfs=2 way=threads round=0 bytes=1320,1320
 *
 * in microseconds: of all functions, of each of them. Neighbours of the two
 * functions, VFs of the same PFs, are used if they have the same driver.
 * scripts/l1/bench.py makes tables of it.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "harness.h"
#include "igbvf.h"
#include "pf.h"
#include "state.h"
#include "vfio.h"

#define MOST		7	/* VFs of an 82576, but for one */
#define ROUNDS		4
#define LIST		128	/* characters */

/* In this order for each function, and no function is ahead of another one. */
enum phase { PREPARE, QUIESCE, CAPTURE, READ, LOAD, RELEASE, END, PHASES };

static const char * const phase_name[PHASES] = {
	"prepare", "quiesce", "capture", "read", "load", "release", "end",
};

/**
 * struct pair - a function that moves, and where to
 * @bdf: addresses
 * @vf: the same
 * @iommu: the container of both
 * @nic: the guest, at work
 * @from: index of @vf, the source
 * @in: data fd of the source
 * @out: data fd of the destination
 * @early: what is sent while the guest runs
 * @late: what is sent when it does not
 * @ns: how long a phase took
 */
struct pair {
	char bdf[2][PF_BDF_SIZE];
	struct vf vf[2];
	struct iommu iommu;
	struct nic nic;
	unsigned int from;
	int in;
	int out;
	struct state early;
	struct state late;
	u64 ns[PHASES];
};

static struct pair pairs[MOST];
static unsigned int count;	/* of @pairs that take part */
static pthread_barrier_t barrier;

static void go(struct vf *vf, u32 state)
{
	ASSERT_EQ(0, vf_set_state(vf, state, NULL));
}

static void do_phase(struct pair *pair, enum phase phase)
{
	struct vf *source = &pair->vf[pair->from];
	struct vf *destination = &pair->vf[!pair->from];
	int fd = -1;

	switch (phase) {
	case PREPARE:
		pair->out = vf_open_stream(destination,
					   VFIO_DEVICE_STATE_RESUMING);
		pair->in = vf_open_stream(source, VFIO_DEVICE_STATE_PRE_COPY);
		ASSERT_EQ(-ENOMSG, state_read(pair->in, &pair->early));
		ASSERT_EQ(0, state_write(pair->out, pair->early.buf,
					 pair->early.len));
		break;
	case QUIESCE:
		go(source, VFIO_DEVICE_STATE_PRE_COPY_P2P);
		break;
	case CAPTURE:
		/* The same stream: no other fd. */
		ASSERT_EQ(0, vf_set_state(source, VFIO_DEVICE_STATE_STOP_COPY,
					  &fd));
		ASSERT_EQ(-1, fd);
		break;
	case READ:
		ASSERT_EQ(0, state_read(pair->in, &pair->late));
		break;
	case LOAD:
		ASSERT_EQ(0, state_write(pair->out, pair->late.buf,
					 pair->late.len));
		break;
	case RELEASE:
		go(destination, VFIO_DEVICE_STATE_RUNNING_P2P);
		go(destination, VFIO_DEVICE_STATE_RUNNING);
		break;
	default:
		go(source, VFIO_DEVICE_STATE_STOP);
		close(pair->in);
		close(pair->out);
		break;
	}
}

static void time_phase(struct pair *pair, enum phase phase)
{
	u64 began = time_ns();

	do_phase(pair, phase);
	pair->ns[phase] = time_ns() - began;
}

/* As a VMM does that has one thread for all devices. */
static void move_in_turns(u64 all[PHASES])
{
	enum phase phase;
	unsigned int n;
	u64 began;

	for (phase = 0; phase < PHASES; phase++) {
		began = time_ns();
		for (n = 0; n < count; n++)
			time_phase(&pairs[n], phase);
		all[phase] = time_ns() - began;
	}
}

static void *mover(void *arg)
{
	enum phase phase;

	for (phase = 0; phase < PHASES; phase++) {
		pthread_barrier_wait(&barrier);
		time_phase(arg, phase);
		pthread_barrier_wait(&barrier);
	}
	return NULL;
}

/* And one that has a thread for each. */
static void move_in_threads(u64 all[PHASES])
{
	pthread_t thread[MOST];
	enum phase phase;
	unsigned int n;
	u64 began;

	ASSERT_EQ(0, pthread_barrier_init(&barrier, NULL, count + 1));
	for (n = 0; n < count; n++)
		ASSERT_EQ(0, pthread_create(&thread[n], NULL, mover,
					    &pairs[n]));
	for (phase = 0; phase < PHASES; phase++) {
		began = time_ns();
		pthread_barrier_wait(&barrier);
		pthread_barrier_wait(&barrier);
		all[phase] = time_ns() - began;
	}
	for (n = 0; n < count; n++)
		ASSERT_EQ(0, pthread_join(thread[n], NULL));
	pthread_barrier_destroy(&barrier);
}

/* A number of each function, by commas. */
static const char *list(u64 (*number)(struct pair *pair, enum phase phase),
			enum phase phase)
{
	static char text[LIST];
	unsigned int n;
	int len = 0;

	for (n = 0; n < count; n++)
		len += snprintf(text + len, sizeof(text) - len, "%s%llu",
				n ? "," : "",
				(unsigned long long)number(&pairs[n], phase));
	return text;
}

static u64 pair_us(struct pair *pair, enum phase phase)
{
	return pair->ns[phase] / 1000;
}

static u64 pair_bytes(struct pair *pair, enum phase phase)
{
	(void)phase;
	return pair->early.len + pair->late.len;
}

static void say(const char *way, unsigned int round, const u64 all[PHASES])
{
	enum phase phase;

	for (phase = 0; phase < PHASES; phase++)
		th_log("cost: vfs=%u way=%s round=%u phase=%s all=%llu each=%s",
		       count, way, round, phase_name[phase],
		       (unsigned long long)all[phase] / 1000,
		       list(pair_us, phase));
	th_log("cost: vfs=%u way=%s round=%u bytes=%s", count, way, round,
	       list(pair_bytes, 0));
}

/* The VF of a number beside one of the two, if it has their driver. */
static bool find_neighbour(const char *bdf, unsigned int number,
			   char neighbour[PF_BDF_SIZE])
{
	char pf[PF_BDF_SIZE], name[24], driver[2][64];

	if (!pf_bdf(bdf, pf))
		return false;
	snprintf(name, sizeof(name), "virtfn%u", number);
	bdf_link(pf, name, neighbour, PF_BDF_SIZE);
	if (!*neighbour)
		return false;
	bdf_driver(bdf, driver[0], sizeof(driver[0]));
	bdf_driver(neighbour, driver[1], sizeof(driver[1]));
	return !strcmp(driver[0], driver[1]);
}

static unsigned int open_pairs(unsigned int most)
{
	struct pair *pair;
	unsigned int n;

	vf_need_both();
	vf_need_igbvf();
	for (n = 0; n < most; n++) {
		pair = &pairs[n];
		if (!find_neighbour(vf_bdf[0], n, pair->bdf[0]) ||
		    !find_neighbour(vf_bdf[1], n, pair->bdf[1]))
			break;
		vf_open(&pair->vf[0], &pair->iommu, pair->bdf[0]);
		vf_open(&pair->vf[1], &pair->iommu, pair->bdf[1]);
		if (!vf_state_offered(&pair->vf[0],
				      VFIO_DEVICE_STATE_PRE_COPY_P2P))
			th_skip("no PRE_COPY on this kernel");
		nic_start(&pair->nic, &pair->vf[0], 0);
	}
	return n;
}

static void move(unsigned int vfs, const char *way,
		 void (*move_all)(u64 all[PHASES]))
{
	unsigned int round, n;
	u64 all[PHASES];

	count = vfs;
	for (round = 0; round < th_times(ROUNDS); round++) {
		move_all(all);
		say(way, round, all);
		for (n = 0; n < count; n++)
			pairs[n].from = !pairs[n].from;
	}
}

TH_TEST(one, 60, true,
	"one function moves, and its guest sends and receives there")
{
	struct pair *pair = &pairs[0];

	ASSERT_EQ(1u, open_pairs(1));
	move(1, "turns", move_in_turns);
	nic_move(&pair->nic, &pair->vf[pair->from]);
	EXPECT_TRUE(nic_send(&pair->nic, 1, 3));
}

TH_TEST(many, 120, true,
	"1, 2, 4 and 7 functions move at the same time, in turns and in "
	"threads, and their guests send there")
{
	static const unsigned int vfs[] = { 1, 2, 4, MOST };
	unsigned int there = open_pairs(MOST), n;
	struct pair *pair;

	if (there < 2)
		th_skip("two functions of each PF are wanted");
	for (n = 0; n < ARRAY_SIZE(vfs) && vfs[n] <= there; n++) {
		move(vfs[n], "turns", move_in_turns);
		move(vfs[n], "threads", move_in_threads);
	}
	for (pair = pairs; pair < pairs + there; pair++) {
		nic_move(&pair->nic, &pair->vf[pair->from]);
		EXPECT_TRUE(nic_send(&pair->nic, 1, 3));
	}
}
