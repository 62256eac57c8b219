#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""What silicon_test has found out of a device, as parameters of our modules.

The lab's devices are then taken for such ones (lab demo --profile FILE); or a host's for
what its operator has measured (--modprobe, for /etc/modprobe.d).
"""

import argparse
import re
import sys
from pathlib import Path

IGBVF = "igbvf_vfio_pci"
CORE = "vfio_pci_migration"
ANSWERS = ("heads_writable", "heads_kept", "mask_readable", "tails_latched")
WHOLE_BAR = 4096    # with larger pages all of BAR0 is trapped
_FACT = re.compile(r"^(?:# )?fact (\w+)=(-?\d+)\s*$", re.MULTILINE)


class ProfileError(Exception):
    """Not what silicon_test says."""


def facts(text: str) -> dict:
    """All facts in the output of silicon_test."""
    found: dict = {}
    for name, value in _FACT.findall(text):
        if found.setdefault(name, int(value)) != int(value):
            raise ProfileError(f"{name} is both {found[name]} and {value}: two devices?")
    return found


def settings(text: str) -> list[tuple[str, str]]:
    """Module and NAME=VALUE, for what follows from the output of silicon_test."""
    known = facts(text)
    missing = [name for name in ANSWERS if known.get(name) not in (0, 1)]
    if missing:
        raise ProfileError(f"no fact {', '.join(missing)}: did that test fail?")
    found = [(IGBVF, f"{name}={known[name]}") for name in ANSWERS]
    if known.get("page_size", WHOLE_BAR) > WHOLE_BAR:
        found.append((CORE, "mmap=N"))
    return found


def of_file(path: str) -> list[tuple[str, str]]:
    """The settings of a file, or of standard input."""
    try:
        return settings(sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ProfileError(f"{path}: {error}") from error


def main() -> int:
    """Parse the command line, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--modprobe", action="store_true", help="as lines for /etc/modprobe.d")
    parser.add_argument("file", nargs="?", default="-", help="output of silicon_test; standard input, if there is none")
    options = parser.parse_args()
    try:
        found = of_file(options.file)
    except ProfileError as error:
        print(f"silicon.py: {error}", file=sys.stderr)
        return 1
    for module, setting in found:
        print(f"options {module} {setting}" if options.modprobe else setting)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
