// SPDX-License-Identifier: GPL-2.0
/*
 * What can befall a function from outside: its PF goes away, its port, its
 * power, an error is reported, the administrator resets it. The driver must
 * survive all of that in every state, say what happened, keep nobody waiting
 * without bound, and begin the next life with nothing of the past.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/pci_regs.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "igbvf.h"
#include "main.h"
#include "pf.h"
#include "port.h"
#include "state.h"
#include "v1.h"

#define PROMPT_MS	1500	/* for what does not have to wait for anything */
#define PF_MS		5000	/* for what waits for the PF's answer, in vain */
#define LINK_MS		20000	/* for the PF's link */

/* Setting up a PF takes its time. */
#define TROUBLE(_name, _contract)	TH_TEST(_name, 120, true, _contract)

/* Both functions as they were found, whatever a test has done to them. */
static void put_right(void)
{
	if (!setup_command)
		th_skip("no command that brings the functions back (-s)");
	port_rescan();
	ASSERT_EQ(0, system(setup_command));
}

/* The same, if only the PF's interface has gone down. */
static void pf_link_back(void)
{
	ASSERT_TRUE(pf_set_link(vf_bdf[0], true));
	ASSERT_TRUE(pf_wait_link(vf_bdf[0], LINK_MS));
}

/* A test that has failed may have left something down or removed. */
static void scene_mend(void)
{
	if (setup_command && (port_rescan() || system(setup_command)))
		printf("# the functions are not back\n");
}

/* In the end the last test has taken the cards away. */
TH_SCENE(NULL, scene_mend, NULL)

/**
 * struct life - an open function, its user and its driver
 * @which: which of the two functions
 * @iommu: its container
 * @vf: the function
 * @v1: its migration region
 * @nic: its driver
 * @fd: data fd, or -1
 */
struct life {
	unsigned int which;
	struct iommu iommu;
	struct vf vf;
	struct v1 v1;
	struct nic nic;
	int fd;
};

static void life_begin(struct life *life, unsigned int which)
{
	memset(life, 0, sizeof(*life));
	life->which = which;
	life->fd = -1;
	vf_open(&life->vf, &life->iommu, vf_bdf[which]);
	v1_open(&life->v1, &life->vf);
}

/* With all traces that a guest can leave. */
static void life_leave_traces(struct life *life)
{
	u32 multicast[16] = { MSG_SET_MULTICAST | 2 << 16, 0x01230abc };
	u32 answer = 0;

	nic_start(&life->nic, &life->vf, 0);
	ASSERT_TRUE(mbx_call(&life->vf, multicast, 16, &answer, 1));
	mbx_ask(&life->vf, MSG_SET_VLAN | 1 << 16, 57);
	vf_write(&life->vf, RDBAL(1), 0x10070080);
	vf_write(&life->vf, TDWBAL(1), 0x10072001);
	vf_write(&life->vf, SRRCTL(1), 0x82000002);
	vf_write(&life->vf, EITR(2), 0x7a0);
	vf_write(&life->vf, PSRTYPE, 0x20010);
	ASSERT_TRUE(nic_send(&life->nic, 1, 3));

	/* And an answer that nobody reads. */
	vf_write(&life->vf, V2PMAILBOX, V2P_VFU);
	vf_write(&life->vf, VMBMEM(0), MSG_SET_LPE);
	vf_write(&life->vf, VMBMEM(1), 1400);
	vf_write(&life->vf, VMBMEM(7), 0xc0ffee);
	vf_write(&life->vf, V2PMAILBOX, V2P_REQ);
}

static void life_end(struct life *life)
{
	v1_unmap(&life->v1);
	vf_close(&life->vf);
	close(life->iommu.fd);
	munmap(life->iommu.mem, DMA_SIZE);
	life->vf.group = -1;
}

/* What a function saves that nobody has touched since it was reset. */
static struct state blank;

static void know_blank(void)
{
	struct life life;

	life_begin(&life, 0);
	state_save(&life.vf, &blank);
	life_end(&life);
}

/*
 * RUNNING, through both doors; both may be used; nothing of an earlier life in
 * any register, stream or page; no DMA, no interrupt.
 */
static void expect_clean(struct life *life)
{
	static struct state state;
	struct vf *vf = &life->vf;
	unsigned int n;
	u64 print = 0;

	EXPECT_V1_STATE(V1_R, &life->v1);
	life->nic.vf = vf;
	life->nic.area = 0;
	print = nic_fingerprint(&life->nic);

	v1_go(&life->v1, V1_R | V1_N);
	EXPECT_V1_STATE(V1_R | V1_N, &life->v1);
	v1_go(&life->v1, V1_R);
	state_save(vf, &state);
	igbvf_expect_same(&blank, &state);
	ASSERT_EQ(0, vf_set_state(vf, VFIO_DEVICE_STATE_RUNNING, NULL));

	v1_go(&life->v1, V1_M);
	if (v1_map(&life->v1)) {
		for (n = 0; n < life->v1.sparse_size; n++)
			if (life->v1.map[n])
				break;
		EXPECT_EQ(life->v1.sparse_size, (u64)n);
		v1_unmap(&life->v1);
	}
	ASSERT_EQ(0, vf_reset(vf));
	EXPECT_V1_STATE(V1_R, &life->v1);
	EXPECT_EQ(0u, vf_read(vf, RXDCTL(0)) & DCTL_ENABLE);
	EXPECT_EQ(0u, vf_read(vf, TXDCTL(0)) & DCTL_ENABLE);
	EXPECT_EQ(0u, vf_read(vf, EIMS));
	EXPECT_EQ(print, nic_fingerprint(&life->nic));
}

/* And it is fit for another life: frames in both directions. */
static void expect_works(void)
{
	struct life one, two;
	unsigned int n;

	life_begin(&one, 0);
	life_begin(&two, 1);
	nic_start(&one.nic, &one.vf, 0);
	nic_start(&two.nic, &two.vf, 1);
	for (n = 0; n < 3; n++) {
		vf_all_interrupts(&two.vf);
		EXPECT_TRUE(nic_send(&one.nic, 1 + n * 3, 3));
		EXPECT_TRUE(vf_wait_interrupt(&two.vf, RX_VECTOR, 1000));
		nic_expect(&two.nic, 1 + n * 3, 3);
		EXPECT_TRUE(nic_send(&two.nic, 1 + n * 3, 3));
		nic_expect(&one.nic, 1 + n * 3, 3);
		ASSERT_EQ(0, vf_set_state(&one.vf, VFIO_DEVICE_STATE_STOP, NULL));
		ASSERT_EQ(0, vf_set_state(&one.vf, VFIO_DEVICE_STATE_RUNNING,
					  NULL));
	}
	life_end(&two);
	life_end(&one);
}

/* A fresh life after all that. */
static void expect_reborn(void)
{
	struct life life;

	life_begin(&life, 0);
	expect_clean(&life);
	life_end(&life);
	expect_works();
}

/* Did it keep its user waiting? */
static void expect_prompt(u64 began, unsigned int limit, const char *what)
{
	u64 took = time_ms() - began;

	if (took > limit)
		th_log("%s took %llu ms", what, (unsigned long long)took);
	EXPECT_LE(took, (u64)limit);
}

/* A change that may fail, but must return: its result, and the state. */
static int try_state(struct life *life, u32 state, unsigned int limit)
{
	u64 began = time_ms();
	int fd = -1, ret = vf_set_state(&life->vf, state, &fd);

	expect_prompt(began, limit, state_name(state));
	if (fd >= 0 && life->fd >= 0)
		close(life->fd);
	if (fd >= 0)
		life->fd = fd;
	return ret;
}

static void expect_fd_dead(struct life *life)
{
	u8 byte = 0;

	if (life->fd < 0)
		return;
	EXPECT_TRUE(read(life->fd, &byte, 1) < 0 &&
		    (errno == ENODEV || errno == EBADF || errno == EINVAL));
	EXPECT_TRUE(write(life->fd, &byte, 1) < 0 &&
		    (errno == ENODEV || errno == EBADF || errno == EINVAL));
	close(life->fd);
	life->fd = -1;
}

/* Touch the mapped rings; false: SIGBUS. */
static sigjmp_buf bus_return;

static void on_bus(int signal)
{
	(void)signal;
	siglongjmp(bus_return, 1);
}

static bool touch_rings(struct vf *vf)
{
	struct sigaction action = { .sa_handler = on_bus };

	if (!vf->rings)
		return true;
	ASSERT_EQ(0, sigaction(SIGBUS, &action, NULL));
	if (sigsetjmp(bus_return, 1))
		return false;
	vf_mwrite(vf, RDT(1), vf_mread(vf, RDT(1)));
	return true;
}

/**
 * struct place - where a life can be interrupted
 * @v1: through v1, whose device_state it is; or through v2
 * @refused: in RESUMING, after a stream that has been refused
 * @state: the state
 */
struct place {
	bool v1;
	bool refused;
	u32 state;
};

/* All states of v2, the same with a refused stream, all states of v1. */
#define PLACES_V2	(STATES + 1)
#define PLACES		(PLACES_V2 + V1_STATES)

static struct place place_at(unsigned int n)
{
	if (n < STATES)
		return (struct place){ .state = n };
	if (n < PLACES_V2)
		return (struct place){ .state = VFIO_DEVICE_STATE_RESUMING,
				       .refused = true };
	return (struct place){ .v1 = true, .state = v1_states[n - PLACES_V2] };
}

static void name_place(const struct place *place, const char *what)
{
	if (place->v1)
		th_context("%s, v1's %#x", what, place->state);
	else
		th_context("%s, %s%s", what, state_name(place->state),
			   place->refused ? ", refused" : "");
}

/* Into ERROR: it does not answer for a moment, when it is to be made quiet. */
static void enter_error(struct life *life)
{
	vfs_vanish(life->vf.bdf);
	EXPECT_EQ(-ENODEV, vf_set_state(&life->vf,
					VFIO_DEVICE_STATE_RUNNING_P2P, NULL));
	vfs_return(life->vf.bdf);
}

/* false: this kernel has no such state. */
static bool enter(struct life *life, const struct place *place)
{
	u8 rubbish[64] = { 0xee };

	if (place->v1) {
		v1_go(&life->v1, place->state);
		EXPECT_V1_STATE(place->state, &life->v1);
		return true;
	}
	if (place->state == VFIO_DEVICE_STATE_ERROR) {
		enter_error(life);
	} else if (!vf_state_offered(&life->vf, place->state)) {
		return false;
	} else {
		ASSERT_EQ(0, vf_set_state(&life->vf, place->state, &life->fd));
		if (place->refused)
			ASSERT_EQ(-EINVAL, state_write(life->fd, rubbish, 64));
	}
	EXPECT_STATE(place->state, &life->vf);
	return true;
}

/* Each way to end a life; those return with the function open anew. */
static void end_by_reset(struct life *life)
{
	EXPECT_EQ(0, vf_reset(&life->vf));
}

static void end_by_flr(struct life *life)
{
	vf_flr(&life->vf);
}

/* The administrator does not ask who uses it. */
static void end_by_sysfs(struct life *life)
{
	EXPECT_EQ(0, bdf_write(life->vf.bdf, "reset", "1"));
	/* He has not asked who had switched on what either. */
	vf_config_write(&life->vf, PCI_COMMAND,
			PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

static void end_by_close(struct life *life)
{
	int fd = life->fd;

	life_end(life);
	life_begin(life, life->which);
	life->fd = fd;
}

static void end_by_unbind(struct life *life)
{
	pid_t pid = unbind_begin(&life->vf);
	int fd = life->fd;

	life_end(life);
	unbind_end(pid);
	life_begin(life, life->which);
	life->fd = fd;
}

/* How a life ends, and at how many places. */
static struct {
	const char *name;
	void (*act)(struct life *life);
	unsigned int places;
} ending;

static void end_half(unsigned int which)
{
	struct place place;
	struct life life;
	unsigned int n;

	for (n = which; n < ending.places; n += 2) {
		place = place_at(n);
		name_place(&place, ending.name);
		life_begin(&life, which);
		life_leave_traces(&life);
		if (enter(&life, &place)) {
			ending.act(&life);
			expect_clean(&life);
			expect_fd_dead(&life);
		}
		life_end(&life);
	}
}

/* Each half of the places with one of the functions. */
static void end_everywhere(const char *name, void (*act)(struct life *life),
			   unsigned int places)
{
	know_blank();
	ending.name = name;
	ending.act = act;
	ending.places = places;
	th_both(end_half);
	th_context("at the end");
	expect_works();
}

TROUBLE(after_reset,
	"after VFIO_DEVICE_RESET in each of the eight states and with a "
	"refused stream, the function is RUNNING and shows nothing of the past")
{
	end_everywhere("reset", end_by_reset, PLACES_V2);
}

TROUBLE(after_flr,
	"the same for a function level reset by the user")
{
	end_everywhere("FLR", end_by_flr, PLACES_V2);
}

TROUBLE(after_sysfs_reset,
	"the same for a reset by the administrator")
{
	end_everywhere("sysfs", end_by_sysfs, PLACES_V2);
}

TROUBLE(after_close,
	"the same if it is closed and opened again")
{
	end_everywhere("close", end_by_close, PLACES_V2);
}

TROUBLE(after_unbind,
	"the same if the driver is unbound under its user, and bound again, and "
	"from the states of v1 as well")
{
	end_everywhere("unbind", end_by_unbind, PLACES);
}

/* Nobody can let it loose: no DMA, no interrupt, whatever is written to it. */
static void expect_silent(struct life *life)
{
	struct vf *vf = &life->vf;
	u64 print;
	u32 tail;

	vf_config_write(vf, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	EXPECT_EQ(0, vf_real_command(vf) & PCI_COMMAND_MASTER);
	tail = nic_post(&life->nic, 7, 2);
	vf_all_interrupts(vf);
	print = nic_fingerprint(&life->nic);
	vf_write(vf, RXDCTL(0), DCTL_ENABLE);
	vf_write(vf, TXDCTL(0), DCTL_ENABLE);
	vf_write(vf, TDT(0), tail);
	vf_write(vf, EIMS, 7);
	vf_write(vf, EICS, 7);
	sleep_ms(20);
	EXPECT_EQ((u64)0, vf_all_interrupts(vf));
	EXPECT_EQ(print, nic_fingerprint(&life->nic));
}

TROUBLE(cut_off,
	"a function that does not answer any more ends in ERROR when it is to "
	"be made quiet, released or reset, soon, and is silent; a reset brings "
	"it back when it answers again")
{
	static const struct {
		const char *name;
		u32 from, to;
	} cases[] = {
		{ "made quiet", VFIO_DEVICE_STATE_RUNNING,
		  VFIO_DEVICE_STATE_RUNNING_P2P },
		{ "saved", VFIO_DEVICE_STATE_RUNNING,
		  VFIO_DEVICE_STATE_STOP_COPY },
		{ "released", VFIO_DEVICE_STATE_STOP,
		  VFIO_DEVICE_STATE_RUNNING },
		{ "loaded", VFIO_DEVICE_STATE_STOP,
		  VFIO_DEVICE_STATE_RESUMING },
	};
	struct life life;
	unsigned int n;
	u64 began;
	int ret;

	know_blank();
	for (n = 0; n < ARRAY_SIZE(cases); n++) {
		th_context("%s", cases[n].name);
		life_begin(&life, 0);
		life_leave_traces(&life);
		ASSERT_EQ(0, try_state(&life, cases[n].from, PROMPT_MS));
		vfs_vanish(life.vf.bdf);
		ret = try_state(&life, cases[n].to, PROMPT_MS);
		EXPECT_EQ(-ENODEV, ret);
		EXPECT_STATE(VFIO_DEVICE_STATE_ERROR, &life.vf);
		began = time_ms();
		EXPECT_EQ(-ENODEV, vf_reset(&life.vf));
		expect_prompt(began, PROMPT_MS, "the reset");
		EXPECT_STATE(VFIO_DEVICE_STATE_ERROR, &life.vf);
		vfs_return(life.vf.bdf);
		EXPECT_STATE(VFIO_DEVICE_STATE_ERROR, &life.vf);
		EXPECT_EQ(-EIO, try_state(&life, VFIO_DEVICE_STATE_RUNNING,
					  PROMPT_MS));
		expect_silent(&life);
		ASSERT_EQ(0, vf_reset(&life.vf));
		expect_clean(&life);
		expect_fd_dead(&life);
		life_end(&life);
	}
	th_context("at the end");
	expect_works();
}

TROUBLE(unbind_mapped,
	"an unbind waits for data fds and mappings of a closed device fd as "
	"long as they keep the function open; then the data fd gives ENODEV")
{
	static const u32 states[] = {
		VFIO_DEVICE_STATE_STOP_COPY, VFIO_DEVICE_STATE_RESUMING,
	};
	struct life life;
	unsigned int n;
	pid_t pid;

	know_blank();
	for (n = 0; n < ARRAY_SIZE(states); n++) {
		th_context("%s", state_name(states[n]));
		life_begin(&life, 0);
		life_leave_traces(&life);
		vf_map_rings(&life.vf);
		EXPECT_TRUE(v1_map(&life.v1));
		ASSERT_EQ(0, vf_set_state(&life.vf, states[n], &life.fd));
		pid = unbind_begin(&life.vf);
		EXPECT_TRUE(touch_rings(&life.vf));
		EXPECT_EQ(-EAGAIN, module_unload("igbvf_vfio_pci"));

		/* The mappings are files that are open. */
		close(life.vf.fd);
		life.vf.fd = -1;
		sleep_ms(50);
		EXPECT_EQ(0, waitpid(pid, NULL, WNOHANG));
		EXPECT_TRUE(touch_rings(&life.vf));
		life.v1.map[0] = 0x55;
		EXPECT_EQ(0x55, life.v1.map[0]);
		v1_unmap(&life.v1);
		EXPECT_EQ(0, waitpid(pid, NULL, WNOHANG));
		EXPECT_TRUE(touch_rings(&life.vf));

		life_end(&life);
		unbind_end(pid);
		expect_fd_dead(&life);
		expect_reborn();
	}
}

TROUBLE(unload_in_use,
	"neither module can be unloaded in any state while the function is "
	"open")
{
	struct place place;
	struct life life;
	unsigned int n;

	life_begin(&life, 0);
	for (n = 0; n < PLACES_V2; n++) {
		place = place_at(n);
		name_place(&place, "unload");
		if (!enter(&life, &place))
			continue;
		EXPECT_EQ(-EAGAIN, module_unload("igbvf_vfio_pci"));
		EXPECT_EQ(-EAGAIN, module_unload("vfio_pci_migration"));
		if (life.fd >= 0)
			close(life.fd);
		life.fd = -1;
		ASSERT_EQ(0, vf_reset(&life.vf));
	}
	life_end(&life);
	expect_works();
}

TROUBLE(pf_down,
	"the PF's interface goes down under a working function: states still "
	"change, a state with filters is refused in time, and with the PF up "
	"again a reset gives a function that works")
{
	static struct state state;
	struct life life;

	know_blank();
	life_begin(&life, 0);
	life_leave_traces(&life);
	state_save(&life.vf, &state);
	life_end(&life);

	life_begin(&life, 0);
	life_leave_traces(&life);
	ASSERT_TRUE(pf_set_link(life.vf.bdf, false));
	EXPECT_EQ(0, try_state(&life, VFIO_DEVICE_STATE_STOP_COPY, PF_MS));
	EXPECT_EQ(0, try_state(&life, VFIO_DEVICE_STATE_RUNNING, PROMPT_MS));
	EXPECT_EQ(0, try_state(&life, VFIO_DEVICE_STATE_STOP, PF_MS));
	EXPECT_EQ(-ETIMEDOUT, state_load(&life.vf, &state));
	EXPECT_STATE(VFIO_DEVICE_STATE_RESUMING, &life.vf);
	ASSERT_EQ(0, vf_reset(&life.vf));
	pf_link_back();
	ASSERT_EQ(0, vf_reset(&life.vf));
	expect_clean(&life);
	expect_fd_dead(&life);
	life_end(&life);
	expect_works();
}

TROUBLE(pf_down_quiet,
	"the PF's interface goes down and up under a quiet function: when it is "
	"released, an interrupt tells its driver that the PF has something to "
	"say, and the mailbox what it is")
{
	struct life life;
	u32 control;

	know_blank();
	life_begin(&life, 0);
	nic_start(&life.nic, &life.vf, 0);
	ASSERT_EQ(0, try_state(&life, VFIO_DEVICE_STATE_STOP_COPY, PROMPT_MS));
	ASSERT_TRUE(pf_set_link(life.vf.bdf, false));
	pf_link_back();
	vf_all_interrupts(&life.vf);
	ASSERT_EQ(0, try_state(&life, VFIO_DEVICE_STATE_RUNNING, PROMPT_MS));
	EXPECT_TRUE(vf_wait_interrupt(&life.vf, 2, 1000));
	control = vf_read(&life.vf, V2PMAILBOX);
	th_log("V2PMAILBOX %#x, message %#x", control,
	       vf_read(&life.vf, VMBMEM(0)));
	EXPECT_TRUE(control & V2P_PFSTS);
	EXPECT_EQ(MSG_CONTROL, vf_read(&life.vf, VMBMEM(0)) & 0xffff);

	ASSERT_EQ(0, vf_reset(&life.vf));
	expect_clean(&life);
	expect_fd_dead(&life);
	life_end(&life);
	expect_works();
}

TROUBLE(pf_reset_under,
	"the PF is reset under a working function and under a quiet one: "
	"nothing is stuck, and a reset gives a function that works")
{
	unsigned int quiet;
	struct life life;
	u32 to;

	know_blank();
	for (quiet = 0; quiet < 2; quiet++) {
		th_context("%s", quiet ? "quiet" : "working");
		life_begin(&life, 0);
		life_leave_traces(&life);
		if (quiet)
			ASSERT_EQ(0, try_state(&life, VFIO_DEVICE_STATE_STOP,
					       PROMPT_MS));
		EXPECT_EQ(0, pf_reset(life.vf.bdf));
		to = quiet ? VFIO_DEVICE_STATE_RUNNING :
			     VFIO_DEVICE_STATE_STOP_COPY;
		/* A queue may not obey any more. */
		if (try_state(&life, to, PF_MS))
			to = VFIO_DEVICE_STATE_ERROR;
		EXPECT_STATE(to, &life.vf);
		/* igb does not notice by itself. */
		ASSERT_TRUE(pf_set_link(life.vf.bdf, false));
		pf_link_back();
		ASSERT_EQ(0, vf_reset(&life.vf));
		expect_clean(&life);
		life_end(&life);
		expect_works();
	}
}

/* What makes a function go away, and waits for its user. */
static const struct way {
	const char *name;
	int (*act)(const char *bdf);
	bool unbound;
} ways[] = {
	{ "unbind of the PF's driver", pf_unbind, true },
	{ "removal of the port", port_remove, false },
	{ "removal of the PF", pf_remove, false },
	{ "unload of the PF's driver", pf_unload, false },
};

static void go_away(const struct way *way, u32 state)
{
	const struct place place = { .state = state };
	static struct state saved;
	char pf[PF_BDF_SIZE];
	struct life life;
	int ret;
	pid_t pid;

	ASSERT_TRUE(pf_bdf(vf_bdf[0], pf));
	life_begin(&life, 0);
	life_leave_traces(&life);
	vf_try_map_rings(&life.vf);
	EXPECT_TRUE(enter(&life, &place));
	pid = aside_begin(&life.vf, way->act);

	/* As if nothing were; what needs a reset may fail. */
	EXPECT_STATE(state, &life.vf);
	touch_rings(&life.vf);
	if (state == VFIO_DEVICE_STATE_STOP_COPY) {
		EXPECT_EQ(0, state_read(life.fd, &saved));
		EXPECT_TRUE(state_whole(&saved));
	} else if (state == VFIO_DEVICE_STATE_RUNNING) {
		EXPECT_EQ(0, try_state(&life, VFIO_DEVICE_STATE_STOP_COPY,
				       PF_MS));
	}
	ret = vf_reset(&life.vf);
	EXPECT_TRUE(!ret || ret == -EAGAIN);
	EXPECT_EQ(0, waitpid(pid, NULL, WNOHANG));

	life_end(&life);
	aside_end(pid);
	expect_fd_dead(&life);
	if (way->unbound)
		EXPECT_EQ(0, bdf_bind(pf, "igb"));
	put_right();
	expect_reborn();
}

TH_TEST(gone, 300, true,
	"the PF's driver is unbound or unloaded, the PF or the port is removed, "
	"under a function in several states: the user is asked, can go on, and "
	"when it lets go the removal goes on; what comes afterwards is fresh")
{
	static const u32 states[] = {
		VFIO_DEVICE_STATE_STOP_COPY, VFIO_DEVICE_STATE_RUNNING,
		VFIO_DEVICE_STATE_RESUMING, VFIO_DEVICE_STATE_ERROR,
	};
	unsigned int n, i;

	know_blank();
	for (n = 0; n < ARRAY_SIZE(ways); n++) {
		for (i = 0; i < ARRAY_SIZE(states); i++) {
			/* Each takes as long as setting up a PF. */
			if (th_times(1) == 1 && (n || i))
				continue;
			th_context("%s, %s", ways[n].name,
				   state_name(states[i]));
			go_away(&ways[n], states[i]);
			th_count(TH_REMOVALS, 1);
		}
	}
}

static const struct error {
	const char *name;
	bool of_pf;
	bool quiet;
	u32 uncorrectable;
	u32 correctable;
} reports[] = {
	{ .name = "correctable, VF", .correctable = PCI_ERR_COR_BAD_TLP },
	{ .name = "non-fatal, VF", .uncorrectable = PCI_ERR_UNC_COMP_TIME },
	{ .name = "non-fatal, VF, quiet", .quiet = true,
	  .uncorrectable = PCI_ERR_UNC_COMP_TIME },
	{ .name = "non-fatal, PF", .of_pf = true,
	  .uncorrectable = PCI_ERR_UNC_COMP_TIME },
};

static void need_aer(void)
{
	if (!port_has_aer(vf_bdf[0]))
		th_skip("the kernel does not handle errors of this port (AER)");
}

static void suffer(const struct error *error)
{
	char pf[PF_BDF_SIZE];
	struct life life;
	int event, ret;

	ASSERT_TRUE(pf_bdf(vf_bdf[0], pf));
	life_begin(&life, 0);
	life_leave_traces(&life);
	event = vf_error_event(&life.vf);
	if (error->quiet)
		ASSERT_EQ(0, try_state(&life, VFIO_DEVICE_STATE_STOP_COPY,
				       PROMPT_MS));
	ret = aer_inject(error->of_pf ? pf : vf_bdf[0], error->uncorrectable,
			 error->correctable);
	if (ret == -ENOENT)
		th_skip("this kernel has no aer_inject");
	EXPECT_EQ(0, ret);
	EXPECT_EQ(!!error->uncorrectable,
		  wait_event(event, error->uncorrectable ? 2000 : 200));
	ret = try_state(&life, error->quiet ? VFIO_DEVICE_STATE_RUNNING :
			VFIO_DEVICE_STATE_STOP, PF_MS);
	EXPECT_EQ(0, ret);
	close(event);
	ASSERT_EQ(0, vf_reset(&life.vf));
	expect_clean(&life);
	expect_fd_dead(&life);
	life_end(&life);
}

TROUBLE(errors,
	"an error that is not fatal is reported (AER) for the function or its PF, "
	"working or quiet: the user is told of what is not correctable, the states "
	"still change, and a reset gives a function that works")
{
	unsigned int n;

	need_aer();
	know_blank();
	for (n = 0; n < ARRAY_SIZE(reports); n++) {
		th_context("%s", reports[n].name);
		suffer(&reports[n]);
	}
	expect_works();
}

/* Nothing gets out of it by itself, and it is not master of the bus. */
static void expect_hushed(struct life *life)
{
	u64 print;

	EXPECT_EQ(0, vf_real_command(&life->vf) & PCI_COMMAND_MASTER);
	vf_all_interrupts(&life->vf);
	print = nic_fingerprint(&life->nic);
	vf_write(&life->vf, EIMS, 7);
	vf_write(&life->vf, EICS, 7);
	sleep_ms(20);
	EXPECT_EQ((u64)0, vf_all_interrupts(&life->vf));
	EXPECT_EQ(print, nic_fingerprint(&life->nic));
}

enum reporter { REPORTER_VF, REPORTER_PF, REPORTER_PORT, REPORTERS };

/**
 * struct fatal - an error that is fatal
 * @name: of the case
 * @by: who reports it
 * @error: by the hardware: its name; or NULL: the kernel is made to believe it
 * @bit: the same in the AER capability
 * @place: where the life is then
 * @end: how it goes on
 */
static const struct fatal {
	const char *name;
	enum reporter by;
	const char *error;
	u32 bit;
	struct place place;
	void (*end)(struct life *life);
} fatals[] = {
	{ "data link, VF, RUNNING", REPORTER_VF, NULL, PCI_ERR_UNC_DLP,
	  { .state = VFIO_DEVICE_STATE_RUNNING }, end_by_reset },
	{ "malformed TLP, PF, STOP_COPY", REPORTER_PF, NULL,
	  PCI_ERR_UNC_MALF_TLP,
	  { .state = VFIO_DEVICE_STATE_STOP_COPY }, end_by_reset },
	{ "data link, PF, ERROR", REPORTER_PF, NULL, PCI_ERR_UNC_DLP,
	  { .state = VFIO_DEVICE_STATE_ERROR }, end_by_reset },
	{ "malformed TLP, VF, RUNNING_P2P", REPORTER_VF, NULL,
	  PCI_ERR_UNC_MALF_TLP,
	  { .state = VFIO_DEVICE_STATE_RUNNING_P2P }, end_by_close },
	{ "data link, VF, RESUMING, refused", REPORTER_VF, NULL,
	  PCI_ERR_UNC_DLP,
	  { .state = VFIO_DEVICE_STATE_RESUMING, .refused = true },
	  end_by_close },
	{ "data link, PF, v1's pre-copy", REPORTER_PF, NULL, PCI_ERR_UNC_DLP,
	  { .v1 = true, .state = V1_R | V1_S }, end_by_reset },
	{ "data link, the port's hardware, RUNNING", REPORTER_PORT, "DLP", 0,
	  { .state = VFIO_DEVICE_STATE_RUNNING }, end_by_reset },
	{ "malformed TLP, the port's hardware, STOP", REPORTER_PORT, "MALF_TLP", 0,
	  { .state = VFIO_DEVICE_STATE_STOP }, end_by_reset },
};

/* 0, or -ENOENT if nobody here can do it. */
static int report_fatal(const struct fatal *fatal)
{
	char pf[PF_BDF_SIZE], port[PORT_BDF_SIZE], line[512];
	const char *who[REPORTERS] = { vf_bdf[0], pf, port };

	ASSERT_TRUE(pf_bdf(vf_bdf[0], pf));
	ASSERT_TRUE(find_port(vf_bdf[0], port));
	if (!fatal->error)
		return aer_inject(who[fatal->by], fatal->bit, 0);
	if (!error_command)
		return -ENOENT;
	aer_inject_end();
	snprintf(line, sizeof(line), "%s %s %s", error_command, who[fatal->by],
		 fatal->error);
	return system(line);
}

/*
 * The link has been reset, and the function with it: the state is as it was, and
 * so is what was saved before. But what the function was doing is lost.
 */
static void expect_survived(struct life *life, u32 state)
{
	static struct state saved;
	u64 began = time_ms();
	int ret;

	EXPECT_STATE(state, &life->vf);
	if (state != VFIO_DEVICE_STATE_RUNNING)
		expect_silent(life);
	if (state == VFIO_DEVICE_STATE_STOP_COPY) {
		EXPECT_EQ(0, state_read(life->fd, &saved));
		EXPECT_TRUE(state_whole(&saved));
	}
	ret = vf_set_state(&life->vf, state == VFIO_DEVICE_STATE_RUNNING ?
			   VFIO_DEVICE_STATE_STOP : VFIO_DEVICE_STATE_RUNNING,
			   NULL);
	expect_prompt(began, PF_MS, "the next state");
	if (state == VFIO_DEVICE_STATE_RESUMING) {
		/* It has been refused before. */
		EXPECT_TRUE(ret < 0);
		EXPECT_STATE(state, &life->vf);
	} else {
		EXPECT_EQ(-EIO, ret);
		EXPECT_STATE(VFIO_DEVICE_STATE_ERROR, &life->vf);
	}
}

static void suffer_fatally(const struct fatal *fatal)
{
	const struct place *place = &fatal->place;
	struct life life;
	int event, log, ret;

	life_begin(&life, 0);
	life_leave_traces(&life);
	event = vf_error_event(&life.vf);
	ASSERT_TRUE(enter(&life, place));
	log = aer_recovery_begin();
	ASSERT_LE(0, log);
	ret = report_fatal(fatal);
	if (ret == -ENOENT) {
		th_log("nobody here can report that");
		close(log);
		close(event);
		life_end(&life);
		return;
	}
	ASSERT_EQ(0, ret);
	EXPECT_TRUE(wait_event(event, 2000));
	close(event);
	ASSERT_TRUE(aer_recovery_end(log, LINK_MS));
	ASSERT_TRUE(pf_wait_link(vf_bdf[0], LINK_MS));

	expect_hushed(&life);
	if (place->v1)
		EXPECT_V1_STATE(place->state, &life.v1);
	else
		expect_survived(&life, place->state);
	fatal->end(&life);
	expect_clean(&life);
	expect_fd_dead(&life);
	life_end(&life);
}

TH_TEST(fatal, 300, true,
	"after an error that is fatal, of the function, its PF or the port, the "
	"kernel resets the link under it: its user is told, it is silent, what was "
	"saved can be read, the next state is ERROR, and a reset, or closing and "
	"opening, gives a function that works")
{
	unsigned int n;

	need_aer();
	know_blank();
	for (n = 0; n < ARRAY_SIZE(fatals); n++) {
		th_context("%s", fatals[n].name);
		suffer_fatally(&fatals[n]);
	}
	th_context("at the end");
	expect_works();
}

/*
 * The card of a function is without power. Afterwards the machine has a card less,
 * so this is the last test of all.
 */
static void surprise(unsigned int which, u32 state)
{
	static struct state saved;
	struct life life;
	pid_t pid;
	u64 began;
	u32 value;
	int ret;

	life_begin(&life, which);
	life_leave_traces(&life);
	vf_try_map_rings(&life.vf);
	if (state != VFIO_DEVICE_STATE_RUNNING)
		ASSERT_EQ(0, vf_set_state(&life.vf, state, &life.fd));
	/*
	 * With its interface up, igb would turn in a loop for half a minute for
	 * each of many registers, and the machine could not be switched off.
	 */
	ASSERT_TRUE(pf_set_link(life.vf.bdf, false));
	port_power_off(life.vf.bdf);

	ret = pread(life.vf.fd, &value, 4, life.vf.bar + STATUS);
	th_log("STATUS: %d, %#x; rings: %s", ret, value,
	       touch_rings(&life.vf) ? "can be touched" : "SIGBUS");
	EXPECT_STATE(state, &life.vf);
	if (state == VFIO_DEVICE_STATE_STOP_COPY) {
		EXPECT_EQ(0, state_read(life.fd, &saved));
		EXPECT_TRUE(state_whole(&saved));
	}
	ret = try_state(&life, state == VFIO_DEVICE_STATE_RUNNING ?
			VFIO_DEVICE_STATE_STOP_COPY : VFIO_DEVICE_STATE_RUNNING,
			PROMPT_MS);
	EXPECT_EQ(-ENODEV, ret);
	EXPECT_STATE(VFIO_DEVICE_STATE_ERROR, &life.vf);

	/* Now somebody notices. */
	EXPECT_EQ(-ENODEV, vf_reset(&life.vf));
	pid = aside_begin(&life.vf, bdf_unbind);
	EXPECT_STATE(VFIO_DEVICE_STATE_ERROR, &life.vf);
	touch_rings(&life.vf);
	began = time_ms();
	life_end(&life);
	aside_end(pid);
	th_log("closed and unbound within %llu ms",
	       (unsigned long long)(time_ms() - began));
	expect_fd_dead(&life);
}

TH_TEST(surprise, 300, true,
	"the card loses its power under a working function, and under a stopped "
	"one whose state can still be read: ERROR, no reset, and everything can "
	"be closed and unbound")
{
	th_context("RUNNING");
	surprise(1, VFIO_DEVICE_STATE_RUNNING);
	th_context("STOP_COPY");
	surprise(0, VFIO_DEVICE_STATE_STOP_COPY);
	th_count(TH_REMOVALS, 2);
}
