#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The kernel's own vfio selftests: the same results with our driver as with vfio-pci. Output is TAP.

All of libvfio's tests, with a driver for the VF added (selftests/vfio_igbvf),
run on one VF with vfio-pci and then with ours. What fails with vfio-pci, too,
is not our business and is skipped; but where the kernel has IOMMUFD nothing
should. Then come our own tests upon libvfio, with two VFs. What prepares the
functions is selftests/vfio_migration/scripts, and they must put everything back.

The short form leaves out IOMMU modes that are only other ways to ask for the same,
what measures time, and what a VF skips.
"""

import argparse
import contextlib
import os
import re
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

import lab
from lab import sh
from setup import OURS, PCI
from tap import Tap

KSELFTEST = Path("/artifacts/kselftest")
SCRIPTS = KSELFTEST / "vfio_migration/scripts"
SUITE = "vfio_igbvf"
STOCK = "vfio-pci"
OUR_TESTS = ("igbvf_migration_test",)
FAULTING = "vfio_pci_driver_test"   # makes the VF read and write where nothing is mapped
OLD_MAC = "52:54:00:82:57:77"       # of a VF that is there before
LIMIT = 1800

# In the short form: the variants of programs that have one for each IOMMU mode.
SHORT = {"vfio_dma_mapping_mmio_test": ("iommufd",),
         "vfio_dma_mapping_test": ("iommufd", "iommufd_anonymous"),
         "vfio_pci_driver_test": ("iommufd",),
         "igbvf_migration_test": ("iommufd",)}
NOT_SHORT = ("vfio_pci_device_init_perf_test", "vfio_pci_sriov_uapi_test")

_RESULT = re.compile(r"^(?:# )?(?P<text>(?:not )?ok \d+ .*)$")
_TOTALS = re.compile(r"^# # Totals: .*$", re.MULTILINE)


class Line(NamedTuple):
    """A result as a program or the runner has printed it."""

    text: str

    @property
    def failed(self) -> bool:
        """Whether it is a failure."""
        return self.text.startswith("not ")

    @property
    def name(self) -> str:
        """The test."""
        return re.sub(r"^(not )?ok \d+ (- )?", "", self.text).partition(" # ")[0]

    @property
    def skip(self) -> str:
        """Why it was skipped; nothing if it was not."""
        _, skipped, reason = self.text.partition("# SKIP")
        return reason.strip() or ("no reason given" if skipped else "")


def read(path: Path) -> str:
    """A file of sysfs, or what is wrong with it."""
    try:
        return path.read_text().strip()
    except OSError as error:
        return error.strerror


def netdev(pf: str) -> str:
    """The network interface of a PF."""
    return next((PCI / pf / "net").iterdir()).name


def snapshot() -> dict:
    """All that setup.sh may change."""
    found = {"modules": {line.split()[0] for line in Path("/proc/modules").read_text().splitlines()}}
    for pf in lab.PFS:
        found[f"{pf} interface"] = read(Path("/sys/class/net") / netdev(pf) / "flags")
        found[f"{pf} VF 0"] = re.findall(r"vf 0 .*", sh("ip", "link", "show", "dev", netdev(pf)))
        for name in ("sriov_numvfs", "sriov_drivers_autoprobe"):
            found[f"{pf} {name}"] = read(PCI / pf / name)
        vf = PCI / pf / "virtfn0"
        if vf.exists():
            found[f"{pf} driver"] = (vf / "driver").resolve().name
            found[f"{pf} driver_override"] = read(vf / "driver_override")
    for name in ("devices", "pfs", "modules"):
        found[f"notes {name}"] = Path(f"/tmp/vfio-selftests-{name}").exists()
    return found


def changes(before: dict, after: dict) -> list[str]:
    """What is not as it was."""
    return [f"{what}: was {before.get(what)}, is {after.get(what)}"
            for what in sorted({*before, *after}) if before.get(what) != after.get(what)]


def prepare() -> None:
    """Two PFs: one that is down and has no VF, one that is in use, with a VF that has a driver."""
    sh("modprobe", "-a", "igb", "igbvf")
    for pf in lab.PFS:
        lab.wait_until((PCI / pf / "net").is_dir, 20, f"network interface of {pf}")
        sh("sysctl", "-qw", f"net.ipv6.conf.{netdev(pf)}.disable_ipv6=1", check=False)
    used = lab.PFS[1]
    name = netdev(used)
    sh("ip", "link", "set", name, "up")
    lab.wait_until(lambda: read(Path("/sys/class/net") / name / "carrier") == "1", 20, f"link of {name}")
    (PCI / used / "sriov_numvfs").write_text("1")
    lab.wait_until((PCI / used / "virtfn0/driver").exists, 20, f"a driver for the VF of {used}")
    sh("ip", "link", "set", name, "vf", "0", "mac", OLD_MAC)
    # Anonymous shared memory in large pages: the tests map gigabytes of it, and
    # with small ones an emulated machine does not do that within their limits.
    huge = Path("/sys/kernel/mm/transparent_hugepage/shmem_enabled")
    if huge.exists():
        huge.write_text("force")


def script(*command: str) -> None:
    """Run one of the scripts, and show what it does."""
    for line in sh(str(SCRIPTS / command[0]), *command[1:], limit=120).splitlines():
        print(f"# {line}", flush=True)


@contextlib.contextmanager
def set_up(driver: str, *pfs: str):
    """Functions prepared by setup.sh, put back by cleanup.sh."""
    try:
        script("setup.sh", "-d", driver, *pfs)
        yield
    finally:
        script("cleanup.sh")


@contextlib.contextmanager
def dma_faults(vf: str):
    """The host (splat.py) takes DMA faults of this VF for what they are: on purpose."""
    def say(text: str) -> None:
        Path("/dev/kmsg").write_text(f"lab: DMA faults of {vf} are {text}\n")
    say("expected from here")
    try:
        yield
    finally:
        say("not expected any more")


def shorten() -> None:
    """Arguments for programs are in the environment of kselftest's runner."""
    for program, variants in SHORT.items():
        os.environ[f"KSELFTEST_{program.upper()}_ARGS"] = " ".join(f"-v {name}" for name in variants)


def run(program: str, log: Path) -> str:
    """One program by kselftest's runner; all that it said."""
    command = [str(SCRIPTS / "run.sh"), str(KSELFTEST / "run_kselftest.sh"), "-t", f"{SUITE}:{program}"]
    vf = os.listdir("/tmp/vfio-selftests-devices")[0]
    began = time.monotonic()
    with dma_faults(vf) if program == FAULTING else contextlib.nullcontext():
        said = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, check=False, timeout=LIMIT,
                              errors="replace", text=True).stdout
    with open(log, "a", encoding="utf-8") as handle:
        handle.write(said)
    print(f"# {program}: {'; '.join(_TOTALS.findall(said)) or 'no totals'}, {time.monotonic() - began:.1f} s",
          flush=True)
    return said


def results(said: str) -> list[Line]:
    """The lines with results, the program's and the runner's."""
    return [Line(match["text"]) for match in map(_RESULT.match, said.splitlines()) if match]


def programs() -> list[str]:
    """The suite, in its order."""
    listed = (KSELFTEST / "kselftest-list.txt").read_text().split()
    return [line.partition(":")[2] for line in listed if line.startswith(f"{SUITE}:")]


def both(kernels: list[str]) -> dict:
    """driver -> program -> results, on the same VF."""
    found = {}
    for driver in (STOCK, OURS):
        log = lab.JOB / f"kselftests-{driver}.log"
        with set_up(driver, lab.PFS[0]):
            found[driver] = {program: results(run(program, log)) for program in kernels}
    return found


def compare(tap: Tap, program: str, stock: list[Line], ours: list[Line]) -> None:
    """A line for each result of a program."""
    if not stock:
        tap.result(f"{program} says something", ["no results with vfio-pci"])
    for at in range(max(len(stock), len(ours))):
        one = stock[at] if at < len(stock) else None
        other = ours[at] if at < len(ours) else None
        name = f"{program}: {(one or other).name}"
        if one != other:
            tap.result(name, [f"{STOCK}: {one.text if one else 'no result'}",
                              f"{OURS}: {other.text if other else 'no result'}"])
        else:
            tap.result(name, skip="fails with vfio-pci, too" if one.failed else one.skip)


def kernels_own(tap: Tap, kernels: list[str]) -> None:
    """The kernel's tests: the same with both drivers."""
    found = both(kernels)
    for program in kernels:
        compare(tap, program, found[STOCK][program], found[OURS][program])
    failing = [line.text for lines in found[STOCK].values() for line in lines if line.failed]
    name = "nothing fails with vfio-pci"
    # Not /dev/iommu: cleanup.sh has unloaded the module.
    if subprocess.run(["modprobe", "-nq", "iommufd"], check=False).returncode == 0:
        tap.result(name, failing)
    else:
        tap.result(name, skip="the kernel has no IOMMUFD, which the tests need")


def our_own(tap: Tap) -> None:
    """Our tests: each as its program has it."""
    with set_up(OURS, *lab.PFS):
        for program in OUR_TESTS:
            said = run(program, lab.JOB / "kselftests-ours.log")
            lines = results(said)
            for line in lines:
                tap.result(f"{program}: {line.name}", said.splitlines() if line.failed else [],
                           line.skip)
            if not lines:
                tap.result(f"{program} says something", said.splitlines() or ["nothing"])


def main() -> int:
    """All of it; the exit status says whether anything differs or fails."""
    parser = argparse.ArgumentParser(description="the kernel's vfio selftests, with vfio-pci and our driver")
    parser.add_argument("--short", action="store_true", help="not every IOMMU mode")
    options = parser.parse_args()
    if options.short:
        shorten()
    left_out = (*OUR_TESTS, *(NOT_SHORT if options.short else ()))
    tap = Tap()
    try:
        prepare()
        before = snapshot()
        kernels_own(tap, [name for name in programs() if name not in left_out])
        our_own(tap)
        tap.result("cleanup.sh has put everything back", changes(before, snapshot()))
    except (lab.LabError, OSError, subprocess.TimeoutExpired) as error:
        tap.result("the tests run to their end", [str(error)])
    return tap.plan()


if __name__ == "__main__":
    raise SystemExit(main())
