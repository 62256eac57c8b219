/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Saved device states: getting them out of a function and into one, looking
 * at their records, and making them wrong. The encoder is the driver's own
 * (driver/core/stream.c is plain C).
 */
#ifndef _VFIO_MIGRATION_STATE_H
#define _VFIO_MIGRATION_STATE_H

#include "vfio.h"
#include "uapi/vfio_pci_migration_stream.h"

#define STATE_MAX	8192
#define RECORDS_MAX	16

/**
 * struct state - a saved state
 * @len: bytes in @buf
 * @buf: the stream
 */
struct state {
	size_t len;
	u8 buf[STATE_MAX] __attribute__((aligned(8)));
};

/**
 * struct record - a record of one sequence
 * @type: VFIO_MIG_RECORD_*
 * @flags: VFIO_MIG_RECORD_REQUIRED or 0
 * @length: bytes of payload
 * @at: where the record begins in the stream
 * @size: bytes that it takes there
 * @payload: its payload
 */
struct record {
	u16 type;
	u16 flags;
	u32 length;
	size_t at;
	size_t size;
	const u8 *payload;
};

/*
 * With a driver upon vfio_pci_migration these know more of a stream: its format,
 * and which errno. See vf_need_core().
 *
 * The stream is whole: it loads, and the function, which it is loaded into, runs.
 */
void state_expect_loads(struct vf *vf, const struct state *state);
/* RESUMING could not be left, as parts of the stream are missing. */
void state_expect_missing(int ret);

/* Read a data fd to its end; 0 or -errno. */
int state_read(int fd, struct state *state);
/* RUNNING (or any other state) -> STOP_COPY, and read all; stays there. */
void state_save(struct vf *vf, struct state *state);
/* -> RESUMING, and write all; 0 and stays there, or -errno of the write. */
int state_load(struct vf *vf, const struct state *state);
/* The same for a function that is RESUMING already. */
int state_write(int fd, const void *buf, size_t len);

/* The records; ends the test if the stream is no good. */
unsigned int state_records(const struct state *state, struct record *record);
const struct record *state_find(const struct record *record,
				unsigned int count, u16 type);

/*
 * Would the driver's parser call this stream, of any number of sequences, whole?
 * Says what is wrong if not.
 */
bool state_whole(const struct state *state);

/* How many sequences there are, and the number of the first one. */
unsigned int state_sequences(const struct state *state);
u32 state_sequence(const struct state *state);

/* The record at @at has been changed: make its CRC fit. */
void state_seal(struct state *state, size_t at);

/*
 * Expect two states that are the same. Those of vfio_pci_migration differ in the
 * number of the sequence, and the CRCs that follow from it.
 */
void state_expect_same(const struct state *one, const struct state *other);

/* Make another state out of one: a copy of its records, to be changed. */
struct draft {
	unsigned int count;
	u32 sequence;
	u32 end_records;	/* to be added to what END says */
	u32 end_crc;
	u64 end_bytes;
	bool no_end;
	struct {
		u16 type;
		u16 flags;
		u32 length;
		u8 payload[1024];
	} record[RECORDS_MAX + 2];
};

void draft_of(struct draft *draft, const struct state *state);
/* A payload in @draft; ends the test if there is no such record. */
void *draft_payload(struct draft *draft, u16 type);
/* A word of it; ends the test if the payload is shorter. */
__le32 *draft_word(struct draft *draft, u16 type, unsigned int word);
void draft_add(struct draft *draft, u16 type, u16 flags, u32 length);
void draft_drop(struct draft *draft, u16 type);
/* With CRCs and numbers that fit. Appends to @state. */
void draft_append(const struct draft *draft, struct state *state);

#endif /* _VFIO_MIGRATION_STATE_H */
