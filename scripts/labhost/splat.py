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


def find(console: Path) -> list[str]:
    """Lines of the console that make a run fail."""
    if not console.is_file():
        return []
    text = console.read_bytes().decode(errors="replace")
    return [line.strip() for line in text.splitlines()
            if _SPLATS.search(line) and not any(known.search(line) for known in ALLOWED)]
