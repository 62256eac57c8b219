# SPDX-License-Identifier: GPL-2.0
"""The scene of a test: VFs, peer, and the guest, wherever it lives at the moment."""

import contextlib
import time
from pathlib import Path

import emulator
import klog
import lab
import setup
from migrate import TRACKED, Attempt, Migration, Settings
from peer import Inside, Peer, guest_reports
from vm import Nic, Vm

FINISH_LIMIT = 30
BOOT_LIMIT = 300
GUEST_PERIOD = 1000     # ms between reports
SILENT = 20             # s without a report: the guest does nothing any more
STUCK = 75              # exit status: the guest hangs, the run says nothing of the migration
MOVING_LIMIT = 90
MODELS = {"virtio": "virtio-net-pci", "igb": "igb"}     # cards of QEMU's own
NO_CARD = "none"
STARTING_OVER = ("heads_writable=0", "heads_kept=0")     # the guest's driver sets its card up anew
CARD_IS_UP = "lab: the card is up"   # said by l2-init


class Scene:
    """All that a test has running, and its end."""

    def __init__(self, qemu: emulator.Emulator = emulator.V2, nic: str = "vfio",
                 driver: str = setup.OURS, verbose: bool = False, settings: tuple = (),
                 traffic: str = ""):
        self.qemu = qemu
        self.log = klog.KernelLog()
        self.vfs = []
        self.nics = []
        self.homes: list[Vm] = []       # the VMs that the guest lived in, in order
        self.migrations: list[Migration] = []
        self.peer = Peer() if nic != NO_CARD else Inside(self.reports)
        self.starts_over = any(setting in STARTING_OVER for setting in settings)
        self._settings = settings       # parameters of the driver
        self.tracked = "dirty_tracking=Y" in settings
        self._kind = nic
        self._driver = driver
        self._parameters = f"{'loglevel=7' if verbose else 'quiet'} lab_traffic=-p,{GUEST_PERIOD}{traffic}"
        if nic == NO_CARD:
            self._parameters += " lab_card=none"
        self._vms: list[Vm] = []
        self._before: dict = {}         # parameters of the driver, to be put back

    @property
    def guest(self) -> Vm:
        """The VM the guest lives in."""
        return self.homes[-1]

    @property
    def vms(self) -> list[Vm]:
        """All VMs there have been, in order."""
        return self._vms

    def prepare(self) -> None:
        """Set L1 up."""
        if self._kind == NO_CARD:
            self.nics = [Nic(letter, "no card", []) for letter in "AB"]
            return
        if self._kind in MODELS:
            self.nics = [Nic.emulated(letter, tap, MODELS[self._kind])
                         for letter, tap in zip("AB", setup.emulated())]
            return
        setup.load(self._driver)
        self._before = setup.parameters()
        self.vfs = setup.virtual_functions(self._driver, self._settings)
        setup.peer()
        more = self.qemu.migratable if self._driver == setup.OURS else ""
        if more and not self.tracked:
            more += emulator.UNTRACKED
        self.nics = [Nic.vfio(vf.letter, vf.address, more) for vf in self.vfs]

    async def boot(self) -> float:
        """Start the peer and the guest on the first card; seconds until all traffic flows."""
        await self.peer.start()
        vm = await self._new(self.nics[0])
        self.homes.append(vm)
        try:
            await lab.until(lambda: self.peer.counts().get("TCP guest to peer") or not vm.alive(),
                            BOOT_LIMIT, "the guest's first data")
        except lab.LabError as error:
            raise lab.LabError(f"{error}; its console ends: {self.console()[-600:]}") from error
        if not vm.alive():
            raise lab.LabError(f"QEMU ended: {vm.said()}")
        return await self.peer.moving(MOVING_LIMIT)

    async def _new(self, nic: Nic, incoming: bool = False) -> Vm:
        vm = Vm(self.qemu, nic, incoming, self._parameters)
        self._vms.append(vm)
        return await vm.start()

    def _other(self) -> Nic:
        return self.nics[1] if self.guest.nic is self.nics[0] else self.nics[0]

    def guest_vf(self) -> setup.Vf:
        """The VF that the guest is on."""
        return next(vf for vf in self.vfs if vf.letter == self.guest.nic.letter)

    def other_vf(self) -> setup.Vf:
        """The VF that the guest is not on."""
        return next(vf for vf in self.vfs if vf.letter != self.guest.nic.letter)

    def _default(self) -> Settings:
        return TRACKED if self.tracked else Settings()

    async def migrate(self, settings: Settings | None = None, relay=None, meanwhile=None) -> Migration:
        """Migrate the guest to a new QEMU on the other card; the loser is gone afterwards."""
        settings = settings or self._default()
        source = self.guest
        destination = await self._new(self._other(), incoming=True)
        result = await Attempt(source, destination, settings, relay).run(meanwhile)
        self.migrations.append(result)
        if result.completed:
            self.homes.append(destination)
            await source.quit()
        else:
            await destination.kill()
        return result

    async def through_file(self) -> Migration:
        """Save the guest to a file and restore it on the other card."""
        destination = await self._new(self._other(), incoming=True)
        path = lab.RUN / "saved"
        try:
            result = await Attempt(self.guest, destination, self._default()).through_file(path)
        finally:
            path.unlink(missing_ok=True)
        self.migrations.append(result)
        self.homes.append(destination)
        return result

    def stuck(self) -> bool:
        """Whether the guest hangs as a whole.

        Its reports do not use the network. See Documentation/lab.rst,
        "Interrupts that come twice".
        """
        report = self.guest.file("report")
        return report.exists() and time.time() - report.stat().st_mtime > SILENT

    def console(self) -> str:
        """The guest's console, through all its homes."""
        return "".join(lab.read_text(vm.file("console")) for vm in self.homes)

    def complaints(self) -> list[str]:
        """Lines of the guest's console that should not be there, since its card was up."""
        since = self.console().partition(CARD_IS_UP)[2]
        return [line.strip() for line in since.splitlines() if klog.COMPLAINTS.search(line)
                and not (self.starts_over and klog.STARTS_OVER.search(line))]

    def guest_reports(self) -> list[dict]:
        """What the guest's traffic program said."""
        return guest_reports(self.reports())

    def reports(self) -> list[Path]:
        """The files that they are in, in order."""
        return [vm.file("report") for vm in self.homes]

    def consoles(self) -> list[Path]:
        """The console files there are by now."""
        return [vm.file("console") for vm in self._vms]

    async def finish(self) -> dict:
        """End the traffic in order; returns the peer's last report. The guest's is there too."""
        last = await self.peer.finish()
        with contextlib.suppress(lab.LabError):     # its absence will be noticed
            await lab.until(lambda: any(report["final"] for report in self.guest_reports()),
                            FINISH_LIMIT, "the guest's last report", 0.2)
        return last

    async def end(self) -> None:
        """End everything that was started here."""
        await self.peer.kill()
        for vm in self._vms:
            with contextlib.suppress(lab.LabError):
                await vm.quit()
        setup.put_back(self._before)
