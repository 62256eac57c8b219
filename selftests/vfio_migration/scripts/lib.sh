# SPDX-License-Identifier: GPL-2.0
#
# What setup.sh notes for cleanup.sh. Where the functions are noted is where the
# kernel's own vfio selftests do it, so that its run.sh finds them.

NOTES="${TMPDIR:-/tmp}"
DEVICES_DIR="$NOTES/vfio-selftests-devices"
PFS_DIR="$NOTES/vfio-selftests-pfs"
MODULES="$NOTES/vfio-selftests-modules"

PCI=/sys/bus/pci/devices

die() {
	echo "${0##*/}: $*" >&2
	exit 1
}

# write_to FILE VALUE: and say so
write_to() {
	echo "+ echo \"$2\" >$1"
	echo "$2" >"$1"
}

say() {
	echo "+ $*"
	"$@"
}

# The last part of where a link leads to; nothing if there is none.
target() {
	[ ! -e "$1" ] || basename "$(readlink -f "$1")"
}

# The network interface of a PF.
netdev() {
	[ ! -d "$PCI/$1/net" ] || ls "$PCI/$1/net" | head -n 1
}

# vf_of INTERFACE FIELD: of VF 0 as "ip link" shows it: link/ether, checking
vf_of() {
	ip link show dev "$1" | awk -v field="$2" '$1 == "vf" && $2 == 0 {
		for (i = 3; i < NF; i++)
			if ($i == field) {
				sub(",$", "", $(i + 1))
				print $(i + 1)
			}
	}'
}
