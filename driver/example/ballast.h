/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Memory that the edu device is given by the example, so that its state can be as
 * large as that of a device with memory of its own: see ballast.c.
 */
#ifndef _EDU_BALLAST_H
#define _EDU_BALLAST_H

#include "../core/vfio_pci_migration.h"

/* Bytes of memory in a chunk, but for the last one. */
#define EDU_BALLAST_CHUNK	SZ_256K

/**
 * struct edu_chunk - a chunk of the device state
 * @at: where in the memory it belongs: behind the chunk before
 * @data: content
 */
struct edu_chunk {
	__le64 at;
	u8 data[];
};

/**
 * struct edu_ballast - the memory of a device
 * @data: its content
 * @size: bytes; 0: there is none
 * @at: where the user accesses it
 * @saved: bytes that have been saved since saving began
 * @loaded: bytes that have been loaded since the last reset
 */
struct edu_ballast {
	u8 *data;
	size_t size;
	u32 at;
	size_t saved;
	size_t loaded;
};

int edu_ballast_open(struct edu_ballast *ballast);
void edu_ballast_close(struct edu_ballast *ballast);
void edu_ballast_reset(struct edu_ballast *ballast);
u32 edu_ballast_chunks(const struct edu_ballast *ballast);
int edu_ballast_save(struct edu_ballast *ballast, struct mig_encoder *enc,
		     u16 type);
int edu_ballast_load(struct edu_ballast *ballast, const void *payload,
		     u32 length);
bool edu_ballast_read(const struct edu_ballast *ballast, u32 offset,
		      u32 *value);
bool edu_ballast_write(struct edu_ballast *ballast, u32 offset, u32 value,
		       bool quiet);

#endif /* _EDU_BALLAST_H */
