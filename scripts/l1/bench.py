#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Measure what a user feels, always beside something that everybody knows.

Downtime of a guest with a VF, beside the same guest with cards that QEMU emulates;
what our driver does meanwhile, step by step; and how fast the VF is under our driver,
beside the same VF under vfio-pci. The times of an emulated machine mean nothing, only
their ratios do, and how often registers are read and written. Raw numbers are in
/job/bench.json.
"""

import argparse
import asyncio
import json
import statistics
import time

import ftrace
import lab
import setup
import timeline
from migrate import Settings
from scene import Scene

BASE = "igb"                # what the others are compared with
VF, TRACKED = "VF", "VF, tracked"      # without and with dirty_tracking=Y
LIMITS = (20, 300)          # ms of downtime that are asked for
NO_LIMIT = 20_000           # for what does not know which pages it has written
FAST = ",-r,1000000000,-i,10000000"     # TCP as fast as it goes, hardly any datagrams
PATH_SECONDS = 8

CARDS = {"virtio": LIMITS, BASE: LIMITS, VF: (NO_LIMIT,), TRACKED: LIMITS}
# What the driver does while the guest is stopped: on the source, on the destination.
SHARE = ("quiesce", "capture", "load", "release")


def _scene(card: str) -> Scene:
    if card in (VF, TRACKED):
        return Scene(settings=("dirty_tracking=Y",) if card == TRACKED else ())
    return Scene(nic=card)


def _steps(events: list[timeline.Event]) -> dict:
    """Of each step: ms, reads and writes; with the one phase that no step contains."""
    found = {}
    for event in events:
        name = event.data.get("step" if event.name == "mig_step" else "phase")
        if event.name == "mig_step" or name == "load":
            found.setdefault(name, []).append(
                (event.took, int(event.data["reads"]), int(event.data["writes"])))
    return found


async def _migrations(card: str, limit: int, count: int) -> list[dict]:
    """Migrate a guest under traffic; downtimes in ms and bytes in the blackout."""
    scene = _scene(card)
    found = []
    try:
        scene.prepare()
        await scene.boot()
        if scene.vfs:
            ftrace.switch(True)
        for _ in range(count):
            one = await scene.migrate(Settings(downtime_limit_ms=limit))
            if not one.completed:
                raise lab.LabError(f"{card}: {one.error}")
            await scene.peer.moving(60)
            silence = scene.peer.longest_gap("peer-to-guest", one.began, one.ended + 2)
            found.append({"downtime_ms": one.numbers["downtime_ms"],
                          "blackout_bytes": one.numbers["ram_downtime_bytes"],
                          "silence_ms": silence, "steps": _steps(timeline.parse(ftrace.said()))})
    finally:
        if scene.vfs:
            ftrace.switch(False)
        await scene.end()
    return found


async def _path(driver: str) -> float:
    """Bytes per second of one TCP stream out of the guest."""
    scene = Scene(driver=driver, traffic=FAST)
    try:
        scene.prepare()
        await scene.boot()
        before, began = scene.peer.counts()["TCP guest to peer"], time.monotonic()
        await asyncio.sleep(PATH_SECONDS)
        after, ended = scene.peer.counts()["TCP guest to peer"], time.monotonic()
        return (after - before) / (ended - began)
    finally:
        await scene.end()


def _range(values: list, unit: str, scale: float = 1) -> str:
    values = [value / scale for value in values]
    return f"{statistics.median(values):8.1f} ({min(values):.1f} .. {max(values):.1f}) {unit}"


def _show_downtimes(results: dict) -> None:
    print("\ndowntime under traffic, median (range)")
    for limit in LIMITS:
        base = statistics.median(one["downtime_ms"] for one in results[f"{BASE} {limit}"])
        for name, found in results.items():
            if not name.endswith(f" {limit}") and not name.endswith(f" {NO_LIMIT}"):
                continue
            times = [one["downtime_ms"] for one in found]
            print(f"  limit {limit:3}  {name:14} {_range(times, 'ms')}  "
                  f"x {statistics.median(times) / max(base, 1):.2f} of {BASE}  blackout "
                  + _range([one["blackout_bytes"] for one in found], "MiB", 2**20))


def _show_steps(name: str, found: list[dict]) -> None:
    print(f"\nour driver's steps in migrations of '{name}', median (range)")
    of_all = {}
    for one in found:
        for step, figures in one["steps"].items():
            of_all.setdefault(step, []).extend(figures)
    for step, figures in of_all.items():
        times, reads, writes = zip(*figures)
        print(f"  {step:16} {_range(times, 'ms')}  {_range(reads, 'reads')} {_range(writes, 'writes')}")
    share = [sum(one["steps"][step][-1][0] for step in SHARE) for one in found]
    print(f"  while the guest is stopped, all together {_range(share, 'ms')}")


def _show_paths(results: dict) -> None:
    print("\none TCP stream out of the guest, median (range)")
    base = statistics.median(results["vfio-pci"])
    for driver, found in results.items():
        print(f"  {driver:16} {_range(found, 'MB/s', 1e6)}  x {statistics.median(found) / base:.2f}")


async def _bench(repeat: int) -> int:
    results = {"downtime": {}, "path": {"vfio-pci": [], setup.OURS: []}}
    for card, limits in CARDS.items():
        for limit in limits:
            name = f"{card} {limit}"
            results["downtime"][name] = await _migrations(card, limit, 2 * repeat)
            print(f"measured: downtime of {name}", flush=True)
    for _ in range(repeat):
        for driver, found in results["path"].items():
            found.append(await _path(driver))
    (lab.JOB / "bench.json").write_text(json.dumps(results, indent=1) + "\n")
    _show_downtimes(results["downtime"])
    _show_steps(VF, results["downtime"][f"{VF} {NO_LIMIT}"])
    _show_paths(results["path"])
    return 0


def main() -> int:
    """Parse the command line, run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=3, metavar="N")
    try:
        return asyncio.run(_bench(parser.parse_args().repeat))
    except lab.LabError as error:
        print(f"FAIL\n  {error}")
        return 1


if __name__ == "__main__":
    raise SystemExit(main())
