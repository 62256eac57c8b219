// SPDX-License-Identifier: GPL-2.0
/*
 * The driver's parser as a function that can be called from Python: what it
 * says of a stream, on a device with the igbvf's record types.
 */
#include <errno.h>
#include <stdlib.h>

#include "../../driver/core/stream.h"

static const struct mig_record_desc records[] = {
	{ 0x100, 160, 160, true },
	{ 0x101, 40, 40, true },
	{ 0x102, 80, 80, true },
	{ 0x103, 800, 800, true },
	{ 0x104, 36, 36, false },
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

/* NULL for a stream that is taken. */
const char *verdict(const void *data, size_t len);

const char *verdict(const void *data, size_t len)
{
	static _Alignas(8) char buf[1 << 16];
	struct mig_parser parser;
	size_t done = 0;
	ssize_t bytes;

	mig_parser_init(&parser, &self, buf, sizeof(buf));
	while (done < len) {
		bytes = mig_parser_feed(&parser, (const char *)data + done,
					len - done);
		if (bytes < 0)
			return parser.reason;
		done += bytes;
	}
	return mig_parser_finish(&parser) ? parser.reason : NULL;
}
