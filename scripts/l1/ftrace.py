# SPDX-License-Identifier: GPL-2.0
"""The drivers' trace points: on, off, and what they have said."""

from pathlib import Path

TRACING = Path("/sys/kernel/tracing")
SYSTEMS = ("vfio_pci_migration", "igbvf_vfio_pci")


def switch(on: bool) -> None:
    """QEMU's time stamps are CLOCK_MONOTONIC here: so are the trace's. On begins with nothing."""
    if on:
        (TRACING / "trace_clock").write_text("mono")
        (TRACING / "buffer_size_kb").write_text("4096")
        (TRACING / "trace").write_text("")
    for system in SYSTEMS:
        (TRACING / f"events/{system}/enable").write_text("1" if on else "0")


def said() -> str:
    """All since they were switched on, or since the last time; then it is forgotten."""
    text = (TRACING / "trace").read_text(encoding="ascii", errors="replace")
    (TRACING / "trace").write_text("")
    return text
