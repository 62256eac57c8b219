// SPDX-License-Identifier: GPL-2.0
/* The file in debugfs itself, and what happens to it when the driver goes. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "fault.h"
#include "harness.h"

TEST(fault_points,
	"the file lists every point by a name of its own, with 0 hits and "
	"nothing armed after it was cleared (Documentation/faults.rst)")
{
	static const char * const some[] = {
		"any", "quiesce", "release", "stop", "start", "save-begin",
		"capture", "save-end", "resume-begin", "resume-end",
		"undo-quiesce", "undo-stop", "undo-start", "undo-save-begin",
		"undo-save-end", "undo-resume-end", "backend-open",
		"backend-reset", "backend-quiesce", "backend-release",
		"backend-save", "backend-save-ahead", "backend-prepare",
		"backend-load", "transactions",
		"function-reset", "power", "session", "data-fd", "window",
		"sequence-begin", "sequence-end", "put-0x100", "get-0x100",
		"put-0x104", "get-0x104", "queue-start", "queue-stop",
		"pf-answer", "pf-refusal",
	};
	static struct scene scene;
	struct faults faults;
	unsigned int n, i;

	scene_open(&scene, false);
	fault_clear(&scene.vf);
	fault_read(&scene.vf, &faults);
	for (n = 0; n < ARRAY_SIZE(some); n++)
		EXPECT_EQ((u64)0, fault_hits(&faults, some[n]));
	for (n = 0; n < faults.count; n++) {
		EXPECT_EQ((u64)0, faults.point[n].hits);
		EXPECT_EQ(false, faults.point[n].armed);
		for (i = 0; i < n; i++)
			EXPECT_NE(0, strcmp(faults.point[i].name,
					    faults.point[n].name));
	}
	EXPECT_EQ('\0', *faults.last);
	EXPECT_EQ(false, faults.silent);
}

TEST(fault_lines,
	"lines that are none are refused with EINVAL, points that are none with "
	"ENOENT, and arm nothing (Documentation/faults.rst)")
{
	static const char * const wrong[] = {
		"", "\n", "quiesce", "quiesce 1", "quiesce 0 fail=-EIO",
		"quiesce -1 fail=-EIO", "quiesce x fail=-EIO",
		"quiesce 1 fail", "quiesce 1 fail=", "quiesce 1 fail=EIO",
		"quiesce 1 fail=-EWHAT", "quiesce 1 fail=5",
		"quiesce 1 fail=0", "quiesce 1 fail=-512",
		"quiesce 1 delay", "quiesce 1 delay=", "quiesce 1 delay=-1",
		"quiesce 1 delay=10001", "quiesce 1 delay=4294967297",
		"quiesce 1 silent=1", "quiesce 1 explode",
		"quiesce 1 fail=-EIO and more", "clear all",
		"a line that is longer than any that can be meant, by which "
		"nothing that is behind its end must get overwritten",
	};
	static const char * const right[] = {
		"quiesce 1 fail=-EIO", "quiesce 1 fail=-5\n",
		" quiesce  4294967295  delay=10000 ", "put-0x101 1 silent",
		"any 3 delay=0",
	};
	static struct scene scene;
	struct faults faults;
	unsigned int n, i;

	scene_open(&scene, false);
	for (n = 0; n < ARRAY_SIZE(wrong); n++) {
		th_context("\"%s\"", wrong[n]);
		EXPECT_EQ(-EINVAL, fault_write(&scene.vf, wrong[n]));
	}
	EXPECT_EQ(-ENOENT, fault_write(&scene.vf, "quiesc 1 silent"));
	EXPECT_EQ(-ENOENT, fault_write(&scene.vf, "undo-capture 1 silent"));
	EXPECT_EQ(-ENOENT, fault_write(&scene.vf, "put-0x105 1 silent"));
	fault_read(&scene.vf, &faults);
	for (i = 0; i < faults.count; i++)
		EXPECT_EQ(false, faults.point[i].armed);

	for (n = 0; n < ARRAY_SIZE(right); n++) {
		th_context("\"%s\"", right[n]);
		EXPECT_EQ(0, fault_write(&scene.vf, right[n]));
	}
	fault_read(&scene.vf, &faults);
	for (i = 0, n = 0; i < faults.count; i++)
		n += faults.point[i].armed;
	EXPECT_EQ(3u, n);
	fault_clear(&scene.vf);
}

TEST(fault_nth,
	"what is armed happens at the n-th hit since, once, with the error "
	"asked for; a new line replaces an old one, clear forgets all "
	"(Documentation/faults.rst)")
{
	static struct scene scene;
	struct vf *vf = &scene.vf;
	struct faults faults;

	scene_open(&scene, false);
	v1_go(&scene.v1, V1_R | V1_N);
	fault_clear(vf);
	fault_arm(vf, "stop", 3, "fail=-EXDEV");
	v1_go(&scene.v1, 0);
	v1_go(&scene.v1, V1_R | V1_N);
	v1_go(&scene.v1, 0);
	v1_go(&scene.v1, V1_R | V1_N);
	EXPECT_EQ(-EXDEV, scene_go(&scene, 0));
	v1_go(&scene.v1, 0);
	v1_go(&scene.v1, V1_R | V1_N);
	fault_read(vf, &faults);
	EXPECT_EQ((u64)4, fault_hits(&faults, "stop"));
	EXPECT_EQ((u64)3, fault_hits(&faults, "start"));
	EXPECT_EQ((u64)7, fault_hits(&faults, "any"));
	EXPECT_EQ(0, strcmp("stop", faults.last));

	fault_arm(vf, "stop", 1, "fail=-EXDEV");
	fault_arm(vf, "stop", 1, "fail=-EBADMSG");
	EXPECT_EQ(-EBADMSG, scene_go(&scene, 0));
	fault_arm(vf, "stop", 1, "fail=-EXDEV");
	fault_clear(vf);
	EXPECT_EQ(0, scene_go(&scene, 0));
	v1_go(&scene.v1, V1_R);
}

/* A thread that does to the file all that can be done. */
struct user {
	pthread_t thread;
	const char *path;
	atomic_bool end;
	atomic_uint opened;
};

static void *user_thread(void *arg)
{
	static const char line[] = "window 1000000 delay=1";
	struct user *user = arg;
	char text[4096];
	int fd;

	while (!atomic_load(&user->end)) {
		fd = open(user->path, O_RDWR | O_CLOEXEC);
		if (fd < 0)
			continue;
		atomic_fetch_add(&user->opened, 1);
		while (read(fd, text, sizeof(text)) > 0)
			if (write(fd, line, strlen(line)) < 0)
				break;
		close(fd);
	}
	return NULL;
}

TH_TEST(fault_remove, 120, true,
	"the file goes with the driver, whoever has it open or is just using "
	"it, and is back with the driver")
{
	static struct scene scene;
	struct vf *vf = &scene.vf;
	struct user user[2] = {};
	unsigned int n, before;
	char name[64], text[64];
	int fd;

	scene_open(&scene, false);
	bdf_driver(vf->bdf, name, sizeof(name));
	fd = open(fault_path(vf), O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, fd);
	ASSERT_EQ((ssize_t)4, read(fd, text, 4));
	vf_close(vf);
	ASSERT_EQ(0, bdf_unbind(vf->bdf));
	EXPECT_EQ(-1, pread(fd, text, 4, 0));
	EXPECT_EQ(EIO, errno);
	EXPECT_EQ(-1, write(fd, "clear", 5));
	EXPECT_EQ(EIO, errno);
	ASSERT_EQ(0, bdf_bind(vf->bdf, name));
	EXPECT_EQ(-1, write(fd, "clear", 5));
	EXPECT_EQ(EIO, errno);
	close(fd);
	ASSERT_EQ(0, access(fault_path(vf), F_OK));

	for (n = 0; n < 2; n++) {
		user[n].path = fault_path(vf);
		ASSERT_EQ(0, pthread_create(&user[n].thread, NULL, user_thread,
					    &user[n]));
	}
	for (n = 0; n < 20; n++) {
		before = atomic_load(&user[0].opened);
		while (atomic_load(&user[0].opened) < before + 5)
			sleep_ms(1);
		ASSERT_EQ(0, bdf_unbind(vf->bdf));
		ASSERT_EQ(0, bdf_bind(vf->bdf, name));
	}
	for (n = 0; n < 2; n++) {
		atomic_store(&user[n].end, true);
		ASSERT_EQ(0, pthread_join(user[n].thread, NULL));
	}
	vf_open(vf, &(struct iommu){}, vf_bdf[0]);
	v1_open(&scene.v1, vf);
	fault_clear(vf);
}
