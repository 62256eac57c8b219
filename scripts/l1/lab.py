# SPDX-License-Identifier: GPL-2.0
"""What everything in L1 shares: where things are, and running commands."""

import asyncio
import errno
import subprocess
import time
from pathlib import Path

JOB = Path("/job")
RUN = Path("/run/lab")              # sockets
DEBUGFS = Path("/sys/kernel/debug/vfio_pci_migration")  # a directory for each function of ours
TRAFFIC = "/artifacts/bin/traffic"
KERNEL = "/artifacts/l2/vmlinuz"
INITRAMFS = "/artifacts/l2/initramfs.cpio.gz"
RELEASE = Path("/artifacts/l2/release")     # what `uname -r` says in L2

PFS = ("0000:01:00.0", "0000:02:00.0")
EXAMPLES = ("0000:03:00.0", "0000:04:00.0")
SAMPLES = ("3f1a5f1e-0001-4c1b-8257-600000000001", "3f1a5f1e-0001-4c1b-8257-600000000002")
VF_MAC = "52:54:00:82:57:60"        # set by the administrator on both PFs
PEER_NETNS = "peer"
PEER_ADDRESS = "10.82.57.1"
GUEST_ADDRESS = "10.82.57.2"
PREFIX = 24


class LabError(Exception):
    """Something that must work did not."""


def read_from(path: Path, offset: int = 0) -> bytes:
    """What a log file has from an offset on; nothing if there is no such file.

    /job is 9p without a cache, where Linux 7.2 at times says ENODATA instead
    of end of file when the file is just growing.
    """
    found = b""
    if not path.exists():
        return found
    with open(path, "rb", buffering=0) as handle:
        handle.seek(offset)
        while True:
            try:
                part = handle.read(1 << 16)
            except OSError as error:
                if error.errno != errno.ENODATA:
                    raise
                part = b""
            if not part:
                return found
            found += part


def read_text(path: Path) -> str:
    """A log file as text."""
    return read_from(path).decode(errors="replace")


def sh(*command: str, check: bool = True, limit: float = 30) -> str:
    """Run a command, return what it said; an error quotes it."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False, timeout=limit)
    if check and done.returncode:
        raise LabError(f"{' '.join(command)}: {done.stdout.strip()}")
    return done.stdout


async def until(condition, limit: float, what: str, step: float = 0.05):
    """Wait until condition() is true, return its value; LabError after the limit."""
    end = time.monotonic() + limit
    while not (value := condition()):
        if time.monotonic() > end:
            raise LabError(f"not within {limit:.0f} s: {what}")
        await asyncio.sleep(step)
    return value


def wait_until(condition, limit: float, what: str):
    """until() where nothing else has to go on meanwhile."""
    end = time.monotonic() + limit
    while not (value := condition()):
        if time.monotonic() > end:
            raise LabError(f"not within {limit:.0f} s: {what}")
        time.sleep(0.05)
    return value
