/* SPDX-License-Identifier: GPL-2.0 */
/*
 * VFIO as these tests need it: a type1 container, one or two functions, the
 * migration features. Functions that fail return -errno; the ones that have
 * nothing to return end the test instead.
 */
#ifndef _VFIO_MIGRATION_VFIO_H
#define _VFIO_MIGRATION_VFIO_H

#include <linux/vfio.h>

#include "driver/core/plain.h"
#include "device.h"

#define STATES		(VFIO_DEVICE_STATE_PRE_COPY_P2P + 1)
#define VECTORS		3
#define DMA_IOVA	0x10000000ull
#define DMA_SIZE	(1u << 20)

/**
 * struct iommu - a container with memory that devices can reach
 * @fd: /dev/vfio/vfio
 * @mem: DMA_SIZE bytes, at DMA_IOVA for the devices
 */
struct iommu {
	int fd;
	u8 *mem;
};

/**
 * struct vf - a function
 * @bdf: its address
 * @iommu: its container
 * @group: group fd
 * @fd: device fd
 * @bar: offset of BAR0 in @fd
 * @bar_size: its size
 * @config: offset of config space in @fd
 * @rings: mapping of the part of BAR0 that can be mapped; or NULL
 * @rings_at: where that part begins
 * @rings_size: its size
 * @event: MSI-X eventfds
 */
struct vf {
	const char *bdf;
	struct iommu *iommu;
	int group;
	int fd;
	u64 bar;
	u64 bar_size;
	u64 config;
	volatile u8 *rings;
	u64 rings_at;
	u64 rings_size;
	int event[VECTORS];
};

/* Open both, or only one, with a container of their own. RUNNING. */
void vf_open(struct vf *vf, struct iommu *iommu, const char *bdf);
void vf_open_both(struct vf vf[2], struct iommu *iommu);
/*
 * Only the function, without memory, if it can be had now: a driver may not have it
 * yet, or be about to let it go.
 */
bool vf_try_open(struct vf *vf, struct iommu *iommu, const char *bdf);
void vf_reopen(struct vf *vf);		/* close the device fd and open it again */
void vf_close_device(struct vf *vf);
void vf_close(struct vf *vf);		/* the group, too */

/**
 * struct vf_region - what VFIO says about a region
 * @info: the fixed part
 * @bytes: the same, with capabilities behind
 */
struct vf_region {
	union {
		struct vfio_region_info info;
		u8 bytes[512] __attribute__((aligned(8)));
	};
};

void vf_region_info(struct vf *vf, u32 index, struct vf_region *region);
/* A capability of the region, or NULL. */
const void *vf_region_cap(const struct vf_region *region, u16 id);

/* VFIO_DEVICE_FEATURE; @size bytes of @payload. 0 or -errno. */
int vf_feature(struct vf *vf, u32 flags, void *payload, size_t size);
int vf_feature_argsz(struct vf *vf, u32 flags, void *payload, size_t size,
		     u32 argsz);
u64 vf_migration_flags(struct vf *vf);
u64 vf_data_size(struct vf *vf);

/*
 * State. vf_set_state() gives the data fd, or -1 for none, in @fd; without
 * @fd it closes it.
 */
int vf_set_state(struct vf *vf, u32 state, int *fd);
int vf_open_stream(struct vf *vf, u32 state);	/* the data fd */
int vf_get_state(struct vf *vf);
int vf_reset(struct vf *vf);
void vf_must_reset(struct vf *vf);	/* or the test ends */
void vf_flr(struct vf *vf);		/* the bit in the PCIe capability */
bool vf_state_offered(struct vf *vf, u32 state);
const char *state_name(u32 state);

/* Expect a state; assert it where a driver that is wrong might crash later. */
#define EXPECT_STATE(_state, _vf)	EXPECT_EQ((int)(_state), vf_get_state(_vf))
#define ASSERT_STATE(_state, _vf)	ASSERT_EQ((int)(_state), vf_get_state(_vf))

/* BAR0 through read(2) and write(2), and through the mapping. */
u32 vf_read(struct vf *vf, u32 offset);
void vf_write(struct vf *vf, u32 offset, u32 value);
bool vf_try_map_rings(struct vf *vf);	/* false: this host cannot */
void vf_map_rings(struct vf *vf);	/* skips the test if it cannot */
void vf_unmap_rings(struct vf *vf);
u32 vf_mread(struct vf *vf, u32 offset);
void vf_mwrite(struct vf *vf, u32 offset, u32 value);

/*
 * An eventfd that VFIO signals when an uncorrectable error of the function has
 * been reported; did it within the time?
 */
int vf_error_event(struct vf *vf);
bool wait_event(int event, int timeout_ms);

/* Config space as the user has it, and as the function has it. */
u16 vf_config_read(struct vf *vf, u32 offset);
void vf_config_write(struct vf *vf, u32 offset, u16 value);
u16 vf_real_command(struct vf *vf);

/* MSI-X with one eventfd for each vector. */
void vf_enable_interrupts(struct vf *vf);
/* Take them off, and on again: the same eventfds. */
void vf_disarm_interrupts(struct vf *vf);
void vf_arm_interrupts(struct vf *vf);
/* How many since it was last asked; of one vector, of all. */
u64 vf_interrupts(struct vf *vf, unsigned int vector);
u64 vf_all_interrupts(struct vf *vf);
bool vf_wait_interrupt(struct vf *vf, unsigned int vector, int timeout_ms);

/* Type1 mappings: 0 or -errno. */
int iommu_map(struct iommu *iommu, volatile void *vaddr, u64 iova, u64 size);
int iommu_unmap(struct iommu *iommu, u64 iova, u64 size);

/*
 * Another process does something that waits for @vf, which is open, to be closed.
 * aside_begin() returns when it waits, aside_end() when it is done.
 */
pid_t aside_begin(struct vf *vf, int (*what)(const char *bdf));
void aside_end(pid_t pid);
/* It unbinds the function, and binds it again. */
pid_t unbind_begin(struct vf *vf);
void unbind_end(pid_t pid);

/* Is this kernel of that version, or newer? For what older ones cannot have. */
bool kernel_since(unsigned int major, unsigned int minor);

/* Unload a module, without waiting: 0 or -errno. */
int module_unload(const char *name);

void sleep_ms(unsigned int ms);
u64 time_ms(void);
u64 time_ns(void);

#endif /* _VFIO_MIGRATION_VFIO_H */
