// SPDX-License-Identifier: GPL-2.0
/* Encoder and parser of the device state stream. */
#include <stdlib.h>

#include "craft.h"
#include "tap.h"

/* A parser with room of exactly the size needed, in memory of its own. */
struct trial {
	struct mig_parser parser;
	u8 *room;
};

/* Memory of just this size, so that a sanitizer sees its end. */
static void *alloc(size_t size)
{
	void *memory = malloc(size ? size : 1);

	if (!memory) {
		printf("Bail out! no memory\n");
		exit(1);
	}
	return memory;
}

static void trial_begin(struct trial *trial, size_t room)
{
	trial->room = alloc(room);
	mig_parser_init(&trial->parser, &craft_self, trial->room, room);
}

static void trial_end(struct trial *trial)
{
	free(trial->room);
}

/* Read a stream in pieces; what is not as the reference has it, or NULL. */
static const char *read_pieces(const u8 *data, size_t len, size_t piece,
			       u32 *seed, const struct verdict *verdict)
{
	struct trial trial;
	const char *flaw;

	trial_begin(&trial, CRAFT_ROOM);
	flaw = feed_pieces(&trial.parser, data, len, piece, seed);
	if (!flaw)
		flaw = verdict_differs(verdict, &trial.parser);
	trial_end(&trial);
	return flaw;
}

/* One test point: the stream must be refused with this error and reason. */
static void refused(const struct craft *craft, int error, const char *reason,
		    const char *what)
{
	struct verdict verdict;
	const char *flaw;
	struct trial trial;
	u32 length;

	reference_read(craft->data, craft->len, &verdict);
	trial_begin(&trial, CRAFT_ROOM);
	flaw = feed_pieces(&trial.parser, craft->data, craft->len, craft->len,
			   NULL);
	if (!flaw && (trial.parser.error != error ||
		      mig_parser_finish(&trial.parser) != error))
		flaw = "another error";
	if (!flaw && strcmp(trial.parser.reason, reason))
		flaw = "another reason";
	if (!flaw && (trial.parser.complete ||
		      mig_parser_record(&trial.parser, CRAFT_A, &length)))
		flaw = "complete nevertheless";
	if (!flaw)
		flaw = verdict_differs(&verdict, &trial.parser);
	if (!flaw)
		flaw = read_pieces(craft->data, craft->len, 1, NULL, &verdict);
	if (!ok(!flaw, "refused: %s%s%s", what, flaw ? ": " : "",
		flaw ? flaw : ""))
		diag("got %d \"%s\", want %d \"%s\"", trial.parser.error,
		     trial.parser.reason ? trial.parser.reason : "", error,
		     reason);
	trial_end(&trial);
}

/* One test point: the stream must be accepted, and end in @sequence. */
static void accepted(const struct craft *craft, u32 sequence, const char *what)
{
	struct verdict verdict;
	struct trial trial;
	const char *flaw;

	reference_read(craft->data, craft->len, &verdict);
	trial_begin(&trial, CRAFT_ROOM);
	flaw = feed_pieces(&trial.parser, craft->data, craft->len, craft->len,
			   NULL);
	if (!flaw && (trial.parser.error || !trial.parser.complete ||
		      mig_parser_finish(&trial.parser)))
		flaw = "refused";
	if (!flaw && trial.parser.sequence != sequence)
		flaw = "another sequence";
	if (!flaw)
		flaw = verdict_differs(&verdict, &trial.parser);
	if (!flaw)
		flaw = read_pieces(craft->data, craft->len, 1, NULL, &verdict);
	if (!ok(!flaw, "accepted: %s%s%s", what, flaw ? ": " : "",
		flaw ? flaw : ""))
		diag("got %d \"%s\"", trial.parser.error,
		     trial.parser.reason ? trial.parser.reason : "");
	trial_end(&trial);
}

/* A stream for one test; its records are found by number. */
static struct craft *fresh(void)
{
	static struct craft craft;

	craft.len = 0;
	craft.records = 0;
	return &craft;
}

static struct craft *fresh_sequence(void)
{
	struct craft *craft = fresh();

	craft_sequence(craft, 5);
	return craft;
}

/* The records of fresh_sequence(). */
enum { HEADER, IDENTITY, A, B, C, D, END };

static u8 *at(struct craft *craft, unsigned int record, size_t offset)
{
	return craft->data + craft->offset[record] + offset;
}

/* The stream of the tests with one field changed and everything else right. */
static struct craft *changed(unsigned int record, size_t offset,
			     unsigned int bytes, u64 value)
{
	struct craft *craft = fresh_sequence();

	store(at(craft, record, offset), bytes, value);
	craft_reseal(craft);
	return craft;
}

static void test_crc(void)
{
	ok(~crc32c(~0u, "123456789", 9) == 0xe3069283,
	   "CRC32C of the check string");
	ok(crc32c(crc32c(~0u, "1234", 4), "56789", 5) ==
	   crc32c(~0u, "123456789", 9), "CRC32C goes on where it stopped");
}

static void test_crc_join(void)
{
	static u8 data[70000];
	bool good = true;
	u32 seed = 12345;
	size_t len;

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = fill_random(&seed);
	for (len = 0; len <= sizeof(data) && good;
	     len += len < 520 ? 1 : fill_random(&seed) % 9000) {
		u32 first = fill_random(&seed);

		good = mig_crc_join(first, mig_crc_shift(len),
				    crc32c(0, data, len)) ==
		       crc32c(first, data, len);
	}
	ok(good && len > 520, "CRC32C from those of the parts, begun with any");
	ok(mig_crc_shift(0) == 0x80000000 && mig_crc_join(~0u, 0x80000000, 0) ==
	   ~0u, "nothing behind makes no difference");

	/* Zeros: multiplying does what going through them does. */
	good = true;
	for (int bit = 0; bit < 32; bit++) {
		u8 zeros[33] = { 0 };

		for (len = 0; len <= sizeof(zeros); len++)
			good &= mig_crc_join(1u << bit, mig_crc_shift(len), 0) ==
				crc32c(1u << bit, zeros, len);
	}
	ok(good, "each bit of a CRC goes where zeros behind would move it");
	ok(mig_crc_shift(1ull << 33) ==
	   mig_crc_join(mig_crc_shift(1ull << 32), mig_crc_shift(1ull << 32), 0),
	   "longer than 32 bits can say");
}

static int encode_all(struct mig_encoder *enc, void *buf, size_t size,
		      const struct craft *like)
{
	mig_encoder_init(enc, buf, size, 5);
	mig_encode_begin(enc, &craft_self);
	for (unsigned int n = A; n <= D; n++) {
		const u8 *record = like->data + like->offset[n];
		u32 length = load(record + AT_LENGTH, 4);

		mig_encode_record(enc, load(record + AT_TYPE, 2),
				  load(record + AT_FLAGS, 2),
				  length ? record + AT_PAYLOAD : NULL, length);
	}
	return mig_encode_end(enc);
}

static void test_encoder(void)
{
	struct craft *craft = fresh_sequence();
	bool enospc = true, bounded = true, prefix = true, latched = true;
	struct mig_stream_self self = craft_self;
	struct mig_encoder enc;
	u8 *buf;

	buf = alloc(craft->len);
	ok(!encode_all(&enc, buf, craft->len, craft) && !enc.error &&
	   enc.used == craft->len && !memcmp(buf, craft->data, craft->len),
	   "a sequence as made by hand, in a buffer of just its size");
	ok(enc.index == END + 1 && enc.sequence == 5, "END is counted, too");
	ok(mig_encode_record(&enc, CRAFT_D, 0, NULL, 0) == -ENOSPC &&
	   enc.used == craft->len, "nothing goes behind the end of the buffer");
	free(buf);

	for (size_t size = 0; size < craft->len; size++) {
		size_t used;

		buf = alloc(size);
		enospc &= encode_all(&enc, buf, size, craft) == -ENOSPC;
		enospc &= enc.error == -ENOSPC;
		bounded &= enc.used <= size;
		prefix &= !memcmp(buf, craft->data, enc.used);
		used = enc.used;
		latched &= mig_encode_record(&enc, CRAFT_D, 0, NULL, 0) ==
			   -ENOSPC && enc.used == used;
		free(buf);
	}
	ok(enospc, "ENOSPC in each buffer that is too small");
	ok(bounded && prefix, "what fits before that is as it should be");
	ok(latched, "ENOSPC is latched");

	buf = alloc(64);
	mig_encoder_init(&enc, buf, 64, 1);
	ok(mig_encode_record(&enc, CRAFT_A, 0, buf, ~0u) == -ENOSPC &&
	   !enc.used, "ENOSPC for the longest payload there can be");
	mig_encoder_init(&enc, buf, 64, 1);
	ok(mig_encode_record(&enc, CRAFT_A, 0, craft->data, 41) == -ENOSPC &&
	   mig_encode_record(&enc, CRAFT_A, 0, craft->data, 1) == -ENOSPC &&
	   !enc.used,
	   "ENOSPC if only the padding does not fit");
	free(buf);

	buf = alloc(HEADER_SIZE + IDENTITY_SIZE);
	self.backend = "fifteen-letters";
	mig_encoder_init(&enc, buf, HEADER_SIZE + IDENTITY_SIZE, 1);
	ok(!mig_encode_begin(&enc, &self) &&
	   !memcmp(buf + HEADER_SIZE + AT_PAYLOAD, "fifteen-letters", 16),
	   "the longest name that a backend may have");
	self.backend = "sixteen-letters-";
	mig_encoder_init(&enc, buf, HEADER_SIZE + IDENTITY_SIZE, 1);
	ok(!mig_encode_begin(&enc, &self) &&
	   !memcmp(buf + HEADER_SIZE + AT_PAYLOAD, "sixteen-letters", 16),
	   "a name that is too long stays in its field");
	free(buf);
}

static void test_round_trip(void)
{
	struct craft *craft = fresh_sequence();
	u8 buf[1024] __attribute__((aligned(8)));
	const u8 *payload;
	struct mig_encoder enc;
	struct trial trial;
	ssize_t used;
	u32 length;

	encode_all(&enc, buf, sizeof(buf), craft);
	trial_begin(&trial, CRAFT_ROOM);
	used = mig_parser_feed(&trial.parser, buf, enc.used);
	ok(used == (ssize_t)enc.used && trial.parser.complete &&
	   !mig_parser_finish(&trial.parser), "what is encoded can be read");
	for (unsigned int n = A; n <= D; n++) {
		const u8 *record = at(craft, n, 0);

		payload = mig_parser_record(&trial.parser, load(record, 2),
					    &length);
		ok(payload && length == load(record + AT_LENGTH, 4) &&
		   !memcmp(payload, record + AT_PAYLOAD, length) &&
		   !((payload - trial.room) % 8),
		   "record %#x comes through", (unsigned int)load(record, 2));
	}
	ok(!mig_parser_record(&trial.parser, VFIO_MIG_RECORD_HEADER, &length),
	   "HEADER is not a backend's record");
	ok(!mig_parser_record(&trial.parser, 0x104, &length),
	   "no record of a type that did not come");
	ok(le32_to_cpu(trial.parser.identity.state_version) == 3 &&
	   trial.parser.identity.revision == 7, "IDENTITY can be looked at");
	trial_end(&trial);

	craft = fresh();
	craft_header(craft, 5);
	craft_identity(craft, 5);
	craft_record(craft, 5, CRAFT_C, 0, "c", 1);
	craft_record(craft, 5, CRAFT_A, 0, "aaaaaaaa", 8);
	craft_end(craft, 5);
	accepted(craft, 5, "records in another order, two left out");
}

static void test_pieces(void)
{
	struct craft *craft = fresh_sequence();
	const char *flaw = NULL;
	struct verdict verdict;
	u32 seed = 1;
	size_t i;

	reference_read(craft->data, craft->len, &verdict);
	for (i = 1; i < craft->len && !flaw; i++) {
		struct trial trial;

		trial_begin(&trial, CRAFT_ROOM);
		flaw = feed_pieces(&trial.parser, craft->data, i, i, NULL);
		if (!flaw && trial.parser.complete)
			flaw = "complete too early";
		if (!flaw)
			flaw = feed_pieces(&trial.parser, craft->data + i,
					   craft->len - i, craft->len, NULL);
		if (!flaw)
			flaw = verdict_differs(&verdict, &trial.parser);
		trial_end(&trial);
	}
	ok(!flaw, "cut in two at each of %zu places%s%s", craft->len - 1,
	   flaw ? ": " : "", flaw ? flaw : "");

	flaw = NULL;
	for (i = 1; i <= craft->len && !flaw; i++)
		flaw = read_pieces(craft->data, craft->len, i, NULL, &verdict);
	ok(!flaw, "in pieces of 1 byte, 2 bytes and so on%s%s",
	   flaw ? ": " : "", flaw ? flaw : "");

	craft_sequence(craft, 6);
	craft_sequence(craft, 9);
	reference_read(craft->data, craft->len, &verdict);
	flaw = NULL;
	for (i = 0; i < 1000 && !flaw; i++)
		flaw = read_pieces(craft->data, craft->len, i % 97 + 1, &seed,
				   &verdict);
	ok(!flaw, "three sequences in pieces of random size%s%s",
	   flaw ? ": " : "", flaw ? flaw : "");
}

static void test_damage(void)
{
	struct craft *craft = fresh_sequence();
	size_t survived = 0, differs = 0, waits = 0, early = 0, at_end = 0;
	struct verdict verdict;
	struct trial trial;

	for (size_t bit = 0; bit < craft->len * 8; bit++) {
		craft->data[bit / 8] ^= 1 << bit % 8;
		reference_read(craft->data, craft->len, &verdict);
		trial_begin(&trial, CRAFT_ROOM);
		differs += !!feed_pieces(&trial.parser, craft->data, craft->len,
					 craft->len, NULL);
		survived += trial.parser.complete ||
			    !mig_parser_finish(&trial.parser);
		waits += !trial.parser.error;
		differs += !!verdict_differs(&verdict, &trial.parser);
		trial_end(&trial);
		craft->data[bit / 8] ^= 1 << bit % 8;
	}
	ok(!survived, "none of %zu bits can flip unnoticed", craft->len * 8);
	ok(!differs, "flipped bits: as the reference has it");
	ok(!waits, "flipped bits: each is an error, not a wait for more");

	survived = 0;
	for (size_t i = 0; i < craft->len; i++) {
		u8 old = craft->data[i];

		for (int value = 0; value < 256; value++) {
			if (value == old)
				continue;
			craft->data[i] = value;
			trial_begin(&trial, CRAFT_ROOM);
			feed_pieces(&trial.parser, craft->data, craft->len,
				    craft->len, NULL);
			survived += trial.parser.complete ||
				    !mig_parser_finish(&trial.parser);
			trial_end(&trial);
		}
		craft->data[i] = old;
	}
	ok(!survived, "no byte can have any other value");

	survived = 0;
	for (size_t len = 0; len < craft->len; len++) {
		trial_begin(&trial, CRAFT_ROOM);
		feed_pieces(&trial.parser, craft->data, len, craft->len, NULL);
		early += trial.parser.complete;
		survived += mig_parser_finish(&trial.parser) != -ENODATA;
		at_end += !trial.parser.reason ||
			  strncmp(trial.parser.reason, "truncated ", 10);
		survived += trial.parser.error != 0;
		/* To have asked is not held against the stream. */
		feed_pieces(&trial.parser, craft->data + len, craft->len - len,
			    craft->len, NULL);
		survived += mig_parser_finish(&trial.parser) != 0;
		trial_end(&trial);
	}
	ok(!early, "no truncated stream is complete");
	ok(!survived, "each truncated stream is ENODATA until the rest comes");
	ok(!at_end, "each says that it is truncated");
}

/*
 * Bits of HEADER and IDENTITY that may change if all CRCs are made to match:
 * everything else must be refused for what it says.
 */
static void test_forged(void)
{
	static const struct {
		unsigned int record;
		size_t offset;
		u64 free;	/* bits of the 8 bytes at offset */
	} may[] = {
		{ HEADER, AT_TYPE, 0x10000 },			/* REQUIRED */
		{ HEADER, AT_PAYLOAD + 8, 0xffff0000 },		/* minor */
		{ HEADER, AT_PAYLOAD + 24, ~0ull },		/* optional */
		{ HEADER, AT_CRC, 0xffffffff },			/* made right */
		{ IDENTITY, AT_TYPE, 0x10000 },
		{ IDENTITY, AT_CRC, 0xffffffff },
		{ IDENTITY, AT_PAYLOAD + 16, 3 },		/* older version */
		{ IDENTITY, AT_PAYLOAD + 24, 0xff00000000 },	/* revision */
		{ IDENTITY, AT_PAYLOAD + 32, 3 },		/* known */
		{ IDENTITY, AT_PAYLOAD + 40, ~0ull },		/* optional */
	};
	struct craft *craft = fresh_sequence();
	static u8 good[CRAFT_MAX];
	size_t wrong = 0, bit, len = craft->len;
	struct trial trial;

	memcpy(good, craft->data, len);
	for (bit = 0; bit < (HEADER_SIZE + IDENTITY_SIZE) * 8; bit++) {
		size_t record = bit / 8 < HEADER_SIZE ? HEADER : IDENTITY;
		size_t field = bit / 8 - craft->offset[record];
		bool free_bit = false;

		for (size_t i = 0; i < ARRAY_SIZE(may); i++) {
			size_t first = (craft->offset[may[i].record] +
					may[i].offset) * 8;

			if (bit >= first && bit < first + 64)
				free_bit |= may[i].free >> (bit - first) & 1;
		}
		memcpy(craft->data, good, len);
		craft->data[bit / 8] ^= 1 << bit % 8;
		/* Another length leads elsewhere, that cannot be sealed. */
		if (field < AT_LENGTH || field >= AT_SEQUENCE)
			craft_reseal(craft);

		trial_begin(&trial, CRAFT_ROOM);
		feed_pieces(&trial.parser, craft->data, len, len, NULL);
		if (trial.parser.complete != free_bit) {
			wrong++;
			diag("bit %zu of byte %zu", bit % 8, bit / 8);
		}
		trial_end(&trial);
	}
	ok(!wrong, "bits of HEADER and IDENTITY, forged with good CRCs");
}

static void test_header(void)
{
	struct craft *craft;
	struct trial trial;
	u8 garbage[24];
	int early = 0;

	craft = fresh();
	craft_identity(craft, 5);
	refused(craft, -EINVAL, "not a device state stream",
		"a stream that begins with IDENTITY");
	craft = fresh();
	craft_record(craft, 5, 5, 0, "optional", 8);
	refused(craft, -EINVAL, "not a device state stream",
		"a stream that begins with an optional record");

	memset(garbage, 'x', sizeof(garbage));
	trial_begin(&trial, CRAFT_ROOM);
	early = mig_parser_feed(&trial.parser, garbage, 23) != 23;
	ok(!early && mig_parser_feed(&trial.parser, garbage, 1) == -EINVAL,
	   "garbage is refused at its 24th byte");
	trial_end(&trial);
	trial_begin(&trial, CRAFT_ROOM);
	memset(garbage, 0, sizeof(garbage));
	ok(mig_parser_feed(&trial.parser, garbage, 24) == -EINVAL,
	   "zeros are refused at their 24th byte");
	trial_end(&trial);

	refused(changed(HEADER, AT_PAYLOAD, 1, 'v'), -EINVAL,
		"not a device state stream", "another magic");
	refused(changed(HEADER, AT_PAYLOAD + 8, 2, 2), -EOPNOTSUPP,
		"unknown version of the stream format", "next major version");
	refused(changed(HEADER, AT_PAYLOAD + 8, 2, 0), -EOPNOTSUPP,
		"unknown version of the stream format", "major version 0");
	accepted(changed(HEADER, AT_PAYLOAD + 10, 2, 1), 5,
		 "next minor version");
	refused(changed(HEADER, AT_PAYLOAD + 12, 4, 1), -EINVAL,
		"reserved field of HEADER is not 0", "reserved in HEADER");
	refused(changed(HEADER, AT_PAYLOAD + 16, 8, 1), -EOPNOTSUPP,
		"unknown feature of the stream format", "required feature 0");
	refused(changed(HEADER, AT_PAYLOAD + 16, 8, 1ull << 63), -EOPNOTSUPP,
		"unknown feature of the stream format", "required feature 63");
	accepted(changed(HEADER, AT_PAYLOAD + 24, 8, ~0ull), 5,
		 "all optional features");

	craft = fresh();
	craft_record(craft, 5, 1, 1, "VFIOMIGS\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
		     24);
	refused(craft, -EINVAL, "HEADER, IDENTITY, AHEAD or END of wrong size",
		"HEADER that is too short");
	craft = fresh();
	craft_record(craft, 5, 1, 1, garbage, 0);
	refused(craft, -EINVAL, "HEADER, IDENTITY, AHEAD or END of wrong size",
		"HEADER without payload");
}

static void test_record(void)
{
	struct craft *craft;
	u8 zeros[80] = { 0 };

	for (unsigned int bit = 1; bit < 16; bit++) {
		char what[40];

		snprintf(what, sizeof(what), "flag bit %u", bit);
		refused(changed(B, AT_FLAGS, 2, 1 << bit), -EOPNOTSUPP,
			"unknown record flag", what);
	}
	refused(changed(B, AT_RESERVED, 4, 1u << 31), -EINVAL,
		"reserved field of a record is not 0", "reserved in a record");
	refused(changed(B, AT_TYPE, 2, 0), -EINVAL, "record without type",
		"type 0");
	refused(changed(B, AT_SEQUENCE, 4, 4), -EBADMSG,
		"record of another sequence", "record of an earlier sequence");
	refused(changed(B, AT_SEQUENCE, 4, 6), -EBADMSG,
		"record of another sequence", "record of a later sequence");
	refused(changed(B, AT_INDEX, 4, 2), -EBADMSG, "record out of order",
		"index that was there before");
	refused(changed(B, AT_INDEX, 4, 4), -EBADMSG, "record out of order",
		"index that leaves a gap");
	refused(changed(HEADER, AT_INDEX, 4, 1), -EBADMSG,
		"record out of order", "HEADER with an index");
	refused(changed(B, AT_PAYLOAD + 61, 1, 1), -EBADMSG, "padding is not 0",
		"padding that is not 0");
	refused(changed(B, AT_PAYLOAD + 63, 1, 0x80), -EBADMSG,
		"padding is not 0", "last byte of padding that is not 0");

	craft = fresh_sequence();
	store(at(craft, B, AT_PAYLOAD), 1,
	      load(at(craft, B, AT_PAYLOAD), 1) ^ 1);
	refused(craft, -EBADMSG, "record CRC mismatch", "damaged payload");
	craft = fresh_sequence();
	store(at(craft, D, AT_FLAGS), 1, 0);
	refused(craft, -EBADMSG, "record CRC mismatch",
		"damaged record without payload");

	craft = fresh();
	craft_header(craft, 5);
	craft_identity(craft, 5);
	craft_record(craft, 5, CRAFT_A, 0, zeros, 7);
	refused(craft, -EINVAL, "record is too short", "one byte too few");
	craft = fresh();
	craft_header(craft, 5);
	craft_identity(craft, 5);
	craft_record(craft, 5, CRAFT_A, 0, zeros, 9);
	refused(craft, -EINVAL, "record is too long", "one byte too many");
	craft = fresh();
	craft_header(craft, 5);
	craft_identity(craft, 5);
	craft_record(craft, 5, CRAFT_C, 0, zeros, 0);
	refused(craft, -EINVAL, "record is too short", "no payload");
	craft = fresh_sequence();
	store(at(craft, B, AT_LENGTH), 4, ~0u);
	refused(craft, -EINVAL, "record is too long",
		"the longest payload there can be");

	craft = fresh();
	craft_header(craft, 5);
	craft_identity(craft, 5);
	craft_backend(craft, 5);
	craft_record(craft, 5, CRAFT_B, 0, zeros, 1);
	refused(craft, -EINVAL, "duplicate record", "a record twice");
	craft = fresh();
	craft_header(craft, 5);
	craft_identity(craft, 5);
	craft_record(craft, 5, CRAFT_D, 0, zeros, 0);
	craft_record(craft, 5, CRAFT_D, 0, zeros, 0);
	refused(craft, -EINVAL, "duplicate record", "an empty record twice");
}

static void test_identity(void)
{
	struct craft *craft;

	craft = fresh();
	craft_header(craft, 5);
	craft_backend(craft, 5);
	refused(craft, -EINVAL, "device state before IDENTITY",
		"backend record before IDENTITY");
	craft = fresh();
	craft_header(craft, 5);
	craft_record(craft, 5, 0x200, 0, "optional", 8);
	refused(craft, -EINVAL, "device state before IDENTITY",
		"optional backend record before IDENTITY");
	craft = fresh();
	craft_header(craft, 5);
	craft_identity(craft, 5);
	craft_identity(craft, 5);
	refused(craft, -EINVAL, "IDENTITY not next to HEADER",
		"IDENTITY twice");
	craft = fresh();
	craft_header(craft, 5);
	craft_record(craft, 5, 5, 0, "optional", 8);
	craft_identity(craft, 5);
	refused(craft, -EINVAL, "IDENTITY not next to HEADER",
		"IDENTITY behind another record");
	craft = fresh();
	craft_header(craft, 5);
	craft_end(craft, 5);
	refused(craft, -EINVAL, "no IDENTITY", "no IDENTITY at all");

	refused(changed(IDENTITY, AT_PAYLOAD + 5, 1, 'T'), -EINVAL,
		"state of another kind of device", "another backend");
	refused(changed(IDENTITY, AT_PAYLOAD + 15, 1, 'x'), -EINVAL,
		"state of another kind of device", "name with something behind");
	refused(changed(IDENTITY, AT_PAYLOAD + 8, 1, 0), -EINVAL,
		"state of another kind of device", "shorter name");
	refused(changed(IDENTITY, AT_PAYLOAD + 20, 2, 0x8087), -EINVAL,
		"state of another PCI vendor's device", "another vendor");
	refused(changed(IDENTITY, AT_PAYLOAD + 22, 2, 0x10cb), -EINVAL,
		"state of another PCI device id", "another device");
	refused(changed(IDENTITY, AT_PAYLOAD + 24, 2, 0), -EINVAL,
		"state of another PCI subsystem vendor",
		"another subsystem vendor");
	refused(changed(IDENTITY, AT_PAYLOAD + 26, 2, 0), -EINVAL,
		"state of another PCI subsystem id", "another subsystem");
	accepted(changed(IDENTITY, AT_PAYLOAD + 28, 1, 8), 5,
		 "another revision");
	refused(changed(IDENTITY, AT_PAYLOAD + 29, 1, 1), -EINVAL,
		"reserved field of IDENTITY is not 0", "first reserved byte");
	refused(changed(IDENTITY, AT_PAYLOAD + 31, 1, 1), -EINVAL,
		"reserved field of IDENTITY is not 0", "last reserved byte");
	accepted(changed(IDENTITY, AT_PAYLOAD + 16, 4, 2), 5,
		 "older state version");
	refused(changed(IDENTITY, AT_PAYLOAD + 16, 4, 4), -EOPNOTSUPP,
		"state is of a newer version", "newer state version");
	refused(changed(IDENTITY, AT_PAYLOAD + 16, 4, ~0u), -EOPNOTSUPP,
		"state is of a newer version", "newest state version");
	accepted(changed(IDENTITY, AT_PAYLOAD + 32, 8, 3), 5,
		 "required features that are known");
	refused(changed(IDENTITY, AT_PAYLOAD + 32, 8, 4), -EOPNOTSUPP,
		"unknown feature of the device state", "required feature 2");
	refused(changed(IDENTITY, AT_PAYLOAD + 32, 8, 1ull << 63), -EOPNOTSUPP,
		"unknown feature of the device state", "required feature 63");
	accepted(changed(IDENTITY, AT_PAYLOAD + 40, 8, ~0ull), 5,
		 "all optional features of the backend");
}

/* HEADER, IDENTITY, the backend's records, AHEAD. */
static struct craft *fresh_ahead(void)
{
	struct craft *craft = fresh();

	craft_header(craft, 5);
	craft_identity(craft, 5);
	craft_backend(craft, 5);
	craft_record(craft, 5, VFIO_MIG_RECORD_AHEAD, 0, NULL, 0);
	return craft;
}

static void test_ahead(void)
{
	struct craft *craft = fresh_ahead();
	struct mig_encoder enc;
	struct trial trial;
	size_t used;
	u32 length;
	u8 buf[64];

	trial_begin(&trial, CRAFT_ROOM);
	used = mig_parser_feed(&trial.parser, craft->data, craft->len - 1);
	ok(used == craft->len - 1 && !trial.parser.ahead &&
	   !mig_parser_record(&trial.parser, CRAFT_A, &length),
	   "nothing can be had before the last byte of AHEAD");
	mig_parser_feed(&trial.parser, craft->data + used, 1);
	ok(trial.parser.ahead && !trial.parser.complete &&
	   mig_parser_record(&trial.parser, CRAFT_A, &length) && length == 8,
	   "behind AHEAD, what was sent ahead can be had");
	ok(mig_parser_finish(&trial.parser) == -ENODATA,
	   "AHEAD does not complete a sequence");
	trial_end(&trial);

	craft_sequence(craft, 6);
	accepted(craft, 6, "a sequence after AHEAD");
	trial_begin(&trial, CRAFT_ROOM);
	used = mig_parser_feed(&trial.parser, craft->data, craft->len);
	ok(used == craft->offset[7] && trial.parser.ahead,
	   "the parser stops behind AHEAD");
	used += mig_parser_feed(&trial.parser, craft->data + used,
				craft->len - used);
	ok(used == craft->offset[8] && !trial.parser.ahead &&
	   !mig_parser_record(&trial.parser, CRAFT_A, &length),
	   "and behind the HEADER that drops what was sent ahead");
	trial_end(&trial);

	craft = fresh_ahead();
	craft_end(craft, 5);
	accepted(craft, 5, "AHEAD and END in one sequence");
	craft = fresh_ahead();
	craft_record(craft, 5, VFIO_MIG_RECORD_AHEAD, 0, NULL, 0);
	refused(craft, -EINVAL, "duplicate record", "AHEAD twice");
	craft = fresh();
	craft_header(craft, 5);
	craft_record(craft, 5, VFIO_MIG_RECORD_AHEAD, 0, NULL, 0);
	refused(craft, -EINVAL, "AHEAD before IDENTITY",
		"AHEAD before IDENTITY");
	craft = fresh();
	craft_header(craft, 5);
	craft_identity(craft, 5);
	craft_record(craft, 5, VFIO_MIG_RECORD_AHEAD, 0, "12345678", 8);
	refused(craft, -EINVAL, "HEADER, IDENTITY, AHEAD or END of wrong size",
		"AHEAD with a payload");
	craft = fresh_sequence();
	craft_record(craft, 5, VFIO_MIG_RECORD_AHEAD, 0, NULL, 0);
	refused(craft, -EINVAL, "data after END", "AHEAD after END");

	mig_encoder_init(&enc, buf, sizeof(buf), 5);
	ok(!mig_encode_ahead(&enc) && enc.used == AT_PAYLOAD &&
	   load(buf + AT_TYPE, 2) == VFIO_MIG_RECORD_AHEAD &&
	   !load(buf + AT_FLAGS, 2) && !load(buf + AT_LENGTH, 4),
	   "AHEAD is empty, and may be skipped");
}

static void test_end(void)
{
	struct craft *craft;

	craft = fresh_sequence();
	store(at(craft, END, AT_PAYLOAD), 4, END - 1);
	craft_recrc(craft, END);
	refused(craft, -EBADMSG, "number of records does not match END",
		"one record fewer in END");
	craft = fresh_sequence();
	store(at(craft, END, AT_PAYLOAD), 4, END + 1);
	craft_recrc(craft, END);
	refused(craft, -EBADMSG, "number of records does not match END",
		"one record more in END");
	craft = fresh_sequence();
	store(at(craft, END, AT_PAYLOAD + 8), 8,
	      load(at(craft, END, AT_PAYLOAD + 8), 8) + 8);
	craft_recrc(craft, END);
	refused(craft, -EBADMSG, "number of bytes does not match END",
		"more bytes in END");
	craft = fresh_sequence();
	store(at(craft, END, AT_PAYLOAD + 12), 4, 1);
	craft_recrc(craft, END);
	refused(craft, -EBADMSG, "number of bytes does not match END",
		"2^32 bytes more in END");
	craft = fresh_sequence();
	store(at(craft, B, AT_PAYLOAD), 1,
	      load(at(craft, B, AT_PAYLOAD), 1) ^ 1);
	craft_recrc(craft, B);
	refused(craft, -EBADMSG, "sequence CRC mismatch",
		"record exchanged for another of the same size");

	craft = fresh();
	craft_header(craft, 5);
	craft_identity(craft, 5);
	craft_end(craft, 5);
	refused(craft, -EINVAL, "a mandatory record is missing",
		"no device state");
	craft = fresh();
	craft_header(craft, 5);
	craft_identity(craft, 5);
	craft_record(craft, 5, CRAFT_A, 0, "12345678", 8);
	craft_end(craft, 5);
	refused(craft, -EINVAL, "a mandatory record is missing",
		"only one of two mandatory records");
	craft = fresh();
	craft_header(craft, 5);
	craft_identity(craft, 5);
	craft_backend(craft, 5);
	craft_record(craft, 5, 3, 1, "12345678", 8);
	refused(craft, -EINVAL, "HEADER, IDENTITY, AHEAD or END of wrong size",
		"END that is too short");

	craft = fresh_sequence();
	craft_end(craft, 5);
	refused(craft, -EINVAL, "data after END", "END twice");
	craft = fresh_sequence();
	craft_record(craft, 5, CRAFT_B, 0, NULL, 0);
	refused(craft, -EINVAL, "data after END", "record after END");
	craft = fresh_sequence();
	craft_record(craft, 5, 5, 0, NULL, 0);
	refused(craft, -EINVAL, "data after END",
		"optional record after END");
	craft = fresh_sequence();
	memset(craft->data + craft->len, 0, 24);
	craft->len += 24;
	refused(craft, -EINVAL, "data after END", "zeros after END");
}

/* A sequence that ends behind its first @records records, then a whole one. */
static struct craft *restarted(unsigned int records, u32 sequence)
{
	struct craft *craft = fresh_sequence();

	craft->len = records <= END ? craft->offset[records] : craft->len;
	craft->records = records;
	craft_sequence(craft, sequence);
	return craft;
}

static void test_sequences(void)
{
	unsigned int completed = 0, begun = 0;
	struct craft *craft;
	struct trial trial;
	char what[80];
	size_t used;
	u32 length;

	for (unsigned int n = HEADER + 1; n <= END + 1; n++) {
		snprintf(what, sizeof(what), "new sequence after %u records", n);
		accepted(restarted(n, 6), 6, what);
		snprintf(what, sizeof(what), "same number after %u records", n);
		refused(restarted(n, 5), -EBADMSG,
			"sequence number does not grow", what);
		snprintf(what, sizeof(what), "lower number after %u records", n);
		refused(restarted(n, 4), -EBADMSG,
			"sequence number does not grow", what);
	}
	accepted(restarted(END, ~0u), ~0u, "a jump in numbers");
	craft = fresh();
	craft_sequence(craft, 0);
	accepted(craft, 0, "number 0");
	craft_sequence(craft, 1);
	accepted(craft, 1, "number 1 after number 0");
	craft = fresh();
	craft_sequence(craft, ~0u);
	craft_sequence(craft, 0);
	refused(craft, -EBADMSG, "sequence number does not grow",
		"number that wraps");

	craft = fresh();
	craft_header(craft, 1);
	craft_header(craft, 2);
	craft_header(craft, 3);
	craft_sequence(craft, 4);
	accepted(craft, 4, "several HEADERs before anything else");
	craft = fresh();
	craft_header(craft, 1);
	craft_identity(craft, 1);
	craft_header(craft, 2);
	craft_backend(craft, 2);
	craft_end(craft, 2);
	accepted(craft, 2, "IDENTITY of an earlier, unfinished sequence");
	craft_header(craft, 3);
	craft_backend(craft, 3);
	craft_end(craft, 3);
	accepted(craft, 3, "IDENTITY of a sequence before the last");

	craft = fresh_sequence();
	craft_header(craft, 6);
	craft_identity(craft, 6);
	craft_end(craft, 6);
	refused(craft, -EINVAL, "a mandatory record is missing",
		"records of the sequence before do not count");
	craft = restarted(C, 6);
	store(at(craft, C + IDENTITY, AT_PAYLOAD + 28), 1, 8);
	craft_reseal(craft);
	refused(craft, -EINVAL, "IDENTITY has changed",
		"second IDENTITY with another revision");
	craft = restarted(C, 6);
	store(at(craft, C + IDENTITY, AT_PAYLOAD + 16), 4, 2);
	craft_reseal(craft);
	refused(craft, -EINVAL, "IDENTITY has changed",
		"second IDENTITY with another version");
	craft = restarted(END + 1, 6);
	store(at(craft, END + 1, AT_PAYLOAD), 1, 0);
	craft_reseal(craft);
	refused(craft, -EINVAL, "not a device state stream",
		"second HEADER with another magic");
	craft = fresh_sequence();
	craft->len -= 8;
	craft->records--;
	craft_sequence(craft, 6);
	refused(craft, -EBADMSG, "record CRC mismatch",
		"new sequence inside of a record");
	craft = restarted(D, 6);
	craft->data[craft->offset[A] + AT_PAYLOAD] ^= 1;
	refused(craft, -EBADMSG, "record CRC mismatch",
		"damage in a sequence that is dropped later");

	/* What a caller sees that looks after each call, and never at bytes. */
	craft = fresh_sequence();
	craft_sequence(craft, 6);
	craft_header(craft, 7);
	craft_identity(craft, 7);
	craft_sequence(craft, 8);
	trial_begin(&trial, CRAFT_ROOM);
	for (used = 0; used < craft->len;) {
		bool complete = trial.parser.complete;
		ssize_t ret = mig_parser_feed(&trial.parser, craft->data + used,
					      craft->len - used);

		if (ret <= 0)
			break;
		used += ret;
		completed += !complete && trial.parser.complete;
		begun += complete && !trial.parser.complete;
	}
	ok(used == craft->len && completed == 3 && begun == 2,
	   "each complete sequence is shown, and that another has begun");
	trial_end(&trial);

	craft = fresh_sequence();
	trial_begin(&trial, CRAFT_ROOM);
	ok(mig_parser_feed(&trial.parser, craft->data, craft->len + 1) ==
	   (ssize_t)craft->len && trial.parser.complete,
	   "stops right behind END");
	ok(mig_parser_feed(&trial.parser, craft->data, 1) == 1 &&
	   mig_parser_finish(&trial.parser) == -ENODATA &&
	   !strcmp(trial.parser.reason, "truncated within a record"),
	   "one byte behind END makes the stream truncated");
	ok(trial.parser.complete &&
	   mig_parser_record(&trial.parser, CRAFT_A, &length),
	   "until HEADER is whole the old sequence stays");
	trial_end(&trial);
}

static void test_unknown(void)
{
	static const u16 types[] = { 5, 0xff, 0x104, 0xffff };
	static u8 payload[MIG_SKIP_MAX];
	struct craft *craft;
	struct trial trial;
	char what[80];
	u8 *record;

	memset(payload, 0xa5, sizeof(payload));
	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		craft = fresh();
		craft_header(craft, 5);
		craft_identity(craft, 5);
		craft_record(craft, 5, types[i], 0, payload, 5000);
		craft_backend(craft, 5);
		craft_record(craft, 5, types[i], 0, payload, 0);
		craft_record(craft, 5, types[i], 0, payload, 3);
		craft_end(craft, 5);
		snprintf(what, sizeof(what), "optional records of type %#x",
			 types[i]);
		accepted(craft, 5, what);

		craft->data[craft->offset[2] + AT_PAYLOAD + 100] ^= 1;
		snprintf(what, sizeof(what), "damaged record of type %#x",
			 types[i]);
		refused(craft, -EBADMSG, "record CRC mismatch", what);
		craft_recrc(craft, 2);
		snprintf(what, sizeof(what), "exchanged record of type %#x",
			 types[i]);
		refused(craft, -EBADMSG, "sequence CRC mismatch", what);
		craft->data[craft->offset[8] + AT_PAYLOAD + 3] = 1;
		craft_reseal(craft);
		snprintf(what, sizeof(what), "bad padding in type %#x",
			 types[i]);
		refused(craft, -EBADMSG, "padding is not 0", what);

		craft = fresh();
		craft_header(craft, 5);
		craft_identity(craft, 5);
		craft_record(craft, 5, types[i], 1, payload, 8);
		snprintf(what, sizeof(what), "required record of type %#x",
			 types[i]);
		refused(craft, -EOPNOTSUPP, "required record of unknown type",
			what);
	}

	craft = fresh();
	craft_header(craft, 5);
	craft_record(craft, 5, 5, 0, payload, 8);
	craft_header(craft, 6);
	craft_identity(craft, 6);
	craft_backend(craft, 6);
	craft_end(craft, 6);
	accepted(craft, 6, "optional record before any IDENTITY");

	/* The longest that is skipped does not fit into a struct craft. */
	craft = fresh();
	craft_header(craft, 5);
	craft_identity(craft, 5);
	record = craft_record(craft, 5, 0x200, 0, payload, 0);
	store(record + AT_LENGTH, 4, MIG_SKIP_MAX);
	store(record + AT_CRC, 4, 0);
	store(record + AT_CRC, 4, ~crc32c(crc32c(~0u, record, AT_PAYLOAD),
					  payload, sizeof(payload)));
	trial_begin(&trial, 0);
	ok(!feed_pieces(&trial.parser, craft->data, craft->len, craft->len,
			NULL) &&
	   !feed_pieces(&trial.parser, payload, sizeof(payload),
			sizeof(payload), NULL) &&
	   !trial.parser.error && !trial.parser.fill &&
	   trial.parser.index == 3,
	   "accepted: the longest record that is skipped, without room");
	trial_end(&trial);
	store(record + AT_LENGTH, 4, MIG_SKIP_MAX + 1);
	refused(craft, -EFBIG, "record of unknown type is too long",
		"one byte more than is skipped");
	store(record + AT_LENGTH, 4, ~0u);
	refused(craft, -EFBIG, "record of unknown type is too long",
		"the longest payload there can be, to be skipped");
}

static void test_latch(void)
{
	struct craft *craft = fresh_sequence();
	struct trial trial;
	size_t good;
	u32 length;

	good = craft->len;
	trial_begin(&trial, CRAFT_ROOM);
	mig_parser_feed(&trial.parser, "123456789012345678901234", 24);
	ok(mig_parser_feed(&trial.parser, craft->data, good) == -EINVAL &&
	   mig_parser_finish(&trial.parser) == -EINVAL &&
	   !trial.parser.complete, "HEADER does not open a latched error");
	ok(mig_parser_fail(&trial.parser, -ENOMEM, "other") == -EINVAL &&
	   strcmp(trial.parser.reason, "other"), "the first error wins");
	trial_end(&trial);

	trial_begin(&trial, CRAFT_ROOM);
	mig_parser_feed(&trial.parser, craft->data, good);
	ok(trial.parser.complete && !mig_parser_finish(&trial.parser),
	   "a good stream so far");
	ok(mig_parser_fail(&trial.parser, -ENXIO, "outside") == -ENXIO &&
	   trial.parser.error == -ENXIO &&
	   !strcmp(trial.parser.reason, "outside"), "an error from outside");
	ok(!trial.parser.complete &&
	   mig_parser_finish(&trial.parser) == -ENXIO &&
	   !mig_parser_record(&trial.parser, CRAFT_A, &length),
	   "a stream that was refused is not complete");
	craft_sequence(craft, 6);
	ok(mig_parser_feed(&trial.parser, craft->data + good,
			   craft->len - good) == -ENXIO,
	   "a new sequence does not help");
	ok(mig_parser_fail(&trial.parser, -ENOMEM, "other") == -ENXIO &&
	   !strcmp(trial.parser.reason, "outside"), "it is latched, too");
	trial_end(&trial);

	trial_begin(&trial, CRAFT_ROOM);
	ok(mig_parser_finish(&trial.parser) == -ENODATA &&
	   !strcmp(trial.parser.reason, "truncated before it began"),
	   "an empty stream is truncated");
	mig_parser_feed(&trial.parser, craft->data, HEADER_SIZE);
	ok(mig_parser_finish(&trial.parser) == -ENODATA &&
	   !strcmp(trial.parser.reason, "truncated before END"),
	   "a stream without END is truncated");
	trial_end(&trial);
}

static void test_room(void)
{
	struct mig_record_desc many[MIG_RECORD_DESC_MAX + 1];
	struct mig_stream_self self = craft_self;
	struct craft *craft = fresh();
	struct trial trial;
	char buf[128];
	size_t room;
	bool good;

	craft_header(craft, 5);
	craft_identity(craft, 5);
	craft_backend(craft, 5);
	craft_end(craft, 5);
	/* The same, each sequence anew. */
	craft_sequence(craft, 6);
	for (room = 0, good = true; room < CRAFT_PLAIN + 8; room++) {
		trial_begin(&trial, room);
		feed_pieces(&trial.parser, craft->data, craft->len, craft->len,
			    NULL);
		if (room < CRAFT_PLAIN)
			good &= trial.parser.error == -EFBIG &&
				!strcmp(trial.parser.reason,
					"no room for the record");
		else
			good &= !mig_parser_finish(&trial.parser);
		trial_end(&trial);
	}
	ok(good, "exactly the room needed will do, one byte less will not");

	for (int i = 0; i <= MIG_RECORD_DESC_MAX; i++)
		many[i] = (struct mig_record_desc){ .type = 0x300 + i,
						    .mandatory = true };
	self.records = many;
	self.nr_records = MIG_RECORD_DESC_MAX;
	for (unsigned int left_out = 0; left_out <= MIG_RECORD_DESC_MAX;
	     left_out++) {
		craft = fresh();
		craft_header(craft, 5);
		craft_identity(craft, 5);
		for (unsigned int i = 0; i < MIG_RECORD_DESC_MAX; i++)
			if (i != left_out)
				craft_record(craft, 5, 0x300 + i, 1, NULL, 0);
		craft_end(craft, 5);
		trial_begin(&trial, MIG_RECORD_DESC_MAX * 24);
		mig_parser_init(&trial.parser, &self, trial.room,
				MIG_RECORD_DESC_MAX * 24);
		feed_pieces(&trial.parser, craft->data, craft->len, craft->len,
			    NULL);
		if (left_out == MIG_RECORD_DESC_MAX)
			ok(trial.parser.complete,
			   "as many record types as there can be");
		else
			good &= trial.parser.error == -EINVAL;
		trial_end(&trial);
	}
	ok(good, "each of them is missed");
	self.nr_records++;
	mig_parser_init(&trial.parser, &self, buf, sizeof(buf));
	ok(mig_parser_feed(&trial.parser, craft->data, craft->len) == -EINVAL,
	   "one record type more is refused");
}

/* The records of a chunked sequence. */
static struct craft *fresh_chunked(void)
{
	struct craft *craft = fresh();

	craft_chunked(craft, 5);
	return craft;
}

enum { K_FIRST = 2, K_A, K_B, K_C, K_D, K_SECOND, K_THIRD, K_LAST, K_END };

/* Encode it with a buffer that is emptied before each chunk, and before END. */
static bool encode_emptied(const struct craft *like, bool in_place)
{
	u8 buf[MIG_RECORD_SIZE(64) * 2 + HEADER_SIZE + IDENTITY_SIZE];
	struct mig_encoder enc;
	size_t done = 0;
	bool good = true;

	mig_encoder_init(&enc, buf, sizeof(buf), 5);
	mig_encode_begin(&enc, &craft_self);
	for (unsigned int n = K_FIRST; n <= K_END; n++) {
		const u8 *record = like->data + like->offset[n];
		u32 length = load(record + AT_LENGTH, 4);
		const u8 *payload = record + AT_PAYLOAD;
		u8 *space;

		good &= !memcmp(buf, like->data + done, enc.used);
		done += enc.used;
		good &= done == enc.bytes && done == like->offset[n];
		mig_encoder_rewind(&enc, buf, sizeof(buf));
		if (n == K_END)
			break;
		if (in_place) {
			space = mig_encode_space(&enc, length);
			good &= space == buf + AT_PAYLOAD;
			memcpy(space, payload, length);
			payload = space;
		}
		good &= !mig_encode_record(&enc, load(record, 2),
					   load(record + AT_FLAGS, 2), payload,
					   length);
	}
	good &= !mig_encode_end(&enc) && enc.used == END_SIZE;
	good &= !memcmp(buf, like->data + done, enc.used);
	return good && done + enc.used == like->len;
}

static void test_chunked(void)
{
	struct mig_record_desc descs[2] = {
		{ .type = CRAFT_A, .min = 8, .max = 8 },
		{ .type = CRAFT_K, .min = 1, .max = 40, .mandatory = true,
		  .chunked = true },
	};
	struct mig_stream_self self = craft_self;
	size_t wrong = 0, early = 0;
	struct craft *craft;
	struct mig_encoder enc;
	struct verdict verdict;
	struct trial trial;
	const char *flaw;
	u8 zeros[48] = { 0 };
	u8 buf[64];
	char what[80];
	u32 length;
	u16 type;

	craft = fresh_chunked();
	ok(encode_emptied(craft, false),
	   "a buffer that is emptied in between gives the same stream");
	ok(encode_emptied(craft, true), "and so do payloads made in their place");
	mig_encoder_init(&enc, buf, sizeof(buf), 1);
	ok(mig_encode_space(&enc, 40) == buf + AT_PAYLOAD &&
	   !mig_encode_space(&enc, 41) && !mig_encode_space(&enc, ~0u) &&
	   !enc.error, "there is space for what fits; to ask is no error");
	mig_encode_record(&enc, CRAFT_K, 0, zeros, 41);
	ok(!mig_encode_space(&enc, 0), "no space after an error");

	accepted(fresh_chunked(), 5, "chunks before, behind and among records");
	craft = fresh();
	craft_header(craft, 5);
	craft_identity(craft, 5);
	craft_backend(craft, 5);
	for (unsigned int n = 0; n < 200; n++)
		craft_chunk(craft, 5, n % 40 + 1);
	craft_end(craft, 5);
	accepted(craft, 5, "two hundred chunks in room for one");
	ok(chunks_fed.count == 200, "each of them has been handed over");
	accepted(fresh_sequence(), 5, "no chunks");
	craft_chunked(craft, 6);
	craft_sequence(craft, 7);
	accepted(craft, 7, "sequences with chunks and without");

	for (unsigned int n = HEADER + 1; n <= K_END + 1; n++) {
		craft = fresh_chunked();
		craft->len = n <= K_END ? craft->offset[n] : craft->len;
		craft->records = n;
		craft_chunked(craft, 6);
		snprintf(what, sizeof(what), "chunks again after %u records", n);
		accepted(craft, 6, what);
		ok(chunks_fed.sequence == 6 && chunks_fed.count == 4,
		   "and none of those before is counted");
	}

	craft = fresh();
	craft_header(craft, 5);
	craft_chunk(craft, 5, 8);
	refused(craft, -EINVAL, "device state before IDENTITY",
		"a chunk before IDENTITY");
	craft = fresh_chunked();
	craft_chunk(craft, 5, 8);
	refused(craft, -EINVAL, "data after END", "a chunk after END");
	craft = fresh_chunked();
	craft->len = craft->offset[K_END];
	craft->records = K_END;
	craft_record(craft, 5, CRAFT_K, 1, zeros, 41);
	refused(craft, -EINVAL, "record is too long", "a chunk too long");
	craft = fresh_chunked();
	craft->len = craft->offset[K_END];
	craft->records = K_END;
	craft_record(craft, 5, CRAFT_K, 0, zeros, 0);
	refused(craft, -EINVAL, "record is too short", "a chunk too short");
	craft = fresh_chunked();
	craft->data[craft->offset[K_THIRD] + AT_PAYLOAD] ^= 1;
	refused(craft, -EBADMSG, "record CRC mismatch", "a damaged chunk");
	craft_recrc(craft, K_THIRD);
	refused(craft, -EBADMSG, "sequence CRC mismatch", "an exchanged chunk");
	craft = fresh_chunked();
	store(at(craft, K_THIRD, AT_INDEX), 4, K_THIRD + 1);
	craft_recrc(craft, K_THIRD);
	refused(craft, -EBADMSG, "record out of order", "a chunk left out");
	craft = fresh_chunked();
	store(at(craft, K_LAST, AT_SEQUENCE), 4, 4);
	craft_recrc(craft, K_LAST);
	refused(craft, -EBADMSG, "record of another sequence",
		"a chunk of another sequence");
	craft = fresh_chunked();
	craft->len = craft->offset[K_END];
	craft->records = K_END;
	craft_record(craft, 5, CRAFT_A, 1, zeros, 8);
	refused(craft, -EINVAL, "duplicate record",
		"another record twice, behind the chunks");

	/* Each bit, each length: as the reference has it, chunks included. */
	craft = fresh_chunked();
	for (size_t bit = 0; bit < craft->len * 8; bit++) {
		craft->data[bit / 8] ^= 1 << bit % 8;
		reference_read(craft->data, craft->len, &verdict);
		trial_begin(&trial, CRAFT_ROOM);
		flaw = feed_pieces(&trial.parser, craft->data, craft->len,
				   bit % 50 + 1, NULL);
		wrong += flaw || !trial.parser.error || trial.parser.complete ||
			 verdict_differs(&verdict, &trial.parser);
		trial_end(&trial);
		craft->data[bit / 8] ^= 1 << bit % 8;
	}
	ok(!wrong, "none of %zu bits of a chunked stream can flip unnoticed",
	   craft->len * 8);
	for (size_t len = 0; len < craft->len; len++) {
		reference_read(craft->data, len, &verdict);
		trial_begin(&trial, CRAFT_ROOM);
		flaw = feed_pieces(&trial.parser, craft->data, len,
				   len % 50 + 1, NULL);
		early += flaw || trial.parser.error || trial.parser.complete ||
			 mig_parser_finish(&trial.parser) != -ENODATA ||
			 verdict_differs(&verdict, &trial.parser);
		trial_end(&trial);
	}
	ok(!early, "truncated at each byte it is not complete");

	/* What a caller sees that looks after each call. */
	trial_begin(&trial, CRAFT_ROOM);
	ok(mig_parser_feed(&trial.parser, craft->data, craft->len) ==
	   (ssize_t)craft->offset[K_A] &&
	   mig_parser_chunk(&trial.parser, &type, &length) && type == CRAFT_K &&
	   length == 40 && !trial.parser.staged, "stops right behind a chunk");
	ok(mig_parser_feed(&trial.parser, craft->data + craft->offset[K_A], 1) ==
	   1 && !mig_parser_chunk(&trial.parser, &type, &length),
	   "which is gone with the next byte");
	ok(!mig_parser_record(&trial.parser, CRAFT_K, &length),
	   "a chunk is not kept");
	trial_end(&trial);

	/* Room for the others, and one chunk. */
	for (size_t room = 0; room <= CRAFT_ROOM; room++) {
		trial_begin(&trial, room);
		feed_pieces(&trial.parser, craft->data, craft->len, craft->len,
			    NULL);
		if (room < CRAFT_ROOM)
			wrong += trial.parser.error != -EFBIG;
		else
			wrong += mig_parser_finish(&trial.parser) != 0;
		trial_end(&trial);
	}
	ok(!wrong, "exactly the room for one chunk will do");

	self.records = descs;
	self.nr_records = 2;
	for (unsigned int chunks = 0; chunks < 3; chunks++) {
		craft = fresh();
		craft_header(craft, 5);
		craft_identity(craft, 5);
		for (unsigned int n = 0; n < chunks; n++)
			craft_chunk(craft, 5, 12);
		craft_end(craft, 5);
		trial_begin(&trial, 64);
		mig_parser_init(&trial.parser, &self, trial.room, 64);
		feed_pieces(&trial.parser, craft->data, craft->len, craft->len,
			    NULL);
		ok(trial.parser.error == (chunks ? 0 : -EINVAL),
		   "mandatory chunks: there must be one, there may be more");
		trial_end(&trial);
	}
}

/* Four billion records would take too long: start near their end. */
static void test_many(void)
{
	struct craft *craft = fresh();
	struct trial trial;
	u8 *record;

	craft_header(craft, 5);
	craft_identity(craft, 5);
	record = craft_record(craft, 5, 4, 0, NULL, 0);
	store(record + AT_INDEX, 4, ~0u);
	craft_recrc(craft, 2);
	trial_begin(&trial, CRAFT_ROOM);
	mig_parser_feed(&trial.parser, craft->data, HEADER_SIZE + IDENTITY_SIZE);
	trial.parser.index = ~0u;
	ok(mig_parser_feed(&trial.parser, record, AT_PAYLOAD) == -EFBIG &&
	   !strcmp(trial.parser.reason, "too many records"),
	   "the number of records does not wrap");
	trial_end(&trial);
}

int main(void)
{
	test_crc();
	test_crc_join();
	test_encoder();
	test_round_trip();
	test_pieces();
	test_damage();
	test_forged();
	test_header();
	test_record();
	test_identity();
	test_ahead();
	test_end();
	test_sequences();
	test_unknown();
	test_latch();
	test_room();
	test_chunked();
	test_many();
	return tap_done();
}
