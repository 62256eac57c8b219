# SPDX-License-Identifier: GPL-2.0
"""`lab check`: everything that can be said about the checkout, as one number.

Steps run two at a time, but never two of those with an inner guest: on two cores they
would spoil each other's timing. Programs that want the same kernel, and nothing else of
their own, share an L1: booting one takes as long as a short program.
"""

import concurrent.futures
import fnmatch
import os
import re
import threading
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
REFUSALS_OF = (("6.12", "v2"), ("6.12", "v1"))
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
    guest: bool = False     # an inner guest runs in it


class Program(NamedTuple):
    """A named check that shares an L1 with others of the same group."""

    name: str
    series: str
    line: str               # for L1's shell; what it says is TAP
    group: str = ""
    limit: float = UAPI_LIMIT


class Job(NamedTuple):
    """What one of two workers does at a time: a step, or programs that share an L1."""

    names: list
    run: Callable  # (log path) -> Outcomes in the order of the names
    guest: bool = False


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


def _program(name: str, settings: str = "", options: str = "", devices: str = VFS,
             driver: str = "igbvf-vfio-pci") -> str:
    """The line that runs a program of selftests/vfio_migration."""
    return (f"{SETUP} --driver {driver} {settings} && "
            f"/artifacts/bin/{name} {options} {devices}")


# What the shell in L1 says between programs that share it.
_BEGINS = "# lab: program {}"
_ENDED = re.compile(r"^# lab: status (\d+) after (\d+) s$", re.MULTILINE)


def _one_after_the_other(programs: list[Program]) -> str:
    """A shell script: each program, whatever became of those before."""
    lines = [f"echo '{_BEGINS.format(n)}'; began=$(date +%s); ( {program.line} ); "
             f"echo \"# lab: status $? after $(($(date +%s) - began)) s\""
             for n, program in enumerate(programs)]
    return "\n".join(lines)


def _share_of(programs: list[Program], n: int, result: l1.Result) -> Outcome:
    """What one of them has found. What is wrong with L1 is said of the last that began."""
    output = result.output()
    _, begun, said = output.partition(f"{_BEGINS.format(n)}\n")
    if not begun:
        return Outcome(tap.FAILED, ["L1 did not get as far as that"], result.job)
    said, others, _ = said.partition(f"{_BEGINS.format(n + 1)}\n")
    ended = _ENDED.search(said)
    if ended:
        say.info(f"{programs[n].name}: {ended[2]} s")
    status = int(ended[1]) if ended else result.status or l1.BROKEN
    return _from_tap(said, status, [] if others else result.problems, result.job)


def _shared(programs: list[Program], accel: str | None) -> Job:
    """Programs in one L1."""
    series = programs[0].series
    limit = sum(program.limit for program in programs) * (SLOWER if series == tree.DEBUG else 1)

    def run(_log: Path) -> list[Outcome]:
        command = ["sh", "-c", _one_after_the_other(programs)]
        result = l1.run(l1.Request(series, command, limit, accel=accel, shown=False))
        return [_share_of(programs, n, result) for n in range(len(programs))]
    return Job([program.name for program in programs], run)


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


def _guarded(job: Job, logs: Path) -> list[Outcome]:
    """Do a job; whatever breaks in it is its failure, not the end of the check."""
    log = logs / f"{job.names[0].replace(' ', '-')}.log"
    log.touch()
    began = time.monotonic()
    with say.labelled(job.names[0]):
        try:
            outcomes = job.run(log)
        except Exception as error:  # pylint: disable=broad-except
            outcome = Outcome(tap.FAILED, str(error).splitlines() or [repr(error)], log)
            outcomes = [outcome] * len(job.names)
    took = f"{time.monotonic() - began:.1f} s"
    for name, outcome in zip(job.names, outcomes):
        with say.labelled(name):
            for complaint in outcome.complaints[:SHOWN]:
                say.info(complaint)
            hidden = len(outcome.complaints) - SHOWN
            if hidden > 0:
                say.info(f"... and {hidden} more")
        say.info(f"{_word(outcome)} {name}: {outcome.count} ({took}), log {outcome.log}")
        took = "with that"
    return outcomes


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


def _programs() -> list[Program]:
    """In the order in which they run if they share an L1. What takes longest comes first."""
    tracking = "--set dirty_tracking=Y"
    stock = [program for series in BOOTED for program in (
        *(Program(f"{door} test {series}", series, _program(f"{door}_test"), "short") for door in DOORS),
        Program(f"drain test {series}", series, _program("drain_test"), "short"),
        *([Program(f"dirty test {series}", series, _program("dirty_test", tracking), "short")]
          if series in DIRTY_ON else []))]
    return [
        Program(f"fault test {FAULTS_ON}", FAULTS_ON, _program("fault_test")),
        Program(f"drain {tree.DEBUG}", tree.DEBUG, _program("drain_test"), "drain"),
        Program(f"failnth {tree.DEBUG}", tree.DEBUG, _program("failnth_test"), "drain"),
        Program(f"v2 {tree.DEBUG}", tree.DEBUG, _program("v2_test"), "doors"),
        Program(f"v1 {tree.DEBUG}", tree.DEBUG, _program("v1_test"), "doors"),
        Program(f"log test {tree.DEBUG}", tree.DEBUG,
                _program("dirty_test", tracking, devices=f"{VFS} {LOG_TESTS}"), "doors"),
        # Only this kernel has the sample.
        Program("v2 test with mtty", tree.DEBUG,
                _program("v2_test", devices=f"$(ls /sys/bus/mdev/devices) {ON_MTTY}", driver="mtty"), "doors"),
        *stock,
        Program(f"direct test {FAULTS_ON}", FAULTS_ON,
                _program("over_test", tracking, devices=f"{VFS} 'direct_*'"), "short"),
        Program(f"trouble test {TROUBLE_ON}", TROUBLE_ON,
                _program("trouble_test", options=f"-s '{SETUP}' -e '{ERRORS}'"), "trouble"),
        Program(f"observe {OBSERVE_ON}", OBSERVE_ON, "python3 /project/scripts/l1/observe.py", "scripts"),
        Program(f"modes {MODES_ON}", MODES_ON, "python3 /project/scripts/l1/modes.py", "scripts"),
        Program(f"example {EXAMPLE_ON}", EXAMPLE_ON,
                _program("edu_test", driver="edu-vfio-pci", devices="0000:03:00.0 0000:04:00.0"), "scripts")]


def _suites(accel: str | None) -> list[Step]:
    # Only the debug kernel has IOMMUFD, which libvfio needs.
    return [Step("kernel's vfio selftests", _script("kselftests --short", tree.DEBUG, accel, KSELFTESTS_LIMIT,
                                                    suite=True))]


def _guests(accel: str | None) -> list[Step]:
    return [Step(f"time line {OBSERVE_ON}", _time_line(OBSERVE_ON, accel), True),
            Step(f"costs {COSTS_ON}", _tap_with_guest(COSTS_ON, COSTS_LIMIT, accel, "bench", "--short"), True),
            *(Step(f"refusals {door} {series}",
                   _tap_with_guest(series, REFUSALS_LIMIT, accel, "refusals", *_door(door)), True)
              for series, door in REFUSALS_OF),
            *(Step(f"demo {door} {series}", _demo(series, door, accel), True)
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


class _Queue:
    """Jobs for two workers."""

    def __init__(self, jobs: list[Job]):
        self._left = list(enumerate(jobs))
        self._changed = threading.Condition()
        self._guest = False

    def take(self) -> tuple[int, Job] | None:
        """The next job that may run now, and which it is."""
        with self._changed:
            while self._left:
                for at, (_, job) in enumerate(self._left):
                    if not (job.guest and self._guest):
                        self._guest |= job.guest
                        return self._left.pop(at)
                self._changed.wait()
        return None

    def done(self, job: Job) -> None:
        """It has ended."""
        with self._changed:
            if job.guest:
                self._guest = False
            self._changed.notify_all()


def _two_at_a_time(jobs: list[Job], logs: Path) -> list[list[Outcome]]:
    """Do jobs in two threads."""
    queue, found = _Queue(jobs), {}

    def work() -> None:
        taken = queue.take()
        while taken:
            number, job = taken
            found[number] = _guarded(job, logs)
            queue.done(job)
            taken = queue.take()

    with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
        try:
            for worker in [pool.submit(work) for _ in range(2)]:
                worker.result()
        except BaseException:  # asked to end: the threads would first finish their work
            say.info("ended")
            os._exit(l1.BROKEN)  # the kernel ends what they started (see chroot.isolated)
    return [found[number] for number in range(len(jobs))]


def _matches(name: str, patterns: list[str]) -> bool:
    return not patterns or any(fnmatch.fnmatch(name, pattern) for pattern in patterns)


def _alone(steps: list[Step], patterns: list[str]) -> list[Job]:
    """Those that are wanted, each by itself."""
    return [Job([step.name], lambda log, run=step.run: [run(log)], step.guest)
            for step in steps if _matches(step.name, patterns)]


def _together(programs: list[Program], patterns: list[str], accel: str | None) -> list[Job]:
    """Those that are wanted, in as many L1 as there are groups."""
    groups: dict = {}
    for program in programs:
        if _matches(program.name, patterns):
            groups.setdefault((program.series, program.group), []).append(program)
    return [_shared(group, accel) for group in groups.values()]


def _jobs(accel: str | None, patterns: list[str]) -> list[Job]:
    """All that is wanted, in the order in which it is begun: one of the two workers has guests."""
    return [*_alone(_computing(), patterns), *_alone(_guests(accel), patterns),
            *_together(_programs(), patterns, accel), *_alone(_suites(accel), patterns)]


def names() -> list[str]:
    """What the steps are called."""
    return [name for job in _jobs(None, []) for name in job.names]


def run(accel: str | None, patterns: list[str]) -> int:
    """All steps, or some; the last line says it all."""
    for pattern in patterns:
        if not fnmatch.filter(names(), pattern):
            raise say.LabError(f"no step is called '{pattern}'; 'lab check --list' names them")
    logs = Path(os.environ[FROZEN])
    jobs = _jobs(accel, patterns)
    named = [(name, outcome) for job, outcomes in zip(jobs, _two_at_a_time(jobs, logs))
             for name, outcome in zip(job.names, outcomes)]
    total = sum((outcome.count for _, outcome in named), tap.Count())
    say.info("all steps:")
    for name, outcome in named:
        say.info(f"  {_word(outcome)} {name}: {outcome.count}")
    print(total, flush=True)
    return 1 if total.failed else 0
