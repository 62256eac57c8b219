#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Run CBMC on the harnesses, tell the outcome as TAP.

    prove.py proofs     each prove_*.c: every property holds (bounded only by
                        loops that CBMC shows to end within the bound), every
                        property is reachable, and so is every line of fsm.c
    prove.py mutants    each defect in mutants.txt makes the proof fail

Everything CBMC says is left in the output directory, with a counterexample for
what fails. The environment may set CBMC, CORE and O.
"""

import concurrent.futures
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
CBMC = os.environ.get("CBMC", "cbmc").split()
CORE = Path(os.environ.get("CORE", HERE / "../../driver/core")).resolve()
OUT = Path(os.environ.get("O", HERE / "out")).resolve()
PLAIN = ("fsm.c", "fsm.h", "plain.h")   # all that the state machine is made of
LIMIT = 300                             # seconds for one run of CBMC

CHECKS = """
    --bounds-check --pointer-check --pointer-overflow-check --pointer-primitive-check
    --signed-overflow-check --unsigned-overflow-check --conversion-check
    --undefined-shift-check --div-by-zero-check --unwinding-assertions
""".split()


class Harness(NamedTuple):
    """A prove_*.c: how far its loops are unwound, what else is checked."""

    unwind: int
    checks: tuple
    prefixes: tuple     # of the properties it has


# CBMC fails a proof if a loop can go on for longer than it is unwound. Names of
# steps are asked for by numbers that are no steps: no check of enums there.
HARNESSES = {
    "plan": Harness(6, ("--enum-range-check",), ("plan", "state")),
    "transition": Harness(6, ("--enum-range-check",), ("transition",)),
    "names": Harness(22, (), ("names",)),
}

# Said of every run for reachability, where the bound is not in question.
EXPECTED_WARNING = re.compile(r"unwinding-assertions")


class Broken(Exception):
    """CBMC came to no result."""


class Point(NamedTuple):
    """A line of TAP."""

    good: bool
    name: str
    notes: tuple = ()


def command(name: str, core: Path, *options: str) -> list[str]:
    """The command line for CBMC on a harness and the state machine in core."""
    return [*CBMC, "--gcc", "-I", str(core), "--unwind", str(HARNESSES[name].unwind),
            str(HERE / f"prove_{name}.c"), str(core / "fsm.c"), *options]


def cbmc(name: str, core: Path, log: Path, *options: str) -> list[dict]:
    """Run CBMC on a harness, return what it says (a list of objects)."""
    line = command(name, core, "--json-ui", *options)
    try:
        done = subprocess.run(line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, check=False, timeout=LIMIT)
    except FileNotFoundError:
        raise Broken(f"no {CBMC[0]} here; 'scripts/lab prove' brings its own") from None
    except subprocess.TimeoutExpired:
        raise Broken(f"no result within {LIMIT} s") from None
    log.write_bytes(done.stdout + done.stderr)
    try:
        said = json.loads(done.stdout)
    except ValueError:
        raise Broken(f"status {done.returncode}, see {log}") from None
    for message in said:
        text = message.get("messageText", "")
        serious = message.get("messageType") in ("WARNING", "ERROR")
        if serious and not EXPECTED_WARNING.search(text):
            raise Broken(f"{text.strip().splitlines()[0]}, see {log}")
    return said


def part(said: list[dict], key: str, log: Path) -> list[dict]:
    """The one object of CBMC's output that is asked for."""
    for message in said:
        if key in message:
            return message[key]
    raise Broken(f"no result, see {log}")


def place(thing: dict) -> str:
    """Where in the source something is."""
    where = thing.get("sourceLocation", {})
    return f"{Path(where.get('file', '?')).name}:{where.get('line', '?')}"


def is_named(prop: dict) -> bool:
    """Whether a property is a PROVE(); else CBMC has made it."""
    return ".assertion." in prop["property"]


def label(name: str, prop: dict) -> str:
    """What TAP calls a property: its own name, or CBMC's kind of check."""
    return prop["description"] if is_named(prop) else f"{name}: {prop['property'].split('.')[-2]}"


def properties(name: str, core: Path, log: Path) -> list[dict]:
    """All properties of a harness, with their status."""
    said = cbmc(name, core, log, *CHECKS, *HARNESSES[name].checks)
    found = [prop for prop in part(said, "result", log)
             if not prop["description"].startswith("can happen: ")]
    for prop in found:
        if is_named(prop) and prop["description"].split(":")[0] not in HARNESSES[name].prefixes:
            raise Broken(f"unexpected property '{prop['description']}'")
    return found


def counterexample(name: str, core: Path, prop: dict, log: Path) -> str:
    """Have CBMC write down how a property fails."""
    line = command(name, core, *CHECKS, *HARNESSES[name].checks,
                   "--property", prop["property"], "--compact-trace")
    with open(log, "wb") as output:
        subprocess.run(line, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False,
                       timeout=LIMIT)
    return f"{prop['description']} ({place(prop)}), counterexample in {log}"


def proof(name: str) -> list[Point]:
    """Every property holds: one point each, and one for each kind of automatic check."""
    log = OUT / f"{name}.json"
    groups = {}
    for prop in properties(name, CORE, log):
        groups.setdefault(label(name, prop), []).append(prop)
    points = []
    for title, group in groups.items():
        failed = [prop for prop in group if prop["status"] != "SUCCESS"]
        notes = [counterexample(name, CORE, prop, OUT / f"{prop['property']}.trace")
                 for prop in failed[:3]]
        if not is_named(group[0]):
            inside = sum(place(prop).startswith("fsm.c:") for prop in group)
            title += f": {len(group)} checks, {inside} of them in fsm.c"
        points.append(Point(not failed, title, tuple(notes)))
    if not any(is_named(group[0]) for group in groups.values()):
        points.append(Point(False, f"{name}: no property was found"))
    return points


def reachable(name: str) -> list[Point]:
    """No property holds only because its case never comes up."""
    log = OUT / f"{name}-reach.json"
    said = cbmc(name, CORE, log, "--no-standard-checks", "--cover", "assertion")
    points, missed, count = [], [], 0
    for goal in part(said, "goals", log):
        good = goal["status"] == "satisfied"
        if goal["description"].startswith("can happen: "):
            points.append(Point(good, f"{name}: {goal['description']}", (place(goal),)))
        elif place(goal).startswith("prove_"):
            count += 1
            if not good:
                missed.append(f"never reached: {goal['description']} ({place(goal)})")
    points.append(Point(bool(count) and not missed,
                        f"{name}: each of {count} properties is reachable", tuple(missed)))
    return points


def lines(name: str) -> dict[int, bool]:
    """Which lines of fsm.c this harness gets to, of those that do something."""
    log = OUT / f"{name}-lines.json"
    said = cbmc(name, CORE, log, "--no-standard-checks", "--cover", "location")
    found = {}
    for goal in part(said, "goals", log):
        for numbers in re.findall(r"/fsm\.c:\w+:([\d,-]+)", goal["description"]):
            for number in unfold(numbers):
                found[number] = found.get(number, False) or goal["status"] == "satisfied"
    return found


def unfold(numbers: str) -> list[int]:
    """The numbers in "3,5-7"."""
    ends = [span.split("-") for span in numbers.split(",")]
    return [number for span in ends for number in range(int(span[0]), int(span[-1]) + 1)]


def covered(pool) -> list[Point]:
    """Every line of fsm.c is part of some proof."""
    reached = {}
    for found in pool.map(lines, HARNESSES):
        for number, good in found.items():
            reached[number] = reached.get(number, False) or good
    missed = [f"never reached: fsm.c:{number}" for number in sorted(reached) if not reached[number]]
    return [Point(bool(reached) and not missed,
                  f"fsm.c: each of {len(reached)} lines of code is reached", tuple(missed))]


def proofs(pool):
    """All harnesses, the proof and then whether it says anything."""
    for run in (proof, reachable):
        for points in pool.map(guarded(run), HARNESSES):
            yield from points
    try:
        yield from covered(pool)
    except Broken as error:
        yield Point(False, "fsm.c: each line is reached", (str(error),))


def guarded(run):
    """Make no result a failure."""
    def safe(name: str) -> list[Point]:
        try:
            return run(name)
        except Broken as error:
            return [Point(False, f"{name}: {run.__name__}", (str(error),))]
    return safe


class Mutant(NamedTuple):
    """A defect: what it is, which property finds it, how sed makes it."""

    name: str
    about: str
    expect: str
    script: str


def all_mutants() -> list[Mutant]:
    """What is in mutants.txt."""
    found = []
    for section in re.split(r"^\[", (HERE / "mutants.txt").read_text(), flags=re.MULTILINE)[1:]:
        title, about, expect, script = section.split("\n", 3)
        found.append(Mutant(title.rstrip("]"), about.removeprefix("# "),
                            expect.removeprefix("expect "), script))
    return found


def mutate(mutant: Mutant, core: Path) -> bool:
    """Make a copy of the state machine with the defect; whether it differs."""
    shutil.rmtree(core, ignore_errors=True)
    core.mkdir(parents=True)
    for file in PLAIN:
        shutil.copy(CORE / file, core)
    changed = False
    for file in ("fsm.c", "fsm.h"):
        text = (core / file).read_bytes()
        subprocess.run(["sed", "-i", "-e", mutant.script, str(core / file)], check=True)
        changed |= (core / file).read_bytes() != text
    return changed


def kill(mutant: Mutant) -> Point:
    """The proof fails, and at the property that it should."""
    title = f"mutant {mutant.name}: breaks '{mutant.expect}'"
    core = OUT / "mutants" / mutant.name
    prefix = mutant.expect.split(":")[0]
    name = next(name for name, harness in HARNESSES.items() if prefix in harness.prefixes)
    try:
        if not mutate(mutant, core):
            return Point(False, title, (mutant.about, "its sed script changes nothing any more"))
        found = properties(name, core, core / "proof.json")
    except Broken as error:
        return Point(False, title, (mutant.about, str(error)))
    failed = sorted({label(name, prop) for prop in found if prop["status"] == "FAILURE"})
    return Point(mutant.expect in failed, title,
                 (mutant.about, *(f"fails: {what}" for what in failed or ["nothing"])))


def mutants(pool):
    """Each defect is found by the property that is there for it."""
    yield from pool.map(kill, all_mutants())


def report(points) -> int:
    """Print TAP; the exit status."""
    total = failed = 0
    print("TAP version 13")
    for point in points:
        total += 1
        failed += not point.good
        print(f"{'' if point.good else 'not '}ok {total} - {point.name}", flush=True)
        if not point.good:
            for note in point.notes:
                print(f"#   {note}", flush=True)
    print(f"1..{total}")
    if failed:
        print(f"# {failed} of {total} failed")
    return 1 if failed or not total else 0


def main(arguments: list[str]) -> int:
    """Do what the command line says."""
    runs = {"proofs": proofs, "mutants": mutants}
    if len(arguments) != 1 or arguments[0] not in runs:
        print(__doc__, file=sys.stderr)
        return 2
    OUT.mkdir(parents=True, exist_ok=True)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return report(runs[arguments[0]](pool))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
