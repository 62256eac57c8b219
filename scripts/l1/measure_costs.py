# SPDX-License-Identifier: GPL-2.0
"""What the arcs of a migration cost, of one VF and of several at once: cost_test, with trace points."""

import re
import subprocess
from typing import NamedTuple

import ftrace
import lab
import setup
import timeline
from figures import Row, chart, median, number, spread

TEST = "/artifacts/bin/cost_test"
LIMIT = 300
VFS = 7         # as many as a PF has
COUNTS = ("reads", "writes", "config reads", "config writes")
TAKEN = ("prepare", "load")     # of what has come in: phases that are part of no step
# Of cost_test's phases those in which a guest would stand still.
STILL = ("quiesce", "capture", "read", "load", "release")

# Accesses that a part of a migration of an idle device may need: to registers, to config space.
# Saving reads each live register once: nine counters; and one, and the ID, to see that the device is there.
EXACTLY = {"capture": (10, 0, 1, 0), "stop": (0, 0, 0, 0), "start": (0, 0, 0, 0),
           "begin saving": (0, 0, 0, 0), "end saving": (0, 0, 0, 0), "end resuming": (0, 0, 0, 0)}
# Some wait for the device or its PF, and look again; so often, and no more.
AT_MOST = {"quiesce": (70, 8, 12, 1), "release": (10, 16, 4, 1), "begin resuming": (20, 70, 100, 20),
           "prepare": (30, 20, 2, 0), "load": (20, 40, 2, 0)}

_COST = re.compile(r"^# cost: vfs=(\d+) way=(\w+) round=\d+ (?:phase=(\w+) all=(\d+) each|bytes)=([\d,]+)$",
                   re.MULTILINE)


class Cost(NamedTuple):
    """A line of cost_test."""

    vfs: int
    way: str
    phase: str      # or "bytes"
    whole: int      # us, of all VFs
    each: list


def _run(name: str) -> list[Cost]:
    done = subprocess.run([TEST, *(vf.address for vf in setup.virtual_functions(count=VFS)), name],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=False, timeout=LIMIT)
    if done.returncode or " # SKIP " in done.stdout:
        raise lab.LabError(f"{TEST} {name}: {done.stdout}")
    return [Cost(int(vfs), way, phase or "bytes", int(whole or 0), [int(part) for part in each.split(",")])
            for vfs, way, phase, whole, each in _COST.findall(done.stdout)]


def _where(event: timeline.Event) -> str:
    """The device whose config space was accessed."""
    bus, devfn = int(event.data["bus"]), int(event.data["devfn"])
    return f"0000:{bus:02x}:{devfn >> 3:02x}.{devfn & 7}"


class _Events:
    """What happened, in order of time."""

    def __init__(self, text: str):
        events = timeline.parse(text)
        self.config = [event for event in events if event.name.startswith("config_")]
        self.events = [event for event in events if not event.name.startswith("config_")]

    def config_accesses(self, around: timeline.Event) -> tuple[int, int]:
        """Reads and writes meanwhile, of that device."""
        there = [event for event in self.config
                 if around.began <= event.when <= around.when and _where(event) == around.device]
        reads = sum(event.name.startswith("config_read") for event in there)
        return reads, len(there) - reads

    def accesses(self, around: timeline.Event) -> tuple[int, int]:
        """Reads and writes of registers meanwhile."""
        steps = [around]
        if around.name == "mig_transition":
            steps = [event for event in self.events if event.name == "mig_step" and event.device == around.device
                     and around.began <= event.when <= around.when]
        return sum(int(step.data["reads"]) for step in steps), sum(int(step.data["writes"]) for step in steps)


def _name(event: timeline.Event) -> str | None:
    """What it counts as, if it does."""
    if event.name == "mig_transition":
        return f"{event.data['from']} -> {event.data['to']}"
    if event.name == "mig_step":
        return event.data["step"]
    return event.data["phase"] if event.name == "mig_phase" and event.data["phase"] in TAKEN else None


def _counted(text: str) -> dict:
    """Of each arc, step and load, each time: us and counts."""
    events = _Events(text)
    found = {"arcs": {}, "steps": {}}
    for event in events.events:
        name = _name(event)
        if name:
            kind = "arcs" if event.name == "mig_transition" else "steps"
            found[kind].setdefault(name, []).append(
                [event.took * 1000, *events.accesses(event), *events.config_accesses(event)])
    return found


def measure_one() -> dict:
    """One VF, each arc."""
    setup.virtual_functions(count=VFS)
    ftrace.switch(True)
    ftrace.config_accesses(True)
    try:
        costs = _run("one")
        counted = _counted(ftrace.said())
    finally:
        ftrace.config_accesses(False)
        ftrace.switch(False)
    return {"costs": costs, **counted}


def measure_many(repeat: int) -> dict:
    """Several VFs, without anything that looks on."""
    return {"costs": [cost for _ in range(repeat) for cost in _run("many")]}


def _counts(entries: list) -> list[str]:
    """Reads, writes, reads and writes of config space."""
    return [spread(list(values)) for values in list(zip(*entries))[1:]]


def faults(raw: dict) -> list[str]:
    """Counts that are not as they should be."""
    found = []
    for name, want in {**EXACTLY, **AT_MOST}.items():
        for entry in raw["steps"].get(name, [[0, -1, -1, -1, -1]]):
            good = tuple(entry[1:]) == want if name in EXACTLY else all(
                0 <= there <= most for there, most in zip(entry[1:], want))
            if not good:
                found.append(f"{name}: {tuple(entry[1:])} {COUNTS}, not {want}")
    return sorted(set(found))


def show_one(raw: dict) -> list[str]:
    """A table."""
    lines = []
    for kind, title in (("arcs", "arc"), ("steps", "step, prepare and load")):
        lines += ["", f"{title:36} {'us: median (range)':28} {'reads':>12} {'writes':>12} "
                      f"{'config reads':>14} {'config writes':>14}"]
        for name, entries in raw[kind].items():
            reads, writes, config_reads, config_writes = _counts(entries)
            lines.append(f"{name:36} {spread([entry[0] for entry in entries]):28} {reads:>12} {writes:>12} "
                         f"{config_reads:>14} {config_writes:>14}")
    saved = [each for cost in map(Cost._make, raw["costs"]) if cost.phase == "bytes" for each in cost.each]
    return [*lines, "", f"bytes saved and loaded: {spread(saved)}"]


def show_many(raw: dict) -> list[str]:
    """How it grows with the number of VFs."""
    costs = [Cost._make(cost) for cost in raw["costs"]]
    lines = []
    for way in ("turns", "threads"):
        rows = []
        for vfs in sorted({cost.vfs for cost in costs}):
            parts = {phase: [cost.whole / 1000 for cost in costs
                             if (cost.vfs, cost.way, cost.phase) == (vfs, way, phase)] for phase in STILL}
            wholes = [sum(values) for values in zip(*parts.values())]
            if wholes:
                rows.append(Row(f"{vfs} VFs", wholes, ", ".join(
                    f"{phase} {number(median(values))}" for phase, values in parts.items())))
        lines += chart(f"VFs that move at once, while their guest would stand still, in {way}", rows, "ms")
    return lines
