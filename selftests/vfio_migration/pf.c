// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "pf.h"
#include "vfio.h"

bool pf_bdf(const char *bdf, char pf[PF_BDF_SIZE])
{
	bdf_link(bdf, "physfn", pf, PF_BDF_SIZE);
	return *pf;
}

bool pf_interface(const char *bdf, char name[IFNAMSIZ])
{
	char path[PATH_MAX];
	struct dirent *entry;
	bool found = false;
	DIR *dir;

	bdf_path(bdf, "physfn/net", path);
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
	char name[32], vf[PF_BDF_SIZE];
	int n;

	for (n = 0; n < 8; n++) {
		snprintf(name, sizeof(name), "physfn/virtfn%d", n);
		bdf_link(bdf, name, vf, sizeof(vf));
		if (!strcmp(vf, bdf))
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

bool pf_set_link(const char *bdf, bool up)
{
	char name[IFNAMSIZ], command[64];

	if (!pf_interface(bdf, name))
		return false;
	snprintf(command, sizeof(command), "ip link set dev %s %s", name,
		 up ? "up" : "down");
	return !system(command);
}

bool pf_wait_link(const char *bdf, unsigned int timeout_ms)
{
	u64 limit = time_ms() + timeout_ms;
	char name[IFNAMSIZ], path[128];
	bool up = false;
	FILE *carrier;

	if (!pf_interface(bdf, name))
		return false;
	snprintf(path, sizeof(path), "/sys/class/net/%s/carrier", name);
	while (!up && time_ms() < limit) {
		carrier = fopen(path, "r");
		up = carrier && fgetc(carrier) == '1';
		if (carrier)
			fclose(carrier);
		if (!up)
			sleep_ms(10);
	}
	return up;
}

int pf_reset(const char *bdf)
{
	return bdf_write(bdf, "physfn/reset", "1");
}

int pf_unbind(const char *bdf)
{
	char pf[PF_BDF_SIZE];

	return pf_bdf(bdf, pf) ? bdf_unbind(pf) : -ENODEV;
}

int pf_remove(const char *bdf)
{
	return bdf_write(bdf, "physfn/remove", "1");
}

/* Not O_NONBLOCK: it waits while the driver lets go of its devices. */
int pf_unload(const char *bdf)
{
	(void)bdf;
	return syscall(SYS_delete_module, "igb", 0) ? -errno : 0;
}
