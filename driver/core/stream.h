/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Encoder and incremental parser of the device state stream. Plain C; the
 * format itself is described in uapi/vfio_pci_migration_stream.h.
 *
 * Neither allocates: both work in a buffer of the caller's, whose size is the
 * bound on what a stream can make us hold.
 */
#ifndef _MIG_STREAM_H
#define _MIG_STREAM_H

#include "plain.h"
#include "../../uapi/vfio_pci_migration_stream.h"

/* The longest record of an unknown, optional type that is read and skipped. */
#define MIG_SKIP_MAX	(1u << 20)

/* Bytes that one record with @len bytes of payload takes in a stream. */
#define MIG_RECORD_SIZE(len) \
	(sizeof(struct vfio_mig_record) + ALIGN((size_t)(len), VFIO_MIG_RECORD_ALIGN))

/* Bytes of a sequence that do not depend on the backend. */
#define MIG_STREAM_OVERHEAD				\
	(MIG_RECORD_SIZE(sizeof(struct vfio_mig_header)) +	\
	 MIG_RECORD_SIZE(sizeof(struct vfio_mig_identity)) +	\
	 MIG_RECORD_SIZE(sizeof(struct vfio_mig_end)))

/**
 * struct mig_record_desc - a record type that a backend understands
 * @type: VFIO_MIG_RECORD_BACKEND or above
 * @min: shortest valid payload in bytes
 * @max: longest valid payload in bytes
 * @mandatory: a sequence without this record is refused
 * @chunked: may occur any number of times. The parser hands each one over when
 *	it comes, see mig_parser_chunk(), and keeps none.
 *
 * Each other type may occur once in a sequence. The order is free.
 */
struct mig_record_desc {
	u16 type;
	u32 min;
	u32 max;
	bool mandatory;
	bool chunked;
};

#define MIG_RECORD_DESC_MAX	32

/**
 * struct mig_stream_self - what this device is and understands
 * @backend: name, shorter than VFIO_MIG_BACKEND_NAME_LEN
 * @state_version: version of the records that this backend writes, and the
 *	newest that it reads
 * @vendor: PCI ids as in struct vfio_mig_identity
 * @device: ditto
 * @subsystem_vendor: ditto
 * @subsystem_device: ditto
 * @revision: ditto
 * @required: backend feature bits that a stream of ours requires
 * @optional: backend feature bits that a stream of ours has besides
 * @known: backend feature bits that we can read
 * @records: the backend's record types
 * @nr_records: number of @records, at most MIG_RECORD_DESC_MAX
 */
struct mig_stream_self {
	const char *backend;
	u32 state_version;
	u16 vendor;
	u16 device;
	u16 subsystem_vendor;
	u16 subsystem_device;
	u8 revision;
	u64 required;
	u64 optional;
	u64 known;
	const struct mig_record_desc *records;
	unsigned int nr_records;
};

/**
 * struct mig_encoder - writes one sequence into a buffer
 * @buf: where the records go
 * @size: bytes in @buf
 * @used: bytes written to @buf
 * @bytes: bytes of the sequence so far, those included that were in @buf before
 *	mig_encoder_rewind()
 * @sequence: number of this sequence
 * @index: number of the next record
 * @crc: running CRC32C of these @bytes
 * @error: first error (-ENOSPC), latched; 0
 */
struct mig_encoder {
	u8 *buf;
	size_t size;
	size_t used;
	u64 bytes;
	u32 sequence;
	u32 index;
	u32 crc;
	int error;
};

u32 mig_crc_shift(size_t len);
u32 mig_crc_join(u32 crc, u32 shift, u32 next);

void mig_encoder_init(struct mig_encoder *enc, void *buf, size_t size,
		      u32 sequence);
void mig_encoder_rewind(struct mig_encoder *enc, void *buf, size_t size);
void *mig_encode_space(struct mig_encoder *enc, u32 length);
int mig_encode_record(struct mig_encoder *enc, u16 type, u16 flags,
		      const void *payload, u32 length);
int mig_encode_begin(struct mig_encoder *enc, const struct mig_stream_self *self);
int mig_encode_ahead(struct mig_encoder *enc);
int mig_encode_end(struct mig_encoder *enc);

/**
 * struct mig_parser - reads a stream that arrives in pieces of any size
 * @self: what is acceptable
 * @buf: holds the backend records of the current sequence that have been
 *	checked, and behind them the record that is arriving
 * @size: bytes in @buf
 * @staged: bytes of checked backend records in @buf
 * @fill: bytes of the arriving record that have come, its header included
 * @record: its header, once complete
 * @payload: its payload, if it is HEADER, IDENTITY or END
 * @skip: it is of an unknown, optional type: only its CRC is computed
 * @chunk: a chunk is there: see mig_parser_chunk()
 * @record_crc: CRC32C of the header of the arriving record
 * @body_crc: running CRC32C of what has come behind it, from 0
 * @sequence: number of the current sequence
 * @index: number that the arriving record must have
 * @crc: CRC32C of the sequence, without the arriving record
 * @bytes: bytes of the sequence, without the arriving record
 * @seen: bit n: self->records[n] has come
 * @in_sequence: HEADER has been seen, @sequence is valid
 * @have_identity: IDENTITY has been seen and fits
 * @identity: that IDENTITY
 * @ahead: AHEAD has been seen in this sequence
 * @complete: END has been seen and everything fits
 * @error: the verdict: first error, latched; 0
 * @reason: what was wrong, in words, when @error is set or mig_parser_finish()
 *	has failed
 * @taken: if not NULL, called when a record has been checked; @record is its
 *	header
 */
struct mig_parser {
	const struct mig_stream_self *self;
	u8 *buf;
	size_t size;
	size_t staged;
	size_t fill;
	struct vfio_mig_record record;
	union {
		struct vfio_mig_header header;
		struct vfio_mig_identity identity;
		struct vfio_mig_end end;
	} payload;
	bool skip;
	bool chunk;
	u32 record_crc;
	u32 body_crc;
	u32 sequence;
	u32 index;
	u32 crc;
	u64 bytes;
	u32 seen;
	bool in_sequence;
	bool have_identity;
	struct vfio_mig_identity identity;
	bool ahead;
	bool complete;
	int error;
	const char *reason;
	void (*taken)(struct mig_parser *parser);
};

void mig_parser_init(struct mig_parser *parser,
		     const struct mig_stream_self *self, void *buf,
		     size_t size);
ssize_t mig_parser_feed(struct mig_parser *parser, const void *data,
			size_t len);
int mig_parser_fail(struct mig_parser *parser, int error, const char *reason);
int mig_parser_finish(struct mig_parser *parser);
const void *mig_parser_record(const struct mig_parser *parser, u16 type,
			      u32 *length);
const void *mig_parser_chunk(const struct mig_parser *parser, u16 *type,
			     u32 *length);

#endif /* _MIG_STREAM_H */
