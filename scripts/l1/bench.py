#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Measure what a user feels, always beside something that everybody knows.

The parts: 'downtime' of a guest under traffic, by the card that it has; 'arcs', each change
of a VF's state, with its accesses to registers; 'path', packets per second and exits per
packet beside vfio-pci; 'many', up to seven VFs that move at once; 'stream', how fast a large
state goes through. The times of an emulated machine mean nothing, only their ratios do, and
counts. Raw numbers are in /job/bench.json, the charts in /job/bench.txt.
Documentation/bench.rst.
"""

import argparse
import asyncio
import json
import os
import re
import subprocess
import time
from typing import Callable, NamedTuple

import lab
import measure_costs
import measure_downtime
import measure_path
import setup
from figures import Row, chart, median
from tap import Tap

RAW = lab.JOB / "bench.json"
REPORT = lab.JOB / "bench.txt"
STREAM = "/artifacts/bin/stream_bench"
STREAM_LIMIT = 600

# For the short form. A packet needs one interrupt at most, after which the mask is written: 1. A doorbell that is
# trapped would be one more.
MOST_MMIO_EXITS = {measure_path.OURS: 1.5, measure_path.MAPPED: 0.05}   # per packet


class Part(NamedTuple):
    """Something that is measured."""

    measure: Callable   # repeat -> raw numbers, for JSON
    show: Callable      # raw numbers -> lines
    goals: Callable = lambda raw: []


def _stream(repeat: int) -> dict:
    """MB/s, and what part that is of a read() that only copies."""
    setup.examples()
    found = {}
    for _ in range(repeat):
        done = subprocess.run([STREAM, lab.EXAMPLES[0]], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                              check=False, timeout=STREAM_LIMIT)
        if done.returncode:
            raise lab.LabError(f"{STREAM}: {done.stdout}")
        for name, rate, part in re.findall(r"^# rate (.+) ([\d.]+) ([\d.]+)$", done.stdout, re.MULTILINE):
            found.setdefault(name, []).append((float(rate), float(part)))
    return found


def _show_stream(raw: dict) -> list[str]:
    return chart("a large state", [
        Row(name, [rate for rate, _ in values], f"x {median([part for _, part in values]):.2f}")
        for name, values in raw.items()], "MB/s")


PARTS = {"downtime": Part(lambda repeat: asyncio.run(measure_downtime.measure(repeat)),
                          measure_downtime.show, measure_downtime.goals),
         "arcs": Part(lambda repeat: measure_costs.measure_one(), measure_costs.show_one),
         "path": Part(measure_path.measure, measure_path.show, measure_path.goals),
         "many": Part(measure_costs.measure_many, measure_costs.show_many),
         "stream": Part(_stream, _show_stream)}


def _bench(names: list[str], repeat: int) -> int:
    raw, lines, goals = {"kernel": os.uname().release, "repeat": repeat}, [], []
    for name in names:
        part, began = PARTS[name], time.monotonic()
        raw[name] = part.measure(repeat)
        RAW.write_text(json.dumps(raw, indent=1) + "\n")     # whatever becomes of the next part
        lines += part.show(raw[name])
        goals += part.goals(raw[name])
        print(f"part {name}: {time.monotonic() - began:.0f} s", flush=True)
    if goals:
        lines += ["", "goals", *goals]
    REPORT.write_text("\n".join(lines) + "\n")
    print("\n".join(lines), flush=True)
    return 0


def _short() -> int:
    """Counts, no times: what they are on any machine. Output is TAP."""
    tap = Tap()
    raw = {"arcs": measure_costs.measure_one()}
    tap.result("arcs: a save reads each live register once, other steps access the device as often as they did",
               measure_costs.faults(raw["arcs"]), measure_costs.show_one(raw["arcs"]))
    raw["path"] = asyncio.run(measure_path.measure_guest(1, tuple(MOST_MMIO_EXITS)))
    exits = {name: raw["path"][name][0]["mmio_exits"] for name in MOST_MMIO_EXITS}
    tap.result("path: of the registers that a packet needs only the interrupt mask is trapped, where it is unreadable",
               [f"{name}: {exits[name]:.3f} exits to QEMU per packet" for name, most in MOST_MMIO_EXITS.items()
                if exits[name] > most], measure_path.show_guest(raw["path"]))
    RAW.write_text(json.dumps(raw, indent=1) + "\n")
    return tap.plan()


def main() -> int:
    """Parse the command line, run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--repeat", type=int, default=3, metavar="N")
    parser.add_argument("--short", action="store_true", help="only look for gross regressions, by counts")
    options = parser.parse_args()
    if set(options.part) - set(PARTS):
        parser.error(f"parts are {', '.join(PARTS)}")
    try:
        return _short() if options.short else _bench(options.part or list(PARTS), options.repeat)
    except lab.LabError as error:
        print(f"FAIL\n  {error}")
        return 1


if __name__ == "__main__":
    raise SystemExit(main())
