// SPDX-License-Identifier: GPL-2.0
/*
 * A fault at every place of every transition. What can fail in one is counted
 * in a run without faults; then each of them fails in turn. After that, what
 * is done to take a failed transition back fails, too.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>

#include "fault.h"
#include "harness.h"

/* None that the driver makes up by itself. */
#define FAIL	"fail=-ENXIO"

/* Hits by point, in the order of struct faults. */
struct trail {
	u64 hits[POINTS_MAX];
};

struct tally {
	unsigned int faults, errors, doubles;
};

static unsigned int point_number(const struct faults *faults, const char *name)
{
	unsigned int n;

	for (n = 0; n < faults->count; n++)
		if (!strcmp(faults->point[n].name, name))
			return n;
	th_log("no point %s", name);
	th_abort();
}

/* After a fault at one of these the function is not known to be silent. */
static bool is_fatal(const char *point)
{
	static const char * const fatal[] = {
		"transactions", "function-reset", "backend-reset", "queue-stop",
	};
	unsigned int n;

	for (n = 0; n < ARRAY_SIZE(fatal); n++)
		if (!strcmp(fatal[n], point))
			return true;
	return false;
}

static const char *pair_name(u32 from, u32 to)
{
	static char name[64];

	snprintf(name, sizeof(name), "%s -> %s", mig_state_name(from),
		 mig_state_name(to));
	return name;
}

/* What a transition that has failed may leave. */
static void expect_outcome(struct scene *scene, u32 from, bool error)
{
	if (error) {
		EXPECT_V1_STATE(VFIO_MIG_V1_ERROR, &scene->v1);
		scene_expect_error(scene);
		scene_enter(scene, from);
		return;
	}
	scene_expect_unchanged(scene, from);
	/* So that one wrong result does not spoil all others. */
	if (v1_state(&scene->v1) != (int)from) {
		scene_fresh(scene);
		scene_enter(scene, from);
	}
}

/*
 * The @nth place fails, and then, on the way back, each place in turn that was
 * passed there: @after less @before.
 */
static void fail_the_undoing(struct scene *scene, u32 from, u32 to, u64 nth,
			     const struct faults *after,
			     const struct trail *before, struct tally *tally)
{
	unsigned int point;
	u64 hit;

	for (point = 1; point < after->count; point++) {
		const char *name = after->point[point].name;

		for (hit = before->hits[point] + 1;
		     hit <= after->point[point].hits; hit++) {
			th_context("%s, %s and then %s fail",
				   pair_name(from, to), after->last, name);
			fault_clear(&scene->vf);
			fault_arm(&scene->vf, "any", nth, FAIL);
			fault_arm(&scene->vf, name, hit, FAIL);
			EXPECT_TRUE(scene_go(scene, to) < 0);
			expect_outcome(scene, from, true);
			tally->doubles++;
		}
	}
}

/* The same way back as last time? */
static bool same_way(struct trail *way, const struct faults *after,
		     const struct trail *before)
{
	struct trail now = {};
	unsigned int n;
	bool same;

	for (n = 1; n < after->count; n++)
		now.hits[n] = after->point[n].hits - before->hits[n];
	same = !memcmp(&now, way, sizeof(now));
	*way = now;
	return same;
}

/* In @from; ends in @to. */
static void fail_everywhere(struct scene *scene, u32 from, u32 to,
			    struct tally *tally)
{
	struct trail before = {}, way = {};
	struct faults faults;
	u64 nth, count;
	bool error;

	th_context("%s", pair_name(from, to));
	fault_clear(&scene->vf);
	ASSERT_EQ(0, scene_go(scene, to));
	ASSERT_EQ((int)to, v1_state(&scene->v1));
	fault_read(&scene->vf, &faults);
	count = fault_hits(&faults, "any");
	scene_enter(scene, from);

	for (nth = 1; nth <= count; nth++) {
		fault_clear(&scene->vf);
		fault_arm(&scene->vf, "any", nth, FAIL);
		EXPECT_TRUE(scene_go(scene, to) < 0);
		fault_read(&scene->vf, &faults);
		fault_clear(&scene->vf);
		th_context("%s, %s fails", pair_name(from, to), faults.last);
		ASSERT_NE('\0', *faults.last);
		tally->faults++;

		error = is_fatal(faults.last);
		expect_outcome(scene, from, error);
		before.hits[point_number(&faults, faults.last)]++;
		tally->errors += error;
		if (!error && !same_way(&way, &faults, &before))
			fail_the_undoing(scene, from, to, nth, &faults,
					 &before, tally);
	}

	th_context("%s, after all", pair_name(from, to));
	fault_clear(&scene->vf);
	ASSERT_EQ(0, scene_go(scene, to));
	EXPECT_V1_STATE(to, &scene->v1);
}

static void pairs_from(u32 from)
{
	static struct scene scene;
	struct tally tally = {};
	unsigned int n;

	scene_open(&scene, false);
	for (n = 0; n < V1_STATES; n++) {
		scene_enter(&scene, from);
		fail_everywhere(&scene, from, v1_states[n], &tally);
		th_context("%s, at last", pair_name(from, v1_states[n]));
		scene_fresh(&scene);
		scene_expect_working(&scene);
	}
	th_log("%u faults, %u of them led to ERROR; %u times two faults",
	       tally.faults, tally.errors, tally.doubles);
}

#define PAIRS_FROM(_name, _state)					\
	TH_TEST(pairs_from_##_name, 600, false,				\
		"a fault at any place of a transition from this v1 state to " \
		"any other gives that state, unchanged, or ERROR if the "	\
		"function cannot be controlled or the undoing fails; ERROR is " \
		"silent, and left by reset only")			\
	{								\
		pairs_from(_state);					\
	}

PAIRS_FROM(running, V1_R)
PAIRS_FROM(running_ndma, V1_R | V1_N)
PAIRS_FROM(running_saving, V1_R | V1_S)
PAIRS_FROM(running_saving_ndma, V1_R | V1_S | V1_N)
PAIRS_FROM(stopped, 0)
PAIRS_FROM(stopped_ndma, V1_N)
PAIRS_FROM(saving, V1_S)
PAIRS_FROM(saving_ndma, V1_S | V1_N)
PAIRS_FROM(resuming, V1_M)
PAIRS_FROM(resuming_ndma, V1_M | V1_N)

/* The arcs of v2, as linux/vfio.h has them: those that are no combination. */
static const struct {
	u32 from, to;
} arcs[] = {
	{ V1_R, V1_R | V1_N },
	{ V1_R, V1_R | V1_S },
	{ V1_R | V1_N, V1_R },
	{ V1_R | V1_N, 0 },
	{ V1_R | V1_N, V1_R | V1_S | V1_N },
	{ 0, V1_R | V1_N },
	{ 0, V1_S },
	{ 0, V1_M },
	{ V1_S, 0 },
	{ V1_M, 0 },
	{ V1_R | V1_S, V1_R },
	{ V1_R | V1_S, V1_R | V1_S | V1_N },
	{ V1_R | V1_S | V1_N, V1_R | V1_N },
	{ V1_R | V1_S | V1_N, V1_R | V1_S },
	{ V1_R | V1_S | V1_N, V1_S },
};

TH_TEST(v2_arcs, 600, true,
	"the same for each arc of v2 (linux/vfio.h); and a SET that fails "
	"leaves no file descriptor and no file")
{
	static struct scene scene;
	struct tally tally = {};
	unsigned int n;
	int users;

	scene_open(&scene, true);
	users = module_users();
	for (n = 0; n < ARRAY_SIZE(arcs); n++) {
		if (!vf_state_offered(&scene.vf, v1_as_v2(arcs[n].from)) ||
		    !vf_state_offered(&scene.vf, v1_as_v2(arcs[n].to)))
			continue;
		scene_enter(&scene, arcs[n].from);
		fail_everywhere(&scene, arcs[n].from, arcs[n].to, &tally);
		scene_fresh(&scene);
		scene_expect_working(&scene);
		EXPECT_EQ(users, module_users());
	}
	th_log("%u faults, %u of them led to ERROR; %u times two faults",
	       tally.faults, tally.errors, tally.doubles);
}

/* v2's combinations, with the states on their way. */
static const struct {
	u32 way[5];
	unsigned int count;
} paths[] = {
	{ { V1_R, V1_R | V1_N, 0, V1_S }, 4 },
	{ { V1_R, V1_R | V1_N, 0, V1_M }, 4 },
	{ { V1_R | V1_S, V1_R | V1_S | V1_N, V1_S }, 3 },
	{ { V1_S, 0, V1_R | V1_N, V1_R }, 4 },
	{ { V1_M, 0, V1_R | V1_N, V1_R }, 4 },
	{ { V1_S, 0, V1_M }, 3 },
};

static bool on_the_way(const u32 *way, unsigned int count, int state)
{
	unsigned int n;

	for (n = 0; n < count; n++)
		if (state == (int)way[n])
			return true;
	return false;
}

static void fail_on_the_way(struct scene *scene, const u32 *way,
			    unsigned int count)
{
	u32 from = way[0], to = way[count - 1];
	struct faults faults;
	u64 nth, hits;
	int state;

	th_context("%s", pair_name(from, to));
	scene_enter(scene, from);
	fault_clear(&scene->vf);
	ASSERT_EQ(0, scene_go(scene, to));
	fault_read(&scene->vf, &faults);
	hits = fault_hits(&faults, "any");
	for (nth = 1; nth <= hits; nth++) {
		scene_fresh(scene);
		scene_enter(scene, from);
		fault_clear(&scene->vf);
		fault_arm(&scene->vf, "any", nth, FAIL);
		EXPECT_TRUE(scene_go(scene, to) < 0);
		fault_read(&scene->vf, &faults);
		fault_clear(&scene->vf);
		th_context("%s, %s fails", pair_name(from, to), faults.last);
		state = v1_state(&scene->v1);
		EXPECT_EQ(is_fatal(faults.last),
			  state == VFIO_MIG_V1_ERROR);
		/* Short of the end: there it would be no failure. */
		if (state != VFIO_MIG_V1_ERROR) {
			EXPECT_TRUE(on_the_way(way, count - 1, state));
			EXPECT_EQ(0, scene_go(scene, to));
			EXPECT_V1_STATE(to, &scene->v1);
		}
	}
	scene_fresh(scene);
	scene_expect_working(scene);
}

TH_TEST(v2_paths, 600, true,
	"a combination of arcs that fails stays at the original state or one "
	"on its way (linux/vfio.h), from where it can be asked for again")
{
	static struct scene scene;
	unsigned int n;

	scene_open(&scene, true);
	for (n = 0; n < ARRAY_SIZE(paths); n++)
		if (vf_state_offered(&scene.vf, v1_as_v2(paths[n].way[0])))
			fail_on_the_way(&scene, paths[n].way, paths[n].count);
}
