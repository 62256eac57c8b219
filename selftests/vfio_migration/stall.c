// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "harness.h"
#include "stall.h"

void stall_begin(struct stall *stall)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = {
		.mode = UFFDIO_REGISTER_MODE_MISSING,
		.range.len = PAGE,
	};

	stall->uffd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	if (stall->uffd < 0 || ioctl(stall->uffd, UFFDIO_API, &api))
		th_skip("no userfaultfd: %s", strerror(errno));
	stall->page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, (void *)stall->page);
	reg.range.start = (uintptr_t)stall->page;
	ASSERT_EQ(0, ioctl(stall->uffd, UFFDIO_REGISTER, &reg));
}

void stall_wait(struct stall *stall)
{
	struct pollfd poll_fd = { .fd = stall->uffd, .events = POLLIN };
	struct uffd_msg msg;

	ASSERT_EQ(1, poll(&poll_fd, 1, 5000));
	ASSERT_EQ((ssize_t)sizeof(msg), read(stall->uffd, &msg, sizeof(msg)));
	ASSERT_EQ(UFFD_EVENT_PAGEFAULT, (int)msg.event);
}

void stall_end(struct stall *stall, const void *content)
{
	struct uffdio_copy copy = {
		.dst = (uintptr_t)stall->page,
		.src = (uintptr_t)content,
		.len = PAGE,
	};

	ASSERT_EQ(0, ioctl(stall->uffd, UFFDIO_COPY, &copy));
}

void stall_close(struct stall *stall)
{
	munmap(stall->page, PAGE);
	close(stall->uffd);
}

static ssize_t transfer_now(const struct transfer *transfer)
{
	if (transfer->write && transfer->at)
		return pwrite(transfer->fd, transfer->buf, transfer->len,
			      transfer->at);
	if (transfer->write)
		return write(transfer->fd, transfer->buf, transfer->len);
	if (transfer->at)
		return pread(transfer->fd, transfer->buf, transfer->len,
			     transfer->at);
	return read(transfer->fd, transfer->buf, transfer->len);
}

static void *transfer_thread(void *arg)
{
	struct transfer *transfer = arg;

	transfer->ret = transfer_now(transfer);
	if (transfer->ret < 0)
		transfer->ret = -errno;
	atomic_store(&transfer->done, true);
	return NULL;
}

void transfer_start(struct transfer *transfer)
{
	atomic_store(&transfer->done, false);
	ASSERT_EQ(0, pthread_create(&transfer->thread, NULL, transfer_thread,
				    transfer));
}

ssize_t transfer_end(struct transfer *transfer)
{
	ASSERT_EQ(0, pthread_join(transfer->thread, NULL));
	return transfer->ret;
}
