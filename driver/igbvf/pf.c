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

static int igbvf_pf_replay_mac(struct igbvf *vf,
			       const struct igbvf_pf_log *want)
{
	u32 request[3] = { IGBVF_MSG_RESET };
	u8 mac[ETH_ALEN] = {};
	u32 reply[3];
	int ret;

	ret = igbvf_pf_call(vf, request, 1, reply, 3);
	if (ret) {
		vfio_pci_mig_warn(vf->mig, "no answer of the PF to RESET (%d)",
				  ret);
		return ret;
	}
	if (!want->mac_valid)
		return 0;

	if (reply[0] & IGBVF_MSG_ACK) {
		igbvf_mac_from_words(mac, reply + 1);
		/* A PF may refuse even to be told what it says itself. */
		if (ether_addr_equal_unaligned(mac, want->mac))
			return 0;
	}

	request[0] = IGBVF_MSG_SET_MAC;
	igbvf_mac_to_words(request + 1, want->mac);
	ret = igbvf_pf_ask(vf, request, 3, "SET_MAC");
	if (ret == -EPERM)
		vfio_pci_mig_warn(vf->mig, "the PF refuses the guest's MAC %pM (it gives this VF %pM): set it with 'ip link set PF vf N mac'",
				  want->mac, mac);
	return ret;
}

static int igbvf_pf_replay_unicast(struct igbvf *vf,
				   const struct igbvf_pf_log *want)
{
	u32 request[3];
	unsigned int i;
	int ret;

	/*
	 * A former owner's filters may be left. The PF wants a valid address
	 * even here; and it refuses if the administrator has set the address,
	 * but then it has granted nobody a filter either.
	 */
	if (want->mac_valid) {
		request[0] = IGBVF_MSG(IGBVF_MSG_SET_MAC, IGBVF_UC_CLEAR);
		igbvf_mac_to_words(request + 1, want->mac);
		ret = igbvf_pf_ask(vf, request, 3, "clearing filters");
		if (ret && ret != -EPERM)
			return ret;
	}

	for (i = 0; i < want->nr_uc; i++) {
		request[0] = IGBVF_MSG(IGBVF_MSG_SET_MAC, IGBVF_UC_ADD);
		igbvf_mac_to_words(request + 1, want->uc[i]);
		ret = igbvf_pf_demand(vf, request, 3, "a unicast filter");
		if (ret)
			return ret;
	}
	return 0;
}

static int igbvf_pf_replay_vlan(struct igbvf *vf,
				const struct igbvf_pf_log *want)
{
	bool last_is_add = IGBVF_MSG_INFO(want->vlan_last[0]);
	u32 request[2];
	u32 vid;
	int ret;

	if (!want->vlan_set)
		return 0;

	for_each_set_bit(vid, want->vlan, IGBVF_VLANS) {
		if (last_is_add && vid == want->vlan_last[1])
			continue;
		request[0] = IGBVF_MSG(IGBVF_MSG_SET_VLAN, 1);
		request[1] = vid;
		ret = igbvf_pf_demand(vf, request, 2, "a VLAN");
		if (ret)
			return ret;
	}

	/* Whether tags are stripped follows from the last message alone. */
	request[0] = IGBVF_MSG(IGBVF_MSG_SET_VLAN, last_is_add);
	request[1] = want->vlan_last[1];
	ret = igbvf_pf_demand(vf, request, 2, "a VLAN");
	return ret == -EPERM && !last_is_add ? 0 : ret;
}

/**
 * igbvf_pf_replay - ask the PF for all that the VF had at the source
 * @vf: the device, quiet, its function just reset
 * @want: what it had
 *
 * Return: 0; -EPERM if the PF refuses something (logged), or as
 * igbvf_mbx_call().
 */
int igbvf_pf_replay(struct igbvf *vf, const struct igbvf_pf_log *want)
{
	u32 request[IGBVF_VMBMEM_WORDS] = {};
	unsigned int i;
	int ret;

	/* No driver, or one that has not talked to its PF: nothing is held. */
	if (!want->cts)
		return 0;

	vf->replay_end = jiffies + msecs_to_jiffies(IGBVF_REPLAY_MS);

	ret = igbvf_mbx_wait_pf(vf);
	if (ret) {
		vfio_pci_mig_warn(vf->mig, "the PF is in reset; is its interface up?");
		return ret;
	}

	ret = igbvf_pf_replay_mac(vf, want);
	if (!ret)
		ret = igbvf_pf_replay_unicast(vf, want);
	if (!ret)
		ret = igbvf_pf_replay_vlan(vf, want);
	if (!ret && want->promisc) {
		request[0] = IGBVF_MSG(IGBVF_MSG_SET_PROMISC, want->promisc);
		ret = igbvf_pf_demand(vf, request, 1, "promiscuous mode");
	}
	if (!ret && want->mc_set) {
		request[0] = IGBVF_MSG(IGBVF_MSG_SET_MULTICAST, want->nr_mc);
		for (i = 0; i < IGBVF_MC_MAX; i++)
			request[1 + i / 2] |= (u32)want->mc[i] << (16 * (i % 2));
		ret = igbvf_pf_demand(vf, request, IGBVF_VMBMEM_WORDS,
				      "multicast filters");
	}
	if (!ret && want->lpe) {
		request[0] = IGBVF_MSG_SET_LPE;
		request[1] = want->lpe;
		ret = igbvf_pf_demand(vf, request, 2, "the frame size");
	}
	if (!ret)
		vf->pf = *want;
	return ret;
}
