# SPDX-License-Identifier: GPL-2.0
"""One live migration from one QEMU to another, and what is to be done if it fails.

The destination is started with -S: the guest goes on there only when both
sides have said "completed" and the device has really come to life. In every
other case the destination is ended and the guest goes on at the source. It is
never allowed to run on both.
"""

import asyncio
import contextlib
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import emulator
import lab
from vm import Vm

LIMIT = 120             # a whole migration
RESUME_LIMIT = 60       # until the source runs again after a failure
REFUSED = "Failed setting device state"
ENDED = ("completed", "failed", "cancelled")


class Settings(NamedTuple):
    """Parameters of a migration.

    The VF has no dirty tracking, so that all of the guest's RAM is sent once
    more while the guest is stopped: the permitted downtime must have room for
    256 MiB at the given bandwidth. The bandwidth is told to QEMU because it
    cannot measure one in an idle guest. max_bandwidth 0 is no limit.
    """

    downtime_limit_ms: int = 5000
    switchover_bandwidth: int = 1_000_000_000
    max_bandwidth: int = 0
    limit: float = LIMIT


# With dirty tracking: QEMU's default downtime, and 15 MB of RAM in it.
TRACKED = Settings(300, 50_000_000)


@dataclass
class Migration:
    """What came of one migration. Times are seconds of CLOCK_MONOTONIC."""

    source: str
    destination: str
    began: float = 0.0
    ended: float = 0.0
    completed: bool = False
    error: str = ""
    numbers: dict = field(default_factory=dict)     # from query-migrate of the source
    states: dict = field(default_factory=dict)      # side -> [(ms since began, device state)]


def _now() -> float:
    return time.monotonic()


class Attempt:
    """A migration while it is being done."""

    def __init__(self, source: Vm, destination: Vm, settings: Settings = Settings(), relay=None):
        self.source = source
        self.destination = destination
        self.settings = settings
        self.result = Migration(source.nic.letter, destination.nic.letter)
        self._relay = relay
        self._marks = {}

    def mark(self, vm: Vm) -> int:
        """Where this attempt's events of a VM begin."""
        return self._marks[vm.name]

    async def wait_source(self, status: str, limit: float = 30) -> None:
        """Wait until the source's migration has a status."""
        await self.source.wait_event("MIGRATION", limit, self.mark(self.source), status=status)

    async def wait_device(self, vm: Vm, *states: str, limit: float = 30) -> None:
        """Wait until a VM's device has had one of these states."""
        await lab.until(lambda: any(state in states for _, state in vm.device_states(self.result.began)),
                        limit, f"{vm.name}'s device is {' or '.join(states)}")

    async def _set_up(self, capabilities: dict) -> None:
        """Capabilities of both sides, parameters of the source."""
        listed = [{"capability": name, "state": state} for name, state in capabilities.items()]
        for vm in (self.source, self.destination):
            await vm.do("migrate-set-capabilities", capabilities=listed)
            self._marks[vm.name] = vm.mark()
        await self.source.do("migrate-set-parameters", **self.source.qemu.parameters(
            self.settings.downtime_limit_ms, self.settings.switchover_bandwidth,
            self.settings.max_bandwidth))

    async def _prepare(self) -> str:
        """Set both sides up; returns the address for the source."""
        await self._set_up({"events": True, "return-path": True, **self.source.qemu.answers(True)})
        path = lab.RUN / f"{self.destination.name}.migrate"
        await self.destination.do("migrate-incoming", uri=f"unix:{path}")
        if self._relay:
            return f"unix:{self._relay.listen(path)}"
        return f"unix:{path}"

    def _ending(self, vm: Vm) -> str | None:
        """How the migration ended on one side; None while it goes on."""
        for status in ENDED:
            if vm.seen("MIGRATION", self.mark(vm), status=status):
                return status
        return None if vm.alive() else "gone"

    async def _wait(self) -> tuple[str | None, str | None]:
        """Wait for both sides to end, or for one to end badly."""
        limit = _now() + self.settings.limit
        bad_since = None
        while True:
            ends = self._ending(self.source), self._ending(self.destination)
            if None not in ends or _now() > limit:
                return ends
            if any(end not in (None, "completed") for end in ends):
                # The other side needs a moment to notice.
                bad_since = bad_since or _now()
                if _now() - bad_since > RESUME_LIMIT:
                    return ends
            await asyncio.sleep(0.02)

    async def _why(self, ends: tuple) -> str:
        """A failure in words."""
        words = [f"source {ends[0] or 'still at it'}, destination {ends[1] or 'still at it'}"]
        with contextlib.suppress(lab.LabError):
            words.append((await self.source.do("query-migrate")).get("error-desc", ""))
        words.append(self.destination.said().replace("\n", " | "))
        return "; ".join(word for word in words if word)

    async def _start_destination(self) -> None:
        """Let the guest go on at the destination, and see that its device does too.

        `cont` succeeds even if the device refused to start: QEMU 11 resets the
        device and says so on stderr and in an event only, QEMU 7.2 crashes.
        """
        vm = self.destination
        if not vm.device_states(self.result.began):
            await vm.do("cont")
            return  # not a VFIO device
        began = _now()
        await vm.do("cont")
        state = await lab.until(
            lambda: next((state for _, state in vm.device_states(began)
                          if state in ("running", "error")), None) or not vm.alive() and "gone",
            30, f"{vm.name}'s device runs")
        if state != "running" or REFUSED in vm.said():
            raise lab.LabError(f"the device did not start at the destination: {vm.said()}")

    async def _back_to_source(self) -> None:
        """The guest goes on at the source, whatever that takes."""
        await self.destination.kill()
        if self.source.alive() and not self._ending(self.source):
            with contextlib.suppress(lab.LabError):
                await self.source.do("migrate_cancel")
        end = _now() + RESUME_LIMIT
        while (status := await self.source.status()) != "running":
            if status in ("postmigrate", "paused"):
                with contextlib.suppress(lab.LabError):  # still cleaning up: try again
                    await self.source.do("cont")
            elif status == "gone":
                raise lab.LabError(f"the source QEMU is gone too: {self.source.said()}")
            if _now() > end:
                raise lab.LabError(f"the source does not run again, it is '{status}'")
            await asyncio.sleep(0.1)

    def _collect_states(self) -> None:
        for side, vm in (("source", self.source), ("destination", self.destination)):
            self.result.states[side] = [(round((when - self.result.began) * 1000, 1), state)
                                        for when, state in vm.device_states(self.result.began)]

    async def _collect_numbers(self) -> None:
        answer = await self.source.do("query-migrate")
        ram = answer.get("ram", {})
        self.result.numbers = {
            "downtime_ms": answer.get("downtime"), "total_ms": answer.get("total-time"),
            "setup_ms": answer.get("setup-time"),
            "device_bytes": (answer.get("vfio", {}).get("transferred") if self.source.qemu.has_events
                             else emulator.traced_bytes(self.source.live("trace"))),
            "ram_bytes": ram.get("transferred"), "ram_downtime_bytes": ram.get("downtime-bytes"),
            "ram_syncs": ram.get("dirty-sync-count")}

    async def through_file(self, path: Path) -> Migration:
        """Save the guest to a file, end the source, restore it at the destination."""
        # A file does not answer.
        await self._set_up({"events": True, "return-path": False, **self.source.qemu.answers(False)})
        self.result.began = _now()
        await self.source.do("migrate", uri=f"exec:cat >{path}")
        await self.wait_source("completed", self.settings.limit)
        await self._collect_numbers()
        self._collect_states()
        await self.source.quit()
        await self.destination.do("migrate-incoming", uri=f"exec:cat {path}")
        await self.destination.wait_event("MIGRATION", self.settings.limit,
                                          self.mark(self.destination), status="completed")
        await self._start_destination()
        self.result.completed = True
        self.result.ended = _now()
        self._collect_states()
        return self.result

    async def run(self, meanwhile=None) -> Migration:
        """Migrate. meanwhile(attempt) is run beside it, to disturb it.

        The result tells whether the guest is at the destination (completed) or
        runs on at the source. LabError: it runs nowhere.
        """
        task = None
        try:
            try:
                address = await self._prepare()
                self.result.began = _now()
                await self.source.do("migrate", uri=address)
                task = asyncio.ensure_future(meanwhile(self)) if meanwhile else None
                ends = await self._wait()
                if ends != ("completed", "completed"):
                    raise lab.LabError(await self._why(ends))
                await self._start_destination()
                await self._collect_numbers()
                self.result.completed = True
            except lab.LabError as error:
                self.result.error = str(error)
                await self._back_to_source()
            self.result.ended = _now()
            if task:
                await asyncio.wait_for(task, self.settings.limit)
        finally:
            if task:
                task.cancel()
            if self._relay:
                self._relay.close()
        self._collect_states()
        return self.result
