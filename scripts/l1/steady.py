# SPDX-License-Identifier: GPL-2.0
"""A scene for a measurement, once more if its guest hangs."""

import json
from typing import Callable

import lab
from scene import Scene

TRIES = 3
KEPT = lab.JOB / "bench.jsonl"      # whatever becomes of what is measured after it


async def steady(what: str, make: Callable, body: Callable):
    """What body(scene) returns, with a scene that make() made and whose guest runs.

    Documentation/lab.rst, "Interrupts that come twice": a guest that hangs says nothing
    of what is measured.
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
            if not left or not (scene.homes and scene.stuck()):
                raise lab.LabError(f"{what}: {error}") from error
            print(f"NOTE: {what}: the inner guest hung (see Documentation/lab.rst), once more", flush=True)
        finally:
            await scene.end()
    raise AssertionError
