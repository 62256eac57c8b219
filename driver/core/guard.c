// SPDX-License-Identifier: GPL-2.0
/*
 * The state lock, and what happens when the function is reset while somebody
 * holds it.
 */
#include <linux/slab.h>

#include "core.h"

/**
 * mig_guard_alloc - allocate the state lock of a device
 * @mig: the device
 *
 * Return: the guard with one reference, which mig_guard_remove() drops; NULL
 * without memory.
 */
struct mig_guard *mig_guard_alloc(struct vfio_pci_mig *mig)
{
	struct mig_guard *guard = kzalloc(sizeof(*guard), GFP_KERNEL);

	if (!guard)
		return NULL;

	kref_init(&guard->ref);
	mutex_init(&guard->mutex);
	spin_lock_init(&guard->reset_lock);
	guard->mig = mig;
	return guard;
}

static void mig_guard_free(struct kref *ref)
{
	struct mig_guard *guard = container_of(ref, struct mig_guard, ref);

	mutex_destroy(&guard->mutex);
	kfree(guard);
}

/**
 * mig_guard_put - drop a reference
 * @guard: the guard; not to be used afterwards
 */
void mig_guard_put(struct mig_guard *guard)
{
	kref_put(&guard->ref, mig_guard_free);
}

/**
 * mig_guard_remove - the device goes away; data fds may stay
 * @guard: the guard; the device's reference is dropped
 */
void mig_guard_remove(struct mig_guard *guard)
{
	mig_guard_lock(guard);
	guard->mig = NULL;
	mig_guard_unlock(guard);
	mig_guard_put(guard);
}

static bool mig_guard_take_reset(struct mig_guard *guard)
{
	bool reset;

	lockdep_assert_held(&guard->mutex);
	spin_lock(&guard->reset_lock);
	reset = guard->deferred_reset;
	guard->deferred_reset = false;
	spin_unlock(&guard->reset_lock);
	return reset;
}

/**
 * mig_guard_lock - take the state lock
 * @guard: the guard
 *
 * A reset that came since the last unlock is carried out first, so that what
 * the caller sees is as if the reset and the call came one after the other.
 */
void mig_guard_lock(struct mig_guard *guard)
{
	mutex_lock(&guard->mutex);
	if (mig_guard_take_reset(guard) && guard->mig)
		mig_clean_state_locked(guard->mig, false);
}

static void mig_guard_unlock_from(struct mig_guard *guard, bool in_reset)
{
	for (;;) {
		spin_lock(&guard->reset_lock);
		if (!guard->deferred_reset)
			break;
		guard->deferred_reset = false;
		spin_unlock(&guard->reset_lock);
		if (guard->mig)
			mig_clean_state_locked(guard->mig, in_reset);
	}
	mutex_unlock(&guard->mutex);
	spin_unlock(&guard->reset_lock);
}

/**
 * mig_guard_unlock - release the state lock
 * @guard: the guard
 *
 * Resets that came while it was held are carried out now, by the holder:
 * reset_done itself must not wait for the lock.
 */
void mig_guard_unlock(struct mig_guard *guard)
{
	mig_guard_unlock_from(guard, false);
}

/**
 * mig_guard_reset_done - the function has been reset
 * @guard: the guard
 *
 * Called by the PCI core with the device lock held, and with memory_lock held
 * for write where vfio-pci-core asked for the reset. A holder of the state
 * lock may be waiting for memory_lock, so this must not wait for the holder.
 */
void mig_guard_reset_done(struct mig_guard *guard)
{
	/*
	 * The spinlock orders this with mig_guard_unlock(): a holder either
	 * sees the flag before it unlocks, or has unlocked before we try.
	 */
	spin_lock(&guard->reset_lock);
	guard->deferred_reset = true;
	if (!mutex_trylock(&guard->mutex)) {
		spin_unlock(&guard->reset_lock);
		return;
	}
	spin_unlock(&guard->reset_lock);
	mig_guard_unlock_from(guard, true);
}

/**
 * mig_guard_settle - wait until a reset has been carried out completely
 * @guard: the guard
 *
 * For the user that asked for the reset: what it does next must not be undone
 * by whoever held the lock when reset_done came.
 */
void mig_guard_settle(struct mig_guard *guard)
{
	mig_guard_lock(guard);
	mig_guard_unlock(guard);
}
