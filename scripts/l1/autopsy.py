# SPDX-License-Identifier: GPL-2.0
"""Why is the guest silent? Notes for whoever reads the logs afterwards."""

import asyncio
import bisect
import os
import re
from pathlib import Path

import lab
from vm import Vm

# Offsets in the VF's BAR 0: what to look at, and how many words.
REGISTERS = (("STATUS", 0x8, 1), ("VMBMEM", 0x800, 16), ("EITR", 0x1680, 3), ("IVAR0", 0x1700, 1),
             ("IVAR_MISC", 0x1740, 1), ("RX ring 0", 0x2800, 12), ("TX ring 0", 0x3800, 12),
             # last, because reading it clears bits
             ("V2PMAILBOX", 0xc40, 1))


GUEST_TEXT = 0xffffffff81000000     # L2 runs with nokaslr
STACK_WORDS = 160


class Symbols:
    """Names for addresses in L2's kernel, if L1 runs the same, only elsewhere."""

    def __init__(self):
        self._addresses = []
        self._names = []
        if lab.RELEASE.read_text() != os.uname().release:
            return
        table = []
        for line in Path("/proc/kallsyms").read_text(encoding="ascii").splitlines():
            address, kind, name, *module = line.split()
            if not module and kind in "tTwW":
                table.append((int(address, 16), name))
        table.sort()
        text = next((address for address, name in table if name == "_text"), 0)
        for address, name in table:
            self._addresses.append(address - text + GUEST_TEXT)
            self._names.append(name)

    def name(self, address: int) -> str | None:
        """symbol+offset, if the address is in the kernel's code."""
        at = bisect.bisect_right(self._addresses, address) - 1
        if at < 0 or not GUEST_TEXT <= address < self._addresses[-1]:
            return None
        return f"{self._names[at]}+{address - self._addresses[at]:#x}"


def _stack(dump: str, symbols: Symbols) -> list[str]:
    """What of a memory dump may be return addresses."""
    lines = []
    for line in dump.splitlines():
        place, _, words = line.partition(":")
        for number, word in enumerate(re.findall("0x[0-9a-f]+", words)):
            name = symbols.name(int(word, 16))
            if name:
                lines.append(f"{int(place, 16) + 8 * number:#x}: {name}")
    return lines


async def _ask(vm: Vm, line: str) -> str:
    return str(await vm.do("human-monitor-command", command_line=line))


def _bar0(buses: list) -> int | None:
    """Where the guest has BAR 0 of its 82576 VF."""
    for bus in buses:
        for device in bus["devices"]:
            if device["qdev_id"] == "vf0" and device["regions"]:
                return device["regions"][0]["address"]
            below = _bar0([device["pci_bridge"]]) if device.get("pci_bridge", {}).get("devices") else None
            if below:
                return below
    return None


async def _examine(vm: Vm) -> list[str]:
    lines = [await _ask(vm, "info status")]
    for _ in range(5):
        registers = await _ask(vm, "info registers")
        lines.append("\n".join(line for line in registers.splitlines()
                               if line.startswith(("RIP", "RAX", "RSI"))))
        await asyncio.sleep(0.2)
    symbols = Symbols()
    for found in re.finditer(r"RIP=([0-9a-f]+)", "\n".join(lines)):
        lines.append(f"RIP {symbols.name(int(found[1], 16))}")
    lines += ["stack:", *_stack(await _ask(vm, f"x /{STACK_WORDS}gx $rsp"), symbols)]
    lines += [await _ask(vm, "info lapic"), await _ask(vm, "info pci")]
    lines += ["guest's code:", await _ask(vm, "x /12i $pc")]
    bar = _bar0(await vm.do("query-pci"))
    if bar:
        for name, offset, words in REGISTERS:
            lines += [name, await _ask(vm, f"xp /{words}wx {bar + offset:#x}")]
    return lines


async def write(vm: Vm) -> str:
    """Write what QEMU knows of a guest that does not answer; returns where."""
    path = vm.file("autopsy")
    try:
        lines = await _examine(vm)
    except lab.LabError as error:
        lines = [str(error)]
    path.write_text("\n".join(lines) + "\n")
    return str(path)
