/* SPDX-License-Identifier: GPL-2.0 */
/*
 * State that the backend keeps of an 82576 VF.
 *
 * The device is known twice: as the hardware has it (@hw) and as the guest
 * should see it (@guest). While the device works, both are the same, or the
 * registers themselves are asked. While it is quiet the guest's accesses go
 * to @guest alone, and release writes the difference to the hardware. While
 * dirty pages are tracked it is so with the rings: dirty.c has the hardware
 * follow.
 */
#ifndef _IGBVF_H
#define _IGBVF_H

#include <linux/if_ether.h>
#include <linux/ktime.h>

#include "../core/vfio_pci_migration.h"
#include "regs.h"
#include "times.h"

/* Registers of a queue; the last two exist for transmit queues only. */
enum igbvf_ring_reg {
	IGBVF_RING_BAL,
	IGBVF_RING_BAH,
	IGBVF_RING_LEN,
	IGBVF_RING_SRRCTL,	/* receive queues only */
	IGBVF_RING_DCA,
	IGBVF_RING_WBAL,	/* transmit queues only */
	IGBVF_RING_WBAH,	/* transmit queues only */
	IGBVF_RING_HEAD,
	IGBVF_RING_DCTL,
	IGBVF_RING_TAIL,
	IGBVF_RING_REGS,
};

enum {
	IGBVF_RX0,
	IGBVF_RX1,
	IGBVF_TX0,
	IGBVF_TX1,
	IGBVF_RINGS,
};

static inline bool igbvf_ring_is_tx(unsigned int ring)
{
	return ring >= IGBVF_TX0;
}

/* Interrupt set-up that is plain read/write or can be shadowed as such. */
enum igbvf_irq_reg {
	IGBVF_IRQ_EIAC,
	IGBVF_IRQ_EIAM,
	IGBVF_IRQ_EITR0,
	IGBVF_IRQ_EITR1,
	IGBVF_IRQ_EITR2,
	IGBVF_IRQ_IVAR0,
	IGBVF_IRQ_IVAR_MISC,
	IGBVF_IRQ_PSRTYPE,	/* not an interrupt, but of the same kind */
	IGBVF_IRQ_REGS,
};

#define IGBVF_STATS		9

/**
 * struct igbvf_regs - the plain registers
 * @ring: per queue
 * @irq: per interrupt register
 * @eims: interrupt mask, 1 = enabled
 */
struct igbvf_regs {
	u32 ring[IGBVF_RINGS][IGBVF_RING_REGS];
	u32 irq[IGBVF_IRQ_REGS];
	u32 eims;
};

/**
 * struct igbvf_mailbox - the mailbox as the guest sees it
 * @mem: VMBMEM
 * @r2c: read-to-clear bits of V2PMAILBOX that the guest has not read yet
 * @unread: the PF has written a message that the guest has not acknowledged
 * @answered: @mem has the answer to the guest's request, not acknowledged
 * @owned: the guest has VFU set
 * @request: the guest's latest request
 * @in_flight: the PF has not answered @request yet; never while quiet
 * @sent: when @request was sent
 * @held: V2P_REQ, V2P_ACK that the guest wrote while the device was quiet
 */
struct igbvf_mailbox {
	u32 mem[IGBVF_VMBMEM_WORDS];
	u32 r2c;
	bool unread;
	bool answered;
	bool owned;
	u32 request[IGBVF_VMBMEM_WORDS];
	bool in_flight;
	ktime_t sent;
	u32 held;
};

#define IGBVF_UC_MAX		32
#define IGBVF_MC_MAX		30
#define IGBVF_VLANS		4096

/**
 * struct igbvf_pf_log - what the PF holds for this VF, as far as it was asked
 * @cts: the PF accepts requests other than RESET
 * @mac_valid: @mac is known
 * @mac: address that the VF uses
 * @uc: further unicast addresses
 * @nr_uc: number of @uc
 * @uc_clear: the PF holds no other filters, such as those of a former owner
 * @mc_set: multicast filters were set
 * @nr_mc: number of hashes asked for; more than IGBVF_MC_MAX: all multicast
 * @mc: hashes
 * @vlan: VLAN ids
 * @vlan_set: @vlan_last is valid
 * @vlan_last: dword 0 and 1 of the last SET_VLAN: the PF derives tag
 *	stripping from it alone
 * @lpe: largest frame; 0: never set
 * @promisc: SET_PROMISC as last granted; 0: none
 */
struct igbvf_pf_log {
	bool cts;
	bool mac_valid;
	u8 mac[ETH_ALEN];
	u8 uc[IGBVF_UC_MAX][ETH_ALEN];
	u32 nr_uc;
	bool uc_clear;
	bool mc_set;
	u32 nr_mc;
	u16 mc[IGBVF_MC_MAX];
	DECLARE_BITMAP(vlan, IGBVF_VLANS);
	bool vlan_set;
	u32 vlan_last[2];
	u32 lpe;
	u32 promisc;
};

/* Required features in the stream's IDENTITY. */
#define IGBVF_FEATURE_HEADS	 BIT_ULL(0)	/* rings in mid-use */
#define IGBVF_FEATURE_START_OVER BIT_ULL(1)	/* the guest has to start them over */

/* Optional ones: what the source is like, for people. */
#define IGBVF_FACT_HEADS_WRITABLE BIT_ULL(0)
#define IGBVF_FACT_HEADS_KEPT	 BIT_ULL(1)
#define IGBVF_FACT_MASK_READABLE BIT_ULL(2)
#define IGBVF_FACT_TAILS_LATCHED BIT_ULL(3)
#define IGBVF_FACT_PAGES_4K	 BIT_ULL(4)	/* rings can be mapped */

/**
 * struct igbvf_ability - what the hardware at hand can do, see probe.c
 * @heads_writable: ring heads can be set while a queue is off
 * @heads_kept: ring heads survive switching a queue off and on
 * @mask_readable: EIMS reads as the interrupt mask
 * @interrupts_readable: so do the other registers of its page
 * @tails_latched: a tail that is written while a queue is off counts later
 * @start_over: not the hardware's: the guest may be asked to start over
 */
struct igbvf_ability {
	bool heads_writable;
	bool heads_kept;
	bool mask_readable;
	bool interrupts_readable;
	bool tails_latched;
	bool start_over;
};

/**
 * struct igbvf_slot - a receive descriptor that has been recorded
 * @packet: address of the packet buffer
 * @header: address of the header buffer
 */
struct igbvf_slot {
	u64 packet;
	u64 header;
};

/**
 * struct igbvf_posted - where the function may write because of one queue
 * @reg: registers that say so, as they were when it was recorded
 * @on: the queue was on, and all this is valid
 * @base: address of the ring
 * @size: bytes of it
 * @head: address of the head write-back word; 0: none
 * @packet: bytes of a packet buffer
 * @header: bytes of a header buffer
 * @slot: receive descriptors, as they were last recorded
 * @slots: number of @slot
 * @tail: first descriptor that has not been recorded
 */
struct igbvf_posted {
	u32 reg[IGBVF_RING_REGS];
	bool on;
	u64 base;
	u32 size;
	u64 head;
	u32 packet;
	u32 header;
	struct igbvf_slot *slot;
	u32 slots;
	u32 tail;
};

/**
 * struct igbvf_track - what is recorded of the rings, see dirty.c
 * @want: what the hardware is to be told; protected like @posted
 * @moved: the guest has written the head
 * @stale: @want does not fit the hardware any more; io_lock
 * @posted: what is recorded; used by one at a time (@record, @retire, @stop)
 * @old: what it was before, until the hardware knows of it
 */
struct igbvf_track {
	u32 want[IGBVF_RINGS][IGBVF_RING_REGS];
	bool moved[IGBVF_RINGS];
	bool stale;
	struct igbvf_posted posted[IGBVF_RINGS];
	struct igbvf_posted old[IGBVF_RINGS];
};

/**
 * struct igbvf - private data of a device
 * @mig: the core's part
 * @io: BAR0
 * @can: what the hardware can do
 * @hw: registers as the hardware has them; rings, and interrupts if @direct,
 *	only while quiet; rings if tracked, too
 * @guest: registers as the guest should see them; rings likewise
 * @direct: the guest has the page with the interrupt registers, and they can
 *	be read back
 * @raised: vectors that the guest has raised by EICS and not acknowledged; if
 *	@direct, only while quiet
 * @unmasked: if @direct: vectors that the guest has unmasked while quiet
 * @kick: vectors to raise on release
 * @link: IGBVF_STATUS_LINK bits of STATUS when the device became quiet
 * @restart: the guest wrote VTCTRL.RST while the device was quiet
 * @start_over: the guest's rings are lost; its driver is asked to set up new
 *	ones until it resets the VF, by VTCTRL.RST or by asking the PF
 * @mbx: mailbox
 * @pf: what the PF was asked for
 * @replay_end: when the PF must have granted everything, in jiffies
 * @stats_offset: to be added to the hardware's counters
 * @track: dirty pages
 */
struct igbvf {
	struct vfio_pci_mig *mig;
	void __iomem *io;
	struct igbvf_ability can;
	struct igbvf_regs hw;
	struct igbvf_regs guest;
	bool direct;
	u32 raised;
	u32 unmasked;
	u32 kick;
	u32 link;
	bool restart;
	bool start_over;
	struct igbvf_mailbox mbx;
	struct igbvf_pf_log pf;
	unsigned long replay_end;
	u32 stats_offset[IGBVF_STATS];
	struct igbvf_track track;
};

/**
 * enum igbvf_fault - points of our own for vfio_pci_mig_fault()
 * @IGBVF_FAULT_QUEUE_START: waiting until a queue is on
 * @IGBVF_FAULT_QUEUE_STOP: waiting until a queue is off
 * @IGBVF_FAULT_ANSWER: waiting for the PF's answer to a message of ours
 * @IGBVF_FAULT_REFUSAL: the PF's answer is taken for a refusal
 * @IGBVF_FAULTS: number of points
 */
enum igbvf_fault {
	IGBVF_FAULT_QUEUE_START,
	IGBVF_FAULT_QUEUE_STOP,
	IGBVF_FAULT_ANSWER,
	IGBVF_FAULT_REFUSAL,
	IGBVF_FAULTS,
};

static inline struct igbvf *igbvf_from_mig(struct vfio_pci_mig *mig)
{
	return vfio_pci_mig_priv(mig);
}

static inline u32 igbvf_rd(struct igbvf *vf, u32 offset)
{
	return vfio_pci_mig_rd32(vf->mig, vf->io + offset);
}

static inline void igbvf_wr(struct igbvf *vf, u32 offset, u32 value)
{
	vfio_pci_mig_wr32(vf->mig, vf->io + offset, value);
}

/* All registers read as ones when the function does not answer. */
static inline bool igbvf_gone(u32 value)
{
	return value == U32_MAX;
}

/* main.c */
extern unsigned int igbvf_mailbox_timeout_ms;
extern unsigned int igbvf_drain_timeout_ms;

/* regs.c */
extern const u16 igbvf_irq_offset[IGBVF_IRQ_REGS];
extern const u32 igbvf_irq_mask[IGBVF_IRQ_REGS];
extern const u16 igbvf_stats_offset[IGBVF_STATS];
u32 igbvf_ring_offset(unsigned int ring, enum igbvf_ring_reg reg);
u32 igbvf_ring_mask(unsigned int ring, enum igbvf_ring_reg reg);
u32 igbvf_bar_read(struct vfio_pci_mig *mig, unsigned int bar, u32 offset);
void igbvf_bar_write(struct vfio_pci_mig *mig, unsigned int bar, u32 offset,
		     u32 value);

/* probe.c */
void igbvf_probe_ability(struct igbvf *vf);

/* device.c */
int igbvf_answers(struct igbvf *vf);
int igbvf_wait_enable(struct igbvf *vf, unsigned int ring, bool on);
u32 igbvf_irq_read(struct igbvf *vf, enum igbvf_irq_reg reg);
bool igbvf_ring_works(const u32 *reg);
bool igbvf_rings_in_use(const struct igbvf *vf);
int igbvf_rings_lost(struct igbvf *vf);
int igbvf_quiesce(struct vfio_pci_mig *mig);
void igbvf_wait_restarted(struct igbvf *vf);
int igbvf_release(struct vfio_pci_mig *mig);
int igbvf_reset(struct vfio_pci_mig *mig);
void igbvf_ring_capture(struct igbvf *vf, unsigned int ring);
u32 igbvf_ring_head(struct igbvf *vf, unsigned int ring);
void igbvf_ring_follow(struct igbvf *vf, unsigned int ring, u32 *want,
		       bool moved);

/* dirty.c */
extern const struct vfio_pci_mig_track_ops igbvf_track_ops;

/* mailbox.c */
u32 igbvf_mbx_read_mem(struct igbvf *vf, unsigned int word);
u32 igbvf_mbx_read_control(struct igbvf *vf);
void igbvf_mbx_write_control(struct igbvf *vf, u32 value);
void igbvf_mbx_quiesce(struct igbvf *vf);
void igbvf_mbx_release(struct igbvf *vf);
bool igbvf_mbx_news(struct igbvf *vf);
void igbvf_mbx_reset(struct igbvf *vf);
int igbvf_mbx_wait_pf(struct igbvf *vf, bool *news);
int igbvf_mbx_call(struct igbvf *vf, const u32 *request, unsigned int words,
		   u32 *reply, unsigned int reply_words);

/* pf.c */
#define IGBVF_MSG_ACK		BIT(31)
#define IGBVF_MSG_NACK		BIT(30)
#define IGBVF_MSG_CTS		BIT(29)
#define IGBVF_MSG_TYPE(word)	((word) & 0xffff)
void igbvf_pf_restarted(struct igbvf_pf_log *pf);
void igbvf_pf_answered(struct igbvf *vf, const u32 *request, const u32 *reply);
int igbvf_pf_replay(struct igbvf *vf, const struct igbvf_pf_log *want,
		    bool ahead);

/* state.c */
#define IGBVF_STATE_VERSION	1
#define IGBVF_NR_RECORDS	5
extern const struct mig_record_desc igbvf_records[IGBVF_NR_RECORDS];
int igbvf_save(struct vfio_pci_mig *mig, struct mig_encoder *enc);
int igbvf_save_ahead(struct vfio_pci_mig *mig, struct mig_encoder *enc);
int igbvf_prepare(struct vfio_pci_mig *mig, const struct mig_parser *state);
int igbvf_load(struct vfio_pci_mig *mig, const struct mig_parser *state);

#endif /* _IGBVF_H */
