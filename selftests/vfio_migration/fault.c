// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/pci_regs.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ability.h"
#include "fault.h"
#include "harness.h"

#define DEBUGFS	"/sys/kernel/debug"

const char *fault_path(struct vf *vf)
{
	static char path[128];

	snprintf(path, sizeof(path), DEBUGFS "/vfio_pci_migration/%s/fault",
		 vf->bdf);
	if (access(DEBUGFS "/bdi", F_OK))
		th_skip("debugfs is not mounted");
	if (access(path, F_OK))
		th_skip("the driver was built without MIG_FAULTS=y");
	return path;
}

int fault_write(struct vf *vf, const char *line)
{
	int fd = open(fault_path(vf), O_WRONLY | O_CLOEXEC), ret = 0;

	ASSERT_LE(0, fd);
	if (write(fd, line, strlen(line)) < 0)
		ret = -errno;
	close(fd);
	return ret;
}

void fault_arm(struct vf *vf, const char *point, u64 nth, const char *action)
{
	char line[80];

	snprintf(line, sizeof(line), "%s %llu %s\n", point,
		 (unsigned long long)nth, action);
	ASSERT_EQ(0, fault_write(vf, line));
}

void fault_clear(struct vf *vf)
{
	ASSERT_EQ(0, fault_write(vf, "clear"));
}

/* "NAME HITS [LEFT ACTION]" */
static void read_point(struct faults *faults, const char *line)
{
	struct fault_point *point = &faults->point[faults->count++];
	unsigned long long hits;
	char action[32];
	int found;

	ASSERT_LE(faults->count, (unsigned int)POINTS_MAX);
	found = sscanf(line, "%23s %llu %*u %31s", point->name, &hits, action);
	ASSERT_LE(2, found);
	point->hits = hits;
	point->armed = found == 3;
}

void fault_read(struct vf *vf, struct faults *faults)
{
	FILE *file = fopen(fault_path(vf), "re");
	char line[128];

	ASSERT_TRUE(file);
	memset(faults, 0, sizeof(*faults));
	while (fgets(line, sizeof(line), file)) {
		if (*line != '#')
			read_point(faults, line);
		else if (sscanf(line, "# the last fault was at %23s",
				faults->last) != 1)
			faults->silent = strstr(line, "does not answer");
	}
	fclose(file);
}

u64 fault_hits(const struct faults *faults, const char *point)
{
	unsigned int n;

	for (n = 0; n < faults->count; n++)
		if (!strcmp(faults->point[n].name, point))
			return faults->point[n].hits;
	th_log("no point %s", point);
	th_abort();
}

int module_users(void)
{
	FILE *file = fopen("/sys/module/vfio_pci_migration/refcnt", "re");
	int users = -1;

	ASSERT_TRUE(file);
	ASSERT_EQ(1, fscanf(file, "%d", &users));
	fclose(file);
	return users;
}

void fault_wait(struct vf *vf, const char *point, u64 hits)
{
	u64 end = time_ms() + 10000;
	struct faults faults;

	for (;;) {
		fault_read(vf, &faults);
		if (fault_hits(&faults, point) >= hits)
			return;
		ASSERT_LE(time_ms(), end);
		sleep_ms(1);
	}
}

static unsigned int open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned int count = 0;

	ASSERT_TRUE(dir);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

static bool is_working(u32 state)
{
	return (state & V1_R) && !(state & V1_N);
}

void scene_open(struct scene *scene, bool v2)
{
	memset(scene, 0, sizeof(*scene));
	scene->v2 = v2;
	scene->fd = -1;
	v1_open_vf(&scene->v1, &scene->vf, &scene->iommu, vf_bdf[0]);
	fault_clear(&scene->vf);
	ASSERT_EQ(true, vf_real(&scene->vf).known);
	scene_fresh(scene);
	state_save(&scene->vf, &scene->saved);
	scene_fresh(scene);
}

void scene_fresh(struct scene *scene)
{
	if (scene->fd >= 0)
		close(scene->fd);
	scene->fd = -1;
	ASSERT_EQ(0, vf_reset(&scene->vf));
	ASSERT_EQ((int)V1_R, v1_state(&scene->v1));
	nic_start(&scene->nic, &scene->vf, 0);
	/* Have the registers in the page tables, to be taken away again. */
	if (scene->vf.rings || vf_try_map_rings(&scene->vf))
		ASSERT_NE(0u, vf_mread(&scene->vf, TDLEN(0)));
}

static int go_v2(struct scene *scene, u32 state)
{
	unsigned int before = open_fds();
	int fd = -1;
	int ret = vf_set_state(&scene->vf, v1_as_v2(state), &fd);

	if (ret) {
		EXPECT_TRUE(fd < 0);
		EXPECT_EQ(before, open_fds());
	} else if (fd >= 0) {
		if (scene->fd >= 0)
			close(scene->fd);
		scene->fd = fd;
	}
	return ret;
}

int scene_go(struct scene *scene, u32 state)
{
	return scene->v2 ? go_v2(scene, state) :
			   v1_set_state(&scene->v1, state);
}

void scene_enter(struct scene *scene, u32 state)
{
	const struct state *saved = &scene->saved;

	/* RESUMING without a whole stream is left by reset only. */
	if (v1_state(&scene->v1) & V1_M)
		scene_fresh(scene);
	/* STOP_COPY -> PRE_COPY is no arc of v2's. */
	if (scene->v2)
		ASSERT_EQ(0, scene_go(scene, V1_R));
	ASSERT_EQ(0, scene_go(scene, state));
	if (!(state & V1_M))
		return;
	if (scene->v2)
		ASSERT_EQ(0, state_write(scene->fd, saved->buf, saved->len));
	else
		ASSERT_EQ(0, v1_feed(&scene->v1, saved->buf, saved->len, 0));
}

void scene_expect_working(struct scene *scene)
{
	struct vf *vf = &scene->vf;

	/* It may have been quiet on its way here, or loaded. */
	if (vf_read(vf, VMBMEM(0)) == MSG_NACK)
		nic_goes_on_moved(&scene->nic);
	EXPECT_TRUE(nic_send(&scene->nic, 1, 1));
	vf_all_interrupts(vf);
	vf_write(vf, EICS, 1u << 2);
	EXPECT_TRUE(vf_wait_interrupt(vf, 2, 2000));
}

static bool real_master(struct vf *vf)
{
	return vf_real_command(vf) & PCI_COMMAND_MASTER;
}

/* Is the stream still there? One byte of an outgoing one of v2's is taken. */
static void expect_stream(struct scene *scene, u32 state)
{
	struct pollfd poll_fd = { .fd = scene->fd };
	u8 byte;

	if (scene->v2) {
		if (!(state & (V1_S | V1_M)))
			return;
		ASSERT_LE(0, poll(&poll_fd, 1, 0));
		EXPECT_EQ(0, poll_fd.revents & POLLHUP);
		if (state & V1_S)
			EXPECT_EQ((ssize_t)1, read(scene->fd, &byte, 1));
	} else if (state & V1_S) {
		EXPECT_NE((u64)0, v1_pending(&scene->v1));
	} else if (state & V1_M) {
		EXPECT_NE((u64)0, v1_data_offset(&scene->v1));
	}
}

void scene_expect_unchanged(struct scene *scene, u32 state)
{
	EXPECT_V1_STATE(state, &scene->v1);
	EXPECT_EQ(is_working(state), real_master(&scene->vf));
	expect_stream(scene, state);
	if (is_working(state))
		scene_expect_working(scene);
}

static void expect_no_way_out(struct scene *scene)
{
	unsigned int n;

	for (n = 0; n < V1_STATES; n++) {
		EXPECT_EQ(-EIO, v1_set_state(&scene->v1, v1_states[n]));
		EXPECT_EQ(-EIO, vf_set_state(&scene->vf,
					     v1_as_v2(v1_states[n]), NULL));
	}
	EXPECT_EQ(-EINVAL, v1_set_state(&scene->v1, VFIO_MIG_V1_ERROR));
	EXPECT_V1_STATE(VFIO_MIG_V1_ERROR, &scene->v1);
}

/* Everything that makes a queue go, through a mapping. */
static void ring_doorbells(struct vf *vf, u32 tail)
{
	if (!vf->rings)
		return;
	vf_mwrite(vf, RXDCTL(0), DCTL_ENABLE | 0x10810);
	vf_mwrite(vf, TXDCTL(0), DCTL_ENABLE);
	vf_mwrite(vf, TDT(0), tail);
	vf_mwrite(vf, RDT(0), 7);
}

/* Whatever the user does to wake it up. */
static void expect_silence(struct scene *scene)
{
	struct nic *nic = &scene->nic;
	struct vf *vf = &scene->vf;
	struct vf again = *vf;
	struct real before, after;
	u32 tail;
	u64 print;

	vf_config_write(vf, PCI_COMMAND,
			PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	EXPECT_EQ(false, real_master(vf));

	vf_all_interrupts(vf);
	tail = nic_post(nic, 1, 2);
	print = nic_fingerprint(nic);
	before = vf_real(vf);
	ring_doorbells(vf, tail);
	again.rings = NULL;
	if (vf_try_map_rings(&again)) {
		ring_doorbells(&again, tail);
		vf_unmap_rings(&again);
	}
	vf_write(vf, TDT(0), tail);
	vf_write(vf, EIMS, 7);
	vf_write(vf, EICS, 7);
	sleep_ms(20);

	after = vf_real(vf);
	EXPECT_EQ(before.tdt, after.tdt);
	EXPECT_EQ(before.rdt, after.rdt);
	EXPECT_EQ(before.rxdctl, after.rxdctl);
	EXPECT_EQ(before.txdctl, after.txdctl);
	EXPECT_EQ(before.tdh, after.tdh);
	EXPECT_EQ(print, nic_fingerprint(nic));
	EXPECT_EQ((u64)0, vf_all_interrupts(vf));
	EXPECT_EQ(false, real_master(vf));
}

void scene_expect_error(struct scene *scene)
{
	fault_clear(&scene->vf);
	expect_no_way_out(scene);
	expect_silence(scene);
	scene_fresh(scene);
	EXPECT_EQ(true, real_master(&scene->vf));
	scene_expect_working(scene);
}
