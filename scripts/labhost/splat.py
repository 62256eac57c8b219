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
)

PANIC = re.compile(r"Kernel panic - not syncing|end Kernel panic")

_NMI = re.compile(r"\[ *(\d+)\.\d+\] Sending NMI from CPU \d+ to CPUs (\d+):(.*)", re.DOTALL)
_WHEN = re.compile(r"^\[ *(\d+)\.\d+\]", re.MULTILINE)
_ANSWER = 15    # s; the kernel itself waits 10


def find(console: Path) -> list[str]:
    """Lines of the console that make a run fail."""
    if not console.is_file():
        return []
    text = console.read_bytes().decode(errors="replace")
    return [line.strip() for line in text.splitlines()
            if _SPLATS.search(line) and not any(known.search(line) for known in ALLOWED)]


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
