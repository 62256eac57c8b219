#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Run a command on the functions that setup.sh has prepared:
#
#	run.sh ./run_kselftest.sh

. "$(dirname -- "$0")/lib.sh"

set_bdfs() {
	export VFIO_SELFTESTS_BDF="${1-}" VFIO_SELFTESTS_BDF2="${2-}"
}

# shellcheck disable=SC2046 # one word for each function
set_bdfs $(ls "$DEVICES_DIR" 2>/dev/null)
if [ ! "$VFIO_SELFTESTS_BDF" ]; then
	echo "No devices found, skipping."
	exit 4
fi
exec "$@"
