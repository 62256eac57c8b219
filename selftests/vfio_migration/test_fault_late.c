// SPDX-License-Identifier: GPL-2.0
/* A function that stops answering, and steps that take their time. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fault.h"
#include "harness.h"

/* All of the driver's own time limits that can come together, and some. */
#define LIMIT_MS	5000

/* Does a transition do anything to the function? */
static bool touches_function(u32 from, u32 to)
{
	struct mig_plan plan;
	unsigned int n;

	ASSERT_EQ(0, mig_plan(from, to, &plan));
	for (n = 0; n < plan.count; n++)
		if (plan.step[n] == MIG_STEP_QUIESCE ||
		    plan.step[n] == MIG_STEP_RELEASE ||
		    plan.step[n] == MIG_STEP_CAPTURE ||
		    plan.step[n] == MIG_STEP_RESUME_BEGIN)
			return true;
	return false;
}

/* It does not answer any more; the next transition that needs it says so. */
static void expect_gone(struct scene *scene)
{
	int state = v1_state(&scene->v1), ret;
	u64 began = time_ms();

	if (state != VFIO_MIG_V1_ERROR) {
		ret = scene_go(scene, state == V1_R || state == (V1_R | V1_S) ?
				      V1_S : V1_R);
		EXPECT_TRUE(ret < 0);
	}
	EXPECT_LE(time_ms() - began, (u64)LIMIT_MS);
	EXPECT_V1_STATE(VFIO_MIG_V1_ERROR, &scene->v1);
	if (v1_state(&scene->v1) == VFIO_MIG_V1_ERROR)
		scene_expect_error(scene);
	else
		scene_fresh(scene);
}

/* It stops answering when the @nth place of the transition is passed. */
static int go_silent(struct scene *scene, u32 from, u32 to, u64 nth)
{
	struct faults faults;
	int ret, state;
	u64 began;

	scene_enter(scene, from);
	fault_clear(&scene->vf);
	fault_arm(&scene->vf, "any", nth, "silent");
	began = time_ms();
	ret = scene_go(scene, to);
	EXPECT_LE(time_ms() - began, (u64)LIMIT_MS);
	fault_read(&scene->vf, &faults);
	th_context("%s -> %s, silent from %s on", mig_state_name(from),
		   mig_state_name(to), *faults.last ? faults.last : "its end");
	state = v1_state(&scene->v1);
	EXPECT_EQ(ret ? VFIO_MIG_V1_ERROR : (int)to, state);
	return ret;
}

static void silent_from(const u32 *from, unsigned int count)
{
	static struct scene scene;
	unsigned int n, i;
	int ret;

	scene_open(&scene, false);
	for (n = 0; n < count; n++) {
		for (i = 0; i < V1_STATES; i++) {
			ret = go_silent(&scene, from[n], v1_states[i], 1);
			EXPECT_EQ(touches_function(from[n], v1_states[i]),
				  ret != 0);
			expect_gone(&scene);
		}
	}
}

TH_TEST(silent_running, 300, false,
	"a function that stops answering while RUNNING: the next transition "
	"that needs it, from any state to any, fails within 5 s and leads to "
	"ERROR")
{
	silent_from(v1_states, 5);
}

TH_TEST(silent_stopped, 300, false,
	"the same while it is stopped")
{
	silent_from(v1_states + 5, V1_STATES - 5);
}

static const struct {
	u32 from, to;
} changes[] = {
	{ V1_R, V1_S },
	{ V1_R | V1_S, V1_S },
	{ V1_S, V1_R },
	{ V1_R, V1_M },
	{ V1_M, V1_R },
	{ V1_M, V1_R | V1_S },
};

/*
 * A state that was saved although the function had stopped answering: nothing
 * that it did not answer may be in it.
 */
static void expect_sane(struct scene *scene)
{
	static struct state state;
	struct record record[RECORDS_MAX];
	const struct record *it;
	unsigned int count, n;
	u32 word;

	state.len = 0;
	v1_collect(&scene->v1, &state);
	count = state_records(&state, record);
	for (it = record; it < record + count; it++) {
		/* What the PF holds: bytes, not registers. */
		if (it->type == VFIO_MIG_RECORD_BACKEND + 3)
			continue;
		for (n = 0; n + 4 <= it->length; n += 4) {
			memcpy(&word, it->payload + n, sizeof(word));
			if (word == 0xffff || word == ~0u)
				th_log("record %#x, byte %u", it->type, n);
			EXPECT_TRUE(word != 0xffff && word != ~0u);
		}
	}
}

TH_TEST(silent_midway, 300, false,
	"a function that stops answering in the middle of a transition: that "
	"one or the next leads to ERROR, and nothing of a wrong state is saved")
{
	static struct scene scene;
	struct faults faults;
	unsigned int n;
	u64 nth, hits;

	scene_open(&scene, false);
	for (n = 0; n < ARRAY_SIZE(changes); n++) {
		scene_enter(&scene, changes[n].from);
		fault_clear(&scene.vf);
		ASSERT_EQ(0, scene_go(&scene, changes[n].to));
		fault_read(&scene.vf, &faults);
		hits = fault_hits(&faults, "any");
		for (nth = 1; nth <= hits; nth++) {
			if (!go_silent(&scene, changes[n].from, changes[n].to,
				       nth) && changes[n].to == V1_S)
				expect_sane(&scene);
			expect_gone(&scene);
		}
	}
}

TEST(silent_registers,
	"a function that does not answer reads as all ones, takes no writes, "
	"and answers again after VFIO_DEVICE_RESET, or when it is opened anew")
{
	static struct scene scene;
	struct vf *vf = &scene.vf;
	struct faults faults;

	scene_open(&scene, false);
	ASSERT_NE(~0u, vf_read(vf, RDLEN(0)));
	EXPECT_EQ(0, go_silent(&scene, V1_S, 0, 1));
	fault_read(vf, &faults);
	EXPECT_EQ(true, faults.silent);
	EXPECT_EQ(~0u, vf_read(vf, STATUS));
	EXPECT_EQ(0, vf_reset(vf));
	EXPECT_NE(~0u, vf_read(vf, STATUS));
	EXPECT_NE(~0u, vf_read(vf, RDLEN(0)));
	fault_read(vf, &faults);
	EXPECT_EQ(false, faults.silent);

	scene_fresh(&scene);
	EXPECT_EQ(0, go_silent(&scene, V1_S, 0, 1));
	vf_reopen(vf);
	v1_open(&scene.v1, vf);
	EXPECT_NE(~0u, vf_read(vf, STATUS));
	scene_fresh(&scene);
	scene_expect_working(&scene);
}

/* A transition by a thread of its own. */
struct mover {
	pthread_t thread;
	struct scene *scene;
	u32 to;
	int ret;
};

static void *mover_thread(void *arg)
{
	struct mover *mover = arg;

	mover->ret = scene_go(mover->scene, mover->to);
	return NULL;
}

static void reset_at(struct scene *scene, u32 from, u32 to, u64 nth)
{
	struct mover mover = { .scene = scene, .to = to };
	u64 began;

	scene_enter(scene, from);
	fault_clear(&scene->vf);
	fault_arm(&scene->vf, "any", nth, "delay=100");
	ASSERT_EQ(0, pthread_create(&mover.thread, NULL, mover_thread, &mover));
	fault_wait(&scene->vf, "any", nth);
	began = time_ms();
	EXPECT_EQ(0, vf_reset(&scene->vf));
	EXPECT_V1_STATE(V1_R, &scene->v1);
	ASSERT_EQ(0, pthread_join(mover.thread, NULL));
	EXPECT_LE(time_ms() - began, (u64)LIMIT_MS);
	/* It may have failed for want of a device to itself, but stays so. */
	EXPECT_TRUE(!mover.ret || mover.ret == -EAGAIN);
	EXPECT_V1_STATE(V1_R, &scene->v1);
	EXPECT_EQ(0u, vf_read(&scene->vf, RDLEN(0)));
	scene_fresh(scene);
	scene_expect_working(scene);
}

TH_TEST(late_and_reset, 600, false,
	"VFIO_DEVICE_RESET in the middle of a transition, at every place: when "
	"it returns the function is RUNNING and fresh, and stays so")
{
	static struct scene scene;
	struct faults faults;
	unsigned int n;
	u64 nth, hits;

	scene_open(&scene, false);
	for (n = 0; n < ARRAY_SIZE(changes); n++) {
		scene_enter(&scene, changes[n].from);
		fault_clear(&scene.vf);
		ASSERT_EQ(0, scene_go(&scene, changes[n].to));
		fault_read(&scene.vf, &faults);
		hits = fault_hits(&faults, "any");
		for (nth = 1; nth <= hits; nth++) {
			th_context("%s -> %s, late at place %llu of %llu",
				   mig_state_name(changes[n].from),
				   mig_state_name(changes[n].to),
				   (unsigned long long)nth,
				   (unsigned long long)hits);
			reset_at(&scene, changes[n].from, changes[n].to, nth);
		}
	}
}

/* The same through v2, whose answer is a file. */
struct opener {
	pthread_t thread;
	struct vf *vf;
	u32 to;
	int fd;
	int ret;
};

static void *opener_thread(void *arg)
{
	struct opener *opener = arg;

	opener->ret = vf_set_state(opener->vf, opener->to, &opener->fd);
	return NULL;
}

static void answer_at(struct scene *scene, u32 to, u64 nth)
{
	struct opener opener = { .vf = &scene->vf, .to = to, .fd = -1 };
	u8 byte = 0;

	fault_clear(&scene->vf);
	fault_arm(&scene->vf, "any", nth, "delay=100");
	ASSERT_EQ(0, pthread_create(&opener.thread, NULL, opener_thread,
				    &opener));
	fault_wait(&scene->vf, "any", nth);
	EXPECT_EQ(0, vf_reset(&scene->vf));
	ASSERT_EQ(0, pthread_join(opener.thread, NULL));
	EXPECT_STATE(VFIO_DEVICE_STATE_RUNNING, &scene->vf);
	/* An answer has come, whatever has become of it, or there is no file. */
	EXPECT_EQ(!opener.ret, opener.fd >= 0);
	if (opener.fd < 0)
		return;
	EXPECT_EQ((ssize_t)-1, to == VFIO_DEVICE_STATE_RESUMING ?
		  write(opener.fd, &byte, 1) : read(opener.fd, &byte, 1));
	EXPECT_EQ(ENODEV, errno);
	close(opener.fd);
}

TH_TEST(late_answer, 300, false,
	"VFIO_DEVICE_RESET in the middle of a SET_STATE that is to open a data "
	"fd, at every place: who asked gets an error and no file, or a data fd "
	"that gives ENODEV")
{
	static const u32 to[] = {
		VFIO_DEVICE_STATE_STOP_COPY, VFIO_DEVICE_STATE_RESUMING,
	};
	static struct scene scene;
	struct faults faults;
	unsigned int n;
	u64 nth, hits;
	int users;

	scene_open(&scene, false);
	users = module_users();
	for (n = 0; n < ARRAY_SIZE(to); n++) {
		fault_clear(&scene.vf);
		close(vf_open_stream(&scene.vf, to[n]));
		fault_read(&scene.vf, &faults);
		hits = fault_hits(&faults, "any");
		for (nth = 1; nth <= hits; nth++) {
			ASSERT_EQ(0, vf_reset(&scene.vf));
			th_context("%s, late at place %llu of %llu",
				   state_name(to[n]), (unsigned long long)nth,
				   (unsigned long long)hits);
			answer_at(&scene, to[n], nth);
		}
		scene_fresh(&scene);
		scene_expect_working(&scene);
		EXPECT_EQ(users, module_users());
	}
}

static void unbind_at(u64 nth)
{
	static struct scene scene;
	struct mover mover = { .scene = &scene, .to = V1_S };
	pid_t pid;

	scene_open(&scene, false);
	vf_unmap_rings(&scene.vf);
	fault_clear(&scene.vf);
	fault_arm(&scene.vf, "any", nth, "delay=300");
	ASSERT_EQ(0, pthread_create(&mover.thread, NULL, mover_thread, &mover));
	fault_wait(&scene.vf, "any", nth);
	pid = unbind_begin(&scene.vf);
	vf_close(&scene.vf);
	ASSERT_EQ(0, pthread_join(mover.thread, NULL));
	unbind_end(pid);
}

TH_TEST(late_and_unbind, 300, false,
	"unbind and close in the middle of a transition, at every place: both "
	"wait for it, and the driver can be bound again")
{
	static struct scene scene;
	struct faults faults;
	u64 nth, hits;

	scene_open(&scene, false);
	fault_clear(&scene.vf);
	ASSERT_EQ(0, scene_go(&scene, V1_S));
	fault_read(&scene.vf, &faults);
	hits = fault_hits(&faults, "any");
	vf_close(&scene.vf);
	for (nth = 1; nth <= hits; nth++) {
		th_context("late at place %llu of %llu",
			   (unsigned long long)nth, (unsigned long long)hits);
		unbind_at(nth);
	}
	scene_open(&scene, false);
	scene_expect_working(&scene);
}

TEST(late_and_killed,
	"a process that is killed while a transition takes its time is gone at "
	"once, and the transition is complete")
{
	static struct scene scene;
	int status;
	u64 began;
	pid_t pid;

	scene_open(&scene, false);
	fault_clear(&scene.vf);
	fault_arm(&scene.vf, "backend-quiesce", 1, "delay=10000");
	pid = fork();
	ASSERT_NE(-1, pid);
	if (!pid) {
		scene_go(&scene, V1_S);
		_exit(0);
	}
	fault_wait(&scene.vf, "backend-quiesce", 1);
	began = time_ms();
	ASSERT_EQ(0, kill(pid, SIGKILL));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFSIGNALED(status));
	EXPECT_LE(time_ms() - began, (u64)LIMIT_MS);
	EXPECT_V1_STATE(V1_S, &scene.v1);
	v1_go(&scene.v1, V1_R);
	scene_expect_working(&scene);
}

TEST(fault_reset,
	"a function that is not silent after VFIO_DEVICE_RESET is in ERROR; the "
	"next reset may do better")
{
	static struct scene scene;
	unsigned int n;

	scene_open(&scene, false);
	for (n = 0; n < V1_STATES; n++) {
		th_context("%s", mig_state_name(v1_states[n]));
		scene_enter(&scene, v1_states[n]);
		fault_arm(&scene.vf, "backend-reset", 1, "fail=-EIO");
		EXPECT_EQ(0, vf_reset(&scene.vf));
		EXPECT_V1_STATE(VFIO_MIG_V1_ERROR, &scene.v1);
		scene_expect_error(&scene);
	}
}

TEST(fault_open,
	"a function whose set-up fails cannot be opened, and can at the next "
	"try")
{
	static const char * const action[] = { "fail=-ENODEV", "silent" };
	static struct scene scene;
	struct vf *vf = &scene.vf;
	unsigned int n;
	int fd;

	scene_open(&scene, false);
	for (n = 0; n < ARRAY_SIZE(action); n++) {
		th_context("%s", action[n]);
		vf_close_device(vf);
		fault_arm(vf, "backend-open", 1, action[n]);
		fd = ioctl(vf->group, VFIO_GROUP_GET_DEVICE_FD, vf->bdf);
		EXPECT_EQ(-1, fd);
		EXPECT_EQ(n ? EIO : ENODEV, errno);
		vf_reopen(vf);
		v1_open(&scene.v1, vf);
		scene_fresh(&scene);
		scene_expect_working(&scene);
	}
}
