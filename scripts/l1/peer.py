# SPDX-License-Identifier: GPL-2.0
"""The peer's traffic program, and what both ends say."""

import asyncio
import contextlib
import json
import signal
import time
from pathlib import Path
from typing import Callable, NamedTuple

import lab

FINISH_LIMIT = 30
DIRECTIONS = ("guest-to-peer", "peer-to-guest")


class Gap(NamedTuple):
    """Nothing arrived for a while: name, end and length by L1's CLOCK_MONOTONIC, in ms."""

    name: str
    end: float
    length: float


def _lines(text: str) -> list[dict]:
    """Lines of JSON; what is torn is left out."""
    found = []
    for line in text.splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            value = json.loads(line)
            if isinstance(value, dict):
                found.append(value)
    return found


class Peer:
    """The program in the peer's namespace; it must be started before the guest."""

    def __init__(self):
        self.path = lab.JOB / "peer.log"
        self.reports: list[dict] = []
        self.gaps: list[Gap] = []
        self._position = 0
        self._process = None

    async def start(self) -> "Peer":
        """Start listening."""
        with open(self.path, "wb") as out:
            self._process = await asyncio.create_subprocess_exec(
                "ip", "netns", "exec", lab.PEER_NETNS, lab.TRAFFIC, "peer", lab.PEER_ADDRESS,
                "-p", "100", stdin=asyncio.subprocess.DEVNULL, stdout=out, stderr=out)
        return self

    def update(self) -> dict:
        """Read what the program wrote since; returns its latest report."""
        new = lab.read_from(self.path, self._position)
        whole, newline, _ = new.rpartition(b"\n")
        self._position += len(whole + newline)
        for line in _lines(whole.decode(errors="replace")):
            if "gap" in line:
                self.gaps.append(Gap(line["gap"], line["end_ms"], line["length_ms"]))
            else:
                self.reports.append(line)
        return self.reports[-1] if self.reports else {}

    def counts(self) -> dict:
        """How far each kind of traffic has come, as far as the peer knows."""
        now = self.update()
        if not now:
            return {}
        return {"UDP guest to peer": now["udp"]["received"], "UDP peer to guest": now["echo"]["udp"],
                "TCP guest to peer": now["tcp"]["received"], "TCP peer to guest": now["echo"]["tcp"]}

    def tcp_broken(self) -> str | None:
        """Why the TCP stream is no longer good, if it is not."""
        now = self.update()
        if not now:
            return None
        if now["tcp"]["state"] not in ("waiting", "open", "finished"):
            return f"{now['tcp']['state']} {now['tcp']['error']}".strip()
        return "the guest says so" if now["echo"]["bad"] else None

    async def moving(self, limit: float, datagrams: int = 50, tcp_bytes: int = 50000) -> float:
        """Wait until everything moved on by that much; returns how long it took.

        LabError names what did not. TCP is given the time to retry in: after
        seconds of silence its next try can be seconds away.
        """
        need = {name: datagrams if name.startswith("UDP") else tcp_bytes
                for name in ("UDP guest to peer", "UDP peer to guest",
                             "TCP guest to peer", "TCP peer to guest")}
        began = time.monotonic()
        before = self.counts()
        while True:
            now = self.counts()
            missing = [name for name, much in need.items()
                       if now.get(name, 0) - before.get(name, 0) < much]
            broken = self.tcp_broken()
            if broken:
                raise lab.LabError(f"the TCP stream is broken: {broken}")
            if not missing:
                return time.monotonic() - began
            if time.monotonic() - began > limit:
                raise lab.LabError(f"no traffic within {limit:.0f} s: {', '.join(missing)}")
            if self._process and self._process.returncode is not None:
                raise lab.LabError(f"the peer's program ended: {lab.read_text(self.path)[-300:]}")
            await asyncio.sleep(0.05)

    def longest_gap(self, name: str, since: float, until: float) -> float:
        """The longest gap in ms that lies (partly) between two times in seconds."""
        self.update()
        return max((gap.length for gap in self.gaps
                    if gap.name == name and gap.end >= since * 1000
                    and gap.end - gap.length <= until * 1000), default=0.0)

    async def finish(self) -> dict:
        """End the traffic in order on both ends; returns the final report."""
        if self._process and self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._process.wait(), FINISH_LIMIT)
        await self.kill()
        return self.update()

    async def kill(self) -> None:
        """Make sure that the program is gone."""
        if self._process and self._process.returncode is None:
            self._process.kill()
            await asyncio.wait_for(self._process.wait(), FINISH_LIMIT)


class Inside(Peer):
    """A peer in the guest itself, for a guest without a card. It sees no gaps: its clock is the guest's."""

    def __init__(self, ports: Callable):
        super().__init__()
        self._ports = ports     # () -> the files that its reports are in

    async def start(self) -> "Inside":
        """The guest does that."""
        return self

    def update(self) -> dict:
        """Read what the program wrote; returns its latest report."""
        text = "".join(lab.read_text(path) for path in self._ports())
        self.reports = [line for line in _lines(text) if line.get("who") == "peer"]
        return self.reports[-1] if self.reports else {}


def guest_reports(ports: list[Path]) -> list[dict]:
    """What the guest said; the pieces follow each other from VM to VM.

    A line may begin in one QEMU and end in the next.
    """
    text = "".join(lab.read_text(path) for path in ports)
    return [line for line in _lines(text) if line.get("who") == "guest"]
