# SPDX-License-Identifier: GPL-2.0
"""A scene for a measurement, once more if nothing came of it."""

import json
from typing import Callable

import lab
from scene import Scene

TRIES = 3
KEPT = lab.JOB / "bench.jsonl"      # whatever becomes of what is measured after it


async def steady(what: str, make: Callable, body: Callable):
    """What body(scene) returns, with a scene that make() made and whose guest runs.

    A guest that hangs (Documentation/lab.rst, "Interrupts that come twice"), or has no CPU for too
    long, says nothing of what is measured, and would take all other measurements with it.
    So it is said, and done again.
    """
    for left in reversed(range(TRIES)):
        scene: Scene = make()
        try:
            scene.prepare()
            await scene.boot()
            result = await body(scene)
            with open(KEPT, "a", encoding="ascii") as kept:
                kept.write(json.dumps([what, result]) + "\n")
            print(f"measured: {what}", flush=True)
            return result
        except lab.LabError as error:
            if not left:
                raise lab.LabError(f"{what}: {error}") from error
            why = "the inner guest hung" if scene.homes and scene.stuck() else error
            print(f"NOTE: {what}: {why}; once more", flush=True)
        finally:
            await scene.end()
    raise AssertionError
