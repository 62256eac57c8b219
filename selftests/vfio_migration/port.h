/* SPDX-License-Identifier: GPL-2.0 */
/* The port above the card of a function, and how a card fails as a whole. */
#ifndef _VFIO_MIGRATION_PORT_H
#define _VFIO_MIGRATION_PORT_H

#include <stdbool.h>

#include "../../driver/core/plain.h"

#define PORT_BDF_SIZE	16

/**
 * struct port - a root port
 * @bdf: its address
 * @config: its config space
 * @bus: the bus behind it
 * @command: COMMAND, while it works
 */
struct port {
	char bdf[PORT_BDF_SIZE];
	int config;
	u8 bus;
	u16 command;
};

void port_open(struct port *port, const char *bdf);
/*
 * The card does not answer any more, and then again: the port forwards nothing
 * to it. The kernel knows nothing of it. Not for long: the PF's driver finds out,
 * and what the card sends meanwhile has a wrong sender.
 */
void port_cut(struct port *port);
void port_mend(struct port *port);
/* The card loses its power. It never comes back. */
void port_power_off(struct port *port);

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
