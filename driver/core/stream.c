// SPDX-License-Identifier: GPL-2.0
/*
 * Encoder and incremental parser of the device state stream. Plain C, see
 * plain.h: this file is also unit-tested and fuzzed in user space.
 *
 * What the parser reads is attacker-controlled. It believes a number only
 * after it has been compared with a bound, and acts on a record only after its
 * CRC was checked; what it holds is bounded by the caller's buffer.
 */
#include "stream.h"

static_assert(sizeof(struct vfio_mig_record) == 24, "on-wire layout");
static_assert(sizeof(struct vfio_mig_header) == 32, "on-wire layout");
static_assert(sizeof(struct vfio_mig_identity) == 48, "on-wire layout");
static_assert(sizeof(struct vfio_mig_end) == 16, "on-wire layout");

/* Zeros that follow @length bytes of payload. */
static u32 mig_padding(u32 length)
{
	return -length % VFIO_MIG_RECORD_ALIGN;
}

/* Does a record with @length bytes of payload fit into @room bytes? */
static bool mig_record_fits(u32 length, size_t room)
{
	if (room < sizeof(struct vfio_mig_record))
		return false;
	room -= sizeof(struct vfio_mig_record);
	return length <= room && mig_padding(length) <= room - length;
}

/*
 * A CRC is the remainder of a division of polynomials over GF(2). The kernel's
 * crc32c() has the coefficient of x^0 in bit 31, and that of x^31 in bit 0.
 */
#define MIG_CRC_1	0x80000000u
#define MIG_CRC_X8	0x00800000u
#define MIG_CRC_X32	0x82f63b78u	/* what x^32 leaves */

/* The product of two remainders, as a remainder. */
static u32 mig_crc_multiply(u32 a, u32 b)
{
	unsigned int bit;
	u32 product = 0;

	/* From the highest power of @b down: times x, plus what is there. */
	for (bit = 0; bit < 32; bit++) {
		product = (product >> 1) ^ (MIG_CRC_X32 & -(product & 1));
		if (b >> bit & 1)
			product ^= a;
	}
	return product;
}

/**
 * mig_crc_shift - what a number of bytes does to the CRC of what is before them
 * @len: how many bytes
 *
 * Return: x to the power of 8 * @len, for mig_crc_join().
 */
u32 mig_crc_shift(size_t len)
{
	u32 shift = MIG_CRC_1, power = MIG_CRC_X8;

	for (; len; len >>= 1) {
		if (len & 1)
			shift = mig_crc_multiply(shift, power);
		power = mig_crc_multiply(power, power);
	}
	return shift;
}

/**
 * mig_crc_join - the CRC of two parts from the CRCs of each
 * @crc: crc32c() of the first part, begun with whatever value
 * @shift: mig_crc_shift() of the length of the second
 * @next: crc32c() of the second part, begun with 0
 *
 * So that bytes which count for two CRCs, that of their record and that of
 * their sequence, are gone through once. crc32c() is linear: begun with @crc
 * it gives for the second part what it gives begun with 0, plus @crc times x
 * for each bit.
 *
 * Return: crc32c() of the second part, begun with @crc.
 */
u32 mig_crc_join(u32 crc, u32 shift, u32 next)
{
	return mig_crc_multiply(crc, shift) ^ next;
}

static void mig_identity(struct vfio_mig_identity *identity,
			 const struct mig_stream_self *self)
{
	memset(identity, 0, sizeof(*identity));
	memcpy(identity->backend, self->backend,
	       strnlen(self->backend, VFIO_MIG_BACKEND_NAME_LEN - 1));
	identity->state_version = cpu_to_le32(self->state_version);
	identity->vendor = cpu_to_le16(self->vendor);
	identity->device = cpu_to_le16(self->device);
	identity->subsystem_vendor = cpu_to_le16(self->subsystem_vendor);
	identity->subsystem_device = cpu_to_le16(self->subsystem_device);
	identity->revision = self->revision;
	identity->required = cpu_to_le64(self->required);
	identity->optional = cpu_to_le64(self->optional);
}

/**
 * mig_encoder_init - begin to write a sequence into a buffer
 * @enc: the encoder
 * @buf: where the sequence goes
 * @size: bytes in @buf
 * @sequence: number of the sequence, larger than that of the one before
 */
void mig_encoder_init(struct mig_encoder *enc, void *buf, size_t size,
		      u32 sequence)
{
	memset(enc, 0, sizeof(*enc));
	enc->buf = buf;
	enc->size = size;
	enc->sequence = sequence;
	enc->crc = ~0u;
}

/**
 * mig_encoder_rewind - go on with a sequence in an empty buffer
 * @enc: the encoder
 * @buf: where the rest of the sequence goes; what was in the buffer so far has
 *	been taken
 * @size: bytes in @buf
 */
void mig_encoder_rewind(struct mig_encoder *enc, void *buf, size_t size)
{
	enc->buf = buf;
	enc->size = size;
	enc->used = 0;
}

/**
 * mig_encode_space - where the payload of the next record will be
 * @enc: the encoder
 * @length: bytes of payload
 *
 * What is put there, and given to mig_encode_record(), need not be copied.
 *
 * Return: room for @length bytes, aligned to VFIO_MIG_RECORD_ALIGN if the buffer
 * is; or NULL if such a record does not fit, or one did not fit earlier.
 */
void *mig_encode_space(struct mig_encoder *enc, u32 length)
{
	if (enc->error || !mig_record_fits(length, enc->size - enc->used))
		return NULL;
	return enc->buf + enc->used + sizeof(struct vfio_mig_record);
}

/**
 * mig_encode_record - append a record
 * @enc: the encoder
 * @type: VFIO_MIG_RECORD_*
 * @flags: VFIO_MIG_RECORD_REQUIRED or 0
 * @payload: what the record carries; outside of the encoder's buffer, or where
 *	mig_encode_space() said
 * @length: bytes in @payload, may be 0
 *
 * Return: 0, or -ENOSPC if the record does not fit, or did not fit earlier;
 * then nothing is written.
 */
int mig_encode_record(struct mig_encoder *enc, u16 type, u16 flags,
		      const void *payload, u32 length)
{
	u32 padding = mig_padding(length);
	struct vfio_mig_record record = {
		.type = cpu_to_le16(type),
		.flags = cpu_to_le16(flags),
		.length = cpu_to_le32(length),
		.sequence = cpu_to_le32(enc->sequence),
		.index = cpu_to_le32(enc->index),
	};
	u8 *at, *body;
	u32 crc, shift;

	if (!enc->error && !mig_record_fits(length, enc->size - enc->used))
		enc->error = -ENOSPC;
	if (enc->error)
		return enc->error;

	at = enc->buf + enc->used;
	body = at + sizeof(record);
	if (length && payload != body)
		memcpy(body, payload, length);
	memset(body + length, 0, padding);

	crc = crc32c(0, body, length);
	crc = crc32c(crc, body + length, padding);
	shift = mig_crc_shift((size_t)length + padding);
	record.crc = cpu_to_le32(~mig_crc_join(crc32c(~0u, &record,
						      sizeof(record)),
					       shift, crc));
	memcpy(at, &record, sizeof(record));

	enc->crc = mig_crc_join(crc32c(enc->crc, at, sizeof(record)), shift,
				crc);
	enc->used += MIG_RECORD_SIZE(length);
	enc->bytes += MIG_RECORD_SIZE(length);
	enc->index++;
	return 0;
}

/**
 * mig_encode_begin - write HEADER and IDENTITY
 * @enc: the encoder, just initialised
 * @self: whose state this is
 *
 * Return: 0, or -ENOSPC.
 */
int mig_encode_begin(struct mig_encoder *enc, const struct mig_stream_self *self)
{
	struct vfio_mig_header header = {
		.major = cpu_to_le16(VFIO_MIG_STREAM_MAJOR),
		.minor = cpu_to_le16(VFIO_MIG_STREAM_MINOR),
	};
	struct vfio_mig_identity identity;

	memcpy(header.magic, VFIO_MIG_STREAM_MAGIC, sizeof(header.magic));
	mig_identity(&identity, self);
	mig_encode_record(enc, VFIO_MIG_RECORD_HEADER, VFIO_MIG_RECORD_REQUIRED,
			  &header, sizeof(header));
	return mig_encode_record(enc, VFIO_MIG_RECORD_IDENTITY,
				 VFIO_MIG_RECORD_REQUIRED, &identity,
				 sizeof(identity));
}

/**
 * mig_encode_ahead - write AHEAD
 * @enc: the encoder
 *
 * The records so far are what a destination can prepare itself with.
 *
 * Return: 0, or -ENOSPC.
 */
int mig_encode_ahead(struct mig_encoder *enc)
{
	return mig_encode_record(enc, VFIO_MIG_RECORD_AHEAD, 0, NULL, 0);
}

/**
 * mig_encode_end - write END
 * @enc: the encoder
 *
 * Return: 0 and the sequence is whole, or -ENOSPC if this or an earlier
 * record did not fit.
 */
int mig_encode_end(struct mig_encoder *enc)
{
	struct vfio_mig_end end = {
		.records = cpu_to_le32(enc->index),
		.crc = cpu_to_le32(~enc->crc),
		.bytes = cpu_to_le64(enc->bytes),
	};

	return mig_encode_record(enc, VFIO_MIG_RECORD_END,
				 VFIO_MIG_RECORD_REQUIRED, &end, sizeof(end));
}

/**
 * mig_parser_init - begin to read a stream
 * @parser: the parser
 * @self: what is acceptable; must live as long as @parser
 * @buf: where backend records are kept, aligned to VFIO_MIG_RECORD_ALIGN so
 *	that their payloads are, too
 * @size: bytes in @buf; the sum of MIG_RECORD_SIZE(max) of all of @self's
 *	record types is enough for every valid stream
 */
void mig_parser_init(struct mig_parser *parser,
		     const struct mig_stream_self *self, void *buf,
		     size_t size)
{
	memset(parser, 0, sizeof(*parser));
	parser->self = self;
	parser->buf = buf;
	parser->size = size;
	if (self->nr_records > MIG_RECORD_DESC_MAX)
		mig_parser_fail(parser, -EINVAL,
				"backend has too many record types");
}

/**
 * mig_parser_fail - refuse the stream
 * @parser: the parser
 * @error: -errno
 * @reason: what is wrong, a constant string
 *
 * For the parser itself and for what its caller finds wrong with a sequence
 * that is complete. Only the first call counts.
 *
 * Return: the error that is latched.
 */
int mig_parser_fail(struct mig_parser *parser, int error, const char *reason)
{
	if (!parser->error) {
		parser->error = error;
		parser->reason = reason;
	}
	parser->complete = false;
	return parser->error;
}

/* Number of the backend's record type, or nr_records if it has no such. */
static unsigned int mig_parser_desc(const struct mig_parser *parser, u16 type)
{
	const struct mig_stream_self *self = parser->self;
	unsigned int n;

	for (n = 0; n < self->nr_records; n++)
		if (self->records[n].type == type)
			break;
	return n;
}

/* Where the payload of the arriving record goes; not if it is skipped. */
static u8 *mig_parser_payload(struct mig_parser *parser)
{
	if (le16_to_cpu(parser->record.type) < VFIO_MIG_RECORD_BACKEND)
		return (u8 *)&parser->payload;
	return parser->buf + parser->staged + sizeof(parser->record);
}

static int mig_parser_check_backend(struct mig_parser *parser, unsigned int n,
				    u32 length)
{
	const struct mig_record_desc *desc = &parser->self->records[n];

	if (!desc->chunked && (parser->seen & (1u << n)))
		return mig_parser_fail(parser, -EINVAL, "duplicate record");
	if (length < desc->min)
		return mig_parser_fail(parser, -EINVAL, "record is too short");
	if (length > desc->max)
		return mig_parser_fail(parser, -EINVAL, "record is too long");
	if (!mig_record_fits(length, parser->size - parser->staged))
		return mig_parser_fail(parser, -EFBIG,
				       "no room for the record");
	return 0;
}

static int mig_parser_check_unknown(struct mig_parser *parser, u16 flags,
				    u32 length)
{
	if (flags & VFIO_MIG_RECORD_REQUIRED)
		return mig_parser_fail(parser, -EOPNOTSUPP,
				       "required record of unknown type");
	if (length > MIG_SKIP_MAX)
		return mig_parser_fail(parser, -EFBIG,
				       "record of unknown type is too long");
	parser->skip = true;
	return 0;
}

/*
 * The 24 bytes that every record begins with are there. They have not been
 * checked against the CRC yet: refuse what cannot be right, decide where the
 * payload goes, and change nothing else.
 */
static int mig_parser_check_record(struct mig_parser *parser)
{
	const struct vfio_mig_record *record = &parser->record;
	u16 type = le16_to_cpu(record->type);
	u16 flags = le16_to_cpu(record->flags);
	u32 length = le32_to_cpu(record->length);
	u32 sequence = le32_to_cpu(record->sequence);
	u32 index = le32_to_cpu(record->index);
	unsigned int n;
	u32 want;

	if (type != VFIO_MIG_RECORD_HEADER) {
		if (!parser->in_sequence)
			return mig_parser_fail(parser, -EINVAL,
					       "not a device state stream");
		if (parser->complete)
			return mig_parser_fail(parser, -EINVAL,
					       "data after END");
	}
	if (!type)
		return mig_parser_fail(parser, -EINVAL, "record without type");
	if (flags & ~VFIO_MIG_RECORD_REQUIRED)
		return mig_parser_fail(parser, -EOPNOTSUPP,
				       "unknown record flag");
	if (record->reserved)
		return mig_parser_fail(parser, -EINVAL,
				       "reserved field of a record is not 0");

	if (type == VFIO_MIG_RECORD_HEADER) {
		if (parser->in_sequence && sequence <= parser->sequence)
			return mig_parser_fail(parser, -EBADMSG,
					       "sequence number does not grow");
		if (index)
			return mig_parser_fail(parser, -EBADMSG,
					       "record out of order");
	} else {
		if (sequence != parser->sequence)
			return mig_parser_fail(parser, -EBADMSG,
					       "record of another sequence");
		if (index != parser->index)
			return mig_parser_fail(parser, -EBADMSG,
					       "record out of order");
	}

	switch (type) {
	case VFIO_MIG_RECORD_HEADER:
		want = sizeof(struct vfio_mig_header);
		break;
	case VFIO_MIG_RECORD_IDENTITY:
		if (index != 1)
			return mig_parser_fail(parser, -EINVAL,
					       "IDENTITY not next to HEADER");
		want = sizeof(struct vfio_mig_identity);
		break;
	case VFIO_MIG_RECORD_END:
		want = sizeof(struct vfio_mig_end);
		break;
	case VFIO_MIG_RECORD_AHEAD:
		if (!parser->have_identity)
			return mig_parser_fail(parser, -EINVAL,
					       "AHEAD before IDENTITY");
		if (parser->ahead)
			return mig_parser_fail(parser, -EINVAL,
					       "duplicate record");
		want = 0;
		break;
	default:
		if (type < VFIO_MIG_RECORD_BACKEND)
			return mig_parser_check_unknown(parser, flags, length);
		if (!parser->have_identity)
			return mig_parser_fail(parser, -EINVAL,
					       "device state before IDENTITY");
		n = mig_parser_desc(parser, type);
		if (n == parser->self->nr_records)
			return mig_parser_check_unknown(parser, flags, length);
		return mig_parser_check_backend(parser, n, length);
	}
	if (length != want)
		return mig_parser_fail(parser, -EINVAL,
				       "HEADER, IDENTITY, AHEAD or END of wrong size");
	return 0;
}

static int mig_parser_do_header(struct mig_parser *parser)
{
	const struct vfio_mig_header *header = &parser->payload.header;

	if (memcmp(header->magic, VFIO_MIG_STREAM_MAGIC, sizeof(header->magic)))
		return mig_parser_fail(parser, -EINVAL,
				       "not a device state stream");
	if (le16_to_cpu(header->major) != VFIO_MIG_STREAM_MAJOR)
		return mig_parser_fail(parser, -EOPNOTSUPP,
				       "unknown version of the stream format");
	if (header->reserved)
		return mig_parser_fail(parser, -EINVAL,
				       "reserved field of HEADER is not 0");
	if (header->required)
		return mig_parser_fail(parser, -EOPNOTSUPP,
				       "unknown feature of the stream format");

	parser->sequence = le32_to_cpu(parser->record.sequence);
	parser->index = 0;
	parser->staged = 0;
	parser->seen = 0;
	parser->in_sequence = true;
	parser->ahead = false;
	parser->complete = false;
	return 0;
}

static int mig_parser_do_identity(struct mig_parser *parser)
{
	const struct mig_stream_self *self = parser->self;
	const struct vfio_mig_identity *it = &parser->payload.identity;
	struct vfio_mig_identity own;

	mig_identity(&own, self);
	if (memcmp(it->backend, own.backend, sizeof(own.backend)))
		return mig_parser_fail(parser, -EINVAL,
				       "state of another kind of device");
	if (it->vendor != own.vendor)
		return mig_parser_fail(parser, -EINVAL,
				       "state of another PCI vendor's device");
	if (it->device != own.device)
		return mig_parser_fail(parser, -EINVAL,
				       "state of another PCI device id");
	if (it->subsystem_vendor != own.subsystem_vendor)
		return mig_parser_fail(parser, -EINVAL,
				       "state of another PCI subsystem vendor");
	if (it->subsystem_device != own.subsystem_device)
		return mig_parser_fail(parser, -EINVAL,
				       "state of another PCI subsystem id");
	if (le32_to_cpu(it->state_version) > self->state_version)
		return mig_parser_fail(parser, -EOPNOTSUPP,
				       "state is of a newer version");
	if (memcmp(it->reserved, own.reserved, sizeof(own.reserved)))
		return mig_parser_fail(parser, -EINVAL,
				       "reserved field of IDENTITY is not 0");
	if (le64_to_cpu(it->required) & ~self->known)
		return mig_parser_fail(parser, -EOPNOTSUPP,
				       "unknown feature of the device state");
	if (parser->have_identity &&
	    memcmp(it, &parser->identity, sizeof(*it)))
		return mig_parser_fail(parser, -EINVAL,
				       "IDENTITY has changed");

	parser->identity = *it;
	parser->have_identity = true;
	return 0;
}

static int mig_parser_do_end(struct mig_parser *parser)
{
	const struct mig_stream_self *self = parser->self;
	const struct vfio_mig_end *end = &parser->payload.end;
	unsigned int n;

	if (le32_to_cpu(end->records) != parser->index)
		return mig_parser_fail(parser, -EBADMSG,
				       "number of records does not match END");
	if (le64_to_cpu(end->bytes) != parser->bytes)
		return mig_parser_fail(parser, -EBADMSG,
				       "number of bytes does not match END");
	if (le32_to_cpu(end->crc) != ~parser->crc)
		return mig_parser_fail(parser, -EBADMSG,
				       "sequence CRC mismatch");
	if (!parser->have_identity)
		return mig_parser_fail(parser, -EINVAL, "no IDENTITY");
	for (n = 0; n < self->nr_records; n++)
		if (self->records[n].mandatory && !(parser->seen & (1u << n)))
			return mig_parser_fail(parser, -EINVAL,
					       "a mandatory record is missing");

	parser->complete = true;
	return 0;
}

/*
 * A chunk is for the caller, now. Anything else is kept, with its header, so that
 * it can be found again.
 */
static void mig_parser_stage(struct mig_parser *parser)
{
	unsigned int n = mig_parser_desc(parser,
					 le16_to_cpu(parser->record.type));

	parser->seen |= 1u << n;
	parser->chunk = parser->self->records[n].chunked;
	if (parser->chunk)
		return;
	memcpy(parser->buf + parser->staged, &parser->record,
	       sizeof(parser->record));
	parser->staged += parser->fill;
}

/*
 * The CRC of the arriving record; and count in what END must match: all that
 * comes before it. Return: is the record as it was sent?
 */
static bool mig_parser_account(struct mig_parser *parser)
{
	size_t body = parser->fill - sizeof(parser->record);
	u32 shift = mig_crc_shift(body);

	if (le32_to_cpu(parser->record.crc) !=
	    ~mig_crc_join(parser->record_crc, shift, parser->body_crc))
		return false;
	if (le16_to_cpu(parser->record.type) == VFIO_MIG_RECORD_END)
		return true;
	if (le16_to_cpu(parser->record.type) == VFIO_MIG_RECORD_HEADER) {
		parser->crc = ~0u;
		parser->bytes = 0;
	}
	parser->crc = mig_crc_join(crc32c(parser->crc, &parser->record,
					  sizeof(parser->record)),
				   shift, parser->body_crc);
	parser->bytes += parser->fill;
	return true;
}

/* The arriving record is there to the last byte. */
static int mig_parser_do_record(struct mig_parser *parser)
{
	int ret = 0;

	if (!mig_parser_account(parser))
		return mig_parser_fail(parser, -EBADMSG, "record CRC mismatch");

	switch (le16_to_cpu(parser->record.type)) {
	case VFIO_MIG_RECORD_HEADER:
		ret = mig_parser_do_header(parser);
		break;
	case VFIO_MIG_RECORD_IDENTITY:
		ret = mig_parser_do_identity(parser);
		break;
	case VFIO_MIG_RECORD_END:
		ret = mig_parser_do_end(parser);
		break;
	case VFIO_MIG_RECORD_AHEAD:
		parser->ahead = true;
		break;
	default:
		if (!parser->skip)
			mig_parser_stage(parser);
		break;
	}
	if (ret)
		return ret;
	if (parser->taken)
		parser->taken(parser);

	parser->fill = 0;
	parser->skip = false;
	parser->index++;
	if (!parser->index)
		return mig_parser_fail(parser, -EFBIG, "too many records");
	return 0;
}

/* Take what belongs to the header of the arriving record. */
static size_t mig_parser_take_header(struct mig_parser *parser, const u8 *data,
				     size_t len)
{
	struct vfio_mig_record record;

	len = min_t(size_t, len, sizeof(record) - parser->fill);
	memcpy((u8 *)&parser->record + parser->fill, data, len);
	parser->fill += len;
	if (parser->fill < sizeof(record) || mig_parser_check_record(parser))
		return len;

	record = parser->record;
	record.crc = 0;
	parser->record_crc = crc32c(~0u, &record, sizeof(record));
	parser->body_crc = 0;
	return len;
}

/* Take what belongs to its payload, or to the padding behind that. */
static size_t mig_parser_take_body(struct mig_parser *parser, const u8 *data,
				   size_t len)
{
	u32 length = le32_to_cpu(parser->record.length);
	size_t done = parser->fill - sizeof(parser->record);
	size_t i;

	if (done < length) {
		len = min_t(size_t, len, length - done);
	} else {
		len = min_t(size_t, len,
			    MIG_RECORD_SIZE(length) - parser->fill);
		for (i = 0; i < len; i++) {
			if (data[i]) {
				mig_parser_fail(parser, -EBADMSG,
						"padding is not 0");
				return len;
			}
		}
	}

	if (!parser->skip)
		memcpy(mig_parser_payload(parser) + done, data, len);
	parser->body_crc = crc32c(parser->body_crc, data, len);
	parser->fill += len;
	return len;
}

/* Is the arriving record there to the last byte? */
static bool mig_parser_record_here(const struct mig_parser *parser)
{
	u32 length = le32_to_cpu(parser->record.length);

	return parser->fill >= sizeof(parser->record) &&
	       parser->fill == MIG_RECORD_SIZE(length);
}

/**
 * mig_parser_feed - read the next bytes of the stream
 * @parser: the parser
 * @data: the bytes
 * @len: how many
 *
 * Stops behind AHEAD, behind an END that makes a sequence complete, and behind
 * the HEADER that follows one of both: a caller that looks at @parser->ahead
 * and @parser->complete after each call misses none. Stops behind each chunk, too,
 * which is there until the next call: see mig_parser_chunk(). How the stream is
 * cut into calls makes no other difference.
 *
 * Return: number of bytes consumed, not 0 unless @len is; or the error that
 * is latched.
 */
ssize_t mig_parser_feed(struct mig_parser *parser, const void *data,
			size_t len)
{
	bool complete = parser->complete, ahead = parser->ahead;
	const u8 *from = data;
	size_t used = 0;

	parser->chunk = false;
	while (!parser->error && used < len && !parser->chunk &&
	       parser->complete == complete && parser->ahead == ahead) {
		if (parser->fill < sizeof(parser->record))
			used += mig_parser_take_header(parser, from + used,
						       len - used);
		else
			used += mig_parser_take_body(parser, from + used,
						     len - used);
		if (!parser->error && mig_parser_record_here(parser))
			mig_parser_do_record(parser);
	}
	return parser->error ? parser->error : (ssize_t)used;
}

/**
 * mig_parser_finish - has the stream come to a good end?
 * @parser: the parser
 *
 * To ask too early is not held against the stream: it may go on. Then
 * @parser->reason says where it stands, but nothing is latched.
 *
 * Return: 0 if the last byte was the last one of a complete sequence; the
 * error that is latched; or -ENODATA if the stream is truncated.
 */
int mig_parser_finish(struct mig_parser *parser)
{
	if (parser->error)
		return parser->error;

	if (parser->fill)
		parser->reason = "truncated within a record";
	else if (!parser->in_sequence)
		parser->reason = "truncated before it began";
	else if (!parser->complete)
		parser->reason = "truncated before END";
	else
		return 0;
	return -ENODATA;
}

/**
 * mig_parser_record - find a record in a sequence
 * @parser: the parser
 * @type: type of the record
 * @length: receives the length of the payload; NULL if it is of no interest,
 *	because the type has only one
 *
 * Return: the payload, aligned to VFIO_MIG_RECORD_ALIGN; or NULL if the
 * sequence does not have this record, or neither AHEAD nor END has come.
 */
const void *mig_parser_record(const struct mig_parser *parser, u16 type,
			      u32 *length)
{
	struct vfio_mig_record record;
	size_t at = 0;

	if (parser->error || (!parser->complete && !parser->ahead))
		return NULL;

	while (at < parser->staged) {
		memcpy(&record, parser->buf + at, sizeof(record));
		if (le16_to_cpu(record.type) == type) {
			if (length)
				*length = le32_to_cpu(record.length);
			return parser->buf + at + sizeof(record);
		}
		at += MIG_RECORD_SIZE(le32_to_cpu(record.length));
	}
	return NULL;
}

/**
 * mig_parser_chunk - the chunk that mig_parser_feed() has stopped behind
 * @parser: the parser
 * @type: receives its type
 * @length: receives the length of its payload
 *
 * Its sequence may still turn out to be bad, or not to be complete: what is done
 * with the chunk must be undone then.
 *
 * Return: the payload, aligned to VFIO_MIG_RECORD_ALIGN, until the next call of
 * mig_parser_feed(); or NULL if that has not stopped behind a chunk.
 */
const void *mig_parser_chunk(const struct mig_parser *parser, u16 *type,
			     u32 *length)
{
	if (!parser->chunk || parser->error)
		return NULL;
	*type = le16_to_cpu(parser->record.type);
	*length = le32_to_cpu(parser->record.length);
	return parser->buf + parser->staged + sizeof(parser->record);
}
