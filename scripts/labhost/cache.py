# SPDX-License-Identifier: GPL-2.0
"""The cache directory: where everything the lab makes lives, and its locks.

Entries are built under a temporary name and renamed when complete, so an
interrupted build never counts. Two locks keep labs apart: one per entry while
it is being built, and a shared one held by everything that uses the cache, so
that `lab clean` never pulls it away from under a running L1.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import time
from pathlib import Path

from . import say

NAME = "vfio-pci-migration-lab"
MARK = ".vfio-pci-migration-lab"
KEEP_JOBS = 40
KEEP_ENTRIES = 12
KEEP_TREES = 6
KEEP_TOOLS = 2
KEEP_SOURCES = 2


def root() -> Path:
    """The cache directory, made on first use."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    path = Path(base).resolve() / NAME
    if not path.is_dir():
        path.mkdir(parents=True, exist_ok=True)
    (path / MARK).touch()
    return path


def sub(*parts: str) -> Path:
    """A directory below the cache directory, made on first use."""
    path = root().joinpath(*parts)
    path.mkdir(parents=True, exist_ok=True)
    return path


def digest(*parts) -> str:
    """A short key made of everything that went into an entry."""
    state = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode()
        state.update(len(data).to_bytes(8, "big") + data)
    return state.hexdigest()[:16]


@contextlib.contextmanager
def lock(name: str):
    """Hold the named lock alone; say so when somebody else has it."""
    with open(sub("locks") / name, "a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say.info(f"waiting for another lab that is making '{name}'")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def in_use():
    """Hold the cache as a user: any number at once, but never beside `clean`."""
    with open(sub("locks") / "in-use", "a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            say.info("waiting for another lab that is tidying up the cache")
            fcntl.flock(handle, fcntl.LOCK_SH)
        yield


@contextlib.contextmanager
def alone():
    """Hold the cache with no user beside; yields whether that was possible."""
    with open(sub("locks") / "in-use", "a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def entry(kind: str, key: str, build, lock_name: str | None = None) -> Path:
    """Return the finished entry, building it with build(temporary_dir) if needed.

    The lock is per kind (or lock_name): builds that share a lock wait for each
    other, and the one that waited finds the entry ready.
    """
    final = sub(kind) / key
    if final.is_dir():
        os.utime(final)
        return final
    with lock(lock_name or f"{kind}-{key}"):
        if final.is_dir():
            return final
        temporary = sub(kind) / f"{key}.part"
        remove(temporary)
        temporary.mkdir()
        build(temporary)
        temporary.rename(final)
    return final


def remove(path: Path) -> None:
    """Remove a directory tree, but never cross into something mounted there."""
    if not path.exists():
        return
    for line in Path("/proc/self/mounts").read_text().splitlines():
        where = line.split()[1].encode().decode("unicode_escape")
        if where == str(path) or where.startswith(f"{path}/"):
            raise say.LabError(f"{where} is mounted; not removing {path}")
    shutil.rmtree(path)


def _try_slots(handles: list) -> bool:
    for handle in handles:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    return False


@contextlib.contextmanager
def slot(name: str, count: int):
    """Be one of at most count holders of a name; waits for a free place."""
    with contextlib.ExitStack() as stack:
        handles = [stack.enter_context(open(sub("locks") / f"{name}-{number}", "a"))
                   for number in range(count)]
        if not _try_slots(handles):
            say.info(f"waiting: {count} of '{name}' are running already")
            while not _try_slots(handles):
                time.sleep(0.5)
        yield


@contextlib.contextmanager
def work(name: str):
    """A directory that is gone afterwards."""
    path = sub("work") / name
    remove(path)
    path.mkdir()
    try:
        yield path
    finally:
        remove(path)


def new_job(name: str) -> Path:
    """A fresh log directory for one run, named by time so that they sort."""
    jobs = sub("jobs")
    stamp = time.strftime("%Y%m%d-%H%M%S")
    for number in range(1000):
        path = jobs / f"{stamp}-{name}{f'-{number}' if number else ''}"
        try:
            path.mkdir()
            return path
        except FileExistsError:
            continue
    raise say.LabError(f"no free job directory in {jobs}")


def prune() -> None:
    """Drop the oldest of everything, and leftovers, when nobody uses the cache.

    Under the lock things are only moved aside, so that no other lab waits long.
    """
    with alone() as free:
        if not free:
            return
        for kind, keep in (("jobs", KEEP_JOBS), ("trees", KEEP_TREES), ("tools", KEEP_TOOLS),
                           ("artifacts", KEEP_ENTRIES),
                           ("modules", KEEP_ENTRIES), ("traffic", KEEP_ENTRIES),
                           ("uapi_tests", KEEP_ENTRIES), ("kselftests", KEEP_ENTRIES),
                           ("kselftest-source", KEEP_SOURCES)):
            entries = sorted(sub(kind).iterdir(), key=lambda path: path.stat().st_mtime)
            for path in entries[:-keep]:
                _discard(path)
        _discard(sub("work"))


def _discard(path: Path) -> None:
    """Move an entry to where empty_trash() finds it."""
    path.rename(sub("trash") / f"{path.name}-{time.time_ns()}")


def empty_trash() -> None:
    """Remove what prune() put aside, beside what is to be done: a tree takes minutes on some disks."""
    paths = list(sub("trash").iterdir())
    if paths:
        subprocess.Popen(["nice", "rm", "-rf", "--one-file-system", "--", *map(str, paths)],
                         stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                         stderr=subprocess.DEVNULL, start_new_session=True)


def clean() -> None:
    """Remove the cache directory, and only it."""
    path = root()
    if not (path / MARK).is_file():
        raise say.LabError(f"{path} does not look like a lab cache; not removing it")
    with alone() as free:
        if not free:
            raise say.LabError("a lab is running; not removing its cache")
        say.info(f"removing {path}")
        remove(path)
