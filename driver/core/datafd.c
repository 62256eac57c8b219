// SPDX-License-Identifier: GPL-2.0
/*
 * The migration data fd of v2, by which a user reads or writes a session's
 * stream.
 */
#include <linux/anon_inodes.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/poll.h>
#include <linux/sched/signal.h>
#include <linux/uaccess.h>

#include "compat.h"
#include "core.h"

/*
 * Count the next piece of the stream as read. It stays in the session's buffer,
 * at @from, until mig_datafd_given(). Return: bytes; 0: end of the stream;
 * -ENOMSG: nothing now; -ENODEV; or why the device cannot be saved.
 */
static ssize_t mig_datafd_next(struct mig_session *session, size_t len,
			       const u8 **from)
{
	ssize_t bytes = -ENODEV;

	lockdep_assert_held(&session->io_mutex);
	mig_guard_lock(session->guard);
	if (session->mig)
		bytes = mig_session_fill_locked(session);
	if (!bytes) {
		bytes = min(len, mig_session_pending_locked(session));
		*from = session->buf + session->pos;
		session->pos += bytes;
		session->copying = bytes;
		mig_note_bytes(session->mig, false, bytes);
		if (!bytes && (session->mig->state & MIG_R))
			bytes = -ENOMSG;
	}
	mig_guard_unlock(session->guard);
	return bytes;
}

/*
 * It has been copied to the user; or @back bytes are put back, as the user's
 * buffer was bad. That works even if the device has been stopped meanwhile: its
 * new sequence is behind the record they are in.
 */
static void mig_datafd_given(struct mig_session *session, size_t back)
{
	mig_guard_lock(session->guard);
	session->copying = false;
	session->pos -= back;
	if (session->mig && back)
		mig_note_bytes(session->mig, false, -(ssize_t)back);
	mig_guard_unlock(session->guard);
}

static ssize_t mig_datafd_read(struct file *filp, char __user *buf, size_t len,
			       loff_t *pos)
{
	struct mig_session *session = filp->private_data;
	ssize_t done = 0, bytes;
	const u8 *from;
	int ret = 0;

	if (pos && *pos)
		return -ESPIPE;
	if (mutex_lock_interruptible(&session->io_mutex))
		return -ERESTARTSYS;

	while (len) {
		bytes = mig_datafd_next(session, len, &from);
		if (bytes < 0)
			ret = bytes;
		if (bytes <= 0)
			break;
		if (copy_to_user(buf + done, from, bytes))
			ret = -EFAULT;
		mig_datafd_given(session, ret ? bytes : 0);
		if (ret)
			break;
		done += bytes;
		len -= bytes;
		/* There may be gigabytes to come. */
		if (signal_pending(current))
			break;
	}

	mutex_unlock(&session->io_mutex);
	return done ? done : ret;
}

static ssize_t mig_datafd_write(struct file *filp, const char __user *buf,
				size_t len, loff_t *pos)
{
	struct mig_session *session = filp->private_data;
	size_t bytes, done = 0;
	int ret = 0;

	if (pos && *pos)
		return -ESPIPE;
	if (mutex_lock_interruptible(&session->io_mutex))
		return -ERESTARTSYS;

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
		mig_guard_lock(session->guard);
		ret = session->mig ? mig_session_take_locked(session,
							     session->bounce,
							     bytes) : -ENODEV;
		mig_guard_unlock(session->guard);
		if (ret)
			break;
		done += bytes;
		/* Other signals wait: some VMMs take a short write for an error. */
		if (fatal_signal_pending(current))
			break;
	}

	mutex_unlock(&session->io_mutex);
	return ret ? ret : done;
}

static long mig_datafd_ioctl(struct file *filp, unsigned int cmd,
			     unsigned long arg)
{
	const size_t minsz = offsetofend(struct vfio_precopy_info, dirty_bytes);
	struct mig_session *session = filp->private_data;
	void __user *uarg = (void __user *)arg;
	struct vfio_precopy_info info;
	int ret = 0;

	if (cmd != VFIO_MIG_GET_PRECOPY_INFO)
		return -ENOTTY;
	if (copy_from_user(&info, uarg, minsz))
		return -EFAULT;
	if (info.argsz < minsz)
		return -EINVAL;

	/* REINIT is never set: what is sent early does not change. */
	info.flags = 0;
	info.dirty_bytes = 0;
	mig_guard_lock(session->guard);
	if (!session->mig)
		ret = -ENODEV;
	else if (!(session->mig->state & MIG_R))
		ret = -EINVAL;
	else
		info.initial_bytes = mig_session_pending_locked(session);
	mig_guard_unlock(session->guard);
	if (ret)
		return ret;
	return copy_to_user(uarg, &info, minsz) ? -EFAULT : 0;
}

static __poll_t mig_datafd_poll(struct file *filp, poll_table *wait)
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
static int mig_datafd_release(struct inode *inode, struct file *filp)
{
	mig_session_put(filp->private_data);
	return 0;
}

static const struct file_operations mig_save_fops = {
	.owner = THIS_MODULE,
	.read = mig_datafd_read,
	.unlocked_ioctl = mig_datafd_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.poll = mig_datafd_poll,
	.release = mig_datafd_release,
};

static const struct file_operations mig_resume_fops = {
	.owner = THIS_MODULE,
	.write = mig_datafd_write,
	.poll = mig_datafd_poll,
	.release = mig_datafd_release,
};

/**
 * mig_datafd_file - make a data fd's file for a session
 * @session: the session; the file takes a reference of its own
 *
 * Return: the file, or an ERR_PTR.
 */
struct file *mig_datafd_file(struct mig_session *session)
{
	int ret = mig_fault(session->mig, MIG_POINT_DATA_FD);
	struct file *filp;

	if (ret)
		return ERR_PTR(ret);
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
