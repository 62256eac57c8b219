// SPDX-License-Identifier: GPL-2.0
/*
 * How fast a program sends through a VF's registers, whatever driver has the VF:
 * one that maps what it may, and accesses the rest by read(2) and write(2). It
 * does for its frames what a guest's driver does: writes a doorbell for each,
 * is interrupted, and unmasks the vector again. A line that scripts may look for:
 *
 *	# path FRAMES NANOSECONDS
 */
#include <stdio.h>
#include <string.h>

#include "harness.h"
#include "igbvf.h"
#include "vfio.h"

#define BATCH		8
#define DURATION_NS	1500000000ull

static void registers_write(struct vf *vf, u32 offset, u32 value)
{
	if (vf->rings && vf->rings_at <= offset)
		vf_mwrite(vf, offset, value);
	else
		vf_write(vf, offset, value);
}

TEST_ALONE(path,
	"frames are sent, with a doorbell for each, and an interrupt for some; how "
	"many in a while")
{
	/* To an address that nobody has, and of a kind that nobody knows. */
	u8 frame[64] = { 0x52, 0x54, 0x00, 0xff, 0xff, 0xfe };
	struct iommu iommu = {};
	struct nic nic;
	struct vf vf;
	u64 began, took, frames = 0;
	unsigned int n;

	vf_need_igbvf();
	vf_open(&vf, &iommu, vf_bdf[0]);
	vf_try_map_rings(&vf);
	nic_start(&nic, &vf, 0);
	memcpy(frame + 6, nic.mac, sizeof(nic.mac));
	frame[12] = 0x88;
	frame[13] = 0xb6;
	began = time_ns();
	do {
		for (n = 0; n < BATCH; n++) {
			ASSERT_TRUE(nic_put(&nic, frame, sizeof(frame)));
			nic_ring(&nic);
		}
		ASSERT_TRUE(vf_wait_interrupt(&vf, TX_VECTOR, 1000));
		vf_interrupts(&vf, TX_VECTOR);
		registers_write(&vf, EIMS, 1u << TX_VECTOR);
		while (nic_unsent(&nic))
			;
		frames += BATCH;
		took = time_ns() - began;
	} while (took < DURATION_NS);
	th_log("path %llu %llu", (unsigned long long)frames,
	       (unsigned long long)took);
}
