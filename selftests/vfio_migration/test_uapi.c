// SPDX-License-Identifier: GPL-2.0
/* The features and regions as such. */
#include <errno.h>
#include <linux/pci_regs.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ability.h"
#include "harness.h"
#include "igbvf.h"
#include "state.h"
#include "vfio.h"

#define GET	VFIO_DEVICE_FEATURE_GET
#define SET	VFIO_DEVICE_FEATURE_SET
#define PROBE	VFIO_DEVICE_FEATURE_PROBE

static const struct feature {
	const char *name;
	u32 index;
	u32 ops;
	u32 size;
} features[] = {
	{ "MIGRATION", VFIO_DEVICE_FEATURE_MIGRATION, GET,
	  sizeof(struct vfio_device_feature_migration) },
	{ "MIG_DEVICE_STATE", VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, GET | SET,
	  sizeof(struct vfio_device_feature_mig_state) },
	{ "MIG_DATA_SIZE", VFIO_DEVICE_FEATURE_MIG_DATA_SIZE, GET,
	  sizeof(struct vfio_device_feature_mig_data_size) },
};

#define HEAD	((u32)sizeof(struct vfio_device_feature))

TEST(features,
	"STOP_COPY is offered, by drivers upon vfio_pci_migration P2P, too, and "
	"PRE_COPY where the kernel knows it; the state starts as RUNNING")
{
	struct iommu iommu = {};
	struct vf vf;
	u64 flags;

	vf_open(&vf, &iommu, vf_bdf[0]);
	flags = vf_migration_flags(&vf);
	th_log("migration flags %#llx, state up to %llu bytes",
	       (unsigned long long)flags,
	       (unsigned long long)vf_data_size(&vf));
	EXPECT_TRUE(flags & VFIO_MIGRATION_STOP_COPY);
	EXPECT_EQ(0ull, flags & ~(VFIO_MIGRATION_STOP_COPY | VFIO_MIGRATION_P2P |
				  VFIO_MIGRATION_PRE_COPY));
	if (vf_has_core()) {
		EXPECT_TRUE(flags & VFIO_MIGRATION_P2P);
		if (kernel_since(6, 2))
			EXPECT_TRUE(flags & VFIO_MIGRATION_PRE_COPY);
	}
	EXPECT_STATE(VFIO_DEVICE_STATE_RUNNING, &vf);
}

TEST(feature_probe,
	"PROBE succeeds for what a feature has, and for nothing else")
{
	struct iommu iommu = {};
	struct vf vf;
	unsigned int n;
	u32 ops;

	vf_open(&vf, &iommu, vf_bdf[0]);
	for (n = 0; n < ARRAY_SIZE(features); n++) {
		for (ops = 0; ops < 4; ops++) {
			u32 flags = (ops & 1 ? GET : 0) | (ops & 2 ? SET : 0);

			th_context("PROBE %s%s%s", features[n].name,
				   ops & 1 ? " GET" : "", ops & 2 ? " SET" : "");
			EXPECT_EQ(flags & ~features[n].ops ? -EINVAL : 0,
				  vf_feature(&vf, PROBE | flags |
					     features[n].index, NULL, 0));
		}
	}
	th_context("unknown feature");
	EXPECT_EQ(-ENOTTY, vf_feature(&vf, PROBE | GET | 0xfff0, NULL, 0));
	th_context("unknown flag");
	EXPECT_EQ(-EINVAL, vf_feature(&vf, PROBE | GET | 1u << 19 |
				      VFIO_DEVICE_FEATURE_MIGRATION, NULL, 0));
	th_context("after all");
	EXPECT_STATE(VFIO_DEVICE_STATE_RUNNING, &vf);
}

TEST(feature_lengths,
	"an argsz that is too small, and GET and SET together or neither, are "
	"refused with EINVAL and change nothing")
{
	struct iommu iommu = {};
	struct vf vf;
	unsigned int n;
	u32 argsz;

	vf_open(&vf, &iommu, vf_bdf[0]);
	for (n = 0; n < ARRAY_SIZE(features); n++) {
		const struct feature *f = &features[n];
		/* As SET_STATE this would go to STOP. */
		u64 payload[2] = { VFIO_DEVICE_STATE_STOP };
		u32 op = f->ops & SET ? SET : GET;

		for (argsz = 0; argsz < HEAD + f->size; argsz++) {
			th_context("%s with argsz %u of %u", f->name, argsz,
				   HEAD + f->size);
			EXPECT_EQ(-EINVAL, vf_feature_argsz(&vf, op | f->index,
							    payload, f->size,
							    argsz));
		}
		th_context("%s", f->name);
		EXPECT_EQ(-EINVAL, vf_feature(&vf, GET | SET | f->index,
					      payload, f->size));
		EXPECT_EQ(-EINVAL, vf_feature(&vf, f->index, payload, f->size));
		if (!(f->ops & SET))
			EXPECT_EQ(-EINVAL, vf_feature(&vf, SET | f->index,
						      payload, f->size));
		EXPECT_STATE(VFIO_DEVICE_STATE_RUNNING, &vf);
		EXPECT_EQ(0, vf_feature_argsz(&vf, GET | f->index, payload,
					      f->size, HEAD + f->size + 64));
	}
}

TEST(data_size,
	"DATA_SIZE is never less than what STOP_COPY yields, and not 0; with "
	"vfio_pci_migration it is the same in every state")
{
	static const u32 states[] = {
		VFIO_DEVICE_STATE_RUNNING, VFIO_DEVICE_STATE_RUNNING_P2P,
		VFIO_DEVICE_STATE_STOP, VFIO_DEVICE_STATE_STOP_COPY,
		VFIO_DEVICE_STATE_RESUMING,
	};
	static struct state blank, busy;
	struct iommu iommu = {};
	struct nic nic;
	struct vf vf;
	unsigned int n;
	u64 size;

	vf_open(&vf, &iommu, vf_bdf[0]);
	size = vf_data_size(&vf);
	ASSERT_NE(0ull, (unsigned long long)size);
	for (n = 0; n < ARRAY_SIZE(states); n++) {
		th_context("%s", state_name(states[n]));
		if (!vf_state_offered(&vf, states[n]))
			continue;
		ASSERT_EQ(0, vf_set_state(&vf, states[n], NULL));
		if (vf_has_core())
			EXPECT_EQ(size, vf_data_size(&vf));
		else
			EXPECT_NE(0ull, (unsigned long long)vf_data_size(&vf));
	}
	ASSERT_EQ(0, vf_reset(&vf));
	th_context("blank");
	state_save(&vf, &blank);
	EXPECT_LE((u64)blank.len, size);
	ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_RUNNING, NULL));
	th_context("working");
	if (!vf_is_igbvf())
		return;
	nic_start(&nic, &vf, 0);
	state_save(&vf, &busy);
	EXPECT_LE((u64)busy.len, size);
	EXPECT_EQ(size, vf_data_size(&vf));
}

TEST(bar_windows,
	"BAR0 can be mapped, page by page, where mappings can be taken back, and "
	"such a mapping is the registers; elsewhere it cannot")
{
	struct iommu iommu = {};
	struct vf vf;
	bool mapped;
	void *map;
	u64 at;

	vf_need_igbvf();
	vf_open(&vf, &iommu, vf_bdf[0]);
	EXPECT_EQ(0x4000ull, (unsigned long long)vf.bar_size);
	mapped = vf_try_map_rings(&vf);
	/* Since then mappings can be withdrawn. */
	if (kernel_since(6, 10))
		EXPECT_EQ(rings_mappable(), mapped);
	if (mapped)
		EXPECT_LE((u64)0x2000, vf.rings_at);
	for (at = 0; at < vf.bar_size; at += 0x1000) {
		th_context("page at %#llx", (unsigned long long)at);
		map = mmap(NULL, 0x1000, PROT_READ | PROT_WRITE, MAP_SHARED,
			   vf.fd, vf.bar + at);
		EXPECT_EQ(mapped, map != MAP_FAILED);
		if (map != MAP_FAILED)
			munmap(map, 0x1000);
	}

	if (mapped) {
		th_context("both ways into a register");
		vf_write(&vf, RDBAL(1), 0x12345680);
		EXPECT_EQ(0x12345680u, vf_mread(&vf, RDBAL(1)));
		vf_mwrite(&vf, RDBAL(1), 0x0badc080);
		EXPECT_EQ(0x0badc080u, vf_read(&vf, RDBAL(1)));
	}
	th_context("beyond the end");
	EXPECT_EQ((ssize_t)-1, pread(vf.fd, &at, 4, vf.bar + vf.bar_size));
	map = mmap(NULL, vf.bar_size + 0x1000, PROT_READ, MAP_SHARED, vf.fd,
		   vf.bar);
	EXPECT_EQ(MAP_FAILED, map);
}

/* All of BAR0, as a program does that does not know of sparse mmap. */
static volatile u8 *map_all(struct vf *vf)
{
	void *map;

	/* Skips where nothing can be mapped. */
	vf_map_rings(vf);
	vf_unmap_rings(vf);
	map = mmap(NULL, vf->bar_size, PROT_READ | PROT_WRITE, MAP_SHARED,
		   vf->fd, vf->bar);
	ASSERT_NE(MAP_FAILED, map);
	return map;
}

static u32 mapped_read(volatile u8 *map, u32 offset)
{
	return *(volatile u32 *)(map + offset);
}

/* Out of RUNNING by any way? */
static void expect_refused(struct vf *vf)
{
	u32 state;

	for (state = 0; state < STATES; state++) {
		if (state == VFIO_DEVICE_STATE_RUNNING ||
		    !vf_state_offered(vf, state))
			continue;
		EXPECT_EQ(-EOPNOTSUPP, vf_set_state(vf, state, NULL));
		EXPECT_STATE(VFIO_DEVICE_STATE_RUNNING, vf);
	}
}

TEST(bar_whole,
	"all of BAR0 can be mapped; as long as only what is offered is touched, "
	"the device migrates; with the first touch of anything else, in any "
	"state that runs, it works on but does not migrate until it is closed")
{
	struct iommu iommu = {};
	volatile u8 *map;
	struct nic nic;
	struct vf vf;

	vf_need_igbvf();
	vf_open(&vf, &iommu, vf_bdf[0]);
	map = map_all(&vf);
	nic_start(&nic, &vf, 0);
	th_context("offered pages only");
	EXPECT_EQ(RING * 16u, mapped_read(map, RDLEN(0)));
	ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_STOP, NULL));
	EXPECT_EQ(RING * 16u, mapped_read(map, RDLEN(0)));
	ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_RUNNING, NULL));
	nic_goes_on(&nic);

	th_context("a trapped page in PRE_COPY");
	if (vf_state_offered(&vf, VFIO_DEVICE_STATE_PRE_COPY))
		ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_PRE_COPY,
					  NULL));
	EXPECT_EQ(vf_read(&vf, STATUS), mapped_read(map, STATUS));
	EXPECT_EQ(-EOPNOTSUPP, vf_set_state(&vf, VFIO_DEVICE_STATE_STOP_COPY,
					    NULL));
	ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_RUNNING, NULL));
	expect_refused(&vf);
	EXPECT_TRUE(nic_send(&nic, 1, 2));

	th_context("after a reset");
	ASSERT_EQ(0, vf_reset(&vf));
	expect_refused(&vf);

	th_context("after unmapping");
	munmap((void *)map, vf.bar_size);
	expect_refused(&vf);

	th_context("after closing");
	vf_reopen(&vf);
	ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_STOP, NULL));
}

static sigjmp_buf no_page;

static void on_sigbus(int number)
{
	siglongjmp(no_page, number);
}

TEST(bar_whole_quiet,
	"in a quiet state, who touches what is not offered gets SIGBUS, the "
	"device stays quiet and can be saved")
{
	static struct state state;
	struct iommu iommu = {};
	volatile u8 *map;
	struct vf vf;
	u32 offset;

	vf_need_igbvf();
	vf_open(&vf, &iommu, vf_bdf[0]);
	map = map_all(&vf);
	ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_RUNNING_P2P, NULL));
	signal(SIGBUS, on_sigbus);
	for (offset = 0; offset < vf.rings_at; offset += 0x1000) {
		th_context("page at %#x", offset);
		if (!sigsetjmp(no_page, 1)) {
			mapped_read(map, offset);
			EXPECT_TRUE(!"SIGBUS");
		}
	}
	th_context("afterwards");
	state_save(&vf, &state);
	EXPECT_EQ(0, state_load(&vf, &state));
	EXPECT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_RUNNING, NULL));
}

TEST(bar_widths,
	"BAR0 can be read in any width and at once, and written in parts, in "
	"every state")
{
	struct iommu iommu = {};
	static u8 all[0x4000];
	struct vf vf;
	u8 bytes[8];
	unsigned int n;
	u32 state;
	u64 quad;

	vf_need_igbvf();
	vf_open(&vf, &iommu, vf_bdf[0]);
	for (state = 0; state < STATES; state++) {
		if (!vf_state_offered(&vf, state))
			continue;
		th_context("%s", state_name(state));
		ASSERT_EQ(0, vf_set_state(&vf, state, NULL));
		quad = 0x1122334455667780;
		EXPECT_EQ((ssize_t)8, pwrite(vf.fd, &quad, 8, vf.bar + RDBAL(1)));
		EXPECT_EQ(0x55667780u, vf_read(&vf, RDBAL(1)));
		EXPECT_EQ(0x11223344u, vf_read(&vf, RDBAH(1)));
		for (n = 0; n < 8; n++)
			EXPECT_EQ((ssize_t)1, pread(vf.fd, bytes + n, 1,
						    vf.bar + RDBAL(1) + n));
		EXPECT_EQ(0, memcmp(bytes, &quad, 8));
		EXPECT_EQ((ssize_t)6, pread(vf.fd, bytes, 6,
					    vf.bar + RDBAL(1) + 1));
		EXPECT_EQ(0, memcmp(bytes, (u8 *)&quad + 1, 6));
		EXPECT_EQ((ssize_t)sizeof(all), pread(vf.fd, all, sizeof(all),
						      vf.bar));
		EXPECT_EQ(0, memcmp(all + RDBAL(1), &quad, 8));
		quad = 0;
		EXPECT_EQ((ssize_t)8, pwrite(vf.fd, &quad, 8, vf.bar + RDBAL(1)));
		if (state == VFIO_DEVICE_STATE_RESUMING)
			ASSERT_EQ(0, vf_reset(&vf));
	}
}

TEST_ALONE(low_power,
	"a function that the user has put to sleep can still be saved, loaded "
	"and woken up")
{
	static struct state state;
	struct iommu iommu = {};
	struct nic nic;
	struct vf vf;
	int fd;

	vf_need_igbvf();
	vf_open(&vf, &iommu, vf_bdf[0]);
	need_rings_load(&vf);
	if (vf_feature(&vf, PROBE | SET | VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY,
		       NULL, 0))
		th_skip("no low power feature");
	nic_start(&nic, &vf, 0);
	th_context("save");
	ASSERT_EQ(0, vf_feature(&vf, SET | VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY,
				NULL, 0));
	sleep_ms(50);
	state_save(&vf, &state);
	th_context("load");
	ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_RESUMING, &fd));
	sleep_ms(50);
	EXPECT_EQ(0, state_write(fd, state.buf, state.len));
	close(fd);
	EXPECT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_RUNNING, NULL));
	th_context("wake");
	ASSERT_EQ(0, vf_feature(&vf, SET | VFIO_DEVICE_FEATURE_LOW_POWER_EXIT,
				NULL, 0));
	EXPECT_EQ(RING * 16u, vf_read(&vf, RDLEN(0)));
	EXPECT_TRUE(vf_read(&vf, RXDCTL(0)) & DCTL_ENABLE);
	EXPECT_TRUE(nic_send(&nic, 1, 2));
}
