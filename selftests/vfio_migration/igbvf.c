// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include <endian.h>
#include <errno.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "harness.h"
#include "igbvf.h"
#include "pf.h"
#include "state.h"

#define RECORD_STATS	0x104u

#define AREA		(DMA_SIZE / 4)
#define RX_RING_AT	0u
#define TX_RING_AT	0x1000u
#define TX_HEAD_AT	0x2000u
#define RX_BUFFERS_AT	0x8000u
#define TX_BUFFERS_AT	0x10000u

#define ETHERTYPE	0x88b5
#define MAGIC		0x76326d6967ull
#define SENDER_AT	26
#define LIMIT_MS	2000

/* Both kinds of descriptor are two quadwords. */
struct desc {
	u64 q[2];
};

#define RX_DONE		(1ull << 0)		/* of q[1] */
#define TX_DONE		(1ull << 32)		/* of q[1] */
#define TX_DATA		0x22300000ull		/* DEXT, IFCS, data */
#define TX_EOP		0x01000000ull
#define TX_REPORT	0x08000000ull

static u8 *area(struct nic *nic, u32 offset)
{
	return nic->vf->iommu->mem + nic->area * AREA + offset;
}

static u64 area_iova(struct nic *nic, u32 offset)
{
	return DMA_IOVA + nic->area * AREA + offset;
}

static volatile struct desc *rx_desc(struct nic *nic, unsigned int n)
{
	return (volatile struct desc *)area(nic, RX_RING_AT) + n;
}

static volatile struct desc *tx_desc(struct nic *nic, unsigned int n)
{
	return (volatile struct desc *)area(nic, TX_RING_AT) + n;
}

/* Wait for bits of V2PMAILBOX, all of which a read clears. */
static bool mbx_wait(struct vf *vf, u32 *seen, u32 bits)
{
	u64 end = time_ms() + LIMIT_MS;

	while (!(*seen & bits)) {
		if (time_ms() > end)
			return false;
		*seen |= vf_read(vf, V2PMAILBOX);
		if (!(*seen & bits))
			sleep_ms(1);
	}
	return true;
}

bool mbx_call(struct vf *vf, const u32 *request, unsigned int words,
	      u32 *answer, unsigned int answer_words)
{
	u32 seen = 0;
	unsigned int i;

	vf_need_igbvf();
	for (i = 0; i < 100; i++) {
		vf_write(vf, V2PMAILBOX, V2P_VFU);
		if (vf_read(vf, V2PMAILBOX) & V2P_VFU)
			break;
		sleep_ms(1);
	}
	if (i == 100)
		return false;

	for (i = 0; i < words; i++)
		vf_write(vf, VMBMEM(i), request[i]);
	vf_write(vf, V2PMAILBOX, V2P_REQ);
	if (!mbx_wait(vf, &seen, V2P_PFACK) || !mbx_wait(vf, &seen, V2P_PFSTS))
		return false;
	for (i = 0; i < answer_words; i++)
		answer[i] = vf_read(vf, VMBMEM(i));
	vf_write(vf, V2PMAILBOX, V2P_ACK);
	return true;
}

void mbx_ask(struct vf *vf, u32 type, u32 word)
{
	u32 request[2] = { type, word }, answer = 0;

	ASSERT_TRUE(mbx_call(vf, request, 2, &answer, 1));
	ASSERT_EQ(MSG_ACK | (type & 0xffff), answer & (MSG_ACK | 0xffff));
}

void igbvf_expect_same(const struct state *one, const struct state *other)
{
	struct record a[RECORDS_MAX], b[RECORDS_MAX];
	unsigned int n, i, count = state_records(one, a);

	ASSERT_EQ(count, state_records(other, b));
	for (n = 0; n < count; n++) {
		ASSERT_EQ(a[n].type, b[n].type);
		ASSERT_EQ(a[n].length, b[n].length);
		if (a[n].type < VFIO_MIG_RECORD_BACKEND ||
		    a[n].type == RECORD_STATS)
			continue;
		for (i = 0; i < a[n].length; i++)
			if (a[n].payload[i] != b[n].payload[i])
				break;
		if (i < a[n].length)
			th_log("record %#x, byte %u: %#x instead of %#x",
			       a[n].type, i, b[n].payload[i], a[n].payload[i]);
		EXPECT_EQ(a[n].length, i);
	}
}

static void ask_reset(struct nic *nic)
{
	u32 request = MSG_RESET, answer[3] = {};

	ASSERT_TRUE(mbx_call(nic->vf, &request, 1, answer, 3));
	/* The administrator has set an address, so it is granted. */
	ASSERT_EQ(MSG_ACK | MSG_RESET, answer[0]);
	memcpy(nic->mac, &answer[1], sizeof(nic->mac));
}

static void start_rings(struct nic *nic)
{
	struct vf *vf = nic->vf;
	unsigned int n;

	memset(area(nic, 0), 0, AREA);
	for (n = 0; n < RING; n++)
		rx_desc(nic, n)->q[0] = area_iova(nic, RX_BUFFERS_AT + n * BUFFER);
	nic->rx = 0;
	nic->tx = 0;

	vf_write(vf, RXDCTL(0), 0);
	vf_write(vf, TXDCTL(0), 0);
	vf_write(vf, RDBAL(0), (u32)area_iova(nic, RX_RING_AT));
	vf_write(vf, RDBAH(0), 0);
	vf_write(vf, RDLEN(0), RING * sizeof(struct desc));
	vf_write(vf, SRRCTL(0), 0x82000002);
	vf_write(vf, RDH(0), 0);
	vf_write(vf, TDBAL(0), (u32)area_iova(nic, TX_RING_AT));
	vf_write(vf, TDBAH(0), 0);
	vf_write(vf, TDLEN(0), RING * sizeof(struct desc));
	vf_write(vf, TDH(0), 0);
	vf_write(vf, TDT(0), 0);
	vf_write(vf, TXDCTL(0), DCTL_ENABLE);
	vf_write(vf, RXDCTL(0), DCTL_ENABLE | 0x10810);
	for (n = 0; n < 100 && !(vf_read(vf, RXDCTL(0)) & DCTL_ENABLE); n++)
		sleep_ms(1);
	ASSERT_TRUE(vf_read(vf, RXDCTL(0)) & DCTL_ENABLE);
	vf_write(vf, RDT(0), RING - 1);
}

static void start_interrupts(struct vf *vf)
{
	unsigned int n;

	if (vf->event[0] < 0)
		vf_enable_interrupts(vf);
	for (n = 0; n < VECTORS; n++)
		vf_write(vf, EITR(n), 0);
	vf_write(vf, IVAR0, IVAR0_VALUE);
	vf_write(vf, IVAR_MISC, IVAR_MISC_VALUE);
	vf_write(vf, EIAC, 7);
	vf_write(vf, EIAM, 7);
	vf_write(vf, EICR, 7);
	vf_write(vf, EIMS, 7);
}

void nic_start(struct nic *nic, struct vf *vf, unsigned int area)
{
	memset(nic, 0, sizeof(*nic));
	nic->vf = vf;
	nic->area = area;
	ask_reset(nic);
	mbx_ask(vf, MSG_SET_LPE, 1522);
	start_rings(nic);
	start_interrupts(vf);
}

void nic_start_over(struct nic *nic)
{
	vf_write(nic->vf, VTCTRL, VTCTRL_RST);
	/* Until the PF has seen it, or it would take what comes for old. */
	sleep_ms(10);
	nic_start(nic, nic->vf, nic->area);
}

void nic_use_write_back(struct nic *nic)
{
	struct vf *vf = nic->vf;

	*(volatile u32 *)area(nic, TX_HEAD_AT) = nic->tx;
	nic->sent = nic->tx;
	nic->write_back = true;
	vf_write(vf, TXDCTL(0), 0);
	vf_write(vf, TDWBAL(0), (u32)area_iova(nic, TX_HEAD_AT) | 1);
	vf_write(vf, TDWBAH(0), 0);
	vf_write(vf, TXDCTL(0), DCTL_ENABLE);
}

void nic_move(struct nic *nic, struct vf *vf)
{
	nic->vf = vf;
}

static void frame_make(struct nic *nic, u32 number, u8 *frame)
{
	u64 magic = MAGIC;
	unsigned int i;

	memset(frame, 0xff, 6);
	memcpy(frame + 6, nic->mac, 6);
	frame[12] = ETHERTYPE >> 8;
	frame[13] = ETHERTYPE & 0xff;
	memcpy(frame + 14, &magic, sizeof(magic));
	memcpy(frame + 22, &number, sizeof(number));
	frame[SENDER_AT] = nic->area;
	for (i = SENDER_AT + 1; i < FRAME; i++)
		frame[i] = number * 31 + i;
}

/* Is it for this nic, or is it its own, or nobody's? */
static bool frame_counts(struct nic *nic, const u8 *frame)
{
	return frame[12] == ETHERTYPE >> 8 &&
	       frame[13] == (ETHERTYPE & 0xff) &&
	       frame[SENDER_AT] != nic->area;
}

static long long frame_check(const u8 *frame, int len)
{
	u64 magic = MAGIC;
	unsigned int i;
	u32 number;

	memcpy(&number, frame + 22, sizeof(number));
	if (len != FRAME || memcmp(frame + 14, &magic, sizeof(magic)))
		return -EBADMSG;
	for (i = SENDER_AT + 1; i < FRAME; i++)
		if (frame[i] != (u8)(number * 31 + i))
			return -EBADMSG;
	return number;
}

u32 nic_post(struct nic *nic, u32 number, unsigned int count)
{
	volatile struct desc *desc;
	u32 at;

	ASSERT_LE(count, RING - 1u);
	for (; count; count--, number++) {
		at = TX_BUFFERS_AT + nic->tx * BUFFER;
		frame_make(nic, number, area(nic, at));
		desc = tx_desc(nic, nic->tx);
		desc->q[0] = area_iova(nic, at);
		desc->q[1] = (u64)FRAME << 46 | TX_DATA | TX_EOP | TX_REPORT |
			     FRAME;
		nic->tx = (nic->tx + 1) % RING;
	}
	__sync_synchronize();
	return nic->tx;
}

bool nic_wait_sent(struct nic *nic)
{
	volatile struct desc *desc = tx_desc(nic, (nic->tx + RING - 1) % RING);
	u64 end = time_ms() + LIMIT_MS;

	while (!(desc->q[1] & TX_DONE)) {
		if (time_ms() > end)
			return false;
		sleep_ms(1);
	}
	return true;
}

bool nic_send(struct nic *nic, u32 number, unsigned int count)
{
	vf_write(nic->vf, TDT(0), nic_post(nic, number, count));
	return nic_wait_sent(nic);
}

bool nic_send_parts(struct nic *nic, const u8 *head, u16 head_len, u64 iova,
		    u16 len)
{
	u64 total = (u64)(head_len + len) << 46;
	volatile struct desc *desc = tx_desc(nic, nic->tx);
	u32 at = TX_BUFFERS_AT + nic->tx * BUFFER;

	memcpy(area(nic, at), head, head_len);
	desc->q[0] = area_iova(nic, at);
	desc->q[1] = total | TX_DATA | head_len;
	nic->tx = (nic->tx + 1) % RING;
	desc = tx_desc(nic, nic->tx);
	desc->q[0] = iova;
	desc->q[1] = total | TX_DATA | TX_EOP | TX_REPORT | len;
	nic->tx = (nic->tx + 1) % RING;
	__sync_synchronize();
	vf_write(nic->vf, TDT(0), nic->tx);
	return nic_wait_sent(nic);
}

/* As a driver does it: through the mapping, where the host allows one. */
static void doorbell(struct nic *nic, u32 offset, u32 value)
{
	__sync_synchronize();
	if (nic->vf->rings)
		vf_mwrite(nic->vf, offset, value);
	else
		vf_write(nic->vf, offset, value);
}

unsigned int nic_unsent(struct nic *nic)
{
	if (nic->write_back)
		nic->sent = *(volatile u32 *)area(nic, TX_HEAD_AT);
	while (!nic->write_back && nic->sent != nic->tx &&
	       (tx_desc(nic, nic->sent)->q[1] & TX_DONE))
		nic->sent = (nic->sent + 1) % RING;
	return (nic->tx + RING - nic->sent) % RING;
}

bool nic_put(struct nic *nic, const u8 *frame, size_t len)
{
	volatile struct desc *desc = tx_desc(nic, nic->tx);
	u32 at = TX_BUFFERS_AT + nic->tx * BUFFER;

	if (nic_unsent(nic) == RING - 1)
		return false;
	memcpy(area(nic, at), frame, len);
	desc->q[0] = area_iova(nic, at);
	desc->q[1] = (u64)len << 46 | TX_DATA | TX_EOP | TX_REPORT | len;
	nic->tx = (nic->tx + 1) % RING;
	return true;
}

void nic_ring(struct nic *nic)
{
	doorbell(nic, TDT(0), nic->tx);
}

unsigned int nic_landed(struct nic *nic)
{
	unsigned int n, landed = 0;
	bool done[RING];

	/* Backwards: they are filled in order, maybe just now. */
	for (n = RING; n--;)
		done[n] = rx_desc(nic, (nic->rx + n) % RING)->q[1] & RX_DONE;
	while (landed < RING && done[landed])
		landed++;
	for (n = landed; n < RING; n++)
		EXPECT_EQ(false, done[n]);
	return landed;
}

int nic_take(struct nic *nic, u8 *frame, size_t size)
{
	volatile struct desc *desc = rx_desc(nic, nic->rx);
	u32 at = RX_BUFFERS_AT + nic->rx * BUFFER;
	size_t len;

	if (!(desc->q[1] & RX_DONE))
		return 0;
	__sync_synchronize();
	len = desc->q[1] >> 32 & 0xffff;
	memcpy(frame, area(nic, at), len < size ? len : size);

	memset(area(nic, at), 0, BUFFER);
	desc->q[1] = 0;
	desc->q[0] = area_iova(nic, at);
	doorbell(nic, RDT(0), nic->rx);
	nic->rx = (nic->rx + 1) % RING;
	return len;
}

int nic_receive_raw(struct nic *nic, u8 *frame, size_t size,
		    unsigned int timeout_ms)
{
	u64 end = time_ms() + timeout_ms;
	int len;

	for (;;) {
		len = nic_take(nic, frame, size);
		if (len)
			return len;
		if (time_ms() > end)
			return -ETIMEDOUT;
		sleep_ms(1);
	}
}

long long nic_receive(struct nic *nic, unsigned int timeout_ms)
{
	u8 frame[BUFFER];
	int len;

	do {
		len = nic_receive_raw(nic, frame, sizeof(frame), timeout_ms);
		if (len < 0)
			return len;
	} while (!frame_counts(nic, frame));
	return frame_check(frame, len);
}

void nic_expect(struct nic *nic, u32 number, unsigned int count)
{
	unsigned int n;

	for (n = 0; n < count; n++) {
		unsigned int at = nic->rx;
		long long got = nic_receive(nic, LIMIT_MS);

		if (got != (long long)number + n)
			th_log("receive descriptor %u, frame %u of %u", at,
			       n + 1, count);
		ASSERT_EQ((long long)number + n, got);
	}
	EXPECT_EQ((long long)-ETIMEDOUT, nic_receive(nic, 0));
	for (n = 0; n < RING; n++)
		EXPECT_EQ(0ull, (unsigned long long)
			  (rx_desc(nic, n)->q[1] & RX_DONE));
}

u64 nic_fingerprint(struct nic *nic)
{
	const volatile u64 *at = (const volatile u64 *)area(nic, 0);
	u64 sum = 0xcbf29ce484222325ull;
	size_t n;

	for (n = 0; n < AREA / sizeof(*at); n++)
		sum = (sum ^ at[n]) * 0x100000001b3ull;
	return sum;
}

/*
 * Where igb's register dump (ethtool -d) has queue 0 of the PF's first pool,
 * which is VF 0.
 */
enum {
	DUMP_RDBAL = 129, DUMP_RDLEN = 137, DUMP_RDH = 141, DUMP_RDT = 145,
	DUMP_RXDCTL = 149, DUMP_TDBAL = 211, DUMP_TDLEN = 219, DUMP_TDH = 223,
	DUMP_TDT = 227, DUMP_TXDCTL = 231, DUMP_WORDS = 551,
};

struct real vf_real(struct vf *vf)
{
	struct {
		struct ethtool_regs head;
		u32 word[1024];
	} dump = {
		.head = { .cmd = ETHTOOL_GREGS, .len = sizeof(dump.word) },
	};
	struct ifreq request = { .ifr_data = (void *)&dump };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct real real = {};

	ASSERT_LE(0, fd);
	if (!pf_interface(vf->bdf, request.ifr_name) ||
	    ioctl(fd, SIOCETHTOOL, &request) ||
	    dump.head.len < DUMP_WORDS * sizeof(u32))
		goto out;
	real = (struct real){
		.known = true,
		.rdbal = dump.word[DUMP_RDBAL], .rdlen = dump.word[DUMP_RDLEN],
		.rdh = dump.word[DUMP_RDH], .rdt = dump.word[DUMP_RDT],
		.rxdctl = dump.word[DUMP_RXDCTL],
		.tdbal = dump.word[DUMP_TDBAL], .tdlen = dump.word[DUMP_TDLEN],
		.tdh = dump.word[DUMP_TDH], .tdt = dump.word[DUMP_TDT],
		.txdctl = dump.word[DUMP_TXDCTL],
	};
out:
	close(fd);
	return real;
}
