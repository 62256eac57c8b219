/* SPDX-License-Identifier: GPL-2.0 */
/*
 * libvfio of Linux 7.2 calls calloc_assert(), which is not there. Included in
 * front of its files where that is so (see Makefile).
 */
#ifndef _VFIO_IGBVF_CALLOC_ASSERT_H
#define _VFIO_IGBVF_CALLOC_ASSERT_H

#include <stdio.h>
#include <stdlib.h>

static inline void *calloc_assert(size_t count, size_t size)
{
	void *memory = calloc(count, size);

	if (!memory) {
		perror("calloc");
		exit(EXIT_FAILURE);
	}
	return memory;
}

#endif /* _VFIO_IGBVF_CALLOC_ASSERT_H */
