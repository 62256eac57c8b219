// SPDX-License-Identifier: GPL-2.0
/* Quiet states: what the user does then, and what of it the function gets. */
#include <errno.h>
#include <linux/pci_regs.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "ability.h"
#include "arcs.h"
#include "harness.h"
#include "igbvf.h"
#include "state.h"
#include "vfio.h"

struct way {
	const char *name;
	u32 (*read)(struct vf *vf, u32 offset);
	void (*write)(struct vf *vf, u32 offset, u32 value);
};

static const struct way ways[] = {
	{ "read and write", vf_read, vf_write },
	{ "mmap", vf_mread, vf_mwrite },
};

/* Quiet, with the nic's state in it in any case. */
static void go_quiet(struct vf *vf, u32 state)
{
	static struct state saved;

	if (state != VFIO_DEVICE_STATE_RESUMING) {
		ASSERT_EQ(0, vf_set_state(vf, state, NULL));
		return;
	}
	state_save(vf, &saved);
	ASSERT_EQ(0, state_load(vf, &saved));
}

static void shielded_doorbells(struct vf *vf, u32 state, const struct way *way,
			       const struct way *other)
{
	struct real before, quiet, after;
	struct nic nic;
	u64 print;
	u32 tail;

	ASSERT_EQ(0, vf_reset(vf));
	nic_start(&nic, vf, 0);
	before = vf_real(vf);
	ASSERT_EQ(true, before.known);
	ASSERT_EQ(RING - 1u, before.rdt);
	/* What is mapped is the function itself, until it is taken away. */
	EXPECT_EQ(RING - 1u, way->read(vf, RDT(0)));
	EXPECT_EQ(RING - 1u, other->read(vf, RDT(0)));

	go_quiet(vf, state);
	quiet = vf_real(vf);
	EXPECT_EQ(0u, quiet.rxdctl & DCTL_ENABLE);
	EXPECT_EQ(0u, quiet.txdctl & DCTL_ENABLE);

	tail = nic_post(&nic, 1, 2);
	print = nic_fingerprint(&nic);
	EXPECT_EQ(RING - 1u, way->read(vf, RDT(0)));
	EXPECT_EQ(0u, way->read(vf, TDT(0)));
	EXPECT_TRUE(way->read(vf, RXDCTL(0)) & DCTL_ENABLE);
	way->write(vf, RXDCTL(0), DCTL_ENABLE | 0x10811);
	way->write(vf, TXDCTL(0), DCTL_ENABLE | 1);
	way->write(vf, RDT(0), 7);
	way->write(vf, TDT(0), tail);
	sleep_ms(5);

	after = vf_real(vf);
	EXPECT_EQ(0u, after.rxdctl & DCTL_ENABLE);
	EXPECT_EQ(0u, after.txdctl & DCTL_ENABLE);
	EXPECT_EQ(quiet.rdt, after.rdt);
	EXPECT_EQ(quiet.tdt, after.tdt);
	EXPECT_EQ(quiet.tdh, after.tdh);
	EXPECT_EQ(print, nic_fingerprint(&nic));

	EXPECT_EQ(7u, way->read(vf, RDT(0)));
	EXPECT_EQ(7u, other->read(vf, RDT(0)));
	EXPECT_EQ(tail, way->read(vf, TDT(0)));
	EXPECT_EQ(tail, other->read(vf, TDT(0)));
	EXPECT_EQ(DCTL_ENABLE | 0x10811, way->read(vf, RXDCTL(0)));
	EXPECT_EQ(DCTL_ENABLE | 0x10811, other->read(vf, RXDCTL(0)));

	ASSERT_EQ(0, vf_set_state(vf, VFIO_DEVICE_STATE_RUNNING, NULL));
	after = vf_real(vf);
	EXPECT_EQ(7u, after.rdt);
	EXPECT_EQ(tail, after.tdt);
	EXPECT_EQ(DCTL_ENABLE | 0x10811, after.rxdctl);
	EXPECT_EQ(DCTL_ENABLE | 1, after.txdctl);
	sleep_ms(5);
	EXPECT_EQ(tail, vf_read(vf, TDH(0)));
}

TEST_ALONE(quiet_doorbells,
	"what is written to rings and doorbells in a quiet state, by mmap or "
	"write, does not reach the function, is seen by the user, and takes "
	"effect with RUNNING")
{
	struct iommu iommu = {};
	unsigned int n, w, nr_ways;
	struct vf vf;

	vf_need_igbvf();
	vf_open(&vf, &iommu, vf_bdf[0]);
	need_rings_load(&vf);
	if (!vf_real(&vf).known)
		th_skip("the PF does not show the function's registers");
	/* Some hosts have only the first one. */
	nr_ways = vf_try_map_rings(&vf) ? ARRAY_SIZE(ways) : 1;
	for_each_quiet(n, &vf, QUIET_STATES) {
		for (w = 0; w < nr_ways; w++) {
			th_context("%s, %s", state_name(quiet_states[n]),
				   ways[w].name);
			shielded_doorbells(&vf, quiet_states[n], &ways[w],
					   &ways[(w + 1) % nr_ways]);
		}
	}
}

TEST(quiet_enable,
	"a queue that is switched on in a quiet state starts with RUNNING and "
	"not before, one that is switched off does not start")
{
	struct iommu iommu = {};
	struct real real;
	struct nic nic;
	unsigned int n;
	struct vf vf;

	vf_need_igbvf();
	vf_open(&vf, &iommu, vf_bdf[0]);
	if (!vf_real(&vf).known)
		th_skip("the PF does not show the function's registers");
	nic_start(&nic, &vf, 0);
	for_each_quiet(n, &vf, KEEPING) {
		th_context("on in %s", state_name(quiet_states[n]));
		vf_write(&vf, RXDCTL(0), 0x10810);
		vf_write(&vf, TXDCTL(0), 0);
		ASSERT_EQ(0, vf_set_state(&vf, quiet_states[n], NULL));
		vf_write(&vf, RXDCTL(0), DCTL_ENABLE | 0x10810);
		vf_write(&vf, TXDCTL(0), DCTL_ENABLE);
		real = vf_real(&vf);
		EXPECT_EQ(0u, real.rxdctl & DCTL_ENABLE);
		EXPECT_EQ(0u, real.txdctl & DCTL_ENABLE);
		ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_RUNNING, NULL));
		real = vf_real(&vf);
		EXPECT_TRUE(real.rxdctl & DCTL_ENABLE);
		EXPECT_TRUE(real.txdctl & DCTL_ENABLE);

		th_context("off in %s", state_name(quiet_states[n]));
		ASSERT_EQ(0, vf_set_state(&vf, quiet_states[n], NULL));
		vf_write(&vf, RXDCTL(0), 0x10810);
		vf_write(&vf, TXDCTL(0), 0);
		ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_RUNNING, NULL));
		real = vf_real(&vf);
		EXPECT_EQ(0u, real.rxdctl & DCTL_ENABLE);
		EXPECT_EQ(0u, real.txdctl & DCTL_ENABLE);
	}
}

/* A bit of COMMAND's low byte as the user sees it, and sets it, and as it is. */
static bool user_bit(struct vf *vf, u16 bit)
{
	u8 bytes[64], byte;
	u32 dword;
	bool on = vf_config_read(vf, PCI_COMMAND) & bit;

	/* Any other access that has the bit in it says the same. */
	ASSERT_EQ((ssize_t)1, pread(vf->fd, &byte, 1, vf->config + PCI_COMMAND));
	EXPECT_EQ(on, !!(byte & bit));
	ASSERT_EQ((ssize_t)4, pread(vf->fd, &dword, 4, vf->config + PCI_COMMAND));
	EXPECT_EQ(on, !!(dword & bit));
	ASSERT_EQ((ssize_t)64, pread(vf->fd, bytes, 64, vf->config));
	EXPECT_EQ(on, !!(bytes[PCI_COMMAND] & bit));
	return on;
}

static void set_bit(struct vf *vf, u16 bit, bool on)
{
	u16 command = vf_config_read(vf, PCI_COMMAND) & ~bit;

	vf_config_write(vf, PCI_COMMAND, command | (on ? bit : 0));
}

static bool real_bit(struct vf *vf, u16 bit)
{
	return vf_real_command(vf) & bit;
}

/* How the function has it in quiet states: as if the user wanted it on, or off. */
static void quiet_bit(struct vf *vf, u16 bit, bool forced, bool real[2])
{
	unsigned int n, before, wanted;

	for (wanted = 0; wanted < 2; wanted++) {
		set_bit(vf, bit, wanted);
		real[wanted] = real_bit(vf, bit);
	}
	for_each_quiet(n, vf, QUIET_STATES) {
		for (before = 0; before < 2; before++) {
			for (wanted = 0; wanted < 2; wanted++) {
				th_context("%s, %u then %u",
					   state_name(quiet_states[n]), before,
					   wanted);
				set_bit(vf, bit, before);
				EXPECT_EQ(real[before], real_bit(vf, bit));
				go_quiet(vf, quiet_states[n]);
				EXPECT_EQ(real[forced], real_bit(vf, bit));
				EXPECT_EQ(!!before, user_bit(vf, bit));
				set_bit(vf, bit, wanted);
				EXPECT_EQ(real[forced], real_bit(vf, bit));
				EXPECT_EQ(!!wanted, user_bit(vf, bit));
				ASSERT_EQ(0, vf_set_state(vf, VFIO_DEVICE_STATE_RUNNING,
							  NULL));
				EXPECT_EQ(real[wanted], real_bit(vf, bit));
				EXPECT_EQ(!!wanted, user_bit(vf, bit));
			}
		}
	}
}

TEST(quiet_master,
	"Bus Master Enable is off in quiet states whatever the user writes, "
	"the user reads what it has written, and gets that with RUNNING")
{
	struct iommu iommu = {};
	bool real[2];
	struct vf vf;

	vf_need_igbvf();
	vf_open(&vf, &iommu, vf_bdf[0]);
	quiet_bit(&vf, PCI_COMMAND_MASTER, false, real);
	EXPECT_EQ(false, real[false]);
	EXPECT_EQ(true, real[true]);
}

TEST(quiet_memory,
	"Memory Space Enable is on in quiet states, the user reads what it has "
	"written, and gets that with RUNNING, or by a reset")
{
	struct iommu iommu = {};
	unsigned int n;
	bool real[2];
	struct vf vf;

	vf_need_igbvf();
	vf_open(&vf, &iommu, vf_bdf[0]);
	/* SR-IOV says that it is 0 for a VF at all times; QEMU's has it. */
	quiet_bit(&vf, PCI_COMMAND_MEMORY, true, real);
	for_each_quiet(n, &vf, QUIET_STATES) {
		th_context("reset in %s", state_name(quiet_states[n]));
		set_bit(&vf, PCI_COMMAND_MEMORY, true);
		go_quiet(&vf, quiet_states[n]);
		set_bit(&vf, PCI_COMMAND_MEMORY, false);
		ASSERT_EQ(0, vf_reset(&vf));
		EXPECT_EQ(false, user_bit(&vf, PCI_COMMAND_MEMORY));
		EXPECT_EQ(real[false], real_bit(&vf, PCI_COMMAND_MEMORY));
	}
}

TEST(quiet_master_reset,
	"VFIO_DEVICE_RESET in a quiet state gives Bus Master Enable back as "
	"the user has set it")
{
	struct iommu iommu = {};
	unsigned int n, wanted;
	struct vf vf;

	vf_need_igbvf();
	vf_open(&vf, &iommu, vf_bdf[0]);
	for_each_quiet(n, &vf, QUIET_STATES) {
		for (wanted = 0; wanted < 2; wanted++) {
			th_context("%s, wanted %u", state_name(quiet_states[n]),
				   wanted);
			set_bit(&vf, PCI_COMMAND_MASTER, !wanted);
			go_quiet(&vf, quiet_states[n]);
			set_bit(&vf, PCI_COMMAND_MASTER, wanted);
			ASSERT_EQ(0, vf_reset(&vf));
			EXPECT_EQ(!!wanted, real_bit(&vf, PCI_COMMAND_MASTER));
			EXPECT_EQ(!!wanted, user_bit(&vf, PCI_COMMAND_MASTER));
		}
	}
}

/**
 * struct writer - a thread that writes while the main one does something else
 * @vf: the function
 * @write: what it does, again and again, with a number that grows
 * @stop: it shall end
 * @number: of the last write that is done; from one round to the next, as
 *	there may be rounds without any
 */
struct writer {
	struct vf *vf;
	void (*write)(struct vf *vf, u32 number);
	atomic_bool stop;
	u32 number;
};

static void *writer_thread(void *arg)
{
	struct writer *writer = arg;

	while (!atomic_load(&writer->stop))
		writer->write(writer->vf, ++writer->number);
	return NULL;
}

static void writer_begin(struct writer *writer, pthread_t *thread)
{
	atomic_store(&writer->stop, false);
	ASSERT_EQ(0, pthread_create(thread, NULL, writer_thread, writer));
}

static void writer_end(struct writer *writer, pthread_t thread)
{
	atomic_store(&writer->stop, true);
	ASSERT_EQ(0, pthread_join(thread, NULL));
}

static void write_master(struct vf *vf, u32 number)
{
	vf_config_write(vf, PCI_COMMAND, PCI_COMMAND_MEMORY |
			(number % 2 ? PCI_COMMAND_MASTER : 0));
}

TEST(quiet_master_race,
	"Bus Master Enable that is written while the device becomes quiet is off "
	"then, and the user's as it was written last")
{
	struct writer writer = { .write = write_master };
	struct iommu iommu = {};
	pthread_t thread;
	unsigned int n;
	struct vf vf;

	vf_need_igbvf();
	vf_open(&vf, &iommu, vf_bdf[0]);
	writer.vf = &vf;
	write_master(&vf, writer.number);
	for (n = 0; n < 60; n++) {
		th_context("round %u", n);
		writer_begin(&writer, &thread);
		ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_RUNNING_P2P,
					  NULL));
		writer_end(&writer, thread);
		EXPECT_EQ(false, real_bit(&vf, PCI_COMMAND_MASTER));
		EXPECT_EQ(writer.number % 2, user_bit(&vf, PCI_COMMAND_MASTER));
		ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_RUNNING, NULL));
		EXPECT_EQ(writer.number % 2, real_bit(&vf, PCI_COMMAND_MASTER));
	}
}

TEST(quiet_master_sysfs_reset,
	"Bus Master Enable is written while the administrator resets the function: "
	"neither waits for the other forever")
{
	struct writer writer = { .write = write_master };
	struct iommu iommu = {};
	pthread_t thread;
	unsigned int n;
	struct vf vf;

	vf_need_igbvf();
	vf_open(&vf, &iommu, vf_bdf[0]);
	writer.vf = &vf;
	for (n = 0; n < 5; n++) {
		th_context("round %u", n);
		ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_RUNNING_P2P,
					  NULL));
		writer_begin(&writer, &thread);
		EXPECT_EQ(0, bdf_write(vf.bdf, "reset", "1"));
		writer_end(&writer, thread);
		EXPECT_STATE(VFIO_DEVICE_STATE_RUNNING, &vf);
	}
}

static void write_mailbox(struct vf *vf, u32 number)
{
	vf_write(vf, VMBMEM(3), number);
}

TEST(quiet_doorbells_race,
	"what is written to a doorbell by a mapping in a quiet state is not lost, "
	"whatever else is written meanwhile")
{
	struct writer writer = { .write = write_mailbox };
	struct iommu iommu = {};
	unsigned int n, tail;
	pthread_t thread;
	u32 last = 0;
	struct vf vf;

	vf_need_igbvf();
	vf_open(&vf, &iommu, vf_bdf[0]);
	vf_map_rings(&vf);
	writer.vf = &vf;
	for (n = 0; n < 30; n++) {
		th_context("round %u", n);
		ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_RUNNING_P2P,
					  NULL));
		writer_begin(&writer, &thread);
		/* The last one is one that the ring has not had before. */
		for (tail = 0; tail < 2000; tail++) {
			last = (n * 2000 + tail) & 0x7fff;
			vf_mwrite(&vf, RDT(1), last);
			EXPECT_EQ(last, vf_mread(&vf, RDT(1)));
		}
		writer_end(&writer, thread);
		EXPECT_EQ(last, vf_read(&vf, RDT(1)));
		ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_RUNNING, NULL));
	}
}

TEST(quiet_config,
	"config space below the user's hands keeps working while quiet, MSI-X "
	"set-up too")
{
	struct iommu iommu = {};
	unsigned int n;
	struct vf vf;

	vf_need_igbvf();
	vf_open(&vf, &iommu, vf_bdf[0]);
	for_each_quiet(n, &vf, QUIET_STATES) {
		u16 command;

		th_context("%s", state_name(quiet_states[n]));
		go_quiet(&vf, quiet_states[n]);
		EXPECT_EQ((u16)0x8086, vf_config_read(&vf, PCI_VENDOR_ID));
		EXPECT_EQ((u16)0x10ca, vf_config_read(&vf, PCI_DEVICE_ID));
		command = vf_config_read(&vf, PCI_COMMAND);
		vf_config_write(&vf, PCI_COMMAND, command ^ PCI_COMMAND_INTX_DISABLE);
		EXPECT_EQ(command & (PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY),
			  vf_config_read(&vf, PCI_COMMAND) &
			  (PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY));
		vf_config_write(&vf, PCI_COMMAND, command);
		vf_enable_interrupts(&vf);
		ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_RUNNING, NULL));
		vf_write(&vf, IVAR0, IVAR0_VALUE);
		vf_write(&vf, EIAC, 7);
		vf_write(&vf, EIMS, 7);
		vf_write(&vf, EICS, 1u << RX_VECTOR);
		EXPECT_TRUE(vf_wait_interrupt(&vf, RX_VECTOR, 1000));
		vf_reopen(&vf);
	}
}

TEST(quiet_interrupts,
	"no interrupt comes in a quiet state; one asked for then comes with "
	"RUNNING")
{
	struct iommu iommu = {};
	struct nic nic;
	unsigned int n;
	struct vf vf;

	vf_open(&vf, &iommu, vf_bdf[0]);
	nic_start(&nic, &vf, 0);
	for_each_quiet(n, &vf, KEEPING) {
		th_context("%s", state_name(quiet_states[n]));
		ASSERT_EQ(0, vf_set_state(&vf, quiet_states[n], NULL));
		vf_all_interrupts(&vf);
		vf_write(&vf, EICS, 1u << 2);
		sleep_ms(40);
		EXPECT_EQ((u64)0, vf_all_interrupts(&vf));
		ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_RUNNING, NULL));
		EXPECT_TRUE(vf_wait_interrupt(&vf, 2, 1000));
	}
}

TEST(late_interrupt,
	"an interrupt that the function still holds back for throttling when "
	"it is made quiet comes with RUNNING, not before")
{
	struct iommu iommu = {};
	struct nic nic;
	unsigned int n;
	struct vf vf;

	vf_open(&vf, &iommu, vf_bdf[0]);
	nic_start(&nic, &vf, 0);
	vf_write(&vf, EITR(0), 0x7ffe);
	for (n = 0; n < 5; n++) {
		th_context("round %u", n);
		vf_write(&vf, EICS, 1);
		EXPECT_TRUE(vf_wait_interrupt(&vf, 0, 1000));
		vf_write(&vf, EICS, 1);
		ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_RUNNING_P2P,
					  NULL));
		vf_all_interrupts(&vf);
		sleep_ms(60);
		EXPECT_EQ((u64)0, vf_all_interrupts(&vf));
		ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_RUNNING, NULL));
		EXPECT_TRUE(vf_wait_interrupt(&vf, 0, 1000));
		sleep_ms(40);
		vf_all_interrupts(&vf);
	}
}

TEST(masked_cause,
	"a cause that was raised while masked comes when it is unmasked after "
	"RUNNING, P2P, RUNNING")
{
	struct iommu iommu = {};
	struct nic nic;
	struct vf vf;

	vf_open(&vf, &iommu, vf_bdf[0]);
	nic_start(&nic, &vf, 0);
	/* Or raising it would unmask it, by the datasheet. */
	vf_write(&vf, EIAM, 0);
	vf_write(&vf, EIMC, 2);
	vf_write(&vf, EICS, 2);
	sleep_ms(5);
	vf_all_interrupts(&vf);
	ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_RUNNING_P2P, NULL));
	ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_RUNNING, NULL));
	sleep_ms(20);
	EXPECT_EQ((u64)0, vf_interrupts(&vf, 1));
	EXPECT_EQ(5u, vf_read(&vf, EIMS));
	vf_write(&vf, EIMS, 2);
	EXPECT_TRUE(vf_wait_interrupt(&vf, 1, 1000));
}

/* As a guest does that waits for bits of V2PMAILBOX. */
static u32 mbx_poll(struct vf *vf, u32 bits, unsigned int timeout_ms)
{
	u64 end = time_ms() + timeout_ms;
	u32 seen = 0;

	while ((seen & bits) != bits && time_ms() < end) {
		seen |= vf_read(vf, V2PMAILBOX);
		sleep_ms(1);
	}
	return seen & bits;
}

/* A request by the guest, up to ringing the doorbell. */
static void mbx_request(struct vf *vf, u32 type, u32 word)
{
	vf_write(vf, V2PMAILBOX, V2P_VFU);
	EXPECT_TRUE(vf_read(vf, V2PMAILBOX) & V2P_VFU);
	vf_write(vf, VMBMEM(0), type);
	vf_write(vf, VMBMEM(1), word);
	vf_write(vf, V2PMAILBOX, V2P_REQ);
}

static void mbx_expect(struct vf *vf, u32 type)
{
	EXPECT_EQ(V2P_PFACK | V2P_PFSTS,
		  mbx_poll(vf, V2P_PFACK | V2P_PFSTS, 2500));
	EXPECT_EQ(MSG_ACK | type, vf_read(vf, VMBMEM(0)) & (MSG_ACK | 0xffff));
	vf_write(vf, V2PMAILBOX, V2P_ACK);
}

TEST(quiet_mailbox,
	"a message to the PF that is written in a quiet state is sent with "
	"RUNNING, and answered")
{
	struct iommu iommu = {};
	struct nic nic;
	unsigned int n;
	struct vf vf;

	vf_open(&vf, &iommu, vf_bdf[0]);
	nic_start(&nic, &vf, 0);
	for_each_quiet(n, &vf, KEEPING) {
		th_context("%s", state_name(quiet_states[n]));
		ASSERT_EQ(0, vf_set_state(&vf, quiet_states[n], NULL));
		mbx_request(&vf, MSG_SET_LPE, 1500 + n);
		EXPECT_EQ(0u, mbx_poll(&vf, V2P_PFACK, 20));
		ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_RUNNING, NULL));
		mbx_expect(&vf, MSG_SET_LPE);
	}
}

TEST_ALONE(moved_mailbox,
	"an answer that the guest has not read is found at the destination; a "
	"message that was not sent is sent there")
{
	static struct state state;
	struct iommu iommu = {};
	struct nic nic;
	struct vf vf[2];

	vf_open_both(vf, &iommu);
	nic_start(&nic, &vf[0], 0);
	th_context("unread answer");
	mbx_request(&vf[0], MSG_SET_VLAN | 1 << 16, 99);
	sleep_ms(100);
	state_save(&vf[0], &state);
	ASSERT_EQ(0, state_load(&vf[1], &state));
	ASSERT_EQ(0, vf_set_state(&vf[1], VFIO_DEVICE_STATE_RUNNING, NULL));
	mbx_expect(&vf[1], MSG_SET_VLAN);

	th_context("held message");
	ASSERT_EQ(0, vf_set_state(&vf[1], VFIO_DEVICE_STATE_STOP, NULL));
	mbx_request(&vf[1], MSG_SET_LPE, 1400);
	state_save(&vf[1], &state);
	ASSERT_EQ(0, state_load(&vf[0], &state));
	EXPECT_EQ(0u, mbx_poll(&vf[0], V2P_PFACK, 20));
	ASSERT_EQ(0, vf_set_state(&vf[0], VFIO_DEVICE_STATE_RUNNING, NULL));
	mbx_expect(&vf[0], MSG_SET_LPE);
	if (!rings_load(&vf[0]))
		nic_start_over(&nic);
	EXPECT_TRUE(nic_send(&nic, 1, 2));
}

#define WINDOW_IOVA	0x20000000ull
#define REAL_VALUE	0x10070080u
#define SHOWN_VALUE	0x5a5a5a80u

/*
 * What a peer gets that reads the register RDBAL(1) of a function by DMA, over
 * the mapping at WINDOW_IOVA.
 */
static u32 peer_reads(struct nic *peer, struct vf *vf)
{
	u8 head[14], frame[BUFFER] = {};
	u32 value;
	int len;

	memcpy(head, peer->mac, 6);
	memcpy(head + 6, peer->mac, 6);
	head[12] = 0x88;
	head[13] = 0xb6;
	ASSERT_TRUE(nic_send_parts(peer, head, sizeof(head),
				   WINDOW_IOVA + RDBAL(1) - vf->rings_at, 64));
	do {
		len = nic_receive_raw(peer, frame, sizeof(frame), 1000);
		ASSERT_LE(0, len);
	} while (frame[13] != 0xb6);
	memcpy(&value, frame + sizeof(head), sizeof(value));
	return value;
}

struct dma_case {
	u32 state;
	bool touched;
};

static const struct dma_case dma_cases[] = {
	{ VFIO_DEVICE_STATE_RUNNING_P2P, false },
	{ VFIO_DEVICE_STATE_RUNNING_P2P, true },
	{ VFIO_DEVICE_STATE_STOP, false },
	{ VFIO_DEVICE_STATE_STOP, true },
	{ VFIO_DEVICE_STATE_RESUMING, false },
	{ VFIO_DEVICE_STATE_RESUMING, true },
};

/* Quiet, with a register that the user sees otherwise than it is. */
static void dma_scene(struct vf *vf, const struct dma_case *dma_case)
{
	vf_write(vf, RDBAL(1), REAL_VALUE);
	go_quiet(vf, dma_case->state);
	vf_map_rings(vf);
	vf_write(vf, RDBAL(1), SHOWN_VALUE);
	if (dma_case->touched)
		EXPECT_EQ(SHOWN_VALUE, vf_mread(vf, RDBAL(1)));
}

TEST_ALONE(dma_map_quiet,
	"mapping the doorbell pages for a peer's DMA while quiet is refused "
	"or gives the real registers, never a stand-in")
{
	struct iommu iommu = {};
	struct nic peer;
	struct vf vf[2];
	unsigned int n;
	int ret;

	vf_open_both(vf, &iommu);
	nic_start(&peer, &vf[0], 0);

	th_context("RUNNING");
	vf_map_rings(&vf[1]);
	vf_write(&vf[1], RDBAL(1), REAL_VALUE);
	ret = iommu_map(&iommu, vf[1].rings, WINDOW_IOVA, vf[1].rings_size);
	th_log("RUNNING: %d", ret);
	if (!ret) {
		EXPECT_EQ(REAL_VALUE, peer_reads(&peer, &vf[1]));
		EXPECT_EQ(0, iommu_unmap(&iommu, WINDOW_IOVA, vf[1].rings_size));
	}
	vf_unmap_rings(&vf[1]);

	for (n = 0; n < ARRAY_SIZE(dma_cases); n++) {
		th_context("%s, %s", state_name(dma_cases[n].state),
			   dma_cases[n].touched ? "touched" : "untouched");
		dma_scene(&vf[1], &dma_cases[n]);
		ret = iommu_map(&iommu, vf[1].rings, WINDOW_IOVA,
				vf[1].rings_size);
		th_log("%s, %s: %d", state_name(dma_cases[n].state),
		       dma_cases[n].touched ? "touched" : "untouched", ret);
		if (!ret) {
			EXPECT_EQ(REAL_VALUE, peer_reads(&peer, &vf[1]));
			EXPECT_EQ(0, iommu_unmap(&iommu, WINDOW_IOVA,
						 vf[1].rings_size));
		}
		ASSERT_EQ(0, vf_set_state(&vf[1], VFIO_DEVICE_STATE_RUNNING,
					  NULL));
		vf_unmap_rings(&vf[1]);
	}
}

TEST_ALONE(dma_map_shield,
	"after such a mapping the user's own accesses still do not reach the "
	"quiet function, and are not lost")
{
	struct iommu iommu = {};
	unsigned int n;
	struct real before, real;
	struct nic nic;
	struct vf vf;
	int ret;

	vf_need_igbvf();
	vf_open(&vf, &iommu, vf_bdf[0]);
	if (!vf_real(&vf).known)
		th_skip("the PF does not show the function's registers");
	nic_start(&nic, &vf, 0);
	for (n = 0; n < ARRAY_SIZE(dma_cases); n++) {
		th_context("%s, %s", state_name(dma_cases[n].state),
			   dma_cases[n].touched ? "touched" : "untouched");
		dma_scene(&vf, &dma_cases[n]);
		ret = iommu_map(&iommu, vf.rings, WINDOW_IOVA, vf.rings_size);
		before = vf_real(&vf);
		vf_mwrite(&vf, RDT(0), 3 + n);
		real = vf_real(&vf);
		EXPECT_EQ(before.rdt, real.rdt);
		EXPECT_EQ(SHOWN_VALUE, vf_mread(&vf, RDBAL(1)));
		EXPECT_EQ(3 + n, vf_read(&vf, RDT(0)));
		if (!ret)
			EXPECT_EQ(0, iommu_unmap(&iommu, WINDOW_IOVA,
						 vf.rings_size));
		ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_RUNNING, NULL));
		EXPECT_EQ(3 + n, vf_read(&vf, RDT(0)));
		vf_unmap_rings(&vf);
	}
}
