// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "flow.h"
#include "harness.h"

#define PEER_NAMESPACE	"/run/netns/peer"
#define ETHERTYPE	0x88b7
#define MAGIC		0x776f6c66u
#define RECEIVE_BYTES	(8 << 20)
#define TAKE_MAX	64	/* or a flood would not let go */

/* What a frame begins with. */
struct head {
	u8 to[6];
	u8 from[6];
	__be16 type;
	u8 flow;
	u8 zero;
	u32 magic;
	u32 number;
	u64 sum;
} __attribute__((packed));

#define WORDS_MAX	128
#define FRAME_MAX	(sizeof(struct head) + WORDS_MAX * sizeof(u64))

/* Short frames and long ones; never less than Ethernet's 60 bytes. */
static unsigned int frame_words(u32 number)
{
	return 4 + number * 37 % (WORDS_MAX - 4);
}

/* The content of a frame follows from its number, and its sum from both. */
static u64 frame_fill(u32 number, u8 flow, u64 *words)
{
	u64 value = 0x9e3779b97f4a7c15ull * (number + 1) + flow;
	u64 sum = number;
	unsigned int n;

	for (n = 0; n < frame_words(number); n++) {
		value ^= value << 13;
		value ^= value >> 7;
		value ^= value << 17;
		words[n] = value;
		sum = (sum ^ value) * 0x100000001b3ull;
	}
	return sum;
}

static size_t frame_make(struct flow *flow, u32 number, u8 *frame)
{
	struct head head = {
		.type = htons(ETHERTYPE), .flow = flow->id, .magic = MAGIC,
		.number = number,
	};
	u64 words[WORDS_MAX];
	size_t len = frame_words(number) * sizeof(u64);

	memcpy(head.to, flow->to->mac, sizeof(head.to));
	memcpy(head.from, flow->from->mac, sizeof(head.from));
	head.sum = frame_fill(number, flow->id, words);
	memcpy(frame, &head, sizeof(head));
	memcpy(frame + sizeof(head), words, len);
	return sizeof(head) + len;
}

/* Is it, bit for bit, what was sent? */
static bool frame_intact(struct flow *flow, const struct head *head,
			 const u8 *frame, size_t len)
{
	u8 want[FRAME_MAX];

	return len == frame_make(flow, head->number, want) &&
	       !memcmp(want, frame, len);
}

void station_of_nic(struct station *station, struct nic *nic)
{
	*station = (struct station){ .nic = nic, .socket = -1 };
	memcpy(station->mac, nic->mac, sizeof(station->mac));
}

/* The first interface that is not the loopback one. */
static bool find_interface(struct station *station, int *index)
{
	struct if_nameindex *names = if_nameindex(), *name;
	struct ifreq request = {};
	bool found = false;

	for (name = names; names && name->if_name && !found; name++) {
		if (!strcmp(name->if_name, "lo"))
			continue;
		strcpy(request.ifr_name, name->if_name);
		found = !ioctl(station->socket, SIOCGIFHWADDR, &request);
		*index = name->if_index;
		memcpy(station->mac, request.ifr_hwaddr.sa_data,
		       sizeof(station->mac));
	}
	if (names)
		if_freenameindex(names);
	return found;
}

void station_of_peer(struct station *station)
{
	struct sockaddr_ll where = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(ETHERTYPE),
	};
	int here = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	int there = open(PEER_NAMESPACE, O_RDONLY | O_CLOEXEC);
	int one = 1, bytes = RECEIVE_BYTES;

	ASSERT_LE(0, here);
	if (there < 0)
		th_skip("no network namespace " PEER_NAMESPACE);

	*station = (struct station){ .socket = -1 };
	ASSERT_EQ(0, setns(there, CLONE_NEWNET));
	station->socket = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC |
				 SOCK_NONBLOCK, 0);
	ASSERT_LE(0, station->socket);
	if (!find_interface(station, &where.sll_ifindex))
		th_skip("no interface in " PEER_NAMESPACE);
	ASSERT_EQ(0, setns(here, CLONE_NEWNET));
	close(here);
	close(there);

	ASSERT_EQ(0, setsockopt(station->socket, SOL_SOCKET, SO_RCVBUFFORCE,
				&bytes, sizeof(bytes)));
	/* Frames are not to wait, nor to be dropped, in a queue of L1's. */
	ASSERT_EQ(0, setsockopt(station->socket, SOL_PACKET,
				PACKET_QDISC_BYPASS, &one, sizeof(one)));
	ASSERT_EQ(0, bind(station->socket, (struct sockaddr *)&where,
			  sizeof(where)));
}

static bool station_send(struct station *station, const u8 *frame, size_t len)
{
	ssize_t ret;

	if (station->nic) {
		if (!nic_put(station->nic, frame, len))
			return false;
		nic_ring(station->nic);
		return true;
	}
	ret = send(station->socket, frame, len, 0);
	if (ret < 0)
		EXPECT_TRUE(errno == EAGAIN || errno == ENOBUFS);
	return ret >= 0;
}

static size_t station_take(struct station *station, u8 *frame, size_t size)
{
	ssize_t len;

	if (station->nic)
		return nic_take(station->nic, frame, size);
	len = recv(station->socket, frame, size, MSG_DONTWAIT);
	if (len < 0)
		EXPECT_EQ(EAGAIN, errno);
	return len < 0 ? 0 : len;
}

bool station_at_rest(struct station *station)
{
	int bytes = 0;

	if (station->nic)
		return !nic_unsent(station->nic);
	/* The card gives memory back when the frame has gone. */
	EXPECT_EQ(0, ioctl(station->socket, SIOCOUTQ, &bytes));
	return !bytes;
}

void flow_init(struct flow *flow, u8 id, struct station *from,
	       struct station *to)
{
	memset(flow, 0, sizeof(*flow));
	flow->id = id;
	flow->from = from;
	flow->to = to;
}

bool flow_send(struct flow *flow)
{
	u32 number = atomic_load(&flow->sent) + 1;
	u8 frame[FRAME_MAX];
	size_t len = frame_make(flow, number, frame);

	/* Counted first: it may arrive before we get here again. */
	atomic_store(&flow->sent, number);
	if (station_send(flow->from, frame, len))
		return true;
	atomic_store(&flow->sent, number - 1);
	return false;
}

unsigned int flow_open(struct flow *flow)
{
	u32 last = atomic_load(&flow->last);

	return atomic_load(&flow->sent) - last;
}

/* Frames from @flow->last on have not arrived, up to @number. */
static void flow_lose(struct flow *flow, u32 number)
{
	u32 last = atomic_load(&flow->last);

	if (number == last)
		return;
	flow->lost += number - last;
	if (atomic_load(&flow->lossy)) {
		th_count(TH_LOST, number - last);
	} else {
		th_count(TH_VANISHED, number - last);
		th_log("flow %u: frames %u to %u are lost", flow->id, last + 1,
		       number);
		EXPECT_EQ(last, number);
	}
}

static void flow_arrived(struct flow *flow, const struct head *head,
			 const u8 *frame, size_t len)
{
	u32 last = atomic_load(&flow->last), sent = atomic_load(&flow->sent);

	if (!frame_intact(flow, head, frame, len)) {
		th_log("flow %u: frame %u, %zu bytes, is corrupt", flow->id,
		       head->number, len);
		EXPECT_TRUE(!"intact");
		return;
	}
	if (head->number <= last || head->number > sent) {
		th_log("flow %u: frame %u after %u, of %u", flow->id,
		       head->number, last, sent);
		th_count(TH_DUPLICATED, 1);
		EXPECT_TRUE(!"once and in order");
		return;
	}
	flow_lose(flow, head->number - 1);
	flow->received++;
	atomic_store(&flow->last, head->number);
}

unsigned int flow_receive(struct station *to, struct flow *flow,
			  unsigned int flows)
{
	u8 frame[2048];
	struct head head;
	unsigned int n, count = 0;
	size_t len;

	while (count < TAKE_MAX && (len = station_take(to, frame, sizeof(frame)))) {
		count++;
		memcpy(&head, frame, sizeof(head));
		if (len < sizeof(head) || head.type != htons(ETHERTYPE) ||
		    head.magic != MAGIC)
			continue;
		for (n = 0; n < flows && flow[n].id != head.flow; n++)
			;
		if (n == flows) {
			th_log("a frame of flow %u", head.flow);
			EXPECT_TRUE(!"a flow of ours");
		} else {
			EXPECT_TRUE(flow[n].to == to);
			flow_arrived(&flow[n], &head, frame, len);
		}
	}
	return count;
}

void flow_settle(struct flow *flow)
{
	u32 sent = atomic_load(&flow->sent);

	flow_lose(flow, sent);
	atomic_store(&flow->last, sent);
}
