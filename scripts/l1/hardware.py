#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Make a device of L1's report an error, as hardware does it (AER): hardware.py DEVICE ERROR

The kernel's aer_inject only makes the kernel believe it. QEMU sets the bits in the device's
registers, and sends the message through the ports above it. ERROR is one of QEMU's names (DLP,
MALF_TLP, ...) or the bits. L1's QEMU has its monitor at a port of L1 (labhost/qemu.py).
"""

import json
import os
import sys
from pathlib import Path

MONITOR = Path("/dev/virtio-ports/lab.monitor")
# What QEMU calls them (labhost/qemu.py). Not the 82576: its VFs have no name there, and its
# PFs let no message out, as the bits of Device Control that permit it cannot be set.
NAMES = {"0000:00:01.0": "rp0", "0000:00:02.0": "rp1"}


def _answer(port, number: str) -> object:
    """What comes back for a request; events and older answers are passed over."""
    said = b""
    while True:
        said += port.read(4096)
        *lines, said = said.split(b"\n")
        for line in map(json.loads, lines):
            if line.get("id") == number:
                return line.get("return", line.get("error"))


def monitor(line: str) -> str:
    """A command for a person at QEMU's monitor; what it says."""
    requests = ({"execute": "qmp_capabilities"},  # an error if it was asked before
                {"execute": "human-monitor-command", "arguments": {"command-line": line}})
    answer: object = ""
    with open(MONITOR, "r+b", buffering=0) as port:
        for request in requests:
            number = f"{os.getpid()} {request['execute']}"
            port.write(json.dumps({**request, "id": number}).encode() + b"\n")
            answer = _answer(port, number)
    return str(answer)


def main() -> int:
    """Ask for the error; the exit status says whether QEMU has refused."""
    if len(sys.argv) != 3:
        print(__doc__.splitlines()[0], file=sys.stderr)
        return 2
    _, device, error = sys.argv
    said = monitor(f"pcie_aer_inject_error {NAMES[device]} {error}")
    # It says "OK" and what it has done.
    print(f"# {said.strip()}")
    return 0 if said.startswith("OK") else 1


if __name__ == "__main__":
    raise SystemExit(main())
