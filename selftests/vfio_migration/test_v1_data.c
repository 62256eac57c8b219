// SPDX-License-Identifier: GPL-2.0
/* The data protocol of v1: uapi/vfio_pci_migration_v1.h has its rules. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ability.h"
#include "harness.h"
#include "igbvf.h"
#include "v1.h"

/* A register that a state carries, and no queue uses. */
#define MARK	RDLEN(1)

TEST(v1_segment,
	"reading pending_bytes again changes nothing, reading data_offset "
	"makes one segment available, and that stays the same and readable "
	"until pending_bytes acknowledges it")
{
	static struct state one, other;
	struct iommu iommu = {};
	u64 pending, offset, size;
	unsigned int n;
	struct v1 v1;
	struct vf vf;

	v1_open_vf(&v1, &vf, &iommu, vf_bdf[0]);
	v1_go(&v1, V1_S);
	pending = v1_pending(&v1);
	EXPECT_LE((u64)1, pending);
	for (n = 0; n < 3; n++)
		EXPECT_EQ(pending, v1_pending(&v1));

	th_context("offered");
	offset = v1_data_offset(&v1);
	/* Its size has not been asked for: this acknowledges nothing. */
	for (n = 0; n < 3; n++) {
		EXPECT_EQ(pending, v1_pending(&v1));
		EXPECT_EQ(offset, v1_data_offset(&v1));
	}

	th_context("taken");
	size = v1_data_size(&v1);
	EXPECT_LE((u64)1, size);
	EXPECT_LE(size, pending);
	for (n = 0; n < 3; n++) {
		EXPECT_EQ(offset, v1_data_offset(&v1));
		EXPECT_EQ(size, v1_data_size(&v1));
	}
	ASSERT_LE(size, (u64)sizeof(one.buf));
	v1_window_read(&v1, offset, one.buf, size);
	v1_window_read(&v1, offset, other.buf, size);
	EXPECT_EQ(0, memcmp(one.buf, other.buf, size));

	th_context("acknowledged");
	EXPECT_EQ(pending - size, v1_pending(&v1));
	EXPECT_EQ(pending - size, v1_pending(&v1));
	v1_window_read(&v1, offset, other.buf, size);
	EXPECT_EQ(0, memcmp(one.buf, other.buf, size));
	one.len = size;
	v1_collect(&v1, &one);
	EXPECT_EQ(pending, (u64)one.len);
	EXPECT_TRUE(state_whole(&one));

	th_context("the end");
	for (n = 0; n < 3; n++) {
		EXPECT_EQ((u64)0, v1_pending(&v1));
		EXPECT_EQ(offset, v1_data_offset(&v1));
		EXPECT_EQ((u64)0, v1_data_size(&v1));
	}
}

TEST(v1_size_first,
	"a data_size of 0 that is read before there is a segment does not "
	"acknowledge the one that data_offset makes available afterwards")
{
	static struct state state;
	struct iommu iommu = {};
	struct v1 v1;
	struct vf vf;
	u64 pending;

	v1_open_vf(&v1, &vf, &iommu, vf_bdf[0]);
	v1_go(&v1, V1_S);
	pending = v1_pending(&v1);
	EXPECT_EQ((u64)0, v1_data_size(&v1));
	v1_data_offset(&v1);
	EXPECT_EQ(pending, v1_pending(&v1));
	v1_collect(&v1, &state);
	EXPECT_EQ(pending, (u64)state.len);
	EXPECT_TRUE(state_whole(&state));
}

TEST(v1_collect_chunks,
	"a segment may be collected in as many accesses as the user likes, of "
	"any size: the stream is the same")
{
	static const size_t chunks[] = { 1, 3, 4, 7, 8, 16, 61, 512, 0 };
	static struct state whole, pieces;
	struct iommu iommu = {};
	unsigned int n;
	struct v1 v1;
	struct vf vf;

	v1_open_vf(&v1, &vf, &iommu, vf_bdf[0]);
	v1_save(&v1, &whole);
	EXPECT_TRUE(state_whole(&whole));
	for (n = 0; n < ARRAY_SIZE(chunks); n++) {
		th_context("%zu bytes at once", chunks[n]);
		v1_go(&v1, n % 2 ? V1_R : 0);
		v1.chunk = chunks[n];
		v1_save(&v1, &pieces);
		EXPECT_EQ(whole.len, pieces.len);
		state_expect_same(&whole, &pieces);
	}
}

/* How far the user has come with a segment when the device is stopped. */
enum progress { NOTHING, PENDING, OFFERED, SIZED, COLLECTED, ACKNOWLEDGED };

static const char * const progress_names[] = {
	"nothing read", "pending_bytes read", "data_offset read",
	"data_size read", "collected", "acknowledged",
};

/*
 * The protocol up to @progress, then @change, then the rest of it. What has
 * been collected altogether is appended to @state.
 */
static void collect_around(struct v1 *v1, enum progress progress, u32 change,
			   struct state *state)
{
	u64 offset = 0, size = 0;

	if (progress >= PENDING)
		v1_pending(v1);
	if (progress >= OFFERED)
		offset = v1_data_offset(v1);
	if (progress >= SIZED)
		size = v1_data_size(v1);
	ASSERT_LE(size, (u64)sizeof(state->buf) - state->len);
	if (progress >= COLLECTED)
		v1_window_read(v1, offset, state->buf + state->len, size);
	if (progress >= ACKNOWLEDGED)
		v1_pending(v1);
	v1_go(v1, change);
	/* It knows how much there is, and has not taken it yet. */
	if (progress == SIZED)
		v1_window_read(v1, offset, state->buf + state->len, size);
	state->len += size;
	v1_collect(v1, state);
}

TEST(v1_running,
	"while RUNNING there is a part of the stream already, then "
	"pending_bytes is 0; wherever the user is when RUNNING is cleared, the "
	"stream as a whole is complete and loads")
{
	static const struct {
		u32 before, after;
	} ways[] = {
		{ V1_R | V1_S, V1_S },
		{ V1_R | V1_S, V1_S | V1_N },
		{ V1_R | V1_S | V1_N, V1_S },
	};
	static struct state state;
	struct iommu iommu = {};
	enum progress progress;
	unsigned int n;
	struct v1 v1;
	struct vf vf;

	v1_open_vf(&v1, &vf, &iommu, vf_bdf[0]);
	v1_go(&v1, V1_R | V1_S);
	v1_collect(&v1, &state);
	EXPECT_EQ(1u, state_sequences(&state));
	EXPECT_EQ((u64)0, v1_pending(&v1));
	v1_go(&v1, V1_R);

	for (n = 0; n < ARRAY_SIZE(ways); n++) {
		for (progress = NOTHING; progress <= ACKNOWLEDGED; progress++) {
			th_context("%s -> %s, %s",
				   mig_state_name(ways[n].before),
				   mig_state_name(ways[n].after),
				   progress_names[progress]);
			vf_write(&vf, MARK, 0x80 * (progress + 1));
			v1_go(&v1, ways[n].before);
			state.len = 0;
			collect_around(&v1, progress, ways[n].after, &state);
			EXPECT_TRUE(state_whole(&state));
			EXPECT_EQ(progress < SIZED ? 1u : 2u,
				  state_sequences(&state));
			v1_go(&v1, V1_R);
			vf_write(&vf, MARK, 0);
			EXPECT_EQ(0, v1_load(&v1, &state));
			v1_go(&v1, V1_R);
			EXPECT_EQ(0x80u * (progress + 1), vf_read(&vf, MARK));
		}
	}
}

TEST(v1_retracted,
	"SAVING, back to RUNNING and SAVING again begins a new sequence each "
	"time, and the stream loads as the last one, however much of the "
	"earlier ones has been collected")
{
	static struct state state;
	struct iommu iommu = {};
	enum progress progress;
	struct v1 v1;
	struct vf vf;
	u32 mark;

	v1_open_vf(&v1, &vf, &iommu, vf_bdf[0]);
	for (progress = NOTHING; progress <= ACKNOWLEDGED; progress++) {
		th_context("%s", progress_names[progress]);
		mark = 0x80 * (progress + 1);
		vf_write(&vf, MARK, 0x800);
		v1_go(&v1, V1_S);
		state.len = 0;
		collect_around(&v1, progress, V1_S | V1_R, &state);
		vf_write(&vf, MARK, 0x900);
		v1_go(&v1, V1_S | V1_N);
		v1_go(&v1, V1_S | V1_R | V1_N);
		v1_go(&v1, V1_S | V1_R);
		vf_write(&vf, MARK, mark);
		v1_go(&v1, V1_S);
		v1_collect(&v1, &state);
		EXPECT_TRUE(state_whole(&state));
		/* Of the second one nothing has been read. */
		EXPECT_LE(state_sequences(&state), 2u);
		if (progress >= SIZED)
			EXPECT_EQ(2u, state_sequences(&state));
		v1_go(&v1, V1_R);
		EXPECT_EQ(0, v1_load(&v1, &state));
		v1_go(&v1, V1_R);
		EXPECT_EQ(mark, vf_read(&vf, MARK));
	}
}

TEST(v1_new_stream,
	"clearing SAVING ends the stream: what was pending is gone, and SAVING "
	"begins a stream of its own with its first sequence")
{
	static const u32 ends[] = { V1_R, V1_R | V1_N, 0, V1_N };
	static struct state state;
	struct iommu iommu = {};
	enum progress progress;
	unsigned int n;
	struct v1 v1;
	struct vf vf;

	v1_open_vf(&v1, &vf, &iommu, vf_bdf[0]);
	for (n = 0; n < ARRAY_SIZE(ends); n++) {
		for (progress = NOTHING; progress <= ACKNOWLEDGED; progress++) {
			th_context("%s, %s", mig_state_name(ends[n]),
				   progress_names[progress]);
			v1_go(&v1, V1_S);
			state.len = 0;
			collect_around(&v1, progress, ends[n], &state);
			EXPECT_EQ((u64)0, v1_pending(&v1));
			v1_save(&v1, &state);
			EXPECT_TRUE(state_whole(&state));
			EXPECT_EQ(1u, state_sequences(&state));
			EXPECT_EQ(1u, state_sequence(&state));
			v1_go(&v1, V1_R);
		}
	}
}

/* Load @state by @feed, and expect to find the very same in the function. */
static void load_by(struct v1 *v1, const struct state *state,
		    int (*feed)(struct v1 *v1, const struct state *state,
				size_t segment), size_t segment)
{
	static struct state back;

	ASSERT_EQ(0, vf_reset(v1->vf));
	v1_go(v1, V1_M);
	EXPECT_EQ(0, feed(v1, state, segment));
	v1_save(v1, &back);
	expect_loaded(v1->vf, state, &back);
}

static int in_segments(struct v1 *v1, const struct state *state,
		       size_t segment)
{
	return v1_feed(v1, state->buf, state->len, segment);
}

/* Pieces of any size, the same in each run. */
static int in_pieces(struct v1 *v1, const struct state *state, size_t seed)
{
	size_t at, len;
	int ret = 0;

	for (at = 0; !ret && at < state->len; at += len) {
		seed = seed * 1103515245 + 12345;
		len = 1 + (seed >> 16) % 90;
		if (len > state->len - at)
			len = state->len - at;
		ret = v1_feed(v1, state->buf + at, len, 0);
	}
	return ret;
}

TEST(v1_load_segments,
	"a stream that is cut anywhere into segments, of one byte even, and "
	"placed in the window in accesses of any size loads as in one piece")
{
	static const struct {
		size_t segment, chunk;
	} cuts[] = {
		{ 0, 0 }, { 0, 1 }, { 0, 7 }, { 1, 0 }, { 3, 2 }, { 7, 0 },
		{ 8, 3 }, { 23, 0 }, { 24, 5 }, { 25, 0 }, { 333, 16 },
	};
	static struct state state;
	struct iommu iommu = {};
	unsigned int n;
	struct nic nic;
	struct v1 v1;
	struct vf vf;

	v1_open_vf(&v1, &vf, &iommu, vf_bdf[0]);
	nic_start(&nic, &vf, 0);
	v1_save(&v1, &state);
	for (n = 0; n < ARRAY_SIZE(cuts); n++) {
		th_context("segments of %zu, accesses of %zu", cuts[n].segment,
			   cuts[n].chunk);
		v1.chunk = cuts[n].chunk;
		load_by(&v1, &state, in_segments, cuts[n].segment);
	}
	v1.chunk = 0;
	for (n = 0; n < 4; n++) {
		th_context("pieces, seed %u", n);
		load_by(&v1, &state, in_pieces, n);
	}
}

TEST(v1_load_rest,
	"only the bytes that data_size counts are taken, from data_offset on, "
	"whatever else is in the window; data_size 0 takes nothing")
{
	static struct state state, junk, back;
	struct iommu iommu = {};
	struct v1 v1;
	struct vf vf;
	u64 offset;
	size_t at, len;

	v1_open_vf(&v1, &vf, &iommu, vf_bdf[0]);
	v1_save(&v1, &state);
	v1_go(&v1, V1_R);
	v1_go(&v1, V1_M);
	memset(junk.buf, 0xa5, sizeof(junk.buf));
	for (at = 0; at < state.len; at += len) {
		len = state.len - at < 200 ? state.len - at : 200;
		offset = v1_data_offset(&v1);
		ASSERT_LE(offset + 1000, v1.size);
		v1_window_write(&v1, offset, junk.buf, 1000);
		EXPECT_EQ(0, v1_put(&v1, V1_FIELD(data_size), 0));
		v1_window_write(&v1, offset, state.buf + at, len);
		ASSERT_EQ(0, v1_put(&v1, V1_FIELD(data_size), len));
	}
	v1_save(&v1, &back);
	expect_loaded(&vf, &state, &back);
}

TEST(v1_too_large,
	"a data_size larger than the window is refused with EINVAL and takes "
	"nothing: the stream goes on")
{
	static struct state state;
	struct iommu iommu = {};
	u64 offset, room, sizes[6];
	unsigned int n;
	struct v1 v1;
	struct vf vf;

	v1_open_vf(&v1, &vf, &iommu, vf_bdf[0]);
	v1_save(&v1, &state);
	v1_go(&v1, V1_R);
	v1_go(&v1, V1_M);
	ASSERT_EQ(0, v1_feed(&v1, state.buf, 100, 0));
	offset = v1_data_offset(&v1);
	room = v1.size - offset;
	sizes[0] = room + 1;
	sizes[1] = v1.size + 1;
	sizes[2] = 1ull << 32;
	sizes[3] = (1ull << 32) + 16;
	sizes[4] = 1ull << 63;
	sizes[5] = ~0ull;
	for (n = 0; n < ARRAY_SIZE(sizes); n++) {
		th_context("%#llx", (unsigned long long)sizes[n]);
		EXPECT_EQ(-EINVAL, v1_put(&v1, V1_FIELD(data_size), sizes[n]));
		EXPECT_V1_STATE(V1_M, &v1);
	}
	th_context("afterwards");
	EXPECT_EQ(0, v1_feed(&v1, state.buf + 100, state.len - 100, 0));
	v1_go(&v1, V1_R);
}

/*
 * RESUMING, in which the segment @good..@good + @bad of a stream must be
 * refused in the very write of data_size, with @want unless that is 0. The
 * error is latched until reset; then the function takes @fit.
 */
static void refuse(struct v1 *v1, const u8 *stream, size_t good, size_t bad,
		   int want, const struct state *fit)
{
	int ret;

	v1_go(v1, V1_M);
	EXPECT_EQ(0, v1_feed(v1, stream, good, 0));
	ret = v1_feed(v1, stream + good, bad, 0);
	th_count(TH_MUTATIONS, 1);
	th_count(TH_REFUSED, !!ret);
	if (want)
		EXPECT_EQ(want, ret);
	else
		EXPECT_TRUE(ret == -EINVAL || ret == -EBADMSG ||
			    ret == -EOPNOTSUPP || ret == -EFBIG);
	EXPECT_V1_STATE(V1_M, v1);
	if (ret) {
		EXPECT_EQ(ret, v1_feed(v1, stream, 8, 0));
		EXPECT_EQ(ret, v1_feed(v1, fit->buf, fit->len, 0));
		EXPECT_EQ(ret, v1_set_state(v1, 0));
		EXPECT_EQ(ret, v1_set_state(v1, V1_R));
		EXPECT_EQ(ret, v1_set_state(v1, V1_S));
		EXPECT_EQ(0, v1_set_state(v1, V1_M | V1_N));
		EXPECT_EQ(ret, v1_set_state(v1, V1_R));
		EXPECT_V1_STATE(V1_M | V1_N, v1);
	}
	ASSERT_EQ(0, vf_reset(v1->vf));
	EXPECT_V1_STATE(V1_R, v1);
	EXPECT_EQ(0u, vf_read(v1->vf, MARK));
}

/* Prime, so that it hits all parts of the records. */
#define SAMPLE	41

static void flip_half(unsigned int which)
{
	static struct state state, wrong;
	struct record record[RECORDS_MAX];
	unsigned int count, n = 0, tried = 0;
	size_t at, step = getenv("TEST_ALL") ? 1 : SAMPLE;
	struct iommu iommu = {};
	struct v1 v1;
	struct vf vf;

	v1_open_vf(&v1, &vf, &iommu, vf_bdf[which]);
	vf_write(&vf, MARK, 0x80);
	v1_save(&v1, &state);
	v1_go(&v1, V1_R);
	count = state_records(&state, record);
	for (at = which * step; at < state.len; at += 2 * step) {
		while (n + 1 < count && at >= record[n].at + record[n].size)
			n++;
		wrong = state;
		wrong.buf[at] ^= 1u << (at / step) % 8;
		th_context("bit %zu of byte %zu", (at / step) % 8, at);
		/* All records in one segment, or the wrong one in its own. */
		if (tried % 2)
			refuse(&v1, wrong.buf, record[n].at, record[n].size, 0,
			       &state);
		else
			refuse(&v1, wrong.buf, 0, wrong.len, 0, &state);
		tried++;
	}
	th_log("%u of %zu bytes tried on %s", tried, state.len, vf_bdf[which]);
	th_context("after all");
	EXPECT_EQ(0, v1_load(&v1, &state));
	v1_go(&v1, V1_R);
	EXPECT_EQ(0x80u, vf_read(&vf, MARK));
}

TEST_LONG(v1_flipped,
	"a stream with one bit flipped is refused in the data_size write that "
	"completes the record; the state stays RESUMING, the error is latched "
	"until reset, and then a stream loads again "
	"(Documentation/design.rst, Streams)")
{
	vf_need_both();
	th_both(flip_half);
}

TEST(v1_truncated,
	"at every length short of the whole the bytes are taken, but RESUMING "
	"cannot be left (ENODATA); the rest may still come")
{
	static struct state state;
	struct iommu iommu = {};
	struct v1 v1;
	struct vf vf;
	size_t at;

	v1_open_vf(&v1, &vf, &iommu, vf_bdf[0]);
	vf_write(&vf, MARK, 0x100);
	v1_save(&v1, &state);
	v1_go(&v1, V1_M | V1_N);
	for (at = 0; at < state.len; at++) {
		th_context("%zu of %zu bytes", at, state.len);
		EXPECT_EQ(-ENODATA, v1_set_state(&v1, at % 2 ? V1_R : 0));
		EXPECT_EQ((int)(V1_M | V1_N), v1_state(&v1));
		th_count(TH_MUTATIONS, 1);
		th_count(TH_REFUSED, 1);
		ASSERT_EQ(0, v1_feed(&v1, state.buf + at, 1, 0));
	}
	v1_go(&v1, V1_R);
	EXPECT_EQ(0x100u, vf_read(&vf, MARK));
}

TEST(v1_stale_tail,
	"a segment that was cut short on its way and filled up with what was "
	"there before, as QEMU 7.2 does it, is refused, in the middle of the "
	"stream and behind its end")
{
	static struct state state;
	static u8 stale[2 * STATE_MAX];
	struct iommu iommu = {};
	struct v1 v1;
	struct vf vf;
	size_t cut;

	v1_open_vf(&v1, &vf, &iommu, vf_bdf[0]);
	v1_save(&v1, &state);
	v1_go(&v1, V1_R);
	for (cut = 300; cut < state.len; cut += 257) {
		th_context("cut at %zu", cut);
		memcpy(stale, state.buf, cut);
		memcpy(stale + cut, state.buf, state.len - cut);
		refuse(&v1, stale, 0, state.len, 0, &state);
	}
	th_context("behind the end");
	memcpy(stale, state.buf, state.len);
	memset(stale + state.len, 0xa5, 128);
	refuse(&v1, stale, 0, state.len + 128, 0, &state);
	memcpy(stale + state.len, state.buf + 300, 128);
	refuse(&v1, stale, 0, state.len + 128, 0, &state);
	memset(stale + state.len, 0, 128);
	refuse(&v1, stale, 0, state.len + 128, 0, &state);
}
