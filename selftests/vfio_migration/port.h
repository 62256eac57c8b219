/* SPDX-License-Identifier: GPL-2.0 */
/* How a function goes away that nobody has let go, and reports errors. */
#ifndef _VFIO_MIGRATION_PORT_H
#define _VFIO_MIGRATION_PORT_H

#include "driver/core/plain.h"

/*
 * The VFs of a function's PF do not answer any more, and then again, as after a
 * reset. Nobody has told the kernel.
 */
void vfs_vanish(const char *bdf);
void vfs_return(const char *bdf);

/* The card loses its power, and the kernel is not told. It never comes back. */
void port_power_off(const char *bdf);

/* The port is removed, with all that is behind it: 0 or -errno. */
int port_remove(const char *bdf);
/* And what has been removed is found again. */
int port_rescan(void);

/*
 * A function reports an error (bits of the AER capability's status registers).
 * 0, or -errno: -ENOENT if this kernel cannot inject any.
 */
int aer_inject(const char *bdf, u32 uncorrectable, u32 correctable);

#endif /* _VFIO_MIGRATION_PORT_H */
