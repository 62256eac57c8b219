/* SPDX-License-Identifier: GPL-2.0 */
/* What the command line says to tests. */
#ifndef _VFIO_MIGRATION_MAIN_H
#define _VFIO_MIGRATION_MAIN_H

/* Brings the machine back to what the program has found; or NULL. */
extern const char *setup_command;

/* Makes the hardware of a device report an error: COMMAND BDF ERROR; or NULL. */
extern const char *error_command;

#endif /* _VFIO_MIGRATION_MAIN_H */
