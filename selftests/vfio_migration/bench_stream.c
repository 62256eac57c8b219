// SPDX-License-Identifier: GPL-2.0
/*
 * How fast a large state goes through the doors, against what read(2) can do: an
 * edu device with ballast, and /dev/edu_ceiling (driver/example). Lines that
 * scripts may look for:
 *
 *	# rate NAME MB_PER_SECOND PART_OF_THE_CEILING
 *
 * medians of the runs, each over the whole state. BENCH_MIB in the environment
 * says how large it is, BENCH_PIECE how many KiB are read at once.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "harness.h"
#include "v1.h"
#include "vfio.h"

#define PARAMETER	"/sys/module/%s/parameters/%s"
#define CEILING		"/dev/edu_ceiling"

#define SUM		0x1020
#define FILL		0x1018

#define RUNS		5

/**
 * struct bench - what is measured with
 * @mib: size of the state
 * @piece: bytes to be read at once
 * @buf: room for @piece bytes: a user who passes on what it reads
 * @stream: a whole stream
 * @len: bytes in it
 * @iommu: container
 * @vf: the device
 * @v1: its migration region
 */
struct bench {
	unsigned int mib;
	size_t piece;
	u8 *buf;
	u8 *stream;
	size_t len;
	struct iommu iommu;
	struct vf vf;
	struct v1 v1;
};

static unsigned int setting(const char *name, unsigned int value)
{
	const char *text = getenv(name);

	return text ? strtoul(text, NULL, 0) : value;
}

static void set_parameter(const char *module, const char *name,
			  unsigned int value)
{
	char path[128];
	FILE *file;

	snprintf(path, sizeof(path), PARAMETER, module, name);
	file = fopen(path, "we");
	if (!file)
		th_skip("%s is not there", path);
	fprintf(file, "%u\n", value);
	ASSERT_EQ(0, fclose(file));
}

static double now(void)
{
	return time_ns() * 1e-9;
}

static u8 *memory(size_t size)
{
	u8 *at = mmap(NULL, size, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	ASSERT_NE(MAP_FAILED, (void *)at);
	return at;
}

static void read_all(struct bench *bench, int fd)
{
	ssize_t got;

	do {
		got = read(fd, bench->buf, bench->piece);
		ASSERT_LE((ssize_t)0, got);
	} while (got);
}

/* Each gives the time that one run took, in seconds. */
static double ceiling(struct bench *bench)
{
	int fd = open(CEILING, O_RDONLY | O_CLOEXEC);
	double began;

	ASSERT_LE(0, fd);
	began = now();
	read_all(bench, fd);
	began = now() - began;
	close(fd);
	return began;
}

static double v2_read(struct bench *bench)
{
	int fd = vf_open_stream(&bench->vf, VFIO_DEVICE_STATE_STOP_COPY);
	double began = now();

	read_all(bench, fd);
	began = now() - began;
	close(fd);
	ASSERT_EQ(0, vf_set_state(&bench->vf, VFIO_DEVICE_STATE_RUNNING, NULL));
	return began;
}

static double v1_read_by(struct bench *bench, enum v1_by by)
{
	struct v1 *v1 = &bench->v1;
	u64 offset, size;
	double began;

	v1->by = by;
	v1_go(v1, V1_S);
	began = now();
	while (v1_pending(v1)) {
		offset = v1_data_offset(v1);
		size = v1_data_size(v1);
		v1_window_read(v1, offset, bench->buf, size);
	}
	began = now() - began;
	v1_go(v1, V1_R);
	return began;
}

static double v1_mmap(struct bench *bench)
{
	return v1_read_by(bench, V1_BY_MMAP);
}

static double v1_pread(struct bench *bench)
{
	return v1_read_by(bench, V1_BY_RW);
}

static double v2_write(struct bench *bench)
{
	int fd = vf_open_stream(&bench->vf, VFIO_DEVICE_STATE_RESUMING);
	double began = now();
	size_t at, bytes;

	for (at = 0; at < bench->len; at += bytes) {
		bytes = bench->len - at < bench->piece ? bench->len - at :
							 bench->piece;
		ASSERT_EQ(0, state_write(fd, bench->stream + at, bytes));
	}
	began = now() - began;
	close(fd);
	ASSERT_EQ(0, vf_set_state(&bench->vf, VFIO_DEVICE_STATE_RUNNING, NULL));
	return began;
}

static double v1_write_by(struct bench *bench, enum v1_by by)
{
	double began;

	bench->v1.by = by;
	v1_go(&bench->v1, V1_M);
	began = now();
	ASSERT_EQ(0, v1_feed(&bench->v1, bench->stream, bench->len, 0));
	began = now() - began;
	v1_go(&bench->v1, V1_R);
	return began;
}

static double v1_mmap_write(struct bench *bench)
{
	return v1_write_by(bench, V1_BY_MMAP);
}

static double v1_pwrite(struct bench *bench)
{
	return v1_write_by(bench, V1_BY_RW);
}

/* Its parts: the driver goes through the memory once, for a checksum ... */
static double crc32c_once(struct bench *bench)
{
	double began = now();

	vf_read(&bench->vf, SUM);
	return now() - began;
}

/* ... and it is copied once, here by user space. */
static double memcpy_once(struct bench *bench)
{
	double began = now();
	size_t at;

	for (at = 0; at + bench->piece <= bench->len; at += bench->piece)
		memcpy(bench->buf, bench->stream + at, bench->piece);
	return now() - began;
}

static const struct {
	const char *name;
	double (*run)(struct bench *bench);
	bool maps;
} kinds[] = {
	{ "ceiling", ceiling, false },
	{ "v2_read", v2_read, false },
	{ "v1_mmap", v1_mmap, true },
	{ "v1_pread", v1_pread, false },
	{ "v2_write", v2_write, false },
	{ "v1_mmap_write", v1_mmap_write, true },
	{ "v1_pwrite", v1_pwrite, false },
	{ "crc32c_once", crc32c_once, false },
	{ "memcpy_once", memcpy_once, false },
};

#define KINDS	ARRAY_SIZE(kinds)

static int by_size(const void *a, const void *b)
{
	double one = *(const double *)a, other = *(const double *)b;

	return one < other ? -1 : one > other;
}

static void bench_open(struct bench *bench)
{
	ssize_t got;
	int fd;

	bench->mib = setting("BENCH_MIB", 16);
	bench->piece = setting("BENCH_PIECE", 1024) << 10;
	set_parameter("edu_ceiling", "mib", bench->mib);
	set_parameter("edu_vfio_pci", "ballast", bench->mib);
	vf_open(&bench->vf, &bench->iommu, vf_bdf[0]);
	set_parameter("edu_vfio_pci", "ballast", 0);
	v1_open(&bench->v1, &bench->vf);
	v1_map(&bench->v1);
	bench->buf = memory(bench->piece > bench->v1.size ? bench->piece :
							    bench->v1.size);
	bench->stream = memory((size_t)(bench->mib + 1) << 20);
	vf_write(&bench->vf, FILL, 1);
	fd = vf_open_stream(&bench->vf, VFIO_DEVICE_STATE_STOP_COPY);
	do {
		got = read(fd, bench->stream + bench->len, bench->piece);
		ASSERT_LE((ssize_t)0, got);
		bench->len += got;
	} while (got);
	close(fd);
	ASSERT_EQ(0, vf_set_state(&bench->vf, VFIO_DEVICE_STATE_RUNNING, NULL));
}

TEST_ALONE(throughput,
	"a large state is saved and loaded through each door; how fast, and how "
	"fast read(2) is")
{
	static struct bench bench;
	static double took[KINDS][RUNS];
	unsigned int kind, n;
	double rate, best;

	bench_open(&bench);
	/* In turns, so that what else the machine does hits all alike. */
	for (n = 0; n < RUNS; n++)
		for (kind = 0; kind < KINDS; kind++)
			if (!kinds[kind].maps || bench.v1.map)
				took[kind][n] = kinds[kind].run(&bench);
	th_log("%u MiB, %zu KiB at once, %u runs", bench.mib, bench.piece >> 10,
	       RUNS);
	best = 0;
	for (kind = 0; kind < KINDS; kind++) {
		if (kinds[kind].maps && !bench.v1.map)
			continue;
		qsort(took[kind], RUNS, sizeof(double), by_size);
		rate = bench.mib * 1.048576 / took[kind][RUNS / 2];
		if (!kind)
			best = rate;
		th_log("rate %s %.0f %.2f", kinds[kind].name, rate,
		       rate / best);
	}
}
