/* SPDX-License-Identifier: GPL-2.0 */
/* What an administrator does with the physical function of a virtual one. */
#ifndef _VFIO_MIGRATION_PF_H
#define _VFIO_MIGRATION_PF_H

#include <net/if.h>
#include <stdbool.h>

#define PF_MAC_SIZE	18	/* of an address in text */

/* The name of the PF's network interface; false: it has none. */
bool pf_interface(const char *bdf, char name[IFNAMSIZ]);

/* The address of the VF, as the PF has it. */
bool pf_get_vf_mac(const char *bdf, char mac[PF_MAC_SIZE]);
bool pf_set_vf_mac(const char *bdf, const char *mac);

#endif /* _VFIO_MIGRATION_PF_H */
