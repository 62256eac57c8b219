// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "driver/core/plain.h"
#include "failnth.h"
#include "harness.h"

#define FAIL_NTH	"/proc/self/fail-nth"
#define DEBUGFS		"/sys/kernel/debug"

/*
 * By default allocations that may wait do not fail, nor do single pages, and
 * each failure puts a stack on the console. None of this makes anything fail
 * by itself.
 */
static const char * const knobs[][2] = {
	{ DEBUGFS "/failslab/ignore-gfp-wait", "N" },
	{ DEBUGFS "/failslab/verbose", "0" },
	{ DEBUGFS "/fail_page_alloc/ignore-gfp-wait", "N" },
	{ DEBUGFS "/fail_page_alloc/ignore-gfp-highmem", "N" },
	{ DEBUGFS "/fail_page_alloc/min-order", "0" },
	{ DEBUGFS "/fail_page_alloc/verbose", "0" },
};

static const char * const injectors[] = {
	DEBUGFS "/failslab", DEBUGFS "/fail_page_alloc",
};

static int fail_fd;

static void set_knob(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		th_skip("no %s: this kernel cannot make allocations fail", path);
	ASSERT_EQ((ssize_t)strlen(value), write(fd, value, strlen(value)));
	close(fd);
}

void failnth_setup(void)
{
	unsigned int n;

	fail_fd = open(FAIL_NTH, O_RDWR | O_CLOEXEC);
	if (fail_fd < 0)
		th_skip("no " FAIL_NTH ": this kernel cannot make allocations fail");
	for (n = 0; n < ARRAY_SIZE(knobs); n++)
		set_knob(knobs[n][0], knobs[n][1]);
	/* Page faults of our own are not what is to fail. */
	ASSERT_EQ(0, mlockall(MCL_CURRENT));
}

/* The code of a function: up to the next symbol. */
static bool find_function(const char *function, unsigned long *start,
			  unsigned long *end)
{
	unsigned long address;
	FILE *symbols;
	char name[128];
	int pass;

	*start = 0;
	*end = ~0ul;
	for (pass = 0; pass < 2; pass++) {
		symbols = fopen("/proc/kallsyms", "r");
		ASSERT_TRUE(symbols);
		while (fscanf(symbols, "%lx %*c %127s%*[^\n]", &address,
			      name) == 2) {
			if (!pass && !strcmp(name, function))
				*start = address;
			if (pass && address > *start && address < *end)
				*end = address;
		}
		fclose(symbols);
		if (!*start)
			return false;
	}
	return true;
}

void failnth_spare(const char *function)
{
	unsigned long start, end;
	char path[64], value[32];
	unsigned int n;

	if (!find_function(function, &start, &end)) {
		th_log("there is no %s to be spared", function);
		return;
	}
	for (n = 0; n < ARRAY_SIZE(injectors); n++) {
		snprintf(path, sizeof(path), "%s/stacktrace-depth", injectors[n]);
		set_knob(path, "32");
		snprintf(path, sizeof(path), "%s/reject-start", injectors[n]);
		snprintf(value, sizeof(value), "%#lx", start);
		set_knob(path, value);
		snprintf(path, sizeof(path), "%s/reject-end", injectors[n]);
		snprintf(value, sizeof(value), "%#lx", end);
		set_knob(path, value);
	}
}

static void set_nth(unsigned int nth)
{
	char text[16];
	int len = snprintf(text, sizeof(text), "%u", nth);

	ASSERT_EQ((ssize_t)len, pwrite(fail_fd, text, len, 0));
}

void failnth_arm(unsigned int nth)
{
	set_nth(nth);
}

/* What is left of the count is 0 if one has failed. */
bool failnth_disarm(void)
{
	char text[16] = "";

	ASSERT_LE((ssize_t)1, pread(fail_fd, text, sizeof(text) - 1, 0));
	set_nth(0);
	return !atoi(text);
}
