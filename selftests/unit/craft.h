/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Streams for the tests: made byte by byte (craft), read the plain way as a
 * second opinion (reference), and read by the parser under test (trial).
 * None of it uses the structures or the encoder under test, so that a mistake
 * in the layout shows.
 */
#ifndef _UNIT_CRAFT_H
#define _UNIT_CRAFT_H

#include "../../driver/core/stream.h"

/* Where the fields of a record header are. */
#define AT_TYPE		0
#define AT_FLAGS	2
#define AT_LENGTH	4
#define AT_SEQUENCE	8
#define AT_INDEX	12
#define AT_CRC		16
#define AT_RESERVED	20
#define AT_PAYLOAD	24

/* Sizes of the records that every sequence has. */
#define HEADER_SIZE	56
#define IDENTITY_SIZE	72
#define END_SIZE	40

#define CRAFT_MAX	65536
#define CRAFT_RECORDS	256

/**
 * struct craft - a stream in the making
 * @data: its bytes
 * @len: number of them
 * @offset: where its records are
 * @records: number of them
 */
struct craft {
	u8 data[CRAFT_MAX];
	size_t len;
	size_t offset[CRAFT_RECORDS];
	unsigned int records;
};

/* The device that the tests have; its records are 0x100 to 0x103, and chunks. */
extern const struct mig_stream_self craft_self;
#define CRAFT_A		0x100	/* mandatory, 8 bytes */
#define CRAFT_B		0x101	/* 0 to 64 bytes */
#define CRAFT_C		0x102	/* mandatory, 1 to 13 bytes */
#define CRAFT_D		0x103	/* empty */
#define CRAFT_K		0x180	/* chunks of 1 to 40 bytes */
#define CRAFT_ROOM	(CRAFT_PLAIN + 64)
#define CRAFT_PLAIN	(32 + 88 + 40 + 24)	/* without chunks */

void store(u8 *at, unsigned int bytes, u64 value);
u64 load(const u8 *at, unsigned int bytes);
u32 fill_random(u32 *seed);

u8 *craft_record(struct craft *craft, u32 sequence, u16 type, u16 flags,
		 const void *payload, u32 length);
void craft_header(struct craft *craft, u32 sequence);
void craft_identity(struct craft *craft, u32 sequence);
void craft_backend(struct craft *craft, u32 sequence);
void craft_chunk(struct craft *craft, u32 sequence, u32 length);
void craft_end(struct craft *craft, u32 sequence);
void craft_sequence(struct craft *craft, u32 sequence);
void craft_chunked(struct craft *craft, u32 sequence);
void craft_scan(struct craft *craft);
void craft_recrc(struct craft *craft, unsigned int record);
void craft_renumber(struct craft *craft);
void craft_reseal(struct craft *craft);

/**
 * struct chunks - the chunks of a sequence
 * @sequence: its number
 * @count: how many there have been
 * @crc: CRC32C of their lengths and payloads
 */
struct chunks {
	u32 sequence;
	unsigned int count;
	u32 crc;
};

/* Those that the parser has handed to feed_pieces(), of the latest sequence. */
extern struct chunks chunks_fed;

/**
 * struct verdict - what a reader makes of a stream
 * @error: latched error, or 0
 * @ahead: AHEAD has come in the last sequence
 * @complete: the last sequence is complete
 * @finish: what mig_parser_finish() returns
 * @payload: the records of the last sequence, by type - CRAFT_A, if complete or
 *	sent ahead
 * @length: their lengths
 * @chunks: of the last sequence, complete or not
 */
struct verdict {
	int error;
	bool ahead;
	bool complete;
	int finish;
	const u8 *payload[4];
	u32 length[4];
	struct chunks chunks;
};

const char *feed_pieces(struct mig_parser *parser, const u8 *data, size_t len,
			size_t piece, u32 *seed);
void reference_read(const u8 *data, size_t len, struct verdict *verdict);
const char *verdict_differs(const struct verdict *verdict,
			    const struct mig_parser *parser);

#endif /* _UNIT_CRAFT_H */
