#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Prepare PCI functions for the tests; cleanup.sh undoes it.
#
#	setup.sh [-d DRIVER] BDF...
#
# A BDF is that of the function to be tested, or of a PF: then its first VF is
# tested, and made if there is none. The VFs of two PFs get the same address, as
# those of the source and the destination host of one guest have. All that is
# changed is noted before.
set -eu

. "$(dirname -- "$0")/lib.sh"

ADDRESS=02:76:66:69:6f:01
DRIVER=igbvf-vfio-pci
LINK_LIMIT=20

# load MODULE: notes it, and what it will take along, if they are not there yet
load() {
	modprobe --show-depends "$1" | while read -r how file _; do
		[ "$how" = insmod ] || continue
		module=$(basename "${file%%.ko*}" | tr - _)
		[ -d "/sys/module/$module" ] || echo "$module" >>"$MODULES"
	done
	say modprobe "$1"
}

# Prints nothing but what it does: the VF is virtfn0 then.
setup_pf() {
	pf=$1
	notes=$PFS_DIR/$pf
	[ ! -d "$notes" ] || die "$pf has been set up already"
	mkdir -p "$notes"
	name=$(netdev "$pf")
	[ "$name" ] || die "$pf has no network interface"

	cat "/sys/class/net/$name/flags" >"$notes/flags"
	say ip link set "$name" up
	waited=0
	while [ "$(cat "/sys/class/net/$name/carrier" 2>/dev/null)" != 1 ]; do
		waited=$((waited + 1))
		[ $waited -le $((LINK_LIMIT * 10)) ] || die "$name has no link"
		sleep 0.1
	done

	cat "$PCI/$pf/sriov_drivers_autoprobe" >"$notes/autoprobe"
	write_to "$PCI/$pf/sriov_drivers_autoprobe" 0
	cat "$PCI/$pf/sriov_numvfs" >"$notes/numvfs"
	if [ "$(cat "$notes/numvfs")" = 0 ]; then
		write_to "$PCI/$pf/sriov_numvfs" 1
	fi
	vf_of "$name" link/ether >"$notes/address"
	vf_of "$name" checking >"$notes/spoofchk"
	say ip link set "$name" vf 0 mac "$ADDRESS"
	say ip link set "$name" vf 0 spoofchk off
}

setup_function() {
	bdf=$1
	notes=$DEVICES_DIR/$bdf
	[ ! -d "$notes" ] || die "$bdf has been set up already"
	mkdir -p "$notes"

	cat "$PCI/$bdf/driver_override" >"$notes/driver_override"
	target "$PCI/$bdf/driver" >"$notes/driver"
	if [ -s "$notes/driver" ]; then
		write_to "$PCI/$bdf/driver/unbind" "$bdf"
	fi
	write_to "$PCI/$bdf/driver_override" "$DRIVER"
	write_to /sys/bus/pci/drivers_probe "$bdf"
	[ "$(target "$PCI/$bdf/driver")" = "$DRIVER" ] || die "$DRIVER did not take $bdf"
}

if [ "${1-}" = -d ]; then
	DRIVER=${2?}
	shift 2
fi
if [ $# = 0 ]; then
	echo "usage: $0 [-d DRIVER] BDF..." >&2
	exit 1
fi

load vfio_iommu_type1
load "$DRIVER"
for bdf in "$@"; do
	[ -d "$PCI/$bdf" ] || die "there is no PCI function $bdf"
	if [ -e "$PCI/$bdf/sriov_numvfs" ]; then
		setup_pf "$bdf"
		bdf=$(target "$PCI/$bdf/virtfn0")
	fi
	setup_function "$bdf"
done
