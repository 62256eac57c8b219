// SPDX-License-Identifier: GPL-2.0
/*
 * Sessions: one outgoing or incoming device state stream each, whichever door
 * it goes through.
 *
 * A session belongs to the device while it is attached. Reset, close and the
 * end of the state detach it; a data fd may live on, and then only answers
 * that its device is gone.
 */
#include <linux/mm.h>
#include <linux/slab.h>

#include "core.h"

static void mig_session_taken(struct mig_parser *parser)
{
	struct mig_session *session =
		container_of(parser, struct mig_session, parser);

	mig_note_record(session->mig, true, &parser->record);
}

/**
 * mig_session_alloc - allocate a stream
 * @mig: the device
 * @incoming: for RESUMING, not for SAVING
 *
 * All memory that the stream will ever need is allocated here, so that
 * nothing can fail for want of memory while the guest is stopped.
 *
 * Return: the session with one reference, or NULL without memory.
 */
struct mig_session *mig_session_alloc(struct vfio_pci_mig *mig, bool incoming)
{
	struct mig_session *session;

	if (mig_fault(mig, MIG_POINT_SESSION))
		return NULL;
	session = kzalloc(sizeof(*session), GFP_KERNEL_ACCOUNT);
	if (!session)
		return NULL;

	/* What is left of a record, a sequence, and the next one in the making. */
	session->size = 3 * mig->stream_max + mig->chunk_max;
	session->buf = kvzalloc(session->size, GFP_KERNEL_ACCOUNT);
	if (!session->buf) {
		kfree(session);
		return NULL;
	}

	kref_init(&session->ref);
	mutex_init(&session->io_mutex);
	init_waitqueue_head(&session->wait);
	session->guard = mig->guard;
	kref_get(&session->guard->ref);
	session->mig = mig;
	session->incoming = incoming;
	if (incoming)
		mig_parser_init(&session->parser, &mig->self, session->buf,
				session->size);
	session->parser.taken = mig_session_taken;
	mig_note_stream(mig, incoming);
	return session;
}

static void mig_session_free(struct kref *ref)
{
	struct mig_session *session =
		container_of(ref, struct mig_session, ref);

	mig_guard_put(session->guard);
	mutex_destroy(&session->io_mutex);
	kvfree(session->buf);
	kfree(session);
}

/**
 * mig_session_get - take a reference
 * @session: the session
 */
void mig_session_get(struct mig_session *session)
{
	kref_get(&session->ref);
}

/**
 * mig_session_put - drop a reference
 * @session: the session; not to be used afterwards
 */
void mig_session_put(struct mig_session *session)
{
	kref_put(&session->ref, mig_session_free);
}

/**
 * mig_session_detach_locked - the stream is over
 * @session: the session, whose device's reference is dropped; the state lock
 *	is held
 */
void mig_session_detach_locked(struct mig_session *session)
{
	lockdep_assert_held(&session->guard->mutex);
	session->mig = NULL;
	WRITE_ONCE(session->over, true);
	wake_up_interruptible_all(&session->wait);
	mig_session_put(session);
}

/*
 * An unfinished sequence is dropped by its reader when a new one begins, but
 * not in the middle of a record. Return: where the record ends that is being
 * read.
 */
static size_t mig_session_border(const struct mig_session *session)
{
	struct vfio_mig_record record;
	size_t end = session->first;

	while (end < session->pos) {
		memcpy(&record, session->buf + end, sizeof(record));
		end += MIG_RECORD_SIZE(le32_to_cpu(record.length));
	}
	return end;
}

/* Make room by taking out what has been read. */
static void mig_session_compact(struct mig_session *session)
{
	size_t border;

	if (session->copying)
		return;
	border = mig_session_border(session);
	memmove(session->buf, session->buf + session->pos,
		session->used - session->pos);
	session->used -= session->pos;
	session->first = border - session->pos;
	session->pos = 0;
}

/**
 * mig_session_begin_locked - begin a sequence in an outgoing stream
 * @session: the session; the state lock is held
 *
 * Its encoder has HEADER and IDENTITY written. The sequence is made behind
 * what can be read, which stays as it is until mig_session_commit_locked(); but
 * no chunks of an earlier sequence follow any more.
 *
 * Return: 0 or -ENOSPC.
 */
int mig_session_begin_locked(struct mig_session *session)
{
	int ret;

	lockdep_assert_held(&session->guard->mutex);
	ret = mig_fault(session->mig, MIG_POINT_SEQUENCE_BEGIN);
	if (ret)
		return ret;
	session->more = false;
	mig_session_compact(session);
	mig_encoder_init(&session->encoder, session->buf + session->used,
			 session->size - session->used, session->sequence + 1);
	return mig_encode_begin(&session->encoder, &session->mig->self);
}

static void mig_session_note(const struct mig_session *session)
{
	const struct mig_encoder *enc = &session->encoder;
	struct vfio_mig_record record;
	size_t at = 0;

	while (at < enc->used) {
		memcpy(&record, enc->buf + at, sizeof(record));
		mig_note_record(session->mig, false, &record);
		at += MIG_RECORD_SIZE(le32_to_cpu(record.length));
	}
}

/**
 * mig_session_commit_locked - what has been encoded may be read
 * @session: the session; the state lock is held
 *
 * Older data that have not been read yet are dropped, up to the border of a
 * record.
 */
void mig_session_commit_locked(struct mig_session *session)
{
	const struct mig_encoder *enc = &session->encoder;
	size_t border;

	lockdep_assert_held(&session->guard->mutex);
	mig_session_note(session);
	/* What a user has been told the size of, it has taken. */
	mig_session_ack_locked(session);
	session->segment = 0;

	border = mig_session_border(session);
	memmove(session->buf + border, enc->buf, enc->used);
	session->first = border;
	session->used = border + enc->used;
	session->sequence++;
}

/**
 * mig_session_fill_locked - have the next chunk made, if all before is read
 * @session: an attached outgoing session; the state lock is held, and nobody is
 *	copying
 *
 * The last chunk is followed by END. A failure is latched: a sequence with a
 * hole does not go on.
 *
 * Return: 0 or -errno.
 */
int mig_session_fill_locked(struct mig_session *session)
{
	struct mig_encoder *enc = &session->encoder;
	int ret;

	lockdep_assert_held(&session->guard->mutex);
	if (!session->more || session->pos < session->used ||
	    (session->mig->state & MIG_R))
		return 0;

	session->pos = 0;
	session->first = 0;
	session->used = 0;
	mig_encoder_rewind(enc, session->buf, session->mig->chunk_max);
	ret = mig_save_chunk_locked(session->mig, session);
	if (!ret) {
		enc->size = session->size;
		ret = mig_fault(session->mig, MIG_POINT_SEQUENCE_END);
		if (!ret)
			ret = mig_encode_end(enc);
		session->more = ret;
	}
	if (ret < 0) {
		enc->error = ret;
		return ret;
	}
	session->left -= min_t(u64, session->left, enc->used);
	mig_session_note(session);
	session->used = enc->used;
	return 0;
}

/**
 * mig_session_pending_locked - bytes that can be read now
 * @session: an attached outgoing session; the state lock is held
 *
 * While the device is running, that is the identity and what the backend sends
 * ahead: so that a destination can refuse an unfit source, and do what takes
 * long, before the guest is stopped.
 *
 * Return: their number.
 */
size_t mig_session_pending_locked(struct mig_session *session)
{
	lockdep_assert_held(&session->guard->mutex);
	if (!session->sequence && (session->mig->state & MIG_R) &&
	    !mig_session_begin_locked(session) &&
	    !mig_save_ahead_locked(session->mig, session))
		mig_session_commit_locked(session);
	return session->used - session->pos;
}

/**
 * mig_session_left_locked - how much of the stream is still to be read
 * @session: an attached outgoing session; the state lock is held
 *
 * Return: bytes, at most; 0 only if there is nothing now, or nothing any more.
 */
u64 mig_session_left_locked(struct mig_session *session)
{
	u64 left = mig_session_pending_locked(session);

	if (session->more && !(session->mig->state & MIG_R))
		left += session->left +
			MIG_RECORD_SIZE(sizeof(struct vfio_mig_end));
	return left;
}

/**
 * mig_session_ack_locked - the segment whose size was asked for has been read
 * @session: an outgoing session; the state lock is held
 */
void mig_session_ack_locked(struct mig_session *session)
{
	lockdep_assert_held(&session->guard->mutex);
	if (!session->segment_taken)
		return;
	mig_note_bytes(session->mig, false, session->segment);
	session->pos += session->segment;
	session->segment = 0;
	session->segment_taken = false;
}

/* Has the parser come to where something is to be done? Once each. */
static int mig_session_act_locked(struct mig_session *session)
{
	const struct mig_parser *parser = &session->parser;
	int ret = 0;

	if (!parser->ahead)
		session->prepared = false;
	if (!parser->complete)
		session->loaded = false;

	if (parser->chunk) {
		ret = mig_load_chunk_locked(session->mig, session);
	} else if (parser->complete && !session->loaded) {
		ret = mig_load_locked(session->mig, session);
		session->loaded = !ret;
	} else if (parser->ahead && !session->prepared) {
		ret = mig_prepare_locked(session->mig, session);
		session->prepared = !ret;
	}
	return ret;
}

/**
 * mig_session_take_locked - take a piece of an incoming stream
 * @session: an attached incoming session; the state lock is held
 * @data: the piece
 * @len: bytes
 *
 * Loads the state into the device as soon as it is complete, but chunks when they
 * come, and prepares the device by what has been sent ahead. Says in the log why a
 * stream is refused.
 *
 * Return: 0, or -errno: the verdict on the stream, latched.
 */
int mig_session_take_locked(struct mig_session *session, const u8 *data,
			    size_t len)
{
	bool known = session->parser.error;
	size_t done = 0;
	ssize_t bytes;
	int ret = 0;

	lockdep_assert_held(&session->guard->mutex);
	while (!ret && done < len) {
		bytes = mig_parser_feed(&session->parser, data + done,
					len - done);
		if (bytes < 0) {
			ret = bytes;
			break;
		}
		done += bytes;
		ret = mig_session_act_locked(session);
	}
	mig_note_bytes(session->mig, true, done);
	if (ret && !known) {
		vfio_pci_mig_warn(session->mig,
				  "incoming state refused: %s (%d)",
				  session->parser.reason, ret);
		mig_note_refusal(session->mig, ret, session->parser.reason);
		mig_unload_locked(session->mig, session);
	}
	return ret;
}
