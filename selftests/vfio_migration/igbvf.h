/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A driver for the Intel 82576 virtual function, as small as can be: mailbox,
 * one or two queue pairs, numbered broadcast frames. It is the guest of these
 * tests.
 */
#ifndef _VFIO_MIGRATION_IGBVF_H
#define _VFIO_MIGRATION_IGBVF_H

#include "vfio.h"

#define VTCTRL			0x0000
#define  VTCTRL_RST		(1u << 26)
#define STATUS			0x0008
#define VMBMEM(n)		(0x0800 + 4 * (n))
#define V2PMAILBOX		0x0c40
#define  V2P_REQ		(1u << 0)
#define  V2P_ACK		(1u << 1)
#define  V2P_VFU		(1u << 2)
#define  V2P_PFSTS		(1u << 4)
#define  V2P_PFACK		(1u << 5)
#define PSRTYPE			0x0f0c
#define GPRC			0x0f10
#define GPTC			0x0f14
#define EICS			0x1520
#define EIMS			0x1524
#define EIMC			0x1528
#define EIAC			0x152c
#define EIAM			0x1530
#define EICR			0x1580
#define EITR(n)			(0x1680 + 4 * (n))
#define IVAR0			0x1700
#define IVAR_MISC		0x1740

#define RDBAL(n)		(0x2800 + 0x100 * (n))
#define RDBAH(n)		(0x2804 + 0x100 * (n))
#define RDLEN(n)		(0x2808 + 0x100 * (n))
#define SRRCTL(n)		(0x280c + 0x100 * (n))
#define RDH(n)			(0x2810 + 0x100 * (n))
#define RDT(n)			(0x2818 + 0x100 * (n))
#define RXDCTL(n)		(0x2828 + 0x100 * (n))
#define TDBAL(n)		(0x3800 + 0x100 * (n))
#define TDBAH(n)		(0x3804 + 0x100 * (n))
#define TDLEN(n)		(0x3808 + 0x100 * (n))
#define TDH(n)			(0x3810 + 0x100 * (n))
#define TDT(n)			(0x3818 + 0x100 * (n))
#define TXDCTL(n)		(0x3828 + 0x100 * (n))
#define TDWBAL(n)		(0x3838 + 0x100 * (n))
#define TDWBAH(n)		(0x383c + 0x100 * (n))
#define  DCTL_ENABLE		(1u << 25)

/*
 * Always the same routing: QEMU's igb adds up the PF's IVAR from what VFs
 * write, and never clears it.
 */
#define IVAR0_VALUE		0x8081u		/* TX: vector 0, RX: vector 1 */
#define IVAR_MISC_VALUE		0x82u
#define TX_VECTOR		0
#define RX_VECTOR		1
#define MISC_VECTOR		2

#define MSG_RESET		0x01u
#define MSG_SET_MULTICAST	0x03u
#define MSG_SET_VLAN		0x04u
#define MSG_SET_LPE		0x05u
#define MSG_CONTROL		0x100u	/* by the PF itself */
#define MSG_ACK			0x80000000u
#define MSG_NACK		0x40000000u

#define RING			16		/* descriptors */
#define BUFFER			2048
#define FRAME			256		/* bytes of a frame of ours */

/**
 * struct nic - a function that sends and receives
 * @vf: the function
 * @area: which quarter of the container's memory its rings are in
 * @mac: its address
 * @rx: next receive descriptor
 * @tx: next transmit descriptor
 * @sent: first transmit descriptor of which it is not known that it has left
 * @write_back: the function writes its transmit head to memory, instead of
 *	marking descriptors
 */
struct nic {
	struct vf *vf;
	unsigned int area;
	u8 mac[6];
	unsigned int rx;
	unsigned int tx;
	unsigned int sent;
	bool write_back;
};

/* The PF's answer, up to @answer_words; false without one. */
bool mbx_call(struct vf *vf, const u32 *request, unsigned int words,
	      u32 *answer, unsigned int answer_words);
/* The same with one word of content; ends the test unless it is granted. */
void mbx_ask(struct vf *vf, u32 type, u32 word);

struct state;

/*
 * Expect the same content of two states, but for what the hardware counts over all
 * of its users.
 */
void igbvf_expect_same(const struct state *one, const struct state *other);

/* Everything up to working queues. Rings in quarter @area of the memory. */
void nic_start(struct nic *nic, struct vf *vf, unsigned int area);
/* As a driver that has been told to, with a reset of the function first. */
void nic_start_over(struct nic *nic);
/* From now on by write-back; nothing may be in the transmit ring. */
void nic_use_write_back(struct nic *nic);
/* The same nic, whose state is now in another function. */
void nic_move(struct nic *nic, struct vf *vf);

/*
 * Frames with numbers @number... nic_send() waits until they have left and
 * says whether they have; nic_post() only writes descriptors and returns the
 * tail to be written, nic_wait_sent() is the rest of it.
 */
bool nic_send(struct nic *nic, u32 number, unsigned int count);
u32 nic_post(struct nic *nic, u32 number, unsigned int count);
bool nic_wait_sent(struct nic *nic);
/* A frame of two parts, the second one at an address of the caller's. */
bool nic_send_parts(struct nic *nic, const u8 *head, u16 head_len, u64 iova,
		    u16 len);

/*
 * Any frame into the next transmit descriptor, without waiting: false if none is
 * free. It leaves when the doorbell is rung, through the mapping of the rings
 * if there is one.
 */
bool nic_put(struct nic *nic, const u8 *frame, size_t len);
void nic_ring(struct nic *nic);
/* Transmit descriptors that are not known to have left. */
unsigned int nic_unsent(struct nic *nic);

/*
 * Any frame out of the next receive descriptor, without waiting: its length; 0
 * if there is none. Gives the descriptor back, with a doorbell like the above.
 */
int nic_take(struct nic *nic, u8 *frame, size_t size);
/*
 * Receive descriptors with frames that have not been taken. A failure, if there
 * is an empty one before a full one.
 */
unsigned int nic_landed(struct nic *nic);

/*
 * The frame in the next receive descriptor: its number, -ETIMEDOUT, or -EBADMSG
 * if its content is wrong. Gives the descriptor back to the function. Skips
 * what others send, and the nic's own broadcasts: QEMU's igb returns them.
 */
long long nic_receive(struct nic *nic, unsigned int timeout_ms);
/* The same, the content is for the caller to judge: its length, or -errno. */
int nic_receive_raw(struct nic *nic, u8 *frame, size_t size,
		    unsigned int timeout_ms);
/*
 * Expect numbers @number... in the next descriptors, without a gap, and no
 * more than these.
 */
void nic_expect(struct nic *nic, u32 number, unsigned int count);
/* Has the function written anywhere in the rings and buffers? */
u64 nic_fingerprint(struct nic *nic);

/**
 * struct real - registers of queue 0 of the VF, as its PF sees them
 * @known: the PF shows them
 */
struct real {
	bool known;
	u32 rdbal, rdlen, rdh, rdt, rxdctl;
	u32 tdbal, tdlen, tdh, tdt, txdctl;
};

/* Past our driver: what the function itself has got. */
struct real vf_real(struct vf *vf);

#endif /* _VFIO_MIGRATION_IGBVF_H */
