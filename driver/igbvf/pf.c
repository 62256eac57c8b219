// SPDX-License-Identifier: GPL-2.0
/*
 * What the PF holds for a VF: learnt from the guest's own requests, and asked
 * for again at the destination's PF.
 *
 * MAC, filters, VLANs and frame size are in the PF's registers, which a VF
 * cannot read. What an administrator sets at the PF (address, trust, port
 * VLAN, rate) is no VF's business: the destination must be set up alike.
 */
#include <linux/etherdevice.h>
#include <linux/jiffies.h>

#include "igbvf.h"

enum {
	IGBVF_MSG_RESET		= 0x01,
	IGBVF_MSG_SET_MAC	= 0x02,	/* and unicast filters, see below */
	IGBVF_MSG_SET_MULTICAST	= 0x03,
	IGBVF_MSG_SET_VLAN	= 0x04,
	IGBVF_MSG_SET_LPE	= 0x05,
	IGBVF_MSG_SET_PROMISC	= 0x06,
};

/* Bits 23:16 of a request say more. */
#define IGBVF_MSG_INFO(word)	(((word) >> 16) & 0xff)
#define IGBVF_MSG(type, info)	((type) | (u32)(info) << 16)
#define IGBVF_UC_CLEAR		1
#define IGBVF_UC_ADD		2

static void igbvf_mac_from_words(u8 *mac, const u32 *words)
{
	unsigned int i;

	for (i = 0; i < ETH_ALEN; i++)
		mac[i] = words[i / 4] >> (8 * (i % 4));
}

static void igbvf_mac_to_words(u32 *words, const u8 *mac)
{
	unsigned int i;

	words[0] = 0;
	words[1] = 0;
	for (i = 0; i < ETH_ALEN; i++)
		words[i / 4] |= (u32)mac[i] << (8 * (i % 4));
}

/**
 * igbvf_pf_restarted - the VF was reset by VTCTRL.RST
 * @pf: what the PF holds
 *
 * Linux' igb then forgets what a RESET request clears, the address, and that
 * the VF may send other requests (igb_vf_reset_event()).
 */
void igbvf_pf_restarted(struct igbvf_pf_log *pf)
{
	pf->cts = false;
	pf->mac_valid = false;
	pf->mc_set = false;
	pf->nr_mc = 0;
	bitmap_zero(pf->vlan, IGBVF_VLANS);
	pf->vlan_set = false;
	pf->promisc = 0;
}

static void igbvf_pf_unicast(struct igbvf_pf_log *pf, const u32 *request)
{
	switch (IGBVF_MSG_INFO(request[0])) {
	case 0:
		igbvf_mac_from_words(pf->mac, request + 1);
		pf->mac_valid = true;
		break;
	case IGBVF_UC_CLEAR:
		pf->nr_uc = 0;
		pf->uc_clear = true;
		break;
	case IGBVF_UC_ADD:
		if (pf->nr_uc < IGBVF_UC_MAX)
			igbvf_mac_from_words(pf->uc[pf->nr_uc++], request + 1);
		break;
	}
}

static void igbvf_pf_multicast(struct igbvf_pf_log *pf, const u32 *request)
{
	unsigned int i;

	pf->mc_set = true;
	pf->nr_mc = IGBVF_MSG_INFO(request[0]);
	for (i = 0; i < IGBVF_MC_MAX; i++)
		pf->mc[i] = request[1 + i / 2] >> (16 * (i % 2));
}

static void igbvf_pf_vlan(struct igbvf_pf_log *pf, const u32 *request)
{
	u32 vid = request[1] & (IGBVF_VLANS - 1);

	__assign_bit(vid, pf->vlan, IGBVF_MSG_INFO(request[0]));
	pf->vlan_set = true;
	pf->vlan_last[0] = request[0];
	pf->vlan_last[1] = vid;
}

/**
 * igbvf_pf_answered - the PF has answered a request of the guest
 * @vf: the device
 * @request: the request
 * @reply: the answer, ACK or NACK
 */
void igbvf_pf_answered(struct igbvf *vf, const u32 *request, const u32 *reply)
{
	struct igbvf_pf_log *pf = &vf->pf;
	bool granted = reply[0] & IGBVF_MSG_ACK;

	if (IGBVF_MSG_TYPE(request[0]) == IGBVF_MSG_RESET) {
		igbvf_pf_restarted(pf);
		vf->start_over = false;
		/* A NACK only says that the PF has no address for the VF. */
		pf->cts = true;
		pf->mac_valid = granted;
		if (granted)
			igbvf_mac_from_words(pf->mac, reply + 1);
		return;
	}
	if (!granted)
		return;

	switch (IGBVF_MSG_TYPE(request[0])) {
	case IGBVF_MSG_SET_MAC:
		igbvf_pf_unicast(pf, request);
		break;
	case IGBVF_MSG_SET_MULTICAST:
		igbvf_pf_multicast(pf, request);
		break;
	case IGBVF_MSG_SET_VLAN:
		igbvf_pf_vlan(pf, request);
		break;
	case IGBVF_MSG_SET_LPE:
		pf->lpe = request[1];
		break;
	case IGBVF_MSG_SET_PROMISC:
		pf->promisc = IGBVF_MSG_INFO(request[0]);
		break;
	}
}

/*
 * A message of the PF's own, such as at a change of link, can take the place
 * of the answer: ask again. All that we ask may be asked twice, but for adding
 * a filter, which may then use up a second slot.
 */
static int igbvf_pf_call(struct igbvf *vf, const u32 *request,
			 unsigned int words, u32 *reply,
			 unsigned int reply_words)
{
	unsigned int tries = 3;
	int ret;

	do {
		if (time_after(jiffies, vf->replay_end))
			return -ETIMEDOUT;
		ret = igbvf_mbx_call(vf, request, words, reply, reply_words);
	} while (ret == -EPROTO && --tries);
	if (!ret)
		igbvf_pf_answered(vf, request, reply);
	return ret;
}

/* Ask, and take anything but an ACK for a refusal. */
static int igbvf_pf_ask(struct igbvf *vf, const u32 *request,
			unsigned int words, const char *what)
{
	u32 reply;
	int ret;

	ret = igbvf_pf_call(vf, request, words, &reply, 1);
	if (ret)
		vfio_pci_mig_warn(vf->mig, "no answer of the PF to %s (%d)",
				  what, ret);
	else if (!(reply & IGBVF_MSG_ACK))
		ret = -EPERM;
	return ret;
}

static int igbvf_pf_demand(struct igbvf *vf, const u32 *request,
			   unsigned int words, const char *what)
{
	int ret = igbvf_pf_ask(vf, request, words, what);

	if (ret == -EPERM)
		vfio_pci_mig_warn(vf->mig, "the PF refuses %s that the guest had at the source",
				  what);
	return ret;
}

/* The PF holds what it cannot be asked to forget, but by a RESET. */
static bool igbvf_pf_has_more(const struct igbvf_pf_log *has,
			      const struct igbvf_pf_log *want)
{
	return (has->mc_set && !want->mc_set) ||
	       (has->vlan_set && !want->vlan_set);
}

static int igbvf_pf_reset(struct igbvf *vf)
{
	u32 request = IGBVF_MSG_RESET, reply[3];
	int ret = igbvf_pf_call(vf, &request, 1, reply, 3);

	if (ret)
		vfio_pci_mig_warn(vf->mig, "no answer of the PF to RESET (%d)",
				  ret);
	return ret;
}

static int igbvf_pf_replay_mac(struct igbvf *vf,
			       const struct igbvf_pf_log *want)
{
	const struct igbvf_pf_log *has = &vf->pf;
	u32 request[3] = { IGBVF_MSG_SET_MAC };
	u8 mac[ETH_ALEN] = {};
	int ret;

	if (!want->mac_valid)
		return 0;
	if (has->mac_valid) {
		/* A PF may refuse even to be told what it says itself. */
		if (ether_addr_equal_unaligned(has->mac, want->mac))
			return 0;
		memcpy(mac, has->mac, sizeof(mac));
	}

	igbvf_mac_to_words(request + 1, want->mac);
	ret = igbvf_pf_ask(vf, request, 3, "SET_MAC");
	if (ret == -EPERM)
		vfio_pci_mig_warn(vf->mig, "the PF refuses the guest's MAC %pM (it gives this VF %pM): set it with 'ip link set PF vf N mac'",
				  want->mac, mac);
	return ret;
}

static int igbvf_pf_clear_unicast(struct igbvf *vf,
				  const struct igbvf_pf_log *want)
{
	const struct igbvf_pf_log *has = &vf->pf;
	u32 request[3];
	int ret;

	if (has->uc_clear && has->nr_uc <= want->nr_uc &&
	    !memcmp(has->uc, want->uc, has->nr_uc * sizeof(*has->uc)))
		return 0;
	/* The PF wants a valid address even here. */
	if (!want->mac_valid)
		return 0;
	request[0] = IGBVF_MSG(IGBVF_MSG_SET_MAC, IGBVF_UC_CLEAR);
	igbvf_mac_to_words(request + 1, want->mac);
	ret = igbvf_pf_ask(vf, request, 3, "clearing filters");
	/*
	 * It refuses if the administrator has set the address, but then it has
	 * granted nobody a filter either.
	 */
	if (ret == -EPERM) {
		vf->pf.nr_uc = 0;
		vf->pf.uc_clear = true;
		return 0;
	}
	return ret;
}

static int igbvf_pf_replay_unicast(struct igbvf *vf,
				   const struct igbvf_pf_log *want)
{
	u32 request[3];
	unsigned int i;
	int ret;

	for (i = vf->pf.nr_uc; i < want->nr_uc; i++) {
		request[0] = IGBVF_MSG(IGBVF_MSG_SET_MAC, IGBVF_UC_ADD);
		igbvf_mac_to_words(request + 1, want->uc[i]);
		ret = igbvf_pf_demand(vf, request, 3, "a unicast filter");
		if (ret)
			return ret;
	}
	return 0;
}

static int igbvf_pf_change_vlan(struct igbvf *vf, u32 vid, bool add)
{
	u32 request[2] = { IGBVF_MSG(IGBVF_MSG_SET_VLAN, add), vid };
	int ret;

	if (add)
		return igbvf_pf_demand(vf, request, 2, "a VLAN");
	ret = igbvf_pf_ask(vf, request, 2, "removing a VLAN");
	return ret == -EPERM ? 0 : ret;
}

static int igbvf_pf_replay_vlan(struct igbvf *vf,
				const struct igbvf_pf_log *want)
{
	bool last_is_add = IGBVF_MSG_INFO(want->vlan_last[0]);
	const struct igbvf_pf_log *has = &vf->pf;
	u32 vid;
	int ret;

	if (!want->vlan_set ||
	    (has->vlan_set && has->vlan_last[0] == want->vlan_last[0] &&
	     has->vlan_last[1] == want->vlan_last[1] &&
	     bitmap_equal(has->vlan, want->vlan, IGBVF_VLANS)))
		return 0;

	for (vid = 0; vid < IGBVF_VLANS; vid++) {
		if (test_bit(vid, want->vlan) == test_bit(vid, has->vlan) ||
		    vid == want->vlan_last[1])
			continue;
		ret = igbvf_pf_change_vlan(vf, vid, test_bit(vid, want->vlan));
		if (ret)
			return ret;
	}
	/* Whether tags are stripped follows from the last message alone. */
	return igbvf_pf_change_vlan(vf, want->vlan_last[1], last_is_add);
}

static int igbvf_pf_replay_promisc(struct igbvf *vf,
				   const struct igbvf_pf_log *want)
{
	u32 request = IGBVF_MSG(IGBVF_MSG_SET_PROMISC, want->promisc);

	if (vf->pf.promisc == want->promisc)
		return 0;
	return igbvf_pf_demand(vf, &request, 1, "promiscuous mode");
}

static int igbvf_pf_replay_multicast(struct igbvf *vf,
				     const struct igbvf_pf_log *want)
{
	const struct igbvf_pf_log *has = &vf->pf;
	u32 request[IGBVF_VMBMEM_WORDS] = {
		IGBVF_MSG(IGBVF_MSG_SET_MULTICAST, want->nr_mc),
	};
	unsigned int i;

	if (!want->mc_set ||
	    (has->mc_set && has->nr_mc == want->nr_mc &&
	     !memcmp(has->mc, want->mc, sizeof(has->mc))))
		return 0;
	for (i = 0; i < IGBVF_MC_MAX; i++)
		request[1 + i / 2] |= (u32)want->mc[i] << (16 * (i % 2));
	return igbvf_pf_demand(vf, request, IGBVF_VMBMEM_WORDS,
			       "multicast filters");
}

static int igbvf_pf_replay_lpe(struct igbvf *vf,
			       const struct igbvf_pf_log *want)
{
	u32 request[2] = { IGBVF_MSG_SET_LPE, want->lpe };

	if (!want->lpe || vf->pf.lpe == want->lpe)
		return 0;
	return igbvf_pf_demand(vf, request, 2, "the frame size");
}

/**
 * igbvf_pf_replay - ask the PF for all that the VF had at the source
 * @vf: the device, quiet, its function reset since it was opened
 * @want: what it had
 * @ahead: the source's VF is still at work: do not ask for addresses, which
 *	would have the frames of others on this host delivered here already.
 *	But for the one that the PF has given to this VF by itself
 *
 * Only what the PF does not hold yet is asked for.
 *
 * Return: 0; -EPERM if the PF refuses something (logged), or as
 * igbvf_mbx_call().
 */
int igbvf_pf_replay(struct igbvf *vf, const struct igbvf_pf_log *want,
		    bool ahead)
{
	bool news;
	int ret;

	if (!want->cts) {
		/* No driver, or one that has not talked to its PF. */
		if (vf->pf.cts && !ahead) {
			igbvf_wr(vf, IGBVF_VTCTRL, IGBVF_VTCTRL_RST);
			igbvf_wait_restarted(vf);
			igbvf_pf_restarted(&vf->pf);
		}
		return 0;
	}

	vf->replay_end = jiffies + msecs_to_jiffies(IGBVF_REPLAY_MS);

	ret = igbvf_mbx_wait_pf(vf, &news);
	if (ret) {
		vfio_pci_mig_warn(vf->mig, "the PF is in reset; is its interface up?");
		return ret;
	}

	if (news)
		memset(&vf->pf, 0, sizeof(vf->pf));
	if (!vf->pf.cts || igbvf_pf_has_more(&vf->pf, want))
		ret = igbvf_pf_reset(vf);
	if (!ret && !ahead)
		ret = igbvf_pf_replay_mac(vf, want);
	if (!ret)
		ret = igbvf_pf_clear_unicast(vf, want);
	if (!ret && !ahead)
		ret = igbvf_pf_replay_unicast(vf, want);
	if (!ret)
		ret = igbvf_pf_replay_vlan(vf, want);
	if (!ret)
		ret = igbvf_pf_replay_promisc(vf, want);
	if (!ret)
		ret = igbvf_pf_replay_multicast(vf, want);
	if (!ret)
		ret = igbvf_pf_replay_lpe(vf, want);
	if (!ret && !ahead) {
		vf->pf = *want;
		vf->pf.uc_clear = true;
	}
	return ret;
}
