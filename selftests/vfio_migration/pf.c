// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include <dirent.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pf.h"

#define SYSFS	"/sys/bus/pci/devices"

bool pf_interface(const char *bdf, char name[IFNAMSIZ])
{
	char path[128];
	struct dirent *entry;
	bool found = false;
	DIR *dir;

	snprintf(path, sizeof(path), SYSFS "/%s/physfn/net", bdf);
	dir = opendir(path);
	while (dir && !found && (entry = readdir(dir))) {
		found = entry->d_name[0] != '.' &&
			strlen(entry->d_name) < IFNAMSIZ;
		if (found)
			memcpy(name, entry->d_name, strlen(entry->d_name) + 1);
	}
	if (dir)
		closedir(dir);
	return found;
}

/* Which of the PF's VFs is it? */
static int vf_number(const char *bdf)
{
	char path[128], target[PATH_MAX];
	ssize_t len;
	int n;

	for (n = 0; n < 8; n++) {
		snprintf(path, sizeof(path), SYSFS "/%s/physfn/virtfn%d", bdf,
			 n);
		len = readlink(path, target, sizeof(target) - 1);
		target[len < 0 ? 0 : len] = '\0';
		if (len > 0 && !strcmp(basename(target), bdf))
			return n;
	}
	return -1;
}

bool pf_get_vf_mac(const char *bdf, char mac[PF_MAC_SIZE])
{
	char name[IFNAMSIZ], command[64], begin[32], line[512], *at;
	int number = vf_number(bdf);
	bool found = false;
	FILE *pipe;

	if (number < 0 || !pf_interface(bdf, name))
		return false;
	snprintf(command, sizeof(command), "ip link show dev %s", name);
	snprintf(begin, sizeof(begin), "vf %d ", number);
	pipe = popen(command, "r");
	while (pipe && fgets(line, sizeof(line), pipe)) {
		at = strstr(line, begin);
		if (at)
			at = strstr(at, "link/ether ");
		if (at)
			found = sscanf(at, "link/ether %17s", mac) == 1;
	}
	if (pipe)
		pclose(pipe);
	return found;
}

bool pf_set_vf_mac(const char *bdf, const char *mac)
{
	char name[IFNAMSIZ], command[96];
	int number = vf_number(bdf);

	if (number < 0 || !pf_interface(bdf, name))
		return false;
	snprintf(command, sizeof(command), "ip link set dev %s vf %d mac %s",
		 name, number, mac);
	return !system(command);
}
