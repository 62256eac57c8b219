// SPDX-License-Identifier: GPL-2.0
/*
 * Where an 82576 VF may write: the packet and header buffers that have been
 * posted to its receive queues, its rings, since it writes descriptors back,
 * and the head write-back words of its transmit queues. Nothing else: a
 * transmit queue only reads its buffers.
 *
 * A receive descriptor tells its buffers only until the VF has overwritten it.
 * So it is read between the guest's write of the tail and ours. What it says
 * stays recorded until the guest posts the same descriptor again, by which it
 * says that the VF was done with it. A descriptor that is changed after the tail
 * has passed it is not seen; what the VF makes of that is undefined anyway.
 */
#include <linux/bitfield.h>
#include <linux/sched.h>
#include <linux/sizes.h>
#include <linux/slab.h>

#include "igbvf.h"

#define IGBVF_DESC_SIZE		sizeof(struct igbvf_desc)
#define IGBVF_DESC_BATCH	16

/* SRRCTL. A size of 0 means RCTL.BSIZE, which is the PF's. */
#define IGBVF_SRRCTL_PACKET	GENMASK(6, 0)	/* KiB */
#define IGBVF_SRRCTL_TYPE	GENMASK(27, 25)
#define IGBVF_PACKET_MAX	SZ_16K
#define IGBVF_HEADER_MAX	SZ_1K		/* 15 times 64 bytes */

#define IGBVF_WBAL_ENABLE	BIT(0)

/**
 * struct igbvf_desc - a receive descriptor, as the guest posts it
 * @packet: address of the packet buffer
 * @header: of the header buffer
 */
struct igbvf_desc {
	__le64 packet;
	__le64 header;
};

/* What decides where a queue writes, besides tail and descriptors. */
static const enum igbvf_ring_reg igbvf_posted_reg[] = {
	IGBVF_RING_BAL, IGBVF_RING_BAH, IGBVF_RING_LEN, IGBVF_RING_SRRCTL,
	IGBVF_RING_WBAL, IGBVF_RING_WBAH,
};

static u64 igbvf_address(const u32 *reg, enum igbvf_ring_reg low,
			 enum igbvf_ring_reg high)
{
	return (u64)reg[high] << 32 | reg[low];
}

static bool igbvf_posted_fits(const struct igbvf_posted *posted,
			      const u32 *want)
{
	unsigned int i;

	if (posted->on != igbvf_ring_works(want))
		return false;
	for (i = 0; posted->on && i < ARRAY_SIZE(igbvf_posted_reg); i++)
		if (posted->reg[igbvf_posted_reg[i]] !=
		    want[igbvf_posted_reg[i]])
			return false;
	return true;
}

static void igbvf_slot_drop(struct igbvf *vf, const struct igbvf_posted *posted,
			    struct igbvf_slot *slot)
{
	if (slot->packet)
		vfio_pci_mig_unposted(vf->mig, slot->packet, posted->packet);
	if (slot->header)
		vfio_pci_mig_unposted(vf->mig, slot->header, posted->header);
	memset(slot, 0, sizeof(*slot));
}

static void igbvf_posted_drop(struct igbvf *vf, struct igbvf_posted *posted)
{
	unsigned int i;

	for (i = 0; i < posted->slots; i++)
		igbvf_slot_drop(vf, posted, &posted->slot[i]);
	kvfree(posted->slot);
	if (posted->head)
		vfio_pci_mig_unposted(vf->mig, posted->head, sizeof(u32));
	if (posted->size)
		vfio_pci_mig_unposted(vf->mig, posted->base, posted->size);
	memset(posted, 0, sizeof(*posted));
}

static int igbvf_slot_record(struct igbvf *vf, struct igbvf_posted *posted,
			     unsigned int index, const struct igbvf_desc *desc)
{
	struct igbvf_slot fresh = {}, *slot = &posted->slot[index];
	int ret = 0;

	/* Bit 0 of both is no address. */
	fresh.packet = le64_to_cpu(desc->packet) & ~1ULL;
	if (posted->header)
		fresh.header = le64_to_cpu(desc->header) & ~1ULL;

	if (fresh.packet)
		ret = vfio_pci_mig_posted(vf->mig, fresh.packet,
					  posted->packet);
	if (ret)
		return ret;
	if (fresh.header)
		ret = vfio_pci_mig_posted(vf->mig, fresh.header,
					  posted->header);
	if (ret) {
		fresh.header = 0;
		igbvf_slot_drop(vf, posted, &fresh);
		return ret;
	}

	igbvf_slot_drop(vf, posted, slot);
	*slot = fresh;
	return 0;
}

/* Read the next descriptors before @tail, of one page. Their number. */
static unsigned int igbvf_posted_fetch(struct igbvf *vf,
				       const struct igbvf_posted *posted,
				       u32 tail, struct igbvf_desc *desc)
{
	u64 at = posted->base + posted->tail * IGBVF_DESC_SIZE;
	u32 end = tail > posted->tail ? tail : posted->slots;
	u32 rest = (PAGE_SIZE - offset_in_page(at)) / IGBVF_DESC_SIZE;
	u32 count = min3(end - posted->tail, rest, (u32)IGBVF_DESC_BATCH);

	if (vfio_pci_mig_posted_read(vf->mig, at, desc,
				     count * IGBVF_DESC_SIZE))
		return 0;
	return count;
}

/* Record descriptors up to @tail; posted->tail says how far it worked. */
static int igbvf_posted_advance(struct igbvf *vf, struct igbvf_posted *posted,
				u32 tail)
{
	struct igbvf_desc desc[IGBVF_DESC_BATCH];
	unsigned int i, count;
	int ret;

	/* The hardware stands still with a tail beyond the ring. */
	if (tail >= posted->slots || posted->tail >= posted->slots)
		return 0;
	while (posted->tail != tail) {
		count = igbvf_posted_fetch(vf, posted, tail, desc);
		if (!count)
			return -EFAULT;
		for (i = 0; i < count; i++) {
			ret = igbvf_slot_record(vf, posted, posted->tail,
						&desc[i]);
			if (ret)
				return ret;
			posted->tail = (posted->tail + 1) % posted->slots;
		}
		cond_resched();
	}
	return 0;
}

static int igbvf_posted_build(struct igbvf *vf, unsigned int ring,
			      const u32 *want, struct igbvf_posted *posted)
{
	u64 base = igbvf_address(want, IGBVF_RING_BAL, IGBVF_RING_BAH);
	u64 head = igbvf_address(want, IGBVF_RING_WBAL, IGBVF_RING_WBAH);
	u32 srrctl = want[IGBVF_RING_SRRCTL];
	int ret;

	memset(posted, 0, sizeof(*posted));
	memcpy(posted->reg, want, sizeof(posted->reg));
	posted->on = igbvf_ring_works(want);
	if (!posted->on)
		return 0;

	ret = vfio_pci_mig_posted(vf->mig, base, want[IGBVF_RING_LEN]);
	if (ret)
		return ret;
	posted->base = base;
	posted->size = want[IGBVF_RING_LEN];

	if (igbvf_ring_is_tx(ring)) {
		if (!(head & IGBVF_WBAL_ENABLE))
			return 0;
		head = round_down(head, sizeof(u32));
		ret = vfio_pci_mig_posted(vf->mig, head, sizeof(u32));
		if (ret)
			goto drop;
		posted->head = head;
		return 0;
	}

	posted->packet = FIELD_GET(IGBVF_SRRCTL_PACKET, srrctl) * SZ_1K ?:
			 IGBVF_PACKET_MAX;
	/* 0 and 1 are the types without a header buffer. */
	if (FIELD_GET(IGBVF_SRRCTL_TYPE, srrctl) > 1)
		posted->header = IGBVF_HEADER_MAX;
	posted->tail = want[IGBVF_RING_HEAD];
	ret = -ENOMEM;
	posted->slot = kvcalloc(posted->size / IGBVF_DESC_SIZE,
				sizeof(*posted->slot), GFP_KERNEL);
	if (!posted->slot)
		goto drop;
	posted->slots = posted->size / IGBVF_DESC_SIZE;
	ret = igbvf_posted_advance(vf, posted, want[IGBVF_RING_TAIL]);
	if (!ret)
		return 0;
drop:
	igbvf_posted_drop(vf, posted);
	return ret;
}

static void igbvf_track_start(struct vfio_pci_mig *mig)
{
	struct igbvf *vf = igbvf_from_mig(mig);
	unsigned int ring;

	for (ring = 0; ring < IGBVF_RINGS; ring++)
		igbvf_ring_capture(vf, ring);
}

static bool igbvf_track_look(struct vfio_pci_mig *mig)
{
	struct igbvf *vf = igbvf_from_mig(mig);
	struct igbvf_track *track = &vf->track;
	bool news = false;
	unsigned int ring;
	u32 *guest, *hw;

	for (ring = 0; ring < IGBVF_RINGS; ring++) {
		guest = vf->guest.ring[ring];
		hw = vf->hw.ring[ring];
		track->moved[ring] = guest[IGBVF_RING_HEAD] !=
				     hw[IGBVF_RING_HEAD];
		memcpy(track->want[ring], guest, sizeof(track->want[ring]));
		news |= memcmp(guest, hw, sizeof(track->want[ring])) ||
			!igbvf_posted_fits(&track->posted[ring], guest);
	}
	track->stale = false;
	return news;
}

static void igbvf_track_record(struct vfio_pci_mig *mig)
{
	struct igbvf *vf = igbvf_from_mig(mig);
	struct igbvf_track *track = &vf->track;
	struct igbvf_posted *posted, fresh;
	unsigned int ring;
	u32 *want;

	for (ring = 0; ring < IGBVF_RINGS; ring++) {
		posted = &track->posted[ring];
		want = track->want[ring];
		if (track->moved[ring] || !igbvf_posted_fits(posted, want)) {
			if (igbvf_posted_build(vf, ring, want, &fresh)) {
				/* Off, until it can be recorded. */
				want[IGBVF_RING_DCTL] &= ~IGBVF_DCTL_ENABLE;
				continue;
			}
			track->old[ring] = *posted;
			*posted = fresh;
		}
		if (posted->slots) {
			igbvf_posted_advance(vf, posted, want[IGBVF_RING_TAIL]);
			want[IGBVF_RING_TAIL] = posted->tail;
		}
	}
}

static void igbvf_track_apply(struct vfio_pci_mig *mig)
{
	struct igbvf *vf = igbvf_from_mig(mig);
	unsigned int ring;

	for (ring = 0; ring < IGBVF_RINGS && !vf->track.stale; ring++)
		igbvf_ring_follow(vf, ring, vf->track.want[ring],
				  vf->track.moved[ring]);
}

static void igbvf_track_retire(struct vfio_pci_mig *mig)
{
	struct igbvf *vf = igbvf_from_mig(mig);
	unsigned int ring;

	for (ring = 0; ring < IGBVF_RINGS; ring++)
		if (vf->track.old[ring].on)
			igbvf_posted_drop(vf, &vf->track.old[ring]);
}

static void igbvf_track_stop(struct vfio_pci_mig *mig)
{
	struct igbvf *vf = igbvf_from_mig(mig);
	unsigned int ring;

	igbvf_track_retire(mig);
	for (ring = 0; ring < IGBVF_RINGS; ring++)
		igbvf_posted_drop(vf, &vf->track.posted[ring]);
}

/* Heads: the only registers of queues that the hardware writes. */
static const u32 igbvf_track_live[] = {
	IGBVF_RX_BASE(0) + IGBVF_RING_HEAD_OFFSET,
	IGBVF_RX_BASE(1) + IGBVF_RING_HEAD_OFFSET,
	IGBVF_TX_BASE(0) + IGBVF_RING_HEAD_OFFSET,
	IGBVF_TX_BASE(1) + IGBVF_RING_HEAD_OFFSET,
};

const struct vfio_pci_mig_track_ops igbvf_track_ops = {
	.live = igbvf_track_live,
	.nr_live = ARRAY_SIZE(igbvf_track_live),
	.start = igbvf_track_start,
	.look = igbvf_track_look,
	.record = igbvf_track_record,
	.apply = igbvf_track_apply,
	.retire = igbvf_track_retire,
	.stop = igbvf_track_stop,
};
