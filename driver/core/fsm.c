// SPDX-License-Identifier: GPL-2.0
/*
 * The migration state machine. Plain C, see plain.h: this file is also
 * unit-tested and model-checked in user space.
 */
#include "fsm.h"

enum mig_level {
	MIG_STOPPED,
	MIG_QUIET,
	MIG_WORKING,
};

static enum mig_level mig_level(u32 state)
{
	if (!(state & MIG_R))
		return MIG_STOPPED;
	return (state & MIG_N) ? MIG_QUIET : MIG_WORKING;
}

/**
 * mig_state_valid - is this a state that can be asked for?
 * @state: MIG_* bits
 *
 * Return: true for the ten states of the uAPI, false for ERROR and all else.
 */
bool mig_state_valid(u32 state)
{
	if (state & ~(MIG_R | MIG_S | MIG_M | MIG_N))
		return false;
	return !(state & MIG_M) || !(state & (MIG_R | MIG_S));
}

/**
 * mig_state_quiet - does the device neither DMA nor interrupt in this state?
 * @state: MIG_* bits, MIG_ERROR included
 *
 * Return: true if no DMA and no interrupt may leave the device.
 */
bool mig_state_quiet(u32 state)
{
	return mig_level(state) != MIG_WORKING;
}

static void mig_plan_add(struct mig_plan *plan, enum mig_step step)
{
	plan->step[plan->count++] = step;
}

/**
 * mig_plan - find the steps from one state to another
 * @from: a valid state
 * @to: a valid state
 * @plan: receives the steps; none on error
 *
 * A stream that ends does so first. Then the device goes down, a stream begins
 * and the device goes up, so that a stream begins in the more quiet of the two
 * states, and SAVING is on before RUNNING is.
 *
 * Return: 0, or -EINVAL if one of the states is not valid.
 */
int mig_plan(u32 from, u32 to, struct mig_plan *plan)
{
	enum mig_level old = mig_level(from);
	enum mig_level new = mig_level(to);
	u32 ends = from & ~to;
	u32 begins = to & ~from;

	plan->count = 0;
	if (!mig_state_valid(from) || !mig_state_valid(to))
		return -EINVAL;

	if (ends & MIG_S)
		mig_plan_add(plan, MIG_STEP_SAVE_END);
	if (ends & MIG_M)
		mig_plan_add(plan, MIG_STEP_RESUME_END);

	if (old == MIG_WORKING && new != MIG_WORKING)
		mig_plan_add(plan, MIG_STEP_QUIESCE);
	if (old != MIG_STOPPED && new == MIG_STOPPED)
		mig_plan_add(plan, MIG_STEP_STOP);

	if (begins & MIG_S)
		mig_plan_add(plan, MIG_STEP_SAVE_BEGIN);
	if ((to & MIG_S) && new == MIG_STOPPED &&
	    ((begins & MIG_S) || old != MIG_STOPPED))
		mig_plan_add(plan, MIG_STEP_CAPTURE);
	if (begins & MIG_M)
		mig_plan_add(plan, MIG_STEP_RESUME_BEGIN);

	if (old == MIG_STOPPED && new != MIG_STOPPED)
		mig_plan_add(plan, MIG_STEP_START);
	if (old != MIG_WORKING && new == MIG_WORKING)
		mig_plan_add(plan, MIG_STEP_RELEASE);
	return 0;
}

/* Take back the first @done steps; false if the device is out of control. */
static bool mig_unwind(const struct mig_plan *plan, unsigned int done,
		       const struct mig_fsm_ops *ops, void *context)
{
	if (ops->broken(context))
		return false;
	while (done) {
		done--;
		if (ops->undo(context, plan->step[done]) ||
		    ops->broken(context))
			return false;
	}
	return true;
}

/**
 * mig_transition - go to another state, or stay
 * @state: the current state; on success @to, on failure as before or, where
 *	that cannot be had, MIG_ERROR
 * @to: the state to go to
 * @ops: does the steps
 * @context: for @ops
 *
 * @state changes once, at the end, and never leaves MIG_ERROR.
 *
 * Return: 0; -EINVAL if @to is not a valid state; -EIO if @state is MIG_ERROR
 * (nothing is done in both cases); else what the step that failed returned.
 */
int mig_transition(u32 *state, u32 to, const struct mig_fsm_ops *ops,
		   void *context)
{
	struct mig_plan plan;
	unsigned int done;
	int ret;

	if (*state == MIG_ERROR && mig_state_valid(to))
		return -EIO;
	ret = mig_plan(*state, to, &plan);
	if (ret)
		return ret;

	for (done = 0; done < plan.count; done++) {
		ret = ops->step(context, plan.step[done]);
		if (ret) {
			if (!mig_unwind(&plan, done, ops, context))
				*state = MIG_ERROR;
			return ret;
		}
	}

	*state = to;
	return 0;
}

/**
 * mig_state_name - name a state for the log
 * @state: MIG_* bits
 *
 * Return: a constant string.
 */
const char *mig_state_name(u32 state)
{
	static const char * const names[] = {
		[0]			= "STOPPED",
		[MIG_N]			= "STOPPED|NDMA",
		[MIG_R]			= "RUNNING",
		[MIG_R | MIG_N]		= "RUNNING|NDMA",
		[MIG_S]			= "SAVING",
		[MIG_S | MIG_N]		= "SAVING|NDMA",
		[MIG_R | MIG_S]		= "RUNNING|SAVING",
		[MIG_R | MIG_S | MIG_N]	= "RUNNING|SAVING|NDMA",
		[MIG_M]			= "RESUMING",
		[MIG_M | MIG_N]		= "RESUMING|NDMA",
		[MIG_ERROR]		= "ERROR",
	};

	if (state >= ARRAY_SIZE(names) || !names[state])
		return "invalid";
	return names[state];
}

/**
 * mig_step_name - name a step for the log
 * @step: the step
 *
 * Return: a constant string.
 */
const char *mig_step_name(enum mig_step step)
{
	static const char * const names[MIG_STEP_COUNT] = {
		[MIG_STEP_QUIESCE]	= "quiesce",
		[MIG_STEP_RELEASE]	= "release",
		[MIG_STEP_STOP]		= "stop",
		[MIG_STEP_START]	= "start",
		[MIG_STEP_SAVE_BEGIN]	= "begin saving",
		[MIG_STEP_CAPTURE]	= "capture",
		[MIG_STEP_SAVE_END]	= "end saving",
		[MIG_STEP_RESUME_BEGIN]	= "begin resuming",
		[MIG_STEP_RESUME_END]	= "end resuming",
	};

	if ((unsigned int)step >= ARRAY_SIZE(names))
		return "invalid";
	return names[step];
}
