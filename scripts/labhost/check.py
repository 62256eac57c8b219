# SPDX-License-Identifier: GPL-2.0
"""`lab check`: everything that can be said about the checkout, as one number.

Steps that only compute run two at a time; machines run one after the other,
because two of them on two cores would spoil each other's timing.
"""

import concurrent.futures
import os
import time
from pathlib import Path
from typing import Callable, NamedTuple

from . import cache, chroot, l1, modules, say, source, static, tap, tree

FROZEN = "LAB_CHECK_LOGS"  # set when we are the copy that freeze() made
BUILT = list(tree.OF_SERIES)
BOOTED = [series.name for series in tree.TRIXIE.series]
SPARSE_ON = BOOTED[0]
CHECKPATCH_OF = BOOTED[-1]
DEMO_LIMIT = 1500
REFUSALS_LIMIT = 1500
UAPI_LIMIT = 1800
UNIT_LIMIT = 900
PROOF_LIMIT = 900
TRIES = 8           # of a run whose guest hangs
STUCK = 75          # how scripts/l1 says that
SHOWN = 20  # complaints printed per step; the log has all


class Outcome(NamedTuple):
    """What a step found."""

    count: tap.Count
    complaints: list
    log: Path


class Step(NamedTuple):
    """A named check."""

    name: str
    run: Callable  # (log path) -> Outcome


def _verdict(complaints: list[str], log: Path) -> Outcome:
    return Outcome(tap.FAILED if complaints else tap.PASSED, complaints, log)


def _native(directory: str, target: str, limit: float) -> Callable:
    """Tests that need no kernel: a make target, natively in the tree."""
    def run(log: Path) -> Outcome:
        if not (source.CHECKOUT / directory).is_dir():
            return Outcome(tap.FAILED, [f"{directory} is missing"], log)
        where = tree.get(tree.TRIXIE).path
        with cache.work(f"{log.parent.name}-{log.stem}") as work:
            source.copy(source.files(), work)
            status = chroot.run(where, ["make", "-C", f"/lab/build/{directory}", target],
                                [chroot.Bind(work, "/lab/build", "rw")], log=log, timeout=limit)
        return _from_tap(log.read_text(errors="replace"), status, [], log)
    return run


def _from_tap(output: str, status: int, problems: list[str], log: Path) -> Outcome:
    """TAP results; a failure that no test line tells of counts as one more."""
    count, complaints = tap.count(output)
    complaints += problems
    if status != 0 and not complaints:
        complaints.append(f"ended with status {status}")
        problems = complaints
    if not sum(count):
        complaints.append("no test reported anything")
        problems = complaints
    return Outcome(count + tap.FAILED if problems else count, complaints, log)


def _build(series: str) -> Callable:
    def run(log: Path) -> Outcome:
        where, version = tree.for_series(series)
        if not modules.exist():
            return Outcome(tap.FAILED, ["no Kbuild and Makefile"], log)
        built = modules.build(where, version) / "build.log"
        log.write_bytes(built.read_bytes())
        return _verdict(modules.complaints(log), log)
    return run


def _sparse(log: Path) -> Outcome:
    return _verdict(static.sparse(*tree.for_series(SPARSE_ON), log), log)


def _checkpatch(log: Path) -> Outcome:
    return _verdict(static.checkpatch(*tree.for_series(CHECKPATCH_OF), log), log)


def _demo(series: str, accel: str | None) -> Callable:
    def run(_log: Path) -> Outcome:
        command = ["python3", "/project/scripts/l1/demo.py", "--round-trips", "1"]
        result = _with_guest(series, command, DEMO_LIMIT, accel)
        complaints = list(result.problems)
        if result.status:
            complaints.append(f"the demo ended with status {result.status}")
        return _verdict(complaints, result.job)
    return run


def _with_guest(series: str, command: list[str], limit: float, accel: str | None) -> l1.Result:
    """Run something with an inner guest in L1; again, if that guest hangs.

    Documentation/lab.rst, "Known problem". Only a guest that does nothing at
    all any more counts as hanging, and every repetition is said.
    """
    for left in reversed(range(TRIES)):
        result = l1.run(l1.Request(series, command, limit, accel=accel))
        if result.status != STUCK or not left:
            return result
        say.info(f"NOTE: the inner guest hung (known problem of the lab), trying again; logs: {result.job}")
    return result


def _refusals(series: str, accel: str | None) -> Callable:
    def run(_log: Path) -> Outcome:
        command = ["python3", "/project/scripts/l1/refusals.py"]
        result = _with_guest(series, command, REFUSALS_LIMIT, accel)
        return _from_tap(result.output(), result.status, result.problems, result.job)
    return run


def _uapi_test(program: str, series: str, accel: str | None) -> Callable:
    def run(_log: Path) -> Outcome:
        line = f"python3 /project/scripts/l1/setup.py && exec /artifacts/bin/{program} 0000:01:10.0 0000:02:10.0"
        result = l1.run(l1.Request(series, ["sh", "-c", line], UAPI_LIMIT, accel=accel))
        return _from_tap(result.output(), result.status, result.problems, result.job)
    return run


def _word(outcome: Outcome) -> str:
    return "FAIL" if outcome.count.failed else "PASS"


def _guarded(step: Step, logs: Path) -> Outcome:
    """Run a step; whatever breaks in it is its failure, not the end of the check."""
    log = logs / f"{step.name.replace(' ', '-')}.log"
    log.touch()
    began = time.monotonic()
    with say.labelled(step.name):
        try:
            outcome = step.run(log)
        except Exception as error:  # pylint: disable=broad-except
            outcome = Outcome(tap.FAILED, str(error).splitlines() or [repr(error)], log)
        for complaint in outcome.complaints[:SHOWN]:
            say.info(complaint)
        hidden = len(outcome.complaints) - SHOWN
        if hidden > 0:
            say.info(f"... and {hidden} more")
    took = time.monotonic() - began
    say.info(f"{_word(outcome)} {step.name}: {outcome.count} ({took:.1f} s), log {outcome.log}")
    return outcome


def _computing() -> list[Step]:
    # First, as it takes longest: it makes the debug kernel.
    debug = Step(f"build {tree.DEBUG}", _build(tree.DEBUG))
    steps = [Step(f"build {series}", _build(series)) for series in BUILT]
    # The bookworm tree is made while the trixie tree does its steps: its build
    # goes last, so that the two builders do not wait for each other.
    return [debug, Step("unit tests", _native("selftests/unit", "check", UNIT_LIMIT)),
            Step("proof", _native("selftests/prove", "prove", PROOF_LIMIT)),
            *steps, Step("sparse", _sparse), Step("checkpatch", _checkpatch)]


def _machines(accel: str | None) -> list[Step]:
    steps = [step for series in BOOTED
             for step in (Step(f"v2 test {series}", _uapi_test("v2_test", series, accel)),
                          Step(f"refusals {series}", _refusals(series, accel)),
                          Step(f"demo {series}", _demo(series, accel)))]
    return steps + [Step(f"v2 test {tree.DEBUG}", _uapi_test("v2_test", tree.DEBUG, accel)),
                    Step(f"fail-nth {tree.DEBUG}", _uapi_test("failnth_test", tree.DEBUG, accel))]


def prove(target: str) -> int:
    """Only the proof, or that it finds defects: what it said, and its verdict."""
    log = cache.new_job(target) / f"{target}.log"
    log.touch()
    outcome = _native("selftests/prove", target, PROOF_LIMIT)(log)
    say.raw(log.read_text(errors="replace"))
    say.info(f"{_word(outcome)} {target}: {outcome.count}, log {log}")
    return 1 if outcome.count.failed else 0


def freeze(arguments: list[str]) -> None:
    """Go on in a copy of the checkout, so that edits during the check do not mix in.

    The copy lies with the logs: it also says what it was that passed or failed.
    """
    logs = cache.new_job("check")
    copy = logs / "checkout"
    source.copy(source.files(), copy)
    say.info(f"checking a copy of {source.CHECKOUT}, logs: {logs}")
    entry = copy / "scripts/lab"
    os.execve(entry, [str(entry), *arguments], {**os.environ, FROZEN: str(logs)})


def _two_at_a_time(steps: list[Step], logs: Path) -> list[Outcome]:
    """Run steps in two threads."""
    with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
        try:
            return list(pool.map(lambda step: _guarded(step, logs), steps))
        except BaseException:  # asked to end: the threads would first finish their work
            say.info("ended")
            os._exit(l1.BROKEN)  # the kernel ends what they started (see chroot.isolated)


def run(accel: str | None) -> int:
    """All steps; the last line says it all."""
    logs = Path(os.environ[FROZEN])
    computing, machines = _computing(), _machines(accel)
    steps = computing + machines
    outcomes = _two_at_a_time(computing, logs)
    outcomes += [_guarded(step, logs) for step in machines]
    total = sum((outcome.count for outcome in outcomes), tap.Count())
    say.info("all steps:")
    for step, outcome in zip(steps, outcomes):
        say.info(f"  {_word(outcome)} {step.name}: {outcome.count}")
    print(total, flush=True)
    return 1 if total.failed else 0
