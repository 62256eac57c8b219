// SPDX-License-Identifier: GPL-2.0
/*
 * Quiet means quiet, under load: frames pour in and out, interrupts rain, and
 * the first function is made quiet and released again thousands of times.
 *
 * The functions get different addresses for that, so that each can be spoken
 * to alone.
 *
 * Where the driver says that rings do not go on, the guests of these tests start
 * them over after each release, as they are asked to. What was in them is lost,
 * so the tests that count on it are skipped there.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/pci_regs.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ability.h"
#include "flow.h"
#include "harness.h"
#include "pf.h"
#include "v1.h"

#define IRQ_LIMIT	2000	/* ms, for an interrupt that is due */
#define REST_LIMIT	2000	/* ms, for frames to arrive or to get lost */
#define WINDOW		5	/* frames; two flows and some more fit into a ring */
#define EITR_USUAL	488	/* what Linux' igbvf takes */

static char old_mac[2][PF_MAC_SIZE];

static bool scene_begin(void)
{
	static const char * const new_mac[2] = {
		"52:54:00:82:57:61", "52:54:00:82:57:62",
	};
	unsigned int n;

	for (n = 0; n < 2 && vf_bdf[n]; n++)
		if (!pf_get_vf_mac(vf_bdf[n], old_mac[n]) ||
		    !pf_set_vf_mac(vf_bdf[n], new_mac[n]))
			return false;
	return true;
}

static void scene_end(void)
{
	unsigned int n;

	for (n = 0; n < 2; n++)
		if (*old_mac[n])
			pf_set_vf_mac(vf_bdf[n], old_mac[n]);
}

TH_SCENE(scene_begin, NULL, scene_end)

/* Each state in which the function is quiet and keeps what it has. */
static const struct way {
	const char *name;
	bool v1;
	u32 state;
} ways[] = {
	{ "P2P", false, VFIO_DEVICE_STATE_RUNNING_P2P },
	{ "v1 RUNNING|NDMA", true, V1_R | V1_N },
	{ "STOP", false, VFIO_DEVICE_STATE_STOP },
	{ "v1 stopped", true, 0 },
	{ "PRE_COPY_P2P", false, VFIO_DEVICE_STATE_PRE_COPY_P2P },
	{ "v1 RUNNING|SAVING|NDMA", true, V1_R | V1_S | V1_N },
	{ "STOP_COPY", false, VFIO_DEVICE_STATE_STOP_COPY },
	{ "v1 SAVING", true, V1_S },
};

/**
 * struct end - a function under test, and what belongs to it
 * @vf: the function
 * @v1: its migration region
 * @nic: its driver
 * @station: the same in flows
 * @way: how it is, or was last, made quiet
 * @over: it has to start its rings over after that
 */
struct end {
	struct vf vf;
	struct v1 v1;
	struct nic nic;
	struct station station;
	const struct way *way;
	bool over;
};

static struct iommu iommu;
static struct end end[2];
static struct station peer;
/* Microseconds that calls took in this test: those that stop, that start. */
static struct cost {
	unsigned int calls;
	u64 sum;
	u64 most;
} stopping, starting;

static void usual_interrupts(struct vf *vf)
{
	vf_write(vf, EITR(TX_VECTOR), EITR_USUAL);
	vf_write(vf, EITR(RX_VECTOR), EITR_USUAL);
}

static void start_end(unsigned int n)
{
	struct vf *vf = &end[n].vf;

	vf_open(vf, &iommu, vf_bdf[n]);
	v1_open(&end[n].v1, vf);
	end[n].over = !rings_stay(vf);
	/* Doorbells are rung there, where the host can do it. */
	vf_try_map_rings(vf);
	nic_start(&end[n].nic, vf, n);
	usual_interrupts(vf);
	station_of_nic(&end[n].station, &end[n].nic);
}

static void start_ends(void)
{
	vf_need_both();
	start_end(0);
	start_end(1);
}

/* One of the ways that are offered; half of the time the proper ones. */
static const struct way *choose_way(struct end *it, u32 *seed)
{
	const struct way *way;

	do {
		way = &ways[th_dice(seed, 2) ? th_dice(seed, 2) :
			    th_dice(seed, ARRAY_SIZE(ways))];
	} while (!way->v1 && !vf_state_offered(&it->vf, way->state));
	return way;
}

static void cost_add(struct cost *cost, u64 began)
{
	u64 took = (time_ns() - began) / 1000;

	cost->calls++;
	cost->sum += took;
	if (took > cost->most)
		cost->most = took;
}

static void cost_tell(struct cost *cost, const char *what)
{
	th_log("%s: %u times, %llu us on average, %llu us at most", what,
	       cost->calls, (unsigned long long)(cost->sum / cost->calls),
	       (unsigned long long)cost->most);
	memset(cost, 0, sizeof(*cost));
}

static void quiet(struct end *it, u32 *seed)
{
	u64 began;

	it->way = choose_way(it, seed);
	began = time_ns();
	if (it->way->v1)
		ASSERT_EQ(0, v1_set_state(&it->v1, it->way->state));
	else
		ASSERT_EQ(0, vf_set_state(&it->vf, it->way->state, NULL));
	cost_add(&stopping, began);
}

static void let_go(struct end *it)
{
	u64 began = time_ns();

	if (it->way->v1)
		ASSERT_EQ(0, v1_set_state(&it->v1, V1_R));
	else
		ASSERT_EQ(0, vf_set_state(&it->vf, VFIO_DEVICE_STATE_RUNNING,
					  NULL));
	cost_add(&starting, began);
}

static void start_over(struct end *it)
{
	nic_start_over(&it->nic);
	usual_interrupts(&it->vf);
}

static void release(struct end *it)
{
	let_go(it);
	if (it->over) {
		expect_start_over(&it->vf);
		start_over(it);
	}
}

/* Rounds of a test; starting over takes its time. */
static unsigned int rounds_of(struct end *it, unsigned int count)
{
	return th_times(it->over ? count / 8 : count);
}

static void tell_toggles(void)
{
	cost_tell(&stopping, "made quiet");
	cost_tell(&starting, "released");
}

/* How long quiet is held: mostly not at all, and always for long enough. */
static void hold(u32 *seed)
{
	unsigned int chance = th_dice(seed, 32);

	if (chance < 8)
		sleep_ms(chance ? 1 : 20);
}

/* Wait for a receive interrupt that must come, and take what there is. */
static unsigned int receive_by_interrupt(struct end *it, struct flow *flow,
					 unsigned int flows)
{
	bool came = vf_wait_interrupt(&it->vf, RX_VECTOR, IRQ_LIMIT);

	if (!came)
		th_log("no interrupt, %u frames wait in the ring",
		       nic_landed(&it->nic));
	ASSERT_TRUE(came);
	vf_all_interrupts(&it->vf);
	return flow_receive(&it->station, flow, flows);
}

/* What there is in the ring makes interrupts; nobody looks without one. */
static void drain_by_interrupt(struct end *it, struct flow *flow,
			       unsigned int flows)
{
	while (nic_landed(&it->nic))
		receive_by_interrupt(it, flow, flows);
}

/**
 * struct silence - what must not change while a function is quiet
 * @it: the function
 * @print: of all memory that is its own
 * @landed: frames that had arrived, but not been taken
 * @pending: interrupts that the user had not seen yet
 */
struct silence {
	struct end *it;
	u64 print;
	unsigned int landed;
	u64 pending;
};

/* Directly after quiet has been acknowledged. */
static void silence_begin(struct silence *silence, struct end *it)
{
	silence->it = it;
	silence->pending = vf_all_interrupts(&it->vf);
	silence->print = nic_fingerprint(&it->nic);
	silence->landed = nic_landed(&it->nic);
}

static void silence_check(struct silence *silence)
{
	struct end *it = silence->it;

	EXPECT_EQ(silence->print, nic_fingerprint(&it->nic));
	EXPECT_EQ((u64)0, vf_all_interrupts(&it->vf));
	if (silence->landed != nic_landed(&it->nic))
		th_log("frames landed: %u, then %u", silence->landed,
		       nic_landed(&it->nic));
}

/**
 * struct pump - a thread that sends frames
 * @thread: the thread
 * @flow: its flow
 * @window: frames that may be open; 0: any number
 * @park: it is to keep its hands off everything
 * @parked: it does
 * @stop: it is to end
 */
struct pump {
	pthread_t thread;
	struct flow *flow;
	atomic_uint window;
	atomic_bool park;
	atomic_bool parked;
	atomic_bool stop;
};

static void *pump_thread(void *arg)
{
	struct pump *pump = arg;
	unsigned int window, burst = 0;

	while (!atomic_load(&pump->stop)) {
		if (atomic_load(&pump->park)) {
			atomic_store(&pump->parked, true);
			usleep(20);
			continue;
		}
		atomic_store(&pump->parked, false);
		window = atomic_load(&pump->window);
		if (window && flow_open(pump->flow) >= window)
			usleep(20);
		else if (!flow_send(pump->flow) || (!window && !(++burst % RING)))
			/* A flood leaves the CPU to others at times. */
			usleep(100);
	}
	return NULL;
}

static void pump_start(struct pump *pump, struct flow *flow,
		       unsigned int window)
{
	memset(pump, 0, sizeof(*pump));
	pump->flow = flow;
	atomic_store(&pump->window, window);
	ASSERT_EQ(0, pthread_create(&pump->thread, NULL, pump_thread, pump));
}

static void pump_park(struct pump *pump)
{
	u64 limit = time_ms() + REST_LIMIT;

	atomic_store(&pump->parked, false);
	atomic_store(&pump->park, true);
	while (!atomic_load(&pump->parked)) {
		ASSERT_LE(time_ms(), limit);
		sched_yield();
	}
}

static void pump_go(struct pump *pump)
{
	atomic_store(&pump->park, false);
}

static void pump_stop(struct pump *pump)
{
	atomic_store(&pump->stop, true);
	ASSERT_EQ(0, pthread_join(pump->thread, NULL));
}

/* All that the flow's sender has sent has arrived, or been dropped. */
static void wait_at_rest(struct flow *flow)
{
	u64 limit = time_ms() + REST_LIMIT;

	while (!station_at_rest(flow->from)) {
		ASSERT_LE(time_ms(), limit);
		usleep(50);
	}
}

static void report(struct flow *flow, const char *name)
{
	th_log("%s: %u frames sent, %u received, %u lost while quiet or for "
	       "want of buffers", name, atomic_load(&flow->sent),
	       flow->received, flow->lost);
	th_count(TH_SENT, atomic_load(&flow->sent));
	th_count(TH_RECEIVED, flow->received);
}

/* Where did it happen? For the logs only. */
static void at_round(unsigned int round, struct end *it)
{
	th_context("round %u, %s", round, it->way ? it->way->name : "RUNNING");
}

/*
 * A flood from outside, which nobody holds back. @flow goes to the first
 * function; rounds of: work for some interrupts, quiet, hold, release.
 */
static void flooded(struct flow *flow, const char *name, unsigned int rounds)
{
	unsigned int round, times, caught = 0, full = 0, signalled = 0;
	struct silence silence;
	u32 seed = th_seed(), before, vain = 0;
	struct pump pump;

	atomic_store(&flow->lossy, true);
	pump_start(&pump, flow, 0);
	for (round = 0; round < rounds; round++) {
		at_round(round, &end[0]);
		/*
		 * The first one is for what may have come while it was quiet;
		 * the second one is due for the frames that come now.
		 */
		for (times = 2 + th_dice(&seed, 3); times; times--)
			receive_by_interrupt(&end[0], flow, 1);
		times = nic_landed(&end[0].nic);

		quiet(&end[0], &seed);
		silence_begin(&silence, &end[0]);
		before = atomic_load(&flow->sent);
		at_round(round, &end[0]);
		caught += silence.landed > times;
		full += silence.landed == RING - 1;
		signalled += !!silence.pending;
		hold(&seed);
		silence_check(&silence);
		vain += atomic_load(&flow->sent) - before;
		release(&end[0]);
	}
	pump_stop(&pump);
	wait_at_rest(flow);
	drain_by_interrupt(&end[0], flow, 1);
	flow_settle(flow);
	report(flow, name);
	th_log("%u rounds; frames landed in %u while it was made quiet, "
	       "interrupts came in %u, the ring was full in %u; %u frames "
	       "came in vain", rounds, caught, signalled, full, vain);
	tell_toggles();
	/* Or this has tested nothing. */
	EXPECT_LE(1u, caught);
	EXPECT_LE(1u, signalled);
	EXPECT_LE(rounds / 10, vain);
}

/* At the end, with nothing going on: each frame arrives. */
static void all_is_well(void)
{
	struct flow flow[2];
	unsigned int n, i;
	u64 limit;

	th_context("at the end");
	for (n = 0; n < 2; n++)
		flow_init(&flow[n], 100 + n, &end[!n].station,
			  &end[n].station);
	for (n = 0; n < 2; n++) {
		vf_all_interrupts(&end[n].vf);
		for (i = 0; i < 2 * RING; i++) {
			ASSERT_TRUE(flow_send(&flow[n]));
			limit = time_ms() + REST_LIMIT;
			while (flow_open(&flow[n]) && time_ms() <= limit)
				receive_by_interrupt(&end[n], &flow[n], 1);
			EXPECT_EQ(0u, flow_open(&flow[n]));
		}
	}
}

#define DRAIN_TEST(_name, _contract)	\
	TH_TEST(drain_##_name, 60, true, _contract)

DRAIN_TEST(peer,
	"under a flood from outside the hosts, memory and eventfds are at rest "
	"from the moment that quiet is acknowledged; afterwards reception "
	"goes on at the next descriptor, and no wakeup is lost")
{
	struct flow flow;

	station_of_peer(&peer);
	start_ends();
	flow_init(&flow, 1, &peer, &end[0].station);
	flooded(&flow, "peer", rounds_of(&end[0], 600));
	all_is_well();
}

DRAIN_TEST(function,
	"the same under a flood from another function")
{
	struct flow flow;

	start_ends();
	flow_init(&flow, 2, &end[1].station, &end[0].station);
	flooded(&flow, "the other function", rounds_of(&end[0], 400));
	all_is_well();
}

/* Take frames by interrupt until each of two flows has come on by @frames. */
static void come_on(struct end *it, struct flow flow[2], unsigned int frames)
{
	u32 first = atomic_load(&flow[0].last), second = atomic_load(&flow[1].last);

	while (atomic_load(&flow[0].last) - first < frames ||
	       atomic_load(&flow[1].last) - second < frames)
		receive_by_interrupt(it, flow, 2);
}

/* What the function has got of the driver's doorbells, as its PF sees it. */
static void expect_doorbells(struct end *it)
{
	struct real real = vf_real(&it->vf);

	if (!real.known)
		return;
	EXPECT_EQ((it->nic.rx + RING - 1) % RING, real.rdt);
	EXPECT_EQ(it->nic.rx, real.rdh);
	EXPECT_EQ(it->nic.tx, real.tdt);
	EXPECT_EQ(it->nic.tx, real.tdh);
}

DRAIN_TEST(exact,
	"two flows that never ask for more buffers than there are: no frame is "
	"lost but what is sent from the call that makes it quiet to the "
	"return of the one that releases it")
{
	unsigned int n, round, rounds = th_times(250);
	u32 seed = th_seed();
	struct silence silence;
	struct flow flow[2];
	struct pump pump[2];

	station_of_peer(&peer);
	start_ends();
	need_rings_stay(&end[0].vf);
	flow_init(&flow[0], 3, &peer, &end[0].station);
	flow_init(&flow[1], 4, &end[1].station, &end[0].station);
	for (n = 0; n < 2; n++)
		pump_start(&pump[n], &flow[n], WINDOW);
	for (round = 0; round < rounds; round++) {
		at_round(round, &end[0]);
		come_on(&end[0], flow, 1 + th_dice(&seed, 6));
		for (n = 0; n < 2; n++)
			atomic_store(&flow[n].lossy, true);
		quiet(&end[0], &seed);
		silence_begin(&silence, &end[0]);
		at_round(round, &end[0]);
		for (n = 0; n < 2; n++)
			atomic_store(&pump[n].window, 0);
		hold(&seed);
		silence_check(&silence);
		release(&end[0]);

		/* Come to rest, so that there is no doubt what may be lost. */
		for (n = 0; n < 2; n++) {
			pump_park(&pump[n]);
			wait_at_rest(&flow[n]);
		}
		drain_by_interrupt(&end[0], flow, 2);
		if (round % 16 == 0)
			expect_doorbells(&end[0]);
		for (n = 0; n < 2; n++) {
			flow_settle(&flow[n]);
			atomic_store(&flow[n].lossy, false);
			atomic_store(&pump[n].window, WINDOW);
			pump_go(&pump[n]);
		}
	}
	for (n = 0; n < 2; n++) {
		pump_stop(&pump[n]);
		wait_at_rest(&flow[n]);
	}
	drain_by_interrupt(&end[0], flow, 2);
	for (n = 0; n < 2; n++)
		flow_settle(&flow[n]);
	report(&flow[0], "peer");
	report(&flow[1], "the other function");
	tell_toggles();
	all_is_well();
}

/* The guest of the first function: two flows in turn, out of one ring. */
static void *sender_thread(void *arg)
{
	struct pump *pump = arg;
	unsigned int n = 0;

	while (!atomic_load(&pump->stop)) {
		if (atomic_load(&pump->park)) {
			atomic_store(&pump->parked, true);
			usleep(20);
			continue;
		}
		atomic_store(&pump->parked, false);
		n = !n;
		if (flow_open(&pump->flow[n]) >= WINDOW ||
		    !flow_send(&pump->flow[n]))
			sched_yield();
	}
	return NULL;
}

/* Both flows arrive where they go to, until nothing is open. */
static void arrive(struct flow flow[2], bool all, unsigned int frames)
{
	u32 first = atomic_load(&flow[0].last), second = atomic_load(&flow[1].last);
	u64 limit = time_ms() + REST_LIMIT;

	for (;;) {
		flow_receive(&end[1].station, &flow[0], 1);
		flow_receive(&peer, &flow[1], 1);
		if (all ? !flow_open(&flow[0]) && !flow_open(&flow[1]) :
		    atomic_load(&flow[0].last) - first >= frames &&
		    atomic_load(&flow[1].last) - second >= frames)
			return;
		if (time_ms() > limit)
			th_log("open: %u to the function, %u to the peer; %u in the ring",
			       flow_open(&flow[0]), flow_open(&flow[1]),
			       nic_unsent(&end[0].nic));
		ASSERT_LE(time_ms(), limit);
		sched_yield();
	}
}

static void transmit(unsigned int rounds)
{
	u32 seed = th_seed(), before, held = 0;
	unsigned int n, round, busy = 0;
	struct silence here, there;
	struct pump pump = {};
	struct flow flow[2];

	flow_init(&flow[0], 10 + end[0].nic.write_back, &end[0].station,
		  &end[1].station);
	flow_init(&flow[1], 20 + end[0].nic.write_back, &end[0].station, &peer);
	pump.flow = flow;
	ASSERT_EQ(0, pthread_create(&pump.thread, NULL, sender_thread, &pump));
	for (round = 0; round < rounds; round++) {
		at_round(round, &end[0]);
		arrive(flow, false, 1 + th_dice(&seed, 4));
		quiet(&end[0], &seed);
		at_round(round, &end[0]);
		/*
		 * What leaves the one is in the other's memory at once: the
		 * lab's wire has no length.
		 */
		silence_begin(&there, &end[1]);
		before = atomic_load(&flow[0].sent) + atomic_load(&flow[1].sent);
		if (round % 2) {
			/* Its own memory is at rest if its driver is. */
			pump_park(&pump);
			busy += nic_unsent(&end[0].nic) != 0;
			for (n = th_dice(&seed, 4); n; n--)
				ASSERT_TRUE(flow_send(&flow[n % 2]));
			silence_begin(&here, &end[0]);
			nic_ring(&end[0].nic);
			hold(&seed);
			silence_check(&here);
		} else {
			/* Its driver goes on, as long as it may. */
			flow_receive(&end[1].station, &flow[0], 1);
			flow_receive(&peer, &flow[1], 1);
			silence_begin(&there, &end[1]);
			hold(&seed);
		}
		EXPECT_EQ(there.print, nic_fingerprint(&end[1].nic));
		held += atomic_load(&flow[0].sent) +
			atomic_load(&flow[1].sent) - before;
		release(&end[0]);
		pump_park(&pump);
		arrive(flow, true, 0);
		EXPECT_EQ(0u, nic_unsent(&end[0].nic));
		if (round % 16 == 0)
			expect_doorbells(&end[0]);
		pump_go(&pump);
	}
	pump_stop(&pump);
	arrive(flow, true, 0);
	th_log("%u rounds; %u frames posted while quiet, others had been and "
	       "not left in %u", rounds, held, busy);
	report(&flow[0], "to the other function");
	report(&flow[1], "to the peer");
	tell_toggles();
	EXPECT_LE(rounds / 10, held);
}

DRAIN_TEST(transmit,
	"frames that are posted before, while and after it is made quiet, by a "
	"driver that knows nothing of it, leave once each and in order, and "
	"none while quiet")
{
	station_of_peer(&peer);
	start_ends();
	need_rings_stay(&end[0].vf);
	transmit(th_times(150));
	th_log("with head write-back");
	nic_use_write_back(&end[0].nic);
	transmit(th_times(150));
	all_is_well();
}

/**
 * struct driver - the guest of a function, that sends and receives
 * @pump: the thread; its flow is the one that the function sends
 * @it: the function
 * @incoming: the flow that it receives
 */
struct driver {
	struct pump pump;
	struct end *it;
	struct flow *incoming;
};

static void *driver_thread(void *arg)
{
	struct driver *driver = arg;
	struct pump *pump = &driver->pump;

	while (!atomic_load(&pump->stop)) {
		if (atomic_load(&pump->park)) {
			atomic_store(&pump->parked, true);
			usleep(20);
			continue;
		}
		atomic_store(&pump->parked, false);
		flow_receive(&driver->it->station, driver->incoming, 1);
		if (flow_open(pump->flow) >= WINDOW || !flow_send(pump->flow))
			sched_yield();
	}
	return NULL;
}

static void get_on(struct flow flow[2], unsigned int frames)
{
	u32 first = atomic_load(&flow[0].last), second = atomic_load(&flow[1].last);
	u64 limit = time_ms() + REST_LIMIT;

	while (atomic_load(&flow[0].last) - first < frames ||
	       atomic_load(&flow[1].last) - second < frames) {
		ASSERT_LE(time_ms(), limit);
		sched_yield();
	}
}

DRAIN_TEST(both,
	"two functions that send to each other are made quiet in both orders, "
	"and released in both: when both are quiet both are at rest, and "
	"nothing is lost but what was sent to a quiet one")
{
	unsigned int n, round, first, rounds = th_times(150);
	struct silence silence[2];
	struct driver driver[2];
	u32 seed = th_seed();
	struct flow flow[2];

	start_ends();
	need_rings_stay(&end[0].vf);
	memset(driver, 0, sizeof(driver));
	for (n = 0; n < 2; n++)
		flow_init(&flow[n], 30 + n, &end[n].station, &end[!n].station);
	for (n = 0; n < 2; n++) {
		driver[n].pump.flow = &flow[n];
		driver[n].it = &end[n];
		driver[n].incoming = &flow[!n];
		ASSERT_EQ(0, pthread_create(&driver[n].pump.thread, NULL,
					    driver_thread, &driver[n]));
	}
	for (round = 0; round < rounds; round++) {
		th_context("round %u", round);
		get_on(flow, 1 + th_dice(&seed, 6));
		for (n = 0; n < 2; n++)
			atomic_store(&flow[n].lossy, true);
		first = th_dice(&seed, 2);
		quiet(&end[first], &seed);
		if (round % 8 == 3)
			sleep_ms(1);
		quiet(&end[!first], &seed);
		th_context("round %u, %u is quiet first, %s, then %s", round,
			   first, end[first].way->name, end[!first].way->name);
		for (n = 0; n < 2; n++)
			pump_park(&driver[n].pump);
		for (n = 0; n < 2; n++)
			silence_begin(&silence[n], &end[n]);
		hold(&seed);
		for (n = 0; n < 2; n++)
			silence_check(&silence[n]);
		first = th_dice(&seed, 2);
		release(&end[first]);
		release(&end[!first]);
		for (n = 0; n < 2; n++)
			drain_by_interrupt(&end[n], &flow[!n], 1);
		for (n = 0; n < 2; n++) {
			EXPECT_EQ(0u, nic_unsent(&end[n].nic));
			if (round % 16 == 0)
				expect_doorbells(&end[n]);
			flow_settle(&flow[n]);
			atomic_store(&flow[n].lossy, false);
		}
		for (n = 0; n < 2; n++)
			pump_go(&driver[n].pump);
	}
	for (n = 0; n < 2; n++)
		pump_stop(&driver[n].pump);
	for (n = 0; n < 2; n++)
		flow_receive(&end[n].station, &flow[!n], 1);
	for (n = 0; n < 2; n++)
		flow_settle(&flow[n]);
	report(&flow[0], "to the second function");
	report(&flow[1], "to the first function");
	tell_toggles();
	all_is_well();
}

/* Register writes by a VMM that is not supposed to make any, both ways. */
static void poke(struct end *it, u32 *seed, u32 offset, u32 value)
{
	if (it->vf.rings && th_dice(seed, 2))
		vf_mwrite(&it->vf, offset, value);
	else
		vf_write(&it->vf, offset, value);
}

static void switch_queues_on(struct end *it, u32 *seed)
{
	poke(it, seed, RXDCTL(0), 0x10810);
	poke(it, seed, TXDCTL(0), 0);
	poke(it, seed, TXDCTL(0), DCTL_ENABLE);
	poke(it, seed, RXDCTL(0), DCTL_ENABLE | 0x10810);
}

static void ring_doorbells(struct end *it, u32 *seed)
{
	/* None that the driver has not rung or is about to ring. */
	poke(it, seed, RDT(0), (it->nic.rx + RING - 1) % RING);
	poke(it, seed, TDT(0), it->nic.tx);
}

static void unmask_interrupts(struct end *it, u32 *seed)
{
	vf_write(&it->vf, EIMC, th_dice(seed, 8));
	vf_write(&it->vf, EITR(RX_VECTOR), 0);
	vf_write(&it->vf, EIMS, 7);
	vf_write(&it->vf, EICS, 7);
	vf_write(&it->vf, EITR(RX_VECTOR), EITR_USUAL);
}

static void arm_interrupts(struct end *it, u32 *seed)
{
	if (th_dice(seed, 2))
		vf_disarm_interrupts(&it->vf);
	vf_arm_interrupts(&it->vf);
}

static void master_bus(struct end *it, u32 *seed)
{
	u16 command = vf_config_read(&it->vf, PCI_COMMAND);
	u8 low = command | PCI_COMMAND_MASTER;
	u32 dword = command | PCI_COMMAND_MASTER;

	vf_config_write(&it->vf, PCI_COMMAND, command & ~PCI_COMMAND_MASTER);
	switch (th_dice(seed, 3)) {
	case 0:
		ASSERT_EQ(1, pwrite(it->vf.fd, &low, 1,
				    it->vf.config + PCI_COMMAND));
		break;
	case 1:
		vf_config_write(&it->vf, PCI_COMMAND,
				command | PCI_COMMAND_MASTER);
		break;
	default:
		ASSERT_EQ(4, pwrite(it->vf.fd, &dword, 4,
				    it->vf.config + PCI_COMMAND));
		break;
	}
}

static void (*const mischief[])(struct end *it, u32 *seed) = {
	switch_queues_on, ring_doorbells, unmask_interrupts, arm_interrupts,
	master_bus,
};

/* A transmit flow arrives at the second function, completely. */
static void all_arrive(struct flow *flow)
{
	u64 limit = time_ms() + REST_LIMIT;

	while (flow_open(flow) && time_ms() <= limit)
		flow_receive(&end[1].station, flow, 1);
	EXPECT_EQ(0u, flow_open(flow));
}

DRAIN_TEST(mischief,
	"under a flood, a VMM that switches queues, interrupts and bus "
	"mastering on and rings doorbells while quiet gets nothing out of the "
	"function, and all of it once when it is released")
{
	unsigned int n, round, rounds;
	struct flow in, out;
	struct silence silence;
	u32 seed = th_seed();
	struct pump pump;
	struct real real;

	station_of_peer(&peer);
	start_ends();
	rounds = rounds_of(&end[0], 100);
	flow_init(&in, 40, &peer, &end[0].station);
	flow_init(&out, 41, &end[0].station, &end[1].station);
	atomic_store(&in.lossy, true);
	atomic_store(&out.lossy, end[0].over);
	pump_start(&pump, &in, 0);
	for (round = 0; round < rounds; round++) {
		at_round(round, &end[0]);
		for (n = 0; n < 2; n++)
			receive_by_interrupt(&end[0], &in, 1);
		quiet(&end[0], &seed);
		at_round(round, &end[0]);
		for (n = th_dice(&seed, 4); n; n--)
			ASSERT_TRUE(flow_send(&out));
		silence_begin(&silence, &end[0]);
		for (n = 0; n < 8; n++)
			mischief[th_dice(&seed, ARRAY_SIZE(mischief))](&end[0],
								       &seed);
		unmask_interrupts(&end[0], &seed);
		hold(&seed);
		EXPECT_EQ(0, vf_real_command(&end[0].vf) & PCI_COMMAND_MASTER);
		real = round % 16 ? (struct real){} : vf_real(&end[0].vf);
		EXPECT_EQ(0u, (real.rxdctl | real.txdctl) & DCTL_ENABLE);
		silence_check(&silence);
		EXPECT_EQ(0u, flow_receive(&end[1].station, &out, 1));
		let_go(&end[0]);
		EXPECT_TRUE(vf_real_command(&end[0].vf) & PCI_COMMAND_MASTER);
		EXPECT_TRUE(vf_wait_interrupt(&end[0].vf, MISC_VECTOR,
					      IRQ_LIMIT));
		if (!end[0].over) {
			all_arrive(&out);
			continue;
		}
		/* Its rings may work: somebody has switched them on. */
		EXPECT_EQ(MSG_NACK, vf_read(&end[0].vf, VMBMEM(0)));
		start_over(&end[0]);
		flow_receive(&end[1].station, &out, 1);
		flow_settle(&out);
	}
	pump_stop(&pump);
	wait_at_rest(&in);
	drain_by_interrupt(&end[0], &in, 1);
	flow_settle(&in);
	report(&in, "peer");
	report(&out, "to the other function");
	tell_toggles();
	all_is_well();
}
