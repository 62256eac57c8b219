// SPDX-License-Identifier: GPL-2.0
/*
 * States that come in chunks, on two edu devices to which the example has given
 * memory (driver/example/ballast.c). Nothing is held as a whole by the driver, so
 * what can go wrong goes wrong in the middle: it must leave no trace.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "driver/core/stream.h"
#include "fault.h"
#include "harness.h"
#include "v1.h"
#include "vfio.h"

#define PARAMETER	"/sys/module/edu_vfio_pci/parameters/ballast"

#define SIZE		0x1000
#define AT		0x1008
#define DATA		0x1010
#define FILL		0x1018
#define SUM		0x1020
#define STEP		0x9e3779b1u

#define CHUNK		(VFIO_MIG_RECORD_BACKEND + 1)
#define CHUNK_BYTES	(256u << 10)
#define MIB		2u
#define CHUNKS		(MIB * 4)
#define ROOM		((MIB + 1) << 20)
#define SPOTS		64

/**
 * struct big - a state with chunks
 * @len: bytes in @buf
 * @buf: the stream; room for two of them
 */
struct big {
	size_t len;
	u8 *buf;
};

static void set_ballast(unsigned int mib)
{
	FILE *file = fopen(PARAMETER, "we");

	if (!file)
		th_skip("the example has no parameter for ballast");
	fprintf(file, "%u\n", mib);
	ASSERT_EQ(0, fclose(file));
}

static void big_alloc(struct big *big)
{
	big->len = 0;
	big->buf = mmap(NULL, 2 * ROOM, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, (void *)big->buf);
}

static void open_both(struct vf vf[2], struct iommu *iommu)
{
	vf_need_both();
	set_ballast(MIB);
	vf_open_both(vf, iommu);
	set_ballast(0);
	ASSERT_EQ(MIB << 20, vf_read(&vf[0], SIZE));
}

static u32 word_at(struct vf *vf, u32 at)
{
	vf_write(vf, AT, at);
	return vf_read(vf, DATA);
}

/* Is the memory that which @seed gives? */
static void expect_filled(struct vf *vf, u32 seed)
{
	u32 n, word;

	for (n = 0; n <= SPOTS; n++) {
		word = n * ((MIB << 18) - 1) / SPOTS;
		EXPECT_EQ(seed + word * STEP, word_at(vf, word * 4));
	}
}

static void expect_empty(struct vf *vf)
{
	u32 n;

	for (n = 0; n <= SPOTS; n++)
		EXPECT_EQ(0u, word_at(vf, n * (((MIB << 18) - 1) / SPOTS) * 4));
}

/* Read up to @len bytes more; 0 or -errno. */
static int read_more(int fd, struct big *big, size_t len)
{
	size_t end = big->len + len;
	ssize_t got;

	while (big->len < end) {
		got = read(fd, big->buf + big->len, end - big->len);
		if (got < 0)
			return -errno;
		if (!got)
			break;
		big->len += got;
	}
	return 0;
}

static void save_v2(struct vf *vf, struct big *big)
{
	int fd = vf_open_stream(vf, VFIO_DEVICE_STATE_STOP_COPY);

	big->len = 0;
	ASSERT_EQ(0, read_more(fd, big, ROOM));
	close(fd);
}

/* Collect until @len bytes are there, or all. */
static void collect(struct v1 *v1, struct big *big, size_t len)
{
	u64 pending, offset, size;

	while (big->len < len) {
		pending = v1_pending(v1);
		if (!pending)
			break;
		offset = v1_data_offset(v1);
		size = v1_data_size(v1);
		ASSERT_NE((u64)0, size);
		ASSERT_LE(size, pending);
		ASSERT_LE(offset + size, v1->size);
		v1_window_read(v1, offset, big->buf + big->len, size);
		big->len += size;
	}
}

static void save_v1(struct vf *vf, struct big *big)
{
	struct v1 v1;

	v1_open(&v1, vf);
	v1_go(&v1, V1_S);
	big->len = 0;
	collect(&v1, big, ROOM);
}

/* -> RESUMING, and write; 0, or -errno of a write. @fd stays open. */
static int load_fd(struct vf *vf, const struct big *big, int *fd)
{
	*fd = vf_open_stream(vf, VFIO_DEVICE_STATE_RESUMING);
	return state_write(*fd, big->buf, big->len);
}

static int load_v2(struct vf *vf, const struct big *big)
{
	int fd, ret = load_fd(vf, big, &fd);

	close(fd);
	return ret;
}

static int load_v1(struct vf *vf, const struct big *big)
{
	struct v1 v1;

	v1_open(&v1, vf);
	v1_go(&v1, V1_M);
	return v1_feed(&v1, big->buf, big->len, 0);
}

static void run(struct vf *vf)
{
	struct v1 v1;

	if (vf_set_state(vf, VFIO_DEVICE_STATE_RUNNING, NULL)) {
		v1_open(&v1, vf);
		v1_go(&v1, V1_R);
	}
}

/* Where record number @n of the stream begins. */
static size_t record_at(const struct big *big, unsigned int n)
{
	struct vfio_mig_record head;
	size_t at = 0;

	while (n--) {
		ASSERT_LE(at + sizeof(head), big->len);
		memcpy(&head, big->buf + at, sizeof(head));
		at += MIG_RECORD_SIZE(le32_to_cpu(head.length));
	}
	ASSERT_LE(at, big->len);
	return at;
}

/* HEADER, IDENTITY, registers, chunks, END. */
#define FIRST_CHUNK	3
#define END_AT		(FIRST_CHUNK + CHUNKS)

/* One of the records that is not a chunk, and what is behind the last chunk. */
#define NO_REGS		(-1u)
#define BEHIND		CHUNKS

/*
 * The same device state, made anew with another chunk, or none, instead of chunk
 * @n.
 */
static void forge(const struct big *from, struct big *to, unsigned int n,
		  u16 flags, const void *payload, u32 length)
{
	struct vfio_mig_record head;
	struct mig_encoder enc;
	unsigned int i;
	const u8 *at;

	mig_encoder_init(&enc, to->buf, 2 * ROOM, 1);
	for (i = 0; i < END_AT; i++) {
		at = from->buf + record_at(from, i);
		memcpy(&head, at, sizeof(head));
		if (i != FIRST_CHUNK + n)
			mig_encode_record(&enc, le16_to_cpu(head.type),
					  le16_to_cpu(head.flags),
					  at + sizeof(head),
					  le32_to_cpu(head.length));
		else if (payload)
			mig_encode_record(&enc, CHUNK, flags, payload, length);
	}
	if (n == BEHIND)
		mig_encode_record(&enc, CHUNK, flags, payload, length);
	ASSERT_EQ(0, mig_encode_end(&enc));
	to->len = enc.used;
}

/* The stream has been refused: nothing of it is left, and a reset ends that. */
static void expect_refused(struct vf *vf, int error, int fd)
{
	EXPECT_STATE(VFIO_DEVICE_STATE_RESUMING, vf);
	EXPECT_EQ(error, state_write(fd, "again", 5));
	EXPECT_EQ(error, vf_set_state(vf, VFIO_DEVICE_STATE_RUNNING, NULL));
	EXPECT_STATE(VFIO_DEVICE_STATE_RESUMING, vf);
	expect_empty(vf);
	close(fd);
	vf_must_reset(vf);
	EXPECT_STATE(VFIO_DEVICE_STATE_RUNNING, vf);
	expect_empty(vf);
}

TEST_ALONE(chunks_move,
	"a state of megabytes is the same at the destination, through each door "
	"at each end; without a buffer of its size, and with a good END")
{
	static struct big big;
	struct iommu iommu = {};
	struct vf vf[2];
	unsigned int n;

	open_both(vf, &iommu);
	big_alloc(&big);
	for (n = 0; n < 4; n++) {
		th_context("saved by v%u, loaded by v%u", n / 2 + 1, n % 2 + 1);
		vf_must_reset(&vf[0]);
		vf_must_reset(&vf[1]);
		vf_write(&vf[0], FILL, 4711 + n);
		if (n / 2)
			save_v2(&vf[0], &big);
		else
			save_v1(&vf[0], &big);
		EXPECT_EQ(record_at(&big, END_AT + 1), big.len);
		ASSERT_EQ(0, n % 2 ? load_v2(&vf[1], &big) :
				     load_v1(&vf[1], &big));
		expect_filled(&vf[1], 4711 + n);
		run(&vf[1]);
		expect_filled(&vf[1], 4711 + n);
		EXPECT_EQ(vf_read(&vf[0], SUM), vf_read(&vf[1], SUM));
		/* And it was not consumed. */
		run(&vf[0]);
		expect_filled(&vf[0], 4711 + n);
	}
}

TEST_ALONE(chunks_size,
	"MIG_DATA_SIZE, before, and pending_bytes, at any time, are not less than "
	"what comes; pending_bytes is not 0 before END has been read")
{
	u64 pending, before = ~0ull, offset, size, told;
	struct iommu iommu = {};
	struct vf vf[2];
	struct v1 v1;
	size_t done = 0;
	u8 *buf;

	open_both(vf, &iommu);
	buf = malloc(ROOM);
	ASSERT_TRUE(buf);
	told = vf_data_size(&vf[0]);
	v1_open(&v1, &vf[0]);
	v1_go(&v1, V1_S);
	EXPECT_LE(v1_pending(&v1), told);
	while ((pending = v1_pending(&v1))) {
		EXPECT_LE(pending, before);
		EXPECT_LE(done + pending, told);
		offset = v1_data_offset(&v1);
		size = v1_data_size(&v1);
		ASSERT_LE((u64)1, size);
		ASSERT_LE(size, pending);
		v1_window_read(&v1, offset, buf + done, size);
		done += size;
		before = pending - size;
	}
	EXPECT_LE((u64)done, told);
	/* The last bytes are END's. */
	EXPECT_EQ(VFIO_MIG_RECORD_END,
		  (int)buf[done - MIG_RECORD_SIZE(sizeof(struct vfio_mig_end))]);
	free(buf);
}

TEST_ALONE(chunks_any_size,
	"read in any pieces, and by addresses that go bad in the middle of a "
	"chunk, the stream is the same; written in any pieces it loads")
{
	static struct big whole, pieces;
	static const size_t sizes[] = { 1 << 20, 65536 + 3, 4096, 997 };
	struct iommu iommu = {};
	struct vf vf[2];
	unsigned int n;
	ssize_t got;
	size_t at;
	u8 *edge;
	int fd;

	open_both(vf, &iommu);
	big_alloc(&whole);
	big_alloc(&pieces);
	vf_write(&vf[0], FILL, 1);
	save_v2(&vf[0], &whole);
	for (n = 0; n < ARRAY_SIZE(sizes); n++) {
		th_context("%zu bytes", sizes[n]);
		run(&vf[0]);
		fd = vf_open_stream(&vf[0], VFIO_DEVICE_STATE_STOP_COPY);
		pieces.len = 0;
		do {
			got = read(fd, pieces.buf + pieces.len, sizes[n]);
			ASSERT_LE((ssize_t)0, got);
			pieces.len += got;
		} while (got);
		close(fd);
		EXPECT_EQ(whole.len, pieces.len);
		EXPECT_EQ(0, memcmp(whole.buf, pieces.buf, whole.len));

		vf_must_reset(&vf[1]);
		fd = vf_open_stream(&vf[1], VFIO_DEVICE_STATE_RESUMING);
		for (at = 0; at < pieces.len; at += got) {
			got = pieces.len - at < sizes[n] ? pieces.len - at :
							   sizes[n];
			ASSERT_EQ(0, state_write(fd, pieces.buf + at, got));
		}
		close(fd);
		expect_filled(&vf[1], 1);
		run(&vf[1]);
	}

	th_context("bad addresses");
	edge = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, (void *)edge);
	ASSERT_EQ(0, munmap(edge + 2 * 4096, 4096));
	run(&vf[0]);
	fd = vf_open_stream(&vf[0], VFIO_DEVICE_STATE_STOP_COPY);
	pieces.len = 0;
	do {
		/* 8001 bytes are good: then none are taken, or some pieces. */
		got = read(fd, edge + 191, 20000);
		if (got < 0) {
			ASSERT_EQ(EFAULT, errno);
			got = read(fd, edge + 191, 8001);
		}
		ASSERT_LE((ssize_t)1, got);
		ASSERT_LE(got, (ssize_t)8001);
		memcpy(pieces.buf + pieces.len, edge + 191, got);
		pieces.len += got;
		EXPECT_EQ((ssize_t)-1, read(fd, edge + 2 * 4096, 100));
		EXPECT_EQ(EFAULT, errno);
	} while (pieces.len < 700000);
	ASSERT_EQ(0, read_more(fd, &pieces, ROOM));
	close(fd);
	EXPECT_EQ(whole.len, pieces.len);
	EXPECT_EQ(0, memcmp(whole.buf, pieces.buf, whole.len));
}

TEST_ALONE(chunks_cancel,
	"whoever stops to read in the middle has a device that works as before, "
	"a data fd that is over, and a whole state the next time")
{
	static struct big big;
	static const size_t at[] = {
		0, 1, 100, 500, 5000, CHUNK_BYTES, 3 * CHUNK_BYTES + 77,
		(MIB << 20), (MIB << 20) + 500,
	};
	struct iommu iommu = {};
	struct vf vf[2];
	unsigned int n;
	struct v1 v1;
	u8 byte;
	int fd;

	open_both(vf, &iommu);
	big_alloc(&big);
	for (n = 0; n < ARRAY_SIZE(at); n++) {
		th_context("after %zu bytes", at[n]);
		vf_write(&vf[0], FILL, n);
		fd = vf_open_stream(&vf[0], VFIO_DEVICE_STATE_STOP_COPY);
		big.len = 0;
		ASSERT_EQ(0, read_more(fd, &big, at[n]));
		run(&vf[0]);
		EXPECT_EQ((ssize_t)-1, read(fd, &byte, 1));
		EXPECT_EQ(ENODEV, errno);
		close(fd);
		expect_filled(&vf[0], n);
		vf_write(&vf[0], FILL, n + 100);
		save_v2(&vf[0], &big);
		ASSERT_EQ(0, load_v2(&vf[1], &big));
		expect_filled(&vf[1], n + 100);
		run(&vf[0]);
		run(&vf[1]);

		/* v1: out of it, and into it again with the next session. */
		v1_open(&v1, &vf[0]);
		v1_go(&v1, V1_S);
		big.len = 0;
		collect(&v1, &big, at[n]);
		v1_go(&v1, V1_R);
		vf_write(&vf[0], FILL, n + 200);
		save_v1(&vf[0], &big);
		ASSERT_EQ(0, load_v1(&vf[1], &big));
		expect_filled(&vf[1], n + 200);
		run(&vf[0]);
		run(&vf[1]);
	}
}

TEST_ALONE(chunks_retracted,
	"a stop that is retracted in the middle of the chunks, and made again, "
	"gives a second sequence, which is what is loaded; while the device "
	"runs no chunk comes")
{
	static struct big big;
	static const size_t at[] = {
		0, 100, 5000, CHUNK_BYTES + 1, 3 * CHUNK_BYTES, MIB << 20,
	};
	struct iommu iommu = {};
	struct vf vf[2];
	unsigned int n;
	size_t len;
	struct v1 v1;

	open_both(vf, &iommu);
	big_alloc(&big);
	for (n = 0; n < ARRAY_SIZE(at); n++) {
		th_context("after %zu bytes", at[n]);
		vf_must_reset(&vf[0]);
		vf_must_reset(&vf[1]);
		vf_write(&vf[0], FILL, n);
		v1_open(&v1, &vf[0]);
		v1_go(&v1, V1_S);
		big.len = 0;
		collect(&v1, &big, at[n]);
		v1_go(&v1, V1_S | V1_R);
		vf_write(&vf[0], FILL, n + 100);
		/* No more than what has been made, then nothing. */
		len = big.len;
		if (n % 2) {
			collect(&v1, &big, ROOM);
			EXPECT_LE(big.len - len, (size_t)CHUNK_BYTES + 64);
			EXPECT_EQ((u64)0, v1_pending(&v1));
		}
		v1_go(&v1, V1_S);
		collect(&v1, &big, 2 * ROOM);
		ASSERT_EQ(0, n % 2 ? load_v1(&vf[1], &big) :
				     load_v2(&vf[1], &big));
		expect_filled(&vf[1], n + 100);
		run(&vf[1]);
		expect_filled(&vf[1], n + 100);
	}
}

TEST_ALONE(chunks_sequences,
	"a sequence that begins after another, whole or in the middle of its "
	"chunks, begins with a device that has nothing of that")
{
	static struct big one, two, both;
	struct iommu iommu = {};
	struct vf vf[2];
	unsigned int n, cut;
	struct v1 v1;

	open_both(vf, &iommu);
	big_alloc(&one);
	big_alloc(&two);
	big_alloc(&both);
	v1_open(&v1, &vf[0]);
	vf_write(&vf[0], FILL, 1);
	v1_go(&v1, V1_S);
	collect(&v1, &one, ROOM);
	v1_go(&v1, V1_S | V1_R);
	vf_write(&vf[0], FILL, 2);
	v1_go(&v1, V1_S);
	collect(&v1, &two, ROOM);
	for (n = 0; n <= END_AT + 1; n++) {
		th_context("after %u records", n);
		cut = record_at(&one, n);
		memcpy(both.buf, one.buf, cut);
		memcpy(both.buf + cut, two.buf, two.len);
		both.len = cut + two.len;
		vf_must_reset(&vf[1]);
		ASSERT_EQ(0, load_v2(&vf[1], &both));
		expect_filled(&vf[1], 2);
		run(&vf[1]);
		expect_filled(&vf[1], 2);
	}

	th_context("a second sequence that is cut");
	both.len -= 2 * CHUNK_BYTES;
	vf_must_reset(&vf[1]);
	ASSERT_EQ(0, load_v2(&vf[1], &both));
	EXPECT_EQ(-ENODATA,
		  vf_set_state(&vf[1], VFIO_DEVICE_STATE_RUNNING, NULL));
	vf_must_reset(&vf[1]);
	expect_empty(&vf[1]);
}

TEST_ALONE(chunks_truncated,
	"a stream that is cut anywhere is not a whole one: RESUMING cannot be "
	"left but by a reset, after which nothing of it is there")
{
	static struct big big, cut;
	struct iommu iommu = {};
	struct vf vf[2];
	unsigned int n;

	open_both(vf, &iommu);
	big_alloc(&big);
	vf_write(&vf[0], FILL, 77);
	save_v2(&vf[0], &big);
	for (n = 0; n < 3 * (END_AT + 1); n++) {
		cut = big;
		cut.len = record_at(&big, n / 3) + (n % 3 ? n % 3 * 16 - 1 : 0);
		th_context("cut at %zu of %zu", cut.len, big.len);
		ASSERT_EQ(0, load_v2(&vf[1], &cut));
		EXPECT_EQ(-ENODATA, vf_set_state(&vf[1],
						 VFIO_DEVICE_STATE_RUNNING,
						 NULL));
		EXPECT_STATE(VFIO_DEVICE_STATE_RESUMING, &vf[1]);
		vf_must_reset(&vf[1]);
		expect_empty(&vf[1]);
	}
	th_context("whole");
	ASSERT_EQ(0, load_v2(&vf[1], &big));
	expect_filled(&vf[1], 77);
	run(&vf[1]);
}

TEST_ALONE(chunks_damaged,
	"a chunk with one bit flipped is refused when it is there, whatever has "
	"been loaded before; the device is as after a reset")
{
	static struct big big;
	struct iommu iommu = {};
	struct vf vf[2];
	unsigned int n, seed = th_seed();
	size_t at, byte;
	u8 bit;
	int fd;

	open_both(vf, &iommu);
	big_alloc(&big);
	vf_write(&vf[0], FILL, 99);
	save_v2(&vf[0], &big);
	for (n = FIRST_CHUNK; n <= END_AT; n++) {
		at = record_at(&big, n);
		byte = at + sizeof(struct vfio_mig_record) +
		       th_dice(&seed, n < END_AT ? CHUNK_BYTES : 16);
		th_context("byte %zu, in record %u", byte, n);
		bit = 1 << th_dice(&seed, 8);
		big.buf[byte] ^= bit;
		EXPECT_EQ(-EBADMSG, load_fd(&vf[1], &big, &fd));
		expect_refused(&vf[1], -EBADMSG, fd);
		big.buf[byte] ^= bit;
	}
}

TEST_ALONE(chunks_forged,
	"a chunk that is missing, in the wrong place, too short or too long is "
	"refused although all sums are right; and so is a sequence without "
	"its registers, after all chunks have been loaded")
{
	static struct big big, bad;
	static u8 payload[CHUNK_BYTES + 16];
	struct iommu iommu = {};
	struct vf vf[2];
	u32 length;
	unsigned int n;
	int fd;

	open_both(vf, &iommu);
	big_alloc(&big);
	big_alloc(&bad);
	vf_write(&vf[0], FILL, 99);
	save_v2(&vf[0], &big);
	for (n = 0; n < CHUNKS; n++) {
		th_context("chunk %u is missing", n);
		forge(&big, &bad, n, 0, NULL, 0);
		EXPECT_EQ(-EINVAL, load_fd(&vf[1], &bad, &fd));
		expect_refused(&vf[1], -EINVAL, fd);
	}
	for (length = 0; length < 9; length += 8) {
		th_context("%u bytes of payload", length);
		forge(&big, &bad, 3, 1, payload, length);
		EXPECT_EQ(-EINVAL, load_fd(&vf[1], &bad, &fd));
		expect_refused(&vf[1], -EINVAL, fd);
	}
	th_context("a chunk too long");
	forge(&big, &bad, 3, 1, payload, CHUNK_BYTES + 9);
	EXPECT_EQ(-EINVAL, load_fd(&vf[1], &bad, &fd));
	expect_refused(&vf[1], -EINVAL, fd);
	th_context("in the wrong place");
	forge(&big, &bad, 3, 1, payload, 9);
	EXPECT_EQ(-EINVAL, load_fd(&vf[1], &bad, &fd));
	expect_refused(&vf[1], -EINVAL, fd);
	th_context("beyond the end");
	payload[2] = MIB << 4;
	forge(&big, &bad, BEHIND, 1, payload, 9);
	EXPECT_EQ(-EINVAL, load_fd(&vf[1], &bad, &fd));
	expect_refused(&vf[1], -EINVAL, fd);
	th_context("no registers");
	forge(&big, &bad, NO_REGS, 0, NULL, 0);
	EXPECT_EQ(-EINVAL, load_fd(&vf[1], &bad, &fd));
	expect_refused(&vf[1], -EINVAL, fd);
}

TEST_ALONE(chunks_unfit,
	"ballast is refused by a device without, at IDENTITY; by one of another "
	"size, and missing ballast by one with")
{
	static struct big big;
	struct iommu iommu = {};
	struct vf vf[2];
	int fd;

	open_both(vf, &iommu);
	big_alloc(&big);
	save_v2(&vf[0], &big);
	th_context("without");
	vf_reopen(&vf[1]);
	fd = vf_open_stream(&vf[1], VFIO_DEVICE_STATE_RESUMING);
	EXPECT_EQ(-EOPNOTSUPP, state_write(fd, big.buf, record_at(&big, 2)));
	close(fd);
	th_context("less");
	set_ballast(1);
	vf_reopen(&vf[1]);
	EXPECT_EQ(-EINVAL, load_v2(&vf[1], &big));
	th_context("more");
	set_ballast(MIB + 1);
	vf_reopen(&vf[1]);
	EXPECT_EQ(-EINVAL, load_v2(&vf[1], &big));
	th_context("of none");
	set_ballast(0);
	vf_reopen(&vf[0]);
	vf_must_reset(&vf[1]);
	save_v2(&vf[0], &big);
	EXPECT_EQ(-EINVAL, load_v2(&vf[1], &big));
	vf_reopen(&vf[1]);
	EXPECT_EQ(0, load_v2(&vf[1], &big));
}

TEST_ALONE(chunks_reset,
	"a reset in the middle of the chunks, out or in, ends the stream and "
	"leaves a fresh device")
{
	static struct big big;
	struct iommu iommu = {};
	struct vf vf[2];
	unsigned int n;
	u8 byte = 0;
	int fd;

	open_both(vf, &iommu);
	big_alloc(&big);
	for (n = 1; n < CHUNKS; n++) {
		th_context("after %u chunks", n);
		vf_write(&vf[0], FILL, n);
		fd = vf_open_stream(&vf[0], VFIO_DEVICE_STATE_STOP_COPY);
		big.len = 0;
		ASSERT_EQ(0, read_more(fd, &big, n * CHUNK_BYTES));
		vf_must_reset(&vf[0]);
		EXPECT_EQ((ssize_t)-1, read(fd, &byte, 1));
		EXPECT_EQ(ENODEV, errno);
		close(fd);
		expect_empty(&vf[0]);

		ASSERT_EQ(0, load_fd(&vf[1], &big, &fd));
		vf_must_reset(&vf[1]);
		EXPECT_EQ(-ENODEV, state_write(fd, &byte, 1));
		close(fd);
		EXPECT_STATE(VFIO_DEVICE_STATE_RUNNING, &vf[1]);
		expect_empty(&vf[1]);
	}
	th_context("closed in the middle");
	ASSERT_EQ(0, load_fd(&vf[1], &big, &fd));
	set_ballast(MIB);
	vf_reopen(&vf[1]);
	EXPECT_EQ(-ENODEV, state_write(fd, &byte, 1));
	close(fd);
	expect_empty(&vf[1]);
	set_ballast(0);
}

/* What a point fails with: nobody else does. */
#define FAILS	"fail=-EXDEV"

TEST_ALONE(chunks_fail_out,
	"a device that fails at a chunk, or before END: the stream can be read up "
	"to there, then fails until it is over; the device works on, and the "
	"next stream is whole")
{
	static struct big big;
	struct iommu iommu = {};
	unsigned int n;
	struct vf vf[2];
	struct v1 v1;
	int fd, ret;
	u64 value;

	open_both(vf, &iommu);
	big_alloc(&big);
	vf_write(&vf[0], FILL, 3);
	for (n = 1; n <= CHUNKS + 1; n++) {
		th_context("chunk %u, v2", n);
		if (n <= CHUNKS)
			fault_arm(&vf[0], "put-0x101", n, FAILS);
		else
			fault_arm(&vf[0], "sequence-end", 1, FAILS);
		fd = vf_open_stream(&vf[0], VFIO_DEVICE_STATE_STOP_COPY);
		big.len = 0;
		EXPECT_EQ(-EXDEV, read_more(fd, &big, ROOM));
		if (n <= CHUNKS)
			EXPECT_EQ(record_at(&big, FIRST_CHUNK + n - 1),
				  big.len);
		EXPECT_EQ(-EXDEV, read_more(fd, &big, 1));
		close(fd);
		ASSERT_EQ(0, load_v2(&vf[1], &big));
		EXPECT_EQ(-ENODATA, vf_set_state(&vf[1],
						 VFIO_DEVICE_STATE_RUNNING,
						 NULL));
		vf_must_reset(&vf[1]);
		run(&vf[0]);
		expect_filled(&vf[0], 3);

		th_context("chunk %u, v1", n);
		if (n <= CHUNKS)
			fault_arm(&vf[0], "backend-save", n + 1, FAILS);
		else
			fault_arm(&vf[0], "sequence-end", 1, FAILS);
		v1_open(&v1, &vf[0]);
		v1_go(&v1, V1_S);
		do {
			ASSERT_NE((u64)0, v1_pending(&v1));
			ret = v1_get(&v1, V1_FIELD(data_offset), &value);
			if (!ret)
				v1_data_size(&v1);
		} while (!ret);
		EXPECT_EQ(-EXDEV, ret);
		EXPECT_NE((u64)0, v1_pending(&v1));
		run(&vf[0]);
		expect_filled(&vf[0], 3);
	}
	th_context("at the end");
	save_v2(&vf[0], &big);
	ASSERT_EQ(0, load_v2(&vf[1], &big));
	expect_filled(&vf[1], 3);
}

TEST_ALONE(chunks_fail_in,
	"a device that fails to take a chunk is reset; if that fails, too, the "
	"next change of state finds it in ERROR, which a reset ends; if it "
	"is not the time for a reset, RESUMING waits for one")
{
	static struct big big;
	struct iommu iommu = {};
	unsigned int n;
	struct vf vf[2];
	int fd;

	open_both(vf, &iommu);
	big_alloc(&big);
	vf_write(&vf[0], FILL, 3);
	save_v2(&vf[0], &big);
	for (n = 1; n <= CHUNKS + 1; n++) {
		th_context("call %u", n);
		fault_arm(&vf[1], "backend-load", n, FAILS);
		EXPECT_EQ(-EXDEV, load_fd(&vf[1], &big, &fd));
		expect_refused(&vf[1], -EXDEV, fd);
	}
	th_context("no reset");
	fault_arm(&vf[1], "backend-load", 4, FAILS);
	fault_arm(&vf[1], "backend-reset", 2, FAILS);
	EXPECT_EQ(-EXDEV, load_v2(&vf[1], &big));
	EXPECT_EQ(-EXDEV,
		  vf_set_state(&vf[1], VFIO_DEVICE_STATE_RUNNING, NULL));
	EXPECT_STATE(VFIO_DEVICE_STATE_ERROR, &vf[1]);
	vf_must_reset(&vf[1]);
	EXPECT_STATE(VFIO_DEVICE_STATE_RUNNING, &vf[1]);
	expect_empty(&vf[1]);
	th_context("no reset now");
	fault_arm(&vf[1], "backend-load", 4, FAILS);
	fault_arm(&vf[1], "function-reset", 2, "fail=-EAGAIN");
	EXPECT_EQ(-EXDEV, load_v2(&vf[1], &big));
	EXPECT_EQ(-EXDEV,
		  vf_set_state(&vf[1], VFIO_DEVICE_STATE_RUNNING, NULL));
	EXPECT_STATE(VFIO_DEVICE_STATE_RESUMING, &vf[1]);
	vf_must_reset(&vf[1]);
	expect_empty(&vf[1]);
	fault_clear(&vf[1]);
	ASSERT_EQ(0, load_v2(&vf[1], &big));
	expect_filled(&vf[1], 3);
	run(&vf[1]);
}

/**
 * struct reader - reads a data fd beside changes of state
 * @fd: the fd
 * @big: what has been read
 * @ret: 0 at the end of the stream, or -errno
 */
struct reader {
	int fd;
	struct big big;
	int ret;
};

static void *read_beside(void *arg)
{
	struct reader *reader = arg;

	reader->ret = read_more(reader->fd, &reader->big, ROOM);
	return NULL;
}

TEST_ALONE(chunks_race,
	"a reader gets a whole stream, or is told that it is over, whatever "
	"becomes of the state meanwhile; no byte of it is wrong")
{
	static struct reader reader;
	static struct big whole;
	struct iommu iommu = {};
	unsigned int n, seed = th_seed(), cut = 0;
	pthread_t thread;
	struct vf vf[2];

	open_both(vf, &iommu);
	big_alloc(&reader.big);
	big_alloc(&whole);
	vf_write(&vf[0], FILL, 5);
	save_v2(&vf[0], &whole);
	run(&vf[0]);
	for (n = 0; n < 60; n++) {
		th_context("round %u", n);
		reader.fd = vf_open_stream(&vf[0], VFIO_DEVICE_STATE_STOP_COPY);
		reader.big.len = 0;
		ASSERT_EQ(0, pthread_create(&thread, NULL, read_beside,
					    &reader));
		usleep(th_dice(&seed, 30000));
		if (n % 3 == 2) {
			vf_must_reset(&vf[0]);
			vf_write(&vf[0], FILL, 5);
		} else {
			run(&vf[0]);
		}
		ASSERT_EQ(0, pthread_join(thread, NULL));
		close(reader.fd);
		EXPECT_TRUE(!reader.ret || reader.ret == -ENODEV);
		cut += reader.ret == -ENODEV;
		EXPECT_LE(reader.big.len, whole.len);
		if (!reader.ret)
			EXPECT_EQ(whole.len, reader.big.len);
		EXPECT_EQ(0, memcmp(whole.buf, reader.big.buf,
				    reader.big.len));
	}
	th_log("%u of %u streams were cut", cut, n);
	EXPECT_NE(0u, cut);
}
