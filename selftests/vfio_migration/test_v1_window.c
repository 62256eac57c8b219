// SPDX-License-Identifier: GPL-2.0
/*
 * The data window and its mapping. driver/core/window.c has the rules: a mapping
 * never faults in vain, and shows nothing of an earlier stream.
 */
#define _GNU_SOURCE
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ability.h"
#include "harness.h"
#include "igbvf.h"
#include "v1.h"

#define JUNK	0xa5

static u8 content[1 << 20];

static void open_mapped(struct v1 *v1, struct vf *vf, struct iommu *iommu,
			const char *bdf)
{
	v1_open_vf(v1, vf, iommu, bdf);
	if (!v1_map(v1))
		th_skip("the window cannot be mapped on this host");
}

/* Where the window is, on hosts that cannot map it, too. */
static u64 find_window(struct v1 *v1, u64 *size)
{
	u64 at;

	v1_go(v1, V1_S);
	at = v1_data_offset(v1);
	v1_go(v1, V1_R);
	*size = v1->size - at;
	ASSERT_LE(*size, (u64)sizeof(content));
	return at;
}

static bool holds(const u8 *bytes, u64 size, u8 byte, const char *what)
{
	u64 n;

	for (n = 0; n < size && bytes[n] == byte; n++)
		;
	if (n < size)
		th_log("byte %llu of the %s is %#x, not %#x",
		       (unsigned long long)n, what, bytes[n], byte);
	return n == size;
}

/* Does all of the window, in a mapping or as a file, hold that byte? */
static bool map_holds(struct v1 *v1, u8 byte)
{
	return holds(v1->map, v1->sparse_size, byte, "mapping");
}

static bool file_holds(struct v1 *v1, u64 at, u64 size, u8 byte)
{
	ASSERT_EQ(0, v1_read(v1, at, content, size));
	return holds(content, size, byte, "window");
}

/* The same for what can be mapped of it. */
static bool sparse_holds(struct v1 *v1, u8 byte)
{
	return file_holds(v1, v1->sparse_at, v1->sparse_size, byte);
}

static void fill_map(struct v1 *v1, u8 byte)
{
	memset(v1->map, byte, v1->sparse_size);
}

TEST(v1_mmap_coherent,
	"what is written to the window by mmap is read by read(2), and the "
	"other way round, in two mappings at once, with and without a stream")
{
	static const u32 states[] = { V1_R, V1_S, V1_M };
	struct iommu iommu = {};
	struct v1 v1, twin;
	unsigned int n;
	struct vf vf;
	u64 at, value, back;

	open_mapped(&v1, &vf, &iommu, vf_bdf[0]);
	twin = v1;
	ASSERT_TRUE(v1_map(&twin));
	for (n = 0; n < ARRAY_SIZE(states); n++) {
		v1_go(&v1, states[n]);
		for (at = 0; at + sizeof(value) <= v1.sparse_size;
		     at += at < 64 ? 1 : 501) {
			th_context("%s at %llu", mig_state_name(states[n]),
				   (unsigned long long)at);
			value = 0x1122334455667788 * (at + 1) + n;
			memcpy(v1.map + at, &value, sizeof(value));
			EXPECT_EQ(0, v1_read(&v1, v1.sparse_at + at, &back,
					     sizeof(back)));
			EXPECT_EQ(value, back);
			EXPECT_EQ(0, memcmp(twin.map + at, &value,
					    sizeof(value)));
			value = ~value;
			EXPECT_EQ(0, v1_write(&v1, v1.sparse_at + at, &value,
					      sizeof(value)));
			EXPECT_EQ(0, memcmp(v1.map + at, &value,
					    sizeof(value)));
			EXPECT_EQ(0, memcmp(twin.map + at, &value,
					    sizeof(value)));
		}
	}
	ASSERT_EQ(0, vf_reset(&vf));
}

TEST(v1_mmap_stream,
	"a state is saved and loaded by mmap, or by mmap and read(2) and "
	"write(2) in turns, as by read(2) and write(2) alone")
{
	static const struct {
		const char *name;
		enum v1_by by;
		size_t chunk;
	} ways[] = {
		{ "mmap", V1_BY_MMAP, 0 }, { "mmap by bytes", V1_BY_MMAP, 1 },
		{ "in turns", V1_BY_TURNS, 7 }, { "in turns", V1_BY_TURNS, 64 },
	};
	static struct state whole, saved, back;
	struct iommu iommu = {};
	unsigned int n;
	struct nic nic;
	struct v1 v1;
	struct vf vf;

	open_mapped(&v1, &vf, &iommu, vf_bdf[0]);
	nic_start(&nic, &vf, 0);
	v1_save(&v1, &whole);
	for (n = 0; n < ARRAY_SIZE(ways); n++) {
		th_context("%s, %zu bytes", ways[n].name, ways[n].chunk);
		v1.by = ways[n].by;
		v1.chunk = ways[n].chunk;
		v1_go(&v1, 0);
		v1_save(&v1, &saved);
		if (n)
			expect_loaded(&vf, &whole, &saved);
		else
			state_expect_same(&whole, &saved);
		EXPECT_EQ(0, v1_load(&v1, &saved));
		v1.by = V1_BY_RW;
		v1.chunk = 0;
		v1_save(&v1, &back);
		expect_loaded(&vf, &whole, &back);
	}
}

/* Transitions that begin or end a stream, and others. */
static const struct {
	u32 from, to;
	bool renews;
} renewals[] = {
	{ V1_R, V1_R | V1_S, true },
	{ V1_R, V1_S, true },
	{ V1_R, V1_M, true },
	{ 0, V1_S | V1_N, true },
	{ V1_R | V1_S, V1_R, true },
	{ V1_R | V1_S, 0, true },
	{ V1_S, V1_R, true },
	{ V1_S, 0, true },
	{ V1_S, V1_M, true },
	{ V1_M, V1_R, true },
	{ V1_M, V1_S, true },
	{ V1_R, 0, false },
	{ V1_R, V1_R, false },
	{ V1_R | V1_S, V1_R | V1_S | V1_N, false },
	{ V1_R | V1_S, V1_S, false },
	{ V1_S, V1_R | V1_S, false },
	{ V1_S, V1_S | V1_N, false },
	{ V1_M, V1_M | V1_N, false },
};

/* A window, and how it is looked at and written to. */
struct view {
	struct v1 *v1;
	u64 at;
	u64 size;
};

static void view_fill(struct view *view, bool by_map)
{
	if (by_map) {
		fill_map(view->v1, JUNK);
		return;
	}
	memset(content, JUNK, view->size);
	ASSERT_EQ(0, v1_write(view->v1, view->at, content, view->size));
}

static void view_expect(struct view *view, u8 byte)
{
	EXPECT_TRUE(file_holds(view->v1, view->at, view->size, byte));
	if (view->v1->map)
		EXPECT_TRUE(map_holds(view->v1, byte));
}

/* To a state, with a stream that is under way and could be left. */
static void enter(struct v1 *v1, u32 state, const struct state *saved)
{
	v1_go(v1, state);
	if (state & V1_M)
		ASSERT_EQ(0, v1_feed(v1, saved->buf, saved->len, 0));
	if (state & V1_S)
		v1_data_offset(v1);
}

TEST(v1_window_fresh,
	"whatever was left in the window, by mmap or write(2), is gone when a "
	"stream begins or ends, and still there when none does")
{
	static struct state saved;
	struct iommu iommu = {};
	struct v1 v1;
	struct view view = { .v1 = &v1 };
	unsigned int n, by_map;
	struct vf vf;

	v1_open_vf(&v1, &vf, &iommu, vf_bdf[0]);
	v1_save(&v1, &saved);
	view.at = find_window(&v1, &view.size);
	v1_map(&v1);
	for (n = 0; n < ARRAY_SIZE(renewals); n++) {
		for (by_map = 0; by_map <= !!v1.map; by_map++) {
			u32 from = renewals[n].from, to = renewals[n].to;

			th_context("%s -> %s, left by %s", mig_state_name(from),
				   mig_state_name(to), by_map ? "mmap" : "write");
			enter(&v1, from, &saved);
			view_fill(&view, by_map);
			view_expect(&view, JUNK);
			v1_go(&v1, to);
			view_expect(&view, renewals[n].renews ? 0 : JUNK);
			/* RESUMING without a stream cannot be left otherwise. */
			if (to & V1_M)
				ASSERT_EQ(0, vf_reset(&vf));
			else
				v1_go(&v1, V1_R);
		}
	}
}

TEST(v1_window_ended,
	"whatever was left in the window is gone after a reset, by ioctl or "
	"config space, and after the device was closed")
{
	static void (*const ends[])(struct vf *vf) = {
		vf_must_reset, vf_flr, vf_reopen,
	};
	static const u32 states[] = { V1_R, V1_R | V1_S, V1_S, 0, V1_M };
	static struct state saved;
	struct iommu iommu = {};
	struct v1 v1;
	struct view view = { .v1 = &v1 };
	unsigned int n, end;
	struct vf vf;

	v1_open_vf(&v1, &vf, &iommu, vf_bdf[0]);
	v1_save(&v1, &saved);
	view.at = find_window(&v1, &view.size);
	for (n = 0; n < ARRAY_SIZE(states); n++) {
		for (end = 0; end < ARRAY_SIZE(ends); end++) {
			th_context("%s, end %u", mig_state_name(states[n]), end);
			v1_map(&v1);
			enter(&v1, states[n], &saved);
			view_fill(&view, v1.map);
			view_expect(&view, JUNK);
			/* A mapping would keep the device open. */
			if (ends[end] == vf_reopen)
				v1_unmap(&v1);
			ends[end](&vf);
			EXPECT_V1_STATE(V1_R, &v1);
			view_expect(&view, 0);
			v1_unmap(&v1);
		}
	}
}

TEST(v1_window_refused,
	"a change of state that is refused leaves the window as it was")
{
	static struct state saved;
	struct iommu iommu = {};
	struct v1 v1;
	struct view view = { .v1 = &v1 };
	struct vf vf;

	v1_open_vf(&v1, &vf, &iommu, vf_bdf[0]);
	v1_save(&v1, &saved);
	view.at = find_window(&v1, &view.size);
	v1_map(&v1);
	v1_go(&v1, V1_M);
	view_fill(&view, false);
	EXPECT_NE(0, v1_set_state(&v1, V1_R));
	EXPECT_NE(0, v1_set_state(&v1, V1_S));
	EXPECT_NE(0, v1_set_state(&v1, VFIO_MIG_V1_ERROR));
	view_expect(&view, JUNK);
	th_context("the stream goes on");
	EXPECT_EQ(0, v1_feed(&v1, saved.buf, saved.len, 0));
	v1_go(&v1, V1_R);
}

/* The window after something that ends every stream. */
static void expect_renewed(struct v1 *v1)
{
	EXPECT_TRUE(map_holds(v1, 0));
	EXPECT_TRUE(sparse_holds(v1, 0));
	fill_map(v1, JUNK);
	EXPECT_TRUE(sparse_holds(v1, JUNK));
}

TEST(v1_map_lives,
	"a mapping of the window can be used in every state, after every "
	"change of state and after a reset, and is the window of now each time")
{
	static struct state saved, back;
	struct iommu iommu = {};
	unsigned int n, to;
	struct v1 v1;
	struct vf vf;
	u32 state;

	open_mapped(&v1, &vf, &iommu, vf_bdf[0]);
	v1_save(&v1, &saved);
	v1_go(&v1, V1_R);
	v1.by = V1_BY_MMAP;
	for (n = 0; n < V1_STATES; n++) {
		state = v1_states[n];
		th_context("%s", mig_state_name(state));
		fill_map(&v1, JUNK);
		v1_go(&v1, state);
		if (state & V1_M)
			ASSERT_EQ(0, v1_feed(&v1, saved.buf, saved.len, 0));
		for (to = 0; to < V1_STATES; to++) {
			if (v1_states[to] & V1_M)
				continue;
			v1_go(&v1, v1_states[to]);
			back.len = 0;
			if (v1_states[to] & V1_S)
				v1_collect(&v1, &back);
			fill_map(&v1, to);
			EXPECT_TRUE(sparse_holds(&v1, to));
		}
		ASSERT_EQ(0, vf_reset(&vf));
		expect_renewed(&v1);
	}

	th_context("reset while RESUMING");
	v1_go(&v1, V1_M);
	ASSERT_EQ(0, v1_feed(&v1, saved.buf, 100, 0));
	ASSERT_EQ(0, vf_reset(&vf));
	expect_renewed(&v1);
	th_context("function level reset while SAVING");
	v1_go(&v1, V1_S);
	v1_data_offset(&v1);
	vf_flr(&vf);
	EXPECT_V1_STATE(V1_R, &v1);
	expect_renewed(&v1);
}

TEST(v1_map_closed,
	"a mapping can be used after the device fd was closed; after the "
	"mapping is gone, too, the device is RUNNING with a fresh window when "
	"it is opened again")
{
	struct iommu iommu = {};
	unsigned int n;
	struct v1 v1;
	struct vf vf;

	open_mapped(&v1, &vf, &iommu, vf_bdf[0]);
	for (n = 0; n < V1_STATES; n++) {
		th_context("%s", mig_state_name(v1_states[n]));
		v1_go(&v1, v1_states[n]);
		if (v1_states[n] & V1_S)
			v1_data_offset(&v1);
		v1.map[0] ^= 0xff;
		vf_close_device(&vf);
		/* A mapping holds the file. */
		fill_map(&v1, JUNK);
		EXPECT_TRUE(map_holds(&v1, JUNK));
		v1_unmap(&v1);
		vf_reopen(&vf);
		EXPECT_V1_STATE(V1_R, &v1);
		EXPECT_TRUE(sparse_holds(&v1, 0));
		ASSERT_TRUE(v1_map(&v1));
		EXPECT_TRUE(map_holds(&v1, 0));
	}
}

TEST(v1_map_forked,
	"a mapping in another process shows the window of now, too, and none "
	"of an earlier stream")
{
	struct iommu iommu = {};
	int status, go[2], came[2];
	struct v1 v1;
	struct vf vf;
	pid_t pid;
	u8 byte;

	open_mapped(&v1, &vf, &iommu, vf_bdf[0]);
	v1_go(&v1, V1_S);
	v1_data_offset(&v1);
	v1_unmap(&v1);
	ASSERT_TRUE(v1_map_inherited(&v1));
	ASSERT_EQ(0, pipe(go));
	ASSERT_EQ(0, pipe(came));
	pid = fork();
	ASSERT_NE(-1, pid);
	if (!pid) {
		/* Its page tables have the page of this stream now. */
		EXPECT_EQ(0, memcmp(v1.map + 24, "VFIOMIGS", 8));
		ASSERT_EQ((ssize_t)1, write(came[1], "", 1));
		ASSERT_EQ((ssize_t)1, read(go[0], &byte, 1));
		EXPECT_TRUE(map_holds(&v1, 0));
		fill_map(&v1, JUNK);
		_exit(0);
	}
	ASSERT_EQ((ssize_t)1, read(came[0], &byte, 1));
	v1_go(&v1, V1_R);
	ASSERT_EQ((ssize_t)1, write(go[1], "", 1));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_TRUE(map_holds(&v1, JUNK));
}
