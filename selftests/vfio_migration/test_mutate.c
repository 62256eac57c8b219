// SPDX-License-Identifier: GPL-2.0
/*
 * Real streams made wrong at random, against the real driver: as bytes that
 * something has damaged, and as records that somebody has forged with CRCs that
 * fit. Nothing damaged may be taken for whole, and nothing forged may do more than
 * to be refused, or to be a state that a guest could have had.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "harness.h"
#include "igbvf.h"
#include "state.h"
#include "vfio.h"

/* Each kind of damage twice, for each function. */
#define ROUNDS	22

/**
 * struct damage - a way in which a stream is damaged
 * @name: what it is
 * @apply: does it to @state; may leave it as it was
 */
struct damage {
	const char *name;
	void (*apply)(struct state *state, u32 *seed);
};

static size_t place(const struct state *state, u32 *seed)
{
	return th_dice(seed, state->len);
}

/* Make room for @bytes at @at, or take them out. */
static void insert(struct state *state, size_t at, size_t bytes)
{
	ASSERT_LE(state->len + bytes, sizeof(state->buf));
	memmove(state->buf + at + bytes, state->buf + at, state->len - at);
	state->len += bytes;
}

static void delete(struct state *state, size_t at, size_t bytes)
{
	if (bytes > state->len - at)
		bytes = state->len - at;
	memmove(state->buf + at, state->buf + at + bytes,
		state->len - at - bytes);
	state->len -= bytes;
}

static void damage_bit(struct state *state, u32 *seed)
{
	state->buf[place(state, seed)] ^= 1 << th_dice(seed, 8);
}

static void damage_byte(struct state *state, u32 *seed)
{
	state->buf[place(state, seed)] = th_dice(seed, 256);
}

static void damage_cut(struct state *state, u32 *seed)
{
	state->len = place(state, seed);
}

static void damage_hole(struct state *state, u32 *seed)
{
	delete(state, place(state, seed), 1 + th_dice(seed, 64));
}

static void damage_zeros(struct state *state, u32 *seed)
{
	size_t at = place(state, seed), bytes = 1 + th_dice(seed, 64);

	if (bytes > state->len - at)
		bytes = state->len - at;
	memset(state->buf + at, 0, bytes);
}

static void damage_grown(struct state *state, u32 *seed)
{
	size_t at = place(state, seed), bytes = 8 * (1 + th_dice(seed, 8));

	insert(state, at, bytes);
	while (bytes--)
		state->buf[at++] = th_dice(seed, 256);
}

static void damage_tail(struct state *state, u32 *seed)
{
	size_t bytes = 1 + th_dice(seed, 100);

	while (bytes--)
		state->buf[state->len++] = th_dice(seed, 256);
}

static void damage_repeated(struct state *state, u32 *seed)
{
	struct record record[RECORDS_MAX], *it;

	it = &record[th_dice(seed, state_records(state, record))];
	insert(state, it->at, it->size);
	memcpy(state->buf + it->at, state->buf + it->at + it->size, it->size);
}

static void damage_lost(struct state *state, u32 *seed)
{
	struct record record[RECORDS_MAX], *it;

	it = &record[th_dice(seed, state_records(state, record))];
	delete(state, it->at, it->size);
}

static void damage_swapped(struct state *state, u32 *seed)
{
	unsigned int count, n;
	struct record record[RECORDS_MAX];
	static struct state other;

	count = state_records(state, record);
	n = th_dice(seed, count - 1);
	other.len = record[n].at;
	memcpy(other.buf, state->buf, other.len);
	memcpy(other.buf + other.len, state->buf + record[n + 1].at,
	       record[n + 1].size);
	other.len += record[n + 1].size;
	memcpy(other.buf + other.len, state->buf + record[n].at,
	       record[n].size);
	other.len += record[n].size;
	memcpy(other.buf + other.len, state->buf + other.len,
	       state->len - other.len);
	other.len = state->len;
	*state = other;
}

static void damage_twice(struct state *state, u32 *seed)
{
	size_t len = state->len;

	(void)seed;
	ASSERT_LE(2 * len, sizeof(state->buf));
	memcpy(state->buf + len, state->buf, len);
	state->len = 2 * len;
}

static const struct damage damages[] = {
	{ "a bit", damage_bit },
	{ "a byte", damage_byte },
	{ "the end is missing", damage_cut },
	{ "bytes are missing", damage_hole },
	{ "zeros", damage_zeros },
	{ "bytes too many", damage_grown },
	{ "something after the end", damage_tail },
	{ "a record twice", damage_repeated },
	{ "a record is missing", damage_lost },
	{ "two records swapped", damage_swapped },
	{ "the whole twice", damage_twice },
};

/* The errors that a stream can be refused with. */
static bool is_verdict(int ret)
{
	return ret == -EINVAL || ret == -EBADMSG || ret == -EOPNOTSUPP ||
	       ret == -EFBIG || ret == -EPERM;
}

/*
 * Load it in pieces of any size. 0: it was accepted, and is in the device, which
 * is stopped; or the error of the write or of the change that refused it.
 */
static int load(struct vf *vf, const struct state *state, u32 *seed)
{
	size_t at = 0, bytes, most = 1u << th_dice(seed, 13);
	int fd, ret = 0;

	ASSERT_EQ(0, vf_set_state(vf, VFIO_DEVICE_STATE_RESUMING, &fd));
	while (!ret && at < state->len) {
		bytes = 1 + th_dice(seed, most);
		if (bytes > state->len - at)
			bytes = state->len - at;
		ret = state_write(fd, state->buf + at, bytes);
		at += bytes;
	}
	if (ret) {
		EXPECT_TRUE(is_verdict(ret));
		EXPECT_EQ(ret, vf_set_state(vf, VFIO_DEVICE_STATE_STOP, NULL));
	} else {
		ret = vf_set_state(vf, VFIO_DEVICE_STATE_STOP, NULL);
		if (ret)
			EXPECT_EQ(-ENODATA, ret);
	}
	EXPECT_STATE(ret ? VFIO_DEVICE_STATE_RESUMING : VFIO_DEVICE_STATE_STOP,
		     vf);
	close(fd);
	th_count(TH_MUTATIONS, 1);
	if (ret)
		th_count(TH_REFUSED, 1);
	return ret;
}

/* A function with something to save, and another seed for each of the two. */
static u32 begin(struct vf *vf, struct iommu *iommu, unsigned int which,
		 struct state *state)
{
	struct nic nic;

	vf_open(vf, iommu, vf_bdf[which]);
	nic_start(&nic, vf, 0);
	state_save(vf, state);
	return th_seed() + which * 0x51ed270b;
}

/* It is still fit for a stream that is right. */
static void end(struct vf *vf, const struct state *state)
{
	th_context("at the end");
	ASSERT_EQ(0, vf_reset(vf));
	EXPECT_EQ(0, state_load(vf, state));
	EXPECT_EQ(0, vf_set_state(vf, VFIO_DEVICE_STATE_RUNNING, NULL));
}

static void damage_some(unsigned int which)
{
	unsigned int n, rounds = th_times(ROUNDS), kind;
	static struct state state, wrong;
	struct iommu iommu = {};
	struct vf vf;
	u32 seed, was;
	int ret;

	seed = begin(&vf, &iommu, which, &state);
	for (n = 0; n < rounds; n++) {
		was = seed;
		kind = n % ARRAY_SIZE(damages);
		wrong = state;
		damages[kind].apply(&wrong, &seed);
		if (wrong.len == state.len &&
		    !memcmp(wrong.buf, state.buf, state.len))
			continue;
		th_context("%s, seed %#x", damages[kind].name, was);
		ret = load(&vf, &wrong, &seed);
		EXPECT_NE(0, ret);
		ASSERT_EQ(0, vf_reset(&vf));
	}
	end(&vf, &state);
}

TEST_LONG(damaged,
	"no stream that has been damaged is accepted, wherever and however")
{
	th_both(damage_some);
}

/**
 * struct forgery - a way in which records are forged
 * @name: what it is
 * @want: how it must be refused; 0: it must be accepted; 1: either
 * @same: if it is accepted, it is the same state as before
 * @apply: does it
 */
struct forgery {
	const char *name;
	int want;
	bool same;
	void (*apply)(struct draft *draft, u32 *seed);
};

/* One of the backend's records; they begin behind HEADER and IDENTITY. */
static unsigned int victim(struct draft *draft, u32 *seed)
{
	return 2 + th_dice(seed, draft->count - 2);
}

static void swap_records(struct draft *draft, unsigned int a, unsigned int b)
{
	__typeof__(draft->record[0]) other = draft->record[a];

	draft->record[a] = draft->record[b];
	draft->record[b] = other;
}

static void forge_order(struct draft *draft, u32 *seed)
{
	swap_records(draft, victim(draft, seed), victim(draft, seed));
}

static void forge_first(struct draft *draft, u32 *seed)
{
	swap_records(draft, th_dice(seed, 2), victim(draft, seed));
}

static void forge_repeat(struct draft *draft, u32 *seed)
{
	unsigned int n = victim(draft, seed);

	draft->record[draft->count++] = draft->record[n];
}

static void forge_growth(struct draft *draft, u32 *seed)
{
	draft->record[victim(draft, seed)].length += 1 + th_dice(seed, 64);
}

static void forge_shrinkage(struct draft *draft, u32 *seed)
{
	unsigned int n = victim(draft, seed);

	draft->record[n].length -= 1 + th_dice(seed, draft->record[n].length);
}

static void forge_type(struct draft *draft, u32 *seed)
{
	/* One that is needed and is not STATS, which may be left out. */
	draft->record[2 + th_dice(seed, 4)].type = 0x105 + th_dice(seed, 1000);
}

static void forge_stranger(struct draft *draft, u32 *seed)
{
	u32 length = th_dice(seed, 1000), n;

	draft_add(draft, 0x105 + th_dice(seed, 1000), 0, length);
	for (n = 0; n < length; n++)
		draft->record[draft->count - 1].payload[n] = th_dice(seed, 256);
	swap_records(draft, draft->count - 1, victim(draft, seed));
}

static void forge_absence(struct draft *draft, u32 *seed)
{
	draft_drop(draft, draft->record[2 + th_dice(seed, 4)].type);
}

/* Anything may come of these. */
static void forge_values(struct draft *draft, u32 *seed)
{
	unsigned int n, times = 1 + th_dice(seed, 4);

	while (times--) {
		n = victim(draft, seed);
		draft->record[n].payload[th_dice(seed, draft->record[n].length)] =
			th_dice(seed, 256);
	}
}

static void forge_head(struct draft *draft, u32 *seed)
{
	unsigned int n = th_dice(seed, 2);

	draft->record[n].payload[th_dice(seed, draft->record[n].length)] ^=
		1 << th_dice(seed, 8);
}

static const struct forgery forgeries[] = {
	{ "records in another order", 0, true, forge_order },
	{ "HEADER or IDENTITY elsewhere", -EINVAL, false, forge_first },
	{ "a record twice", -EINVAL, false, forge_repeat },
	{ "a record too long", -EINVAL, false, forge_growth },
	{ "a record too short", -EINVAL, false, forge_shrinkage },
	{ "another type, required", -EOPNOTSUPP, false, forge_type },
	{ "a strange record, not required", 0, true, forge_stranger },
	{ "a record is missing", -EINVAL, false, forge_absence },
	{ "other values", 1, false, forge_values },
	{ "another HEADER or IDENTITY", 1, true, forge_head },
};

static void forge_some(unsigned int which)
{
	static struct state state, wrong, back;
	unsigned int n, rounds = th_times(ROUNDS), kind;
	struct iommu iommu = {};
	static struct draft draft;
	struct vf vf;
	u32 seed, was;
	int ret;

	seed = begin(&vf, &iommu, which, &state);
	for (n = 0; n < rounds; n++) {
		const struct forgery *it;

		was = seed;
		kind = n % ARRAY_SIZE(forgeries);
		it = &forgeries[kind];
		th_context("%s, seed %#x", it->name, was);
		draft_of(&draft, &state);
		it->apply(&draft, &seed);
		wrong.len = 0;
		draft_append(&draft, &wrong);
		ret = load(&vf, &wrong, &seed);
		if (it->want <= 0)
			EXPECT_EQ(it->want, ret);
		if (!ret) {
			/* Never RUNNING: rings may be anywhere. */
			state_save(&vf, &back);
			EXPECT_TRUE(state_whole(&back));
			if (it->same)
				igbvf_expect_same(&state, &back);
		}
		ASSERT_EQ(0, vf_reset(&vf));
	}
	end(&vf, &state);
}

TEST_LONG(forged,
	"a stream that has been forged, with CRCs that fit, is refused, or it is "
	"a state that can be saved again")
{
	th_both(forge_some);
}
