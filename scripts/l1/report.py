# SPDX-License-Identifier: GPL-2.0
"""The result of a demo: judged, for people, and as JSON."""

import dataclasses
import json
from typing import NamedTuple

import klog
import lab
from migrate import Migration
from peer import DIRECTIONS
from scene import Scene

# A gap belongs to a migration if it lies in it or up to this long after: TCP
# retries at growing distances, and a device that came up badly shows there.
GAP_AFTER = 2.0

# More than that sent while the guest is stopped, and dirty pages have not been tracked:
# then it is all that is not zero, some 80 MiB.
BLACKOUT_MAX = 48 << 20

# Counters of the guest's card that a migration must not change.
STEADY = ("carrier_changes", "tx_timeout", "rx_errors", "tx_errors", "rx_crc_errors",
          "rx_length_errors", "rx_over_errors", "tx_aborted_errors", "tx_carrier_errors",
          "tx_fifo_errors")


class Evidence(NamedTuple):
    """What is left after the traffic has ended."""

    peer: dict
    guest: dict
    baseline: dict      # the guest's first report with a connection
    complaints: list
    driver_log: list
    trouble: list       # what went wrong on the way
    starts_over: bool   # the guest's card may lose its link


def collect(scene: Scene, peer: dict, trouble: list) -> Evidence:
    """Gather it; the guest's console must be at rest."""
    reports = scene.guest_reports()
    first = next((report for report in reports if report["udp"]["received"]), {})
    return Evidence(peer, reports[-1] if reports else {}, first, scene.complaints(),
                    scene.log.new_of_drivers(), trouble, scene.starts_over)


def datagrams(sender: dict, receiver: dict) -> dict:
    """One direction's balance."""
    return {"sent": sender["udp"]["sent"], "received": receiver["udp"]["received"],
            "lost": sender["udp"]["sent"] - receiver["udp"]["received"],
            **{name: receiver["udp"][name] for name in ("duplicated", "reordered", "corrupted",
                                                        "bad_checksum")}}


def _stream(sender: dict, receiver: dict) -> dict:
    return {"sent": sender["tcp"]["sent"], "received": receiver["tcp"]["received"]}


def totals(evidence: Evidence) -> dict:
    """Balances of both directions; empty if an end has not reported."""
    if not evidence.peer or not evidence.guest:
        return {}
    ends = (evidence.guest, evidence.peer)
    pairs = dict(zip(DIRECTIONS, (ends, ends[::-1])))
    return {"udp": {name: datagrams(*pair) for name, pair in pairs.items()},
            "tcp": {name: _stream(*pair) for name, pair in pairs.items()}}


def nic_changes(evidence: Evidence) -> dict:
    """Counters of the guest's card that changed and must not."""
    before, after = evidence.baseline.get("nic", {}), evidence.guest.get("nic", {})
    return {name: after[name] - before[name] for name in STEADY
            if name in before and name in after and after[name] != before[name]
            and not (evidence.starts_over and name == "carrier_changes")}


def _traffic_faults(evidence: Evidence) -> list[str]:
    """What is wrong with the traffic, judged by both ends' last words."""
    faults = []
    for end in (evidence.peer, evidence.guest):
        if not end.get("final"):
            faults.append(f"the {end.get('who', 'guest')} did not end its traffic in order")
        elif end["tcp"]["state"] != "finished":
            faults.append(f"TCP at the {end['who']}: {end['tcp']['state']} {end['tcp']['error']}".strip())
    balance = totals(evidence)
    for name, stream in balance.get("tcp", {}).items():
        if stream["sent"] != stream["received"]:
            faults.append(f"TCP {name}: {stream['sent']} bytes sent, {stream['received']} received")
    for name, count in balance.get("udp", {}).items():
        faults += [f"UDP {name}: {count[kind]} {kind}" for kind in ("duplicated", "corrupted")
                   if count[kind]]
    return faults


def _blackout_faults(migrations: list[Migration]) -> list[str]:
    """Migrations that sent all of the RAM while the guest was stopped."""
    sent = [(number, one.numbers.get("ram_downtime_bytes") or 0)
            for number, one in enumerate(migrations, 1)]
    return [f"migration {number}: {_mib(count)} of RAM sent in the blackout"
            for number, count in sent if count > BLACKOUT_MAX]


def verdict(scene: Scene, evidence: Evidence) -> list[str]:
    """All reasons for a demo to fail; empty is PASS."""
    return faults(evidence) + (_blackout_faults(scene.migrations) if scene.tracked else [])


def faults(evidence: Evidence) -> list[str]:
    """What is wrong with the guest and its traffic; empty is well."""
    found = list(evidence.trouble) + _traffic_faults(evidence)
    if "nic" not in evidence.baseline:
        found.append("the guest did not report on its network card")
    found += [f"guest's card: {name} changed by {much}" for name, much in nic_changes(evidence).items()]
    found += [f"guest's console: {line}" for line in evidence.complaints[:5]]
    found += [f"L1's kernel: {message.text}" for message in evidence.driver_log
              if message.level <= klog.WARNING]
    return found


def gaps(scene: Scene, one: Migration) -> dict:
    """The longest silence of each kind around a migration, in ms."""
    return {name: scene.peer.longest_gap(name, one.began, one.ended + GAP_AFTER)
            for name in (*DIRECTIONS, "tcp")}


def _mib(count: int | None) -> str:
    return "?" if count is None else f"{count / 2**20:.1f} MiB"


def migration_lines(number: int, one: Migration, silence: dict) -> list[str]:
    """One migration for people."""
    n = one.numbers
    lines = [f"migration {number}: VF {one.source} -> VF {one.destination}: "
             + ("completed" if one.completed else f"FAILED: {one.error}")]
    for side, states in one.states.items():
        if states:
            lines.append(f"  {side:11} " + ", ".join(f"{state} {when:.0f}" for when, state in states)
                         + " ms")
    if n:
        state = "none" if n["device_bytes"] is None else f"{n['device_bytes']} bytes"
        lines.append(f"  device state {state}, RAM {_mib(n['ram_bytes'])} "
                     f"(in the blackout {_mib(n['ram_downtime_bytes'])})")
        lines.append(f"  downtime by QEMU {n['downtime_ms']} ms of {n['total_ms']} ms")
    lines.append(f"  silence: UDP guest to peer {silence['guest-to-peer']:.0f} ms, "
                 f"peer to guest {silence['peer-to-guest']:.0f} ms, TCP {silence['tcp']:.0f} ms")
    return lines


def total_lines(evidence: Evidence) -> list[str]:
    """Traffic and the guest's card, for people."""
    balance = totals(evidence)
    lines = []
    for name, count in balance.get("udp", {}).items():
        lines.append(f"UDP {name}: " + ", ".join(f"{count[kind]} {kind}" for kind in
                                                 ("sent", "lost", "duplicated", "reordered", "corrupted")))
    streams = balance.get("tcp", {})
    if streams:
        intact = all(end["tcp"]["state"] == "finished" for end in (evidence.peer, evidence.guest))
        lines.append(f"TCP: {'intact' if intact else 'NOT INTACT'}, checked bytes: "
                     + ", ".join(f"{name} {stream['received']}" for name, stream in streams.items()))
    changed = nic_changes(evidence)
    nic = evidence.guest.get("nic", {})
    lines.append(f"guest's card {nic.get('name', '?')}: "
                 + (", ".join(f"{name} +{much}" for name, much in changed.items())
                    or "no error, no hang, no link change")
                 + f"; complaints on its console: {len(evidence.complaints)}")
    return lines


def clock_lag(evidence_reports: list[dict]) -> float | None:
    """By how many ms the guest's clock fell behind the peer's."""
    offsets = [report["clock_offset_ms"] for report in evidence_reports if "clock_offset_ms" in report]
    return round(offsets[-1] - offsets[0], 1) if len(offsets) > 1 else None


def text(scene: Scene, evidence: Evidence) -> str:
    """The report for people."""
    lines = []
    for number, one in enumerate(scene.migrations, 1):
        lines += migration_lines(number, one, gaps(scene, one))
    lines += total_lines(evidence)
    lag = clock_lag(scene.peer.reports)
    if lag is not None:
        lines.append(f"guest's monotonic clock: fell {lag:.0f} ms behind the peer's")
    lines += [f"L1 kernel: {message.text}" for message in evidence.driver_log]
    found = verdict(scene, evidence)
    return "\n".join([*lines, "PASS" if not found else "FAIL", *(f"  {fault}" for fault in found)])


def write(scene: Scene, evidence: Evidence) -> None:
    """The report as JSON, for programs."""
    migrations = [{**dataclasses.asdict(one), "silence_ms": gaps(scene, one)}
                  for one in scene.migrations]
    (lab.JOB / "report.json").write_text(json.dumps({
        "passed": not verdict(scene, evidence), "faults": verdict(scene, evidence),
        "migrations": migrations,
        "traffic": totals(evidence), "guest_card_changes": nic_changes(evidence),
        "guest_card": evidence.guest.get("nic", {}), "guest_complaints": evidence.complaints,
        "guest_clock_lag_ms": clock_lag(scene.peer.reports),
        "l1_kernel": [message.text for message in evidence.driver_log]}, indent=1) + "\n")
