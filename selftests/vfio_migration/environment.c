// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>
#ifdef __x86_64__
#include <cpuid.h>
#endif

#include "device.h"
#include "environment.h"
#include "harness.h"
#include "vfio.h"

#define TEXT		128
#define NOTE_HEADER	16	/* of an ELF note of GNU's */

/* The first line of a file, or "?". */
static const char *line_of(const char *path, char *text)
{
	FILE *file = fopen(path, "r");

	if (!file || !fgets(text, TEXT, file))
		strcpy(text, "?");
	text[strcspn(text, "\n")] = '\0';
	if (file)
		fclose(file);
	return text;
}

static const char *of_device(const char *bdf, const char *name, char *text)
{
	char path[PATH_MAX];

	bdf_path(bdf, name, path);
	return line_of(path, text);
}

static const char *device_link(const char *bdf, const char *name, char *text)
{
	bdf_link(bdf, name, text, TEXT);
	return *text ? text : "none";
}

static const char *hypervisor(char *text)
{
#ifdef __x86_64__
	unsigned int eax, ebx, ecx, edx;

	if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) && ecx >> 31) {
		__cpuid(0x40000000, eax, ebx, ecx, edx);
		snprintf(text, TEXT, "%.4s%.4s%.4s", (char *)&ebx,
			 (char *)&ecx, (char *)&edx);
		return text;
	}
	return "none";
#else
	return line_of("/sys/hypervisor/type", text);
#endif
}

/* Which build a module is, by its ELF note. */
static const char *build_of(const char *module, char *text)
{
	char path[PATH_MAX];
	u8 note[64];
	size_t len = 0, n;
	FILE *file;

	snprintf(path, sizeof(path),
		 "/sys/module/%s/notes/.note.gnu.build-id", module);
	file = fopen(path, "r");
	if (file) {
		len = fread(note, 1, sizeof(note), file);
		fclose(file);
	}
	strcpy(text, len > NOTE_HEADER ? "" : "?");
	for (n = NOTE_HEADER; n < len; n++)
		sprintf(text + 2 * (n - NOTE_HEADER), "%02x", note[n]);
	return text;
}

static void describe_driver(const char *bdf)
{
	char driver[TEXT], module[TEXT], build[TEXT];

	th_log("%s: driver %s", bdf, device_link(bdf, "driver", driver));
	device_link(bdf, "driver/module", module);
	th_log("%s: module %s, build %s", bdf, module, build_of(module, build));
}

static void describe_pci(const char *bdf)
{
	char one[TEXT], two[TEXT], three[TEXT], four[TEXT], five[TEXT];

	th_log("%s: %s:%s, subsystem %s:%s, revision %s", bdf,
	       of_device(bdf, "vendor", one), of_device(bdf, "device", two),
	       of_device(bdf, "subsystem_vendor", three),
	       of_device(bdf, "subsystem_device", four),
	       of_device(bdf, "revision", five));
	th_log("%s: PF %s with driver %s", bdf,
	       device_link(bdf, "physfn", one),
	       device_link(bdf, "physfn/driver", two));
}

static void describe_device(const char *bdf)
{
	char one[TEXT], two[TEXT], three[TEXT];

	if (bdf_is_pci(bdf))
		describe_pci(bdf);
	else
		th_log("%s: mediated, of type %s", bdf,
		       device_link(bdf, "mdev_type", one));
	describe_driver(bdf);
	th_log("%s: IOMMU %s, group %s of type %s", bdf,
	       device_link(bdf, "iommu", one),
	       device_link(bdf, "iommu_group", two),
	       of_device(bdf, "iommu_group/type", three));
}

void environment_describe(void)
{
	char one[TEXT], two[TEXT], three[TEXT];
	struct utsname name;
	unsigned int n;

	uname(&name);
	th_log("kernel: %s %s %s %s", name.sysname, name.release, name.version,
	       name.machine);
	th_log("machine: %s %s, hypervisor %s",
	       line_of("/sys/class/dmi/id/sys_vendor", one),
	       line_of("/sys/class/dmi/id/product_name", two),
	       hypervisor(three));
	th_log("pages of %ld bytes, %ld CPUs", sysconf(_SC_PAGESIZE),
	       sysconf(_SC_NPROCESSORS_ONLN));
	th_log("IOMMU mode: vfio_type1v2_iommu");
	for (n = 0; n < ARRAY_SIZE(vf_bdf) && vf_bdf[n]; n++)
		describe_device(vf_bdf[n]);
}
