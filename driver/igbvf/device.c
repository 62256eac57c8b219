// SPDX-License-Identifier: GPL-2.0
/*
 * Stopping an 82576 VF, and letting it go on exactly where it stopped.
 *
 * The rules behind the order:
 *  - queues go off before bus mastering: without it, a VF that fetches loses
 *    the frame and consumes the descriptor;
 *  - EICR and (outside of the mailbox emulation) V2PMAILBOX are never read:
 *    that clears them; but for EICR where the guest has its page, of which
 *    we have heard nothing, and then what it had is raised again;
 *  - for vectors in EIAM, clearing EICR masks and writing EICS unmasks: so EIAM
 *    is off while we do that;
 *  - a register read after the last poll flushes posted writes, and pushes
 *    write-backs and MSIs of the function before it (PCIe ordering);
 *  - causes that were latched or throttled cannot be read: release raises the
 *    vectors of all queues in use. A driver takes that as a spurious interrupt
 *    at worst;
 *  - the causes of the "other" vector are a matter of the mailbox, which we
 *    know: it is raised only if there is something to see, or was pending.
 *    Linux' igbvf, when that vector fires between its watchdog's look at the
 *    link and the use it makes of it, takes the link for down and the card out
 *    of service.
 */
#include <linux/delay.h>
#include <linux/iopoll.h>
#include <linux/string_helpers.h>

#include "igbvf.h"
#include "trace.h"

/**
 * igbvf_answers - is the function still there
 * @vf: the device
 *
 * What has been read of a function that still answers now is no all ones.
 *
 * Return: 0; or -ENODEV, and nothing but a reset will help.
 */
int igbvf_answers(struct igbvf *vf)
{
	if (!igbvf_gone(igbvf_rd(vf, IGBVF_STATUS)))
		return 0;
	vfio_pci_mig_broken(vf->mig, "registers read as all ones");
	return -ENODEV;
}

/**
 * igbvf_wait_enable - wait until a queue is on or off
 * @vf: the device
 * @ring: IGBVF_RX0...
 * @on: which
 *
 * Return: 0 or -ETIMEDOUT.
 */
int igbvf_wait_enable(struct igbvf *vf, unsigned int ring, bool on)
{
	u32 offset = igbvf_ring_offset(ring, IGBVF_RING_DCTL);
	int ret = vfio_pci_mig_fault(vf->mig, on ? IGBVF_FAULT_QUEUE_START :
						   IGBVF_FAULT_QUEUE_STOP);
	ktime_t began = ktime_get();
	u32 dctl;

	if (!ret)
		ret = read_poll_timeout(igbvf_rd, dctl,
					!!(dctl & IGBVF_DCTL_ENABLE) == on,
					IGBVF_QUEUE_POLL_US,
					igbvf_timeout_us(igbvf_drain_timeout_ms),
					false, vf, offset);
	trace_igbvf_queue(vf, ring, str_on_off(on), began, ret);
	return ret;
}

/**
 * igbvf_ring_head - see how far the hardware has got
 * @vf: the device; io_lock is held
 * @ring: IGBVF_RX0...
 *
 * Return: the head. The guest sees the same, unless it has written another one
 * that the hardware does not know yet.
 */
u32 igbvf_ring_head(struct igbvf *vf, unsigned int ring)
{
	u32 *guest = &vf->guest.ring[ring][IGBVF_RING_HEAD];
	u32 *hw = &vf->hw.ring[ring][IGBVF_RING_HEAD];
	u32 head = igbvf_rd(vf, igbvf_ring_offset(ring, IGBVF_RING_HEAD));
	bool same = *guest == *hw;

	/* The poller comes even while the guest has switched memory off. */
	if (igbvf_gone(head))
		return *hw;
	*hw = head & 0xffff;
	if (same)
		*guest = *hw;
	return *hw;
}

/**
 * igbvf_ring_capture - see how the hardware has a queue
 * @vf: the device; io_lock is held
 * @ring: IGBVF_RX0...
 *
 * Without tracking, the guest has it like that, too. With it, the guest may be
 * ahead of the hardware.
 */
void igbvf_ring_capture(struct igbvf *vf, unsigned int ring)
{
	u32 *hw = vf->hw.ring[ring];
	unsigned int reg;

	for (reg = 0; reg < IGBVF_RING_REGS; reg++)
		if (reg != IGBVF_RING_HEAD)
			hw[reg] = igbvf_rd(vf, igbvf_ring_offset(ring, reg)) &
				  igbvf_ring_mask(ring, reg);
	igbvf_ring_head(vf, ring);
	if (!vfio_pci_mig_tracking(vf->mig))
		memcpy(vf->guest.ring[ring], hw, sizeof(vf->guest.ring[ring]));
}

/**
 * igbvf_ring_works - is a queue on, and has it a ring
 * @reg: its registers
 *
 * Return: true if so.
 */
bool igbvf_ring_works(const u32 *reg)
{
	return (reg[IGBVF_RING_DCTL] & IGBVF_DCTL_ENABLE) &&
	       reg[IGBVF_RING_LEN];
}

/*
 * Frames that the guest has posted are sent first, so that nothing of a packet
 * under way is left inside the device. The VF cannot be kept waiting by a PF
 * that has taken its transmit enable away or by a link that is down: what
 * remains in the ring then goes out after migration.
 */
static void igbvf_ring_drain(struct igbvf *vf, unsigned int ring)
{
	const u32 *regs = vf->hw.ring[ring];
	u32 tail = regs[IGBVF_RING_TAIL], head;
	ktime_t began = ktime_get();
	int ret;

	if (!igbvf_ring_works(regs))
		return;
	ret = read_poll_timeout(igbvf_rd, head, (head & 0xffff) == tail,
				IGBVF_QUEUE_POLL_US,
				igbvf_timeout_us(igbvf_drain_timeout_ms),
				false, vf,
				igbvf_ring_offset(ring, IGBVF_RING_HEAD));
	trace_igbvf_queue(vf, ring, "drain", began, ret);
}

static int igbvf_ring_off(struct igbvf *vf, unsigned int ring)
{
	u32 *dctl = &vf->hw.ring[ring][IGBVF_RING_DCTL];

	*dctl &= ~IGBVF_DCTL_ENABLE;
	igbvf_wr(vf, igbvf_ring_offset(ring, IGBVF_RING_DCTL), *dctl);
	return igbvf_wait_enable(vf, ring, false);
}

/**
 * igbvf_irq_read - how an interrupt register has been set up
 * @vf: the device
 * @reg: register of the page that can be the guest's
 *
 * Return: its value, without counters that run in it.
 */
u32 igbvf_irq_read(struct igbvf *vf, enum igbvf_irq_reg reg)
{
	u32 value = igbvf_rd(vf, igbvf_irq_offset[reg]) & igbvf_irq_mask[reg];

	if (reg >= IGBVF_IRQ_EITR0 && reg <= IGBVF_IRQ_EITR2)
		value &= IGBVF_EITR_SET_UP;
	return value;
}

/* If the guest has their page, this is how it has set the interrupts up. */
static void igbvf_interrupts_capture(struct igbvf *vf)
{
	unsigned int reg;

	if (!vf->direct)
		return;
	for (reg = 0; reg < IGBVF_IRQ_REGS; reg++) {
		if (igbvf_irq_offset[reg] < IGBVF_INTERRUPTS)
			continue;
		vf->hw.irq[reg] = igbvf_irq_read(vf, reg);
		vf->guest.irq[reg] = vf->hw.irq[reg];
	}
	vf->guest.eims = igbvf_rd(vf, IGBVF_EIMS) & IGBVF_VECTOR_MASK;
	vf->unmasked = 0;
}

static void igbvf_interrupts_off(struct igbvf *vf)
{
	igbvf_wr(vf, IGBVF_EIMC, IGBVF_VECTOR_MASK);
	vf->hw.eims = 0;
	if (vf->direct)
		vf->raised = igbvf_rd(vf, IGBVF_EICR) & IGBVF_VECTOR_MASK;
}

/* All rings are off and everything has landed: this is how far they got. */
static void igbvf_rings_landed(struct igbvf *vf)
{
	unsigned int ring;

	igbvf_rd(vf, IGBVF_STATUS);
	for (ring = 0; ring < IGBVF_RINGS; ring++)
		igbvf_ring_head(vf, ring);
	vf->track.stale = true;
}

/**
 * igbvf_rings_in_use - does the guest have a queue that works
 * @vf: the device, quiet
 *
 * Return: true if it has.
 */
bool igbvf_rings_in_use(const struct igbvf *vf)
{
	unsigned int ring;

	for (ring = 0; ring < IGBVF_RINGS; ring++)
		if (igbvf_ring_works(vf->guest.ring[ring]))
			return true;
	return false;
}

/**
 * igbvf_rings_lost - this hardware does not go on where the rings were
 * @vf: the device, quiet
 *
 * Every driver of a VF must be able to set it up anew, as its PF may be reset
 * at any time. Ours says the same to the guest: the message without CTS that
 * it gets from a PF which has forgotten it, and the "other" interrupt.
 *
 * Return: 0; -EOPNOTSUPP if the operator does not allow it (logged).
 */
int igbvf_rings_lost(struct igbvf *vf)
{
	unsigned int ring;

	if (!vf->can.start_over) {
		vfio_pci_mig_warn(vf->mig, "ring heads cannot be restored on this hardware, and start_over=N");
		return -EOPNOTSUPP;
	}
	for (ring = 0; ring < IGBVF_RINGS; ring++) {
		vf->guest.ring[ring][IGBVF_RING_DCTL] &= ~IGBVF_DCTL_ENABLE;
		vf->guest.ring[ring][IGBVF_RING_HEAD] =
			vf->hw.ring[ring][IGBVF_RING_HEAD];
	}
	vf->start_over = true;
	return 0;
}

/**
 * igbvf_quiesce - stop DMA and interrupts
 * @mig: the device
 *
 * Return: 0; -ENODEV if the function does not answer, -EIO if a queue does
 * not stop: both leave nothing but a reset. -EOPNOTSUPP if the guest would
 * have to start over and must not be asked to: the device works on.
 */
int igbvf_quiesce(struct vfio_pci_mig *mig)
{
	struct igbvf *vf = igbvf_from_mig(mig);
	unsigned int ring;
	int ret;

	ret = igbvf_answers(vf);
	if (ret)
		return ret;

	vf->link = igbvf_rd(vf, IGBVF_STATUS) & IGBVF_STATUS_LINK;
	for (ring = 0; ring < IGBVF_RINGS; ring++)
		igbvf_ring_capture(vf, ring);
	if (!vf->can.heads_kept && igbvf_rings_in_use(vf) &&
	    !vf->can.start_over)
		return igbvf_rings_lost(vf);

	igbvf_mbx_quiesce(vf);

	/* Receive queues come first: what arrives makes the guest send. */
	for (ring = 0; ring < IGBVF_RINGS; ring++) {
		if (igbvf_ring_is_tx(ring))
			igbvf_ring_drain(vf, ring);
		if (igbvf_ring_off(vf, ring)) {
			vfio_pci_mig_broken(mig, "a queue does not stop");
			return -EIO;
		}
	}

	igbvf_interrupts_capture(vf);
	igbvf_interrupts_off(vf);
	igbvf_rings_landed(vf);
	vf->kick = vf->raised;
	vf->restart = false;
	ret = igbvf_answers(vf);
	if (ret)
		return ret;
	if (!vf->can.heads_kept && igbvf_rings_in_use(vf))
		return igbvf_rings_lost(vf);
	return 0;
}

/* Bring one register to what the guest wants. */
static void igbvf_ring_update(struct igbvf *vf, unsigned int ring,
			      enum igbvf_ring_reg reg, u32 want)
{
	if (!igbvf_ring_mask(ring, reg) || vf->hw.ring[ring][reg] == want)
		return;
	igbvf_wr(vf, igbvf_ring_offset(ring, reg), want);
	vf->hw.ring[ring][reg] = want;
}

static int igbvf_ring_start(struct igbvf *vf, unsigned int ring,
			    const u32 *want)
{
	unsigned int reg;

	for (reg = 0; reg < IGBVF_RING_DCTL; reg++)
		igbvf_ring_update(vf, ring, reg, want[reg]);
	/*
	 * Where the hardware keeps a tail that is written while the queue is
	 * off, it must be the guest's before the queue goes on: between an old
	 * one and the head there may be descriptors that nobody has posted.
	 */
	igbvf_wr(vf, igbvf_ring_offset(ring, IGBVF_RING_TAIL),
		 want[IGBVF_RING_TAIL]);
	vf->hw.ring[ring][IGBVF_RING_TAIL] = want[IGBVF_RING_TAIL];
	igbvf_ring_update(vf, ring, IGBVF_RING_DCTL, want[IGBVF_RING_DCTL]);
	if (!(want[IGBVF_RING_DCTL] & IGBVF_DCTL_ENABLE))
		return 0;
	return igbvf_wait_enable(vf, ring, true);
}

/*
 * Doorbells come last, and are rung even if nothing was added: a tail that was
 * written while the queue was off has been ignored (82576) or latched without
 * effect (QEMU).
 */
static void igbvf_ring_doorbell(struct igbvf *vf, unsigned int ring,
				const u32 *want)
{
	if (igbvf_ring_works(want))
		igbvf_wr(vf, igbvf_ring_offset(ring, IGBVF_RING_TAIL),
			 want[IGBVF_RING_TAIL]);
}

/* Can the hardware be told while the queue works? */
static bool igbvf_ring_on_the_fly(const u32 *hw, const u32 *want)
{
	unsigned int reg;

	for (reg = 0; reg < IGBVF_RING_REGS; reg++)
		if (reg != IGBVF_RING_SRRCTL && reg != IGBVF_RING_DCA &&
		    reg != IGBVF_RING_DCTL && reg != IGBVF_RING_TAIL &&
		    hw[reg] != want[reg])
			return false;
	return !((hw[IGBVF_RING_DCTL] ^ want[IGBVF_RING_DCTL]) &
		 IGBVF_DCTL_ENABLE);
}

/**
 * igbvf_ring_follow - let the hardware do what the guest wanted of a queue
 * @vf: the device, working; io_lock is held
 * @ring: IGBVF_RX0...
 * @want: registers
 * @moved: the guest has set the head; otherwise the hardware's is right
 *
 * A change that needs the queue off, while the guest shows it as on, has been
 * made by a guest that switched it off and on again.
 */
void igbvf_ring_follow(struct igbvf *vf, unsigned int ring, u32 *want,
		       bool moved)
{
	u32 *hw = vf->hw.ring[ring];
	unsigned int reg;
	int ret = 0;

	if (!moved)
		want[IGBVF_RING_HEAD] = hw[IGBVF_RING_HEAD];
	if (igbvf_ring_on_the_fly(hw, want)) {
		for (reg = 0; reg < IGBVF_RING_REGS; reg++)
			igbvf_ring_update(vf, ring, reg, want[reg]);
		return;
	}

	if (hw[IGBVF_RING_DCTL] & IGBVF_DCTL_ENABLE)
		ret = igbvf_ring_off(vf, ring);
	igbvf_ring_head(vf, ring);
	if (!moved)
		want[IGBVF_RING_HEAD] = hw[IGBVF_RING_HEAD];
	if (!ret)
		ret = igbvf_ring_start(vf, ring, want);
	if (ret)
		dev_warn_ratelimited(&vfio_pci_mig_pdev(vf->mig)->dev,
				     "queue %u does not obey\n", ring);
	igbvf_ring_doorbell(vf, ring, want);
}

/* The vectors that an interrupt vector allocation register routes causes to. */
static u32 igbvf_routed(u32 ivar)
{
	u32 vectors = 0;

	for (; ivar; ivar >>= 8)
		if (ivar & IGBVF_IVAR_VALID)
			vectors |= BIT(ivar & IGBVF_IVAR_VECTOR);
	return vectors & IGBVF_VECTOR_MASK;
}

/* The vectors that may have been pending, or have a reason to be now. */
static u32 igbvf_pending_vectors(struct igbvf *vf)
{
	u32 link = igbvf_rd(vf, IGBVF_STATUS) & IGBVF_STATUS_LINK;
	u32 vectors = vf->kick | igbvf_routed(vf->guest.irq[IGBVF_IRQ_IVAR0]);

	/* Another PF may have another link, and nobody tells the guest. */
	if (igbvf_mbx_news(vf) || link != vf->link)
		vectors |= igbvf_routed(vf->guest.irq[IGBVF_IRQ_IVAR_MISC]);
	return vectors;
}

/**
 * igbvf_wait_restarted - wait until VTCTRL.RST has been done
 * @vf: the device
 */
void igbvf_wait_restarted(struct igbvf *vf)
{
	igbvf_rd(vf, IGBVF_STATUS);
	usleep_range(IGBVF_RESTART_US, 2 * IGBVF_RESTART_US);
}

/*
 * The guest has reset the VF while it was quiet. Which registers that clears
 * depends on the hardware: take none of them for known, so that all are
 * written. Only the queues are off, for sure.
 */
static void igbvf_restart(struct igbvf *vf, u32 (*want)[IGBVF_RING_REGS])
{
	unsigned int ring, reg;
	u32 mask;

	igbvf_wr(vf, IGBVF_VTCTRL, IGBVF_VTCTRL_RST);
	igbvf_wait_restarted(vf);
	for (reg = 0; reg < IGBVF_IRQ_REGS; reg++)
		vf->hw.irq[reg] = ~vf->guest.irq[reg];
	for (ring = 0; ring < IGBVF_RINGS; ring++) {
		for (reg = 0; reg < IGBVF_RING_REGS; reg++) {
			mask = igbvf_ring_mask(ring, reg);
			if (reg == IGBVF_RING_DCTL)
				mask &= ~IGBVF_DCTL_ENABLE;
			if (reg != IGBVF_RING_HEAD)
				vf->hw.ring[ring][reg] = ~want[ring][reg] & mask;
		}
		igbvf_ring_head(vf, ring);
	}
}

/**
 * igbvf_release - go on
 * @mig: the device
 *
 * Return: 0; -EIO if a queue does not start: then all are off again, or the
 * device is broken; -ENODEV if the function does not answer.
 */
int igbvf_release(struct vfio_pci_mig *mig)
{
	struct igbvf *vf = igbvf_from_mig(mig);
	u32 (*want)[IGBVF_RING_REGS] = vfio_pci_mig_tracking(mig) ?
				       vf->track.want : vf->guest.ring;
	unsigned int ring, reg;
	u32 vectors;
	int ret;

	if (vf->restart)
		igbvf_restart(vf, want);

	for (reg = 0; reg < IGBVF_IRQ_REGS; reg++) {
		if (vf->hw.irq[reg] == vf->guest.irq[reg])
			continue;
		igbvf_wr(vf, igbvf_irq_offset[reg], vf->guest.irq[reg]);
		vf->hw.irq[reg] = vf->guest.irq[reg];
	}

	for (ring = 0; ring < IGBVF_RINGS; ring++) {
		if (!igbvf_ring_start(vf, ring, want[ring]))
			continue;
		vfio_pci_mig_warn(mig, "queue %u does not start", ring);
		for (ring = 0; ring < IGBVF_RINGS; ring++)
			if (igbvf_ring_off(vf, ring))
				vfio_pci_mig_broken(mig, "a queue does not stop");
		igbvf_rings_landed(vf);
		return -EIO;
	}

	/* Causes of before are raised again below, and only those in use. */
	igbvf_wr(vf, IGBVF_EIAM, 0);
	igbvf_wr(vf, IGBVF_EICR, IGBVF_VECTOR_MASK);
	vectors = igbvf_pending_vectors(vf);
	ret = igbvf_answers(vf);
	if (ret)
		return ret;
	igbvf_mbx_release(vf);

	igbvf_wr(vf, IGBVF_EIMS, vf->guest.eims);
	vf->hw.eims = vf->guest.eims;

	for (ring = 0; ring < IGBVF_RINGS; ring++)
		igbvf_ring_doorbell(vf, ring, want[ring]);

	if (vectors)
		igbvf_wr(vf, IGBVF_EICS, vectors);
	igbvf_wr(vf, IGBVF_EIAM, vf->guest.irq[IGBVF_IRQ_EIAM]);
	vf->kick = 0;
	vf->restart = false;
	return 0;
}

/**
 * igbvf_reset - bring everything to the state of a fresh device
 * @mig: the device, whose function has just been reset
 *
 * A function level reset of an 82576 VF (and of QEMU's) spares most of its
 * registers. What could write to memory or interrupt for a former owner is
 * cleared here.
 *
 * Return: 0; -EIO if a queue goes on working, or nobody answers.
 */
int igbvf_reset(struct vfio_pci_mig *mig)
{
	struct igbvf *vf = igbvf_from_mig(mig);
	unsigned int ring, reg;
	int ret = 0;

	memset(&vf->hw, 0, sizeof(vf->hw));
	memset(&vf->pf, 0, sizeof(vf->pf));
	memset(vf->stats_offset, 0, sizeof(vf->stats_offset));
	vf->raised = 0;
	vf->unmasked = 0;
	vf->kick = 0;
	vf->link = 0;
	vf->restart = false;
	vf->start_over = false;
	vf->track.stale = true;

	igbvf_mbx_reset(vf);
	igbvf_wr(vf, IGBVF_EIMC, IGBVF_VECTOR_MASK);
	igbvf_wr(vf, IGBVF_IVAR_MISC, 0);

	for (ring = 0; ring < IGBVF_RINGS; ring++) {
		vf->hw.ring[ring][IGBVF_RING_DCTL] =
			igbvf_ring_is_tx(ring) ? 0 : IGBVF_RXDCTL_RESET;
		if (igbvf_ring_off(vf, ring))
			ret = -EIO;
		for (reg = 0; reg < IGBVF_RING_REGS; reg++)
			if (reg != IGBVF_RING_DCTL &&
			    igbvf_ring_mask(ring, reg))
				igbvf_wr(vf, igbvf_ring_offset(ring, reg), 0);
	}
	for (reg = 0; reg < IGBVF_IRQ_REGS; reg++)
		igbvf_wr(vf, igbvf_irq_offset[reg], 0);

	vf->guest = vf->hw;
	return ret;
}
