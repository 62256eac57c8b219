/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The Test Anything Protocol, as much of it as these tests need. A program
 * calls ok() once for each test point and returns tap_done() from main().
 */
#ifndef _UNIT_TAP_H
#define _UNIT_TAP_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>

static unsigned int tap_points, tap_failed;

/* One test point; returns @good so that a failure can be explained. */
static inline bool __attribute__((format(printf, 2, 3)))
ok(bool good, const char *fmt, ...)
{
	va_list args;

	if (!tap_points++)
		printf("TAP version 13\n");
	if (!good)
		tap_failed++;
	printf("%sok %u - ", good ? "" : "not ", tap_points);
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	printf("\n");
	return good;
}

static inline void __attribute__((format(printf, 1, 2)))
diag(const char *fmt, ...)
{
	va_list args;

	printf("# ");
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	printf("\n");
}

static inline int tap_done(void)
{
	printf("1..%u\n", tap_points);
	if (tap_failed)
		diag("%u of %u test points failed", tap_failed, tap_points);
	return tap_failed || !tap_points;
}

#endif /* _UNIT_TAP_H */
