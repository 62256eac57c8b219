#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Devices that are not like QEMU's: what is found out of them, and what follows.

silicon_test asks the device; the driver's own trial must find the same; a profile made of
the answers must lead to the same, and that of another card to something else. Then
over_test, and drain_test with a guest that starts its rings over. Output is TAP.
"""

import subprocess
import sys
from pathlib import Path

import lab
import setup
from tap import Tap

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import silicon  # noqa: E402  pylint: disable=wrong-import-position

BIN = Path("/artifacts/bin")
TRIAL = tuple(f"{name}=-1" for name in silicon.ANSWERS)
# Facts that may be a real card's.
OTHER_CARD = "".join(f"# fact {name}={value}\n" for name, value in zip(silicon.ANSWERS, (0, 0, 1, 0)))
ABILITY = "ring heads read-only and not kept, mask readable, tails of idle queues ignored"
STARTING_OVER = ("heads_writable=0", "heads_kept=0")


def _bind(driver: str, settings: tuple = ()) -> list[str]:
    return [vf.address for vf in setup.virtual_functions(driver, settings)]


def _run(program: str, vfs: list[str], *names: str) -> tuple[int, str]:
    """Run a test program; its status, and what it said."""
    done = subprocess.run([BIN / program, *vfs, *names], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          text=True, check=False, timeout=600)
    return done.returncode, done.stdout


def _ability(settings: tuple) -> str:
    """What the driver says of the first VF when it is opened."""
    vfs = _bind(setup.OURS, settings)
    status, text = _run("v2_test", vfs[:1], "feature_probe")
    if status:
        raise lab.LabError(f"the device cannot be opened: {text}")
    lines = (lab.DEBUGFS / vfs[0] / "status").read_text(encoding="ascii").splitlines()
    return next(line for line in lines if line.startswith("ability: ")).removeprefix("ability: ")


def _settings(text: str) -> tuple:
    return tuple(setting for _, setting in silicon.settings(text))


def _profiles(tap: Tap, text: str) -> None:
    """The driver's own trial, and profiles."""
    trial, profile, other = (_ability(settings) for settings in
                             (TRIAL, _settings(text), _settings(OTHER_CARD)))
    faults = [] if trial == profile else [f"by its own trial: {trial}; by the profile: {profile}"]
    tap.result("the driver finds by itself what silicon_test finds", faults, [trial])
    faults = [] if other.startswith(ABILITY) else [f"not {ABILITY}"]
    tap.result("another card's profile makes the device be taken for one", faults, [other])


def main() -> int:
    """All of it."""
    tap = Tap()
    statuses = []
    try:
        vfs = _bind("vfio-pci")
        status, text = _run("silicon_test", vfs)
        print(text, flush=True)
        statuses.append(status)
        _profiles(tap, text)
        for program, settings in (("over_test", TRIAL), ("drain_test", STARTING_OVER)):
            vfs = _bind(setup.OURS, (*TRIAL, *settings))
            setup.peer()
            status, text = _run(program, vfs)
            print(text, flush=True)
            statuses.append(status)
    except (lab.LabError, silicon.ProfileError, OSError, subprocess.SubprocessError) as error:
        tap.result("the tests run to their end", [repr(error)])
    return tap.plan() or max(statuses, default=1)


if __name__ == "__main__":
    raise SystemExit(main())
