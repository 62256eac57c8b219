#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Does an operator see what happens? packaging/vf-up, the status file, the trace points.

Two VFs, moved about by v2_test. Output is TAP.
"""

import re
import subprocess
from pathlib import Path

import ftrace
import lab
import setup
import timeline
from tap import Tap

VF_UP = "/project/packaging/vf-up"
TEST = "/artifacts/bin/v2_test"
VFIO = Path("/sys/kernel/debug/vfio")   # CONFIG_VFIO_DEBUGFS
VFS = ("0000:01:10.0", "0000:02:10.0")

# Those of a move: its source is reset while it is saving.
STEPS = {"quiesce", "release", "stop", "start", "begin saving", "capture", "begin resuming", "end resuming"}
PHASES = {"dirty pages", "locks", "shield", "backend", "transactions", "stand-ins", "interrupts", "load"}

# Reads and writes of registers in steps that wait for nothing: a save reads the nine counters,
# and once whether the device is still there.
ACCESSES = {"capture": (10, 0), "stop": (0, 0), "start": (0, 0), "begin saving": (0, 0), "end saving": (0, 0)}


def _test(name: str) -> None:
    """Run one test of v2_test."""
    done = subprocess.run([TEST, *VFS, name], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                          check=False, timeout=120)
    if done.returncode:
        raise lab.LabError(f"{TEST} {name}: {done.stdout}")


def _status(vf: str) -> dict:
    text = (lab.DEBUGFS / vf / "status").read_text(encoding="ascii")
    return dict(line.split(": ", 1) for line in text.splitlines())


def _traced() -> list[timeline.Event]:
    return timeline.parse(ftrace.said())


def vf_up() -> list[str]:
    """packaging/vf-up makes, names and binds VFs, can be run again, and takes none away."""
    lab.sh("modprobe", "-a", "igb", "vfio_iommu_type1")
    faults = []
    mac = lab.VF_MAC
    for pf, vf in zip(lab.PFS, VFS):
        lab.wait_until(lambda pf=pf: list((setup.PCI / pf).glob("net/*")), 20, f"network interface of {pf}")
        for _ in range(2):
            lab.sh(VF_UP, pf, mac, limit=120)
        driver = setup.PCI / vf / "driver"
        if driver.resolve().name != setup.OURS:
            faults.append(f"{vf} has no driver of ours")
        name = next((setup.PCI / pf).glob("net/*")).name
        if mac not in lab.sh("ip", "link", "show", name):
            faults.append(f"{name}'s VF has another address")
        lab.sh("ip", "link", "set", name, "vf", "0", "spoofchk", "off")     # both have one address
        refused = lab.sh(VF_UP, pf, mac, mac, check=False, limit=120)
        if "has 1 VFs, not 2" not in refused or not driver.exists():
            faults.append(f"another number of VFs: {refused!r}")
    return faults


def fresh() -> list[str]:
    """The status of a device that has done nothing."""
    want = {"state": "not open", "door": "none", "transitions": "0", "resets": "0",
            "transactions pending": "seen 0 times", "refusals": "0", "bytes saved": "0", "bytes loaded": "0"}
    faults = [f"{vf}: {_status(vf)}" for vf in VFS if _status(vf) != want]
    if VFIO.is_dir():
        links = {link.resolve() for link in VFIO.glob("*/vfio_pci_migration")}
        faults += [f"VFIO's debugfs does not lead to {vf}" for vf in VFS if lab.DEBUGFS / vf not in links]
    return faults


def moved() -> list[str]:
    """A state goes from one VF to the other and back: what the trace says, and the counters."""
    before = [_status(vf) for vf in VFS]
    _test("move")
    events = _traced()
    faults = []
    found = {event.data["step"] for event in events if event.name == "mig_step"}
    if found != STEPS:
        faults.append(f"steps traced: {sorted(found)}")
    found = {event.data["phase"] for event in events if event.name == "mig_phase"}
    if found != PHASES:
        faults.append(f"phases traced: {sorted(found)}")
    if not any(event.name == "igbvf_queue" and "TX0 drain" in event.text.replace("queue=", "")
               for event in events):
        faults.append("no queue was drained")
    failed = [event.text for event in events if event.data.get("ret", "0") != "0"]
    faults += [f"failed: {text}" for text in failed]
    faults += _same_records(events) + _asked_and_answered(events) + _accesses(events)
    for vf, old in zip(VFS, before):
        now = _status(vf)
        arcs = sum(event.name == "mig_transition" and event.device == vf for event in events)
        if int(now["transitions"]) - int(old["transitions"]) != arcs or not arcs:
            faults.append(f"{vf}: {arcs} transitions traced, {old} -> {now}")
        faults += [f"{vf}: last stream {way}: {now.get(f'last stream {way}')}" for way in ("out", "in")
                   if not re.match(r"sequence \d+, \d+ records, \d+ bytes, whole$",
                                   now.get(f"last stream {way}", ""))]
        if not int(now["bytes saved"]) or not int(now["bytes loaded"]) or not int(now["resets"]):
            faults.append(f"{vf}: {now}")
    return faults


def _same_records(events: list[timeline.Event]) -> list[str]:
    """Each record that has gone out of one device has come into one."""
    kinds = [[(event.data["type"], event.data["length"]) for event in events
              if event.name == "mig_record" and event.text.startswith(way)] for way in ("out ", "in ")]
    if kinds[0] == kinds[1] and len(kinds[0]) >= 5:
        return []
    return [f"records out {kinds[0]}, in {kinds[1]}"]


def _accesses(events: list[timeline.Event]) -> list[str]:
    """How often a step has looked at the device: the same on any machine."""
    return [f"{event.data['step']}: {event.data['reads']} reads, {event.data['writes']} writes, not {most}"
            for event in events if event.name == "mig_step"
            for most in [ACCESSES.get(event.data["step"])]
            if most and (int(event.data["reads"]), int(event.data["writes"])) > most]


def _asked_and_answered(events: list[timeline.Event]) -> list[str]:
    """Each message to a PF has its answer, within the time that it says."""
    asked = [event for event in events if event.name == "igbvf_mbx_request" and "by=driver" in event.text]
    answers = [event for event in events if event.name == "igbvf_mbx_answer" and "by=driver" in event.text]
    if len(asked) != len(answers) or not asked:
        return [f"{len(asked)} requests, {len(answers)} answers"]
    return [f"answer without time: {event.text}" for event in answers if not event.took]


def refused() -> list[str]:
    """A broken stream: the reason is in the trace, in the status and in the kernel's log."""
    _test("foreign_early")
    faults = []
    events = [event for event in _traced() if event.name == "mig_refusal"]
    reasons = {event.data["reason"] for event in events}
    if not any("state of another" in reason for reason in reasons):
        faults.append(f"reasons traced: {sorted(reasons)}")
    hit = [vf for vf in VFS if int(_status(vf)["refusals"])]
    if not hit:
        faults.append("no device counts a refusal")
    for vf in hit:
        last = _status(vf)["last refusal"]
        if not re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC, -(E[A-Z]+|\d+): \S", last):
            faults.append(f"{vf}: last refusal: {last}")
    return faults


def gone() -> list[str]:
    """The files go when the device does, also while they are open."""
    vf = VFS[0]
    with open(lab.DEBUGFS / vf / "status", encoding="ascii") as status:
        (setup.PCI / vf / "driver/unbind").write_text(vf)
        faults = [f"{vf} is still there"] if (lab.DEBUGFS / vf).exists() else []
        try:
            faults.append(f"read after unbind: {status.read()!r}")
        except OSError:
            pass
    return faults


def main() -> int:
    """All of them, in order: each goes on where the last one ended."""
    tap = Tap()
    for case in (vf_up, fresh, moved, refused, gone):
        try:
            faults = case()
        except (lab.LabError, OSError, subprocess.SubprocessError) as error:
            faults = [repr(error)]
        tap.result(f"{case.__name__}: {case.__doc__}", faults)
        if case is vf_up:
            ftrace.switch(True)
    return tap.plan()


if __name__ == "__main__":
    raise SystemExit(main())
