// SPDX-License-Identifier: GPL-2.0
/*
 * What a source sends while it works, and a destination does with it before the
 * guest is stopped: the PF is asked for what it held. How often it is asked is
 * counted by the points of fault injection.
 *
 * Through v1, where SAVING and RUNNING is there on all kernels.
 */
#include <errno.h>
#include <stdio.h>

#include "fault.h"
#include "harness.h"
#include "main.h"
#include "pf.h"

#define LINK_MS		20000
#define VLAN_ADD	(MSG_SET_VLAN | 1 << 16)
#define VLAN_REMOVE	MSG_SET_VLAN
#define MULTICAST	(MSG_SET_MULTICAST | 1 << 16)

/* A stream in its two parts. */
static struct state ahead, rest;

static u64 hits(struct scene *scene, const char *point)
{
	struct faults faults;

	fault_read(&scene->vf, &faults);
	return fault_hits(&faults, point);
}

/* RUNNING, with something of each kind at the PF. */
static void guest_asks(struct scene *scene)
{
	mbx_ask(&scene->vf, VLAN_ADD, 99);
	mbx_ask(&scene->vf, MULTICAST, 0x123);
	mbx_ask(&scene->vf, MSG_SET_LPE, 1522);
}

static void collect_ahead(struct scene *scene)
{
	ahead.len = 0;
	rest.len = 0;
	v1_go(&scene->v1, V1_S | V1_R);
	v1_collect(&scene->v1, &ahead);
	EXPECT_TRUE(ahead.len);
}

/* A source that has asked its PF, and has sent ahead. */
static void open_ahead(struct scene *scene)
{
	scene_open(scene, false);
	guest_asks(scene);
	collect_ahead(scene);
}

static void collect_rest(struct scene *scene)
{
	v1_go(&scene->v1, V1_S);
	v1_collect(&scene->v1, &rest);
	EXPECT_TRUE(rest.len);
}

/* The same function is the destination, and has forgotten everything. */
static void begin_resuming(struct scene *scene)
{
	v1_go(&scene->v1, V1_R);
	ASSERT_EQ(0, vf_reset(&scene->vf));
	v1_go(&scene->v1, V1_M);
	fault_clear(&scene->vf);
}

static int feed(struct scene *scene, const struct state *part)
{
	return v1_feed(&scene->v1, part->buf, part->len, 0);
}

/* A destination that has what was sent ahead. */
static void prepare(struct scene *scene)
{
	begin_resuming(scene);
	EXPECT_EQ(0, feed(scene, &ahead));
}

/* Feed the rest, and expect what it took; then it works. */
static void expect_rest(struct scene *scene, u64 least, u64 most)
{
	u64 before = hits(scene, "pf-answer"), asked;

	EXPECT_EQ(0, feed(scene, &rest));
	asked = hits(scene, "pf-answer") - before;
	EXPECT_LE(least, asked);
	EXPECT_LE(asked, most);
	v1_go(&scene->v1, V1_R);
	scene_expect_working(scene);
}

TH_TEST(ahead, 60, true,
	"what the PF held at the source is asked for while the source works, "
	"and not again when it is stopped")
{
	static struct scene scene;

	open_ahead(&scene);
	collect_rest(&scene);
	prepare(&scene);
	EXPECT_EQ((u64)1, hits(&scene, "backend-prepare"));
	/* RESET, VLAN, multicast, frame size at least. */
	EXPECT_LE((u64)4, hits(&scene, "pf-answer"));
	EXPECT_V1_STATE(V1_M, &scene.v1);
	/* The user sees a function that has just been reset. */
	EXPECT_EQ(0u, vf_read(&scene.vf, VMBMEM(0)));
	EXPECT_EQ(0u, vf_read(&scene.vf, TDLEN(0)));
	expect_rest(&scene, 0, 0);
}

TH_TEST(ahead_changed, 60, true,
	"of what has changed at the source meanwhile, only that is asked for")
{
	static struct scene scene;

	open_ahead(&scene);
	mbx_ask(&scene.vf, VLAN_ADD, 100);
	mbx_ask(&scene.vf, VLAN_REMOVE, 99);
	collect_rest(&scene);
	prepare(&scene);
	/* One VLAN more, one fewer. */
	expect_rest(&scene, 2, 2);
}

TH_TEST(ahead_restarted, 60, true,
	"a guest that has reset its function meanwhile finds a PF that does "
	"not know it")
{
	static struct scene scene;
	u32 multicast = MULTICAST, answer = 0;

	open_ahead(&scene);
	vf_write(&scene.vf, VTCTRL, VTCTRL_RST);
	collect_rest(&scene);
	prepare(&scene);
	EXPECT_EQ(0, feed(&scene, &rest));
	v1_go(&scene.v1, V1_R);
	/* It refuses all but RESET. */
	EXPECT_TRUE(!mbx_call(&scene.vf, &multicast, 1, &answer, 1) ||
		    (answer & MSG_NACK));
	scene_fresh(&scene);
	scene_expect_working(&scene);
}

TH_TEST(ahead_pf_down, 90, true,
	"a PF that has been down since then is asked for everything")
{
	static struct scene scene;
	u64 asked;

	open_ahead(&scene);
	collect_rest(&scene);
	prepare(&scene);
	asked = hits(&scene, "pf-answer");
	ASSERT_TRUE(pf_set_link(scene.vf.bdf, false));
	ASSERT_TRUE(pf_set_link(scene.vf.bdf, true));
	ASSERT_TRUE(pf_wait_link(scene.vf.bdf, LINK_MS));
	expect_rest(&scene, asked, asked + 2);
}

TH_TEST(ahead_fails, 90, true,
	"a PF that refuses or does not answer fails the write of what is sent "
	"ahead, before the guest is stopped; only a reset ends that")
{
	static const struct {
		const char *point;
		unsigned int nth;
		int error;
	} faults[] = {
		{ "pf-refusal", 3, -EPERM },
		{ "pf-answer", 1, -ETIMEDOUT },
		{ "backend-prepare", 1, -ENXIO },
		{ "power", 1, -ENXIO },
	};
	static struct scene scene;
	char action[32];
	unsigned int n;

	open_ahead(&scene);
	collect_rest(&scene);
	for (n = 0; n < sizeof(faults) / sizeof(*faults); n++) {
		th_context("%s", faults[n].point);
		begin_resuming(&scene);
		snprintf(action, sizeof(action), "fail=%d", faults[n].error);
		fault_arm(&scene.vf, faults[n].point, faults[n].nth, action);
		EXPECT_EQ(faults[n].error, feed(&scene, &ahead));
		EXPECT_EQ(faults[n].error, feed(&scene, &rest));
		EXPECT_EQ(faults[n].error, v1_set_state(&scene.v1, V1_R));
		EXPECT_V1_STATE(V1_M, &scene.v1);
		ASSERT_EQ(0, vf_reset(&scene.vf));
	}
	th_context("after all");
	prepare(&scene);
	expect_rest(&scene, 0, 0);
}

TH_TEST(ahead_alone, 60, true,
	"what is sent ahead is no state: RESUMING cannot be left with it, and "
	"nothing of it is left after a reset")
{
	static struct scene scene;

	open_ahead(&scene);
	prepare(&scene);
	EXPECT_EQ(-ENODATA, v1_set_state(&scene.v1, V1_R));
	EXPECT_V1_STATE(V1_M, &scene.v1);
	scene_fresh(&scene);
	state_save(&scene.vf, &rest);
	state_expect_same(&scene.saved, &rest);
}

TH_TEST(ahead_not_sent, 60, true,
	"a source that cannot send ahead for now is asked again, and its stream "
	"is whole without")
{
	static struct scene scene;

	scene_open(&scene, false);
	fault_arm(&scene.vf, "backend-save-ahead", 1, "fail=-EIO");
	v1_go(&scene.v1, V1_S | V1_R);
	EXPECT_EQ(0ull, (unsigned long long)v1_pending(&scene.v1));
	EXPECT_LE(1ull, (unsigned long long)v1_pending(&scene.v1));
	v1_go(&scene.v1, V1_R);
	fault_clear(&scene.vf);
	fault_arm(&scene.vf, "backend-save-ahead", 1, "fail=-EIO");
	v1_go(&scene.v1, V1_S | V1_R);
	EXPECT_EQ(0ull, (unsigned long long)v1_pending(&scene.v1));
	rest.len = 0;
	collect_rest(&scene);
	begin_resuming(&scene);
	EXPECT_EQ(0, feed(&scene, &rest));
	v1_go(&scene.v1, V1_R);
	scene_expect_working(&scene);
}
