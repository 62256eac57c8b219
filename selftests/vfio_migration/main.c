// SPDX-License-Identifier: GPL-2.0
/*
 * What the programs have in common: they test migration of two 82576 virtual
 * functions, each alone in its IOMMU group, bound to igbvf-vfio-pci, on NICs
 * whose links see each other, each with an address set by the administrator:
 *
 *	PROGRAM [-n TIMES] [-s COMMAND] [-e COMMAND] [BDF [BDF]] [NAME...]
 *
 * Others are of their own kind: silicon_test asks the first function what it is
 * like, and wants it bound to vfio-pci; edu_test tests the example of
 * Documentation/backend.rst on two of QEMU's edu devices.
 *
 * A NAME is the name of a test or a pattern. TIMES says how much longer than in
 * the short form those tests are that repeat something. The COMMAND of -s brings
 * both functions back, as they were, after a test has removed them: their PFs may
 * have lost them, or be down. That of -e, with a BDF and the name of an error
 * (DLP, MALF_TLP), makes the hardware report it. Output is TAP.
 *
 * A mediated device is named by its UUID. Tests that need more than the function
 * is, or has, are skipped (device.h).
 *
 * Without a BDF the environment counts: VFIO_SELFTESTS_BDF, which may be a list,
 * and VFIO_SELFTESTS_BDF2. With one function only, tests that need two are
 * skipped; with none, all.
 *
 * TEST_ALL=1 in the environment tries every byte where a sample is the
 * default.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "environment.h"
#include "harness.h"
#include "main.h"
#include "vfio.h"

#define UUID		36	/* characters */
#define EXIT_SKIP	4	/* kselftest's */

const char *setup_command;
const char *error_command;

/* Tests of one function use the first one: another one in each lane. */
void th_setup(unsigned int lane)
{
	const char *other = vf_bdf[0];

	if (lane) {
		vf_bdf[0] = vf_bdf[1];
		vf_bdf[1] = other;
	}
}

/* By its looks: whether it is there is another question. */
static bool is_address(const char *text)
{
	unsigned int domain, bus, device, function;
	int length = 0;

	if (strlen(text) == UUID && strspn(text, "0123456789abcdef-") == UUID)
		return true;
	return sscanf(text, "%4x:%2x:%2x.%1x%n", &domain, &bus, &device,
		      &function, &length) == 4 && !text[length];
}

/* Those that are more than a test has use for are not an error. */
static void take(char *bdf)
{
	unsigned int n;

	for (n = 0; n < ARRAY_SIZE(vf_bdf); n++) {
		if (!vf_bdf[n]) {
			vf_bdf[n] = bdf;
			return;
		}
	}
}

/* Take the addresses out of the command line; what is left are names. */
static int take_arguments(int argc, char **argv)
{
	int i, names = 0;

	for (i = 0; i < argc; i++) {
		if (is_address(argv[i]))
			take(argv[i]);
		else
			argv[names++] = argv[i];
	}
	return names;
}

static void take_environment(const char *name)
{
	char *list = getenv(name), *bdf;

	for (bdf = list ? strtok(list, ", ") : NULL; bdf;
	     bdf = strtok(NULL, ", "))
		take(bdf);
}

/* What is wrong with the functions, or NULL. */
static const char *complaint(void)
{
	static char text[128];
	unsigned int n;

	for (n = 0; n < ARRAY_SIZE(vf_bdf) && vf_bdf[n]; n++) {
		if (bdf_exists(vf_bdf[n]))
			continue;
		snprintf(text, sizeof(text), "there is no function %.64s",
			 vf_bdf[n]);
		return text;
	}
	if (vf_bdf[1] && !strcmp(vf_bdf[0], vf_bdf[1]))
		return "both functions are the same one";
	return NULL;
}

int main(int argc, char **argv)
{
	unsigned int times = 1;
	int option, names;
	const char *wrong;

	while ((option = getopt(argc, argv, "n:s:e:")) != -1 && option != '?') {
		if (option == 'n')
			times = strtoul(optarg, NULL, 0);
		else if (option == 's')
			setup_command = optarg;
		else
			error_command = optarg;
	}
	if (option != -1 || !times) {
		fprintf(stderr, "usage: %s [-n TIMES] [-s COMMAND] [-e COMMAND] [BDF [BDF]] [TEST...]\n",
			argv[0]);
		return EXIT_FAILURE;
	}
	argv += optind;
	names = take_arguments(argc - optind, argv);

	if (!vf_bdf[0]) {
		take_environment("VFIO_SELFTESTS_BDF");
		take_environment("VFIO_SELFTESTS_BDF2");
	}
	if (!vf_bdf[0]) {
		printf("TAP version 13\n1..0 # SKIP no function, neither on the command line nor in VFIO_SELFTESTS_BDF\n");
		return EXIT_SKIP;
	}
	wrong = complaint();
	if (wrong) {
		printf("TAP version 13\nBail out! %s\n", wrong);
		return EXIT_FAILURE;
	}
	if (!vf_bdf[1])
		th_lanes = 1;
	th_header = environment_describe;
	return th_main(times, names, argv);
}
