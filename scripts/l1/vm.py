# SPDX-License-Identifier: GPL-2.0
"""One inner QEMU: the guest L2 on one VF, or the place where it is to arrive."""

import asyncio
import contextlib
import shutil
import time
from pathlib import Path
from typing import NamedTuple

from qemu.qmp import QMPClient, QMPError, Runstate

import emulator
import lab
from emulator import Emulator

START_LIMIT = 60
QMP_LIMIT = 60      # a command; QEMU may be busy with its device for a while
QUIT_LIMIT = 30

# Device state and downtime only: tracing every register access would slow the guest down.
TRACES = ("vfio_migration_*", "vfio_save_*", "vfio_load_*", "vfio_vmstate_change*",
          "vmstate_downtime_checkpoint")
LIVE = ("qemu", "trace")    # files, see Vm.live()

# Each character on the console is an exit to two hypervisors: keep the boot quiet.
KERNEL_LINE = ("console=ttyS0 panic=-1 nokaslr no_timer_check tsc=reliable net.ifnames=0 "
               f"lab_address={lab.GUEST_ADDRESS}/{lab.PREFIX} lab_peer={lab.PEER_ADDRESS}")

# Emulated SVM (TCG) delivers an injected interrupt a second time if the CPU is called
# out of its loop before the guest's next exit, as each change to a device's Bus Master
# Enable does with every CPU but the one that makes it. So all that writes to VFs shares
# a CPU with the guest, and the guest exits early in each interrupt: at its EOI.
PIN = ["taskset", "--cpu-list", "0"]
MACHINE = ["-M", "q35", "-accel", "kvm", "-cpu", "host,kvm-pv-eoi=off", "-m", "256", "-nodefaults",
           "-no-user-config", "-display", "none", "-no-reboot",
           "-kernel", lab.KERNEL, "-initrd", lab.INITRAMFS]


class Event(NamedTuple):
    """A QMP event; when is CLOCK_MONOTONIC in seconds, by QEMU's own stamp."""

    name: str
    data: dict
    when: float


class Nic(NamedTuple):
    """The guest's network card: a letter for people, arguments for QEMU."""

    letter: str
    what: str
    arguments: list

    @staticmethod
    def vfio(letter: str, address: str, more: str = "") -> "Nic":
        """A VF passed through, with more properties; see Documentation for why each."""
        device = ",".join(filter(None, ("vfio-pci", f"host={address}", "bus=rp0,id=vf0,rombar=0", more)))
        return Nic(letter, address, ["-device", device])

    @staticmethod
    def emulated(letter: str, tap: str, model: str) -> "Nic":
        """A card of QEMU's own: to compare with, and to debug the lab itself."""
        return Nic(letter, tap, [
            "-netdev", f"tap,id=n0,ifname={tap},script=no,downscript=no",
            "-device", f"{model},netdev=n0,bus=rp0,id=vf0,romfile=,mac={lab.VF_MAC}"])


class Vm:
    """A QEMU process with its monitor, its consoles in files, its events in a list."""

    _count = 0

    def __init__(self, qemu: Emulator, nic: Nic, incoming: bool = False, parameters: str = ""):
        Vm._count += 1
        self.qemu = qemu
        self.nic = nic
        self.name = f"l2-{Vm._count}-{nic.letter}"
        self.incoming = incoming
        self.events: list[Event] = []
        self._ahead = time.time() - time.monotonic()
        self._parameters = parameters   # for L2's kernel
        self._news = asyncio.Condition()
        self._process = None
        self._qmp = None
        self._watcher = None

    def file(self, kind: str) -> Path:
        """A file of this VM's in the job directory: console, report, qemu, trace."""
        return lab.JOB / f"{self.name}.{kind}"

    def live(self, kind: str) -> Path:
        """What QEMU itself says: qemu, trace. In memory while it runs: a line in the job directory, which is the
        host's, takes milliseconds, and a card of which more is said would have a longer downtime than another."""
        kept = self.file(kind)
        return kept if kept.exists() else lab.RUN / kept.name

    def said(self) -> str:
        """What QEMU wrote to its stderr, apart from warnings."""
        lines = lab.read_text(self.live("qemu")).splitlines()
        return "\n".join(line.strip() for line in lines if ": warning: " not in line)

    def _line(self, socket: Path) -> list[str]:
        traces = [part for pattern in TRACES for part in ("-trace", pattern)]
        return [*PIN, *self.qemu.program, "-name", self.name, *MACHINE,
                "-append", f"{KERNEL_LINE} {self._parameters}",
                "-device", "pcie-root-port,id=rp0,chassis=1,slot=1", *self.nic.arguments,
                "-serial", f"file:{self.file('console')}",
                # For the guest's reports: a serial port takes a millisecond per character.
                "-chardev", f"file,id=report,path={self.file('report')}",
                "-device", "virtio-serial-pci", "-device", "virtserialport,chardev=report",
                "-qmp", f"unix:{socket},server=on,wait=off",
                "-msg", "timestamp=on", "-D", str(self.live("trace")), *traces,
                *(["-incoming", "defer", "-S"] if self.incoming else [])]

    async def start(self) -> "Vm":
        """Start QEMU and talk to it. The guest runs (or waits to arrive) when this returns."""
        lab.RUN.mkdir(parents=True, exist_ok=True)
        socket = lab.RUN / f"{self.name}.qmp"
        socket.unlink(missing_ok=True)      # another script's, that ran here before
        for kind in LIVE:
            self.file(kind).unlink(missing_ok=True)
            self.live(kind).unlink(missing_ok=True)
        line = self._line(socket)
        self.file("cmdline").write_text(" ".join(line) + "\n")
        with open(self.live("qemu"), "wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *line, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log)
        await lab.until(lambda: socket.exists() or not self.alive(), START_LIMIT,
                        f"{self.name}: QEMU's monitor")
        self._must_be_alive()
        self._qmp = QMPClient(self.name)
        await asyncio.wait_for(self._qmp.connect(str(socket)), START_LIMIT)
        self._watcher = asyncio.create_task(self._watch())
        return self

    async def _watch(self) -> None:
        """Collect events as long as there are any."""
        with contextlib.suppress(asyncio.CancelledError):
            async for message in self._qmp.events:
                stamp = message["timestamp"]
                when = stamp["seconds"] + stamp["microseconds"] / 1e6 - self._ahead
                if message["event"] != "MIGRATION_PASS":
                    self.events.append(Event(message["event"], dict(message.get("data", {})), when))
                async with self._news:
                    self._news.notify_all()

    def alive(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.returncode is None

    def _must_be_alive(self) -> None:
        if not self.alive():
            raise lab.LabError(f"{self.name}: QEMU ended: {self.said() or 'without a word'}")

    async def do(self, command: str, **arguments) -> object:
        """Run a QMP command; underscores in argument names stand for hyphens."""
        self._must_be_alive()
        if not self._qmp or self._qmp.runstate != Runstate.RUNNING:
            raise lab.LabError(f"{self.name}: QEMU's monitor is gone")
        arguments = {name.replace("_", "-"): value for name, value in arguments.items()}
        try:
            return await asyncio.wait_for(self._qmp.execute(command, arguments), QMP_LIMIT)
        except (QMPError, asyncio.TimeoutError, OSError, EOFError) as error:
            raise lab.LabError(f"{self.name}: {command}: {error or type(error).__name__}") from error

    async def status(self) -> str:
        """The run state, 'gone' if there is no QEMU any more."""
        try:
            return (await self.do("query-status"))["status"]
        except lab.LabError:
            if self.alive():
                raise
            return "gone"

    def mark(self) -> int:
        """A place in the list of events, for seen() and wait_event()."""
        return len(self.events)

    def seen(self, name: str, mark: int = 0, **data) -> Event | None:
        """The first event since the mark with this name and these data."""
        for event in self.events[mark:]:
            if event.name == name and all(event.data.get(k) == v for k, v in data.items()):
                return event
        return None

    async def wait_event(self, name: str, limit: float, mark: int = 0, **data) -> Event:
        """Wait for such an event; LabError if QEMU ends before or time is over."""
        end = time.monotonic() + limit
        while True:
            event = self.seen(name, mark, **data)
            if event:
                return event
            self._must_be_alive()
            if time.monotonic() > end:
                raise lab.LabError(f"{self.name}: no {name} {data or ''} within {limit:.0f} s")
            async with self._news:
                # the timeout is also how we notice that the process ended
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._news.wait(), 0.1)

    def device_states(self, since: float = 0) -> list[tuple[float, str]]:
        """The changes of the VF's migration state since a time: when, state."""
        if self.qemu.has_events:
            states = [(event.when, event.data["device-state"])
                      for event in self.events if event.name == "VFIO_MIGRATION"]
        else:
            states = [(when - self._ahead, state)
                      for when, state in emulator.traced_states(self.live("trace"))]
        return [(when, state) for when, state in states if when >= since]

    async def kill(self) -> None:
        """kill -9, and wait until the kernel has taken its device back."""
        if self.alive():
            self._process.kill()
        await self._gone()

    async def quit(self) -> None:
        """End QEMU in order; after this its VF is free."""
        if self.alive() and self._qmp and self._qmp.runstate == Runstate.RUNNING:
            with contextlib.suppress(lab.LabError):
                await self.do("quit")
        with contextlib.suppress(asyncio.TimeoutError):
            if self.alive():
                await asyncio.wait_for(self._process.wait(), QUIT_LIMIT)
        await self.kill()

    async def _gone(self) -> None:
        if self._process:
            await asyncio.wait_for(self._process.wait(), QUIT_LIMIT)
        for kind in LIVE:
            if self.live(kind).exists() and not self.file(kind).exists():
                shutil.move(self.live(kind), self.file(kind))
        # Taken first: two tasks may come here at once, and a monitor can be
        # disconnected only once.
        watcher, self._watcher = self._watcher, None
        qmp, self._qmp = self._qmp, None
        if watcher:
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)
        if qmp:
            with contextlib.suppress(QMPError, OSError, EOFError, asyncio.TimeoutError):
                await asyncio.wait_for(qmp.disconnect(), 5)
