# SPDX-License-Identifier: GPL-2.0
"""Find kernel complaints in a console log: a run that worked but made the kernel
complain has failed."""

import re
from pathlib import Path

_SPLATS = re.compile(
    r"\bBUG:|\bWARNING:|\bOops\b|\bUBSAN\b|\bKASAN\b|\bKCSAN\b|\bKFENCE\b|Kernel panic|"
    r"kernel BUG at|general protection fault|possible recursive locking|"
    r"possible circular locking|suspicious RCU usage|inconsistent lock state|"
    r"blocked for more than|detected stalls|soft lockup|hard LOCKUP|refcount_t:|"
    r"DMAR:.*[Ff]ault|Unknown symbol|disagrees about version of symbol|list_add corruption|"
    r"list_del corruption|unregister_netdevice: waiting|\bBUG \S+ \(|Bad page state|"
    r"trying to register non-static key|Kernel memory leak detector disabled")

# Things stock kernels say by themselves here, each with the reason why it is harmless.
ALLOWED = (
    # Any out-of-tree module, signed by nobody: said once, not a fault.
    re.compile(r"loading out-of-tree module taints kernel|module verification failed"),
    # The emulated CPU model has no microcode against a speculation bug.
    re.compile(r"Speculative Return Stack Overflow"),
    # Lockdep's opinion of 7.2's own SR-IOV code: when a PF's driver is unbound, its VFs are
    # removed without the lock for that. No driver of a VF has any part in it.
    re.compile(r"WARNING: drivers/pci/remove\.c:\d+ at pci_stop_and_remove_bus_device\+"),
)

# What scripts/l1/kselftests.py writes around a test that makes a device read and
# write where nothing is mapped. Faults of other devices still count.
_FAULTS_BEGIN = re.compile(r"lab: DMA faults of (?P<device>[0-9a-f:.]+) are expected from here")
_FAULTS_END = re.compile(r"lab: DMA faults of .* are not expected any more")
_FAULT = re.compile(r"DMAR: (DRHD: handling fault status|\[DMA \w+ .*Request device \[(?P<device>[0-9a-f:.]+)\])")

PANIC = re.compile(r"Kernel panic - not syncing|end Kernel panic")

_NMI = re.compile(r"\[ *(\d+)\.\d+\] Sending NMI from CPU \d+ to CPUs (\d+):(.*)", re.DOTALL)
_WHEN = re.compile(r"^\[ *(\d+)\.\d+\]", re.MULTILINE)
_ANSWER = 15    # s; the kernel itself waits 10


def _intended(line: str, device: str | None) -> bool:
    """Whether a line tells of a DMA fault that a test makes on purpose."""
    fault = _FAULT.search(line) if device else None
    return bool(fault) and (fault["device"] is None or device.endswith(fault["device"]))


def find(console: Path) -> list[str]:
    """Lines of the console that make a run fail."""
    if not console.is_file():
        return []
    text = console.read_bytes().decode(errors="replace")
    found, faulting = [], None
    for line in text.splitlines():
        begin = _FAULTS_BEGIN.search(line)
        if begin or _FAULTS_END.search(line):
            faulting = begin["device"] if begin else None
        if (_SPLATS.search(line) and not any(known.search(line) for known in ALLOWED)
                and not _intended(line, faulting)):
            found.append(line.strip())
    return found


def deaf(console: Path) -> int | None:
    """A CPU that the kernel asked by NMI what it does, and that did not answer.

    No code of L1's kernel can hold off an NMI for so long: it is the emulated CPU
    that hangs.
    """
    if not console.is_file():
        return None
    text = console.read_bytes().decode(errors="replace")
    found = _NMI.search(text)
    if not found:
        return None
    asked, cpu, rest = int(found[1]), int(found[2]), found[3]
    waited = any(int(when) >= asked + _ANSWER for when in _WHEN.findall(rest))
    return cpu if waited and f"NMI backtrace for cpu {cpu}" not in rest else None
