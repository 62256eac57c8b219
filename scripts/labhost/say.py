# SPDX-License-Identifier: GPL-2.0
"""Messages for the person (or the CI log) watching the lab.

Every line carries the seconds since the start, because most questions about a
lab are "what is it doing" and "how long does that take".
"""

import contextlib
import sys
import threading
import time

_start = time.monotonic()
_lock = threading.Lock()
_local = threading.local()


class LabError(Exception):
    """Something the user must know; the message is the whole story."""


def info(message: str) -> None:
    """Print one line at once, whole even when several threads talk."""
    label = getattr(_local, "label", "")
    with _lock:
        print(f"[{time.monotonic() - _start:6.1f}s] {label}{message}", flush=True)


def raw(text: str) -> None:
    """Pass on text of the guest as it came."""
    with _lock:
        sys.stdout.write(text)
        sys.stdout.flush()


@contextlib.contextmanager
def labelled(label: str):
    """Let this thread's lines begin with a name: several steps may run at once."""
    before = getattr(_local, "label", "")
    _local.label = f"{label}: "
    try:
        yield
    finally:
        _local.label = before


@contextlib.contextmanager
def step(what: str):
    """Say what begins, and how long it took."""
    info(f"{what} ...")
    began = time.monotonic()
    yield
    info(f"{what}: done in {time.monotonic() - began:.1f} s")
