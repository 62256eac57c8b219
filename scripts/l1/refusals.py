#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Migrations that must fail, and a guest that must not notice. Output is TAP.

One guest lives through all of it, with its TCP stream and its numbered
datagrams, so every case also shows that those before did no harm.
"""

import argparse
import asyncio
import contextlib
import re
import sys
from pathlib import Path

import autopsy
import emulator
import lab
import report
import setup
from migrate import Attempt, Migration, Settings
from relay import Cut, Relay
from scene import STUCK, Scene
from tap import Tap

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import migstream  # noqa: E402  pylint: disable=wrong-import-position

# Stays in the copying of RAM: slow, and not permitted to stop the guest.
SLOW = Settings(max_bandwidth=4_000_000, downtime_limit_ms=1)
# Stops the guest at once: how its RAM gets there does not matter here.
QUICK = Settings(downtime_limit_ms=5000, switchover_bandwidth=1_000_000_000)
COPIED = 4_000_000      # bytes of RAM that count as "in the middle"
PIECE = 100             # bytes; less than most records have
OTHER_MAC = "52:54:00:82:57:99"
ALIVE_LIMIT = 90


class Stuck(Exception):
    """The guest hangs; nothing more can be learnt from it."""


def arm(vf: setup.Vf, line: str) -> None:
    """Fault injection, Documentation/faults.rst."""
    (lab.DEBUGFS / vf.address / "fault").write_text(line + "\n")


def _notes(one: Migration) -> list[str]:
    notes = [f"{one.source} -> {one.destination}: {'completed' if one.completed else one.error}"]
    for side, states in one.states.items():
        if states:
            notes.append(f"{side}: " + ", ".join(f"{state} {when:.0f}" for when, state in states))
    return notes


# What is done to the stream. Each gets a chunk that holds a whole sequence; what
# the source sends of itself while the guest runs is let through.

def complete(chunk: bytes) -> bool:
    """Whether a chunk is the device state, and not only the identity."""
    return any(part.type == migstream.END for part in migstream.records(chunk))


def flip_device_record(chunk: bytes) -> bytes:
    """One bit of a record of the device's."""
    parts = migstream.records(chunk)
    victim = next(part for part in parts if part.type >= migstream.BACKEND and part.payload)
    victim.payload = bytes([victim.payload[0] ^ 1]) + victim.payload[1:]
    return migstream.encode(parts)


def flip_end(chunk: bytes) -> bytes:
    """One bit of END's payload."""
    parts = migstream.records(chunk)
    parts[-1].payload = bytes([parts[-1].payload[4] ^ 1 if at == 4 else byte
                               for at, byte in enumerate(parts[-1].payload)])
    return migstream.encode(parts)


def wrong_total(chunk: bytes) -> bytes:
    """END with a right CRC of its own, but of another sequence."""
    parts = migstream.records(chunk)
    parts[-1].payload = bytes([parts[-1].payload[4] ^ 1 if at == 4 else byte
                               for at, byte in enumerate(parts[-1].payload)])
    parts[-1].crc = parts[-1].right_crc()
    return migstream.encode(parts)


def drop_end(chunk: bytes) -> bytes:
    """The sequence without its END."""
    return migstream.encode(migstream.records(chunk)[:-1])


def cut_end(chunk: bytes) -> bytes:
    """The stream ends within END."""
    return chunk[:-12]


def small_pieces(chunk: bytes) -> list[bytes]:
    """All of it, in other pieces than the source's."""
    return [chunk[at:at + PIECE] for at in range(0, len(chunk), PIECE)]


def hang_up(chunk: bytes) -> bytes:
    """The connection closes in the middle of the state."""
    raise Cut(chunk[:len(chunk) // 2])


def other_device(chunk: bytes) -> bytes:
    """A well-formed stream of another device."""
    parts = migstream.records(chunk)
    for part in parts:
        if part.type == migstream.IDENTITY:
            at = migstream.IDENTITY_IDS_AT
            vendor, device, *rest = migstream.IDENTITY_IDS.unpack_from(part.payload, at)
            ids = migstream.IDENTITY_IDS.pack(vendor, device ^ 1, *rest)
            part.payload = part.payload[:at] + ids + part.payload[at + len(ids):]
    return migstream.encode(migstream.seal(parts))


# What is done to the migration while it runs.

async def _copying(attempt: Attempt) -> None:
    """Wait until some RAM has been copied, with the guest running."""
    await attempt.wait_source("active")
    for _ in range(300):
        answer = await attempt.source.do("query-migrate")
        if answer.get("ram", {}).get("transferred", 0) > COPIED:
            break
        await asyncio.sleep(0.1)
    if attempt.source.seen("STOP", attempt.mark(attempt.source)):
        raise lab.LabError("the guest was stopped before the migration could be disturbed")


async def kill_in_ram(attempt: Attempt) -> None:
    """kill -9 of the destination while RAM is copied."""
    await _copying(attempt)
    await attempt.destination.kill()


async def cancel_in_ram(attempt: Attempt) -> None:
    """migrate_cancel while RAM is copied."""
    await _copying(attempt)
    await attempt.source.do("migrate_cancel")


def kill_at_state(relay: Relay):
    """kill -9 of the destination when the device state is on its way."""
    async def kill(attempt: Attempt) -> None:
        await lab.until(relay.at_device_state.is_set, 60, "the device state in the stream")
        await attempt.wait_device(attempt.source, "stop-copy", "saving")
        await attempt.destination.kill()
        relay.close()
    return kill


class Refusals:
    """The test cases, on one scene."""

    def __init__(self, scene: Scene, tap: Tap):
        self.scene = scene
        self.tap = tap

    async def _lives(self) -> tuple[list[str], list[str]]:
        """Whether the guest runs with working traffic: faults, notes."""
        faults = []
        notes = []
        try:
            took = await self.scene.peer.moving(ALIVE_LIMIT)
            notes.append(f"all traffic moved on within {took:.1f} s")
        except lab.LabError as error:
            where = await autopsy.write(self.scene.guest)
            if self.scene.stuck():
                raise Stuck(f"{error} (state of the guest: {where})") from error
            faults.append(f"{error} (state of the guest: {where})")
        faults += [f"guest: {line}" for line in self.scene.complaints()]
        return faults, notes

    async def succeeds(self, name: str, relay: Relay | None = None) -> None:
        """A migration that must succeed, and what the relay does must not matter."""
        one = await self.scene.migrate(QUICK, relay)
        faults, notes = await self._lives()
        if not one.completed:
            faults.insert(0, one.error)
        if relay and not relay.chunks:
            faults.append("the relay saw no device state")
        self.tap.result(name, faults, _notes(one) + notes
                        + [f"L1: {line.text}" for line in self.scene.log.new_of_drivers()])

    async def fails(self, name: str, reason: str | None = None, settings: Settings = QUICK,
                    relay: Relay | None = None, meanwhile=None) -> None:
        """A migration that must fail; reason is a pattern for L1's kernel log."""
        self.scene.log.new()
        home = self.scene.guest
        one = await self.scene.migrate(settings, relay, meanwhile)
        faults, notes = await self._lives()
        if one.completed or self.scene.guest is not home:
            faults.insert(0, "the migration succeeded")
        lines = self.scene.log.new_of_drivers()
        if reason and not any(re.search(reason, line.text) for line in lines):
            faults.append(f"L1's kernel did not name the reason (/{reason}/)")
        if relay and relay.error:
            faults.append(f"the relay failed: {relay.error!r}")
        if relay and not relay.chunks:
            faults.append("the relay saw no device state")
        self.tap.result(name, faults, _notes(one) + notes + [f"L1: {line.text}" for line in lines])

    async def mangled(self, name: str, mangle, reason: str | None) -> None:
        """A migration with a changed device state."""
        await self.fails(name, reason, relay=Relay(
            lambda chunk: mangle(chunk) if complete(chunk) else chunk))

    async def foreign(self) -> None:
        """Another device is noticed by its identity, before the guest is stopped."""
        await self.fails("state of another device: refused", "refused: ", relay=Relay(other_device))

    async def unable(self) -> None:
        """A destination whose hardware cannot go on where a ring was, and may not ask the guest."""
        setup.set_parameters(("heads_writable=0", "start_over=N"))
        try:
            await self.fails("destination cannot set ring heads: refused", "refused: .*feature")
        finally:
            setup.set_parameters(("heads_writable=-1", "start_over=Y"))

    async def faulty(self) -> None:
        """Each side's driver fails once, at its worst moment."""
        if self.scene.qemu.door == "v1":    # QEMU 11 would reset the device under the guest
            arm(self.scene.guest_vf(), "capture 1 fail=-ENOMEM")
            await self.fails("the source cannot save: it goes on")
        arm(self.scene.other_vf(), "backend-load 1 fail=-EIO")
        await self.fails("the destination cannot load: the source goes on", "refused: ")
        for vf in self.scene.vfs:
            arm(vf, "clear")

    async def wrong_mac(self) -> None:
        """The destination's PF does not grant the guest's MAC."""
        other = self.scene.other_vf()
        setup.set_mac(other, OTHER_MAC)
        try:
            await self.fails("destination's PF has another MAC for the VF: refused",
                             f"{other.address}.*(MAC|address)")
        finally:
            setup.set_mac(other, lab.VF_MAC)

    async def all(self) -> None:
        """Every case; the order is easy ones first."""
        await self.fails("destination killed while RAM is copied", None, SLOW, None, kill_in_ram)
        relay = Relay(hold=complete)
        await self.fails("destination killed while the device state is copied", None,
                         relay=relay, meanwhile=kill_at_state(relay))
        await self.succeeds("a migration after that succeeds")
        await self.fails("migration cancelled while RAM is copied", None, SLOW, None, cancel_in_ram)
        await self.succeeds("a migration after that succeeds")
        await self.wrong_mac()
        await self.mangled("a flipped bit in a device record: refused", flip_device_record,
                           "refused: .*CRC")
        await self.mangled("a flipped bit in END: refused", flip_end, "refused: .*CRC")
        await self.mangled("END of another sequence: refused", wrong_total, "refused: ")
        await self.mangled("connection closed within the device state", hang_up, None)
        await self.foreign()
        if not self.scene.starts_over:
            await self.unable()
        await self.faulty()
        await self.mangled("no END: not loaded", drop_end, "truncated")
        await self.mangled("stream ends within END: not loaded", cut_end, "truncated")
        await self.succeeds("a migration after all that succeeds, its state cut into pieces",
                            Relay(small_pieces))

    async def totals(self) -> None:
        """The guest's own account of what it has lived through."""
        evidence = report.collect(self.scene, await self.scene.finish(), [])
        self.tap.result("nothing duplicated, corrupted or broken in the guest's traffic",
                        report.faults(evidence), report.total_lines(evidence))


async def _broken(qemu: emulator.Emulator, tap: Tap) -> None:
    """A device that does not become quiet: QEMU 7.2 aborts. The next one finds it as new."""
    scene = Scene(qemu)
    faults, notes = [], []
    try:
        scene.prepare()
        await scene.boot()
        vm = scene.guest
        arm(scene.guest_vf(), "queue-stop 1 fail=-EIO")
        with contextlib.suppress(lab.LabError):
            await vm.do("stop")
        await lab.until(lambda: not vm.alive(), 30, "QEMU's end")
        notes += vm.said().splitlines()[-2:]
        lines = scene.log.new_of_drivers()
        if not any("device lost" in line.text for line in lines):
            faults.append("L1's kernel did not name the reason")
        notes += [f"L1: {line.text}" for line in lines]
    except lab.LabError as error:
        faults.append(str(error))
    finally:
        await scene.end()
    tap.result("a device that does not stop: ERROR, and QEMU 7.2 aborts", faults, notes)

    scene = Scene(qemu)
    faults, notes = [], []
    try:
        scene.prepare()
        notes.append(f"all traffic after {await scene.boot():.1f} s")
    except lab.LabError as error:
        faults.append(str(error))
    finally:
        await scene.end()
    tap.result("the next QEMU has a working device", faults, notes)


async def _run(qemu: emulator.Emulator, settings: tuple) -> int:
    scene = Scene(qemu, settings=settings)
    tap = Tap()
    cases = Refusals(scene, tap)
    try:
        scene.prepare()
        took = await scene.boot()
        tap.result("a guest with traffic over VF A", [], [f"all traffic after {took:.1f} s"])
        await cases.all()
        await cases.totals()
    except Stuck as stuck:
        print(f"STUCK\n# {stuck}", flush=True)
        return STUCK
    except lab.LabError as error:
        tap.result("the tests run to their end", [str(error)])
    finally:
        await scene.end()
    if qemu.door == "v1":
        await _broken(qemu, tap)
    return tap.plan()


def main() -> int:
    """Parse the command line, run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--v1", action="store_true", help="QEMU 7.2 and the v1 migration region")
    setup.add_settings(parser)
    options = parser.parse_args()
    return asyncio.run(_run(emulator.V1 if options.v1 else emulator.V2, setup.settings_of(options)))


if __name__ == "__main__":
    raise SystemExit(main())
