// SPDX-License-Identifier: GPL-2.0
/*
 * Proof of mig_transition(), the executor, with the real planner below it.
 *
 * Proven: for every u32 as the state and every u32 as the one to go to, with
 * any step and any undo failing with any value, and broken() being true at any
 * time and false again at any later time,
 *  - what is not valid is refused, ERROR is not left, and in both cases nothing
 *    is done;
 *  - steps are done in the order of the plan, each at most once, up to the
 *    first that fails; then those that succeeded are undone, in reverse;
 *  - neither on the way nor on the way back an invalid state is passed, or
 *    quiet lost between two quiet ends;
 *  - success means that the device is where it should be. Failure means that it
 *    is exactly as before (level, streams with all that is in them, content),
 *    or ERROR, and that only if it is broken or an undo failed;
 *  - the state is written at the end only. As the device agrees with it then,
 *    or it is ERROR, all of this holds for any number of transitions.
 *
 * Assumed, of mig_fsm_ops, is what fsm.h asks of it:
 *  - a step that returns 0 has been done;
 *  - a step that fails has changed nothing, or broken() is true afterwards;
 *  - an undo that returns 0 has been done, or broken() is true afterwards. Of
 *    one that fails, nothing is assumed.
 * Once something has gone wrong beyond that the device may be in any state
 * whatever, and nothing is claimed but that the state becomes ERROR. That
 * steps.c and the backends keep to this is not proven, nor that a device in
 * ERROR is silent: that is theirs as well.
 */
#include "model.h"

static u32 from, to, state;
static u32 fresh;
static struct mig_plan plan;
static struct model origin, device;

/* What has happened so far. */
static unsigned int steps, undos;
static bool step_failed, undo_failed, was_broken, damaged;
static int errno_of_step;

/* Something worse than a failure: the device is in any state whatever. */
static void damage(void)
{
	device = nondet_model();
	damaged = true;
}

static void prove_way(void)
{
	PROVE(model_possible(&device),
	      "transition: no invalid state is passed");
	if (spec_both_quiet(from, to))
		PROVE(device.level != WORKING,
		      "transition: quiet is kept between two quiet states");
}

static void prove_call(const void *context)
{
	PROVE(context == &device, "transition: the context is handed on");
	PROVE(state == from, "transition: the state is not written on the way");
	PROVE(!was_broken, "transition: a broken device is left alone");
	PROVE(!undo_failed, "transition: nothing is done after a failed undo");
}

static int do_step(void *context, enum mig_step step)
{
	int ret = nondet_int();
	bool sense;

	prove_call(context);
	PROVE(!step_failed, "transition: no step after one that failed");
	PROVE(steps < plan.count, "transition: no more steps than planned");
	PROVE(step == plan.step[steps],
	      "transition: the steps are the planned");
	steps++;

	if (!ret) {
		sense = model_step(&device, step, fresh);
		PROVE(sense,
		      "transition: each step makes sense where it is done");
		prove_way();
		return 0;
	}

	step_failed = true;
	errno_of_step = ret;
	if (nondet_bool())
		damage();

	switch (step) {
	case MIG_STEP_QUIESCE:
		REACHED("QUIESCE fails");
		break;
	case MIG_STEP_RELEASE:
		REACHED("RELEASE fails");
		break;
	case MIG_STEP_STOP:
		REACHED("STOP fails");
		break;
	case MIG_STEP_START:
		REACHED("START fails");
		break;
	case MIG_STEP_SAVE_BEGIN:
		REACHED("SAVE_BEGIN fails");
		break;
	case MIG_STEP_CAPTURE:
		REACHED("CAPTURE fails");
		break;
	case MIG_STEP_SAVE_END:
		REACHED("SAVE_END fails");
		break;
	case MIG_STEP_RESUME_BEGIN:
		REACHED("RESUME_BEGIN fails");
		break;
	case MIG_STEP_RESUME_END:
		REACHED("RESUME_END fails");
		break;
	default:
		break;
	}
	return ret;
}

static int undo_step(void *context, enum mig_step step)
{
	bool sense;

	prove_call(context);
	PROVE(step_failed, "transition: no undo unless a step failed");
	PROVE(undos + 1 < steps, "transition: only what was done is undone");
	PROVE(step == plan.step[steps - 2 - undos],
	      "transition: undone in reverse order");
	PROVE(step != MIG_STEP_RELEASE && step != MIG_STEP_CAPTURE &&
	      step != MIG_STEP_RESUME_BEGIN,
	      "transition: what cannot be undone never is");
	if (spec_both_quiet(from, to))
		PROVE(step != MIG_STEP_QUIESCE,
		      "transition: undo lets nothing out between quiet states");
	undos++;

	if (nondet_bool()) {
		damage();
		undo_failed = nondet_bool();
		if (undo_failed) {
			int ret = nondet_int();

			__CPROVER_assume(ret);
			return ret;
		}
		/* It pretends to have succeeded, but broken() will tell. */
		return 0;
	}

	sense = model_undo(&device, step);
	PROVE(sense, "transition: each undo makes sense where it is done");
	prove_way();

	switch (step) {
	case MIG_STEP_QUIESCE:
		REACHED("QUIESCE is undone");
		break;
	case MIG_STEP_STOP:
		REACHED("STOP is undone");
		break;
	case MIG_STEP_START:
		REACHED("START is undone");
		break;
	case MIG_STEP_SAVE_BEGIN:
		REACHED("SAVE_BEGIN is undone");
		break;
	case MIG_STEP_SAVE_END:
		REACHED("SAVE_END is undone");
		break;
	case MIG_STEP_RESUME_END:
		REACHED("RESUME_END is undone");
		break;
	default:
		break;
	}
	return 0;
}

static bool is_broken(void *context)
{
	bool told = damaged || nondet_bool();

	prove_call(context);
	if (told)
		was_broken = true;
	return told;
}

static const struct mig_fsm_ops ops = {
	.step = do_step,
	.undo = undo_step,
	.broken = is_broken,
};

static void prove_succeeded(void)
{
	struct model goal = model_goal(&origin, from, to, fresh);

	PROVE(!step_failed && !undos && steps == plan.count,
	      "transition: success is all steps done, none failed");
	PROVE(state == to,
	      "transition: after success the state is the new one");
	PROVE(model_same(&device, &goal),
	      "transition: after success the device is where it should be");

	if (steps == MIG_PLAN_MAX)
		REACHED("success after as many steps as there can be");
	if (!steps && from != to)
		REACHED("another state without a step");
}

static void prove_failed(int ret)
{
	PROVE(step_failed, "transition: no failure unless a step fails");
	PROVE(ret == errno_of_step,
	      "transition: returns what the failed step did");

	if (was_broken || undo_failed) {
		PROVE(state == ERROR,
		      "transition: broken, or an undo failed: ERROR");
		if (was_broken && !undos)
			REACHED("ERROR, as the device is broken");
		if (was_broken && undos && undos < steps - 1)
			REACHED("ERROR, as the device broke half-way back");
		if (undo_failed)
			REACHED("ERROR, as an undo failed");
		if (spec_both_quiet(from, to))
			REACHED("ERROR between two quiet states");
		return;
	}

	PROVE(state != ERROR,
	      "transition: ERROR only if broken or an undo failed");
	PROVE(state == from,
	      "transition: after failure the state is the old one");
	PROVE(undos == steps - 1, "transition: all that was done is undone");
	PROVE(model_same(&device, &origin),
	      "transition: after failure the device is exactly as before");

	if (!undos)
		REACHED("the first step fails");
	if (undos == MIG_PLAN_MAX - 1)
		REACHED("as much is undone as there can be");
	if (undos && spec_both_quiet(from, to))
		REACHED("undone between two quiet states");
}

static void prove_transition(int ret)
{
	if (ret)
		prove_failed(ret);
	else
		prove_succeeded();
	if (state != ERROR)
		PROVE(model_agrees(&device, state),
		      "transition: the device agrees with the state again");
}

int main(void)
{
	int ret;

	from = nondet_u32();
	to = nondet_u32();
	fresh = nondet_u32();
	origin = model_any(from);
	device = origin;
	/* What it is good for, prove_plan.c tells. */
	mig_plan(from, to, &plan);

	state = from;
	ret = mig_transition(&state, to, &ops, &device);

	PROVE(state == from || state == to || state == ERROR,
	      "transition: ends in the old state, the new one or ERROR");
	if (spec_valid(from) && spec_valid(to)) {
		prove_transition(ret);
		return 0;
	}

	PROVE(!steps && !undos && state == from,
	      "transition: if it is refused, nothing is done");
	if (!spec_valid(to))
		PROVE(ret == -EINVAL,
		      "transition: to what is not a valid state is -EINVAL");
	else if (from == ERROR)
		PROVE(ret == -EIO, "transition: from ERROR is -EIO");
	else
		PROVE(ret == -EINVAL,
		      "transition: from what is not a valid state is -EINVAL");
	return 0;
}
