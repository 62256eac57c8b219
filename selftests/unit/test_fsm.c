// SPDX-License-Identifier: GPL-2.0
/*
 * The state machine: all 10 x 10 pairs of states, and a failure at every place
 * of each of them. Plans are not compared with a copy of the planner but are
 * carried out on a model device that refuses what must never happen, and
 * compared in length with the best that a blind search finds.
 */
#include "../../driver/core/fsm.h"
#include "tap.h"

#define STOPPED	0
#define QUIET	1
#define WORKING	2

static const u32 states[] = {
	0, MIG_N,
	MIG_R, MIG_R | MIG_N,
	MIG_S, MIG_S | MIG_N,
	MIG_R | MIG_S, MIG_R | MIG_S | MIG_N,
	MIG_M, MIG_M | MIG_N,
};

/* What the steps change, apart from any bit encoding. */
struct model {
	int level;
	bool saving;
	bool resuming;
	bool captured;
};

static struct model model_of(u32 state)
{
	struct model m = {
		.level = !(state & MIG_R) ? STOPPED :
			 (state & MIG_N) ? QUIET : WORKING,
		.saving = state & MIG_S,
		.resuming = state & MIG_M,
	};

	return m;
}

static bool model_same(const struct model *a, const struct model *b)
{
	return a->level == b->level && a->saving == b->saving &&
	       a->resuming == b->resuming && a->captured == b->captured;
}

/* The end of a transition; CAPTURE is due on entry to stopped-and-saving. */
static struct model model_goal(u32 from, u32 to)
{
	struct model m = model_of(to), old = model_of(from);

	m.captured = m.saving && m.level == STOPPED &&
		     !(old.saving && old.level == STOPPED);
	return m;
}

/* One step; false if it makes no sense where the model is. */
static bool model_step(struct model *m, enum mig_step step)
{
	switch (step) {
	case MIG_STEP_QUIESCE:
		return m->level-- == WORKING;
	case MIG_STEP_RELEASE:
		return m->level++ == QUIET;
	case MIG_STEP_STOP:
		return m->level-- == QUIET;
	case MIG_STEP_START:
		return m->level++ == STOPPED && !m->resuming;
	case MIG_STEP_SAVE_BEGIN:
		if (m->saving || m->resuming)
			return false;
		m->saving = true;
		return true;
	case MIG_STEP_CAPTURE:
		if (m->captured || !m->saving || m->level != STOPPED)
			return false;
		m->captured = true;
		return true;
	case MIG_STEP_SAVE_END:
		if (!m->saving)
			return false;
		m->saving = false;
		return true;
	case MIG_STEP_RESUME_BEGIN:
		if (m->saving || m->resuming || m->level != STOPPED)
			return false;
		m->resuming = true;
		return true;
	case MIG_STEP_RESUME_END:
		if (!m->resuming)
			return false;
		m->resuming = false;
		return true;
	default:
		return false;
	}
}

/* The opposite of a step; false if the step cannot have been the last one. */
static bool model_undo(struct model *m, enum mig_step step)
{
	switch (step) {
	case MIG_STEP_QUIESCE:
		return m->level++ == QUIET;
	case MIG_STEP_RELEASE:
		return m->level-- == WORKING;
	case MIG_STEP_STOP:
		return m->level++ == STOPPED;
	case MIG_STEP_START:
		return m->level-- == QUIET;
	case MIG_STEP_SAVE_BEGIN:
		if (!m->saving)
			return false;
		m->saving = false;
		return true;
	case MIG_STEP_CAPTURE:
		if (!m->captured)
			return false;
		m->captured = false;
		return true;
	case MIG_STEP_SAVE_END:
		if (m->saving || m->resuming)
			return false;
		m->saving = true;
		return true;
	case MIG_STEP_RESUME_BEGIN:
		if (!m->resuming)
			return false;
		m->resuming = false;
		return true;
	case MIG_STEP_RESUME_END:
		if (m->saving || m->resuming || m->level != STOPPED)
			return false;
		m->resuming = true;
		return true;
	default:
		return false;
	}
}

/* Fewest steps from @m to @goal that need at most @depth; -1 if none do. */
static int shortest(const struct model *m, const struct model *goal,
		    bool stay_quiet, int depth)
{
	int best = -1;

	if (model_same(m, goal))
		return 0;
	if (!depth)
		return -1;
	for (int step = 0; step < MIG_STEP_COUNT; step++) {
		struct model next = *m;
		int rest;

		if (!model_step(&next, step) ||
		    (stay_quiet && next.level == WORKING))
			continue;
		rest = shortest(&next, goal, stay_quiet, depth - 1);
		if (rest >= 0 && (best < 0 || rest + 1 < best))
			best = rest + 1;
	}
	return best;
}

static bool both_quiet(u32 from, u32 to)
{
	return model_of(from).level != WORKING && model_of(to).level != WORKING;
}

/* Why the plan from one state to the other is wrong; NULL if it is not. */
static const char *plan_flaw(u32 from, u32 to, const struct mig_plan *plan)
{
	struct model m = model_of(from), goal = model_goal(from, to);
	bool begun = false, up = false;

	if (plan->count > MIG_PLAN_MAX)
		return "too long";
	for (unsigned int i = 0; i < plan->count; i++) {
		enum mig_step step = plan->step[i];

		if (!model_step(&m, step))
			return "step makes no sense there";
		if (m.resuming && (m.saving || m.level != STOPPED))
			return "invalid state on the way";
		if (m.level == WORKING && both_quiet(from, to))
			return "quiet is left on the way";

		switch (step) {
		case MIG_STEP_SAVE_END:
		case MIG_STEP_RESUME_END:
			if (i)
				return "stream does not end first";
			break;
		case MIG_STEP_SAVE_BEGIN:
			if (up)
				return "RUNNING is on before SAVING";
			begun = true;
			break;
		case MIG_STEP_QUIESCE:
		case MIG_STEP_STOP:
			if (begun)
				return "stream begins before the device is down";
			break;
		case MIG_STEP_START:
		case MIG_STEP_RELEASE:
			up = true;
			break;
		default:
			break;
		}
	}
	if (!model_same(&m, &goal))
		return "does not lead to the target";

	m = model_of(from);
	if (shortest(&m, &goal, both_quiet(from, to), 5) != plan->count)
		return "not the shortest way";
	return NULL;
}

static void print_plan(char *text, size_t size, const struct mig_plan *plan)
{
	size_t used = 0;

	text[0] = 0;
	for (unsigned int i = 0; i < plan->count && used < size; i++)
		used += snprintf(text + used, size - used, "%s%s",
				 i ? ", " : "", mig_step_name(plan->step[i]));
}

static void test_plans(void)
{
	unsigned int longest = 0;

	for (size_t f = 0; f < ARRAY_SIZE(states); f++) {
		for (size_t t = 0; t < ARRAY_SIZE(states); t++) {
			struct mig_plan plan = { .count = 99 };
			const char *flaw = "refused";
			char text[200] = "";

			if (!mig_plan(states[f], states[t], &plan)) {
				flaw = plan_flaw(states[f], states[t], &plan);
				print_plan(text, sizeof(text), &plan);
			}
			if (plan.count > longest)
				longest = plan.count;
			ok(!flaw, "plan %s -> %s: %s%s",
			   mig_state_name(states[f]), mig_state_name(states[t]),
			   text, flaw ? flaw : "");
		}
	}
	ok(longest == MIG_PLAN_MAX, "the longest plan has %u steps", longest);
}

#define Q	MIG_STEP_QUIESCE
#define RL	MIG_STEP_RELEASE
#define ST	MIG_STEP_STOP
#define GO	MIG_STEP_START
#define SB	MIG_STEP_SAVE_BEGIN
#define C	MIG_STEP_CAPTURE
#define SE	MIG_STEP_SAVE_END
#define RB	MIG_STEP_RESUME_BEGIN
#define RE	MIG_STEP_RESUME_END

/* Written down by hand, the ways that VMMs go first. */
static const struct {
	u32 from, to;
	struct mig_plan plan;
} by_hand[] = {
	{ MIG_R, MIG_R | MIG_S, { 1, { SB } } },
	{ MIG_R | MIG_S, MIG_S, { 3, { Q, ST, C } } },
	{ MIG_R | MIG_S, MIG_R | MIG_S | MIG_N, { 1, { Q } } },
	{ MIG_R | MIG_S | MIG_N, MIG_S, { 2, { ST, C } } },
	{ MIG_S, MIG_R | MIG_S, { 2, { GO, RL } } },
	{ MIG_S, MIG_R | MIG_S | MIG_N, { 1, { GO } } },
	{ MIG_S, MIG_S | MIG_N, { 0, { 0 } } },
	{ MIG_S, 0, { 1, { SE } } },
	{ MIG_S, MIG_R, { 3, { SE, GO, RL } } },
	{ MIG_S, MIG_M, { 2, { SE, RB } } },
	{ MIG_R, 0, { 2, { Q, ST } } },
	{ MIG_R, MIG_R | MIG_N, { 1, { Q } } },
	{ MIG_R | MIG_N, 0, { 1, { ST } } },
	{ 0, MIG_R | MIG_N, { 1, { GO } } },
	{ 0, MIG_S, { 2, { SB, C } } },
	{ 0, MIG_R | MIG_S, { 3, { SB, GO, RL } } },
	{ 0, MIG_M, { 1, { RB } } },
	{ MIG_R, MIG_S, { 4, { Q, ST, SB, C } } },
	{ MIG_R, MIG_M, { 3, { Q, ST, RB } } },
	{ MIG_R | MIG_S, MIG_M, { 4, { SE, Q, ST, RB } } },
	{ MIG_M, 0, { 1, { RE } } },
	{ MIG_M, MIG_R, { 3, { RE, GO, RL } } },
	{ MIG_M, MIG_R | MIG_S, { 4, { RE, SB, GO, RL } } },
	{ MIG_M, MIG_S, { 3, { RE, SB, C } } },
	{ MIG_M, MIG_M | MIG_N, { 0, { 0 } } },
};

static void test_by_hand(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(by_hand); i++) {
		const struct mig_plan *want = &by_hand[i].plan;
		struct mig_plan plan;
		int ret = mig_plan(by_hand[i].from, by_hand[i].to, &plan);

		ok(!ret && plan.count == want->count &&
		   !memcmp(plan.step, want->step, want->count),
		   "plan %s -> %s is the one written down",
		   mig_state_name(by_hand[i].from),
		   mig_state_name(by_hand[i].to));
	}
}

#define NEVER	1000

/*
 * A device that carries out steps, and fails where it is told to.
 * @fail_step, @fail_undo: the how-many-eth call fails
 * @breaks: the device breaks with the failing step
 * @undo_breaks: the undo that fails pretends to succeed, but the device breaks
 */
struct fake {
	struct model model;
	unsigned int fail_step;
	unsigned int fail_undo;
	bool breaks;
	bool undo_breaks;

	bool broken;
	unsigned int steps;
	unsigned int undos;
	unsigned int after_broken;
	enum mig_step step[8];
	enum mig_step undo[8];
	bool nonsense;
	bool worked;
};

static int fake_step(void *context, enum mig_step step)
{
	struct fake *fake = context;

	if (fake->steps >= ARRAY_SIZE(fake->step) || fake->undos) {
		fake->nonsense = true;
		return -EPIPE;
	}
	fake->step[fake->steps] = step;
	fake->after_broken += fake->broken;
	if (fake->steps++ == fake->fail_step) {
		fake->broken = fake->breaks;
		return -ETIMEDOUT;
	}
	fake->nonsense |= !model_step(&fake->model, step);
	fake->worked |= fake->model.level == WORKING;
	return 0;
}

static int fake_undo(void *context, enum mig_step step)
{
	struct fake *fake = context;

	if (fake->undos >= ARRAY_SIZE(fake->undo)) {
		fake->nonsense = true;
		return -EPIPE;
	}
	fake->undo[fake->undos] = step;
	fake->after_broken += fake->broken;
	if (fake->undos++ == fake->fail_undo) {
		fake->broken = fake->undo_breaks;
		return fake->undo_breaks ? 0 : -EIO;
	}
	fake->nonsense |= !model_undo(&fake->model, step);
	fake->worked |= fake->model.level == WORKING;
	return 0;
}

static bool fake_broken(void *context)
{
	struct fake *fake = context;

	return fake->broken;
}

static const struct mig_fsm_ops fake_ops = {
	.step = fake_step,
	.undo = fake_undo,
	.broken = fake_broken,
};

/* Run one transition with faults; why it went wrong, or NULL. */
static const char *run(u32 from, u32 to, const struct fake *faults,
		       const struct mig_plan *plan)
{
	struct model origin = model_of(from), goal = model_goal(from, to);
	struct fake fake = *faults;
	u32 state = from, want_state = from;
	unsigned int want_steps, want_undos;
	bool unwinds;
	int ret, want_ret = 0;

	fake.model = origin;
	if (fake.fail_step < plan->count) {
		want_ret = -ETIMEDOUT;
		want_steps = fake.fail_step + 1;
		unwinds = !fake.breaks && fake.fail_undo >= fake.fail_step;
		if (!unwinds)
			want_state = MIG_ERROR;
		want_undos = unwinds ? fake.fail_step :
			     fake.breaks ? 0 : fake.fail_undo + 1;
	} else {
		want_state = to;
		want_steps = plan->count;
		want_undos = 0;
		unwinds = false;
	}

	ret = mig_transition(&state, to, &fake_ops, &fake);
	if (ret != want_ret)
		return "wrong errno";
	if (state != want_state)
		return "wrong state afterwards";
	if (fake.nonsense)
		return "step or undo makes no sense there";
	if (fake.after_broken)
		return "a broken device is still used";
	if (fake.steps != want_steps || fake.undos != want_undos)
		return "wrong number of steps or undos";
	for (unsigned int i = 0; i < fake.steps; i++)
		if (fake.step[i] != plan->step[i])
			return "step is not the planned one";
	for (unsigned int i = 0; i < fake.undos; i++)
		if (fake.undo[i] != plan->step[fake.fail_step - 1 - i])
			return "undo is not in reverse order";
	if (!want_ret && !model_same(&fake.model, &goal))
		return "device is not where it should be";
	if (unwinds && !model_same(&fake.model, &origin))
		return "device is not where it was";
	if (both_quiet(from, to) && fake.worked)
		return "quiet was left on the way";
	return NULL;
}

static void test_transitions(void)
{
	bool undone[MIG_STEP_COUNT] = { false };
	unsigned int runs = 0;

	for (size_t f = 0; f < ARRAY_SIZE(states); f++) {
		for (size_t t = 0; t < ARRAY_SIZE(states); t++) {
			u32 from = states[f], to = states[t];
			struct fake faults = { .fail_step = NEVER,
					       .fail_undo = NEVER };
			const char *flaw, *last = NULL;
			struct mig_plan plan;

			if (mig_plan(from, to, &plan)) {
				ok(false, "transition %s -> %s: no plan",
				   mig_state_name(from), mig_state_name(to));
				continue;
			}
			flaw = run(from, to, &faults, &plan);
			ok(!flaw, "transition %s -> %s%s%s",
			   mig_state_name(from), mig_state_name(to),
			   flaw ? ": " : "", flaw ? flaw : "");

			for (unsigned int s = 0; s < plan.count; s++) {
				faults = (struct fake){ .fail_step = s,
							.fail_undo = NEVER };
				flaw = run(from, to, &faults, &plan);
				last = flaw ? flaw : last;

				faults.breaks = true;
				flaw = run(from, to, &faults, &plan);
				last = flaw ? flaw : last;
				faults.breaks = false;

				for (unsigned int u = 0; u < s; u++) {
					undone[plan.step[u]] = true;
					faults.fail_undo = u;
					faults.undo_breaks = false;
					flaw = run(from, to, &faults, &plan);
					last = flaw ? flaw : last;
					faults.undo_breaks = true;
					flaw = run(from, to, &faults, &plan);
					last = flaw ? flaw : last;
				}
				runs += 2 + 2 * s;
			}
			ok(!last, "faults in %s -> %s%s%s",
			   mig_state_name(from), mig_state_name(to),
			   last ? ": " : "", last ? last : "");
		}
	}
	diag("%u transitions with a fault", runs);
	ok(!undone[MIG_STEP_RELEASE] && !undone[MIG_STEP_CAPTURE] &&
	   !undone[MIG_STEP_RESUME_BEGIN],
	   "RELEASE, CAPTURE and RESUME_BEGIN come last, so are never undone");
}

static void test_states(void)
{
	unsigned int valid = 0;
	bool good = true;

	for (u32 state = 0; state < 256; state++) {
		bool listed = false;

		for (size_t i = 0; i < ARRAY_SIZE(states); i++)
			listed |= states[i] == state;
		good &= mig_state_valid(state) == listed;
		valid += listed;
	}
	for (unsigned int bit = 4; bit < 32; bit++)
		for (size_t i = 0; i < ARRAY_SIZE(states); i++)
			good &= !mig_state_valid(states[i] | 1u << bit);
	ok(good && valid == 10, "ten states are valid, nothing else is");
	ok(!mig_state_valid(MIG_ERROR), "ERROR cannot be asked for");

	good = true;
	for (size_t i = 0; i < ARRAY_SIZE(states); i++)
		good &= mig_state_quiet(states[i]) ==
			(model_of(states[i]).level != WORKING);
	ok(good, "quiet is !RUNNING or NDMA");
	ok(mig_state_quiet(MIG_ERROR), "ERROR is quiet");
}

static void test_bad_input(void)
{
	struct fake fake = { .fail_step = NEVER, .fail_undo = NEVER };
	bool planned = false, refused = true, stays = true;

	for (u32 from = 0; from < 64; from++) {
		for (u32 to = 0; to < 64; to++) {
			struct mig_plan plan = { .count = 99 };

			if (mig_state_valid(from) && mig_state_valid(to))
				continue;
			planned |= mig_plan(from, to, &plan) != -EINVAL;
			planned |= plan.count;
		}
	}
	ok(!planned, "no plan from or to a state that is not valid");

	for (size_t f = 0; f < ARRAY_SIZE(states); f++) {
		for (u32 to = 0; to < 64; to++) {
			u32 state = states[f];

			if (mig_state_valid(to))
				continue;
			refused &= mig_transition(&state, to, &fake_ops,
						  &fake) == -EINVAL;
			refused &= state == states[f];
		}
	}
	ok(refused, "no transition to a state that is not valid");

	for (size_t t = 0; t < ARRAY_SIZE(states); t++) {
		u32 state = MIG_ERROR;

		stays &= mig_transition(&state, states[t], &fake_ops,
					&fake) == -EIO;
		stays &= state == MIG_ERROR;
	}
	ok(stays, "no transition leaves ERROR");

	stays = true;
	for (u32 to = 0; to < 64; to++) {
		u32 state = MIG_ERROR;

		if (mig_state_valid(to))
			continue;
		stays &= mig_transition(&state, to, &fake_ops,
					&fake) == -EINVAL;
		stays &= state == MIG_ERROR;
	}
	ok(stays, "what is not valid is not valid in ERROR either");

	refused = true;
	for (u32 from = 0; from < 64; from++) {
		u32 state = from;

		if (mig_state_valid(from) || from == MIG_ERROR)
			continue;
		refused &= mig_transition(&state, MIG_R, &fake_ops,
					  &fake) == -EINVAL;
		refused &= state == from;
	}
	ok(refused, "no transition from a state that is not valid");
	ok(!fake.steps && !fake.undos, "none of these touches the device");
}

static void test_names(void)
{
	bool distinct = true;

	ok(!strcmp(mig_state_name(0), "STOPPED") &&
	   !strcmp(mig_state_name(MIG_R), "RUNNING") &&
	   !strcmp(mig_state_name(MIG_R | MIG_S | MIG_N),
		   "RUNNING|SAVING|NDMA") &&
	   !strcmp(mig_state_name(MIG_M | MIG_N), "RESUMING|NDMA") &&
	   !strcmp(mig_state_name(MIG_ERROR), "ERROR"), "names of states");
	for (u32 a = 0; a < 40; a++) {
		bool named = mig_state_valid(a) || a == MIG_ERROR;

		distinct &= named == !!strcmp(mig_state_name(a), "invalid");
		for (u32 b = 0; named && b < a; b++)
			distinct &= strcmp(mig_state_name(a),
					   mig_state_name(b)) != 0;
	}
	ok(distinct && !strcmp(mig_state_name(~0u), "invalid"),
	   "each state has a name of its own, the rest is invalid");

	distinct = true;
	for (int a = 0; a < MIG_STEP_COUNT; a++) {
		distinct &= strcmp(mig_step_name(a), "invalid") != 0;
		for (int b = 0; b < a; b++)
			distinct &= strcmp(mig_step_name(a),
					   mig_step_name(b)) != 0;
	}
	ok(distinct && !strcmp(mig_step_name(MIG_STEP_COUNT), "invalid") &&
	   !strcmp(mig_step_name((enum mig_step)-1), "invalid"),
	   "each step has a name of its own, the rest is invalid");
}

int main(void)
{
	test_states();
	test_plans();
	test_by_hand();
	test_transitions();
	test_bad_input();
	test_names();
	return tap_done();
}
