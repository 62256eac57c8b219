/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The migration state machine: which states there are, which steps lead from
 * one to another, and how a half-done transition is undone. Plain C.
 *
 * The state is kept in the bits of the v1 migration region, because they are
 * the finer of the two views; a v2 state is one or two of them:
 *
 *	R    RUNNING		RN   RUNNING_P2P
 *	RS   PRE_COPY		RSN  PRE_COPY_P2P
 *	0,N  STOP		S,SN STOP_COPY
 *	M,MN RESUMING		S|M  ERROR
 */
#ifndef _MIG_FSM_H
#define _MIG_FSM_H

#include "plain.h"

#define MIG_R		(1u << 0)	/* RUNNING */
#define MIG_S		(1u << 1)	/* SAVING */
#define MIG_M		(1u << 2)	/* RESUMING */
#define MIG_N		(1u << 3)	/* NDMA: quiet, but MMIO is answered */
#define MIG_ERROR	(MIG_S | MIG_M)

/**
 * enum mig_step - the elementary steps of which every transition is made
 * @MIG_STEP_QUIESCE: working -> quiet: no new DMA or MSI, all earlier ones done
 * @MIG_STEP_RELEASE: quiet -> working; nothing that waited is lost
 * @MIG_STEP_STOP: quiet -> stopped: internal state no longer advances
 * @MIG_STEP_START: stopped -> quiet
 * @MIG_STEP_SAVE_BEGIN: open an outgoing stream
 * @MIG_STEP_CAPTURE: the device is stopped and saving now: start a new
 *	sequence in the outgoing stream and put the device state into it
 * @MIG_STEP_SAVE_END: end the outgoing stream
 * @MIG_STEP_RESUME_BEGIN: reset the device and open an incoming stream
 * @MIG_STEP_RESUME_END: end the incoming stream; fails unless it is complete
 *	and has been loaded
 * @MIG_STEP_COUNT: number of steps
 */
enum mig_step {
	MIG_STEP_QUIESCE,
	MIG_STEP_RELEASE,
	MIG_STEP_STOP,
	MIG_STEP_START,
	MIG_STEP_SAVE_BEGIN,
	MIG_STEP_CAPTURE,
	MIG_STEP_SAVE_END,
	MIG_STEP_RESUME_BEGIN,
	MIG_STEP_RESUME_END,
	MIG_STEP_COUNT,
};

/*
 * A stream that ends, two steps of run level, a stream that begins and CAPTURE
 * would be five. But CAPTURE after two steps of run level means RUNNING to
 * SAVING, where no stream ends. Reached by M -> RS and R -> S, for instance.
 */
#define MIG_PLAN_MAX	4

/**
 * struct mig_plan - the steps of one transition, in order
 * @count: number of steps; 0 where only bits without effect differ
 * @step: enum mig_step
 */
struct mig_plan {
	u8 count;
	u8 step[MIG_PLAN_MAX];
};

/**
 * struct mig_fsm_ops - what the state machine asks of its surroundings
 * @step: do one step; 0 or -errno. A step that fails leaves the device as it
 *	was before the step, or makes @broken true.
 * @undo: take back a step that succeeded (streams included); 0 or -errno
 * @broken: the device cannot be controlled any more (gone, not to be
 *	silenced): do not try to undo, go to ERROR
 */
struct mig_fsm_ops {
	int (*step)(void *context, enum mig_step step);
	int (*undo)(void *context, enum mig_step step);
	bool (*broken)(void *context);
};

bool mig_state_valid(u32 state);
bool mig_state_quiet(u32 state);
int mig_plan(u32 from, u32 to, struct mig_plan *plan);
int mig_transition(u32 *state, u32 to, const struct mig_fsm_ops *ops,
		   void *context);
const char *mig_state_name(u32 state);
const char *mig_step_name(enum mig_step step);

#endif /* _MIG_FSM_H */
