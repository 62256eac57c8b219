// SPDX-License-Identifier: GPL-2.0
/*
 * What the programs have in common: they test migration of two 82576 virtual
 * functions, each alone in its IOMMU group, bound to igbvf-vfio-pci, on NICs
 * whose links see each other, each with an address set by the administrator:
 *
 *	PROGRAM [-n TIMES] [-s COMMAND] BDF BDF [NAME...]
 *
 * Others are of their own kind: silicon_test asks the first function what it is
 * like, and wants it bound to vfio-pci; edu_test tests the example of
 * Documentation/backend.rst on two of QEMU's edu devices.
 *
 * A NAME is the name of a test or a pattern. TIMES says how much longer than in
 * the short form those tests are that repeat something. COMMAND brings both
 * functions back, as they were, after a test has removed them: their PFs may have
 * lost them, or be down. Output is TAP.
 *
 * TEST_ALL=1 in the environment tries every byte where a sample is the
 * default.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "harness.h"
#include "main.h"
#include "vfio.h"

const char *setup_command;

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
	unsigned int times = 1;
	int option;

	while ((option = getopt(argc, argv, "n:s:")) != -1 && option != '?') {
		if (option == 'n')
			times = strtoul(optarg, NULL, 0);
		else
			setup_command = optarg;
	}
	if (option != -1 || argc - optind < 2 || !times) {
		fprintf(stderr, "usage: %s [-n TIMES] [-s COMMAND] BDF BDF [TEST...]\n",
			argv[0]);
		return 2;
	}
	vf_bdf[0] = argv[optind];
	vf_bdf[1] = argv[optind + 1];
	return th_main(times, argc - optind - 2, argv + optind + 2);
}
