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

#define PORT_BDF_SIZE	16

/* The port above a function's card; false: there is none. */
bool find_port(const char *bdf, char name[PORT_BDF_SIZE]);

/* The port is removed, with all that is behind it: 0 or -errno. */
int port_remove(const char *bdf);
/* And what has been removed is found again. */
int port_rescan(void);

/* Does the kernel handle what the port above a function tells of errors? */
bool port_has_aer(const char *bdf);

/*
 * A function reports an error (bits of the AER capability's status registers).
 * 0, or -errno: -ENOENT if this kernel cannot inject any, or had better not.
 */
int aer_inject(const char *bdf, u32 uncorrectable, u32 correctable);
/* As long as it is there it hides what the hardware itself reports. */
void aer_inject_end(void);

/*
 * After an error that is fatal the kernel resets the link, and its log says how that
 * went. Open the log before the error, and wait for the end of it; true: it worked.
 */
int aer_recovery_begin(void);
bool aer_recovery_end(int log, unsigned int timeout_ms);

#endif /* _VFIO_MIGRATION_PORT_H */
