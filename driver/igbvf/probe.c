// SPDX-License-Identifier: GPL-2.0
/*
 * What this 82576 VF can do: QEMU's and the chip differ, and nobody has tried
 * all of it on a chip. So it is tried out whenever the device is opened, on
 * the second queue pair, with bus mastering off and nothing routed anywhere.
 * Each answer can be forced by a module parameter.
 *
 * Documentation/igbvf.rst tells what each answer leads to.
 */
#include <linux/iopoll.h>
#include <linux/module.h>
#include <linux/sizes.h>

#include "igbvf.h"

/* -1: try it out. */
static int igbvf_force_heads_writable = -1;
module_param_named(heads_writable, igbvf_force_heads_writable, int, 0644);
MODULE_PARM_DESC(heads_writable,
		 "Ring heads can be set: 1 yes, 0 no, -1 try it out (default)");

static int igbvf_force_heads_kept = -1;
module_param_named(heads_kept, igbvf_force_heads_kept, int, 0644);
MODULE_PARM_DESC(heads_kept,
		 "Ring heads survive switching a queue off and on: 1, 0, -1 (default)");

static int igbvf_force_mask_readable = -1;
module_param_named(mask_readable, igbvf_force_mask_readable, int, 0644);
MODULE_PARM_DESC(mask_readable,
		 "The interrupt mask can be read back: 1, 0, -1 (default)");

static int igbvf_force_tails_latched = -1;
module_param_named(tails_latched, igbvf_force_tails_latched, int, 0644);
MODULE_PARM_DESC(tails_latched,
		 "A queue that is off keeps a tail written to it: 1, 0, -1 (default)");

static int igbvf_map_interrupts = -1;
module_param_named(map_interrupts, igbvf_map_interrupts, int, 0644);
MODULE_PARM_DESC(map_interrupts,
		 "Leave the page with the interrupt mask to the guest: 1, 0, -1 where it was tried out that it reads back (default)");

static bool igbvf_start_over = true;
module_param_named(start_over, igbvf_start_over, bool, 0644);
MODULE_PARM_DESC(start_over,
		 "Where heads cannot be set, ask the guest's driver to start its rings over (default Y)");

#define IGBVF_TRY_LEN	128	/* bytes: 8 descriptors */
#define IGBVF_TRY_INDEX	5

/* Nothing is unmasked meanwhile; what is routed to vectors is never raised. */
static const u32 igbvf_try_value[IGBVF_IRQ_REGS] = {
	[IGBVF_IRQ_EIAC]	= BIT(0) | BIT(2),
	[IGBVF_IRQ_EIAM]	= BIT(1) | BIT(2),
	[IGBVF_IRQ_EITR0]	= 0x10,
	[IGBVF_IRQ_EITR1]	= 0x20,
	[IGBVF_IRQ_EITR2]	= 0x40,
	[IGBVF_IRQ_IVAR0]	= 0x8081,
	[IGBVF_IRQ_IVAR_MISC]	= 0x82,
};

static bool igbvf_answer(int forced, bool found)
{
	return forced < 0 ? found : forced;
}

static bool igbvf_head_is(struct igbvf *vf, unsigned int ring, u32 value)
{
	u32 head = igbvf_rd(vf, igbvf_ring_offset(ring, IGBVF_RING_HEAD));

	return (head & 0xffff) == value;
}

static bool igbvf_try_head(struct igbvf *vf, unsigned int ring)
{
	igbvf_wr(vf, igbvf_ring_offset(ring, IGBVF_RING_HEAD), IGBVF_TRY_INDEX);
	return igbvf_head_is(vf, ring, IGBVF_TRY_INDEX);
}

static bool igbvf_try_tail(struct igbvf *vf, unsigned int ring)
{
	u32 offset = igbvf_ring_offset(ring, IGBVF_RING_TAIL);

	igbvf_wr(vf, offset, IGBVF_TRY_INDEX);
	return igbvf_rd(vf, offset) == IGBVF_TRY_INDEX;
}

/* The ring is empty, head and tail are the same: there is nothing to fetch. */
static bool igbvf_try_kept(struct igbvf *vf, unsigned int ring)
{
	u32 offset = igbvf_ring_offset(ring, IGBVF_RING_DCTL);
	u32 off = igbvf_ring_is_tx(ring) ? 0 : IGBVF_RXDCTL_RESET;
	bool kept = true;
	int i;

	for (i = 0; kept && i < 2; i++) {
		igbvf_wr(vf, offset, off | IGBVF_DCTL_ENABLE);
		kept = !igbvf_wait_enable(vf, ring, true) &&
		       igbvf_head_is(vf, ring, IGBVF_TRY_INDEX);
		igbvf_wr(vf, offset, off);
		kept &= !igbvf_wait_enable(vf, ring, false) &&
			igbvf_head_is(vf, ring, IGBVF_TRY_INDEX);
	}
	return kept;
}

/* QEMU answers with the last value written to set bits, not with the mask. */
static bool igbvf_try_mask(struct igbvf *vf)
{
	u32 mask;

	igbvf_wr(vf, IGBVF_EIMS, BIT(0) | BIT(1));
	igbvf_wr(vf, IGBVF_EIMC, BIT(1));
	mask = igbvf_rd(vf, IGBVF_EIMS);
	igbvf_wr(vf, IGBVF_EIMC, IGBVF_VECTOR_MASK);
	return (mask & IGBVF_VECTOR_MASK) == BIT(0);
}

/*
 * Do the others of that page, too? Only to be asked of hardware whose mask
 * does: in QEMU some would reach the PF, and stay there.
 */
static bool igbvf_try_interrupts(struct igbvf *vf)
{
	unsigned int reg;
	bool same = true;

	for (reg = 0; reg < IGBVF_IRQ_REGS; reg++) {
		if (igbvf_irq_offset[reg] < IGBVF_INTERRUPTS)
			continue;
		igbvf_wr(vf, igbvf_irq_offset[reg], igbvf_try_value[reg]);
		same &= igbvf_irq_read(vf, reg) == igbvf_try_value[reg];
		igbvf_wr(vf, igbvf_irq_offset[reg], 0);
	}
	return same;
}

static void igbvf_try(struct igbvf *vf, struct igbvf_ability *can)
{
	static const unsigned int rings[] = { IGBVF_RX1, IGBVF_TX1 };
	unsigned int i;

	*can = (struct igbvf_ability){
		.heads_writable = true,
		.heads_kept = true,
		.tails_latched = true,
	};
	for (i = 0; i < ARRAY_SIZE(rings); i++) {
		igbvf_wr(vf, igbvf_ring_offset(rings[i], IGBVF_RING_LEN),
			 IGBVF_TRY_LEN);
		can->heads_writable &= igbvf_try_head(vf, rings[i]);
		can->tails_latched &= igbvf_try_tail(vf, rings[i]);
		/*
		 * A head that is always 0 tells nothing; then the worse is
		 * assumed.
		 */
		can->heads_kept &= can->heads_writable && can->tails_latched &&
				   igbvf_try_kept(vf, rings[i]);
	}
	can->mask_readable = igbvf_try_mask(vf);
	can->interrupts_readable = can->mask_readable &&
				   igbvf_try_interrupts(vf);
}

/**
 * igbvf_probe_ability - find out what this function can do
 * @vf: the device, just reset and silent; is to be reset again
 *
 * The result is in @vf->can, in the kernel's log and in debugfs. It goes into
 * the stream's IDENTITY, too: a source is refused by a destination that cannot
 * do with its state before the guest stops; and who has a stream can see what
 * its source was like. Whether Transactions Pending is implemented shows only
 * under DMA: the core counts how often it has seen it.
 */
void igbvf_probe_ability(struct igbvf *vf)
{
	struct igbvf_ability can;
	const unsigned long page = PAGE_SIZE;
	u64 required, optional, known;

	igbvf_try(vf, &can);
	can.heads_writable = igbvf_answer(READ_ONCE(igbvf_force_heads_writable),
					  can.heads_writable);
	can.heads_kept = igbvf_answer(READ_ONCE(igbvf_force_heads_kept),
				      can.heads_kept);
	can.mask_readable = igbvf_answer(READ_ONCE(igbvf_force_mask_readable),
					 can.mask_readable);
	can.tails_latched = igbvf_answer(READ_ONCE(igbvf_force_tails_latched),
					 can.tails_latched);
	can.start_over = READ_ONCE(igbvf_start_over);
	/* A forced answer about the mask is one for tests, and may be wrong. */
	vf->direct = igbvf_answer(READ_ONCE(igbvf_map_interrupts),
				  can.interrupts_readable) &&
		     vfio_pci_mig_map_direct(vf->mig);

	required = can.heads_kept ? IGBVF_FEATURE_HEADS :
				    IGBVF_FEATURE_START_OVER;
	known = can.start_over ? IGBVF_FEATURE_HEADS | IGBVF_FEATURE_START_OVER :
		can.heads_writable ? IGBVF_FEATURE_HEADS : 0;
	optional = (can.heads_writable ? IGBVF_FACT_HEADS_WRITABLE : 0) |
		   (can.heads_kept ? IGBVF_FACT_HEADS_KEPT : 0) |
		   (can.mask_readable ? IGBVF_FACT_MASK_READABLE : 0) |
		   (can.tails_latched ? IGBVF_FACT_TAILS_LATCHED : 0) |
		   (page == SZ_4K ? IGBVF_FACT_PAGES_4K : 0);
	vfio_pci_mig_set_features(vf->mig, required, optional, known);
	vf->can = can;
	vfio_pci_mig_describe(vf->mig,
			      "ring heads %s and %s, mask %s, tails of idle queues %s, pages of %lu, interrupts %s: %s",
			      can.heads_writable ? "writable" : "read-only",
			      can.heads_kept ? "kept" : "not kept",
			      can.mask_readable ? "readable" : "unreadable",
			      can.tails_latched ? "latched" : "ignored", page,
			      vf->direct ? "mapped" : "trapped",
			      can.heads_writable && can.heads_kept ?
			      "rings migrate as they are" : can.start_over ?
			      "the guest is asked to start its rings over" :
			      "rings in use cannot migrate");
}
