// SPDX-License-Identifier: GPL-2.0
/*
 * The mailbox between VF and PF: emulated for the guest, and used by us.
 *
 * The guest sees a copy of VMBMEM and its own read-to-clear bits. A request
 * goes to the hardware as one when the guest rings REQ; an answer is taken
 * from there as soon as anybody looks. So a guest that is stopped between
 * request and answer finds the answer wherever it goes on, and our own
 * messages to the destination's PF leave no trace in what it sees.
 *
 * Protocol: 82576 datasheet 7.10.2.9, and the PF side in Linux' igb.
 */
#include <linux/delay.h>
#include <linux/iopoll.h>

#include "igbvf.h"
#include "trace.h"

static void igbvf_mbx_mem_from_hw(struct igbvf *vf)
{
	unsigned int i;

	for (i = 0; i < IGBVF_VMBMEM_WORDS; i++)
		vf->mbx.mem[i] = igbvf_rd(vf, IGBVF_VMBMEM + 4 * i);
}

static void igbvf_mbx_mem_to_hw(struct igbvf *vf, const u32 *words,
				unsigned int count)
{
	unsigned int i;

	for (i = 0; i < count; i++)
		igbvf_wr(vf, IGBVF_VMBMEM + 4 * i, words[i]);
}

/* The PF's messages that are no answers have another type, and no verdict. */
static bool igbvf_mbx_is_answer(struct igbvf *vf)
{
	u32 word = vf->mbx.mem[0];

	return vf->mbx.in_flight &&
	       (word & (IGBVF_MSG_ACK | IGBVF_MSG_NACK)) &&
	       IGBVF_MSG_TYPE(word) == IGBVF_MSG_TYPE(vf->mbx.request[0]);
}

/*
 * Take over what the PF has said. Reading V2PMAILBOX clears bits there, so they
 * are kept for the guest.
 */
static u32 igbvf_mbx_collect(struct igbvf *vf)
{
	u32 control = igbvf_rd(vf, IGBVF_V2PMAILBOX);

	if (igbvf_gone(control))
		return control;

	vf->mbx.r2c |= control & IGBVF_V2P_R2C;
	if (control & IGBVF_V2P_PFSTS) {
		vf->mbx.unread = true;
		igbvf_mbx_mem_from_hw(vf);
		if (igbvf_mbx_is_answer(vf)) {
			vf->mbx.in_flight = false;
			vf->mbx.answered = true;
			trace_igbvf_mbx_answer(vf, false, vf->mbx.mem[0],
					       vf->mbx.sent, 0);
			igbvf_pf_answered(vf, vf->mbx.request, vf->mbx.mem);
		}
	}
	return control;
}

/* Look at the hardware, which has all that the guest has done. */
static u32 igbvf_mbx_look(struct igbvf *vf)
{
	u32 control = igbvf_mbx_collect(vf);

	if (!igbvf_gone(control))
		vf->mbx.owned = control & IGBVF_V2P_VFU;
	return control;
}

/**
 * igbvf_mbx_read_mem - the guest reads VMBMEM
 * @vf: the device
 * @word: which dword
 *
 * It may do so without having looked at V2PMAILBOX: Linux' igbvf does when
 * its "other" interrupt fires.
 *
 * Return: what the guest should see there.
 */
u32 igbvf_mbx_read_mem(struct igbvf *vf, unsigned int word)
{
	if (!vfio_pci_mig_quiet(vf->mig))
		igbvf_mbx_look(vf);
	/* Not granted, and not clear to send: "you have been reset". */
	if (vf->start_over && !word && !vf->mbx.answered)
		return IGBVF_MSG_NACK;
	return vf->mbx.mem[word];
}

/**
 * igbvf_mbx_read_control - the guest reads V2PMAILBOX
 * @vf: the device
 *
 * Return: what the guest should see there. It has cleared what reading clears.
 */
u32 igbvf_mbx_read_control(struct igbvf *vf)
{
	u32 control;

	if (vfio_pci_mig_quiet(vf->mig))
		control = vf->mbx.owned ? IGBVF_V2P_VFU : 0;
	else
		control = igbvf_mbx_look(vf);

	control |= vf->mbx.r2c;
	vf->mbx.r2c = 0;
	return control;
}

static void igbvf_mbx_send(struct igbvf *vf)
{
	igbvf_mbx_mem_to_hw(vf, vf->mbx.request, IGBVF_VMBMEM_WORDS);
	vf->mbx.in_flight = true;
	vf->mbx.sent = ktime_get();
	trace_igbvf_mbx_request(vf, false, vf->mbx.request[0],
				vf->mbx.request[1]);
}

/**
 * igbvf_mbx_write_control - the guest writes V2PMAILBOX
 * @vf: the device
 * @value: value
 *
 * While the device is quiet, commands are kept for release.
 */
void igbvf_mbx_write_control(struct igbvf *vf, u32 value)
{
	value &= IGBVF_V2P_REQ | IGBVF_V2P_ACK | IGBVF_V2P_VFU;
	if (value & (IGBVF_V2P_REQ | IGBVF_V2P_ACK)) {
		vf->mbx.unread = false;
		vf->mbx.answered = false;
	}

	if (vfio_pci_mig_quiet(vf->mig)) {
		vf->mbx.owned = value & IGBVF_V2P_VFU;
		vf->mbx.held |= value & (IGBVF_V2P_REQ | IGBVF_V2P_ACK);
		return;
	}

	if (value & IGBVF_V2P_REQ) {
		memcpy(vf->mbx.request, vf->mbx.mem, sizeof(vf->mbx.request));
		igbvf_mbx_send(vf);
	}
	igbvf_wr(vf, IGBVF_V2PMAILBOX, value);
}

/**
 * igbvf_mbx_quiesce - let the PF finish what the guest asked for
 * @vf: the device
 *
 * A PF drops some requests silently; one that has waited for too long is
 * given up, as the guest does: it must not delay every later stop.
 */
void igbvf_mbx_quiesce(struct igbvf *vf)
{
	ktime_t timeout = ktime_add_us(vf->mbx.sent,
				       igbvf_timeout_us(igbvf_mailbox_timeout_ms));

	igbvf_mbx_look(vf);
	while (vf->mbx.in_flight && ktime_before(ktime_get(), timeout)) {
		usleep_range(IGBVF_MAILBOX_POLL_US / 5, IGBVF_MAILBOX_POLL_US);
		igbvf_mbx_look(vf);
	}
	if (vf->mbx.in_flight)
		trace_igbvf_mbx_answer(vf, false, vf->mbx.request[0],
				       vf->mbx.sent, -ETIMEDOUT);
	vf->mbx.in_flight = false;
	vf->mbx.held = 0;
}

/**
 * igbvf_mbx_news - is there something in the mailbox that the guest should see?
 * @vf: the device, quiet
 *
 * It is what the "other" interrupt stands for. What the PF has said while the
 * device was quiet is among it, unless the guest is using the buffer: then it
 * looks by itself.
 *
 * Return: true if there is.
 */
bool igbvf_mbx_news(struct igbvf *vf)
{
	if (!vf->mbx.unread && !vf->mbx.owned &&
	    !(vf->mbx.held & IGBVF_V2P_REQ))
		igbvf_mbx_collect(vf);
	return vf->mbx.r2c || vf->mbx.unread || vf->start_over;
}

static int igbvf_mbx_own(struct igbvf *vf, u32 *stash)
{
	u32 control;
	int i;

	for (i = 0; i < IGBVF_MAILBOX_OWN_US / IGBVF_MAILBOX_POLL_US; i++) {
		igbvf_wr(vf, IGBVF_V2PMAILBOX, IGBVF_V2P_VFU);
		control = igbvf_rd(vf, IGBVF_V2PMAILBOX);
		if (igbvf_gone(control))
			return -ENODEV;
		*stash |= control & IGBVF_V2P_R2C;
		if (control & IGBVF_V2P_VFU)
			return 0;
		usleep_range(IGBVF_MAILBOX_POLL_US, 2 * IGBVF_MAILBOX_POLL_US);
	}
	return -EBUSY;
}

/**
 * igbvf_mbx_reset - leave nothing of a former owner in the mailbox
 * @vf: the device, just reset
 *
 * A reset spares the mailbox: an answer that nobody has read, and of the request
 * before it what the answer does not cover.
 */
void igbvf_mbx_reset(struct igbvf *vf)
{
	static const u32 nothing[IGBVF_VMBMEM_WORDS];
	u32 unread = 0;

	memset(&vf->mbx, 0, sizeof(vf->mbx));
	if (!igbvf_mbx_own(vf, &unread))
		igbvf_mbx_mem_to_hw(vf, nothing, IGBVF_VMBMEM_WORDS);
	igbvf_wr(vf, IGBVF_V2PMAILBOX, 0);
	igbvf_rd(vf, IGBVF_V2PMAILBOX);
}

/**
 * igbvf_mbx_release - do what was kept back while the device was quiet
 * @vf: the device
 */
void igbvf_mbx_release(struct igbvf *vf)
{
	u32 control = 0, stash = 0;

	if (vf->mbx.held & IGBVF_V2P_REQ) {
		memcpy(vf->mbx.request, vf->mbx.mem, sizeof(vf->mbx.request));
		/*
		 * A message of the PF that comes just now is overwritten; the
		 * guest must not take its request for it.
		 */
		if (igbvf_mbx_own(vf, &stash))
			vfio_pci_mig_warn(vf->mig, "mailbox is held by the PF");
		vf->mbx.r2c |= stash & IGBVF_V2P_RSTD;
		igbvf_mbx_send(vf);
		control |= IGBVF_V2P_REQ;
	}
	control |= vf->mbx.held & IGBVF_V2P_ACK;
	if (vf->mbx.owned)
		control |= IGBVF_V2P_VFU;
	if (control)
		igbvf_wr(vf, IGBVF_V2PMAILBOX, control);
	vf->mbx.held = 0;
}

/* Wait until all bits of @bits have been seen set. */
static int igbvf_mbx_wait(struct igbvf *vf, u32 *stash, u32 bits)
{
	u32 control;
	int ret;

	ret = read_poll_timeout(igbvf_rd, control,
				igbvf_gone(control) ||
				((*stash |= control & IGBVF_V2P_R2C) & bits) == bits,
				IGBVF_MAILBOX_POLL_US,
				igbvf_timeout_us(igbvf_mailbox_timeout_ms), false,
				vf, IGBVF_V2PMAILBOX);
	return igbvf_gone(control) ? -ENODEV : ret;
}

/**
 * igbvf_mbx_wait_pf - wait until the PF's driver is there
 * @vf: the device
 * @news: receives whether the PF has been reset or has said something since
 *	its last answer: then it may not know any more what it was asked for
 *
 * Return: 0; -ETIMEDOUT: the PF stays in reset, its interface is down; or
 * -ENODEV.
 */
int igbvf_mbx_wait_pf(struct igbvf *vf, bool *news)
{
	u32 control, seen = 0;
	int ret;

	ret = read_poll_timeout(igbvf_rd, control,
				igbvf_gone(control) ||
				!((seen |= control) & control & IGBVF_V2P_RSTI),
				IGBVF_MAILBOX_POLL_US,
				igbvf_timeout_us(igbvf_mailbox_timeout_ms), false,
				vf, IGBVF_V2PMAILBOX);
	*news = seen & (IGBVF_V2P_RSTI | IGBVF_V2P_RSTD | IGBVF_V2P_PFSTS);
	return igbvf_gone(control) ? -ENODEV : ret;
}

static int igbvf_mbx_ask(struct igbvf *vf, const u32 *request,
			 unsigned int words, u32 *reply,
			 unsigned int reply_words)
{
	u32 stash = 0;
	unsigned int i;
	int ret;

	ret = igbvf_mbx_own(vf, &stash);
	if (ret)
		return ret;

	stash = 0;
	igbvf_mbx_mem_to_hw(vf, request, words);
	igbvf_wr(vf, IGBVF_V2PMAILBOX, IGBVF_V2P_REQ);
	ret = vfio_pci_mig_fault(vf->mig, IGBVF_FAULT_ANSWER);
	if (!ret)
		ret = igbvf_mbx_wait(vf, &stash,
				     IGBVF_V2P_PFACK | IGBVF_V2P_PFSTS);
	if (ret)
		return ret;

	for (i = 0; i < reply_words; i++)
		reply[i] = igbvf_rd(vf, IGBVF_VMBMEM + 4 * i);
	igbvf_wr(vf, IGBVF_V2PMAILBOX, IGBVF_V2P_ACK);

	if (IGBVF_MSG_TYPE(reply[0]) != IGBVF_MSG_TYPE(request[0]) ||
	    !(reply[0] & (IGBVF_MSG_ACK | IGBVF_MSG_NACK)))
		return -EPROTO;
	if (vfio_pci_mig_fault(vf->mig, IGBVF_FAULT_REFUSAL))
		reply[0] = (reply[0] & ~IGBVF_MSG_ACK) | IGBVF_MSG_NACK;
	return 0;
}

/**
 * igbvf_mbx_call - ask the PF ourselves
 * @vf: the device, quiet
 * @request: message
 * @words: dwords of @request, at most IGBVF_VMBMEM_WORDS
 * @reply: gets the answer
 * @reply_words: dwords of @reply
 *
 * Return: 0 and an answer to this request, be it ACK or NACK; -ETIMEDOUT,
 * -EBUSY (mailbox held by the PF), -EPROTO (the PF says something else),
 * -ENODEV.
 */
int igbvf_mbx_call(struct igbvf *vf, const u32 *request, unsigned int words,
		   u32 *reply, unsigned int reply_words)
{
	ktime_t sent = ktime_get();
	int ret;

	trace_igbvf_mbx_request(vf, true, request[0],
				words > 1 ? request[1] : 0);
	ret = igbvf_mbx_ask(vf, request, words, reply, reply_words);
	trace_igbvf_mbx_answer(vf, true, ret ? request[0] : reply[0], sent,
			       ret);
	return ret;
}
