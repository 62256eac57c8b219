# SPDX-License-Identifier: GPL-2.0
"""`lab soak`: the test programs in a loop (l1/soak.py), and the sum of what they did."""

import collections
import json
import time

from . import l1, say, tree

# Something ordinary, and something that complains and takes its time.
BOTH = ("6.12", tree.DEBUG)
SHARES = {tree.DEBUG: 2}    # of the time; others have 1
# What has begun in time is finished.
OVERTIME = 3 * 3600
# What is told even if there was none of it.
TOTALS = ("transitions", "resets", "removals", "mutations", "mutations refused", "allocations failed",
          "frames sent", "frames received", "frames lost to a quiet or full ring",
          "frames lost otherwise", "frames duplicated")


def _soak(series: str, minutes: float, seed: int, accel: str | None) -> tuple[dict, list[str]]:
    """One kernel; what it did, and why it counts as failed."""
    command = ["python3", "/project/scripts/l1/soak.py", str(minutes), "--seed", str(seed)]
    result = l1.run(l1.Request(series, command, minutes * 60 + OVERTIME, accel=accel))
    path = result.job / "soak.json"
    if not path.is_file():
        return {}, [*result.problems, f"no result, status {result.status}"]
    did = json.loads(path.read_text())
    failures = [*result.problems, *did["failed"]]
    if result.status and not failures:
        failures.append(f"ended with status {result.status}")
    return did, failures


def run(kernels: tuple, minutes: float, seed: int | None, accel: str | None) -> int:
    """Share the time among the kernels; the exit status."""
    seed = int(time.time()) if seed is None else seed
    totals, passed, bad = collections.Counter(), 0, False
    say.info(f"soak: {minutes:g} minutes, --seed {seed}")
    shares = {series: SHARES.get(series, 1) for series in kernels}
    for series in kernels:
        did, failures = _soak(series, minutes * shares[series] / sum(shares.values()), seed, accel)
        totals.update(did.get("totals", {}))
        passed += did.get("passed", 0)
        bad |= bool(failures)
        say.info(f"{series}: {did.get('turns', 0)} turns, {did.get('runs', 0)} programs, "
                 f"{did.get('passed', 0)} tests passed, {len(failures)} failures")
        for line in failures:
            say.info(f"  FAILED {line}")
        for name in did.get("skipped", []):
            say.info(f"  skipped {name}")
        for name in did.get("left out", []):
            say.info(f"  no time for {name}")
    for name in (*TOTALS, *sorted(set(totals) - set(TOTALS))):
        say.info(f"{totals[name]:>12,} {name}")
    say.info(f"{'FAIL' if bad else 'PASS'} soak: {passed} tests passed")
    return 1 if bad else 0
