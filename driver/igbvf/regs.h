/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Registers of the Intel 82576 virtual function, BAR0 (16 KiB). Names as in
 * the 82576 datasheet, chapter 9 "Virtual Function device registers".
 */
#ifndef _IGBVF_REGS_H
#define _IGBVF_REGS_H

#include <linux/bits.h>

/* Page 0: control, mailbox, statistics. Always trapped. */
#define IGBVF_VTCTRL		0x0000
#define IGBVF_VTCTRL_ALIAS	0x0004
#define  IGBVF_VTCTRL_RST	BIT(26)
#define IGBVF_STATUS		0x0008
#define  IGBVF_STATUS_LINK	(BIT(0) | BIT(1) | GENMASK(7, 6)) /* duplex, up, speed */
#define IGBVF_VMBMEM		0x0800	/* 16 dwords, shared with the PF */
#define IGBVF_VMBMEM_WORDS	16
#define IGBVF_V2PMAILBOX	0x0c40
#define  IGBVF_V2P_REQ		BIT(0)	/* W: message for the PF */
#define  IGBVF_V2P_ACK		BIT(1)	/* W: PF's message has been read */
#define  IGBVF_V2P_VFU		BIT(2)	/* RW: VF owns VMBMEM */
#define  IGBVF_V2P_PFU		BIT(3)	/* RO: PF owns VMBMEM */
#define  IGBVF_V2P_PFSTS	BIT(4)	/* RC: PF has written a message */
#define  IGBVF_V2P_PFACK	BIT(5)	/* RC: PF has read our message */
#define  IGBVF_V2P_RSTI		BIT(6)	/* RO: PF is in reset */
#define  IGBVF_V2P_RSTD		BIT(7)	/* RC: PF has finished a reset */
#define  IGBVF_V2P_R2C		(IGBVF_V2P_PFSTS | IGBVF_V2P_PFACK | IGBVF_V2P_RSTD)
#define IGBVF_PBACL		0x0f04	/* see igbvf_write_page0() */
#define IGBVF_PSRTYPE		0x0f0c

/* Statistics: 32 bits that wrap, read only, survive a reset. */
#define IGBVF_GPRC		0x0f10
#define IGBVF_GPTC		0x0f14
#define IGBVF_GORC		0x0f18
#define IGBVF_GOTC		0x0f34
#define IGBVF_MPRC		0x0f3c
#define IGBVF_GPRLBC		0x0f40
#define IGBVF_GPTLBC		0x0f44
#define IGBVF_GORLBC		0x0f48
#define IGBVF_GOTLBC		0x0f50

/* Page 1: interrupts. Trapped where the mask cannot be read back. */
#define IGBVF_EICS		0x1520	/* W: raise */
#define IGBVF_EIMS		0x1524	/* W: unmask; R: mask, in QEMU not */
#define  IGBVF_EIMS_UNTOUCHED	BIT(31)	/* reserved: see igbvf_read_page1() */
#define IGBVF_EIMC		0x1528	/* W: mask */
#define IGBVF_EIAC		0x152c
#define IGBVF_EIAM		0x1530
#define IGBVF_EICR		0x1580	/* RC, W1C */
#define IGBVF_EITR(n)		(0x1680 + 4 * (n))
#define  IGBVF_EITR_CNT_IGNR	BIT(31)	/* WO */
#define  IGBVF_EITR_SET_UP	GENMASK(15, 0)	/* the rest are counters */
#define IGBVF_IVAR0		0x1700
#define  IGBVF_IVAR_VECTOR	GENMASK(1, 0)
#define  IGBVF_IVAR_VALID	BIT(7)
#define IGBVF_IVAR_MISC		0x1740
#define IGBVF_VECTORS		3
#define IGBVF_VECTOR_MASK	GENMASK(IGBVF_VECTORS - 1, 0)

/* Pages 2 and 3: two receive and two transmit queues. Shielded. */
#define IGBVF_RX_BASE(n)	(0x2800 + 0x100 * (n))
#define IGBVF_TX_BASE(n)	(0x3800 + 0x100 * (n))
#define  IGBVF_RING_LAST	0x3c	/* the registers of a queue end there */
#define  IGBVF_RING_HEAD_OFFSET	0x10
#define  IGBVF_DCTL_ENABLE	BIT(25)
#define  IGBVF_RXDCTL_RESET	0x00010000	/* WTHRESH 1 */

#define IGBVF_BAR		0
#define IGBVF_INTERRUPTS	0x1000
#define IGBVF_QUEUES		0x2000
#define IGBVF_BAR_SIZE		0x4000

#endif /* _IGBVF_REGS_H */
