/* SPDX-License-Identifier: GPL-2.0 */
/* What an administrator does with the physical function (PF) of a virtual one. */
#ifndef _VFIO_MIGRATION_PF_H
#define _VFIO_MIGRATION_PF_H

#include <net/if.h>
#include <stdbool.h>

#define PF_MAC_SIZE	18	/* of an address in text */

/* The PF's address, as text. */
#define PF_BDF_SIZE	16
bool pf_bdf(const char *bdf, char pf[PF_BDF_SIZE]);

/* The name of the PF's network interface; false: it has none. */
bool pf_interface(const char *bdf, char name[IFNAMSIZ]);

/* The address of the VF, as the PF has it. */
bool pf_get_vf_mac(const char *bdf, char mac[PF_MAC_SIZE]);
bool pf_set_vf_mac(const char *bdf, const char *mac);

/* Its interface goes up or down. */
bool pf_set_link(const char *bdf, bool up);
/* Has it a link, within the time? */
bool pf_wait_link(const char *bdf, unsigned int timeout_ms);

/* These return 0 or -errno, and may have to wait for a user of the VF. */
int pf_reset(const char *bdf);
int pf_unbind(const char *bdf);
int pf_remove(const char *bdf);
int pf_unload(const char *bdf);

#endif /* _VFIO_MIGRATION_PF_H */
