// SPDX-License-Identifier: GPL-2.0
/* Streams for the tests, see craft.h. */
#include <stdlib.h>

#include "craft.h"

static const struct mig_record_desc descs[] = {
	{ .type = CRAFT_A, .min = 8, .max = 8, .mandatory = true },
	{ .type = CRAFT_B, .min = 0, .max = 64 },
	{ .type = CRAFT_C, .min = 1, .max = 13, .mandatory = true },
	{ .type = CRAFT_D, .min = 0, .max = 0 },
	{ .type = CRAFT_K, .min = 1, .max = 40, .chunked = true },
};

struct chunks chunks_fed;

const struct mig_stream_self craft_self = {
	.backend = "unit-test",
	.state_version = 3,
	.vendor = 0x8086,
	.device = 0x10ca,
	.subsystem_vendor = 0x1af4,
	.subsystem_device = 0x1100,
	.revision = 7,
	.required = 0x1,
	.optional = 0x20,
	.known = 0x3,
	.records = descs,
	.nr_records = ARRAY_SIZE(descs),
};

void store(u8 *at, unsigned int bytes, u64 value)
{
	while (bytes--) {
		*at++ = value & 0xff;
		value >>= 8;
	}
}

u64 load(const u8 *at, unsigned int bytes)
{
	u64 value = 0;

	while (bytes--)
		value = value << 8 | at[bytes];
	return value;
}

/* xorshift: the same numbers everywhere for a given seed, which is not 0. */
u32 fill_random(u32 *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 17;
	*seed ^= *seed << 5;
	return *seed;
}

static size_t record_size(const u8 *record)
{
	return AT_PAYLOAD + (load(record + AT_LENGTH, 4) + 7) / 8 * 8;
}

/* CRC of a whole record, its own field taken as 0. */
static u32 record_crc(const u8 *record)
{
	u8 header[AT_PAYLOAD];
	u32 crc;

	memcpy(header, record, sizeof(header));
	store(header + AT_CRC, 4, 0);
	crc = crc32c(~0u, header, sizeof(header));
	return ~crc32c(crc, record + AT_PAYLOAD,
		       record_size(record) - AT_PAYLOAD);
}

/* Number of records since the last HEADER. */
static u32 next_index(const struct craft *craft, unsigned int before)
{
	u32 index = 0;

	while (before--) {
		index++;
		if (load(craft->data + craft->offset[before], 2) ==
		    VFIO_MIG_RECORD_HEADER)
			break;
	}
	return index;
}

/* Append a record; it stays as it is even where the room ends. */
u8 *craft_record(struct craft *craft, u32 sequence, u16 type, u16 flags,
		 const void *payload, u32 length)
{
	u8 *at = craft->data + craft->len;
	size_t size = AT_PAYLOAD + ((size_t)length + 7) / 8 * 8;

	if (craft->records == CRAFT_RECORDS || size > CRAFT_MAX - craft->len)
		return NULL;
	memset(at, 0, size);
	store(at + AT_TYPE, 2, type);
	store(at + AT_FLAGS, 2, flags);
	store(at + AT_LENGTH, 4, length);
	store(at + AT_SEQUENCE, 4, sequence);
	store(at + AT_INDEX, 4, type == VFIO_MIG_RECORD_HEADER ? 0 :
				next_index(craft, craft->records));
	if (length)
		memcpy(at + AT_PAYLOAD, payload, length);
	store(at + AT_CRC, 4, record_crc(at));
	craft->offset[craft->records++] = craft->len;
	craft->len += size;
	return at;
}

void craft_header(struct craft *craft, u32 sequence)
{
	u8 payload[32] = "VFIOMIGS";

	store(payload + 8, 2, 1);
	store(payload + 10, 2, 1);
	craft_record(craft, sequence, 1, 1, payload, sizeof(payload));
}

void craft_identity(struct craft *craft, u32 sequence)
{
	u8 payload[48] = "unit-test";

	store(payload + 16, 4, 3);
	store(payload + 20, 2, 0x8086);
	store(payload + 22, 2, 0x10ca);
	store(payload + 24, 2, 0x1af4);
	store(payload + 26, 2, 0x1100);
	payload[28] = 7;
	store(payload + 32, 8, 0x1);
	store(payload + 40, 8, 0x20);
	craft_record(craft, sequence, 2, 1, payload, sizeof(payload));
}

/* Something for each record type of ours; depends on the sequence's number. */
void craft_backend(struct craft *craft, u32 sequence)
{
	u32 seed = sequence * 2654435761u | 1;
	u8 payload[64];

	for (size_t i = 0; i < sizeof(payload); i++)
		payload[i] = fill_random(&seed);
	craft_record(craft, sequence, CRAFT_A, 1, payload, 8);
	craft_record(craft, sequence, CRAFT_B, 0, payload, 61);
	craft_record(craft, sequence, CRAFT_C, 1, payload + 9, 13);
	craft_record(craft, sequence, CRAFT_D, 1, NULL, 0);
}

/* A chunk with something in it. */
void craft_chunk(struct craft *craft, u32 sequence, u32 length)
{
	u32 seed = (sequence + craft->records) * 2246822519u | 1;
	u8 payload[48];

	for (size_t i = 0; i < sizeof(payload); i++)
		payload[i] = fill_random(&seed);
	craft_record(craft, sequence, CRAFT_K, 1, payload, length);
}

static size_t sequence_start(const struct craft *craft, unsigned int record)
{
	while (record--)
		if (load(craft->data + craft->offset[record], 2) ==
		    VFIO_MIG_RECORD_HEADER)
			return craft->offset[record];
	return 0;
}

/* What END says about the records before number @record. */
static void end_payload(const struct craft *craft, unsigned int record,
			size_t offset, u8 *payload)
{
	size_t start = sequence_start(craft, record);

	store(payload, 4, next_index(craft, record));
	store(payload + 4, 4, ~crc32c(~0u, craft->data + start,
				      offset - start));
	store(payload + 8, 8, offset - start);
}

void craft_end(struct craft *craft, u32 sequence)
{
	u8 payload[16];

	end_payload(craft, craft->records, craft->len, payload);
	craft_record(craft, sequence, 3, 1, payload, sizeof(payload));
}

/* A sequence that is complete and fits the device. */
void craft_sequence(struct craft *craft, u32 sequence)
{
	craft_header(craft, sequence);
	craft_identity(craft, sequence);
	craft_backend(craft, sequence);
	craft_end(craft, sequence);
}

/* The same with chunks among the others, and behind them. */
void craft_chunked(struct craft *craft, u32 sequence)
{
	craft_header(craft, sequence);
	craft_identity(craft, sequence);
	craft_chunk(craft, sequence, 40);
	craft_backend(craft, sequence);
	craft_chunk(craft, sequence, 40);
	craft_chunk(craft, sequence, 1);
	craft_chunk(craft, sequence, 33);
	craft_end(craft, sequence);
}

/* Find the records again, after the bytes have been changed. */
void craft_scan(struct craft *craft)
{
	size_t at = 0;

	craft->records = 0;
	while (craft->records < CRAFT_RECORDS && craft->len - at >= AT_PAYLOAD) {
		size_t size = record_size(craft->data + at);

		if (size > craft->len - at)
			break;
		craft->offset[craft->records++] = at;
		at += size;
	}
}

/* Make the CRC of a record right again, after the record has been changed. */
void craft_recrc(struct craft *craft, unsigned int record)
{
	u8 *at = craft->data + craft->offset[record];

	store(at + AT_CRC, 4, record_crc(at));
}

/* Make sequence numbers and indices those of a good stream again. */
void craft_renumber(struct craft *craft)
{
	u32 sequence = 0, index = 0;

	for (unsigned int n = 0; n < craft->records; n++) {
		u8 *at = craft->data + craft->offset[n];

		if (load(at, 2) == VFIO_MIG_RECORD_HEADER) {
			u32 own = load(at + AT_SEQUENCE, 4);

			sequence = own > sequence ? own : sequence + 1;
			index = 0;
		}
		store(at + AT_SEQUENCE, 4, sequence);
		store(at + AT_INDEX, 4, index++);
	}
}

/* Make all CRCs and all that END says right again. */
void craft_reseal(struct craft *craft)
{
	for (unsigned int n = 0; n < craft->records; n++) {
		u8 *at = craft->data + craft->offset[n];

		if (load(at, 2) == VFIO_MIG_RECORD_END &&
		    load(at + AT_LENGTH, 4) == 16)
			end_payload(craft, n, craft->offset[n],
				    at + AT_PAYLOAD);
		craft_recrc(craft, n);
	}
}

static void count_chunk(struct chunks *chunks, u32 sequence, const void *payload,
			u32 length)
{
	if (!chunks->count || chunks->sequence != sequence)
		*chunks = (struct chunks){ .sequence = sequence };
	chunks->count++;
	chunks->crc = crc32c(chunks->crc, &length, sizeof(length));
	chunks->crc = crc32c(chunks->crc, payload, length);
}

/* The parser has stopped: is there a chunk? */
static const char *take_chunk(const struct mig_parser *parser)
{
	const void *payload;
	u32 length;
	u16 type;

	payload = mig_parser_chunk(parser, &type, &length);
	if (!payload != (parser->error || !parser->chunk))
		return "a chunk that is none";
	if (!payload)
		return NULL;
	if (type != CRAFT_K || length < 1 || length > 40 || parser->fill ||
	    parser->complete || ((const u8 *)payload - parser->buf) % 8)
		return "a chunk that cannot be";
	count_chunk(&chunks_fed, parser->sequence, payload, length);
	return NULL;
}

/*
 * Feed a stream in pieces of @piece bytes or, with a @seed, of any number up
 * to that. Each piece lies in memory of its own, so that a sanitizer sees a
 * parser that reads on. Returns what the parser did wrong about the protocol
 * of mig_parser_feed(), or NULL.
 */
const char *feed_pieces(struct mig_parser *parser, const u8 *data, size_t len,
			size_t piece, u32 *seed)
{
	const char *flaw = NULL;

	if (!parser->in_sequence)
		chunks_fed.count = 0;
	while (len && !flaw && !parser->error) {
		size_t bytes = seed ? fill_random(seed) % piece + 1 : piece;
		bool complete = parser->complete, ahead = parser->ahead;
		ssize_t used;
		u8 *copy;

		if (bytes > len)
			bytes = len;
		copy = malloc(bytes);
		if (!copy)
			return "no memory";
		memcpy(copy, data, bytes);
		used = mig_parser_feed(parser, copy, bytes);
		free(copy);
		flaw = take_chunk(parser);

		if (used < 0) {
			if (used != parser->error || parser->complete ||
			    !parser->reason)
				flaw = "error is not latched";
			break;
		}
		if (parser->error)
			flaw = "error is not returned";
		else if (!used || (size_t)used > bytes)
			flaw = "impossible number of bytes consumed";
		else if ((size_t)used < bytes && parser->complete == complete &&
			 parser->ahead == ahead && !parser->chunk)
			flaw = "stops for no reason";
		data += used;
		len -= used;
	}
	if (!flaw && (mig_parser_feed(parser, data, 0) != parser->error ||
		      parser->chunk))
		flaw = "no bytes make a difference";
	if (!flaw && parser->error &&
	    (mig_parser_feed(parser, "VFIO", 4) != parser->error ||
	     mig_parser_finish(parser) != parser->error))
		flaw = "error does not stay";
	return flaw;
}

/* Reads one record header; the order of the checks is the parser's. */
struct reference {
	const u8 *header;
	const u8 *identity;
	bool ahead;
	bool complete;
	u32 index;
	bool seen[4];
	const u8 *record[4];
	struct chunks chunks;
};

static int refuse_header(const struct reference *ref, const u8 *record)
{
	u16 type = load(record + AT_TYPE, 2), flags = load(record + AT_FLAGS, 2);
	u32 length = load(record + AT_LENGTH, 4);
	bool first = type == VFIO_MIG_RECORD_HEADER;
	int desc = type - CRAFT_A;

	if (!first && (!ref->header || ref->complete))
		return -EINVAL;
	if (type == 0)
		return -EINVAL;
	if (flags > 1)
		return -EOPNOTSUPP;
	if (load(record + AT_RESERVED, 4))
		return -EINVAL;
	if (first) {
		if (ref->header && load(record + AT_SEQUENCE, 4) <=
				   load(ref->header + AT_SEQUENCE, 4))
			return -EBADMSG;
		if (load(record + AT_INDEX, 4) != 0)
			return -EBADMSG;
	} else if (memcmp(record + AT_SEQUENCE, ref->header + AT_SEQUENCE, 4) ||
		   load(record + AT_INDEX, 4) != ref->index) {
		return -EBADMSG;
	}

	if (type == 1)
		return length == 32 ? 0 : -EINVAL;
	if (type == 2)
		return ref->index == 1 && length == 48 ? 0 : -EINVAL;
	if (type == 3)
		return length == 16 ? 0 : -EINVAL;
	if (type == 4)
		return ref->identity && !ref->ahead && !length ? 0 : -EINVAL;
	if (type >= 0x100 && !ref->identity)
		return -EINVAL;
	if (type == CRAFT_K)
		return length < 1 || length > 40 ? -EINVAL : 0;
	if (desc < 0 || desc > 3) {
		if (flags)
			return -EOPNOTSUPP;
		return length > 0x100000 ? -EFBIG : 0;
	}
	if (ref->seen[desc])
		return -EINVAL;
	if (length < descs[desc].min || length > descs[desc].max)
		return -EINVAL;
	return 0;
}

static int refuse_payload(const struct reference *ref, const u8 *record)
{
	static const u8 expected[] =
		"unit-test\0\0\0\0\0\0\0\0\0\0\0\x86\x80\xca\x10\xf4\x1a\x00\x11";
	const u8 *payload = record + AT_PAYLOAD;

	switch (load(record + AT_TYPE, 2)) {
	case 1:
		if (memcmp(payload, "VFIOMIGS", 8))
			return -EINVAL;
		if (load(payload + 8, 2) != 1)
			return -EOPNOTSUPP;
		if (load(payload + 12, 4))
			return -EINVAL;
		return load(payload + 16, 8) ? -EOPNOTSUPP : 0;
	case 2:
		if (memcmp(payload, expected, 16) ||
		    memcmp(payload + 20, expected + 20, 8))
			return -EINVAL;
		if (load(payload + 16, 4) > 3)
			return -EOPNOTSUPP;
		if (load(payload + 29, 3))
			return -EINVAL;
		if (load(payload + 32, 8) & ~3ull)
			return -EOPNOTSUPP;
		if (ref->identity && memcmp(payload, ref->identity, 48))
			return -EINVAL;
		return 0;
	case 3:
		if (load(payload, 4) != ref->index)
			return -EBADMSG;
		if (load(payload + 8, 8) != (u64)(record - ref->header))
			return -EBADMSG;
		if (load(payload + 4, 4) !=
		    (u32)~crc32c(~0u, ref->header, record - ref->header))
			return -EBADMSG;
		if (!ref->identity || !ref->seen[0] || !ref->seen[2])
			return -EINVAL;
		return 0;
	}
	return 0;
}

static void accept(struct reference *ref, const u8 *record)
{
	u16 type = load(record + AT_TYPE, 2);

	if (type == 1) {
		ref->header = record;
		ref->ahead = false;
		ref->complete = false;
		ref->index = 0;
		memset(ref->seen, 0, sizeof(ref->seen));
		ref->chunks = (struct chunks){
			.sequence = load(record + AT_SEQUENCE, 4),
		};
	} else if (type == CRAFT_K) {
		count_chunk(&ref->chunks, load(record + AT_SEQUENCE, 4),
			    record + AT_PAYLOAD, load(record + AT_LENGTH, 4));
	} else if (type == 2) {
		ref->identity = record + AT_PAYLOAD;
	} else if (type == 3) {
		ref->complete = true;
	} else if (type == 4) {
		ref->ahead = true;
	} else if (type >= CRAFT_A && type <= CRAFT_D) {
		ref->seen[type - CRAFT_A] = true;
		ref->record[type - CRAFT_A] = record;
	}
	ref->index++;
}

/* The second opinion: the whole stream at once, by the words of the format. */
void reference_read(const u8 *data, size_t len, struct verdict *verdict)
{
	struct reference ref = { 0 };
	bool partial = false;
	size_t at = 0;

	memset(verdict, 0, sizeof(*verdict));
	while (at < len && !verdict->error) {
		const u8 *record = data + at;
		size_t size, there, end;

		partial = true;
		if (len - at < AT_PAYLOAD)
			break;
		verdict->error = refuse_header(&ref, record);
		if (verdict->error)
			break;

		size = record_size(record);
		there = len - at < size ? len - at : size;
		end = AT_PAYLOAD + load(record + AT_LENGTH, 4);
		for (size_t i = end; i < there; i++)
			if (record[i])
				verdict->error = -EBADMSG;
		if (verdict->error || there < size)
			break;
		if (load(record + AT_CRC, 4) != record_crc(record))
			verdict->error = -EBADMSG;
		else
			verdict->error = refuse_payload(&ref, record);
		if (verdict->error)
			break;
		accept(&ref, record);
		partial = false;
		at += size;
	}

	verdict->ahead = ref.ahead && !verdict->error;
	verdict->complete = ref.complete && !verdict->error;
	verdict->chunks = ref.chunks;
	verdict->finish = verdict->error;
	if (!verdict->error && (!ref.complete || partial))
		verdict->finish = -ENODATA;
	for (int i = 0; (verdict->ahead || verdict->complete) && i < 4; i++) {
		if (!ref.seen[i])
			continue;
		verdict->payload[i] = ref.record[i] + AT_PAYLOAD;
		verdict->length[i] = load(ref.record[i] + AT_LENGTH, 4);
	}
}

/* Where the parser under test is of another opinion; NULL if nowhere. */
const char *verdict_differs(const struct verdict *verdict,
			    const struct mig_parser *parser)
{
	struct mig_parser copy = *parser;
	bool fed = chunks_fed.count && chunks_fed.sequence == parser->sequence;

	if (verdict->chunks.count != (fed ? chunks_fed.count : 0) ||
	    (fed && verdict->chunks.crc != chunks_fed.crc))
		return "other chunks";
	if (parser->error != verdict->error)
		return "another error";
	if (parser->complete != verdict->complete)
		return "another opinion on completeness";
	if (!parser->error && parser->ahead != verdict->ahead)
		return "another opinion on what was sent ahead";
	if (mig_parser_finish(&copy) != verdict->finish)
		return "another opinion on the end";
	if (verdict->finish && !copy.reason)
		return "no reason given";
	for (int i = 0; i < 4; i++) {
		u32 length;
		const u8 *payload = mig_parser_record(parser, CRAFT_A + i,
						      &length);

		if (!payload != !verdict->payload[i] ||
		    payload != mig_parser_record(parser, CRAFT_A + i, NULL))
			return "another record";
		if (!payload)
			continue;
		if (length != verdict->length[i] ||
		    memcmp(payload, verdict->payload[i], length))
			return "another payload";
	}
	return NULL;
}
