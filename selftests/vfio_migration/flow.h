/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Flows of numbered frames between functions and a peer outside, with an exact
 * account: each frame arrives once, in order and as it was sent, or it was sent
 * while its receiver was not to be relied on.
 */
#ifndef _VFIO_MIGRATION_FLOW_H
#define _VFIO_MIGRATION_FLOW_H

#include <stdatomic.h>

#include "igbvf.h"

/**
 * struct station - who sends and receives
 * @mac: its address
 * @nic: a function; or NULL
 * @socket: otherwise: a packet socket on the peer's interface
 */
struct station {
	u8 mac[6];
	struct nic *nic;
	int socket;
};

/* A function whose queues work. */
void station_of_nic(struct station *station, struct nic *nic);
/*
 * The one interface in the network namespace "peer", on the same wire as the
 * functions. Ends the test as skipped if there is none.
 */
void station_of_peer(struct station *station);
/* Is nothing any more on its way that the station has sent? */
bool station_at_rest(struct station *station);

/**
 * struct flow - frames from one station to another
 * @from: sender
 * @to: receiver
 * @id: number of the flow
 * @sent: number of the frame that was sent last, from 1
 * @last: number of the frame that was received last
 * @received: frames
 * @lost: frames
 * @lossy: frames may get lost now
 */
struct flow {
	struct station *from;
	struct station *to;
	u8 id;
	atomic_uint sent;
	atomic_uint last;
	u32 received;
	u32 lost;
	atomic_bool lossy;
};

void flow_init(struct flow *flow, u8 id, struct station *from,
	       struct station *to);
/* Send the next frame; false: there is no room now. */
bool flow_send(struct flow *flow);
/* Frames that have been sent and not received, lost ones included. */
unsigned int flow_open(struct flow *flow);
/*
 * Take frames that a station has got, check them and count them. They are of
 * these flows, or not of flow_send(). Number of frames taken, 0: there are none.
 */
unsigned int flow_receive(struct station *to, struct flow *flow,
			  unsigned int flows);
/*
 * Nothing is on its way any more and all has been taken: what has not arrived by
 * now never will. It is a failure, unless the flow is lossy.
 */
void flow_settle(struct flow *flow);

#endif /* _VFIO_MIGRATION_FLOW_H */
