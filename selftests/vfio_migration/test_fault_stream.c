// SPDX-License-Identifier: GPL-2.0
/* Faults while a device state is loaded or collected. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/pci_regs.h>
#include <string.h>
#include <unistd.h>

#include "fault.h"
#include "harness.h"

/* Write the state to a function that is RESUMING: 0 or -errno. */
static int feed(struct scene *scene, const struct state *state)
{
	if (scene->v2)
		return state_write(scene->fd, state->buf, state->len);
	return v1_feed(&scene->v1, state->buf, state->len, 0);
}

/* Its memory is allocated when first used; fault_window is about that. */
static void touch_window(struct scene *scene)
{
	static const u8 zeros[STATE_MAX];

	if (!scene->v2)
		v1_window_write(&scene->v1, v1_data_offset(&scene->v1), zeros,
				scene->saved.len);
}

/*
 * Not every fault makes the state unfit: statistics may be missing, the PF may
 * have no use for an address that it has given itself.
 */
static bool may_pass(const char *point)
{
	return !strcmp(point, "get-0x104") || !strcmp(point, "pf-refusal");
}

/* It was refused: for good, and only a reset ends that. */
static void expect_refused(struct scene *scene, const struct state *state,
			   int verdict, bool error)
{
	unsigned int n;

	EXPECT_EQ(verdict, feed(scene, state));
	EXPECT_V1_STATE(V1_M, &scene->v1);
	for (n = 0; n < V1_STATES; n++) {
		if (v1_states[n] & V1_M)
			continue;
		EXPECT_EQ(verdict, scene_go(scene, v1_states[n]));
		if (error)
			break;
		EXPECT_V1_STATE(V1_M, &scene->v1);
		EXPECT_EQ(false, !!(vf_real_command(&scene->vf) &
				    PCI_COMMAND_MASTER));
	}
	if (error) {
		EXPECT_V1_STATE(VFIO_MIG_V1_ERROR, &scene->v1);
		scene_expect_error(scene);
	}
}

static void load_with_faults(struct scene *scene, const char *action)
{
	bool silent = !strcmp(action, "silent");
	struct faults faults;
	u64 nth, hits, began;
	int ret;

	ASSERT_EQ(0, scene_go(scene, V1_M));
	touch_window(scene);
	fault_clear(&scene->vf);
	ASSERT_EQ(0, feed(scene, &scene->saved));
	fault_read(&scene->vf, &faults);
	hits = fault_hits(&faults, "any");
	EXPECT_LE((u64)8, hits);
	for (nth = 1; nth <= hits; nth++) {
		scene_fresh(scene);
		ASSERT_EQ(0, scene_go(scene, V1_M));
		touch_window(scene);
		fault_clear(&scene->vf);
		fault_arm(&scene->vf, "any", nth, action);
		began = time_ms();
		ret = feed(scene, &scene->saved);
		EXPECT_LE(time_ms() - began, (u64)5000);
		fault_read(&scene->vf, &faults);
		fault_clear(&scene->vf);
		th_context("%s, %s at %s", scene->v2 ? "v2" : "v1", action,
			   faults.last);
		ASSERT_NE('\0', *faults.last);
		EXPECT_V1_STATE(V1_M, &scene->v1);
		if (ret) {
			expect_refused(scene, &scene->saved, ret, silent);
			continue;
		}
		EXPECT_EQ(false, silent);
		EXPECT_TRUE(may_pass(faults.last));
		ASSERT_EQ(0, scene_go(scene, V1_R));
		scene_expect_working(scene);
	}

	/* And then it loads. */
	th_context("%s, after all", scene->v2 ? "v2" : "v1");
	scene_fresh(scene);
	ASSERT_EQ(0, scene_go(scene, V1_M));
	EXPECT_EQ(0, feed(scene, &scene->saved));
	ASSERT_EQ(0, scene_go(scene, V1_R));
	scene_expect_working(scene);
}

static void load_by_both_doors(const char *action)
{
	static struct scene scene;

	scene_open(&scene, false);
	/* Messages of every kind. */
	mbx_ask(&scene.vf, MSG_SET_VLAN | 1 << 16, 99);
	mbx_ask(&scene.vf, MSG_SET_MULTICAST | 1 << 16, 0x123);
	state_save(&scene.vf, &scene.saved);
	scene_fresh(&scene);
	load_with_faults(&scene, action);
	scene_fresh(&scene);
	scene.v2 = true;
	load_with_faults(&scene, action);
}

TH_TEST(load_faults, 300, false,
	"a fault at any place of loading a state refuses it: the write fails, "
	"so do later ones and every way out but a reset, the function stays "
	"RESUMING and quiet")
{
	load_by_both_doors("fail=-ENXIO");
}

TH_TEST(load_silent, 300, false,
	"a function that stops answering at any place of loading a state: the "
	"write fails within 5 s, and the next transition leads to ERROR")
{
	load_by_both_doors("silent");
}

TEST(fault_load_queue,
	"a queue that does not stop when a refused state is cleared away: ERROR "
	"with the next transition")
{
	static struct scene scene;
	int ret;

	scene_open(&scene, false);
	ASSERT_EQ(0, scene_go(&scene, V1_M));
	fault_clear(&scene.vf);
	fault_arm(&scene.vf, "pf-answer", 1, "fail=-ETIMEDOUT");
	fault_arm(&scene.vf, "queue-stop", 2, "fail=-ETIMEDOUT");
	ret = feed(&scene, &scene.saved);
	EXPECT_EQ(-ETIMEDOUT, ret);
	expect_refused(&scene, &scene.saved, ret, true);
}

TEST(fault_window,
	"no memory for the window: the access that needs it fails, none of the "
	"stream is lost")
{
	static struct scene scene;
	static struct state state;
	struct vf *vf = &scene.vf;
	u64 value, window;
	u8 byte = 1;

	scene_open(&scene, false);
	v1_go(&scene.v1, V1_S);
	fault_clear(vf);
	fault_arm(vf, "window", 1, "fail=-ENOMEM");
	EXPECT_EQ(-ENOMEM, v1_get(&scene.v1, V1_FIELD(data_offset), &value));
	state.len = 0;
	v1_collect(&scene.v1, &state);
	state_expect_same(&scene.saved, &state);
	window = v1_data_offset(&scene.v1);
	v1_go(&scene.v1, V1_R);

	v1_go(&scene.v1, V1_M);
	fault_arm(vf, "window", 1, "fail=-ENOMEM");
	EXPECT_EQ(-ENOMEM, v1_write(&scene.v1, window, &byte, 1));
	EXPECT_EQ(0, v1_write(&scene.v1, window, &byte, 1));
	EXPECT_EQ(0, v1_feed(&scene.v1, state.buf, state.len, 0));
	v1_go(&scene.v1, V1_R);
	scene_expect_working(&scene);

	/* A fault of the CPU's is repeated until it succeeds. */
	v1_go(&scene.v1, V1_S);
	if (!v1_map(&scene.v1))
		return;
	scene.v1.by = V1_BY_MMAP;
	v1_go(&scene.v1, V1_R);
	v1_go(&scene.v1, V1_M);
	fault_arm(vf, "window", 1, "fail=-ENOMEM");
	EXPECT_EQ(0, v1_feed(&scene.v1, state.buf, state.len, 0));
	v1_go(&scene.v1, V1_R);
	v1_unmap(&scene.v1);
}

static void expect_window(struct scene *scene, u32 to, const char *point)
{
	static u8 piece[64], back[64];
	u64 window;

	th_context("RESUMING -> %s, %s fails", mig_state_name(to), point);
	scene_enter(scene, V1_M);
	memset(piece, 0xa5, sizeof(piece));
	window = v1_data_offset(&scene->v1);
	ASSERT_EQ(0, v1_write(&scene->v1, window, piece, sizeof(piece)));
	fault_clear(&scene->vf);
	fault_arm(&scene->vf, point, 1, "fail=-ENXIO");
	EXPECT_TRUE(scene_go(scene, to) < 0);
	EXPECT_V1_STATE(V1_M, &scene->v1);
	ASSERT_EQ(0, v1_read(&scene->v1, window, back, sizeof(back)));
	EXPECT_EQ(0, memcmp(piece, back, sizeof(back)));
	EXPECT_EQ(0, scene_go(scene, to));
	EXPECT_V1_STATE(to, &scene->v1);
}

TEST(fault_window_kept,
	"a transition out of RESUMING that fails leaves what the user has "
	"placed in the window")
{
	static struct scene scene;

	scene_open(&scene, false);
	expect_window(&scene, V1_S, "capture");
	expect_window(&scene, V1_R | V1_S, "release");
	expect_window(&scene, V1_R, "release");
	expect_window(&scene, 0, "resume-end");
}

TEST(fault_precopy,
	"what cannot be encoded while RUNNING is not offered, and is as soon as "
	"it can")
{
	static struct scene scene;

	scene_open(&scene, false);
	v1_go(&scene.v1, V1_R | V1_S);
	fault_clear(&scene.vf);
	fault_arm(&scene.vf, "sequence-begin", 1, "fail=-ENOSPC");
	EXPECT_EQ((u64)0, v1_pending(&scene.v1));
	EXPECT_NE((u64)0, v1_pending(&scene.v1));
	v1_go(&scene.v1, V1_R);
}
