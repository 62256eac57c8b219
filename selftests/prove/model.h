/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A device as the state machine sees it, for the proofs, and what the uAPI says
 * of states. Written from the uAPI and from what fsm.h says of the steps, not
 * from fsm.c: numbers instead of MIG_*, so that these are proven, too.
 */
#ifndef _PROVE_MODEL_H
#define _PROVE_MODEL_H

#include "prove.h"

/* linux/vfio.h, VFIO_DEVICE_STATE_V1_*; bit 3 is NDMA */
#define RUNNING		0x1
#define SAVING		0x2
#define RESUMING	0x4
#define NDMA		0x8
#define ERROR		0x6

enum level { STOPPED, QUIET, WORKING };

/**
 * struct stream - a device state stream
 * @id: which one, 0 for none
 * @sequences: how often the device state has been put into it
 */
struct stream {
	u32 id;
	u32 sequences;
};

/**
 * struct model - a device
 * @level: how much of it runs
 * @out: the stream that is being saved
 * @in: the stream that is being resumed
 * @retired: the stream that has ended in this transition, kept for undo
 * @next: what the caller has prepared in case a stream begins
 * @content: all of its internal state, which only RESUME_BEGIN changes
 */
struct model {
	enum level level;
	struct stream out;
	struct stream in;
	struct stream retired;
	struct stream next;
	u32 content;
};

struct model nondet_model(void);

static const struct stream no_stream;

static bool spec_valid(u32 state)
{
	switch (state) {
	case 0:
	case NDMA:
	case RUNNING:
	case RUNNING | NDMA:
	case SAVING:
	case SAVING | NDMA:
	case RUNNING | SAVING:
	case RUNNING | SAVING | NDMA:
	case RESUMING:
	case RESUMING | NDMA:
		return true;
	default:
		return false;
	}
}

static enum level spec_level(u32 state)
{
	if (!(state & RUNNING))
		return STOPPED;
	return (state & NDMA) ? QUIET : WORKING;
}

static bool spec_both_quiet(u32 from, u32 to)
{
	return spec_level(from) != WORKING && spec_level(to) != WORKING;
}

/* Every entry into stopped and saving starts a new sequence. */
static bool spec_capture_due(u32 from, u32 to)
{
	bool there = (from & SAVING) && !(from & RUNNING);

	return (to & SAVING) && !(to & RUNNING) && !there;
}

/* Any device that is in @state, at the beginning of a transition. */
static struct model model_any(u32 state)
{
	struct model m = nondet_model();

	m.level = spec_level(state);
	if (!(state & SAVING))
		m.out = no_stream;
	if (!(state & RESUMING))
		m.in = no_stream;
	m.retired = no_stream;
	m.next.sequences = 0;

	__CPROVER_assume(!(state & SAVING) || m.out.id);
	__CPROVER_assume(!(state & RESUMING) || m.in.id);
	__CPROVER_assume(m.next.id && m.next.id != m.out.id &&
			 m.next.id != m.in.id);
	/* Counting on from any number, but not over the end of a u32. */
	__CPROVER_assume(m.out.sequences < UINT32_MAX - MIG_STEP_COUNT);
	return m;
}

/* Whether the device is in @state, and nothing of a transition is left. */
static bool model_agrees(const struct model *m, u32 state)
{
	return m->level == spec_level(state) &&
	       !m->out.id == !(state & SAVING) &&
	       !m->in.id == !(state & RESUMING);
}

static bool stream_same(const struct stream *a, const struct stream *b)
{
	return a->id == b->id && a->sequences == b->sequences;
}

static bool model_same(const struct model *a, const struct model *b)
{
	return a->level == b->level && a->content == b->content &&
	       stream_same(&a->out, &b->out) && stream_same(&a->in, &b->in) &&
	       stream_same(&a->retired, &b->retired) &&
	       stream_same(&a->next, &b->next);
}

/* No state that the uAPI does not know. */
static bool model_possible(const struct model *m)
{
	return !(m->in.id && (m->out.id || m->level != STOPPED));
}

/**
 * model_goal - where a transition has to lead
 * @m: the device before it, in @from
 * @from: a valid state
 * @to: a valid state
 * @fresh: the content of a device that has just been reset
 */
static struct model model_goal(const struct model *m, u32 from, u32 to,
			       u32 fresh)
{
	struct model goal = *m;

	if ((from & SAVING) && !(to & SAVING)) {
		goal.retired = m->out;
		goal.out = no_stream;
	}
	if ((from & RESUMING) && !(to & RESUMING)) {
		goal.retired = m->in;
		goal.in = no_stream;
	}
	if (!(from & SAVING) && (to & SAVING)) {
		goal.out = m->next;
		goal.next = no_stream;
	}
	if (!(from & RESUMING) && (to & RESUMING)) {
		goal.in = m->next;
		goal.next = no_stream;
		goal.content = fresh;
	}
	if (spec_capture_due(from, to))
		goal.out.sequences++;
	goal.level = spec_level(to);
	return goal;
}

static bool stream_move(struct stream *to, struct stream *from)
{
	if (to->id || !from->id)
		return false;
	*to = *from;
	*from = no_stream;
	return true;
}

static bool level_move(struct model *m, enum level from, enum level to)
{
	if (m->level != from)
		return false;
	m->level = to;
	return true;
}

/* Do a step; false if it makes no sense where the device is. */
static bool model_step(struct model *m, enum mig_step step, u32 fresh)
{
	switch (step) {
	case MIG_STEP_QUIESCE:
		return level_move(m, WORKING, QUIET);
	case MIG_STEP_RELEASE:
		return level_move(m, QUIET, WORKING);
	case MIG_STEP_STOP:
		return level_move(m, QUIET, STOPPED);
	case MIG_STEP_START:
		return level_move(m, STOPPED, QUIET);
	case MIG_STEP_SAVE_BEGIN:
		return stream_move(&m->out, &m->next);
	case MIG_STEP_SAVE_END:
		return stream_move(&m->retired, &m->out);
	case MIG_STEP_CAPTURE:
		if (m->level != STOPPED || !m->out.id)
			return false;
		m->out.sequences++;
		return true;
	case MIG_STEP_RESUME_BEGIN:
		if (m->level != STOPPED)
			return false;
		m->content = fresh;
		return stream_move(&m->in, &m->next);
	case MIG_STEP_RESUME_END:
		return stream_move(&m->retired, &m->in);
	default:
		return false;
	}
}

/*
 * Take a step back; false if it cannot have been the last one. A stream that
 * was captured into, a device that was reset and guests' requests that were let
 * go cannot be had back.
 */
static bool model_undo(struct model *m, enum mig_step step)
{
	switch (step) {
	case MIG_STEP_QUIESCE:
		return level_move(m, QUIET, WORKING);
	case MIG_STEP_STOP:
		return level_move(m, STOPPED, QUIET);
	case MIG_STEP_START:
		return level_move(m, QUIET, STOPPED);
	case MIG_STEP_SAVE_BEGIN:
		return stream_move(&m->next, &m->out);
	case MIG_STEP_SAVE_END:
		return stream_move(&m->out, &m->retired);
	case MIG_STEP_RESUME_END:
		return stream_move(&m->in, &m->retired);
	default:
		return false;
	}
}

#endif /* _PROVE_MODEL_H */
