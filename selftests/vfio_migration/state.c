// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "driver/core/stream.h"
#include "harness.h"
#include "state.h"

int state_read(int fd, struct state *state)
{
	ssize_t got;

	state->len = 0;
	do {
		got = read(fd, state->buf + state->len,
			   sizeof(state->buf) - state->len);
		if (got < 0)
			return -errno;
		state->len += got;
	} while (got);
	return 0;
}

void state_expect_loads(struct vf *vf, const struct state *state)
{
	if (vf_has_core())
		EXPECT_TRUE(state_whole(state));
	EXPECT_EQ(0, state_load(vf, state));
	EXPECT_EQ(0, vf_set_state(vf, VFIO_DEVICE_STATE_RUNNING, NULL));
}

void state_expect_missing(int ret)
{
	if (vf_has_core())
		EXPECT_EQ(-ENODATA, ret);
	else
		EXPECT_GE(-1, ret);
}

void state_save(struct vf *vf, struct state *state)
{
	int fd = -1;

	ASSERT_EQ(0, vf_set_state(vf, VFIO_DEVICE_STATE_STOP_COPY, &fd));
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, state_read(fd, state));
	ASSERT_NE(0u, state->len);
	close(fd);
}

int state_write(int fd, const void *buf, size_t len)
{
	ssize_t put = write(fd, buf, len);

	if (put < 0)
		return -errno;
	return put == (ssize_t)len ? 0 : -EIO;
}

int state_load(struct vf *vf, const struct state *state)
{
	int fd = -1, ret;

	ASSERT_EQ(0, vf_set_state(vf, VFIO_DEVICE_STATE_RESUMING, &fd));
	ASSERT_LE(0, fd);
	ret = state_write(fd, state->buf, state->len);
	close(fd);
	return ret;
}

static u32 record_crc(const u8 *at, size_t size)
{
	struct vfio_mig_record head;
	u32 crc;

	memcpy(&head, at, sizeof(head));
	head.crc = 0;
	crc = crc32c(~0u, &head, sizeof(head));
	return ~crc32c(crc, at + sizeof(head), size - sizeof(head));
}

unsigned int state_records(const struct state *state, struct record *record)
{
	struct vfio_mig_record head;
	unsigned int count = 0;
	size_t at = 0;

	vf_need_core();
	while (at < state->len) {
		ASSERT_LE(sizeof(head), state->len - at);
		ASSERT_LE(count + 1, (unsigned int)RECORDS_MAX);
		memcpy(&head, state->buf + at, sizeof(head));
		record[count] = (struct record){
			.type = le16_to_cpu(head.type),
			.flags = le16_to_cpu(head.flags),
			.length = le32_to_cpu(head.length),
			.at = at,
			.size = MIG_RECORD_SIZE(le32_to_cpu(head.length)),
			.payload = state->buf + at + sizeof(head),
		};
		ASSERT_LE(record[count].size, state->len - at);
		ASSERT_EQ(count, le32_to_cpu(head.index));
		ASSERT_EQ(le32_to_cpu(head.crc),
			  record_crc(state->buf + at, record[count].size));
		at += record[count].size;
		count++;
	}
	ASSERT_LE(3u, count);
	ASSERT_EQ((u16)VFIO_MIG_RECORD_HEADER, record[0].type);
	ASSERT_EQ((u16)VFIO_MIG_RECORD_IDENTITY, record[1].type);
	ASSERT_EQ((u16)VFIO_MIG_RECORD_END, record[count - 1].type);
	return count;
}

const struct record *state_find(const struct record *record,
				unsigned int count, u16 type)
{
	unsigned int n;

	for (n = 0; n < count; n++)
		if (record[n].type == type)
			return &record[n];
	th_log("no record of type %#x", type);
	th_abort();
}

static const struct vfio_mig_identity *
first_identity(const struct state *state)
{
	const struct vfio_mig_record *head;
	size_t at = 0;

	for (;;) {
		head = (const void *)(state->buf + at);
		ASSERT_LE(at + MIG_RECORD_SIZE(sizeof(struct vfio_mig_identity)),
			  state->len);
		if (le16_to_cpu(head->type) == VFIO_MIG_RECORD_IDENTITY)
			return (const void *)(head + 1);
		at += MIG_RECORD_SIZE(le32_to_cpu(head->length));
	}
}

bool state_whole(const struct state *state)
{
	static const struct mig_record_desc desc[] = {
		{ .type = VFIO_MIG_RECORD_BACKEND, .max = STATE_MAX },
		{ .type = VFIO_MIG_RECORD_BACKEND + 1, .max = STATE_MAX },
		{ .type = VFIO_MIG_RECORD_BACKEND + 2, .max = STATE_MAX },
		{ .type = VFIO_MIG_RECORD_BACKEND + 3, .max = STATE_MAX },
		{ .type = VFIO_MIG_RECORD_BACKEND + 4, .max = STATE_MAX },
	};
	const struct vfio_mig_identity *it = first_identity(state);
	static u64 staging[STATE_MAX / sizeof(u64)];
	struct mig_stream_self self = {
		.records = desc,
		.nr_records = ARRAY_SIZE(desc),
		.known = ~0ull,
	};
	struct mig_parser parser;
	size_t at = 0;
	ssize_t took;

	self.backend = (const char *)it->backend;
	self.state_version = le32_to_cpu(it->state_version);
	self.vendor = le16_to_cpu(it->vendor);
	self.device = le16_to_cpu(it->device);
	self.subsystem_vendor = le16_to_cpu(it->subsystem_vendor);
	self.subsystem_device = le16_to_cpu(it->subsystem_device);

	mig_parser_init(&parser, &self, staging, sizeof(staging));
	while (at < state->len) {
		took = mig_parser_feed(&parser, state->buf + at,
				       state->len - at);
		if (took < 0)
			break;
		at += took;
	}
	if (!mig_parser_finish(&parser))
		return true;
	th_log("at byte %zu of %zu: %s", at, state->len, parser.reason);
	return false;
}

unsigned int state_sequences(const struct state *state)
{
	struct vfio_mig_record head;
	unsigned int count = 0;
	size_t at;

	for (at = 0; at + sizeof(head) <= state->len;
	     at += MIG_RECORD_SIZE(le32_to_cpu(head.length))) {
		memcpy(&head, state->buf + at, sizeof(head));
		count += le16_to_cpu(head.type) == VFIO_MIG_RECORD_HEADER;
	}
	return count;
}

u32 state_sequence(const struct state *state)
{
	struct vfio_mig_record head;

	ASSERT_LE(sizeof(head), state->len);
	memcpy(&head, state->buf, sizeof(head));
	return le32_to_cpu(head.sequence);
}

void state_seal(struct state *state, size_t at)
{
	struct vfio_mig_record head;

	ASSERT_LE(at + sizeof(head), state->len);
	memcpy(&head, state->buf + at, sizeof(head));
	head.crc = cpu_to_le32(record_crc(state->buf + at,
					  MIG_RECORD_SIZE(le32_to_cpu(head.length))));
	memcpy(state->buf + at, &head, sizeof(head));
}

void state_expect_same(const struct state *one, const struct state *other)
{
	struct record a[RECORDS_MAX], b[RECORDS_MAX];
	unsigned int n, i, count;

	if (!vf_has_core()) {
		EXPECT_EQ(one->len, other->len);
		EXPECT_EQ(0, memcmp(one->buf, other->buf, one->len));
		return;
	}
	count = state_records(one, a);
	ASSERT_EQ(count, state_records(other, b));
	for (n = 0; n < count; n++) {
		EXPECT_EQ(a[n].type, b[n].type);
		EXPECT_EQ(a[n].flags, b[n].flags);
		ASSERT_EQ(a[n].length, b[n].length);
		/* END has nothing of its own but the CRC. */
		if (a[n].type == VFIO_MIG_RECORD_END)
			continue;
		for (i = 0; i < a[n].length; i++)
			if (a[n].payload[i] != b[n].payload[i])
				break;
		if (i < a[n].length)
			th_log("record %#x differs at byte %u of its payload",
			       a[n].type, i);
		EXPECT_EQ(a[n].length, i);
	}
}

void draft_of(struct draft *draft, const struct state *state)
{
	struct record record[RECORDS_MAX];
	unsigned int n, count = state_records(state, record);

	memset(draft, 0, sizeof(*draft));
	draft->sequence = state_sequence(state);
	for (n = 0; n + 1 < count; n++) {
		draft_add(draft, record[n].type, record[n].flags,
			  record[n].length);
		memcpy(draft->record[n].payload, record[n].payload,
		       record[n].length);
	}
}

static unsigned int draft_find(struct draft *draft, u16 type)
{
	unsigned int n;

	for (n = 0; n < draft->count; n++)
		if (draft->record[n].type == type)
			return n;
	th_log("no record of type %#x", type);
	th_abort();
}

void *draft_payload(struct draft *draft, u16 type)
{
	return draft->record[draft_find(draft, type)].payload;
}

__le32 *draft_word(struct draft *draft, u16 type, unsigned int word)
{
	unsigned int n = draft_find(draft, type);

	ASSERT_LE((word + 1) * (u32)sizeof(__le32), draft->record[n].length);
	return (__le32 *)draft->record[n].payload + word;
}

void draft_add(struct draft *draft, u16 type, u16 flags, u32 length)
{
	unsigned int n = draft->count++;

	ASSERT_LE(draft->count, (unsigned int)ARRAY_SIZE(draft->record));
	ASSERT_LE(length, (u32)sizeof(draft->record[n].payload));
	draft->record[n].type = type;
	draft->record[n].flags = flags;
	draft->record[n].length = length;
	memset(draft->record[n].payload, 0, sizeof(draft->record[n].payload));
}

void draft_drop(struct draft *draft, u16 type)
{
	unsigned int n, kept = 0;

	for (n = 0; n < draft->count; n++)
		if (draft->record[n].type != type)
			draft->record[kept++] = draft->record[n];
	draft->count = kept;
}

void draft_append(const struct draft *draft, struct state *state)
{
	struct mig_encoder enc;
	struct vfio_mig_end end;
	unsigned int n;

	mig_encoder_init(&enc, state->buf + state->len,
			 sizeof(state->buf) - state->len, draft->sequence);
	for (n = 0; n < draft->count; n++)
		mig_encode_record(&enc, draft->record[n].type,
				  draft->record[n].flags,
				  draft->record[n].payload,
				  draft->record[n].length);
	if (!draft->no_end) {
		end = (struct vfio_mig_end){
			.records = cpu_to_le32(enc.index + draft->end_records),
			.crc = cpu_to_le32(~enc.crc + draft->end_crc),
			.bytes = cpu_to_le64(enc.used + draft->end_bytes),
		};
		mig_encode_record(&enc, VFIO_MIG_RECORD_END,
				  VFIO_MIG_RECORD_REQUIRED, &end, sizeof(end));
	}
	ASSERT_EQ(0, enc.error);
	state->len += enc.used;
}
