// SPDX-License-Identifier: GPL-2.0
/*
 * The driver's parser as a function that can be called from Python: what it
 * says of a stream, on a device with the igbvf's record types, or with the
 * example's, which has chunks.
 */
#include <errno.h>
#include <stdlib.h>

#include "../../driver/core/stream.h"

static const struct mig_record_desc records[] = {
	{ 0x100, 160, 160, true, false },
	{ 0x101, 40, 40, true, false },
	{ 0x102, 80, 80, true, false },
	{ 0x103, 800, 800, true, false },
	{ 0x104, 36, 36, false, false },
};

static const struct mig_stream_self self = {
	.backend = "igbvf",
	.state_version = 1,
	.vendor = 0x8086,
	.device = 0x10ca,
	.subsystem_vendor = 0x8086,
	.subsystem_device = 0xa03c,
	.known = 0x3,
	.records = records,
	.nr_records = ARRAY_SIZE(records),
};

static const struct mig_record_desc chunked_records[] = {
	{ 0x100, 32, 32, true, false },
	{ 0x101, 9, 8 + (256 << 10), false, true },
};

static const struct mig_stream_self chunked = {
	.backend = "edu",
	.state_version = 1,
	.vendor = 0x1234,
	.device = 0x11e8,
	.subsystem_vendor = 0x1af4,
	.subsystem_device = 0x1100,
	.known = 0x1,
	.records = chunked_records,
	.nr_records = ARRAY_SIZE(chunked_records),
};

/* NULL for a stream that is taken. */
const char *verdict(const void *data, size_t len);
const char *verdict_chunked(const void *data, size_t len);

static const char *verdict_of(const struct mig_stream_self *self,
			      const void *data, size_t len)
{
	static _Alignas(8) char buf[(1 << 16) + (256 << 10)];
	struct mig_parser parser;
	size_t done = 0;
	ssize_t bytes;

	mig_parser_init(&parser, self, buf, sizeof(buf));
	while (done < len) {
		bytes = mig_parser_feed(&parser, (const char *)data + done,
					len - done);
		if (bytes < 0)
			return parser.reason;
		done += bytes;
	}
	return mig_parser_finish(&parser) ? parser.reason : NULL;
}

const char *verdict(const void *data, size_t len)
{
	return verdict_of(&self, data, len);
}

const char *verdict_chunked(const void *data, size_t len)
{
	return verdict_of(&chunked, data, len);
}
