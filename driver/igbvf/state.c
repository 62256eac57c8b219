// SPDX-License-Identifier: GPL-2.0
/*
 * The device state in the stream: the 82576 VF's records.
 *
 * What a stream may set is what a guest could have set by itself, and no
 * more: there are no (register, value) pairs in it, every value is masked to
 * the bits that exist, counts are bounded, and rings must be consistent.
 */
#include <linux/slab.h>

#include "igbvf.h"

enum {
	IGBVF_RECORD_RINGS = VFIO_MIG_RECORD_BACKEND,
	IGBVF_RECORD_INTERRUPTS,
	IGBVF_RECORD_MAILBOX,
	IGBVF_RECORD_PF,
	IGBVF_RECORD_STATS,
};

/**
 * struct igbvf_rings_record - both queue pairs
 * @reg: registers in the order of enum igbvf_ring_reg, per queue RX0, RX1,
 *	TX0, TX1; 0 where a queue does not have the register
 */
struct igbvf_rings_record {
	__le32 reg[IGBVF_RINGS][IGBVF_RING_REGS];
};

/**
 * struct igbvf_interrupts_record - interrupt set-up
 * @reg: registers in the order of enum igbvf_irq_reg
 * @eims: enabled vectors
 * @kick: vectors to raise besides those that are routed
 */
struct igbvf_interrupts_record {
	__le32 reg[IGBVF_IRQ_REGS];
	__le32 eims;
	__le32 kick;
};

#define IGBVF_MBX_OWNED		BIT(0)
#define IGBVF_MBX_UNREAD	BIT(1)
#define IGBVF_MBX_RESTART	BIT(2)
#define IGBVF_MBX_START_OVER	BIT(3)
#define IGBVF_MBX_ANSWERED	BIT(4)
#define IGBVF_MBX_FLAGS		GENMASK(4, 0)

/**
 * struct igbvf_mailbox_record - the guest's view of the mailbox
 * @mem: VMBMEM
 * @r2c: unread read-to-clear bits of V2PMAILBOX
 * @held: commands that were written while the device was quiet
 * @flags: IGBVF_MBX_*
 * @link: link bits of STATUS
 */
struct igbvf_mailbox_record {
	__le32 mem[IGBVF_VMBMEM_WORDS];
	__le32 r2c;
	__le32 held;
	__le32 flags;
	__le32 link;
};

#define IGBVF_PF_CTS		BIT(0)
#define IGBVF_PF_MAC		BIT(1)
#define IGBVF_PF_MULTICAST	BIT(2)
#define IGBVF_PF_VLAN		BIT(3)

/**
 * struct igbvf_pf_record - what the PF holds, see struct igbvf_pf_log
 * @flags: IGBVF_PF_*
 * @lpe: largest frame
 * @promisc: bits 23:16 of the request
 * @nr_uc: number of @uc
 * @nr_mc: number of multicast hashes asked for
 * @vlan_last: last SET_VLAN
 * @mac: address
 * @uc: unicast filters
 * @mc: multicast hashes
 * @reserved: 0
 * @vlan: bit n of byte m: VLAN m * 8 + n
 */
struct igbvf_pf_record {
	__le32 flags;
	__le32 lpe;
	__le32 promisc;
	__le32 nr_uc;
	__le32 nr_mc;
	__le32 vlan_last[2];
	u8 mac[ETH_ALEN];
	u8 uc[IGBVF_UC_MAX][ETH_ALEN];
	__le16 mc[IGBVF_MC_MAX];
	u8 reserved[2];
	u8 vlan[IGBVF_VLANS / 8];
};

/**
 * struct igbvf_stats_record - counters as the guest last saw them
 * @value: in the order of igbvf_stats_offset
 */
struct igbvf_stats_record {
	__le32 value[IGBVF_STATS];
};

#define IGBVF_RECORD(_type, _struct, _mandatory)		\
	{ .type = (_type), .min = sizeof(struct _struct),	\
	  .max = sizeof(struct _struct), .mandatory = (_mandatory) }

const struct mig_record_desc igbvf_records[IGBVF_NR_RECORDS] = {
	IGBVF_RECORD(IGBVF_RECORD_RINGS, igbvf_rings_record, true),
	IGBVF_RECORD(IGBVF_RECORD_INTERRUPTS, igbvf_interrupts_record, true),
	IGBVF_RECORD(IGBVF_RECORD_MAILBOX, igbvf_mailbox_record, true),
	IGBVF_RECORD(IGBVF_RECORD_PF, igbvf_pf_record, true),
	IGBVF_RECORD(IGBVF_RECORD_STATS, igbvf_stats_record, false),
};

static int igbvf_put(struct mig_encoder *enc, u16 type, const void *payload,
		     u32 length)
{
	return vfio_pci_mig_put_record(enc, type, VFIO_MIG_RECORD_REQUIRED,
				       payload, length);
}

static int igbvf_save_rings(struct igbvf *vf, struct mig_encoder *enc)
{
	struct igbvf_rings_record out = {};
	unsigned int ring, reg;

	for (ring = 0; ring < IGBVF_RINGS; ring++)
		for (reg = 0; reg < IGBVF_RING_REGS; reg++)
			out.reg[ring][reg] =
				cpu_to_le32(vf->guest.ring[ring][reg]);
	return igbvf_put(enc, IGBVF_RECORD_RINGS, &out, sizeof(out));
}

static int igbvf_save_interrupts(struct igbvf *vf, struct mig_encoder *enc)
{
	struct igbvf_interrupts_record out = {
		.eims = cpu_to_le32(vf->guest.eims),
		.kick = cpu_to_le32(vf->kick),
	};
	unsigned int reg;

	for (reg = 0; reg < IGBVF_IRQ_REGS; reg++)
		out.reg[reg] = cpu_to_le32(vf->guest.irq[reg]);
	return igbvf_put(enc, IGBVF_RECORD_INTERRUPTS, &out, sizeof(out));
}

static int igbvf_save_mailbox(struct igbvf *vf, struct mig_encoder *enc)
{
	struct igbvf_mailbox_record out = {
		.r2c = cpu_to_le32(vf->mbx.r2c),
		.held = cpu_to_le32(vf->mbx.held),
		.flags = cpu_to_le32((vf->mbx.owned ? IGBVF_MBX_OWNED : 0) |
				     (vf->mbx.unread ? IGBVF_MBX_UNREAD : 0) |
				     (vf->mbx.answered ? IGBVF_MBX_ANSWERED : 0) |
				     (vf->restart ? IGBVF_MBX_RESTART : 0) |
				     (vf->start_over ? IGBVF_MBX_START_OVER : 0)),
		.link = cpu_to_le32(vf->link),
	};
	unsigned int i;

	for (i = 0; i < IGBVF_VMBMEM_WORDS; i++)
		out.mem[i] = cpu_to_le32(vf->mbx.mem[i]);
	return igbvf_put(enc, IGBVF_RECORD_MAILBOX, &out, sizeof(out));
}

static int igbvf_save_pf(struct igbvf *vf, struct mig_encoder *enc)
{
	const struct igbvf_pf_log *pf = &vf->pf;
	struct igbvf_pf_record out = {
		.flags = cpu_to_le32((pf->cts ? IGBVF_PF_CTS : 0) |
				     (pf->mac_valid ? IGBVF_PF_MAC : 0) |
				     (pf->mc_set ? IGBVF_PF_MULTICAST : 0) |
				     (pf->vlan_set ? IGBVF_PF_VLAN : 0)),
		.lpe = cpu_to_le32(pf->lpe),
		.promisc = cpu_to_le32(pf->promisc),
		.nr_uc = cpu_to_le32(pf->nr_uc),
		.nr_mc = cpu_to_le32(pf->nr_mc),
		.vlan_last = { cpu_to_le32(pf->vlan_last[0]),
			       cpu_to_le32(pf->vlan_last[1]) },
	};
	unsigned int i;

	memcpy(out.mac, pf->mac, sizeof(out.mac));
	memcpy(out.uc, pf->uc, sizeof(out.uc));
	for (i = 0; i < IGBVF_MC_MAX; i++)
		out.mc[i] = cpu_to_le16(pf->mc[i]);
	for_each_set_bit(i, pf->vlan, IGBVF_VLANS)
		out.vlan[i / 8] |= BIT(i % 8);
	return igbvf_put(enc, IGBVF_RECORD_PF, &out, sizeof(out));
}

static int igbvf_save_stats(struct igbvf *vf, struct mig_encoder *enc)
{
	struct igbvf_stats_record out;
	unsigned int i;

	for (i = 0; i < IGBVF_STATS; i++)
		out.value[i] = cpu_to_le32(igbvf_rd(vf, igbvf_stats_offset[i]) +
					   vf->stats_offset[i]);
	/* A reader that does not know them may well do without. */
	return vfio_pci_mig_put_record(enc, IGBVF_RECORD_STATS, 0, &out,
				       sizeof(out));
}

/**
 * igbvf_save - write the device state
 * @mig: the device, quiet
 * @enc: where to
 *
 * Return: 0, -ENOSPC, or -ENODEV if the function does not answer.
 */
int igbvf_save(struct vfio_pci_mig *mig, struct mig_encoder *enc)
{
	struct igbvf *vf = igbvf_from_mig(mig);
	int ret;

	ret = igbvf_save_rings(vf, enc);
	if (!ret)
		ret = igbvf_save_interrupts(vf, enc);
	if (!ret)
		ret = igbvf_save_mailbox(vf, enc);
	if (!ret)
		ret = igbvf_save_pf(vf, enc);
	if (!ret)
		ret = igbvf_save_stats(vf, enc);
	if (!ret)
		ret = igbvf_answers(vf);
	return ret;
}

/**
 * igbvf_save_ahead - write what the PF holds
 * @mig: the device, which may be working
 * @enc: where to
 *
 * To ask the destination's PF takes longer than all the rest of a load.
 *
 * Return: 0 or -ENOSPC.
 */
int igbvf_save_ahead(struct vfio_pci_mig *mig, struct mig_encoder *enc)
{
	return igbvf_save_pf(igbvf_from_mig(mig), enc);
}

static int igbvf_parse_rings(const struct mig_parser *state,
			     struct igbvf_regs *regs)
{
	const struct igbvf_rings_record *in =
		vfio_pci_mig_get_record(state, IGBVF_RECORD_RINGS, NULL);
	unsigned int ring, reg;
	u32 value, *r;

	if (!in)
		return -EINVAL;
	for (ring = 0; ring < IGBVF_RINGS; ring++) {
		r = regs->ring[ring];
		for (reg = 0; reg < IGBVF_RING_REGS; reg++) {
			value = le32_to_cpu(in->reg[ring][reg]);
			if (value & ~igbvf_ring_mask(ring, reg))
				return -EINVAL;
			r[reg] = value;
		}
		/* 16 bytes a descriptor. A ring that is off may be anything. */
		if ((r[IGBVF_RING_DCTL] & IGBVF_DCTL_ENABLE) &&
		    r[IGBVF_RING_LEN] &&
		    (r[IGBVF_RING_HEAD] >= r[IGBVF_RING_LEN] / 16 ||
		     r[IGBVF_RING_TAIL] >= r[IGBVF_RING_LEN] / 16))
			return -EINVAL;
	}
	return 0;
}

static int igbvf_parse_interrupts(const struct mig_parser *state,
				  struct igbvf_regs *regs, u32 *kick)
{
	const struct igbvf_interrupts_record *in =
		vfio_pci_mig_get_record(state, IGBVF_RECORD_INTERRUPTS, NULL);
	unsigned int reg;

	if (!in)
		return -EINVAL;
	for (reg = 0; reg < IGBVF_IRQ_REGS; reg++) {
		regs->irq[reg] = le32_to_cpu(in->reg[reg]);
		if (regs->irq[reg] & ~igbvf_irq_mask[reg])
			return -EINVAL;
	}
	regs->eims = le32_to_cpu(in->eims);
	*kick = le32_to_cpu(in->kick);
	return (regs->eims | *kick) & ~IGBVF_VECTOR_MASK ? -EINVAL : 0;
}

static int igbvf_parse_mailbox(const struct mig_parser *state,
			       struct igbvf_mailbox *mbx, u32 *link,
			       u32 *flags)
{
	const struct igbvf_mailbox_record *in =
		vfio_pci_mig_get_record(state, IGBVF_RECORD_MAILBOX, NULL);
	unsigned int i;

	if (!in)
		return -EINVAL;
	*flags = le32_to_cpu(in->flags);
	for (i = 0; i < IGBVF_VMBMEM_WORDS; i++)
		mbx->mem[i] = le32_to_cpu(in->mem[i]);
	mbx->r2c = le32_to_cpu(in->r2c);
	mbx->held = le32_to_cpu(in->held);
	mbx->owned = *flags & IGBVF_MBX_OWNED;
	mbx->unread = *flags & IGBVF_MBX_UNREAD;
	mbx->answered = *flags & IGBVF_MBX_ANSWERED;
	*link = le32_to_cpu(in->link);

	if ((*flags & ~IGBVF_MBX_FLAGS) || (*link & ~IGBVF_STATUS_LINK) ||
	    (mbx->r2c & ~IGBVF_V2P_R2C) ||
	    (mbx->held & ~(IGBVF_V2P_REQ | IGBVF_V2P_ACK)))
		return -EINVAL;
	return 0;
}

static int igbvf_parse_pf(const struct mig_parser *state,
			  struct igbvf_pf_log *pf)
{
	const struct igbvf_pf_record *in =
		vfio_pci_mig_get_record(state, IGBVF_RECORD_PF, NULL);
	unsigned int i;
	u32 flags;

	if (!in)
		return -EINVAL;
	flags = le32_to_cpu(in->flags);
	pf->cts = flags & IGBVF_PF_CTS;
	pf->mac_valid = flags & IGBVF_PF_MAC;
	pf->mc_set = flags & IGBVF_PF_MULTICAST;
	pf->vlan_set = flags & IGBVF_PF_VLAN;
	pf->lpe = le32_to_cpu(in->lpe);
	pf->promisc = le32_to_cpu(in->promisc);
	pf->nr_uc = le32_to_cpu(in->nr_uc);
	pf->nr_mc = le32_to_cpu(in->nr_mc);
	pf->vlan_last[0] = le32_to_cpu(in->vlan_last[0]);
	pf->vlan_last[1] = le32_to_cpu(in->vlan_last[1]);
	memcpy(pf->mac, in->mac, sizeof(pf->mac));
	memcpy(pf->uc, in->uc, sizeof(pf->uc));
	for (i = 0; i < IGBVF_MC_MAX; i++)
		pf->mc[i] = le16_to_cpu(in->mc[i]);
	for (i = 0; i < IGBVF_VLANS; i++)
		__assign_bit(i, pf->vlan, in->vlan[i / 8] & BIT(i % 8));

	if ((flags & ~(IGBVF_PF_CTS | IGBVF_PF_MAC | IGBVF_PF_MULTICAST |
		       IGBVF_PF_VLAN)) ||
	    memchr_inv(in->reserved, 0, sizeof(in->reserved)) ||
	    pf->nr_uc > IGBVF_UC_MAX || pf->nr_mc > 0xff ||
	    pf->promisc > 0xff || pf->vlan_last[1] >= IGBVF_VLANS)
		return -EINVAL;
	return 0;
}

static void igbvf_parse_stats(const struct mig_parser *state, struct igbvf *vf)
{
	const struct igbvf_stats_record *in =
		vfio_pci_mig_get_record(state, IGBVF_RECORD_STATS, NULL);
	unsigned int i;

	/* Counters must not run backwards; they go on from where they were. */
	for (i = 0; in && i < IGBVF_STATS; i++)
		vf->stats_offset[i] = le32_to_cpu(in->value[i]) -
				      igbvf_rd(vf, igbvf_stats_offset[i]);
}

/*
 * Program the rings, off, and see that they are where they should be. That of
 * a queue which the guest does not use may be elsewhere: to use it, the guest
 * sets it up anew.
 */
static int igbvf_load_rings(struct igbvf *vf)
{
	unsigned int ring, reg;
	u32 head, *want;

	for (ring = 0; ring < IGBVF_RINGS; ring++) {
		want = vf->guest.ring[ring];
		for (reg = 0; reg < IGBVF_RING_DCTL; reg++) {
			if (!igbvf_ring_mask(ring, reg))
				continue;
			igbvf_wr(vf, igbvf_ring_offset(ring, reg), want[reg]);
			vf->hw.ring[ring][reg] = want[reg];
		}
		head = igbvf_rd(vf, igbvf_ring_offset(ring, IGBVF_RING_HEAD)) &
		       0xffff;
		if (head == want[IGBVF_RING_HEAD])
			continue;
		if (igbvf_ring_works(want)) {
			vfio_pci_mig_warn(vf->mig, "queue %u: head cannot be set to %u (reads %u): not migratable to this hardware",
					  ring, want[IGBVF_RING_HEAD], head);
			return -EOPNOTSUPP;
		}
		want[IGBVF_RING_HEAD] = head;
		vf->hw.ring[ring][IGBVF_RING_HEAD] = head;
	}
	return 0;
}

static void igbvf_load_interrupts(struct igbvf *vf)
{
	unsigned int reg;

	for (reg = 0; reg < IGBVF_IRQ_REGS; reg++) {
		igbvf_wr(vf, igbvf_irq_offset[reg], vf->guest.irq[reg]);
		vf->hw.irq[reg] = vf->guest.irq[reg];
	}
}

/**
 * igbvf_prepare - ask the PF for what it held at the source a while ago
 * @mig: the device, quiet and reset
 * @state: the records that have been sent ahead
 *
 * Return: 0; -EINVAL for values that no guest could have set; or as
 * igbvf_pf_replay().
 */
int igbvf_prepare(struct vfio_pci_mig *mig, const struct mig_parser *state)
{
	struct igbvf *vf = igbvf_from_mig(mig);
	struct igbvf_pf_log *pf;
	int ret;

	pf = kzalloc(sizeof(*pf), GFP_KERNEL);
	if (!pf)
		return -ENOMEM;
	ret = igbvf_parse_pf(state, pf);
	if (ret)
		vfio_pci_mig_warn(mig, "state sent ahead has values that no guest could have set");
	else
		ret = igbvf_pf_replay(vf, pf, true);
	kfree(pf);
	return ret;
}

/**
 * igbvf_load - put a received state into the device
 * @mig: the device, quiet and reset
 * @state: the records, all of them checked for length
 *
 * Return: 0; -EINVAL for values that no guest could have set, -EOPNOTSUPP if
 * ring heads cannot be set (a real 82576 may be like that), -ENODEV if the
 * function does not answer, or as igbvf_pf_replay().
 */
int igbvf_load(struct vfio_pci_mig *mig, const struct mig_parser *state)
{
	struct igbvf *vf = igbvf_from_mig(mig);
	struct igbvf_pf_log *pf;
	struct igbvf_regs regs;
	struct igbvf_mailbox mbx = {};
	u32 kick, link, flags;
	int ret;

	pf = kzalloc(sizeof(*pf), GFP_KERNEL);
	if (!pf)
		return -ENOMEM;

	if (igbvf_parse_rings(state, &regs) ||
	    igbvf_parse_interrupts(state, &regs, &kick) ||
	    igbvf_parse_mailbox(state, &mbx, &link, &flags) ||
	    igbvf_parse_pf(state, pf)) {
		vfio_pci_mig_warn(mig, "state has values that no guest could have set");
		ret = -EINVAL;
		goto free;
	}

	/* The PF may refuse: ask it before the rings are touched. */
	ret = igbvf_pf_replay(vf, pf, false);
	if (ret)
		goto reset;

	vf->guest = regs;
	vf->start_over = flags & IGBVF_MBX_START_OVER;
	ret = 0;
	if (!vf->can.heads_writable && igbvf_rings_in_use(vf))
		ret = igbvf_rings_lost(vf);
	else if (!vf->start_over)
		ret = igbvf_load_rings(vf);
	if (ret)
		goto reset;
	igbvf_load_interrupts(vf);
	igbvf_parse_stats(state, vf);
	vf->mbx = mbx;
	vf->raised = kick;
	vf->kick = kick;
	vf->unmasked = 0;
	vf->link = link;
	vf->restart = flags & IGBVF_MBX_RESTART;
	ret = igbvf_answers(vf);
	if (!ret)
		goto free;

reset:
	if (igbvf_reset(mig))
		vfio_pci_mig_broken(mig, "a queue does not stop");
free:
	kfree(pf);
	return ret;
}
