# SPDX-License-Identifier: GPL-2.0
"""The drivers' trace points: on, off, and what they have said."""

from pathlib import Path

TRACING = Path("/sys/kernel/tracing")
SYSTEMS = ("vfio_pci_migration", "igbvf_vfio_pci")
PROBES = "config_space"
# All accesses to config space of a PC go through these.
CONFIG = [(f"config_{way}", f"pci_{how}_{way}") for way in ("read", "write") for how in ("conf1", "mmcfg")]


def switch(on: bool) -> None:
    """QEMU's time stamps are CLOCK_MONOTONIC here: so are the trace's. On begins with nothing."""
    if on:
        (TRACING / "trace_clock").write_text("mono")
        (TRACING / "buffer_size_kb").write_text("4096")
        (TRACING / "trace").write_text("")
    for system in SYSTEMS:
        (TRACING / f"events/{system}/enable").write_text("1" if on else "0")


def config_accesses(on: bool) -> None:
    """Those to config space, as events that are called config_read and config_write."""
    events = TRACING / "kprobe_events"
    enable = TRACING / f"events/{PROBES}/enable"
    if enable.exists():
        enable.write_text("0")
        events.write_text("")
    if not on:
        return
    events.write_text("".join(f"p:{PROBES}/{probe}_{number} {function} bus=$arg2:u32 devfn=$arg3:u32\n"
                              for number, (probe, function) in enumerate(CONFIG)))
    enable.write_text("1")


def said() -> str:
    """All since they were switched on, or since the last time; then it is forgotten."""
    text = (TRACING / "trace").read_text(encoding="ascii", errors="replace")
    (TRACING / "trace").write_text("")
    return text
