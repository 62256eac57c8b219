// SPDX-License-Identifier: GPL-2.0
/* What a function takes as its state, and what it refuses. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "ability.h"
#include "harness.h"
#include "igbvf.h"
#include "state.h"
#include "vfio.h"

/*
 * Records of the backend, and the parts of them that are made wrong below; see
 * driver/igbvf/state.c.
 */
#define RECORD_RINGS		0x100u
#define RECORD_INTERRUPTS	0x101u
#define RECORD_MAILBOX		0x102u
#define RECORD_PF		0x103u
#define RECORD_STATS		0x104u
#define RECORD_UNKNOWN		0x7f0u
#define RECORD_UNKNOWN_CORE	0x0f0u

enum { RX0, RX1, TX0, TX1 };
enum { BAL, BAH, LEN, SRR, DCA, WBAL, WBAH, HEAD, DCTL, TAIL, RING_REGS };
enum { INT_IVAR0 = 5, INT_EIMS = 8, INT_KICK = 9 };
enum { MBX_R2C = 16, MBX_HELD, MBX_FLAGS, MBX_LINK };
enum { PF_FLAGS, PF_NR_UC = 3, PF_NR_MC, PF_VLAN_LAST1 = 6 };
#define PF_MAC_AT	28

struct setting {
	u32 offset;
	u32 value;
};

/*
 * Content for all that is not in use by the nic; values that a guest can set,
 * rings in memory that is mapped. Linux' PF gives queue 1 no traffic.
 */
static const struct setting settings[] = {
	{ RDBAL(1), 0x10070080 }, { RDBAH(1), 0 }, { RDLEN(1), 0x400 },
	{ SRRCTL(1), 0x82300104 }, { RDH(1), 5 }, { RDT(1), 9 },
	{ RXDCTL(1), 0x00020408 },
	{ TDBAL(1), 0x10071000 }, { TDBAH(1), 0 }, { TDLEN(1), 0x800 },
	{ TDH(1), 11 }, { TDT(1), 11 }, { TXDCTL(1), 0x00010608 },
	{ TDWBAL(1), 0x10072000 }, { TDWBAH(1), 0 },
	{ EITR(0), 0x1e8 }, { EITR(1), 0x3d0 }, { EITR(2), 0x7a0 },
	{ PSRTYPE, 0x20010 },
};

/* What queue 1 has to be besides. */
static u32 setting_value(const struct setting *setting, bool on)
{
	bool control = setting->offset == RXDCTL(1) ||
		       setting->offset == TXDCTL(1);

	return setting->value | (on && control ? DCTL_ENABLE : 0);
}

static void check_settings(struct vf *vf, bool on)
{
	unsigned int n;

	for (n = 0; n < ARRAY_SIZE(settings); n++) {
		th_context("queue 1 %s, register %#x", on ? "on" : "off",
			   settings[n].offset);
		EXPECT_EQ(setting_value(&settings[n], on),
			  vf_read(vf, settings[n].offset));
	}
	th_context("interrupt routing and mask");
	EXPECT_EQ(IVAR0_VALUE, vf_read(vf, IVAR0));
	EXPECT_EQ(IVAR_MISC_VALUE, vf_read(vf, IVAR_MISC));
	EXPECT_EQ(5u, vf_read(vf, EIMS));
}

/* A nic with content in all that migrates. */
static void fill(struct nic *nic, struct vf *vf, bool on)
{
	u32 multicast[16] = { MSG_SET_MULTICAST | 2 << 16, 0x01230abc };
	unsigned int n;
	u32 answer = 0;

	nic_start(nic, vf, 0);
	ASSERT_TRUE(nic_send(nic, 1, 3));
	ASSERT_TRUE(mbx_call(vf, multicast, 16, &answer, 1));
	EXPECT_TRUE(answer & MSG_ACK);
	mbx_ask(vf, MSG_SET_VLAN | 1 << 16, 57);
	mbx_ask(vf, MSG_SET_VLAN | 1 << 16, 82);
	for (n = 0; n < ARRAY_SIZE(settings); n++)
		vf_write(vf, settings[n].offset,
			 setting_value(&settings[n], on));
	vf_write(vf, EIMC, 2);
	check_settings(vf, on);
}

static void load_elsewhere(struct vf vf[2], bool on)
{
	static struct state here, there;
	struct real real;
	struct nic nic;
	unsigned int n;
	u32 sent;

	/* Hardware spares its registers: not those of an earlier test. */
	for (n = 0; n < ARRAY_SIZE(settings); n++)
		vf_write(&vf[1], settings[n].offset, 0);
	fill(&nic, &vf[0], on);
	sent = vf_read(&vf[0], GPTC);

	th_context("states");
	state_save(&vf[0], &here);
	th_log("state: %zu bytes", here.len);
	ASSERT_EQ(0, state_load(&vf[1], &here));
	state_save(&vf[1], &there);
	state_expect_same(&here, &there);

	ASSERT_EQ(0, vf_set_state(&vf[1], VFIO_DEVICE_STATE_RUNNING, NULL));
	check_settings(&vf[1], on);
	th_context("queue 0");
	EXPECT_EQ(vf_read(&vf[0], RDBAL(0)), vf_read(&vf[1], RDBAL(0)));
	EXPECT_EQ(3u, vf_read(&vf[1], TDH(0)));
	EXPECT_EQ(3u, vf_read(&vf[1], TDT(0)));
	EXPECT_EQ(RING - 1u, vf_read(&vf[1], RDT(0)));
	EXPECT_TRUE(vf_read(&vf[1], RXDCTL(0)) & DCTL_ENABLE);
	EXPECT_TRUE(vf_read(&vf[1], TXDCTL(0)) & DCTL_ENABLE);
	EXPECT_EQ(sent, vf_read(&vf[1], GPTC));
	real = vf_real(&vf[1]);
	if (real.known) {
		th_context("queue 0 as the PF sees it");
		EXPECT_EQ(vf_read(&vf[1], TDBAL(0)), real.tdbal);
		EXPECT_EQ(3u, real.tdh);
		EXPECT_TRUE(real.rxdctl & DCTL_ENABLE);
	}
}

TEST_ALONE(load_elsewhere,
	"save, load into the other function, save there: the same records, "
	"and after RUNNING the same registers")
{
	struct iommu iommu = {};
	struct vf vf[2];

	vf_open_both(vf, &iommu);
	need_rings_load(vf);
	load_elsewhere(vf, false);
	ASSERT_EQ(0, vf_reset(&vf[0]));
	ASSERT_EQ(0, vf_reset(&vf[1]));
	load_elsewhere(vf, true);
}

TEST_ALONE(load_blank,
	"a function that no driver has touched migrates, and is still blank")
{
	static struct state here, there;
	struct iommu iommu = {};
	struct vf vf[2];

	vf_open_both(vf, &iommu);
	state_save(&vf[0], &here);
	ASSERT_EQ(0, state_load(&vf[1], &here));
	state_save(&vf[1], &there);
	state_expect_same(&here, &there);
	EXPECT_EQ(0, vf_set_state(&vf[1], VFIO_DEVICE_STATE_RUNNING, NULL));
	if (!vf_is_igbvf())
		return;
	EXPECT_EQ(0u, vf_read(&vf[1], RDLEN(0)));
	EXPECT_EQ(0u, vf_read(&vf[1], EIMS));
}

TEST_ALONE(write_pieces,
	"a stream cut anywhere into writes loads as in one write")
{
	static struct state here, there;
	struct iommu iommu = {};
	struct vf vf[2];
	struct nic nic;
	size_t at, len;
	unsigned int seed = 82576;
	int fd;

	vf_open_both(vf, &iommu);
	if (vf_is_igbvf()) {
		need_rings_load(vf);
		nic_start(&nic, &vf[0], 0);
	}
	state_save(&vf[0], &here);
	ASSERT_EQ(0, vf_set_state(&vf[1], VFIO_DEVICE_STATE_RESUMING, &fd));
	for (at = 0; at < here.len; at += len) {
		seed = seed * 1103515245 + 12345;
		len = 1 + (seed >> 16) % 60;
		if (len > here.len - at)
			len = here.len - at;
		ASSERT_EQ(0, state_write(fd, here.buf + at, len));
	}
	state_save(&vf[1], &there);
	state_expect_same(&here, &there);
}

TEST(truncated,
	"at every length short of the whole, RESUMING cannot be left "
	"(ENODATA) and nothing changes; the whole loads")
{
	static struct state state;
	struct iommu iommu = {};
	struct nic nic;
	struct vf vf;
	size_t at;
	int fd;

	vf_open(&vf, &iommu, vf_bdf[0]);
	nic_start(&nic, &vf, 0);
	state_save(&vf, &state);
	ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_RESUMING, &fd));
	for (at = 0; at < state.len; at++) {
		th_context("%zu of %zu bytes", at, state.len);
		EXPECT_EQ(-ENODATA, vf_set_state(&vf, at % 2 ?
						 VFIO_DEVICE_STATE_STOP :
						 VFIO_DEVICE_STATE_RUNNING,
						 NULL));
		EXPECT_STATE(VFIO_DEVICE_STATE_RESUMING, &vf);
		th_count(TH_MUTATIONS, 1);
		th_count(TH_REFUSED, 1);
		ASSERT_EQ(0, state_write(fd, state.buf + at, 1));
	}
	th_context("complete");
	EXPECT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_RUNNING, NULL));
	EXPECT_EQ(vf_read(&vf, RDLEN(0)), RING * 16u);
}

TEST(truncated_reset,
	"a truncated stream leaves by VFIO_DEVICE_RESET to RUNNING, and the "
	"next stream loads")
{
	static struct state state;
	struct iommu iommu = {};
	struct vf vf;
	unsigned int n;
	size_t at;
	int fd;

	vf_open(&vf, &iommu, vf_bdf[0]);
	state_save(&vf, &state);
	for (n = 0; n < 5; n++) {
		at = n * (state.len - 1) / 4;
		th_context("%zu of %zu bytes", at, state.len);
		ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_RESUMING, &fd));
		ASSERT_EQ(0, state_write(fd, state.buf, at));
		state_expect_missing(vf_set_state(&vf, VFIO_DEVICE_STATE_STOP,
						  NULL));
		ASSERT_EQ(0, vf_reset(&vf));
		EXPECT_STATE(VFIO_DEVICE_STATE_RUNNING, &vf);
		close(fd);
	}
	EXPECT_EQ(0, state_load(&vf, &state));
	EXPECT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_RUNNING, NULL));
}

/*
 * RESUMING with a stream that must be refused. @good bytes of it are taken
 * first; the write of the next @bad bytes must fail, with @want unless that is
 * 0. Then the error is latched, until the reset.
 */
static void refuse(struct vf *vf, const struct state *state, size_t good,
		   size_t bad, int want)
{
	int fd, ret;
	u8 zero[8] = {};

	ASSERT_EQ(0, vf_set_state(vf, VFIO_DEVICE_STATE_RESUMING, &fd));
	EXPECT_EQ(0, good ? state_write(fd, state->buf, good) : 0);
	ret = state_write(fd, state->buf + good, bad);
	th_count(TH_MUTATIONS, 1);
	th_count(TH_REFUSED, !!ret);
	if (want)
		EXPECT_EQ(want, ret);
	else
		EXPECT_TRUE(ret == -EINVAL || ret == -EBADMSG ||
			    ret == -EOPNOTSUPP || ret == -EFBIG);
	if (ret) {
		EXPECT_EQ(ret, state_write(fd, zero, sizeof(zero)));
		EXPECT_EQ(ret, state_write(fd, state->buf, state->len));
		EXPECT_EQ(ret, vf_set_state(vf, VFIO_DEVICE_STATE_STOP, NULL));
		EXPECT_EQ(ret, vf_set_state(vf, VFIO_DEVICE_STATE_RUNNING,
					    NULL));
	}
	EXPECT_STATE(VFIO_DEVICE_STATE_RESUMING, vf);
	ASSERT_EQ(0, vf_reset(vf));
	EXPECT_STATE(VFIO_DEVICE_STATE_RUNNING, vf);
	close(fd);
}

/* Every so many bytes; prime, so that it hits all parts of the records. */
#define SAMPLE	17

static void flip_some(unsigned int which)
{
	static struct state state, wrong;
	struct record record[RECORDS_MAX];
	unsigned int count, n = 0, tried = 0;
	size_t step = getenv("TEST_ALL") ? 1 : SAMPLE;
	struct iommu iommu = {};
	struct nic nic;
	struct vf vf;
	size_t at;

	vf_open(&vf, &iommu, vf_bdf[which]);
	nic_start(&nic, &vf, 0);
	state_save(&vf, &state);
	count = state_records(&state, record);

	/* The two processes take turns, and so do the bits. */
	for (at = which * step; at < state.len; at += 2 * step) {
		while (n + 1 < count && at >= record[n].at + record[n].size)
			n++;
		wrong = state;
		wrong.buf[at] ^= 1u << (at / SAMPLE + at) % 8;
		th_context("bit %zu of byte %zu, in record %#x",
			   (at / SAMPLE + at) % 8, at, record[n].type);
		refuse(&vf, &wrong, record[n].at, record[n].size, 0);
		tried++;
	}
	th_log("%u of %zu bytes tried on %s", tried, state.len, vf_bdf[which]);
}

TEST_LONG(flipped,
	"a stream with one bit flipped is refused in the write that completes "
	"the record, and the error is latched until reset")
{
	vf_need_both();
	th_both(flip_some);
}

/* Wrong states with right CRCs. */
struct wrong {
	const char *what;
	int want;
	void (*spoil)(struct draft *draft, struct state *state);
};

#define SPOIL(_name)	\
	static void spoil_##_name(struct draft *draft, struct state *state)

#define IDENTITY(draft)	\
	((struct vfio_mig_identity *)draft_payload(draft, VFIO_MIG_RECORD_IDENTITY))
#define HEADER(draft)	\
	((struct vfio_mig_header *)draft_payload(draft, VFIO_MIG_RECORD_HEADER))
#define WORD(draft, type, n)	(*draft_word(draft, type, n))
#define RING_WORD(draft, ring, reg)	\
	WORD(draft, RECORD_RINGS, (ring) * RING_REGS + (reg))

/* Changes of one number each. */
#define SPOIL_BY(_name, _lvalue, _operation)	\
	SPOIL(_name)				\
	{					\
		(void)state;			\
		_lvalue _operation;		\
	}

SPOIL_BY(magic, HEADER(draft)->magic[3], ^= 0x20)
SPOIL_BY(major, HEADER(draft)->major, += 1)
SPOIL_BY(header_required, HEADER(draft)->required, |= 1ull << 40)
SPOIL_BY(header_reserved, HEADER(draft)->reserved, = 1)
SPOIL_BY(backend, IDENTITY(draft)->backend[4], ^= 1)
SPOIL_BY(vendor, IDENTITY(draft)->vendor, = 0x1af4)
SPOIL_BY(device, IDENTITY(draft)->device, = 0x1520)
SPOIL_BY(subsystem_vendor, IDENTITY(draft)->subsystem_vendor, ^= 1)
SPOIL_BY(subsystem_device, IDENTITY(draft)->subsystem_device, ^= 1)
SPOIL_BY(state_version, IDENTITY(draft)->state_version, += 1)
SPOIL_BY(identity_required, IDENTITY(draft)->required, |= 1ull << 63)
SPOIL_BY(identity_reserved, IDENTITY(draft)->reserved[1], = 1)
SPOIL_BY(end_records, draft->end_records, = 1)
SPOIL_BY(end_bytes, draft->end_bytes, = 8)
SPOIL_BY(end_crc, draft->end_crc, = 1)

SPOIL_BY(swflsh, RING_WORD(draft, RX0, DCTL), |= 1u << 26)
SPOIL_BY(rx_base, RING_WORD(draft, RX1, BAL), |= 0x10)
SPOIL_BY(tx_len, RING_WORD(draft, TX0, LEN), |= 0x00100000)
SPOIL_BY(rx_head, RING_WORD(draft, RX0, HEAD), = RING)
SPOIL_BY(rx_tail, RING_WORD(draft, RX0, TAIL), = 0xffff)
SPOIL_BY(tx_tail, RING_WORD(draft, TX0, TAIL), = RING)
SPOIL_BY(rx_wbal, RING_WORD(draft, RX0, WBAL), = 0x80)
SPOIL_BY(ivar, WORD(draft, RECORD_INTERRUPTS, INT_IVAR0), |= 0x40)
SPOIL_BY(eims, WORD(draft, RECORD_INTERRUPTS, INT_EIMS), = 0xff)
SPOIL_BY(kick, WORD(draft, RECORD_INTERRUPTS, INT_KICK), = 1u << 31)
SPOIL_BY(mbx_r2c, WORD(draft, RECORD_MAILBOX, MBX_R2C), |= 1)
SPOIL_BY(mbx_held, WORD(draft, RECORD_MAILBOX, MBX_HELD), |= 1u << 7)
SPOIL_BY(mbx_flags, WORD(draft, RECORD_MAILBOX, MBX_FLAGS), |= 1u << 30)
SPOIL_BY(mbx_link, WORD(draft, RECORD_MAILBOX, MBX_LINK), |= 1u << 2)
SPOIL_BY(pf_flags, WORD(draft, RECORD_PF, PF_FLAGS), |= 1u << 31)
SPOIL_BY(pf_nr_uc, WORD(draft, RECORD_PF, PF_NR_UC), = 33)
SPOIL_BY(pf_nr_uc_huge, WORD(draft, RECORD_PF, PF_NR_UC), = 0xffffffff)
SPOIL_BY(pf_nr_mc, WORD(draft, RECORD_PF, PF_NR_MC), = 0x100)
SPOIL_BY(pf_vlan, WORD(draft, RECORD_PF, PF_VLAN_LAST1), = 4096)
/* The administrator's address, and no other. */
SPOIL_BY(pf_mac, ((u8 *)draft_payload(draft, RECORD_PF))[PF_MAC_AT + 5], ^= 1)

SPOIL(unknown_required)
{
	(void)state;
	draft_add(draft, RECORD_UNKNOWN, VFIO_MIG_RECORD_REQUIRED, 8);
}

SPOIL(unknown_required_core)
{
	(void)state;
	draft_add(draft, RECORD_UNKNOWN_CORE, VFIO_MIG_RECORD_REQUIRED, 8);
}

SPOIL(unknown_flag)
{
	(void)state;
	draft_add(draft, RECORD_UNKNOWN, 2, 8);
}

SPOIL(type_zero)
{
	(void)state;
	draft_add(draft, 0, 0, 8);
}

SPOIL(duplicate)
{
	(void)state;
	draft_add(draft, RECORD_STATS, 0, 36);
}

SPOIL(missing)
{
	(void)state;
	draft_drop(draft, RECORD_MAILBOX);
}

SPOIL(no_identity)
{
	(void)state;
	draft_drop(draft, VFIO_MIG_RECORD_IDENTITY);
}

SPOIL(longer)
{
	(void)state;
	draft->record[2].length += 4;
}

SPOIL(shorter)
{
	(void)state;
	draft->record[2].length -= 4;
}

SPOIL(repeated)
{
	/* The same sequence, number included, twice. */
	draft_append(draft, state);
}

SPOIL(after_end)
{
	struct state tail = {};

	draft_append(draft, state);
	draft->sequence++;
	draft_append(draft, &tail);
	/* Not a new sequence, but the middle of one. */
	memcpy(state->buf + state->len, tail.buf + 56, 128);
	state->len += 128;
	draft->count = 0;
	draft->no_end = true;
}

static const struct wrong wrongs[] = {
	{ "magic", -EINVAL, spoil_magic },
	{ "newer stream format", -EOPNOTSUPP, spoil_major },
	{ "unknown feature of the format", -EOPNOTSUPP, spoil_header_required },
	{ "reserved field of HEADER", -EINVAL, spoil_header_reserved },
	{ "other backend", -EINVAL, spoil_backend },
	{ "other vendor", -EINVAL, spoil_vendor },
	{ "other device", -EINVAL, spoil_device },
	{ "other subsystem vendor", -EINVAL, spoil_subsystem_vendor },
	{ "other subsystem", -EINVAL, spoil_subsystem_device },
	{ "newer state version", -EOPNOTSUPP, spoil_state_version },
	{ "unknown feature of the state", -EOPNOTSUPP, spoil_identity_required },
	{ "reserved field of IDENTITY", -EINVAL, spoil_identity_reserved },
	{ "number of records", -EBADMSG, spoil_end_records },
	{ "number of bytes", -EBADMSG, spoil_end_bytes },
	{ "CRC of the sequence", -EBADMSG, spoil_end_crc },
	{ "unknown required record", -EOPNOTSUPP, spoil_unknown_required },
	{ "unknown required record of the core", -EOPNOTSUPP,
	  spoil_unknown_required_core },
	{ "unknown record flag", -EOPNOTSUPP, spoil_unknown_flag },
	{ "record type 0", -EINVAL, spoil_type_zero },
	{ "duplicate record", -EINVAL, spoil_duplicate },
	{ "missing record", -EINVAL, spoil_missing },
	{ "no IDENTITY", -EINVAL, spoil_no_identity },
	{ "record too long", -EINVAL, spoil_longer },
	{ "record too short", -EINVAL, spoil_shorter },
	{ "sequence number repeated", -EBADMSG, spoil_repeated },
	{ "records after END", -EINVAL, spoil_after_end },
	{ "RXDCTL.SWFLSH", -EINVAL, spoil_swflsh },
	{ "RDBAL not aligned", -EINVAL, spoil_rx_base },
	{ "TDLEN too large", -EINVAL, spoil_tx_len },
	{ "RDH beyond the ring", -EINVAL, spoil_rx_head },
	{ "RDT beyond the ring", -EINVAL, spoil_rx_tail },
	{ "TDT beyond the ring", -EINVAL, spoil_tx_tail },
	{ "register that a receive queue has not", -EINVAL, spoil_rx_wbal },
	{ "VTIVAR", -EINVAL, spoil_ivar },
	{ "VTEIMS", -EINVAL, spoil_eims },
	{ "vectors to raise", -EINVAL, spoil_kick },
	{ "V2PMAILBOX", -EINVAL, spoil_mbx_r2c },
	{ "held mailbox command", -EINVAL, spoil_mbx_held },
	{ "mailbox flags", -EINVAL, spoil_mbx_flags },
	{ "STATUS", -EINVAL, spoil_mbx_link },
	{ "PF flags", -EINVAL, spoil_pf_flags },
	{ "too many addresses", -EINVAL, spoil_pf_nr_uc },
	{ "far too many addresses", -EINVAL, spoil_pf_nr_uc_huge },
	{ "too many multicast hashes", -EINVAL, spoil_pf_nr_mc },
	{ "VLAN id", -EINVAL, spoil_pf_vlan },
	{ "MAC address that the PF does not grant", -EPERM, spoil_pf_mac },
};

static void refuse_wrongs(unsigned int which)
{
	static struct state state, wrong;
	static struct draft draft;
	struct iommu iommu = {};
	struct nic nic;
	struct vf vf;
	unsigned int n;

	vf_open(&vf, &iommu, vf_bdf[which]);
	nic_start(&nic, &vf, 0);
	state_save(&vf, &state);
	for (n = which; n < ARRAY_SIZE(wrongs); n += 2) {
		th_context("%s", wrongs[n].what);
		draft_of(&draft, &state);
		/* They may be off: the guest may have to start them over. */
		RING_WORD(&draft, RX0, DCTL) |= DCTL_ENABLE;
		RING_WORD(&draft, TX0, DCTL) |= DCTL_ENABLE;
		wrong.len = 0;
		wrongs[n].spoil(&draft, &wrong);
		draft_append(&draft, &wrong);
		refuse(&vf, &wrong, 0, wrong.len, wrongs[n].want);
		EXPECT_EQ(0u, vf_read(&vf, RDLEN(0)));
	}
}

TEST_LONG(foreign,
	"a well-formed stream of another device, a newer version, with "
	"unknown required parts, or with values that no guest could have set "
	"is refused with the fitting errno before END is acknowledged")
{
	th_log("%zu kinds of wrong", ARRAY_SIZE(wrongs));
	vf_need_both();
	th_both(refuse_wrongs);
}

TEST(foreign_again,
	"what one stream has shown to be right is not taken for granted of the "
	"next: after a state that was loaded a foreign one is refused, after a "
	"refused one a fit one is loaded, in one life of the device fd")
{
	static struct state state, wrong;
	static struct draft draft;
	struct iommu iommu = {};
	unsigned int round;
	struct vf vf;

	vf_need_core();
	vf_open(&vf, &iommu, vf_bdf[0]);
	state_save(&vf, &state);
	draft_of(&draft, &state);
	IDENTITY(&draft)->device = 0x1520;
	draft_append(&draft, &wrong);
	for (round = 0; round < 3; round++) {
		ASSERT_EQ(0, state_load(&vf, &state));
		ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_RUNNING, NULL));
		/* Between the two there is no reset but RESUMING's own. */
		refuse(&vf, &wrong, 0, wrong.len, -EINVAL);
	}
}

TEST(foreign_early,
	"an unfit IDENTITY is refused at once, before any device state has "
	"come")
{
	static struct state state, wrong;
	static struct draft draft;
	struct record record[RECORDS_MAX];
	struct iommu iommu = {};
	struct vf vf;

	vf_need_core();
	vf_open(&vf, &iommu, vf_bdf[0]);
	state_save(&vf, &state);
	draft_of(&draft, &state);
	IDENTITY(&draft)->device = 0x1520;
	draft_append(&draft, &wrong);
	state_records(&wrong, record);
	refuse(&vf, &wrong, record[1].at, record[1].size, -EINVAL);
}

TEST(optional_parts,
	"unknown optional records and features are skipped")
{
	static struct state state, more, back;
	static struct draft draft;
	struct iommu iommu = {};
	struct nic nic;
	struct vf vf;
	unsigned int n;

	vf_open(&vf, &iommu, vf_bdf[0]);
	nic_start(&nic, &vf, 0);
	state_save(&vf, &state);
	draft_of(&draft, &state);
	HEADER(&draft)->optional = 1ull << 17;
	HEADER(&draft)->minor = 7;
	IDENTITY(&draft)->optional = 1ull << 33;
	draft_add(&draft, RECORD_UNKNOWN, 0, 1000);
	for (n = 0; n < 1000; n++)
		((u8 *)draft_payload(&draft, RECORD_UNKNOWN))[n] = n;
	draft_add(&draft, RECORD_UNKNOWN_CORE, 0, 3);
	draft_drop(&draft, RECORD_STATS);
	draft_append(&draft, &more);
	ASSERT_EQ(0, state_load(&vf, &more));
	state_save(&vf, &back);
	EXPECT_EQ(state.len, back.len);
	EXPECT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_RUNNING, NULL));
	EXPECT_EQ(RING * 16u, vf_read(&vf, RDLEN(0)));
}

TEST(sequences,
	"of several sequences the last complete one counts; one that has "
	"begun and not ended makes the stream incomplete")
{
	static struct state state, two;
	static struct draft draft;
	struct iommu iommu = {};
	struct nic nic;
	struct vf vf;
	size_t first;
	int fd;

	vf_open(&vf, &iommu, vf_bdf[0]);
	nic_start(&nic, &vf, 0);
	state_save(&vf, &state);
	draft_of(&draft, &state);
	draft_append(&draft, &two);
	first = two.len;
	draft.sequence += 3;
	RING_WORD(&draft, RX1, LEN) = 0x380;
	draft_append(&draft, &two);

	th_context("both");
	ASSERT_EQ(0, state_load(&vf, &two));
	EXPECT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_RUNNING, NULL));
	EXPECT_EQ(0x380u, vf_read(&vf, RDLEN(1)));

	th_context("first and a half");
	ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_RESUMING, &fd));
	ASSERT_EQ(0, state_write(fd, two.buf, first + 100));
	EXPECT_EQ(-ENODATA, vf_set_state(&vf, VFIO_DEVICE_STATE_RUNNING, NULL));
	EXPECT_STATE(VFIO_DEVICE_STATE_RESUMING, &vf);
	ASSERT_EQ(0, state_write(fd, two.buf + first + 100,
				 two.len - first - 100));
	EXPECT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_RUNNING, NULL));
	EXPECT_EQ(0x380u, vf_read(&vf, RDLEN(1)));
	close(fd);
}
