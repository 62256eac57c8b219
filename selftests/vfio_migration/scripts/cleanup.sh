#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Put everything back that setup.sh has changed. Goes on after a failure, and
# then ends with status 1.
set -u

. "$(dirname -- "$0")/lib.sh"

status=0
try() {
	"$@" || status=1
}

# noted FILE: what is noted there; nothing if setup.sh did not get that far
noted() {
	cat "$1" 2>/dev/null
}

release_function() {
	if [ -e "$PCI/$1/driver" ]; then
		try write_to "$PCI/$1/driver/unbind" "$1"
	fi
}

# What a VF and its driver see of the PF.
restore_view() {
	notes=$PFS_DIR/$1
	name=$(netdev "$1")
	autoprobe=$(noted "$notes/autoprobe")
	address=$(noted "$notes/address")
	spoofchk=$(noted "$notes/spoofchk")

	if [ "$address" ] && [ "$spoofchk" ]; then
		try say ip link set "$name" vf 0 mac "$address"
		try say ip link set "$name" vf 0 spoofchk "$spoofchk"
	fi
	if [ "$autoprobe" ]; then
		try write_to "$PCI/$1/sriov_drivers_autoprobe" "$autoprobe"
	fi
}

restore_function() {
	notes=$DEVICES_DIR/$1
	driver=$(noted "$notes/driver")
	override=$(noted "$notes/driver_override")

	# What reads as "(null)" is set by an empty line.
	try write_to "$PCI/$1/driver_override" "${override#"(null)"}"
	if [ "$driver" ]; then
		try write_to "/sys/bus/pci/drivers/$driver/bind" "$1"
	fi
	rm -r "$notes"
}

restore_pf() {
	notes=$PFS_DIR/$1
	numvfs=$(noted "$notes/numvfs")
	flags=$(noted "$notes/flags")

	if [ "$numvfs" = 0 ]; then
		try write_to "$PCI/$1/sriov_numvfs" 0
	fi
	if [ "$flags" ] && [ $((flags & 1)) = 0 ]; then
		try say ip link set "$(netdev "$1")" down
	fi
	rm -r "$notes"
}

# each DIRECTORY COMMAND: with each function or PF that is noted there
each() {
	for bdf in "$1"/*; do
		[ ! -d "$bdf" ] || "$2" "${bdf##*/}"
	done
}

# A driver that gets its function back asks the PF for the address, and without
# autoprobe the PCI core gives it none.
each "$DEVICES_DIR" release_function
each "$PFS_DIR" restore_view
each "$DEVICES_DIR" restore_function
each "$PFS_DIR" restore_pf
# The last one loaded first: it may use the others. One that somebody else uses by
# now stays.
if [ -f "$MODULES" ]; then
	for module in $(tac "$MODULES"); do
		if [ "$(noted "/sys/module/$module/refcnt")" = 0 ]; then
			try say modprobe -r "$module"
		fi
	done
	rm "$MODULES"
fi
rmdir "$DEVICES_DIR" "$PFS_DIR" 2>/dev/null
exit $status
