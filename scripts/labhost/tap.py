# SPDX-License-Identifier: GPL-2.0
"""Count results in TAP output: lines "ok N - name" and "not ok N - name".

Where a plan "1..N" was given, tests that never reported count as failed: a
program that died half way must not look better than one that failed.
"""

import re
from typing import NamedTuple

_LINE = re.compile(r"^(not )?ok\b(?P<name>.*)$")
_PLAN = re.compile(r"^1\.\.(\d+)\b")
_SKIP = re.compile(r"#\s*skip\b", re.IGNORECASE)


class Count(NamedTuple):
    """How many tests came out how."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __add__(self, other):
        return Count(*(mine + theirs for mine, theirs in zip(self, other)))

    def __str__(self):
        text = f"{self.passed} passed, {self.failed} failed"
        return f"{text}, {self.skipped} skipped" if self.skipped else text


PASSED = Count(passed=1)
FAILED = Count(failed=1)
SKIPPED = Count(skipped=1)


def count(output: str) -> tuple[Count, list[str]]:
    """The numbers, and the lines of the tests that failed."""
    total, failures, planned = Count(), [], 0
    for line in output.splitlines():
        plan = _PLAN.match(line.strip())
        planned += int(plan[1]) if plan else 0
        match = _LINE.match(line.strip())
        if not match:
            continue
        if match[1]:
            total += FAILED
            failures.append(line.strip())
        else:
            total += SKIPPED if _SKIP.search(match["name"]) else PASSED
    missing = planned - sum(total)
    if missing > 0:
        total += Count(failed=missing)
        failures.append(f"{missing} of {planned} planned tests did not report")
    return total, failures
