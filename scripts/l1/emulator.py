# SPDX-License-Identifier: GPL-2.0
"""The QEMUs that are to drive our two doors, and what differs between them."""

import re
from pathlib import Path
from typing import NamedTuple

import lab

# Bits of the v1 device_state, as a reader of a report wants to see them.
_V1_STATES = {"0": "stopped", "1": "running", "2": "saving", "3": "saving|running",
              "4": "resuming", "6": "error"}
_V1_STATE = re.compile(r"^\d+@(\d+\.\d+):vfio_migration_set_state .* state (\d+)$", re.MULTILINE)
_V1_BUFFER = re.compile(r"vfio_save_buffer .* size 0x([0-9a-f]+) ")


class Emulator(NamedTuple):
    """A QEMU program."""

    door: str
    program: tuple      # how to start it in L1
    migratable: str     # what makes a vfio-pci device migratable
    has_events: bool    # says each change of a device's state as an event
    has_switchover: bool    # can be told the bandwidth for the last stage, and waits until the device is prepared

    def parameters(self, downtime_limit_ms: int, bandwidth: int, max_bandwidth: int) -> dict:
        """Arguments of migrate-set-parameters."""
        told = {"avail_switchover_bandwidth": bandwidth} if self.has_switchover else {}
        return {"downtime_limit": downtime_limit_ms, "max_bandwidth": max_bandwidth, **told}

    def answers(self, wanted: bool) -> dict:
        """Capability of both sides: the guest is not stopped before the destination has taken what is sent ahead."""
        return {"switchover-ack": wanted} if self.has_switchover else {}


# Without dirty_tracking=Y of our module: asking the IOMMU before the guest is
# stopped would only say that all pages are dirty.
UNTRACKED = ",x-pre-copy-dirty-page-tracking=off"

# Debian trixie-backports: the v2 uAPI.
V2 = Emulator("v2", ("qemu-system-x86_64",), "enable-migration=on,migration-events=on", True, True)

# Debian bookworm's 7.2, the last that knows the migration region.
V1 = Emulator("v1", ("chroot", "/bookworm", "qemu-system-x86_64"),
              "x-enable-migration=on", False, False)


def traced_states(trace: Path) -> list[tuple[float, str]]:
    """The changes of state in a trace of QEMU 7.2's: time of day, state."""
    return [(float(when), _V1_STATES.get(state, state))
            for when, state in _V1_STATE.findall(lab.read_text(trace))]


def traced_bytes(trace: Path) -> int:
    """The bytes of device state that QEMU 7.2 has saved, which it tells nobody else."""
    return sum(int(size, 16) for size in _V1_BUFFER.findall(lab.read_text(trace)))
