# SPDX-License-Identifier: GPL-2.0
"""How long a guest under traffic stands still when it is migrated, by the card that it has."""

import ftrace
import timeline
from figures import Row, chart, goal, median, number, spread, times
from migrate import Settings
from scene import NO_CARD, Scene
from steady import steady

VF, TRACKED, IGB = "VF, not tracked", "VF, tracked", "emulated igb"
CARDS = {"no device": NO_CARD, IGB: "igb", VF: "vfio", TRACKED: "vfio"}
LIMITS = (20, 300)          # ms of downtime that are asked for
BANDWIDTH = 200_000_000     # bytes/s that QEMU is told, to reckon what may be left to send
MOVING = 120, 10, 20_000    # s; datagrams and bytes of TCP, until the next migration
EACH = 2                    # migrations of a guest at each limit

# What the driver does while the guest is stopped: on the source, on the destination.
SHARE = {"quiesce": 0, "capture": 0, "load": 1, "release": 1}
# Goals: of igb's downtime, of RAM without tracking, ms.
OF_IGB, LESS_RAM, OWN_MS = 1.2, 20, 5


def _scene(card: str) -> Scene:
    return Scene(nic=CARDS[card], settings=("dirty_tracking=Y",) if card == TRACKED else ())


def _last(events: list, kind: str, device: str, name: str) -> timeline.Event | None:
    found = [event for event in events if event.device == device
             and event.name == f"mig_{kind}" and event.data[kind] == name]
    return found[-1] if found else None


def _steps(events: list, sides: tuple) -> dict:
    """Of each step of SHARE: ms, reads, writes, and the ms of its phases."""
    found = {}
    for name, side in SHARE.items():
        one = _last(events, "phase" if name == "load" else "step", sides[side], name)
        if one:
            phases = {event.data["phase"]: event.took for event in events if event.name == "mig_phase"
                      and event.device == one.device and one.began <= event.when <= one.when and event is not one}
            found[name] = {"ms": one.took, "reads": int(one.data["reads"]), "writes": int(one.data["writes"]),
                           "phases": phases}
    return found


async def _migrate(scene: Scene, limit: int) -> dict:
    """Once; ms and bytes."""
    source = scene.guest.nic.what
    one = await scene.migrate(Settings(limit, BANDWIDTH))
    if not one.completed:
        await scene.peer.moving(*MOVING)
        return {"limit": limit, "error": one.error}
    await scene.peer.moving(*MOVING)
    found = {"limit": limit, "downtime_ms": one.numbers["downtime_ms"], "total_ms": one.numbers["total_ms"],
             "blackout_bytes": one.numbers["ram_downtime_bytes"], "device_bytes": one.numbers["device_bytes"],
             "rounds": one.numbers["ram_syncs"]}
    if scene.peer.gaps:
        found["silence_ms"] = scene.peer.longest_gap("peer-to-guest", one.began, one.ended + 2)
    if scene.vfs:
        found["steps"] = _steps(timeline.parse(ftrace.said()), (source, scene.guest.nic.what))
    return found


async def _card(scene: Scene) -> list[dict]:
    if scene.vfs:
        ftrace.switch(True)
    try:
        return [await _migrate(scene, limit) for _ in range(EACH) for limit in LIMITS]
    finally:
        if scene.vfs:
            ftrace.switch(False)


async def measure(repeat: int) -> dict:
    """All cards in turn, so often."""
    found = {card: [] for card in CARDS}
    for turn in range(repeat):
        for card, so_far in found.items():
            so_far += await steady(f"{card}, {turn + 1} of {repeat}", lambda card=card: _scene(card), _card)
    return found


def _of(raw: dict, card: str, limit: int, name: str, scale: float = 1) -> list:
    return [one[name] / scale for one in raw.get(card, []) if one["limit"] == limit and name in one]


def _steps_of(raw: dict, card: str) -> list[dict]:
    return [one["steps"] for one in raw.get(card, []) if set(SHARE) <= set(one.get("steps", {}))]


def _own(raw: dict, card: str) -> list:
    return [sum(step["ms"] for step in steps.values()) for steps in _steps_of(raw, card)]


def _show_steps(raw: dict, card: str) -> list[str]:
    lines = chart(f"steps of the driver while the guest is stopped, {card}",
                  [*(Row(name, [steps[name]["ms"] for steps in _steps_of(raw, card)],
                         f"{spread([steps[name]['reads'] for steps in _steps_of(raw, card)])} reads, "
                         f"{spread([steps[name]['writes'] for steps in _steps_of(raw, card)])} writes")
                     for name in SHARE), Row("all of them", _own(raw, card))], "ms")
    for name in SHARE:
        phases = {}
        for steps in _steps_of(raw, card):
            for phase, took in steps[name]["phases"].items():
                phases.setdefault(phase, []).append(took)
        if phases:
            lines.append(f"    {name}: " + ", ".join(f"{phase} {number(median(took))}"
                                                     for phase, took in phases.items()))
    return lines


def show(raw: dict) -> list[str]:
    """Charts of what measure() found."""
    lines = []
    for limit in LIMITS:
        base = _of(raw, IGB, limit, "downtime_ms")
        lines += chart(f"downtime under traffic, limit {limit} ms",
                       [Row(card, _of(raw, card, limit, "downtime_ms"),
                            times(_of(raw, card, limit, "downtime_ms"), base) + " of igb") for card in CARDS], "ms")
        lines += chart(f"silence that the peer saw, limit {limit} ms",
                       [Row(card, _of(raw, card, limit, "silence_ms")) for card in CARDS], "ms")
        lines += chart(f"RAM sent while the guest was stopped, limit {limit} ms",
                       [Row(card, _of(raw, card, limit, "blackout_bytes", 2**20)) for card in CARDS], "MiB")
    lines += [f"FAILED, limit {one['limit']} ms, {card}: {one['error']}" for card, found in raw.items()
              for one in found if "error" in one]
    return lines + _show_steps(raw, VF) + _show_steps(raw, TRACKED)


def goals(raw: dict) -> list[str]:
    """What is wanted of it."""
    def ratio(card: str, other: str, name: str) -> float | None:
        over, under = (_of(raw, one, LIMITS[0], name) for one in (card, other))
        return median(over) / median(under) if over and under and median(under) else None
    own = _own(raw, TRACKED)
    return [goal(f"downtime of the tracked VF, of igb's, limit {LIMITS[0]} ms",
                 ratio(TRACKED, IGB, "downtime_ms"), most=OF_IGB),
            goal("RAM in it, how many times less than without tracking",
                 ratio(VF, TRACKED, "blackout_bytes"), least=LESS_RAM),
            goal("the driver's share of it, ms", median(own) if own else None, most=OWN_MS)]
