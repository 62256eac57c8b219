// SPDX-License-Identifier: GPL-2.0
/*
 * The register list, and the guest's accesses to BAR0.
 */
#include "igbvf.h"

/**
 * struct igbvf_ring_desc - a queue register
 * @offset: from the base of the queue
 * @rx: bits that exist for a receive queue; 0: no such register
 * @tx: bits that exist for a transmit queue
 *
 * The masks keep a stream from setting what a guest could not.
 */
struct igbvf_ring_desc {
	u8 offset;
	u32 rx;
	u32 tx;
};

static const struct igbvf_ring_desc igbvf_ring_desc[IGBVF_RING_REGS] = {
	[IGBVF_RING_BAL]	= { 0x00, 0xffffff80, 0xffffff80 },
	[IGBVF_RING_BAH]	= { 0x04, 0xffffffff, 0xffffffff },
	[IGBVF_RING_LEN]	= { 0x08, 0x000fff80, 0x000fff80 },
	[IGBVF_RING_SRRCTL]	= { 0x0c, 0x8ff00f7f, 0 },
	[IGBVF_RING_DCA]	= { 0x14, 0xffffffff, 0xffffffff },
	[IGBVF_RING_WBAL]	= { 0x38, 0, 0xfffffffd },
	[IGBVF_RING_WBAH]	= { 0x3c, 0, 0xffffffff },
	[IGBVF_RING_HEAD]	= { IGBVF_RING_HEAD_OFFSET, 0x0000ffff, 0x0000ffff },
	/* Without SWFLSH (bit 26): a command, not state. */
	[IGBVF_RING_DCTL]	= { 0x28, 0x021f1f1f, 0x021f1f1f },
	[IGBVF_RING_TAIL]	= { 0x18, 0x0000ffff, 0x0000ffff },
};

const u16 igbvf_irq_offset[IGBVF_IRQ_REGS] = {
	[IGBVF_IRQ_EIAC]	= IGBVF_EIAC,
	[IGBVF_IRQ_EIAM]	= IGBVF_EIAM,
	[IGBVF_IRQ_EITR0]	= IGBVF_EITR(0),
	[IGBVF_IRQ_EITR1]	= IGBVF_EITR(1),
	[IGBVF_IRQ_EITR2]	= IGBVF_EITR(2),
	[IGBVF_IRQ_IVAR0]	= IGBVF_IVAR0,
	[IGBVF_IRQ_IVAR_MISC]	= IGBVF_IVAR_MISC,
	[IGBVF_IRQ_PSRTYPE]	= IGBVF_PSRTYPE,
};

const u32 igbvf_irq_mask[IGBVF_IRQ_REGS] = {
	[IGBVF_IRQ_EIAC]	= IGBVF_VECTOR_MASK,
	[IGBVF_IRQ_EIAM]	= IGBVF_VECTOR_MASK,
	[IGBVF_IRQ_EITR0]	= ~(u32)IGBVF_EITR_CNT_IGNR,
	[IGBVF_IRQ_EITR1]	= ~(u32)IGBVF_EITR_CNT_IGNR,
	[IGBVF_IRQ_EITR2]	= ~(u32)IGBVF_EITR_CNT_IGNR,
	[IGBVF_IRQ_IVAR0]	= 0x83838383,
	[IGBVF_IRQ_IVAR_MISC]	= 0x00000083,
	[IGBVF_IRQ_PSRTYPE]	= 0xffffffff,
};

const u16 igbvf_stats_offset[IGBVF_STATS] = {
	IGBVF_GPRC, IGBVF_GPTC, IGBVF_GORC, IGBVF_GOTC, IGBVF_MPRC,
	IGBVF_GPRLBC, IGBVF_GPTLBC, IGBVF_GORLBC, IGBVF_GOTLBC,
};

/**
 * igbvf_ring_offset - where a queue register is in BAR0
 * @ring: IGBVF_RX0...
 * @reg: register
 *
 * Return: its offset.
 */
u32 igbvf_ring_offset(unsigned int ring, enum igbvf_ring_reg reg)
{
	u32 base = igbvf_ring_is_tx(ring) ? IGBVF_TX_BASE(ring - IGBVF_TX0) :
					    IGBVF_RX_BASE(ring - IGBVF_RX0);

	return base + igbvf_ring_desc[reg].offset;
}

/**
 * igbvf_ring_mask - the bits of a queue register that are state
 * @ring: IGBVF_RX0...
 * @reg: register
 *
 * Return: 0 if such a queue does not have the register.
 */
u32 igbvf_ring_mask(unsigned int ring, enum igbvf_ring_reg reg)
{
	return igbvf_ring_is_tx(ring) ? igbvf_ring_desc[reg].tx :
					igbvf_ring_desc[reg].rx;
}

/*
 * Which queue register is at @offset? Asked for each dword of two pages when
 * the shield is filled, so it decodes the address instead of searching.
 */
static bool igbvf_ring_find(u32 offset, unsigned int *ring, unsigned int *reg)
{
	u32 block = offset & ~0xffu;

	if (offset - block > IGBVF_RING_LAST)
		return false;
	for (*ring = 0; *ring < IGBVF_RINGS; ++*ring)
		if (igbvf_ring_offset(*ring, IGBVF_RING_BAL) == block)
			break;
	if (*ring == IGBVF_RINGS)
		return false;

	for (*reg = 0; *reg < IGBVF_RING_REGS; ++*reg)
		if (igbvf_ring_desc[*reg].offset == offset - block)
			return igbvf_ring_mask(*ring, *reg);
	return false;
}

static u32 *igbvf_irq_find(struct igbvf_regs *regs, u32 offset, u32 *mask)
{
	unsigned int reg;

	for (reg = 0; reg < IGBVF_IRQ_REGS; reg++) {
		if (igbvf_irq_offset[reg] == offset) {
			*mask = igbvf_irq_mask[reg];
			return &regs->irq[reg];
		}
	}
	return NULL;
}

static int igbvf_stats_find(u32 offset)
{
	int i;

	for (i = 0; i < IGBVF_STATS; i++)
		if (igbvf_stats_offset[i] == offset)
			return i;
	return -1;
}

static u32 igbvf_read_page0(struct igbvf *vf, u32 offset)
{
	u32 mask, *shadow;
	int stat;

	if (offset >= IGBVF_VMBMEM &&
	    offset < IGBVF_VMBMEM + 4 * IGBVF_VMBMEM_WORDS)
		return igbvf_mbx_read_mem(vf, (offset - IGBVF_VMBMEM) / 4);
	if (offset == IGBVF_V2PMAILBOX)
		return igbvf_mbx_read_control(vf);

	stat = igbvf_stats_find(offset);
	if (stat >= 0)
		return igbvf_rd(vf, offset) + vf->stats_offset[stat];

	/* QEMU has no PSRTYPE: the guest reads back what it wrote. */
	shadow = igbvf_irq_find(&vf->guest, offset, &mask);
	return shadow ? *shadow : igbvf_rd(vf, offset);
}

/* VTCTRL.RST has changed the rings; while they are tracked, we know them. */
static void igbvf_restarted(struct igbvf *vf)
{
	unsigned int ring;

	if (!vfio_pci_mig_tracking(vf->mig))
		return;
	igbvf_wait_restarted(vf);
	for (ring = 0; ring < IGBVF_RINGS; ring++) {
		igbvf_ring_capture(vf, ring);
		memcpy(vf->guest.ring[ring], vf->hw.ring[ring],
		       sizeof(vf->guest.ring[ring]));
	}
	vf->track.stale = true;
	vfio_pci_mig_changed(vf->mig);
}

static void igbvf_write_page0(struct igbvf *vf, u32 offset, u32 value)
{
	u32 mask, *shadow;
	unsigned int ring;

	if (offset >= IGBVF_VMBMEM &&
	    offset < IGBVF_VMBMEM + 4 * IGBVF_VMBMEM_WORDS) {
		/* Goes to the device together with the request. */
		vf->mbx.mem[(offset - IGBVF_VMBMEM) / 4] = value;
		return;
	}

	switch (offset) {
	case IGBVF_V2PMAILBOX:
		igbvf_mbx_write_control(vf, value);
		return;
	case IGBVF_VTCTRL:
	case IGBVF_VTCTRL_ALIAS:
		if (value & IGBVF_VTCTRL_RST) {
			igbvf_pf_restarted(&vf->pf);
			vf->start_over = false;
		}
		if (!vfio_pci_mig_quiet(vf->mig)) {
			igbvf_wr(vf, offset, value);
			if (value & IGBVF_VTCTRL_RST)
				igbvf_restarted(vf);
		} else if (value & IGBVF_VTCTRL_RST) {
			vf->restart = true;
			for (ring = 0; ring < IGBVF_RINGS; ring++)
				vf->guest.ring[ring][IGBVF_RING_DCTL] &=
					~IGBVF_DCTL_ENABLE;
		}
		return;
	case IGBVF_PBACL:
		/* QEMU's igb lets it through to the PF's own vectors. */
		return;
	}

	shadow = igbvf_irq_find(&vf->guest, offset, &mask);
	if (shadow)
		*shadow = value & mask;
	if (vfio_pci_mig_quiet(vf->mig))
		return;
	igbvf_wr(vf, offset, value);
	if (shadow)
		*igbvf_irq_find(&vf->hw, offset, &mask) = *shadow;
}

static u32 igbvf_read_page1(struct igbvf *vf, u32 offset)
{
	bool quiet = vfio_pci_mig_quiet(vf->mig);
	u32 mask, *shadow;

	/* The guest has the page: what we know of it may be old. */
	if (vf->direct && !quiet)
		return igbvf_rd(vf, offset);
	/*
	 * What QEMU answers for EIMS is the last value written, not the mask;
	 * so the guest is shown what the datasheet says. In a stand-in a write
	 * of the same value must be a change, see igbvf_mask_quiet().
	 */
	if (offset == IGBVF_EIMS)
		return vf->guest.eims |
		       (vf->direct ? IGBVF_EIMS_UNTOUCHED : 0);
	if (offset == IGBVF_EICR)
		vf->raised = 0;
	if (!quiet)
		return igbvf_rd(vf, offset);

	shadow = igbvf_irq_find(&vf->guest, offset, &mask);
	/* EICR stays 0: release raises what may be pending. */
	return shadow ? *shadow : 0;
}

/*
 * A stand-in tells what was written to EIMS and to EIMC, not in which order,
 * nor how often. So what has been unmasked in quiet stays so: an interrupt too
 * many is harmless, one that is lost is not. What no driver does: writing back
 * what it has read, IGBVF_EIMS_UNTOUCHED included, is not noticed.
 */
static void igbvf_mask_quiet(struct igbvf *vf, u32 set, u32 clear)
{
	vf->unmasked |= set & IGBVF_VECTOR_MASK;
	vf->guest.eims = (vf->guest.eims & ~clear) | vf->unmasked;
}

/* The guest unmasks vectors, where it has the page or not. */
static void igbvf_unmask(struct igbvf *vf, u32 vectors)
{
	if (vf->direct && vfio_pci_mig_quiet(vf->mig))
		igbvf_mask_quiet(vf, vectors, 0);
	else
		vf->guest.eims |= vectors & IGBVF_VECTOR_MASK;
}

static void igbvf_write_page1(struct igbvf *vf, u32 offset, u32 value)
{
	bool quiet = vfio_pci_mig_quiet(vf->mig);
	u32 mask, *shadow;

	switch (offset) {
	case IGBVF_EIMS:
		igbvf_unmask(vf, value);
		break;
	case IGBVF_EIMC:
		if (vf->direct && quiet)
			igbvf_mask_quiet(vf, 0, value);
		else
			vf->guest.eims &= ~value;
		break;
	case IGBVF_EICS:
		/* Auto mask; QEMU has none, and then this is too much. */
		igbvf_unmask(vf, value & vf->guest.irq[IGBVF_IRQ_EIAM]);
		vf->raised |= value & IGBVF_VECTOR_MASK;
		if (quiet)
			vf->kick |= value & IGBVF_VECTOR_MASK;
		break;
	case IGBVF_EICR:
		vf->raised &= ~value;
		break;
	case IGBVF_EIAM:
		/* A stand-in does not tell that it was written before EICS. */
		if (vf->direct && quiet)
			igbvf_unmask(vf, value & vf->kick);
		break;
	}

	shadow = igbvf_irq_find(&vf->guest, offset, &mask);
	if (shadow)
		*shadow = value & mask;
	if (quiet)
		return;

	igbvf_wr(vf, offset, value);
	vf->hw.eims = vf->guest.eims;
	if (shadow)
		*igbvf_irq_find(&vf->hw, offset, &mask) = *shadow;
}

/**
 * igbvf_bar_read - the guest reads a register
 * @mig: the device
 * @bar: always BAR0
 * @offset: of the dword
 *
 * Return: its value as the guest should see it.
 */
u32 igbvf_bar_read(struct vfio_pci_mig *mig, unsigned int bar, u32 offset)
{
	struct igbvf *vf = igbvf_from_mig(mig);
	unsigned int ring, reg;

	if (offset < IGBVF_INTERRUPTS)
		return igbvf_read_page0(vf, offset);
	if (offset < IGBVF_QUEUES)
		return igbvf_read_page1(vf, offset);
	if (!vfio_pci_mig_quiet(mig) && !vfio_pci_mig_tracking(mig))
		return igbvf_rd(vf, offset);
	if (!igbvf_ring_find(offset, &ring, &reg))
		return 0;
	if (reg == IGBVF_RING_HEAD && !vfio_pci_mig_quiet(mig) &&
	    (vf->hw.ring[ring][IGBVF_RING_DCTL] & IGBVF_DCTL_ENABLE))
		igbvf_ring_head(vf, ring);
	return vf->guest.ring[ring][reg];
}

/**
 * igbvf_bar_write - the guest writes a register
 * @mig: the device
 * @bar: always BAR0
 * @offset: of the dword
 * @value: value
 */
void igbvf_bar_write(struct vfio_pci_mig *mig, unsigned int bar, u32 offset,
		     u32 value)
{
	struct igbvf *vf = igbvf_from_mig(mig);
	unsigned int ring, reg;

	if (offset < IGBVF_INTERRUPTS)
		igbvf_write_page0(vf, offset, value);
	else if (offset < IGBVF_QUEUES)
		igbvf_write_page1(vf, offset, value);
	else if (!vfio_pci_mig_quiet(mig) && !vfio_pci_mig_tracking(mig))
		igbvf_wr(vf, offset, value);
	else if (igbvf_ring_find(offset, &ring, &reg))
		vf->guest.ring[ring][reg] = value & igbvf_ring_mask(ring, reg);
}
