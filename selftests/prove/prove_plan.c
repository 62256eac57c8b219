// SPDX-License-Identifier: GPL-2.0
/*
 * Proof of mig_plan(), mig_state_valid() and mig_state_quiet().
 *
 * Proven: for every ordered pair of two u32 values, all 2^64 of them,
 *  - unless both are among the ten states of the uAPI: -EINVAL and no steps;
 *  - otherwise the steps, carried out in their order on a model of a device,
 *    lead from the one to the other, each of them makes sense where it is
 *    done, no invalid state is passed, quiet is not lost between two quiet
 *    ends, streams end before, and begin where they may begin, the device
 *    state is captured if and only if that is due, and no shorter way does it.
 *
 * Assumed: nothing of the two values. The device is in the state it comes
 * from; its streams and its content are arbitrary. The model's steps are what
 * fsm.h says of them (model.h).
 */
#include "model.h"

/* One more than the planner may use, to see if it does. */
#define LONGEST	5

static void prove_states(void)
{
	u32 state = nondet_u32();

	PROVE(mig_state_valid(state) == spec_valid(state),
	      "state: the ten states of the uAPI are valid, no other value is");
	if (spec_valid(state))
		PROVE(mig_state_quiet(state) == (spec_level(state) != WORKING),
		      "state: quiet is not RUNNING, or NDMA");
	if (state == ERROR)
		PROVE(mig_state_quiet(state) && !mig_state_valid(state) &&
		      state == MIG_ERROR,
		      "state: ERROR is quiet, and cannot be asked for");
}

static void prove_refused(u32 from, u32 to)
{
	struct mig_plan plan;
	int ret = mig_plan(from, to, &plan);

	PROVE(ret == -EINVAL,
	      "plan: from or to what is not a valid state is -EINVAL");
	PROVE(!plan.count, "plan: no steps if it is refused");
}

/* What holds for a step whatever came before it. */
static void prove_step(const struct model *m, enum mig_step step, u32 from,
		       u32 to)
{
	enum level lower = spec_level(from) < spec_level(to) ?
			   spec_level(from) : spec_level(to);

	if (spec_both_quiet(from, to))
		PROVE(step != MIG_STEP_RELEASE,
		      "plan: nothing is released between two quiet states");
	if (step == MIG_STEP_SAVE_BEGIN || step == MIG_STEP_RESUME_BEGIN)
		PROVE(m->level == lower,
		      "plan: a stream begins in the lower level of both ends");
	if ((step == MIG_STEP_START || step == MIG_STEP_RELEASE) &&
	    (to & SAVING))
		PROVE(m->out.id, "plan: SAVING is on before RUNNING is");
	if (step == MIG_STEP_CAPTURE)
		PROVE(m->level == STOPPED && m->out.id,
		      "plan: CAPTURE is done stopped and saving");
}

static void prove_shortest(const struct model *origin, const struct model *goal,
			   u32 from, u32 to, unsigned int count, u32 fresh)
{
	unsigned int other = nondet_u8();
	struct model m = *origin;

	/* Any other way: fewer steps, whichever, that make sense. */
	__CPROVER_assume(other < count && count <= LONGEST);
	for (unsigned int i = 0; i < other; i++) {
		u8 step = nondet_u8();

		__CPROVER_assume(step < MIG_STEP_COUNT);
		__CPROVER_assume(model_step(&m, step, fresh));
		__CPROVER_assume(model_possible(&m));
		__CPROVER_assume(m.level != WORKING ||
				 !spec_both_quiet(from, to));
	}
	PROVE(!model_same(&m, goal), "plan: there is no shorter one");
}

static void prove_planned(u32 from, u32 to)
{
	u32 fresh = nondet_u32();
	struct model origin = model_any(from);
	struct model goal = model_goal(&origin, from, to, fresh);
	struct model m = origin;
	unsigned int captures = 0, ends = 0, begins = 0;
	bool down = false, up = false, last = false;
	struct mig_plan plan;
	int ret = mig_plan(from, to, &plan);

	PROVE(!ret, "plan: every pair of valid states has one");
	PROVE(plan.count <= MIG_PLAN_MAX, "plan: never longer than its array");
	if (from == to)
		PROVE(!plan.count, "plan: to stay takes no steps");

	for (unsigned int i = 0; i < plan.count; i++) {
		u8 step = plan.step[i];

		PROVE(step < MIG_STEP_COUNT, "plan: of known steps only");
		PROVE(!last, "plan: what cannot be undone comes last");
		prove_step(&m, step, from, to);

		switch (step) {
		case MIG_STEP_SAVE_END:
		case MIG_STEP_RESUME_END:
			PROVE(!i, "plan: a stream ends before all else");
			ends++;
			break;
		case MIG_STEP_SAVE_BEGIN:
		case MIG_STEP_RESUME_BEGIN:
			PROVE(!up, "plan: a stream begins before the way up");
			begins++;
			break;
		case MIG_STEP_QUIESCE:
		case MIG_STEP_STOP:
			PROVE(!up && !begins,
			      "plan: the way down comes before all but an end");
			down = true;
			break;
		case MIG_STEP_START:
		case MIG_STEP_RELEASE:
			PROVE(!down, "plan: never both down and up");
			up = true;
			break;
		case MIG_STEP_CAPTURE:
			captures++;
			break;
		}
		last = step == MIG_STEP_RELEASE || step == MIG_STEP_CAPTURE ||
		       step == MIG_STEP_RESUME_BEGIN;

		PROVE(model_step(&m, step, fresh),
		      "plan: each step makes sense where it is done");
		PROVE(model_possible(&m), "plan: no invalid state is passed");
		if (spec_both_quiet(from, to))
			PROVE(m.level != WORKING,
			      "plan: quiet is kept between two quiet states");
	}

	PROVE(captures == spec_capture_due(from, to),
	      "plan: CAPTURE once if it is due, else not at all");
	PROVE(ends <= 1 && begins <= 1,
	      "plan: at most one stream ends and one begins");
	PROVE(model_same(&m, &goal), "plan: it leads to the other state");
	PROVE(model_agrees(&m, to), "plan: and the device is in that state");

	if (!plan.count && from != to)
		REACHED("a plan without steps between two states");
	if (plan.count == 1)
		REACHED("a plan of one step");
	if (plan.count == 2)
		REACHED("a plan of two steps");
	if (plan.count == 3)
		REACHED("a plan of three steps");
	if (plan.count == MIG_PLAN_MAX)
		REACHED("a plan as long as its array");
	if (ends && begins && up)
		REACHED("a stream ends, one begins, the device goes up");
	if (ends && begins && captures)
		REACHED("a stream ends, one begins and is captured into");
	if (ends && down && begins)
		REACHED("a stream ends, the device goes down, one begins");

	prove_shortest(&origin, &goal, from, to, plan.count, fresh);
}

int main(void)
{
	u32 from = nondet_u32(), to = nondet_u32();

	prove_states();
	if (spec_valid(from) && spec_valid(to))
		prove_planned(from, to);
	else
		prove_refused(from, to);
	return 0;
}
