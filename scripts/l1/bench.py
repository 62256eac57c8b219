#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Measure what a user feels, always beside something that everybody knows.

Downtime of a guest with a VF, beside the same guest with cards that QEMU emulates;
and how fast the VF is under our driver, beside the same VF under vfio-pci. The
numbers of an emulated machine mean nothing, only their ratios do. Raw numbers
are in /job/bench.json.
"""

import argparse
import asyncio
import json
import statistics
import time

import lab
import setup
from migrate import Settings
from scene import Scene

BASE = "igb"                # what the others are compared with
CARDS = ("virtio", BASE, "vfio")
LIMITS = (20, 300)          # ms of downtime that are asked for
NO_LIMIT = 20_000           # for what does not know which pages it has written
FAST = ",-r,1000000000,-i,10000000"     # TCP as fast as it goes, hardly any datagrams
PATH_SECONDS = 8


async def _migrations(card: str, limit: int, count: int) -> list[dict]:
    """Migrate a guest under traffic; downtimes in ms and bytes in the blackout."""
    scene = Scene(nic=card)
    found = []
    try:
        scene.prepare()
        await scene.boot()
        for _ in range(count):
            one = await scene.migrate(Settings(downtime_limit_ms=limit))
            if not one.completed:
                raise lab.LabError(f"{card}: {one.error}")
            await scene.peer.moving(60)
            silence = scene.peer.longest_gap("peer-to-guest", one.began, one.ended + 2)
            found.append({"downtime_ms": one.numbers["downtime_ms"],
                          "blackout_bytes": one.numbers["ram_downtime_bytes"],
                          "silence_ms": silence})
    finally:
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


def _show_paths(results: dict) -> None:
    print("\none TCP stream out of the guest, median (range)")
    base = statistics.median(results["vfio-pci"])
    for driver, found in results.items():
        print(f"  {driver:16} {_range(found, 'MB/s', 1e6)}  x {statistics.median(found) / base:.2f}")


async def _bench(repeat: int) -> int:
    results = {"downtime": {}, "path": {"vfio-pci": [], setup.OURS: []}}
    for card in CARDS:
        for limit in LIMITS if card != "vfio" else (NO_LIMIT,):
            name = f"{card} {limit}"
            results["downtime"][name] = await _migrations(card, limit, 2 * repeat)
            print(f"measured: downtime of {name}", flush=True)
    for _ in range(repeat):
        for driver, found in results["path"].items():
            found.append(await _path(driver))
    (lab.JOB / "bench.json").write_text(json.dumps(results, indent=1) + "\n")
    _show_downtimes(results["downtime"])
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
