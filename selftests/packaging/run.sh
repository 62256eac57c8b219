#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Does the project install, upgrade and go away again? To be run as root where
# nothing is at stake: the lab runs it in a copy of a tree that is thrown away.
#
#	run.sh KERNEL...	(what `uname -r` says there; headers are needed)
#
# Output is TAP; what commands had to say goes to standard error.

NAME=vfio-pci-migration
TOP=$(cd "$(dirname "$0")/../.." && pwd)
WORK=$(mktemp -d)
NUMBER=0
FAILED=0

# A description, then a command that says whether it is true.
check() {
	NUMBER=$((NUMBER + 1))
	text=$1
	shift
	if "$@" >&2; then
		echo "ok $NUMBER - $text"
	else
		echo "not ok $NUMBER - $text"
		FAILED=1
	fi
}

# A checkout of its own: with another version, and with something to tell it by.
copy() {
	mkdir -p "$WORK/$1"
	tar -C "$TOP" -c --exclude=.git . | tar -x -C "$WORK/$1"
	sed -i "s/^PACKAGE_VERSION=.*/PACKAGE_VERSION=\"$1\"/" "$WORK/$1/dkms.conf"
	echo "MODULE_INFO(packaged, \"$1\");" >>"$WORK/$1/driver/igbvf/main.c"
}

modules() {
	find "/lib/modules/$1" -name 'vfio_pci_migration.ko*' -o -name 'igbvf_vfio_pci.ko*'
}

# $1 kernel, $2 version: that one, and no other, is what modprobe would load.
installed() {
	[ "$(modinfo -k "$1" -F packaged igbvf_vfio_pci)" = "$2" ] &&
		[ "$(modules "$1" | wc -l)" = 2 ] &&
		grep -q '^alias vfio_pci:v00008086d000010CAsv.* igbvf_vfio_pci' "/lib/modules/$1/modules.alias" &&
		modprobe -S "$1" --show-depends igbvf_vfio_pci >"$WORK/depends" &&
		grep -q 'vfio_pci_migration\.ko' "$WORK/depends" &&
		grep -q 'vfio-pci-core\.ko' "$WORK/depends"
}

dkms_install() {
	make -C "$WORK/$2" dkms_install KVER="$1" && installed "$1" "$2"
}

dkms_upgrade_in_place() {
	sed -i 's/^MODULE_INFO(packaged.*/MODULE_INFO(packaged, "again");/' "$WORK/$2/driver/igbvf/main.c"
	make -C "$WORK/$2" dkms_install KVER="$1" && installed "$1" again
}

# What a new kernel's package calls.
dkms_autoinstall() {
	dkms autoinstall -k "$1" && installed "$1" "$2"
}

dkms_remove() {
	make -C "$WORK/2.0" dkms_remove || return
	for kernel; do
		[ -z "$(modules "$kernel")" ] || return
		if grep igbvf_vfio_pci "/lib/modules/$kernel/modules.alias"; then return 1; fi
	done
	[ -z "$(dkms status $NAME)" ] && ! ls -d /usr/src/$NAME-* "/var/lib/dkms/$NAME"
}

modules_install() {
	make -C "$WORK/1.0" install KVER="$1" DESTDIR="$WORK/root-$1" &&
		[ "$(find "$WORK/root-$1" -name '*.ko*' | wc -l)" = 2 ] &&
		[ -z "$(modules "$1")" ]
}

# For this system: nothing but "make; make install" is needed.
system_install() {
	make -C "$WORK/1.0" KVER="$1" && make -C "$WORK/1.0" install KVER="$1" && installed "$1" 1.0 &&
		rm -f $(modules "$1") && depmod "$1"
}

parameters() {
	modinfo -F parm "$WORK"/1.0/*.ko >"$WORK/parameters" && [ -s "$WORK/parameters" ] &&
		! grep -E '^[a-z_]+ ?:?\([a-z]*\)$' "$WORK/parameters" &&
		[ "$(wc -l <"$WORK/parameters")" = \
			"$(grep -rh module_param "$WORK/1.0/driver/core" "$WORK/1.0/driver/igbvf" | wc -l)" ]
}

# The headers stand for themselves, in any order, in the strictest C.
headers() {
	for first in stream v1; do
		printf '#include <vfio_pci_migration_%s.h>\n' "$first" stream v1 |
			gcc -std=c11 -Wall -Wextra -Wpedantic -Werror -fsyntax-only \
				-I"$WORK/root-$1/usr/include" -x c - || return
	done
}

# Options in the example exist, and modprobe takes it.
modprobe_example() {
	file=$WORK/1.0/packaging/modprobe.d/igbvf-vfio-pci.conf
	modprobe -C "$file" --showconfig | grep -q '^blacklist igbvf' || return
	sed -n 's/^#*options \([a-z_]*\) /\1 /p' "$file" | while read -r module options; do
		for option in $options; do
			modinfo -F parm "$WORK/1.0/$module.ko" | grep -q "^${option%%=*}:" || return 1
		done
	done
}

export MAKEFLAGS=-j2
copy 1.0
copy 2.0
echo "1..$(($# * 6 + 4))"
for kernel; do
	check "DKMS: install, $kernel" dkms_install "$kernel" 1.0
done
for kernel; do
	check "DKMS: upgrade, $kernel" dkms_install "$kernel" 2.0
done
for kernel; do
	check "DKMS: the same version with other sources, $kernel" dkms_upgrade_in_place "$kernel" 2.0
done
check "DKMS: remove from all kernels" dkms_remove "$@"
for kernel; do
	make -C "$WORK/2.0" dkms_source >&2 && dkms add $NAME/2.0 >&2
	check "DKMS: a new kernel, $kernel" dkms_autoinstall "$kernel" again
	make -C "$WORK/2.0" dkms_remove >&2
	check "make install, $kernel" system_install "$kernel"
	check "make install with DESTDIR, $kernel" modules_install "$kernel"
done
check "all parameters are described in modinfo" parameters
check "the headers of the uAPI stand for themselves" headers "$kernel"
check "the example for modprobe.d" modprobe_example
rm -rf "$WORK"
exit $FAILED
