/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * The v1 migration region with the NDMA bit: the device-specific region of
 * Linux 5.8 to 5.17, which linux/vfio.h now calls deprecated, as it was to be
 * clarified by the RFC "vfio: Update/Clarify migration uAPI, add NDMA state"
 * (December 2021). To be included beside <linux/vfio.h> of any age; names
 * nothing that any version of it names, but for one capability id.
 */
#ifndef _UAPI_VFIO_PCI_MIGRATION_V1_H
#define _UAPI_VFIO_PCI_MIGRATION_V1_H

#include <linux/types.h>

/* VFIO_REGION_INFO_CAP_TYPE of the region. */
#define VFIO_MIG_V1_REGION_TYPE		3
#define VFIO_MIG_V1_REGION_SUBTYPE	1

/*
 * Capability in the region's info: device_state has the NDMA bit. Version 1,
 * a header without data.
 */
#ifndef VFIO_REGION_INFO_CAP_MIG_NDMA
#define VFIO_REGION_INFO_CAP_MIG_NDMA	6
#endif

/**
 * struct vfio_mig_v1_info - what the region begins with
 * @device_state: VFIO_MIG_V1_*; a write returns when the transition is done
 * @reserved: reads 0, writes are ignored
 * @pending_bytes: RO, saving: bytes still to be collected; reading it
 *	acknowledges a segment whose @data_size has been read. 0 while RUNNING:
 *	nothing now; 0 otherwise: end of the stream
 * @data_offset: RO: where in the region the segment is, or belongs; while
 *	saving, reading it makes a segment available
 * @data_size: saving, RO: bytes of the segment. Resuming, WO: so many bytes
 *	have been placed at @data_offset; consumes them
 *
 * Where there is no stream in that direction, @pending_bytes reads 0, and
 * @data_offset and @data_size are refused with -EINVAL. So is what is RO or WO.
 *
 * Fields are accessed at their own width and offset only; anything else is
 * refused with -EINVAL and changes nothing. The data window begins at a page
 * boundary behind; it takes accesses of any width and alignment, and can be
 * mapped where the region has a sparse mmap capability.
 */
struct vfio_mig_v1_info {
	__u32 device_state;
	__u32 reserved;
	__u64 pending_bytes;
	__u64 data_offset;
	__u64 data_size;
};

/*
 * Valid are all combinations but those with SAVING and RESUMING, or RUNNING
 * and RESUMING. NDMA without RUNNING changes nothing. Every valid state can be
 * reached from every other by one write.
 */
#define VFIO_MIG_V1_RUNNING		(1 << 0)
#define VFIO_MIG_V1_SAVING		(1 << 1)
#define VFIO_MIG_V1_RESUMING		(1 << 2)
/* No DMA and no interrupt any more, and all earlier ones have arrived. */
#define VFIO_MIG_V1_NDMA		(1 << 3)

/* Can be read, never written. Left by VFIO_DEVICE_RESET or close only. */
#define VFIO_MIG_V1_ERROR		(VFIO_MIG_V1_SAVING | VFIO_MIG_V1_RESUMING)

#endif /* _UAPI_VFIO_PCI_MIGRATION_V1_H */
