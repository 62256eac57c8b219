// SPDX-License-Identifier: GPL-2.0
/*
 * What v1_test, v2_test and fault_test have in common: they test a door of the
 * migration uAPI each, and what faults do to both, on two 82576 virtual
 * functions, each alone in its IOMMU group, bound to igbvf-vfio-pci, on NICs
 * whose links see each other, each with an address set by the administrator.
 * silicon_test asks the first function what it is like, and wants it bound to
 * vfio-pci:
 *
 *	v1_test BDF BDF [NAME...]
 *	v2_test BDF BDF [NAME...]
 *	fault_test BDF BDF [NAME...]
 *	silicon_test BDF BDF [NAME...]
 *
 * edu_test tests the example of Documentation/backend.rst in the same way, on
 * two of QEMU's edu devices.
 *
 * A NAME is the name of a test or a pattern. Output is TAP.
 *
 * TEST_ALL=1 in the environment tries every byte where a sample is the
 * default.
 */
#include <stdio.h>

#include "harness.h"
#include "vfio.h"

/* Tests of one function use the first one: another one in each lane. */
void th_setup(unsigned int lane)
{
	const char *other = vf_bdf[0];

	if (lane) {
		vf_bdf[0] = vf_bdf[1];
		vf_bdf[1] = other;
	}
}

int main(int argc, char **argv)
{
	if (argc < 3) {
		fprintf(stderr, "usage: %s BDF BDF [TEST...]\n", argv[0]);
		return 2;
	}
	vf_bdf[0] = argv[1];
	vf_bdf[1] = argv[2];
	return th_main(argc - 3, argv + 3);
}
