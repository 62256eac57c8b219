# SPDX-License-Identifier: GPL-2.0
"""Results as TAP, for the scripts here that find some."""

import sys
from typing import Sequence


class Tap:
    """Numbered results."""

    def __init__(self):
        self.count = 0
        self.failed = 0

    def result(self, name: str, faults: Sequence[str] = (), notes: Sequence[str] = (), skip: str = "") -> None:
        """One test line, with what is wrong and what else is known; skip: why it was not done."""
        self.count += 1
        self.failed += bool(faults)
        print(f"{'not ok' if faults else 'ok'} {self.count} - {name}{f' # SKIP {skip}' if skip else ''}")
        for line in [f"FAULT: {fault}" for fault in faults] + [*notes]:
            for part in line.splitlines():
                print(f"# {part}")
        sys.stdout.flush()

    def plan(self) -> int:
        """The plan line; the exit status."""
        print(f"1..{self.count}", flush=True)
        return 1 if self.failed else 0
