# SPDX-License-Identifier: GPL-2.0
"""How fast a VF is, and how often a guest leaves the CPU for it: our driver beside vfio-pci.

Of a guest, what counts is how often it exits: which is the same whatever else the machine does. How many packets
it gets through differs by a factor of two from boot to boot. So that is measured of a program, path_bench, and
drivers change in between, many times.
"""

import asyncio
import re
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

import lab
import setup
from figures import Row, chart, goal, median, times
from migrate import Attempt, Settings
from scene import Scene
from steady import steady

ABILITY = "/sys/kernel/debug/vfio_pci_migration/{}/status"
KVM = Path("/sys/kernel/debug/kvm")     # sums over all guests: there is only one that runs
COUNTERS = ("exits", "mmio_exits")
SECONDS = 8
WARM = 2            # seconds before
FLOOD = ",-i,0,-s,64,-r,60000"      # small datagrams without a pause, hardly any TCP
# A migration that goes on until it is cancelled.
ENDLESS = Settings(downtime_limit_ms=1, switchover_bandwidth=1_000_000, max_bandwidth=1_000_000)

BENCH = "/artifacts/bin/path_bench"
BENCH_LIMIT = 60
TURNS = 5           # of the program, for each of the guest

STOCK, OURS = "vfio-pci", setup.OURS
# As if the interrupt mask could be read back, which has no effect as long as nothing migrates.
MAPPED = f"{OURS}, mapped"
PRE_COPY, TRACKING = f"{OURS}, PRE_COPY", f"{OURS}, tracking"
# Goals: of what vfio-pci has.
OF_STOCK = 0.98
MORE_EXITS = 0.02   # per packet: what is chance


class Kind(NamedTuple):
    """What is measured."""

    driver: str
    settings: tuple = ()
    saving: bool = False


KINDS = {STOCK: Kind(STOCK), OURS: Kind(OURS), MAPPED: Kind(OURS, ("map_interrupts=1",)),
         PRE_COPY: Kind(OURS, (), True),
         TRACKING: Kind(OURS, ("dirty_tracking=Y",), True)}


def _ability(scene: Scene) -> str:
    """What our driver has found out about the device; nothing of another driver's."""
    status = Path(ABILITY.format(scene.vfs[0].address))
    lines = status.read_text(encoding="ascii").splitlines() if status.exists() else []
    return next((line.partition(": ")[2] for line in lines if line.startswith("ability: ")), "")


def _exits() -> dict:
    return {name: int((KVM / name).read_text()) for name in COUNTERS}


async def _packets(scene: Scene) -> tuple[float, int, int]:
    """The next report of the guest: ms, packets sent, received."""
    before = len(scene.guest_reports())
    await lab.until(lambda: len(scene.guest_reports()) > before, 30, "the guest's report", 0.02)
    last = scene.guest_reports()[-1]
    return last["ms"], last["nic"]["tx_packets"], last["nic"]["rx_packets"]


async def _rates(scene: Scene) -> dict:
    """Packets per second, and exits per packet."""
    await asyncio.sleep(WARM)
    began, *packets = await _packets(scene)
    exits, since = _exits(), time.monotonic()
    await asyncio.sleep(SECONDS)
    ended, *packets_then = await _packets(scene)
    exits_then, until = _exits(), time.monotonic()
    sent, received = ((then - now) / (ended - began) * 1000 for now, then in zip(packets, packets_then))
    if not sent:
        raise lab.LabError("the guest sends nothing")
    per_packet = {name: (exits_then[name] - exits[name]) / (until - since) / (sent + received) for name in COUNTERS}
    return {"sent": sent, "received": received, "packets": sent + received, "ability": _ability(scene),
            **per_packet}


async def _while_saving(scene: Scene) -> dict:
    """The same while it is migrated, which is given up then."""
    found = {}

    async def meanwhile(attempt: Attempt) -> None:
        await attempt.wait_device(attempt.source, "pre-copy")
        found.update(await _rates(scene))
        await attempt.source.do("migrate_cancel")

    result = await scene.migrate(ENDLESS, meanwhile=meanwhile)
    if not found or result.completed:
        raise lab.LabError(f"not measured while it was migrated: {result.error}")
    return found


async def _one(name: str) -> dict:
    kind = KINDS[name]

    def make() -> Scene:
        return Scene(driver=kind.driver, settings=kind.settings, traffic=FLOOD)
    return await steady(name, make, _while_saving if kind.saving else _rates)


async def measure_guest(repeat: int, kinds: tuple = tuple(KINDS)) -> dict:
    """All kinds in turn, so often."""
    found = {name: [] for name in kinds}
    for _ in range(repeat):
        for name, so_far in found.items():
            so_far.append(await _one(name))
    return found


def _frames(kind: Kind) -> float:
    """Frames per second of the program."""
    setup.load(kind.driver)
    before = setup.parameters()
    try:
        vfs = setup.virtual_functions(kind.driver, kind.settings)
        done = subprocess.run([BENCH, *(vf.address for vf in vfs)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              text=True, check=False, timeout=BENCH_LIMIT)
    finally:
        setup.put_back(before)
    found = re.search(r"^# path (\d+) (\d+)$", done.stdout, re.MULTILINE)
    if done.returncode or not found:
        raise lab.LabError(f"{BENCH}: {done.stdout}")
    return int(found[1]) / int(found[2]) * 1e9


def measure_program(repeat: int) -> dict:
    """Those that need no migration, in turn, so often."""
    found = {name: [] for name, kind in KINDS.items() if not kind.saving}
    for _ in range(repeat * TURNS):
        for name, so_far in found.items():
            so_far.append(_frames(KINDS[name]))
    return found


def measure(repeat: int) -> dict:
    """Both."""
    return {"program": measure_program(repeat), "guest": asyncio.run(measure_guest(repeat))}


def _of(raw: dict, name: str, what: str) -> list:
    return [one[what] for one in raw.get(name, [])]


def show(raw: dict) -> list[str]:
    """Charts of what measure() found."""
    rates = raw["program"]
    return [*chart("data path of a program", [Row(name, rates[name], times(rates[name], rates[STOCK]))
                                              for name in rates], "frames/s"), *show_guest(raw["guest"])]


def show_guest(raw: dict) -> list[str]:
    """The guest's part of them."""
    lines = []
    for what, title, unit in (("packets", "data path of a guest", "packets/s"),
                              ("exits", "exits of the guest", "per packet"),
                              ("mmio_exits", "of them to QEMU, for registers", "per packet")):
        lines += chart(title, [Row(name, _of(raw, name, what), times(_of(raw, name, what), _of(raw, STOCK, what)))
                               for name in raw], unit)
    return lines


def goals(raw: dict) -> list[str]:
    """What is wanted of it."""
    lines = []
    for name in (MAPPED, OURS):
        ratios = [ours / stock for ours, stock in zip(raw["program"][name], raw["program"][STOCK])]
        more = [ours - stock for ours, stock in zip(_of(raw["guest"], name, "mmio_exits"),
                                                    _of(raw["guest"], STOCK, "mmio_exits"))]
        lines += [goal(f"{name}: frames/s, of vfio-pci's", median(ratios) if ratios else None, least=OF_STOCK),
                  goal(f"{name}: exits to QEMU per packet, more than vfio-pci's", median(more) if more else None,
                       most=MORE_EXITS)]
    if not any("mask readable" in ability for ability in _of(raw["guest"], OURS, "ability")):
        lines.append("          (wanted where the interrupt mask is readable. This device's is not, so only the first"
                     " two count)")
    return lines
