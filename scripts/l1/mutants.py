#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Load each driver with a defect and see that the test for it fails. Output is TAP.

Before, the same tests must pass with the driver as it is. What a defect does to
this kernel (a splat, a VF that hangs) is not held against it.
"""

import json
import re
import subprocess
from pathlib import Path

import lab
import setup

MUTANTS = Path("/job/mutants")
SETUP = f"python3 {Path(setup.__file__).resolve()}"
LIMIT = 300     # of a test
DRIVERS = ("igbvf_vfio_pci", "vfio_pci_migration")


def _unload() -> None:
    for vf in setup.PCI.glob("0000:0?:10.0"):
        if (vf / "driver").exists():
            (vf / "driver/unbind").write_text(vf.name)
    for module in DRIVERS:
        lab.sh("rmmod", module, check=False)


def _load(directory: Path) -> list[str]:
    """Take the modules from there, bind both VFs; returns their addresses."""
    _unload()
    for module in reversed(DRIVERS):
        lab.sh("insmod", str(directory / f"{module}.ko"))
    return [vf.address for vf in setup.virtual_functions()]


def _verdicts(program: str, addresses: list[str], tests: list[str]) -> dict:
    """Run tests; which were ok."""
    line = [f"/artifacts/bin/{program}", "-s", SETUP, *addresses, *tests]
    try:
        said = subprocess.run(line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                              stderr=subprocess.STDOUT, check=False, timeout=LIMIT * len(tests)).stdout
    except subprocess.TimeoutExpired:
        return {}
    return {name: not bad for bad, name in re.findall(r"^(not )?ok \d+ - (\w+)(?!.*# SKIP)", said,
                                                      re.MULTILINE)}


def main() -> int:
    """The driver as it is, then each defect."""
    mutants = json.loads((MUTANTS / "list.json").read_text())
    print("TAP version 13", flush=True)
    failed = 0
    # insmod knows no dependencies; those of the driver that is installed stay loaded.
    lab.sh("modprobe", "-a", "igb", "vfio_iommu_type1", *DRIVERS)
    addresses = _load(MUTANTS / "none")
    sound = {}
    for program in sorted({one["program"] for one in mutants}):
        tests = sorted({one["test"] for one in mutants if one["program"] == program})
        sound.update({(program, name): good
                      for name, good in _verdicts(program, addresses, tests).items()})
    for number, one in enumerate(mutants, 1):
        key = (one["program"], one["test"])
        caught = None
        if sound.get(key):
            addresses = _load(MUTANTS / one["name"])
            caught = not _verdicts(one["program"], addresses, [one["test"]]).get(one["test"], False)
        failed += not caught
        print(f"{'ok' if caught else 'not ok'} {number} - {one['name']}: "
              + (f"caught by {one['test']}" if caught else
                 f"NOT noticed by {one['test']}" if caught is False else
                 f"{one['test']} does not pass without it"), flush=True)
    _unload()
    print(f"1..{len(mutants)}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
