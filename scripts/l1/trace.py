#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""One live migration with the drivers' trace points on, drawn as a time line."""

import argparse
import asyncio

import emulator
import ftrace
import lab
import timeline
from scene import STUCK, Scene

TRACE = lab.JOB / "trace.txt"


def _marks(vms: tuple, since: float) -> list[timeline.Mark]:
    """What QEMU said of the guest and of the migration."""
    words = {"STOP": timeline.STOPPED, "RESUME": timeline.STARTED}
    found = []
    for side, vm in enumerate(vms):
        for event in vm.events:
            if event.when < since:
                continue
            if event.name in words:
                found.append(timeline.Mark(event.when, None, words[event.name]))
            elif event.name == "MIGRATION":
                found.append(timeline.Mark(event.when, side, f"QEMU: {event.data['status']}"))
    return found


async def _migrate(scene: Scene, options) -> int:
    await scene.boot()
    source = scene.guest
    ftrace.switch(True)
    one = await scene.migrate()
    ftrace.switch(False)
    text = ftrace.said()
    TRACE.write_text(text)
    events = [event for event in timeline.parse(text) if event.when >= one.began]
    sides = (source.nic.what, next(nic.what for nic in scene.nics if nic is not source.nic))
    vms = (source, scene.vms[-1])
    marks = _marks(vms, one.began)
    print("\n".join(timeline.draw(events, marks, sides, one.began, options.least)), flush=True)
    print("\n" + "\n".join(timeline.blame(events, sides, marks)))
    if not one.completed:
        print(f"\nFAIL\n  {one.error}")
        return 1
    return 0


async def _run(options) -> int:
    scene = Scene(emulator.V1 if options.v1 else emulator.V2)
    try:
        scene.prepare()
        return await _migrate(scene, options)
    except lab.LabError as error:
        print(f"FAIL\n  {error}")
        return STUCK if scene.homes and scene.stuck() else 1
    finally:
        await scene.end()


def main() -> int:
    """Parse the command line, run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--v1", action="store_true", help="QEMU 7.2 and the v1 migration region")
    parser.add_argument("--least", type=float, default=0.1, metavar="MS",
                        help="leave out phases that take less (default 0.1)")
    return asyncio.run(_run(parser.parse_args()))


if __name__ == "__main__":
    raise SystemExit(main())
