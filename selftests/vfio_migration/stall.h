/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Users that stall in the middle of a read or write: a page of memory whose
 * first use waits (userfaultfd), and accesses by a thread of their own.
 */
#ifndef _VFIO_MIGRATION_STALL_H
#define _VFIO_MIGRATION_STALL_H

#include <pthread.h>
#include <stdatomic.h>

#include "driver/core/plain.h"

#define PAGE	4096u

/**
 * struct stall - a page whose first use waits for stall_end()
 * @uffd: userfaultfd
 * @page: the page
 */
struct stall {
	int uffd;
	u8 *page;
};

void stall_begin(struct stall *stall);	/* or skip the test */
/* Until somebody has run into it. */
void stall_wait(struct stall *stall);
/* The page gets this content, PAGE bytes, and its user goes on. */
void stall_end(struct stall *stall, const void *content);
void stall_close(struct stall *stall);

/**
 * struct transfer - a read or write by a thread of its own
 * @thread: the thread
 * @fd: where from or to
 * @at: for pread(2) and pwrite(2); 0: read(2) and write(2)
 * @write: direction
 * @buf: the buffer
 * @len: bytes in @buf
 * @ret: what it has returned, or -errno
 * @done: it has returned
 */
struct transfer {
	pthread_t thread;
	int fd;
	u64 at;
	bool write;
	void *buf;
	size_t len;
	ssize_t ret;
	atomic_bool done;
};

void transfer_start(struct transfer *transfer);
ssize_t transfer_end(struct transfer *transfer);

#endif /* _VFIO_MIGRATION_STALL_H */
