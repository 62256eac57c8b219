# SPDX-License-Identifier: GPL-2.0
"""What is in the records of the backends: names for decode-stream.

The layouts are those of driver/igbvf/state.c, driver/example/edu.c and ballast.h.
"""

import struct
from typing import Callable

from migstream import BACKEND, Backend, Kind

_RING = ("BAL", "BAH", "LEN", "SRRCTL", "DCA", "WBAL", "WBAH", "HEAD", "DCTL", "TAIL")
_ENABLED = 1 << 25
_IRQ = ("EIAC", "EIAM", "EITR0", "EITR1", "EITR2", "IVAR0", "IVAR_MISC", "PSRTYPE")
_MAILBOX_FLAGS = ("VF owns it", "a message is unread", "reset by VTCTRL is due", "rings are to start over",
                  "the last request was answered")
_R2C = {4: "PFSTS", 5: "PFACK", 7: "RSTD"}
_HELD = {0: "REQ", 1: "ACK"}
_MESSAGES = {1: "RESET", 2: "SET_MAC", 3: "SET_MULTICAST", 4: "SET_VLAN", 5: "SET_LPE", 6: "SET_PROMISC"}
_STATS = ("GPRC", "GPTC", "GORC", "GOTC", "MPRC", "GPRLBC", "GPTLBC", "GORLBC", "GOTLBC")


def _words(payload: bytes) -> tuple:
    return struct.unpack(f"<{len(payload) // 4}I", payload)


def _bits(value: int, names: dict) -> str:
    return ", ".join(name for bit, name in names.items() if value >> bit & 1) or "none"


def _mac(octets: bytes) -> str:
    return octets.hex(":")


def _rings(payload: bytes) -> list[str]:
    lines = []
    words = _words(payload)
    for number, name in enumerate(("RX0", "RX1", "TX0", "TX1")):
        ring = dict(zip(_RING, words[number * len(_RING):]))
        state = "on" if ring["DCTL"] & _ENABLED else "off"
        lines.append(f"{name} {state}: {ring['LEN'] // 16} descriptors at "
                     f"{ring['BAH'] << 32 | ring['BAL']:#x}, HEAD {ring['HEAD']}, TAIL {ring['TAIL']}")
        rest = ("SRRCTL", "DCA") if name.startswith("RX") else ("DCA", "WBAL", "WBAH")
        lines.append("    " + ", ".join(f"{reg} {ring[reg]:#x}" for reg in (*rest, "DCTL")))
    return lines


def _interrupts(payload: bytes) -> list[str]:
    words = _words(payload)
    names = {bit: f"vector {bit}" for bit in range(32)}
    return [", ".join(f"{name} {value:#x}" for name, value in zip(_IRQ, words)),
            f"enabled: {_bits(words[8], names)}; to be raised: {_bits(words[9], names)}"]


def _message(word: int) -> str:
    verdict = "".join(f" {name}" for bit, name in ((31, "ACK"), (30, "NACK"), (29, "CTS")) if word >> bit & 1)
    return _MESSAGES.get(word & 0xffff, f"{word & 0xffff:#x}") + verdict


def _mailbox(payload: bytes) -> list[str]:
    words = _words(payload)
    r2c, held, flags, link = words[16:]
    return [f"VMBMEM: {' '.join(f'{word:08x}' for word in words[:16])}",
            f"its first word as a message: {_message(words[0])}",
            f"unread bits: {_bits(r2c, _R2C)}; held back: {_bits(held, _HELD)}",
            f"flags: {_bits(flags, dict(enumerate(_MAILBOX_FLAGS)))}; link: {'up' if link & 2 else 'down'} ({link:#x})"]


_PF = struct.Struct("<5I2I6s192s60s2s512s")
_PF_FLAGS = ("may send requests", "address known", "multicast set", "VLANs set")


def _pf(payload: bytes) -> list[str]:
    flags, lpe, promisc, nr_uc, nr_mc, last0, last1, mac, uc, mc, _, vlan = _PF.unpack(payload)
    vlans = [number for number in range(4096) if vlan[number // 8] >> number % 8 & 1]
    hashes = struct.unpack("<30H", mc)[:min(nr_mc, 30)]
    lines = [f"flags: {_bits(flags, dict(enumerate(_PF_FLAGS)))}",
             f"address {_mac(mac)}, largest frame {lpe or 'not set'}, promiscuous {promisc:#x}"]
    if nr_uc:
        lines.append("further addresses: " + ", ".join(_mac(uc[6 * n:6 * n + 6]) for n in range(min(nr_uc, 32))))
    if nr_mc:
        lines.append(f"{nr_mc} multicast hashes: {' '.join(f'{value:03x}' for value in hashes)}")
    if vlans or flags & 8:
        lines.append(f"VLANs: {', '.join(map(str, vlans)) or 'none'}; the last request: "
                     f"{'add' if last0 >> 16 & 0xff else 'remove'} {last1}")
    return lines


def _stats(payload: bytes) -> list[str]:
    return [", ".join(f"{name} {value}" for name, value in zip(_STATS, _words(payload)))]


_EDU = ("liveness", "factorial of", "status", "interrupts", "DMA from", "DMA to", "DMA length", "DMA command")


def _edu(payload: bytes) -> list[str]:
    return [", ".join(f"{name} {value:#x}" for name, value in zip(_EDU, _words(payload)))]


def _ballast(payload: bytes) -> list[str]:
    begin = int.from_bytes(payload[:8], "little")
    size = len(payload) - 8
    return [f"{size} bytes from {begin:#x} to {begin + size:#x}, beginning with {payload[8:24].hex(' ')}"]


BACKENDS = {
    "igbvf": Backend(1, {
        BACKEND + 0: Kind("RINGS", 160, 160),
        BACKEND + 1: Kind("INTERRUPTS", 40, 40),
        BACKEND + 2: Kind("MAILBOX", 80, 80),
        BACKEND + 3: Kind("PF", _PF.size, _PF.size),
        BACKEND + 4: Kind("STATS", 36, 36, False),
    }, ("rings in mid-use", "the guest starts its rings over"),
        ("heads writable", "heads kept", "mask readable", "tails latched", "pages of 4 KiB")),
    "edu": Backend(1, {
        BACKEND + 0: Kind("REGISTERS", 32, 32),
        BACKEND + 1: Kind("BALLAST", 9, 8 + (256 << 10), False, True),
    }, ("ballast",)),
}

_DECODERS = {"igbvf": (_rings, _interrupts, _mailbox, _pf, _stats), "edu": (_edu, _ballast)}


def features(value: int, names: tuple) -> str:
    """Feature bits in words."""
    return ", ".join(names[bit] if bit < len(names) else f"bit {bit}"
                     for bit in range(value.bit_length()) if value >> bit & 1) or "nothing"


def decoder(backend: str, type_: int) -> Callable | None:
    """What turns such a record's payload, if it has the right size, into lines."""
    known = _DECODERS.get(backend, ())
    return known[type_ - BACKEND] if 0 <= type_ - BACKEND < len(known) else None
