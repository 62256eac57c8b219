// SPDX-License-Identifier: GPL-2.0
/*
 * What the steps of the state machine (fsm.h) do to a device.
 *
 * Entering quiet, in this order:
 *  1. the shield goes up: no access by the user reaches rings and doorbells;
 *  2. the backend stops its queues, waits until what they had under way has
 *     been written back, and reads a register: that read pushes the function's
 *     posted writes, MSIs included, before it (PCIe ordering);
 *  3. Transactions Pending is waited for: reads that the function has sent;
 *  4. bus mastering is cleared, so that nothing the user does can undo 2;
 *  5. interrupt handlers are waited for, so that the user's eventfd has
 *     counted what has arrived.
 * Only then is quiet acknowledged. Leaving it takes the reverse order.
 */
#include <linux/file.h>
#include <linux/pm_runtime.h>

#include "core.h"

/* Nobody knows what the user has done with trapped registers. */
static int mig_check_exposed(struct vfio_pci_mig *mig)
{
	lockdep_assert_held(&mig->io_lock);
	if (!mig->exposed)
		return 0;
	mig_note_reason(mig, "registers were mapped that are not offered");
	return -EOPNOTSUPP;
}

static int mig_step_quiesce(struct vfio_pci_mig *mig)
{
	ktime_t began = ktime_get();
	int ret;

	ret = mig_check_present(mig);
	if (ret)
		return ret;

	/* What the user has told the device so far shall still be done. */
	mig_dirty_forward(mig);
	mig_dirty_hold(mig);
	began = mig_note_phase(mig, "dirty pages", began);
	mig_device_lock(mig);
	began = mig_note_phase(mig, "locks", began);
	mig_shield_on(mig);
	if (mig->tracking)
		mig_shield_sync(mig);
	began = mig_note_phase(mig, "shield", began);
	ret = mig_check_exposed(mig);
	if (!ret)
		ret = mig_fault(mig, MIG_POINT_BACKEND_QUIESCE);
	if (!ret)
		ret = mig->backend->quiesce(mig);
	began = mig_note_phase(mig, "backend", began);
	if (ret) {
		mig_shield_off(mig);
	} else {
		ret = mig_wait_transactions(mig);
		began = mig_note_phase(mig, "transactions", began);
		mig_bus_block(mig);
		mig_shield_renew(mig);
		began = mig_note_phase(mig, "stand-ins", began);
	}
	mig_device_unlock(mig);
	mig_dirty_resume(mig);

	if (!ret) {
		mig_wait_interrupts(mig);
		mig_note_phase(mig, "interrupts", began);
		mig_dirty_settle(mig);
	}
	return ret;
}

static int mig_step_release(struct vfio_pci_mig *mig)
{
	ktime_t began = ktime_get();
	int ret;

	ret = mig_check_present(mig);
	if (ret)
		return ret;

	mig_dirty_hold(mig);
	mig_dirty_prepare(mig);
	began = mig_note_phase(mig, "dirty pages", began);
	mig_device_lock(mig);
	began = mig_note_phase(mig, "locks", began);
	/* First close the stand-ins, then take what was written to them. */
	mig_shield_on(mig);
	mig_shield_sync(mig);
	mig_bus_unblock(mig);
	began = mig_note_phase(mig, "stand-ins", began);
	ret = mig_fault(mig, MIG_POINT_BACKEND_RELEASE);
	if (!ret)
		ret = mig->backend->release(mig);
	mig_note_phase(mig, "backend", began);
	if (ret) {
		/* Part of it may have worked for a moment: quiet again. */
		mig_wait_transactions(mig);
		mig_bus_block(mig);
		mig_shield_renew(mig);
	} else {
		mig_shield_off(mig);
	}
	mig_device_unlock(mig);
	mig_dirty_resume(mig);

	if (ret)
		mig_wait_interrupts(mig);
	return ret;
}

static int mig_step_capture(struct vfio_pci_mig *mig)
{
	struct mig_session *session = mig->session;
	int ret;

	ret = mig_check_lost(mig);
	if (ret)
		return ret;
	ret = mig_session_begin_locked(session);
	if (ret)
		return ret;

	mig_device_lock(mig);
	mig_shield_sync(mig);
	ret = mig_fault(mig, MIG_POINT_BACKEND_SAVE);
	if (!ret)
		ret = mig->backend->save(mig, &session->encoder);
	mig_device_unlock(mig);
	if (ret)
		return ret;

	if (mig->backend->save_chunk) {
		/* END is behind them, see mig_session_fill_locked(). */
		ret = session->encoder.error;
	} else {
		ret = mig_fault(mig, MIG_POINT_SEQUENCE_END);
		if (!ret)
			ret = mig_encode_end(&session->encoder);
	}
	if (ret)
		return ret;
	mig_session_commit_locked(session);
	session->more = mig->backend->save_chunk;
	session->left = mig->chunk_bytes;
	return 0;
}

static int mig_step_stream_begin(struct vfio_pci_mig *mig)
{
	if (WARN_ON_ONCE(mig->session || !mig->next_session))
		return -EINVAL;
	mig->session = mig->next_session;
	mig->next_session = NULL;
	return 0;
}

/* Who cannot be stopped in the end should hear of it at the beginning. */
static int mig_step_save_begin(struct vfio_pci_mig *mig)
{
	int ret;

	mutex_lock(&mig->io_lock);
	ret = mig_check_exposed(mig);
	mutex_unlock(&mig->io_lock);
	return ret ?: mig_step_stream_begin(mig);
}

/* Kept aside until the transition has succeeded: it may have to come back. */
static int mig_step_stream_end(struct vfio_pci_mig *mig)
{
	mig->retired = mig->session;
	mig->session = NULL;
	return 0;
}

static int mig_step_resume_begin(struct vfio_pci_mig *mig)
{
	int ret;

	/*
	 * Reset here and not when RESUMING is left: VMMs restore COMMAND and
	 * MSI-X while the device is still RESUMING.
	 */
	ret = mig_reset_function(mig);
	if (ret) {
		vfio_pci_mig_warn(mig, "no reset for RESUMING (%d)", ret);
		return ret;
	}
	return mig_step_stream_begin(mig);
}

static int mig_step_resume_end(struct vfio_pci_mig *mig)
{
	struct mig_parser *parser = &mig->session->parser;
	int ret = mig_parser_finish(parser);

	if (ret) {
		vfio_pci_mig_warn(mig, "RESUMING cannot be left: %s (%d)",
				  parser->reason, ret);
		return ret;
	}
	return mig_step_stream_end(mig);
}

static int mig_step_do(struct vfio_pci_mig *mig, enum mig_step step)
{
	int ret = mig_fault(mig, MIG_POINT_STEP + step);

	if (ret)
		return ret;
	switch (step) {
	case MIG_STEP_QUIESCE:
		return mig_step_quiesce(mig);
	case MIG_STEP_RELEASE:
		return mig_step_release(mig);
	case MIG_STEP_STOP:
	case MIG_STEP_START:
		/* A quiet device without its queues has nothing to advance. */
		return 0;
	case MIG_STEP_SAVE_BEGIN:
		return mig_step_save_begin(mig);
	case MIG_STEP_CAPTURE:
		return mig_step_capture(mig);
	case MIG_STEP_SAVE_END:
		return mig_step_stream_end(mig);
	case MIG_STEP_RESUME_BEGIN:
		return mig_step_resume_begin(mig);
	case MIG_STEP_RESUME_END:
		return mig_step_resume_end(mig);
	default:
		return -EINVAL;
	}
}

static int mig_step_undo(struct vfio_pci_mig *mig, enum mig_step step)
{
	int ret = mig_fault(mig, MIG_POINT_UNDO + step);

	if (ret)
		return ret;
	switch (step) {
	case MIG_STEP_QUIESCE:
		return mig_step_release(mig);
	case MIG_STEP_SAVE_BEGIN:
		/* Dropped with what the door has allocated and did not use. */
		mig->next_session = mig->session;
		mig->session = NULL;
		return 0;
	case MIG_STEP_SAVE_END:
	case MIG_STEP_RESUME_END:
		mig->session = mig->retired;
		mig->retired = NULL;
		return 0;
	case MIG_STEP_STOP:
	case MIG_STEP_START:
		return 0;
	default:
		/* The others only ever come last: nothing after them fails. */
		WARN_ON_ONCE(1);
		return -EINVAL;
	}
}

static int mig_step(void *context, enum mig_step step)
{
	struct vfio_pci_mig *mig = context;
	ktime_t began = mig_note_begin(mig, mig_step_name(step));

	return mig_note_step(mig, step, false, began, mig_step_do(mig, step));
}

static int mig_undo(void *context, enum mig_step step)
{
	struct vfio_pci_mig *mig = context;
	ktime_t began = mig_note_begin(mig, mig_step_name(step));

	return mig_note_step(mig, step, true, began, mig_step_undo(mig, step));
}

static bool mig_is_broken(void *context)
{
	struct vfio_pci_mig *mig = context;

	return mig->broken;
}

static const struct mig_fsm_ops mig_fsm_ops = {
	.step = mig_step,
	.undo = mig_undo,
	.broken = mig_is_broken,
};

/* In ERROR the device is silent, whatever the user does, until reset. */
static void mig_silence(struct vfio_pci_mig *mig)
{
	mig_device_lock(mig);
	mig_shield_on(mig);
	mig_bus_block(mig);
	mig_wait_transactions(mig);
	mig_shield_renew(mig);
	mig_device_unlock(mig);
	mig_wait_interrupts(mig);
}

static void mig_drop_session(struct mig_session **session)
{
	if (*session)
		mig_session_detach_locked(*session);
	*session = NULL;
}

/* Carry out one transition. It may consume mig->next_session. */
static int mig_change_state_locked(struct vfio_pci_mig *mig,
				   enum mig_door door, u32 to)
{
	struct mig_session *session = mig->session;
	ktime_t began = ktime_get();
	u32 from = mig->state;
	int ret;

	lockdep_assert_held(&mig->guard->mutex);
	ret = mig_transition(&mig->state, to, &mig_fsm_ops, mig);
	mig_note_transition(mig, from, to, door, began, ret);

	if (ret && mig->state == MIG_ERROR && from != MIG_ERROR) {
		mig_silence(mig);
		mig_drop_session(&mig->session);
		dev_err_ratelimited(&mig->core.pdev->dev,
				    "%s -> %s failed (%d), ERROR until reset\n",
				    mig_state_name(from), mig_state_name(to),
				    ret);
	}
	/* Not before: a stream that came back has its window as it was. */
	if (mig->session != session)
		mig_window_renew(mig);
	mig_drop_session(&mig->retired);
	return ret;
}

/**
 * mig_check_door_locked - can a door change the state now
 * @mig: the device; the state lock is held
 * @door: the door
 *
 * Return: 0; -EBUSY (the other door's migration), -EIO (ERROR).
 */
int mig_check_door_locked(struct vfio_pci_mig *mig, enum mig_door door)
{
	lockdep_assert_held(&mig->guard->mutex);
	if (mig->state == MIG_ERROR)
		return mig_note_refusal(mig, -EIO, "in ERROR until reset");
	if (mig->owner != MIG_DOOR_NONE && mig->owner != door)
		return mig_note_refusal(mig, -EBUSY,
					"the other door owns the migration");
	return 0;
}

/**
 * mig_request_locked - a user asks for another state
 * @mig: the device; the state lock is held
 * @door: the uAPI that the request came by. Until the device is RUNNING again
 *	the other one is refused.
 * @path: MIG_* bits of the states on the way, the last one is what the user
 *	asked for. Only the last arc may begin a stream.
 * @arcs: number of @path, not 0
 * @filp: if a stream begins, gets a file to read or write it by, or NULL;
 *	NULL if none is wanted
 *
 * A stream that begins gets its session and its file first, so that there is
 * nothing left that can fail for want of memory once the device has moved.
 *
 * Return: 0; -EINVAL (not a state), -EBUSY (the other door's migration), -EIO
 * (ERROR, which only reset ends), -ENOMEM, and the state is as before; or as
 * the step that failed, and the state is as before the arc that failed, or
 * ERROR if that cannot be had. -EOPNOTSUPP is that of a device whose user has
 * had trapped registers in a mapping: until it is closed it only runs.
 */
int mig_request_locked(struct vfio_pci_mig *mig, enum mig_door door,
		       const u32 *path, unsigned int arcs, struct file **filp)
{
	u32 to = path[arcs - 1];
	u32 begins = to & ~mig->state & (MIG_S | MIG_M);
	unsigned int arc;
	int ret;

	if (filp)
		*filp = NULL;
	if (!mig_state_valid(to))
		return mig_note_refusal(mig, -EINVAL, "no such state");
	ret = mig_check_door_locked(mig, door);
	if (ret)
		return ret;

	if (begins) {
		mig->next_session = mig_session_alloc(mig, begins & MIG_M);
		if (!mig->next_session)
			return mig_note_refusal(mig, -ENOMEM,
						"no memory for a stream");
	}
	if (begins && filp) {
		*filp = mig_datafd_file(mig->next_session);
		if (IS_ERR(*filp)) {
			ret = PTR_ERR(*filp);
			*filp = NULL;
			mig_drop_session(&mig->next_session);
			return mig_note_refusal(mig, ret, "no data fd");
		}
	}

	for (arc = 0; !ret && arc < arcs; arc++)
		ret = mig_change_state_locked(mig, door, path[arc]);
	mig_drop_session(&mig->next_session);
	mig->owner = mig->state == MIG_R ? MIG_DOOR_NONE : door;
	if (!ret && mig->state == (MIG_R | MIG_S))
		mig_dirty_saving(mig);
	if (ret && filp && *filp) {
		fput(*filp);
		*filp = NULL;
	}
	return ret;
}

/* The data fd keeps nothing awake, unlike the device's own fd. */
static int mig_wake(struct vfio_pci_mig *mig)
{
	int ret = mig_fault(mig, MIG_POINT_POWER);

	if (!ret)
		ret = pm_runtime_resume_and_get(&mig->core.pdev->dev);
	return min(ret, 0);
}

/* Have a device that may be asleep to oneself; undone by mig_leave(). */
static int mig_reach(struct vfio_pci_mig *mig)
{
	int ret = mig_wake(mig);

	if (!ret)
		mig_device_lock(mig);
	return ret;
}

static void mig_leave(struct vfio_pci_mig *mig)
{
	mig_device_unlock(mig);
	pm_runtime_put(&mig->core.pdev->dev);
}

/**
 * mig_save_chunk_locked - have the backend write chunks
 * @mig: the device, stopped and saving; the state lock is held
 * @session: its outgoing stream, whose encoder has room for one chunk
 *
 * Return: 1; 0: there are no more; -errno.
 */
int mig_save_chunk_locked(struct vfio_pci_mig *mig, struct mig_session *session)
{
	struct mig_encoder *enc = &session->encoder;
	int ret;

	lockdep_assert_held(&mig->guard->mutex);
	if (enc->error)
		return enc->error;
	ret = mig_reach(mig);
	if (ret)
		return mig_note_refusal(mig, ret, "no power");
	ret = mig_fault(mig, MIG_POINT_BACKEND_SAVE);
	if (!ret)
		ret = mig->backend->save_chunk(mig, enc);
	mig_leave(mig);
	if (ret >= 0 && enc->error)
		ret = enc->error;
	/* What is read of a device that has gone looks like content. */
	if (ret >= 0 && mig_check_present(mig))
		ret = -ENODEV;
	/* Or this would never end. */
	if (ret > 0 && !enc->used)
		ret = -EIO;
	if (ret < 0)
		mig_note_refusal(mig, ret, "the device does not give it all");
	return ret;
}

/**
 * mig_unload_locked - chunks have been loaded in vain: reset the device
 * @mig: the device, RESUMING; the state lock is held
 * @session: its incoming stream
 *
 * If that does not work now, the stream is bad, and so only a reset can end
 * RESUMING anyway.
 *
 * Return: 0, also if there were no chunks; -errno, latched.
 */
int mig_unload_locked(struct vfio_pci_mig *mig, struct mig_session *session)
{
	int ret;

	lockdep_assert_held(&mig->guard->mutex);
	if (!session->touched)
		return 0;
	ret = mig_wake(mig);
	if (!ret) {
		ret = mig_reset_function(mig);
		pm_runtime_put(&mig->core.pdev->dev);
	}
	if (ret)
		return mig_parser_fail(&session->parser, ret,
				       "no reset for what was loaded before");
	session->touched = false;
	return 0;
}

/* Of another sequence than the one that is to be loaded now. */
static int mig_unload_other(struct vfio_pci_mig *mig,
			    struct mig_session *session)
{
	if (session->touched_by == session->parser.sequence)
		return 0;
	return mig_unload_locked(mig, session);
}

/**
 * mig_load_chunk_locked - load the chunk that the parser has stopped behind
 * @mig: the device, RESUMING; the state lock is held
 * @session: its incoming stream
 *
 * Return: 0; or -errno, latched as the verdict on the stream.
 */
int mig_load_chunk_locked(struct vfio_pci_mig *mig, struct mig_session *session)
{
	struct mig_parser *parser = &session->parser;
	const void *payload;
	u32 length;
	u16 type;
	int ret;

	lockdep_assert_held(&mig->guard->mutex);
	payload = mig_parser_chunk(parser, &type, &length);
	if (!payload || WARN_ON_ONCE(!mig->backend->load_chunk))
		return mig_parser_fail(parser, -EINVAL, "no chunk");
	ret = mig_unload_other(mig, session);
	if (ret)
		return ret;
	ret = mig_reach(mig);
	if (ret)
		return mig_parser_fail(parser, ret, "no power");
	session->touched = true;
	session->touched_by = parser->sequence;
	ret = mig_fault(mig, MIG_POINT_BACKEND_LOAD);
	if (!ret)
		ret = mig->backend->load_chunk(mig, type, payload, length);
	mig_leave(mig);
	if (ret)
		return mig_parser_fail(parser, ret,
				       "the device does not take it");
	return 0;
}

/**
 * mig_save_ahead_locked - write what a destination can prepare itself with
 * @mig: the device, SAVING and RUNNING; the state lock is held
 * @session: its outgoing stream, in which a sequence has been begun
 *
 * Return: 0 or -errno, and the sequence is to be begun again.
 */
int mig_save_ahead_locked(struct vfio_pci_mig *mig, struct mig_session *session)
{
	int ret;

	lockdep_assert_held(&mig->guard->mutex);
	if (!mig->backend->save_ahead)
		return 0;
	mig_device_lock(mig);
	ret = mig_fault(mig, MIG_POINT_BACKEND_SAVE_AHEAD);
	if (!ret)
		ret = mig->backend->save_ahead(mig, &session->encoder);
	mig_device_unlock(mig);
	return ret ?: mig_encode_ahead(&session->encoder);
}

typedef int (*mig_take_fn)(struct vfio_pci_mig *mig,
			   const struct mig_parser *state);

/* Have the backend take what has come in. */
static int mig_take(struct vfio_pci_mig *mig, struct mig_session *session,
		    mig_take_fn take, unsigned int point, const char *doing)
{
	ktime_t began = mig_note_begin(mig, doing);
	int ret;

	ret = mig_reach(mig);
	if (ret) {
		mig_note_taken(mig, doing, began);
		return mig_parser_fail(&session->parser, ret, "no power");
	}
	ret = mig_fault(mig, point);
	if (!ret)
		ret = take(mig, &session->parser);
	mig_shield_renew(mig);
	mig_leave(mig);
	mig_note_taken(mig, doing, began);
	if (ret)
		return mig_parser_fail(&session->parser, ret,
				       "the device does not take it");
	return 0;
}

/**
 * mig_prepare_locked - do early what a load would take long for
 * @mig: the device, RESUMING; the state lock is held
 * @session: its incoming stream, in which AHEAD has come
 *
 * Return: 0; or -errno, latched as the verdict on the stream: what cannot be
 * done now would fail the load as well, when the guest has been stopped.
 */
int mig_prepare_locked(struct vfio_pci_mig *mig, struct mig_session *session)
{
	lockdep_assert_held(&mig->guard->mutex);
	if (!mig->backend->prepare)
		return 0;
	return mig_take(mig, session, mig->backend->prepare,
			MIG_POINT_BACKEND_PREPARE, "prepare");
}

/**
 * mig_load_locked - load a sequence that has been received completely
 * @mig: the device, RESUMING; the state lock is held
 * @session: its incoming stream
 *
 * In the write that completes the stream and not in the transition that
 * follows: only here a VMM can still tell the source that it failed.
 *
 * Return: 0; or -errno, latched as the verdict on the stream.
 */
int mig_load_locked(struct vfio_pci_mig *mig, struct mig_session *session)
{
	int ret;

	lockdep_assert_held(&mig->guard->mutex);
	ret = mig_unload_other(mig, session);
	if (ret)
		return ret;
	return mig_take(mig, session, mig->backend->load,
			MIG_POINT_BACKEND_LOAD, "load");
}

/* No session, no window, no owner is left of what was before. */
static void mig_forget(struct vfio_pci_mig *mig)
{
	mig_fault_answer(mig);
	mig_drop_session(&mig->session);
	mig_drop_session(&mig->retired);
	mig_drop_session(&mig->next_session);
	mig->state = MIG_R;
	mig->owner = MIG_DOOR_NONE;
	mig->broken = false;
	WRITE_ONCE(mig->lost, false);
	mig_window_renew(mig);
}

/**
 * mig_clean_state_locked - RUNNING, with nothing of the past
 * @mig: the device, which has just been reset; the state lock is held
 * @in_reset: called from reset_done, where memory_lock may be held already,
 *	and where the PCI core keeps the user from config space anyway
 *
 * The PCI core reports a reset even if it has failed. So the backend has the
 * last word: if it cannot silence the device, ERROR it is.
 */
void mig_clean_state_locked(struct vfio_pci_mig *mig, bool in_reset)
{
	lockdep_assert_held(&mig->guard->mutex);
	mig_forget(mig);
	if (!mig->opened)
		return;

	if (!in_reset)
		down_read(&mig->core.memory_lock);
	mig_io_lock(mig);
	if (mig_fault(mig, MIG_POINT_BACKEND_RESET) ||
	    mig->backend->reset(mig)) {
		dev_err_ratelimited(&mig->core.pdev->dev,
				    "not silent after a reset, ERROR\n");
		mig->state = MIG_ERROR;
		mig_shield_on(mig);
		mig_bus_block(mig);
		mig_shield_renew(mig);
	} else {
		mig_bus_unblock(mig);
		mig_shield_off(mig);
	}
	mig_io_unlock(mig);
	if (!in_reset)
		up_read(&mig->core.memory_lock);
	mig_note_reset(mig, "user", mig->state == MIG_R ? 0 : -EIO);
}

/**
 * mig_close_locked - the user has closed the device
 * @mig: the device; the state lock is held
 *
 * vfio-pci-core will reset it. Until then it stays as it is: if it was
 * silenced, it must not be let loose here.
 */
void mig_close_locked(struct vfio_pci_mig *mig)
{
	lockdep_assert_held(&mig->guard->mutex);
	mig_forget(mig);
	mutex_lock(&mig->io_lock);
	mig->opened = false;
	mig->shielded = false;
	mig->bus_blocked = false;
	if (mig->backend->close)
		mig->backend->close(mig);
	mutex_unlock(&mig->io_lock);
}
