#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Ask the debug kernel's silent checkers, after the command: did anything leak, does lockdep still work?

What there is to complain about goes to the kernel's log, where the host looks
for it (splat.py), and leaks with their stacks to /job/kmemleak.
"""

import bisect
import os
import re
import time
from pathlib import Path

import lab

OURS = ("igbvf_vfio_pci", "edu_vfio_pci", "edu_ceiling", "vfio_pci_migration")
KMEMLEAK = Path("/sys/kernel/debug/kmemleak")
LOCKDEP = Path("/proc/lockdep_stats")
REPORT = lab.JOB / "kmemleak"
TOO_YOUNG = 5.5     # s: kmemleak says nothing of objects younger than 5 s
UNLOAD_LIMIT = 10
SHOWN = 5


def complain(text: str) -> None:
    """A line that fails the run."""
    with open("/dev/kmsg", "w", encoding="utf-8") as log:
        log.write(f"<3>lab: BUG: {text}\n")


class Names:
    """Names for addresses in our modules, which are gone when leaks are reported."""

    def __init__(self):
        table = []
        for line in Path("/proc/kallsyms").read_text(encoding="ascii").splitlines():
            address, _, name, *module = line.split()
            if module and module[0].strip("[]") in OURS:
                table.append((int(address, 16), name))
        table.sort()
        self._addresses = [address for address, _ in table]
        self._names = [name for _, name in table]

    def explain(self, line: str) -> str:
        """A line of a stack, with a name if the kernel has none."""
        found = re.search(r"\b0x([0-9a-f]{16})$", line)
        if not found or not self._addresses:
            return line
        address = int(found[1], 16)
        at = bisect.bisect_right(self._addresses, address) - 1
        if at < 0 or address - self._addresses[at] > 1 << 16:
            return line
        return f"{line} {self._names[at]}+{address - self._addresses[at]:#x}"


def _unload(name: str) -> bool:
    lab.sh("rmmod", name, check=False)
    return not Path("/sys/module", name).exists()


def unload() -> None:
    """Take our modules away: what they leave behind has no other owner any more."""
    for name in OURS:
        if Path("/sys/module", name).exists():
            # The last references go a moment after the last close.
            lab.wait_until(lambda name=name: _unload(name), UNLOAD_LIMIT, f"{name} can be unloaded")


def scan() -> list[str]:
    """What kmemleak finds. Only a second scan tells of what the first one met."""
    time.sleep(TOO_YOUNG)
    for _ in range(2):
        KMEMLEAK.write_text("scan")
    return KMEMLEAK.read_text(encoding="utf-8", errors="replace").splitlines()


def leaks() -> None:
    """Complain about each leaked object, with the innermost callers."""
    names = Names()
    unload()
    report = [names.explain(line) for line in scan()]
    if not report:
        return
    REPORT.write_text("\n".join(report) + "\n")
    objects = "\n".join(report).split("unreferenced object ")[1:]
    for one in objects[:SHOWN]:
        stack = re.findall(r"^\s+(?:\[<[^>]*>\] )?(\S+.*\+0x.*)$", one, re.MULTILINE)
        complain(f"kmemleak: {one.splitlines()[0]} {' < '.join(stack[2:6])}")
    complain(f"kmemleak: {len(objects)} leaked objects, see {REPORT.name} in the logs")


def lockdep() -> None:
    """lockdep goes out at its first report, and when its tables are full."""
    if not re.search(r"^\s*debug_locks:\s+1$", LOCKDEP.read_text(encoding="ascii"), re.MULTILINE):
        complain("lockdep has turned itself off")


def main() -> int:
    """Ask them all; the complaints are the result."""
    began = time.monotonic()
    for ask in (leaks, lockdep):
        try:
            ask()
        except (OSError, lab.LabError) as error:
            complain(f"{ask.__name__}: {error}")
    print(f"checkers: asked in {time.monotonic() - began:.1f} s on {os.uname().release}", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
