// SPDX-License-Identifier: GPL-2.0
/*
 * The page with the interrupt registers in the user's hands, as where the hardware
 * lets it be read back. QEMU's igb answers a read of EIMS with what was written to
 * it last; so what is written there by these tests is always the whole mask, and
 * only they can use it like that: a guest's driver does otherwise. They set a
 * parameter of the driver, so each of them runs alone.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "ability.h"
#include "arcs.h"
#include "harness.h"
#include "igbvf.h"
#include "state.h"
#include "vfio.h"

#define ALL_VECTORS	7u
/* Longer than any throttling of QEMU's igb. */
#define LATE_MS		40

/* Before a parameter is set: a test that is skipped does not put it back. */
static void need_mappable(void)
{
	struct iommu iommu = {};
	struct vf vf;

	vf_need_igbvf();
	vf_open(&vf, &iommu, vf_bdf[0]);
	vf_map_rings(&vf);
	vf_close(&vf);
	close(iommu.fd);
}

static void open_direct(struct vf *vf, struct iommu *iommu, const char *bdf)
{
	vf_open(vf, iommu, bdf);
	vf_map_rings(vf);
	ASSERT_EQ((u64)EICS & ~0xfffull, vf->rings_at);
	ASSERT_EQ(vf->bar_size - vf->rings_at, vf->rings_size);
}

/* Without auto mask, so that raising a vector does not unmask it. */
static void start(struct nic *nic, struct vf *vf)
{
	nic_start(nic, vf, 0);
	vf_mwrite(vf, EIAM, 0);
}

/* Vectors of which an interrupt comes in a while, when all are raised. */
static u32 vectors_raised(struct vf *vf)
{
	unsigned int vector;
	u32 vectors = 0;

	sleep_ms(LATE_MS);
	vf_all_interrupts(vf);
	vf_mwrite(vf, EICR, ALL_VECTORS);
	vf_mwrite(vf, EICS, ALL_VECTORS);
	sleep_ms(LATE_MS);
	for (vector = 0; vector < VECTORS; vector++)
		if (vf_interrupts(vf, vector))
			vectors |= 1u << vector;
	return vectors;
}

TEST_ALONE(direct_offered,
	"the page with the interrupt registers can be mapped where the driver was "
	"told so, or has found out that it can be read back; nowhere else")
{
	static const struct {
		const char *parameter;
		bool offered;
	} cases[] = {
		{ "map_interrupts=0", false },
		{ "map_interrupts=1", true },
		/* A forced answer is no finding. */
		{ "map_interrupts=-1 mask_readable=1", false },
	};
	struct iommu iommu = {};
	unsigned int n;
	struct vf vf;

	need_mappable();
	parameters_keep();
	vf_open(&vf, &iommu, vf_bdf[0]);
	for (n = 0; n < ARRAY_SIZE(cases); n++) {
		th_context("%s", cases[n].parameter);
		parameters_set(cases[n].parameter);
		vf_reopen(&vf);
		vf_map_rings(&vf);
		/* Silicon may find out that it can, if nothing is forced. */
		if (n < 2 || vf_real(&vf).known)
			EXPECT_EQ(cases[n].offered, vf.rings_at <= EICS);
	}
	parameters_restore();
}

TEST_ALONE(direct_quiet,
	"interrupts by a mapped page: what is raised in a quiet state comes with "
	"RUNNING; what is unmasked there is unmasked then, in whatever order it "
	"was written; what is masked there is masked")
{
	struct iommu iommu = {};
	struct nic nic;
	unsigned int n;
	struct vf vf;

	need_mappable();
	parameters_keep();
	parameters_set("map_interrupts=1");
	open_direct(&vf, &iommu, vf_bdf[0]);
	start(&nic, &vf);
	EXPECT_EQ(ALL_VECTORS, vectors_raised(&vf));
	for_each_quiet(n, &vf, KEEPING) {
		th_context("raised in %s", state_name(quiet_states[n]));
		ASSERT_EQ(0, vf_set_state(&vf, quiet_states[n], NULL));
		vf_all_interrupts(&vf);
		EXPECT_EQ(ALL_VECTORS, vf_mread(&vf, EIMS) & ALL_VECTORS);
		EXPECT_EQ(0u, vf_mread(&vf, EICR));
		vf_mwrite(&vf, EICS, 1u << MISC_VECTOR);
		sleep_ms(LATE_MS);
		EXPECT_EQ((u64)0, vf_all_interrupts(&vf));
		ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_RUNNING, NULL));
		EXPECT_TRUE(vf_wait_interrupt(&vf, MISC_VECTOR, 1000));

		th_context("masked and unmasked in %s",
			   state_name(quiet_states[n]));
		ASSERT_EQ(0, vf_set_state(&vf, quiet_states[n], NULL));
		vf_mwrite(&vf, EIMC, ALL_VECTORS);
		vf_mwrite(&vf, EIMS, ALL_VECTORS);
		/* And by both ways: a read brings what is mapped up to date. */
		vf_write(&vf, EIMC, 1u << MISC_VECTOR);
		vf_mwrite(&vf, EIMS, 1u << MISC_VECTOR);
		EXPECT_EQ(ALL_VECTORS, vf_read(&vf, EIMS) & ALL_VECTORS);
		EXPECT_EQ(ALL_VECTORS, vf_mread(&vf, EIMS) & ALL_VECTORS);
		ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_RUNNING, NULL));
		EXPECT_EQ(ALL_VECTORS, vectors_raised(&vf));

		th_context("masked in %s", state_name(quiet_states[n]));
		ASSERT_EQ(0, vf_set_state(&vf, quiet_states[n], NULL));
		vf_mwrite(&vf, EIMC, ALL_VECTORS & ~1u);
		ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_RUNNING, NULL));
		EXPECT_EQ(1u, vectors_raised(&vf));
		vf_mwrite(&vf, EIMS, ALL_VECTORS);
		EXPECT_EQ(ALL_VECTORS, vectors_raised(&vf));
	}
	parameters_restore();
}

TEST_ALONE(direct_move,
	"what was written to a mapped page with the interrupt registers is found at "
	"the destination: mask and moderation")
{
	static struct state state;
	struct iommu iommu = {};
	struct nic nic;
	struct vf vf[2];
	unsigned int from;

	vf_need_both();
	need_mappable();
	parameters_keep();
	parameters_set("map_interrupts=1");
	open_direct(&vf[0], &iommu, vf_bdf[0]);
	open_direct(&vf[1], &iommu, vf_bdf[1]);
	start(&nic, &vf[0]);
	for (from = 0; from < 2; from++) {
		struct vf *source = &vf[from], *destination = &vf[!from];
		u32 mask = from ? ALL_VECTORS : 1u << TX_VECTOR;

		th_context("from %u", from);
		vf_mwrite(source, EIMC, ALL_VECTORS);
		vf_mwrite(source, EIMS, mask);
		vf_mwrite(source, EITR(1), 0x100 + 0x10 * from);
		state_save(source, &state);
		ASSERT_EQ(0, state_load(destination, &state));
		ASSERT_EQ(0, vf_set_state(destination, VFIO_DEVICE_STATE_RUNNING,
					  NULL));
		if (destination->event[0] < 0)
			vf_enable_interrupts(destination);
		EXPECT_EQ(0x100u + 0x10 * from, vf_mread(destination, EITR(1)));
		EXPECT_EQ(mask, vf_mread(destination, EIMS));
		EXPECT_EQ(mask, vectors_raised(destination));
		vf_mwrite(destination, EIMS, ALL_VECTORS);
		ASSERT_EQ(0, vf_set_state(source, VFIO_DEVICE_STATE_RUNNING,
					  NULL));
		vf_must_reset(source);
	}
	parameters_restore();
}

TEST_ALONE(direct_pre_copy,
	"a mapped page with the interrupt registers stays the function's in "
	"PRE_COPY, whether dirty pages are tracked or not, and as RUNNING again")
{
	struct iommu iommu = {};
	struct nic nic;
	struct vf vf;

	need_mappable();
	parameters_keep();
	parameters_set("map_interrupts=1");
	open_direct(&vf, &iommu, vf_bdf[0]);
	start(&nic, &vf);
	ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_PRE_COPY, NULL));
	EXPECT_EQ(ALL_VECTORS, vectors_raised(&vf));
	EXPECT_TRUE(nic_send(&nic, 1, 2));
	ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_PRE_COPY_P2P, NULL));
	vf_mwrite(&vf, EIMC, ALL_VECTORS & ~1u);
	ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_PRE_COPY, NULL));
	EXPECT_EQ(1u, vectors_raised(&vf));
	ASSERT_EQ(0, vf_set_state(&vf, VFIO_DEVICE_STATE_RUNNING, NULL));
	vf_mwrite(&vf, EIMS, ALL_VECTORS);
	EXPECT_EQ(ALL_VECTORS, vectors_raised(&vf));
	parameters_restore();
}
