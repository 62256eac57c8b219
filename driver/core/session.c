// SPDX-License-Identifier: GPL-2.0
/*
 * Sessions: one outgoing or incoming device state stream each, and the data
 * fd by which v2 reads or writes it.
 *
 * A session belongs to the device while it is attached. Reset, close and the
 * end of the state detach it; the fd may live on, and then only answers that
 * its device is gone.
 */
#include <linux/anon_inodes.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "core.h"

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
	struct mig_session *session = kzalloc(sizeof(*session), GFP_KERNEL);

	if (!session)
		return NULL;

	session->size = mig->stream_max;
	session->buf = kvzalloc(session->size, GFP_KERNEL);
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

/* Copy the next piece of the sequence to the bounce buffer. */
static ssize_t mig_session_next(struct mig_session *session, size_t len)
{
	ssize_t bytes = -ENODEV;

	lockdep_assert_held(&session->io_mutex);
	mig_guard_lock(session->guard);
	if (session->mig) {
		bytes = min3(len, session->used - session->pos,
			     sizeof(session->bounce));
		memcpy(session->bounce, session->buf + session->pos, bytes);
	}
	mig_guard_unlock(session->guard);
	return bytes;
}

static ssize_t mig_session_read(struct file *filp, char __user *buf, size_t len,
				loff_t *pos)
{
	struct mig_session *session = filp->private_data;
	ssize_t done = 0, bytes;
	int ret = 0;

	if (pos && *pos)
		return -ESPIPE;
	if (mutex_lock_interruptible(&session->io_mutex))
		return -ERESTARTSYS;

	while (len) {
		bytes = mig_session_next(session, len);
		if (bytes < 0)
			ret = bytes;
		if (bytes <= 0)
			break;
		if (copy_to_user(buf + done, session->bounce, bytes)) {
			ret = -EFAULT;
			break;
		}
		session->pos += bytes;
		done += bytes;
		len -= bytes;
	}

	mutex_unlock(&session->io_mutex);
	return done ? done : ret;
}

/* Parse what is in the bounce buffer; load the state when it is complete. */
static int mig_session_take(struct mig_session *session, size_t len)
{
	size_t done = 0;
	ssize_t bytes;
	int ret = 0;

	lockdep_assert_held(&session->io_mutex);
	mig_guard_lock(session->guard);
	while (done < len) {
		if (!session->mig) {
			ret = -ENODEV;
			break;
		}
		bytes = mig_parser_feed(&session->parser,
					session->bounce + done, len - done);
		if (bytes < 0) {
			ret = bytes;
			break;
		}
		done += bytes;
		if (!session->parser.complete) {
			session->loaded = false;
			continue;
		}
		if (session->loaded)
			continue;
		ret = mig_load_locked(session->mig, session);
		if (ret)
			break;
	}
	if (ret && session->mig)
		dev_warn_ratelimited(&session->mig->core.pdev->dev,
				     "incoming state refused: %s (%d)\n",
				     session->parser.reason, ret);
	mig_guard_unlock(session->guard);
	return ret;
}

static ssize_t mig_session_write(struct file *filp, const char __user *buf,
				 size_t len, loff_t *pos)
{
	struct mig_session *session = filp->private_data;
	size_t bytes, done = 0;
	int ret = 0;

	if (pos && *pos)
		return -ESPIPE;
	if (mutex_lock_interruptible(&session->io_mutex))
		return -ERESTARTSYS;

	len = min_t(size_t, len, MAX_RW_COUNT);
	while (done < len) {
		bytes = min(len - done, sizeof(session->bounce));
		if (copy_from_user(session->bounce, buf + done, bytes)) {
			/* What came before has been taken. */
			ret = done ? 0 : -EFAULT;
			break;
		}
		/*
		 * A refusal fails the whole call, although earlier bytes of it
		 * were taken: the stream cannot be continued anyway, and a
		 * VMM must not learn it only from its next write.
		 */
		ret = mig_session_take(session, bytes);
		if (ret)
			break;
		done += bytes;
	}

	mutex_unlock(&session->io_mutex);
	return ret ? ret : done;
}

static __poll_t mig_session_poll(struct file *filp, poll_table *wait)
{
	struct mig_session *session = filp->private_data;

	poll_wait(filp, &session->wait, wait);
	if (READ_ONCE(session->over))
		return EPOLLIN | EPOLLOUT | EPOLLRDNORM | EPOLLWRNORM |
		       EPOLLRDHUP | EPOLLHUP;
	return session->incoming ? EPOLLOUT | EPOLLWRNORM :
				   EPOLLIN | EPOLLRDNORM;
}

/*
 * Closing the fd neither applies nor discards anything and changes no state:
 * VMMs close it before leaving the state as well as after.
 */
static int mig_session_release(struct inode *inode, struct file *filp)
{
	mig_session_put(filp->private_data);
	return 0;
}

static const struct file_operations mig_save_fops = {
	.owner = THIS_MODULE,
	.read = mig_session_read,
	.poll = mig_session_poll,
	.release = mig_session_release,
};

static const struct file_operations mig_resume_fops = {
	.owner = THIS_MODULE,
	.write = mig_session_write,
	.poll = mig_session_poll,
	.release = mig_session_release,
};

/**
 * mig_session_file - make a data fd's file for a session
 * @session: the session; the file takes a reference of its own
 *
 * Return: the file, or an ERR_PTR.
 */
struct file *mig_session_file(struct mig_session *session)
{
	struct file *filp;

	if (session->incoming)
		filp = anon_inode_getfile("vfio-mig-resume", &mig_resume_fops,
					  session, O_WRONLY);
	else
		filp = anon_inode_getfile("vfio-mig-save", &mig_save_fops,
					  session, O_RDONLY);
	if (IS_ERR(filp))
		return filp;

	mig_session_get(session);
	stream_open(filp->f_inode, filp);
	return filp;
}
