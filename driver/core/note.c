// SPDX-License-Identifier: GPL-2.0
/*
 * What happens to a device, for people who want to know: lines in the kernel's
 * log, trace points, and what debugfs.c shows. Only notes are taken here;
 * nothing depends on them.
 */
#include "trace.h"

/**
 * mig_note_init - nothing has happened yet
 * @mig: the device, not registered yet
 */
void mig_note_init(struct vfio_pci_mig *mig)
{
	spin_lock_init(&mig->note.lock);
	ratelimit_state_init(&mig->note.limit, DEFAULT_RATELIMIT_INTERVAL,
			     DEFAULT_RATELIMIT_BURST);
}

/**
 * mig_note_reason - note why what is being done will fail
 * @mig: the device
 * @reason: why
 *
 * The first reason counts: who is nearest to the trouble speaks first.
 */
void mig_note_reason(struct vfio_pci_mig *mig, const char *reason)
{
	struct mig_note *note = &mig->note;

	spin_lock(&note->lock);
	if (!note->told)
		strscpy(note->so_far.reason, reason,
			sizeof(note->so_far.reason));
	note->told = true;
	spin_unlock(&note->lock);
}

/**
 * vfio_pci_mig_warn - say why something fails
 * @mig: the device
 * @fmt: as for printk(), without a newline
 *
 * In the kernel's log, and as the reason of the refusal that will follow.
 */
void vfio_pci_mig_warn(struct vfio_pci_mig *mig, const char *fmt, ...)
{
	char reason[MIG_NOTE_REASON];
	va_list args;

	va_start(args, fmt);
	vscnprintf(reason, sizeof(reason), fmt, args);
	va_end(args);
	if (__ratelimit(&mig->note.limit))
		dev_warn(&mig->core.pdev->dev, "%s\n", reason);
	mig_note_reason(mig, reason);
}
EXPORT_SYMBOL_GPL(vfio_pci_mig_warn);

/**
 * vfio_pci_mig_describe - say what a device has been found to be like
 * @mig: the device; called from @open
 * @fmt: as for printk(), one line without a newline
 *
 * For debugfs; and for the kernel's log, unless it says so already.
 */
void vfio_pci_mig_describe(struct vfio_pci_mig *mig, const char *fmt, ...)
{
	struct mig_note *note = &mig->note;
	char ability[MIG_NOTE_REASON];
	va_list args;
	bool news;

	va_start(args, fmt);
	vscnprintf(ability, sizeof(ability), fmt, args);
	va_end(args);
	spin_lock(&note->lock);
	news = strcmp(note->so_far.ability, ability);
	strscpy(note->so_far.ability, ability, sizeof(note->so_far.ability));
	spin_unlock(&note->lock);
	if (news)
		dev_info(&mig->core.pdev->dev, "%s\n", ability);
}
EXPORT_SYMBOL_GPL(vfio_pci_mig_describe);

/**
 * mig_note_refusal - something that was asked for has not been done
 * @mig: the device
 * @error: -errno
 * @reason: why, if nobody has said so before
 *
 * Return: @error.
 */
int mig_note_refusal(struct vfio_pci_mig *mig, int error, const char *reason)
{
	struct mig_note *note = &mig->note;
	char said[MIG_NOTE_REASON];

	mig_note_reason(mig, reason);
	spin_lock(&note->lock);
	note->told = false;
	note->so_far.refusals++;
	note->so_far.error = error;
	note->so_far.when = ktime_get_real_seconds();
	strscpy(said, note->so_far.reason, sizeof(said));
	spin_unlock(&note->lock);
	trace_mig_refusal(mig, error, said);
	return error;
}

static struct mig_accesses mig_accesses(const struct vfio_pci_mig *mig)
{
	return (struct mig_accesses) {
		.reads = READ_ONCE(mig->accesses.reads),
		.writes = READ_ONCE(mig->accesses.writes),
	};
}

static struct mig_accesses mig_accesses_since(const struct vfio_pci_mig *mig,
					      const struct mig_accesses *since)
{
	struct mig_accesses now = mig_accesses(mig);

	return (struct mig_accesses) {
		.reads = now.reads - since->reads,
		.writes = now.writes - since->writes,
	};
}

/**
 * mig_note_begin - something begins that may take a while
 * @mig: the device; the state lock is held
 * @doing: what, a constant string
 *
 * Return: the time.
 */
ktime_t mig_note_begin(struct vfio_pci_mig *mig, const char *doing)
{
	struct mig_note *note = &mig->note;
	ktime_t now = ktime_get();

	spin_lock(&note->lock);
	note->so_far.doing = doing;
	note->so_far.since = now;
	spin_unlock(&note->lock);
	note->step = mig_accesses(mig);
	note->phase = note->step;
	return now;
}

/**
 * mig_note_phase - a part of it has come to its end
 * @mig: the device; the state lock is held
 * @phase: which, a constant string
 * @began: when that began
 *
 * Return: the time.
 */
ktime_t mig_note_phase(struct vfio_pci_mig *mig, const char *phase,
		       ktime_t began)
{
	struct mig_note *note = &mig->note;
	struct mig_accesses accesses = mig_accesses_since(mig, &note->phase);

	trace_mig_phase(mig, phase, began, &accesses);
	note->phase = mig_accesses(mig);
	return ktime_get();
}

static void mig_note_end(struct vfio_pci_mig *mig)
{
	spin_lock(&mig->note.lock);
	mig->note.so_far.doing = NULL;
	spin_unlock(&mig->note.lock);
}

/**
 * mig_note_step - a step of a transition has come to its end
 * @mig: the device
 * @step: which
 * @undo: it was taken back
 * @began: by mig_note_begin()
 * @ret: what came of it
 *
 * Return: @ret.
 */
int mig_note_step(struct vfio_pci_mig *mig, enum mig_step step, bool undo,
		  ktime_t began, int ret)
{
	struct mig_accesses accesses;
	char reason[MIG_NOTE_REASON];

	mig_note_end(mig);
	accesses = mig_accesses_since(mig, &mig->note.step);
	trace_mig_step(mig, mig_step_name(step), undo, began, ret, &accesses);
	if (ret) {
		scnprintf(reason, sizeof(reason), "%s%s fails",
			  undo ? "undoing " : "", mig_step_name(step));
		mig_note_reason(mig, reason);
	}
	return ret;
}

/**
 * mig_note_taken - a state has been taken by the backend, or not
 * @mig: the device
 * @doing: as given to mig_note_begin()
 * @began: by mig_note_begin()
 */
void mig_note_taken(struct vfio_pci_mig *mig, const char *doing,
		    ktime_t began)
{
	mig_note_end(mig);
	mig_note_phase(mig, doing, began);
}

/**
 * mig_door_name - name a door for people
 * @door: the door
 *
 * Return: a constant string.
 */
const char *mig_door_name(enum mig_door door)
{
	static const char * const names[] = {
		[MIG_DOOR_NONE]	= "none",
		[MIG_DOOR_V1]	= "v1",
		[MIG_DOOR_V2]	= "v2",
	};

	return names[door];
}

/**
 * mig_note_transition - a transition has come to its end
 * @mig: the device
 * @from: the state before
 * @to: the state that was asked for
 * @door: by whom
 * @began: when
 * @ret: what came of it
 */
void mig_note_transition(struct vfio_pci_mig *mig, u32 from, u32 to,
			 enum mig_door door, ktime_t began, int ret)
{
	trace_mig_transition(mig, from, to, mig_door_name(door), began, ret);
	if (ret) {
		mig_note_refusal(mig, ret, mig_state_name(to));
		return;
	}
	spin_lock(&mig->note.lock);
	mig->note.told = false;
	mig->note.so_far.transitions++;
	spin_unlock(&mig->note.lock);
}

/**
 * mig_note_reset - the function has been reset
 * @mig: the device, in its new state
 * @why: constant string
 * @ret: what came of it
 */
void mig_note_reset(struct vfio_pci_mig *mig, const char *why, int ret)
{
	spin_lock(&mig->note.lock);
	mig->note.so_far.resets++;
	/* Nothing that was said before is a reason for what comes now. */
	if (!ret)
		mig->note.told = false;
	spin_unlock(&mig->note.lock);
	trace_mig_reset(mig, why, ret);
}

/**
 * mig_note_pending - Transactions Pending has been seen set
 * @mig: the device
 *
 * Whether a VF has that bit, nothing but this can tell.
 */
void mig_note_pending(struct vfio_pci_mig *mig)
{
	spin_lock(&mig->note.lock);
	mig->note.so_far.pending++;
	spin_unlock(&mig->note.lock);
}

/**
 * mig_note_stream - a new stream begins
 * @mig: the device
 * @incoming: for RESUMING
 */
void mig_note_stream(struct vfio_pci_mig *mig, bool incoming)
{
	spin_lock(&mig->note.lock);
	memset(&mig->note.so_far.stream[incoming], 0,
	       sizeof(mig->note.so_far.stream[incoming]));
	spin_unlock(&mig->note.lock);
}

/**
 * mig_note_record - a record can be read, or has come in and is good
 * @mig: the device
 * @incoming: come in
 * @record: its header
 */
void mig_note_record(struct vfio_pci_mig *mig, bool incoming,
		     const struct vfio_mig_record *record)
{
	struct mig_last_stream *stream = &mig->note.so_far.stream[incoming];

	spin_lock(&mig->note.lock);
	stream->sequence = le32_to_cpu(record->sequence);
	stream->records++;
	stream->bytes += MIG_RECORD_SIZE(le32_to_cpu(record->length));
	stream->whole = le16_to_cpu(record->type) == VFIO_MIG_RECORD_END;
	spin_unlock(&mig->note.lock);
	trace_mig_record(mig, incoming, record);
}

/**
 * mig_note_bytes - part of a stream has been read or written
 * @mig: the device
 * @incoming: written
 * @bytes: how much; less than 0 takes back what was noted before
 */
void mig_note_bytes(struct vfio_pci_mig *mig, bool incoming, ssize_t bytes)
{
	struct mig_note *note = &mig->note;

	spin_lock(&note->lock);
	if (incoming)
		note->so_far.loaded += bytes;
	else
		note->so_far.saved += bytes;
	spin_unlock(&note->lock);
}
