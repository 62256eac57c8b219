# SPDX-License-Identifier: GPL-2.0
"""`lab check`: everything that can be said about the checkout, as one number.

Steps run two at a time, but for those with an inner guest: two of these on two
cores would spoil each other's timing.
"""

import concurrent.futures
import fnmatch
import os
import time
from pathlib import Path
from typing import Callable, NamedTuple

from . import cache, chroot, docs, kselftests, l1, modules, packaging, say, source, static, tap, tree

FROZEN = "LAB_CHECK_LOGS"  # set when we are the copy that freeze() made
BOOTED = list(tree.OF_SERIES)
SPARSE_ON = "6.12"
FAULTS_ON = "6.12"   # takes long, and says little about the kernel
DIRTY_ON = ("6.12", "6.1")
# Of 6.12 and later, only a kernel with iommufd has DMA logging; what 6.1 cannot show.
LOG_TESTS = "log_offered log_iommufd log_receive_mapped log_states log_scope log_storm"
VFS = "0000:01:10.0 0000:02:10.0"
TROUBLE_ON = "6.12"
EXAMPLE_ON = "6.12"
OBSERVE_ON = "6.12"
MODES_ON = "6.12"    # silicon_test and what follows from it
# What is said of every device. Not what closes it in any state: mtty stays in it, and oopses.
ON_MTTY = ("'feature*' 'arc_*' data_size same_state save_again reset_everywhere read_pieces wrong_direction "
           "closed_fd fd_after_leave fd_after_reset 'precopy_[cri]*' load_blank write_pieces truncated_reset "
           "signal_storm 'set_state_*' bad_buffers")
SCRIPTS_OF = "7.2"     # checkpatch, kernel-doc
CLANG_ON = ("6.12", "7.2")
DOORS = ("v2", "v1")
COSTS_ON = "6.12"
REFUSALS_OF = (("6.12", "v2"), ("6.12", "v1"), ("7.2", "v2"))
DEMO_LIMIT = 1500
REFUSALS_LIMIT = 1500
COSTS_LIMIT = 900
UAPI_LIMIT = 900
KSELFTESTS_LIMIT = 1200
SLOWER = 3          # the debug kernel, compared to others
UNIT_LIMIT = 900
PROOF_LIMIT = 900
TRIES = 5           # of a run whose guest hangs
STUCK = 75          # how scripts/l1 says that
SETUP = "python3 /project/scripts/l1/setup.py"
ERRORS = "python3 /project/scripts/l1/hardware.py"
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


def _build_without_faults(log: Path) -> Outcome:
    """As users build it who do not ask for fault injection: nothing of it may be there."""
    where, version = tree.for_series(SPARSE_ON)
    with cache.work(f"{log.parent.name}-{log.stem}") as work:
        source.copy(source.module_files(), work)
        status = modules.make(where, version, work, log, "W=1", "modules", faults=False)
        left = [] if status == 0 else [f"make ended with status {status}"]
        if (work / "driver/core/fault.o").exists():
            left.append("driver/core/fault.c was compiled")
    return _verdict(modules.complaints(log) + left, log)


def _sparse(log: Path) -> Outcome:
    return _verdict(static.sparse(*tree.for_series(SPARSE_ON), log), log)


def _docs(log: Path) -> Outcome:
    return _verdict(docs.sphinx(log), log)


def _packaging(log: Path) -> Outcome:
    status = packaging.run(log)
    return _from_tap(log.read_text(errors="replace"), status, [], log)


def _kselftests_build(log: Path) -> Outcome:
    status = kselftests.in_tree(log)
    return _verdict([f"building them in a kernel's tree ended with status {status}"] if status else [], log)


def _checkpatch(log: Path) -> Outcome:
    return _verdict(static.checkpatch(*tree.for_series(SCRIPTS_OF), log), log)


def _clang(series: str) -> Callable:
    def run(log: Path) -> Outcome:
        return _verdict(static.clang(tree.for_series(series)[1], log), log)
    return run


def _spelling(log: Path) -> Outcome:
    return _verdict(docs.spelling(log), log)


def _coccinelle(log: Path) -> Outcome:
    return _verdict(static.coccinelle(tree.for_series(SCRIPTS_OF)[1], log), log)


def _kernel_doc(log: Path) -> Outcome:
    return _verdict(static.kernel_doc(*tree.for_series(SCRIPTS_OF), log), log)


def _door(door: str) -> list[str]:
    """What tells a script in L1 which door to take."""
    return ["--v1"] if door == "v1" else []


def _demo(series: str, door: str, accel: str | None) -> Callable:
    def run(_log: Path) -> Outcome:
        command = ["python3", "/project/scripts/l1/demo.py", "--round-trips", "1", *_door(door)]
        result = _with_guest(series, command, DEMO_LIMIT, accel)
        complaints = list(result.problems)
        if result.status:
            complaints.append(f"the demo ended with status {result.status}")
        return _verdict(complaints, result.job)
    return run


def _with_guest(series: str, command: list[str], limit: float, accel: str | None) -> l1.Result:
    """Run something with an inner guest in L1; again, if that guest or its CPU hangs.

    Documentation/lab.rst, "Interrupts that come twice". Only a guest that does nothing at
    all any more, or a CPU that does not take NMIs, counts, and every repetition is said.
    """
    for left in reversed(range(TRIES)):
        result = l1.run(l1.Request(series, command, limit, accel=accel, old=True))
        if not left or not (result.status == STUCK or result.deaf):
            return result
        say.info(f"NOTE: the inner guest hung (see Documentation/lab.rst), trying again; logs: {result.job}")
    return result


def _tap_with_guest(series: str, limit: float, accel: str | None, script: str, *options: str) -> Callable:
    """A script in L1 that says TAP and has an inner guest."""
    def run(_log: Path) -> Outcome:
        command = ["python3", f"/project/scripts/l1/{script}.py", *options]
        result = _with_guest(series, command, limit, accel)
        return _from_tap(result.output(), result.status, result.problems, result.job)
    return run


def _uapi_test(program: str, series: str, accel: str | None, driver: str = "igbvf-vfio-pci",
               devices: str = VFS, settings: str = "", options: str = "") -> Callable:
    def run(_log: Path) -> Outcome:
        line = (f"{SETUP} --driver {driver} {settings} && "
                f"exec /artifacts/bin/{program} {options} {devices}")
        limit = UAPI_LIMIT * (SLOWER if series == tree.DEBUG else 1)
        result = l1.run(l1.Request(series, ["sh", "-c", line], limit, accel=accel, shown=False))
        return _from_tap(result.output(), result.status, result.problems, result.job)
    return run


def _script(line: str, series: str, accel: str | None, limit: float = UAPI_LIMIT,
            suite: bool = False) -> Callable:
    """A script in L1 that says TAP and needs no inner guest; suite: it needs the kernel's selftests."""
    def run(_log: Path) -> Outcome:
        name, *options = line.split()
        command = ["python3", f"/project/scripts/l1/{name}.py", *options]
        result = l1.run(l1.Request(series, command, limit, accel=accel, shown=False, kselftests=suite))
        return _from_tap(result.output(), result.status, result.problems, result.job)
    return run


def _time_line(series: str, accel: str | None) -> Callable:
    def run(_log: Path) -> Outcome:
        result = _with_guest(series, ["python3", "/project/scripts/l1/trace.py"], DEMO_LIMIT, accel)
        complaints = list(result.problems)
        if result.status or "the guest did not run for" not in result.output():
            complaints.append(f"no time line, status {result.status}")
        return _verdict(complaints, result.job)
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
    steps = [Step(f"build {series}", _build(series)) for series in BOOTED]
    # The bookworm tree is made while the trixie tree does its steps: its build
    # goes last, so that the two builders do not wait for each other.
    return [debug, Step("unit tests", _native("selftests/unit", "check", UNIT_LIMIT)),
            Step("script tests", _native("selftests/scripts", "check", UNIT_LIMIT)),
            Step("proof", _native("selftests/prove", "prove", PROOF_LIMIT)),
            *steps, Step("build without faults", _build_without_faults),
            Step("sparse", _sparse), Step("checkpatch", _checkpatch),
            Step("kernel-doc", _kernel_doc), Step("docs", _docs), Step("spelling", _spelling),
            Step("coccinelle", _coccinelle), Step("build kselftests", _kselftests_build),
            *(Step(f"clang {series}", _clang(series)) for series in CLANG_ON), Step("packaging", _packaging)]


def _programs(accel: str | None) -> list[Step]:
    # What takes longest comes first.
    return [Step(f"fault test {FAULTS_ON}", _uapi_test("fault_test", FAULTS_ON, accel)),
            *(Step(f"{name} {tree.DEBUG}", _uapi_test(f"{name}_test", tree.DEBUG, accel))
              for name in ("v2", "v1", "failnth", "drain")),
            # Only this kernel has the sample, and IOMMUFD, which libvfio needs.
            Step("v2 test with mtty", _uapi_test("v2_test", tree.DEBUG, accel, "mtty",
                                            f"$(ls /sys/bus/mdev/devices) {ON_MTTY}")),
            Step("kernel's vfio selftests", _script("kselftests --short", tree.DEBUG, accel, KSELFTESTS_LIMIT,
                                                    suite=True)),
            *(Step(f"{door} test {series}", _uapi_test(f"{door}_test", series, accel))
              for series in BOOTED for door in DOORS),
            *(Step(f"drain test {series}", _uapi_test("drain_test", series, accel)) for series in BOOTED),
            *(Step(f"dirty test {series}", _uapi_test("dirty_test", series, accel,
                                                      settings="--set dirty_tracking=Y"))
              for series in DIRTY_ON),
            Step(f"trouble test {TROUBLE_ON}", _uapi_test("trouble_test", TROUBLE_ON, accel,
                                                          options=f"-s '{SETUP}' -e '{ERRORS}'")),
            Step(f"modes {MODES_ON}", _script("modes", MODES_ON, accel)),
            Step(f"log test {tree.DEBUG}", _uapi_test("dirty_test", tree.DEBUG, accel,
                                                      devices=f"{VFS} {LOG_TESTS}",
                                                      settings="--set dirty_tracking=Y")),
            Step(f"example {EXAMPLE_ON}", _uapi_test("edu_test", EXAMPLE_ON, accel, "edu-vfio-pci",
                                                     "0000:03:00.0 0000:04:00.0")),
            Step(f"observe {OBSERVE_ON}", _script("observe", OBSERVE_ON, accel))]


def _guests(accel: str | None) -> list[Step]:
    return [Step(f"time line {OBSERVE_ON}", _time_line(OBSERVE_ON, accel)),
            Step(f"costs {COSTS_ON}", _tap_with_guest(COSTS_ON, COSTS_LIMIT, accel, "bench", "--short")),
            *(Step(f"refusals {door} {series}",
                   _tap_with_guest(series, REFUSALS_LIMIT, accel, "refusals", *_door(door)))
              for series, door in REFUSALS_OF),
            *(Step(f"demo {door} {series}", _demo(series, door, accel))
              for series in BOOTED for door in DOORS)]


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


def names() -> list[str]:
    """What the steps are called."""
    return [step.name for step in [*_computing(), *_programs(None), *_guests(None)]]


def _only(steps: list[Step], patterns: list[str]) -> list[Step]:
    return [step for step in steps
            if not patterns or any(fnmatch.fnmatch(step.name, pattern) for pattern in patterns)]


def run(accel: str | None, patterns: list[str]) -> int:
    """All steps, or some; the last line says it all."""
    for pattern in patterns:
        if not fnmatch.filter(names(), pattern):
            raise say.LabError(f"no step is called '{pattern}'; 'lab check --list' names them")
    logs = Path(os.environ[FROZEN])
    pairs = _only([*_computing(), *_programs(accel)], patterns)
    singles = _only(_guests(accel), patterns)
    steps = pairs + singles
    outcomes = _two_at_a_time(pairs, logs)
    outcomes += [_guarded(step, logs) for step in singles]
    total = sum((outcome.count for outcome in outcomes), tap.Count())
    say.info("all steps:")
    for step, outcome in zip(steps, outcomes):
        say.info(f"  {_word(outcome)} {step.name}: {outcome.count}")
    print(total, flush=True)
    return 1 if total.failed else 0
