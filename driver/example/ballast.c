// SPDX-License-Identifier: GPL-2.0
/*
 * Ballast for the edu device: memory that is state, as much as the parameter says.
 * The hardware knows nothing of it. The user reaches it by registers that the
 * hardware does not have:
 *
 *	0x1000	RO  bytes of memory; 0 without ballast
 *	0x1008	RW  address, multiple of 4
 *	0x1010	RW  the dword at that address
 *	0x1018	WO  fill: dword n becomes the value + n * 0x9e3779b1
 *	0x1020	RO  CRC32C of all of the memory
 *
 * While the device is quiet the memory is as it will be saved: what is written to
 * it is lost.
 */
#include <linux/crc32c.h>
#include <linux/module.h>
#include <linux/sizes.h>
#include <linux/vmalloc.h>

#include "ballast.h"

#define EDU_BALLAST_SIZE	0x1000
#define EDU_BALLAST_AT		0x1008
#define EDU_BALLAST_DATA	0x1010
#define EDU_BALLAST_FILL	0x1018
#define EDU_BALLAST_SUM		0x1020

#define EDU_BALLAST_STEP	0x9e3779b1

/* EDU_BALLAST_SIZE has 32 bits. */
#define EDU_BALLAST_MAX		4095

static unsigned int edu_ballast_mib;
module_param_named(ballast, edu_ballast_mib, uint, 0644);
MODULE_PARM_DESC(ballast, "MiB of memory that a device gets when it is opened (default 0)");

/**
 * edu_ballast_open - allocate the memory
 * @ballast: of the device
 *
 * Return: 0, -EINVAL or -ENOMEM.
 */
int edu_ballast_open(struct edu_ballast *ballast)
{
	unsigned int mib = READ_ONCE(edu_ballast_mib);

	memset(ballast, 0, sizeof(*ballast));
	if (!mib)
		return 0;
	if (mib > EDU_BALLAST_MAX)
		return -EINVAL;
	ballast->data = __vmalloc((size_t)mib * SZ_1M,
				  GFP_KERNEL_ACCOUNT | __GFP_ZERO);
	if (!ballast->data)
		return -ENOMEM;
	ballast->size = (size_t)mib * SZ_1M;
	return 0;
}

/**
 * edu_ballast_close - free it
 * @ballast: of the device
 */
void edu_ballast_close(struct edu_ballast *ballast)
{
	vfree(ballast->data);
	memset(ballast, 0, sizeof(*ballast));
}

/**
 * edu_ballast_reset - as that of a fresh device
 * @ballast: of the device
 */
void edu_ballast_reset(struct edu_ballast *ballast)
{
	if (ballast->size)
		memset(ballast->data, 0, ballast->size);
	ballast->at = 0;
	ballast->loaded = 0;
}

/**
 * edu_ballast_chunks - how many chunks it takes
 * @ballast: of the device
 *
 * Return: their number.
 */
u32 edu_ballast_chunks(const struct edu_ballast *ballast)
{
	return DIV_ROUND_UP(ballast->size, EDU_BALLAST_CHUNK);
}

/**
 * edu_ballast_save - write the next chunk
 * @ballast: of the device, @saved bytes of which have been written
 * @enc: as given to @save_chunk
 * @type: type of the record
 *
 * Return: as @save_chunk.
 */
int edu_ballast_save(struct edu_ballast *ballast, struct mig_encoder *enc,
		     u16 type)
{
	size_t bytes = min_t(size_t, ballast->size - ballast->saved,
			     EDU_BALLAST_CHUNK);
	struct edu_chunk *out;
	int ret;

	if (!bytes)
		return 0;
	/* Put it where it will be sent from: this may be gigabytes. */
	out = vfio_pci_mig_space(enc, sizeof(*out) + bytes);
	if (!out)
		return -ENOSPC;
	out->at = cpu_to_le64(ballast->saved);
	memcpy(out->data, ballast->data + ballast->saved, bytes);
	ret = vfio_pci_mig_put_record(enc, type, VFIO_MIG_RECORD_REQUIRED, out,
				      sizeof(*out) + bytes);
	if (ret)
		return ret;
	ballast->saved += bytes;
	return ballast->saved < ballast->size;
}

/**
 * edu_ballast_load - take the next chunk
 * @ballast: of the device
 * @payload: what has come
 * @length: bytes, not less than the minimum of the record
 *
 * Return: 0; -EINVAL if it is not the next one, or too much.
 */
int edu_ballast_load(struct edu_ballast *ballast, const void *payload,
		     u32 length)
{
	const struct edu_chunk *in = payload;
	size_t bytes = length - sizeof(*in);

	if (le64_to_cpu(in->at) != ballast->loaded ||
	    bytes > ballast->size - ballast->loaded)
		return -EINVAL;
	memcpy(ballast->data + ballast->loaded, in->data, bytes);
	ballast->loaded += bytes;
	return 0;
}

/**
 * edu_ballast_read - the user reads a register
 * @ballast: of the device
 * @offset: of the register
 * @value: receives what it reads as
 *
 * Return: true if it is one of these here.
 */
bool edu_ballast_read(const struct edu_ballast *ballast, u32 offset, u32 *value)
{
	switch (offset) {
	case EDU_BALLAST_SIZE:
		*value = ballast->size;
		return true;
	case EDU_BALLAST_AT:
		*value = ballast->at;
		return true;
	case EDU_BALLAST_DATA:
		*value = 0;
		if (ballast->at < ballast->size)
			memcpy(value, ballast->data + ballast->at,
			       sizeof(*value));
		return true;
	case EDU_BALLAST_SUM:
		*value = ~crc32c(~0u, ballast->data, ballast->size);
		return true;
	case EDU_BALLAST_FILL:
		*value = 0;
		return true;
	default:
		return false;
	}
}

static void edu_ballast_fill(struct edu_ballast *ballast, u32 value)
{
	u32 *word = (u32 *)ballast->data;
	size_t n;

	for (n = 0; n < ballast->size / sizeof(*word); n++) {
		word[n] = value;
		value += EDU_BALLAST_STEP;
	}
}

/**
 * edu_ballast_write - the user writes a register
 * @ballast: of the device
 * @offset: of the register
 * @value: what is written
 * @quiet: the device is quiet
 *
 * Return: true if it is one of these here.
 */
bool edu_ballast_write(struct edu_ballast *ballast, u32 offset, u32 value,
		       bool quiet)
{
	switch (offset) {
	case EDU_BALLAST_AT:
		ballast->at = round_down(value, sizeof(u32));
		return true;
	case EDU_BALLAST_DATA:
		if (!quiet && ballast->at < ballast->size)
			memcpy(ballast->data + ballast->at, &value,
			       sizeof(value));
		return true;
	case EDU_BALLAST_FILL:
		if (!quiet)
			edu_ballast_fill(ballast, value);
		return true;
	default:
		return offset == EDU_BALLAST_SIZE || offset == EDU_BALLAST_SUM;
	}
}
