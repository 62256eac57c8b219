// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ability.h"
#include "harness.h"
#include "state.h"

#define STATUS_FILE	"/sys/kernel/debug/vfio_pci_migration/%s/status"
#define MMAP		"/sys/module/vfio_pci_migration/parameters/mmap"
#define PARAMETERS	"/sys/module/igbvf_vfio_pci/parameters/%s"

static const char * const names[] = {
	"heads_writable", "heads_kept", "mask_readable", "tails_latched",
	"start_over", "map_interrupts",
};

static char kept[ARRAY_SIZE(names)][16];

/* Does the line about the hardware have @words? */
static bool status_says(const struct vf *vf, const char *words)
{
	char path[128], line[256];
	bool says = true;
	FILE *file;

	snprintf(path, sizeof(path), STATUS_FILE, vf->bdf);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file))
		if (!strncmp(line, "ability: ", 9))
			says = strstr(line, words);
	if (file)
		fclose(file);
	return says;
}

bool rings_stay(const struct vf *vf)
{
	return !status_says(vf, "not kept");
}

bool rings_load(const struct vf *vf)
{
	return rings_stay(vf) && !status_says(vf, "read-only");
}

bool rings_mappable(void)
{
	FILE *file = fopen(MMAP, "re");
	bool allowed = true;

	if (file) {
		allowed = fgetc(file) != 'N';
		fclose(file);
	}
	return allowed && sysconf(_SC_PAGESIZE) == 0x1000;
}

void need_rings_stay(const struct vf *vf)
{
	if (!rings_stay(vf))
		th_skip("heads are not kept: the guest starts its rings over");
}

void need_rings_load(const struct vf *vf)
{
	if (!rings_load(vf))
		th_skip("heads cannot be set: the guest starts its rings over");
}

void expect_start_over(struct vf *vf)
{
	struct real real = vf_real(vf);

	EXPECT_TRUE(vf_wait_interrupt(vf, MISC_VECTOR, 1000));
	/* A message, neither granted nor "clear to send". */
	EXPECT_EQ(MSG_NACK, vf_read(vf, VMBMEM(0)));
	EXPECT_EQ(0u, vf_read(vf, RXDCTL(0)) & DCTL_ENABLE);
	EXPECT_EQ(0u, vf_read(vf, TXDCTL(0)) & DCTL_ENABLE);
	if (real.known)
		EXPECT_EQ(0u, (real.rxdctl | real.txdctl) & DCTL_ENABLE);
}

void nic_goes_on(struct nic *nic)
{
	if (!rings_stay(nic->vf)) {
		expect_start_over(nic->vf);
		nic_start_over(nic);
	}
}

void nic_goes_on_moved(struct nic *nic)
{
	if (!rings_load(nic->vf)) {
		expect_start_over(nic->vf);
		nic_start_over(nic);
	}
}

void expect_loaded(const struct vf *vf, const struct state *saved,
		   const struct state *back)
{
	if (rings_load(vf) || !rings_stay(vf))
		state_expect_same(saved, back);
	else
		EXPECT_EQ(saved->len, back->len);
}

static bool parameter_file(unsigned int n, const char *mode, FILE **file)
{
	char path[128];

	snprintf(path, sizeof(path), PARAMETERS, names[n]);
	*file = fopen(path, mode);
	return *file;
}

void parameters_keep(void)
{
	unsigned int n;
	FILE *file;

	for (n = 0; n < ARRAY_SIZE(names); n++) {
		if (!parameter_file(n, "r+e", &file))
			th_skip("parameters of the driver cannot be set");
		ASSERT_TRUE(fgets(kept[n], sizeof(kept[n]), file));
		fclose(file);
	}
}

static void parameter_write(unsigned int n, const char *value)
{
	FILE *file;

	ASSERT_TRUE(parameter_file(n, "we", &file));
	EXPECT_LE(0, fputs(value, file));
	EXPECT_EQ(0, fclose(file));
}

void parameters_set(const char *settings)
{
	char copy[128], *next = copy, *one, *value;
	unsigned int n;

	snprintf(copy, sizeof(copy), "%s", settings);
	while ((one = strsep(&next, " "))) {
		value = strchr(one, '=');
		ASSERT_TRUE(value);
		*value++ = '\0';
		for (n = 0; n < ARRAY_SIZE(names) && strcmp(names[n], one); n++)
			;
		ASSERT_LE(n + 1, ARRAY_SIZE(names));
		parameter_write(n, value);
	}
}

void parameters_restore(void)
{
	unsigned int n;

	for (n = 0; n < ARRAY_SIZE(names); n++)
		if (*kept[n])
			parameter_write(n, kept[n]);
}
