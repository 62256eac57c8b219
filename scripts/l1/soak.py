#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""All that the test programs can do, again and again, for as long as is wanted.

Each turn has another order and other seeds. What a program said is kept in /job,
failed tests are shown at once. The numbers that programs tell ("# total: ...") are
added up; the sum is for the host (labhost/soak.py), in /job/soak.json.
"""

import argparse
import collections
import json
import os
import random
import re
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

import lab
import setup

BIN = Path("/artifacts/bin")
SETUP = f"python3 {Path(setup.__file__).resolve()}"
ERRORS = f"python3 {Path(__file__).resolve().with_name('hardware.py')}"
MAY_FAIL = Path("/proc/self/fail-nth").exists()     # allocations, with this kernel
SLOWER = 4 if Path("/proc/lockdep_stats").exists() else 1
PART_LIMIT = 1800       # seconds for one program
_RESULT = re.compile(r"^(not )?ok \d+ - (\w+)(.*# SKIP)?")
_TOTAL = re.compile(r"^# total: (\d+) (.+)$")
_PLAN = re.compile(r"^1\.\.\d+$", re.MULTILINE)


class Part(NamedTuple):
    """A program, its options and the names of its tests (none: all)."""

    program: str
    options: tuple = ()
    tests: tuple = ()
    everything: bool = False    # every byte where a sample is the default
    switches: tuple = ()        # parameters of our modules that are on until it has ended
    times: int = 1              # as much as in the short form, from the second turn on

    def __str__(self):
        return " ".join((self.program, *self.tests))

    def line(self, functions: list[str], turn: int) -> list[str]:
        """Its command line."""
        times = ("-n", str(self.times)) if turn > 1 else ()
        return [str(BIN / self.program), *self.options, *times, *functions, *self.tests]


TROUBLE = ("-s", SETUP, "-e", ERRORS)
# The first turn is short, so that all have had their turn after the time of a check.
TURN = [
    Part("drain_test", times=2),
    Part("v2_test"),
    Part("v1_test"),
    Part("fault_test"),
    Part("dirty_test", switches=("dirty_tracking",)),
    Part("over_test"),
    Part("trouble_test", TROUBLE, ("after_*", "cut_off", "un*", "pf_*", "gone", "errors", "fatal"), times=3),
    Part("trouble_test", TROUBLE, ("damaged", "forged"), times=3),
    *([Part("failnth_test")] if MAY_FAIL else []),
]
# Long, and the same each time: in the second turn.
ONCE = [
    Part("v2_test", (), ("flipped", "truncated"), everything=True),
    Part("v1_test", (), ("v1_flipped", "v1_truncated"), everything=True),
]
# Takes the cards away.
LAST = Part("trouble_test", TROUBLE, ("surprise",), times=3)


class Sum:
    """What all programs together have done."""

    def __init__(self):
        self.totals = collections.Counter()
        self.passed = 0
        self.failed: list[str] = []
        self.skipped: set[str] = set()
        self.runs = 0
        self.played: set[Part] = set()

    def add(self, part: Part, output: str, status: int) -> list[str]:
        """Count one run; returns the lines that explain its failures."""
        explained, recent = [], []
        self.runs += 1
        self.played.add(part)
        for line in output.splitlines():
            total, result = _TOTAL.match(line), _RESULT.match(line)
            if total:
                self.totals[total[2]] += int(total[1])
            elif not result:
                recent.append(line)
            else:
                if result[1]:
                    self.failed.append(f"{part.program} {result[2]}")
                    explained += [*recent, line]
                elif result[3]:
                    self.skipped.add(f"{part.program} {result[2]}")
                else:
                    self.passed += 1
                recent = []
        # A program that dies has not failed any test.
        if status not in (0, 1) or not _PLAN.search(output):
            self.failed.append(f"{part.program}: ended with {status}")
            explained += recent
        return explained

    def write(self, path: Path, turns: int) -> None:
        """For programs."""
        path.write_text(json.dumps({
            "turns": turns, "runs": self.runs, "passed": self.passed, "failed": self.failed,
            "skipped": sorted(self.skipped), "totals": self.totals,
            "left out": sorted(str(part) for part in {*TURN, *ONCE, LAST} - self.played)}))


def _run(part: Part, functions: list[str], turn: int, seed: int) -> tuple[str, int]:
    """Run a program; returns what it said, and its status."""
    environment = {**os.environ, "TEST_SEED": str(seed)}
    if part.everything:
        environment["TEST_ALL"] = "1"
    try:
        done = subprocess.run(part.line(functions, turn), env=environment, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              errors="replace", check=False, timeout=PART_LIMIT * SLOWER)
    except subprocess.TimeoutExpired as over:
        said = over.stdout or b""
        return (said.decode(errors="replace") if isinstance(said, bytes) else said), 124
    return done.stdout, done.returncode


class Soak:
    """Turn after turn."""

    def __init__(self, minutes: float, seed: int, functions: list[str]):
        self.began = time.monotonic()
        self.end = self.began + minutes * 60
        self.functions = functions
        self.random = random.Random(seed)
        self.sum = Sum()

    def over(self) -> bool:
        """Is the time up?"""
        return time.monotonic() >= self.end

    def play(self, part: Part, turn: int) -> None:
        """One program."""
        began = time.monotonic()
        seed = self.random.randrange(1 << 31)
        before = setup.parameters()
        setup.set_parameters(tuple(f"{name}=Y" for name in part.switches))
        output, status = _run(part, self.functions, turn, seed)
        setup.put_back(before)
        failed = len(self.sum.failed)
        explained = self.sum.add(part, output, status)
        failed = len(self.sum.failed) - failed
        log = lab.JOB / f"soak-{self.sum.runs:03}-{part.program}.log"
        log.write_text(output)
        print(f"[{began - self.began:7.0f} s] TEST_SEED={seed} {part}: "
              f"{f'{failed} FAILED, {log}' if failed else 'passed'} "
              f"({time.monotonic() - began:.0f} s)", flush=True)
        for line in explained:
            print(f"    {line}", flush=True)

    def run(self) -> None:
        """All of it."""
        turn = 0
        while not self.over():
            turn += 1
            print(f"turn {turn}", flush=True)
            parts = TURN + (ONCE if turn == 2 else [])
            self.random.shuffle(parts)
            for part in parts:
                if not self.over():
                    self.play(part, turn)
        self.play(LAST, turn)
        self.sum.write(lab.JOB / "soak.json", turn)


def main() -> int:
    """Prepare the functions, soak."""
    parser = argparse.ArgumentParser(description="run the test programs for a time")
    parser.add_argument("minutes", type=float)
    parser.add_argument("--seed", type=int, default=0, help="another order and other seeds")
    options = parser.parse_args()
    try:
        functions = [vf.address for vf in setup.virtual_functions()]
        setup.peer()
        soak = Soak(options.minutes, options.seed, functions)
        soak.run()
    except lab.LabError as error:
        print(f"soak: {error}")
        return 1
    return 1 if soak.sum.failed or not soak.sum.passed else 0


if __name__ == "__main__":
    raise SystemExit(main())
