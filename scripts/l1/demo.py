#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Migrate a running guest with its VF back and forth, under checked traffic.

Last it is saved to a file and restored.
"""

import argparse
import asyncio
import contextlib

import autopsy
import emulator
import lab
import report
import setup
from scene import MODELS, STUCK, Scene

LIVE = ""
THROUGH_A_FILE = " through a file"
TRAFFIC_BETWEEN = 2.0   # seconds that traffic is left alone between migrations


async def _show_consoles(scene: Scene) -> None:
    """-v: the guest's console as it grows, whichever QEMU has it."""
    shown = {}
    with contextlib.suppress(asyncio.CancelledError):
        while True:
            for path in scene.consoles():
                whole, newline, _ = lab.read_from(path, shown.get(path, 0)).rpartition(b"\n")
                shown[path] = shown.get(path, 0) + len(whole + newline)
                for line in whole.decode(errors="replace").splitlines():
                    print(f"{path.stem}| {line.rstrip()}", flush=True)
            await asyncio.sleep(0.3)


async def _move(scene: Scene, kind: str) -> str | None:
    """Move the guest once; what went wrong, if something did."""
    one = await (scene.migrate() if kind == LIVE else scene.through_file())
    number = len(scene.migrations)
    if not one.completed:
        return f"migration {number} failed: {one.error}"
    numbers = one.numbers
    print(f"migration {number}{kind}: VF {one.source} -> VF {one.destination} completed in "
          f"{numbers['total_ms']} ms, downtime {numbers['downtime_ms']} ms", flush=True)
    try:
        took = await scene.peer.moving(60)
    except lab.LabError as error:
        where = await autopsy.write(scene.guest)
        return f"after migration {number}: {error} (state of the guest: {where})"
    print(f"  traffic of all kinds goes on ({took:.1f} s)", flush=True)
    await asyncio.sleep(TRAFFIC_BETWEEN)
    if scene.complaints():
        where = await autopsy.write(scene.guest)
        return f"after migration {number} the guest complained (its state: {where})"
    return None


async def _journey(scene: Scene, round_trips: int) -> list[str]:
    """Everything between the first and the last datagram; returns the troubles."""
    try:
        took = await scene.boot()
        print(f"L2 runs on VF {scene.guest.nic.letter} ({scene.guest.nic.what}), "
              f"traffic flows ({took:.1f} s)", flush=True)
        await asyncio.sleep(TRAFFIC_BETWEEN)
        for kind in [LIVE] * 2 * round_trips + [THROUGH_A_FILE]:
            trouble = await _move(scene, kind)
            if trouble:
                return [trouble]
    except lab.LabError as error:
        return [str(error)]
    return []


async def _demo(options) -> int:
    scene = Scene(emulator.V1 if options.v1 else emulator.V2, options.nic, options.driver,
                  options.verbose, setup.settings_of(options))
    viewer = asyncio.ensure_future(_show_consoles(scene)) if options.verbose else None
    try:
        scene.prepare()
        for nic in scene.nics:
            print(f"{nic.letter}: {nic.what}", flush=True)
        trouble = await _journey(scene, options.round_trips)
        if trouble and scene.stuck():
            print(f"STUCK\n  {trouble[0]}", flush=True)
            return STUCK
        evidence = report.collect(scene, await scene.finish(), trouble)
    except lab.LabError as error:
        print(f"FAIL\n  {error}")
        return 1
    finally:
        await scene.end()
        if viewer:
            viewer.cancel()
    report.write(scene, evidence)
    print("\n" + report.text(scene, evidence), flush=True)
    return 1 if report.verdict(scene, evidence) else 0


def main() -> int:
    """Parse the command line, run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--v1", action="store_true", help="QEMU 7.2 and the v1 migration region")
    setup.add_settings(parser)
    parser.add_argument("--round-trips", type=int, default=1, metavar="N")
    parser.add_argument("-v", "--verbose", action="store_true", help="show the guest's consoles")
    parser.add_argument("--nic", choices=("vfio", *MODELS), default="vfio",
                        help="a card of QEMU's own instead of the VF, to debug the lab itself")
    parser.add_argument("--driver", default=setup.OURS, help="for the VFs (debugging)")
    return asyncio.run(_demo(parser.parse_args()))


if __name__ == "__main__":
    raise SystemExit(main())
