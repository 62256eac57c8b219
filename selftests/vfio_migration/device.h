/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The functions under test as sysfs has them: PCI functions, or mediated
 * devices, which have a UUID for an address.
 */
#ifndef _VFIO_MIGRATION_DEVICE_H
#define _VFIO_MIGRATION_DEVICE_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

/*
 * In the order of the command line. Without the second one, NULL, tests that
 * need it skip.
 */
extern const char *vf_bdf[2];

/*
 * What a test may need. vf_need_*() skip it, with a reason:
 * both: two functions.
 * pci: a PCI function, such as for binding.
 * igbvf: an 82576 VF; the nic of igbvf.h needs it, and who has no nic asks.
 * core: a driver upon vfio_pci_migration. Others keep to linux/vfio.h, too, but
 *	it leaves something open: which errno, when a stream is judged, polling.
 */
bool vf_is_igbvf(void);
bool vf_has_core(void);
void vf_need_both(void);
void vf_need_pci(void);
void vf_need_igbvf(void);
void vf_need_core(void);

/* Is there a device of that address? */
bool bdf_exists(const char *bdf);
bool bdf_is_pci(const char *bdf);
/* The path of an attribute. */
void bdf_path(const char *bdf, const char *name, char path[PATH_MAX]);
/* Where a link leads to, without the way there; "" if there is none. */
void bdf_link(const char *bdf, const char *name, char *target, size_t size);

/* Write a file of sysfs, or an attribute of a device: 0 or -errno. */
int sysfs_write(const char *path, const char *value);
int bdf_write(const char *bdf, const char *name, const char *value);

/* Driver binding. */
int bdf_unbind(const char *bdf);
int bdf_bind(const char *bdf, const char *driver);
void bdf_driver(const char *bdf, char *name, size_t size);

#endif /* _VFIO_MIGRATION_DEVICE_H */
