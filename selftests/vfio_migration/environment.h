/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _VFIO_MIGRATION_ENVIRONMENT_H
#define _VFIO_MIGRATION_ENVIRONMENT_H

/*
 * Comments in the output: kernel, machine, functions. All that a result may
 * depend on, for those who read it elsewhere.
 */
void environment_describe(void);

#endif /* _VFIO_MIGRATION_ENVIRONMENT_H */
