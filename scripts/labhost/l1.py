# SPDX-License-Identifier: GPL-2.0
"""Run one command in one L1: start it, show what it says, end it, judge it."""

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import NamedTuple

from . import artifacts, cache, qemu, say, source, splat, tree

BOOT_LIMIT = 300
POWER_OFF_LIMIT = 60
# An inner guest on a third of a core boots so slowly that time limits strike.
MOST_AT_ONCE = max(2, (os.cpu_count() or 2) // 2)
# What QEMU says of any emulated EPYC, and of a hub that leads nowhere (on purpose).
_EXPECTED = re.compile(r"TCG doesn't support requested feature|is not connected to host network")
BROKEN = 125  # exit status when L1 itself failed, not the command
DEAF = "does not take NMIs any more"
_LISTEN = 5   # s between two looks for that


class Request(NamedTuple):
    """What to run, and how."""

    kernel: str
    command: list
    timeout: float = 1800
    verbose: bool = False
    accel: str | None = None
    bare: bool = False        # only the kernel's own modules
    interactive: bool = False
    old: bool = False         # with /bookworm and what is there
    more: Path | None = None  # a directory for the job's
    shown: bool = True        # what the command says; two at a time would mix
    kselftests: bool = False  # /artifacts/kselftest is there


class Result(NamedTuple):
    """What came of it."""

    status: int
    job: Path
    problems: list  # why the run counts as failed, apart from the status
    deaf: bool = False  # an emulated CPU hung: it says nothing of what ran in L1

    @property
    def passed(self) -> bool:
        """Whether all went well."""
        return self.status == 0 and not self.problems

    def output(self) -> str:
        """All that the command said."""
        path = self.job / "output.log"
        return path.read_bytes().decode(errors="replace") if path.is_file() else ""


def _consoles(job: Path) -> list[Path]:
    """L1's console, and those of the inner guests if the command keeps them in /job."""
    return sorted([*job.glob("*-console.log"), *job.glob("*.console")])


class _Tail:
    """Shows a growing file as it grows, line by line if it has a prefix."""

    def __init__(self, path: Path, prefix: str = ""):
        self._path = path
        self._prefix = prefix
        self._position = 0
        self._rest = ""

    def pump(self, last: bool = False) -> None:
        """Show what is new."""
        try:
            with open(self._path, "rb") as handle:
                handle.seek(self._position)
                data = handle.read()
        except FileNotFoundError:
            return
        self._position += len(data)
        # \r: QEMU and the guest's tty layer end lines with \r\n
        text = data.decode(errors="replace").replace("\r", "")
        if not self._prefix:
            if text:
                say.raw(text)
            return
        lines = (self._rest + text).split("\n")
        self._rest = "" if last else lines.pop()
        say.raw("".join(f"{self._prefix}{line}\n" for line in lines if line))


class _Screen:
    """What the user sees: the command's output, with -v every console in the job directory."""

    def __init__(self, job: Path, request: Request):
        self._job = job
        self._verbose = request.verbose
        self._tails = {}
        if request.shown and not request.interactive:
            self._tails["output.log"] = _Tail(job / "output.log")

    def pump(self, last: bool = False) -> None:
        """Show what is new everywhere."""
        if self._verbose:
            for path in _consoles(self._job):
                short = path.stem.removesuffix("-console")
                self._tails.setdefault(path.name, _Tail(path, f"{short}| "))
        for one in list(self._tails.values()):
            one.pump(last)


def _write_command(job: Path, request: Request) -> None:
    """The script that L1's process 1 runs."""
    lines = ["# SPDX-License-Identifier: GPL-2.0", "cd /project"]
    if request.interactive:
        size = shutil.get_terminal_size()
        lines += [f"stty sane rows {size.lines} cols {size.columns}",
                  f"export TERM={shlex.quote(os.environ.get('TERM', 'linux'))}"]
    lines.append(shlex.join(request.command))
    if request.interactive:
        lines += ["echo", "echo 'This is L1. Ctrl-D or exit ends it. Logs: /job'", "bash -i"]
    (job / "command").write_text("\n".join(lines) + "\n")


def _over(job: Path, request: Request, began: float, ended: float | None) -> str | None:
    """Why the machine must be ended now, if it must."""
    now = time.monotonic()
    if ended is not None:
        late = now - ended > POWER_OFF_LIMIT
        return f"L1 did not power off within {POWER_OFF_LIMIT} s" if late else None
    if not (job / "started").exists():
        late = now - began > BOOT_LIMIT
        return f"L1 did not come up within {BOOT_LIMIT} s" if late else None
    if request.interactive or now - began <= request.timeout:
        return None
    return f"the time limit of {request.timeout:.0f} s is over"


def _watch(process: subprocess.Popen, job: Path, request: Request) -> str | None:
    """Wait for the machine to end; returns why it had to be ended, if so."""
    screen = _Screen(job, request)
    began = time.monotonic()
    ended = None
    why = None
    listened = began
    while process.poll() is None and not why:
        screen.pump()
        if ended is None and (job / "exit-code").exists():
            ended = time.monotonic()
        why = _over(job, request, began, ended)
        if not why and time.monotonic() - listened > _LISTEN:
            listened = time.monotonic()
            cpu = splat.deaf(job / "l1-console.log")
            why = f"L1's CPU {cpu} {DEAF}" if cpu is not None else None
        time.sleep(0.1)
    if process.poll() is None:
        process.kill()
    process.wait()
    screen.pump(last=True)
    return why


@contextlib.contextmanager
def _terminal_kept():
    """Put the terminal back as it was: QEMU sets it raw and may be ended hard."""
    before = termios.tcgetattr(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


@contextlib.contextmanager
def _machine(line: list[str], job: Path, interactive: bool):
    """The QEMU process; gone when the block is left, however it is left."""
    with open(job / "l1-qemu.log", "wb") as log:
        talk = {} if interactive else {"stdin": subprocess.DEVNULL, "stdout": log,
                                       "start_new_session": True}
        process = subprocess.Popen(line, stderr=log, **talk)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


def _exit_code(job: Path) -> int | None:
    try:
        return int((job / "exit-code").read_text())
    except (FileNotFoundError, ValueError):
        return None


def _judge(job: Path, why: str | None, interactive: bool) -> Result:
    """Put together status, ended-by-us and kernel complaints."""
    problems = [why] if why else []
    status = _exit_code(job)
    if status is None and interactive and not why:
        status = 0  # somebody typed poweroff
    if status is None:
        status = BROKEN
        if not why:
            problems.append("L1 ended before the command did")
    problems += [f"kernel complaint on L1's console: {line}"
                 for line in splat.find(job / "l1-console.log")[:5]]
    return Result(status, job, problems, bool(why) and why.endswith(DEAF))


def _report(result: Result, took: float) -> None:
    """Tell the user how it went, with the console's end if L1 itself broke."""
    if result.status == BROKEN:
        for name in ("l1-console.log", "l1-qemu.log"):
            path = result.job / name
            lines = path.read_text(errors="replace").splitlines() if path.is_file() else []
            lines = [line for line in lines if not _EXPECTED.search(line)]
            if lines:
                say.info("\n".join([f"end of {name}:", *lines[-25:]]))
    for problem in result.problems:
        say.info(f"FAILED: {problem}")
    for console in _consoles(result.job):
        for line in splat.find(console)[:3] if console.name != "l1-console.log" else ():
            say.info(f"note: kernel complaint in {console.name}: {line}")
    say.info(f"L1 ran {took:.1f} s, the command's status is {result.status}; logs: {result.job}")


def _short_name(request: Request) -> str:
    """A word for the log directory: the script that runs, else the program."""
    scripts = [Path(word).stem for word in request.command if word.endswith(".py")]
    word = "shell" if request.interactive else (scripts or [Path(request.command[0]).name])[0]
    return "".join(letter for letter in word if letter.isalnum() or letter in "-_")[:30]


def _one_line(command: list[str]) -> str:
    text = " ".join(shlex.join(command).split())
    return text if len(text) <= 100 else f"{text[:97]}..."


def run(request: Request) -> Result:
    """Boot an L1, run the command in it, power it off; the log directory stays."""
    where, version = tree.for_series(request.kernel)
    exported = artifacts.build(where, version, request.bare, request.kselftests)
    accel = qemu.choose(request.accel, exported)
    job = cache.new_job(f"{request.kernel}-{_short_name(request)}")
    _write_command(job, request)
    if request.more:
        request.more.rename(job / request.more.name)
    is_old = tree.OF_SERIES.get(request.kernel) is tree.BOOKWORM
    root = tree.get(tree.TRIXIE) if is_old else where
    line = qemu.line(root.path, accel, exported, job, source.CHECKOUT, request.old or is_old,
                     request.interactive)
    (job / "l1-qemu.cmdline").write_text(shlex.join(line) + "\n")
    say.info(f"L1 with kernel {version} ({accel}): {_one_line(request.command)}")
    say.info(f"logs: {job}")
    with contextlib.ExitStack() as stack:
        if request.interactive:
            stack.enter_context(_terminal_kept())
        else:
            stack.enter_context(cache.slot("L1", MOST_AT_ONCE))
        began = time.monotonic()
        process = stack.enter_context(_machine(line, job, request.interactive))
        why = _watch(process, job, request)
    result = _judge(job, why, request.interactive)
    _report(result, time.monotonic() - began)
    return result
