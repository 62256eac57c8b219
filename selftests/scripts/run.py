# SPDX-License-Identifier: GPL-2.0
"""Tests of decode-stream, of silicon.py and of the time line. Output is TAP."""

import ctypes
import os
import random
import struct
import subprocess
import sys
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
sys.path[:0] = [str(SCRIPTS), str(SCRIPTS / "l1")]
import migdevices  # noqa: E402  pylint: disable=wrong-import-position
import timeline  # noqa: E402  pylint: disable=wrong-import-position
from migstream import (AHEAD, END, HEADER, IDENTITY, MAGIC, REQUIRED, Checker, Record, crc32c,  # noqa: E402
                       encode, seal)  # noqa: E402  pylint: disable=wrong-import-position

_LIBRARY = ctypes.CDLL(os.path.abspath(sys.argv[1]))
_VERDICT, _VERDICT_CHUNKED = _LIBRARY.verdict, _LIBRARY.verdict_chunked
for _function in (_VERDICT, _VERDICT_CHUNKED):
    _function.restype = ctypes.c_char_p
    _function.argtypes = [ctypes.c_char_p, ctypes.c_size_t]


def driver_says(data: bytes, verdict=_VERDICT) -> str | None:
    """The driver's reason to refuse a stream; None if it takes it."""
    reason = verdict(data, len(data))
    return None if reason is None else reason.decode()


def _rings() -> bytes:
    words = [0] * 40
    words[0:10] = [0x1234000, 0, 4096, 0x82000002, 0, 0, 0, 17, 0x02010810, 16]     # RX0
    words[20:30] = [0x1240000, 1, 2048, 0, 0, 0, 0, 99, 0x02000000, 100]            # TX0
    return struct.pack("<40I", *words)


def _mailbox() -> bytes:
    return struct.pack("<20I", 0xa0000003, *[0] * 15, 0x10, 0x1, 0x3, 0x2)


def _pf() -> bytes:
    vlan = bytearray(512)
    vlan[0] |= 1
    vlan[12] |= 0x10
    return struct.pack("<7I6s192s60s2s512s", 0xf, 1522, 0, 1, 2, 0x10004, 100, bytes.fromhex("525400825760"),
                       bytes.fromhex("525400000001") + bytes(186), struct.pack("<2H", 0x123, 0xabc) + bytes(56),
                       bytes(2), bytes(vlan))


def parts(sequence: int = 1) -> list[Record]:
    """The records of a good sequence."""
    header = struct.pack("<8sHHIQQ", MAGIC, 1, 1, 0, 0, 0)
    identity = struct.pack("<16sIHHHHB3sQQ", b"igbvf", 1, 0x8086, 0x10ca, 0x8086, 0xa03c, 1, bytes(3), 3, 0x1f)
    interrupts = struct.pack("<10I", 7, 7, 488, 488, 488, 0x8081, 0x82, 0, 0x5, 0x1)
    payloads = [(HEADER, header), (IDENTITY, identity), (0x100, _rings()), (0x101, interrupts),
                (0x102, _mailbox()), (0x103, _pf()), (0x104, struct.pack("<9I", *range(100, 109))),
                (END, bytes(16))]
    return seal([Record(kind, 0 if kind == 0x104 else REQUIRED, sequence, index, payload)
                 for index, (kind, payload) in enumerate(payloads)])


def _with(change, sealed: bool = True) -> bytes:
    """A stream with something changed."""
    records = parts()
    change(records)
    return encode(seal(records) if sealed else records)


def _set(number: int, **fields):
    def change(records: list[Record]) -> None:
        for name, value in fields.items():
            setattr(records[number], name, value)
    return change


def _poke(number: int, at: int, byte: int):
    def change(records: list[Record]) -> None:
        payload = bytearray(records[number].payload)
        payload[at] = byte
        records[number].payload = bytes(payload)
    return change


def _twice(records: list[Record]) -> None:
    records.insert(3, records[2])
    for index, record in enumerate(records):
        record.index = index
    records[3] = Record(0x100, REQUIRED, 1, 3, records[2].payload)


def _without(kind: int):
    def change(records: list[Record]) -> None:
        records[:] = [record for record in records if record.type != kind]
        for index, record in enumerate(records):
            record.index = index
    return change


def _extra(kind: int, flags: int):
    def change(records: list[Record]) -> None:
        records.insert(-1, Record(kind, flags, 1, len(records) - 1, b"abc"))
        records[-1].index += 1
    return change


def _bad_end(at: int):
    """END that says something wrong, with a right CRC of its own."""
    def change(records: list[Record]) -> None:
        _poke(-1, at, records[-1].payload[at] ^ 1)(records)
        records[-1].crc = records[-1].right_crc()
    return change


def _good() -> bytes:
    return encode(parts())


def _ahead(times: int, payload: bytes = b"") -> list[Record]:
    """What is sent ahead: what the PF holds."""
    records = [record for record in parts() if record.type in (HEADER, IDENTITY, 0x103)]
    records += [Record(AHEAD, 0, 1, 0, payload) for _ in range(times)]
    for index, record in enumerate(records):
        record.index = index
    return seal(records)


# name, stream; the driver's own words are what is expected.
BROKEN = [
    ("nothing", b""),
    ("no stream", b"QEVM" + bytes(60)),
    ("cut in a header", _good()[:30]),
    ("cut in a payload", _good()[:200]),
    ("cut before END", encode(parts()[:-1])),
    ("a flipped bit in a payload", _with(_poke(2, 5, 0xff), False)),
    ("a flipped bit in a CRC", _with(_set(3, crc=1), False)),
    ("padding", _with(_set(6, padding=b"\1\0\0\0"))),
    ("no type", _with(_set(2, type=0))),
    ("unknown flag", _with(_set(2, flags=3))),
    ("reserved of a record", _with(_set(4, reserved=1))),
    ("index", _with(_set(4, index=9))),
    ("sequence", _with(_set(4, sequence=2))),
    ("magic", _with(_poke(0, 0, 0))),
    ("format version", _with(_poke(0, 8, 2))),
    ("reserved of HEADER", _with(_poke(0, 12, 1))),
    ("required feature of the format", _with(_poke(0, 16, 1))),
    ("HEADER's size", _with(_set(0, payload=bytes(8)))),
    ("newer records", _with(_poke(1, 16, 2))),
    ("reserved of IDENTITY", _with(_poke(1, 29, 1))),
    ("required feature of the state", _with(_poke(1, 32, 4))),
    ("no IDENTITY", _with(_without(IDENTITY))),
    ("a record twice", _with(_twice)),
    ("too short", _with(_set(3, payload=bytes(36)))),
    ("too long", _with(_set(3, payload=bytes(44)))),
    ("a mandatory record is missing", _with(_without(0x102))),
    ("unknown and required", _with(_extra(0x200, REQUIRED))),
    ("unknown and required, not the backend's", _with(_extra(0x20, REQUIRED))),
    ("END: records", _with(_bad_end(0), False)),
    ("END: CRC", _with(_bad_end(4), False)),
    ("END: bytes", _with(_bad_end(8), False)),
    ("data after END", _good() + encode(parts()[2:3])),
    ("the same sequence again", _good() * 2),
    ("rubbish after END", _good() + bytes(3)),
    ("AHEAD twice", encode(_ahead(2))),
    ("AHEAD with a payload", encode(_ahead(1, b"12345678"))),
    ("AHEAD before IDENTITY", encode(seal([parts()[0], Record(AHEAD, 0, 1, 1, b"")]))),
    ("nothing after AHEAD", encode(_ahead(1))),
]

GOOD = [
    ("one sequence", _good()),
    ("two sequences", _good() + encode(parts(2))),
    ("a sequence after what was sent ahead", encode(_ahead(1)) + encode(parts(2))),
    ("a sequence given up for another", encode(parts()[:4]) + encode(parts(2))),
    ("without what is optional", _with(_without(0x104))),
    ("with something unknown and optional", _with(_extra(0x200, 0))),
]


def _check(data: bytes) -> list[str]:
    return [fault.reason for fault in Checker(migdevices.BACKENDS).read(data).faults]


def _decode(data: bytes, *options: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-B", SCRIPTS / "decode-stream", *options], input=data,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)


def _agree(data: bytes, verdict=_VERDICT) -> list[str]:
    """What differs between the driver's verdict and the checker's."""
    driver, ours = driver_says(data, verdict), _check(data)
    if (driver is None) != (not ours) or driver and not ours[0].startswith(driver):
        return [f"the driver says {driver!r}, the checker {ours}"]
    return []


def good_streams() -> list[str]:
    """Good streams: the driver takes them, decode-stream finds nothing."""
    faults = []
    for name, data in GOOD:
        faults += [f"{name}: {fault}" for fault in _agree(data)]
        done = _decode(data)
        if driver_says(data) or done.returncode or b"whole and consistent" not in done.stdout:
            faults.append(f"{name}: {done}")
    return faults


def broken_streams() -> list[str]:
    """Broken streams: the reason is the driver's, and each has its own."""
    faults = []
    for name, data in BROKEN:
        faults += [f"{name}: {fault}" for fault in _agree(data)]
        done = _decode(data)
        reason = driver_says(data) or "taken by the driver"
        want = 2 if not data else 1
        if done.returncode != want or data and reason.encode() not in done.stdout:
            faults.append(f"{name}: {reason!r}, but {done}")
    if len({driver_says(data) for _, data in BROKEN}) < 25:
        faults.append("the broken streams are too much alike")
    return faults


def any_byte() -> list[str]:
    """Any byte changed, any length: the same verdict as the driver's."""
    data = _good()
    rand = random.Random(8086)
    faults = []
    for at in range(0, len(data)):
        changed = bytearray(data)
        changed[at] ^= 1 << rand.randrange(8)
        # Of another device, as the driver sees it; the checker is not told whose it is.
        if (driver_says(bytes(changed)) or "").startswith("state of another"):
            continue
        faults += [f"byte {at}: {fault}" for fault in _agree(bytes(changed))]
        faults += [f"length {at}: {fault}" for fault in _agree(data[:at])]
    return faults[:5]


def in_words() -> list[str]:
    """What decode-stream says of a stream."""
    text = _decode(_good()).stdout.decode()
    want = ["backend 'igbvf', records of version 1", "PCI 8086:10ca, subsystem 8086:a03c, revision 01",
            "requires: rings in mid-use, the guest starts its rings over; besides: heads writable, heads kept, mask",
            "RINGS 0x100, 160 bytes", "RX0 on: 256 descriptors at 0x1234000, HEAD 17, TAIL 16",
            "TX0 on: 128 descriptors at 0x101240000, HEAD 99, TAIL 100", "RX1 off", "IVAR0 0x8081",
            "enabled: vector 0, vector 2; to be raised: vector 0", "SET_MULTICAST ACK CTS",
            "unread bits: PFSTS; held back: REQ", "VF owns it, a message is unread; link: up",
            "address 52:54:00:82:57:60, largest frame 1522", "further addresses: 52:54:00:00:00:01",
            "2 multicast hashes: 123 abc", "VLANs: 0, 100; the last request: add 100",
            "STATS 0x104, 36 bytes, optional", "GPRC 100, GPTC 101", "7 records, 1368 bytes before it"]
    return [f"not there: {one!r}" for one in want if one not in text]


def search() -> list[str]:
    """--search finds streams in a larger file, and only them."""
    data = _good()
    done = _decode(b"QEVM" + bytes(1001) + data + os.urandom(333) + data + b"\0\7")
    if done.returncode != 1:
        return [f"without --search: {done}"]
    done = _decode(b"QEVM" + bytes(1001) + data + os.urandom(333) + data + b"\0\7", "--search")
    if done.returncode or done.stdout.count(f"{len(data)} bytes, whole".encode()) != 2:
        return [f"{done}"]
    done = _decode(bytes(1000), "--search")
    return [f"nothing to be found: {done}"] if done.returncode != 2 else []


def _chunked(sequence: int, *chunks: bytes) -> list[Record]:
    """The records of a sequence of the example, with chunks."""
    header = struct.pack("<8sHHIQQ", MAGIC, 1, 0, 0, 0, 0)
    identity = struct.pack("<16sIHHHHB3sQQ", b"edu", 1, 0x1234, 0x11e8, 0x1af4, 0x1100, 0x10, bytes(3), 1, 0)
    payloads = [(HEADER, header), (IDENTITY, identity), *((0x101, chunk) for chunk in chunks[:1]), (0x100, bytes(32)),
                *((0x101, chunk) for chunk in chunks[1:]), (END, bytes(16))]
    return seal([Record(kind, REQUIRED, sequence, index, payload) for index, (kind, payload) in enumerate(payloads)])


def chunks() -> list[str]:
    """Streams with chunks, good and bad: as the driver has it, and in words."""
    some = [struct.pack("<Q", at * 100) + bytes([at + 1]) * 100 for at in range(4)]
    good = encode(_chunked(1, *some))
    faults = []
    cases = [good, encode(_chunked(1)), good + encode(_chunked(2, *some)), encode(_chunked(1, *some)[:4]) +
             encode(_chunked(2, *some)), encode(_chunked(1, *some, bytes(8))), encode(_chunked(1, bytes(9 + (256 << 10)))),
             good + encode(_chunked(1, *some)[5:6]), encode(_chunked(1, *some)[:-1])]
    wanted = [None, None, None, None, "record is too short", "record is too long", "data after END",
              "truncated before END"]
    for number, (data, want) in enumerate(zip(cases, wanted)):
        faults += [f"case {number}: {fault}" for fault in _agree(data, _VERDICT_CHUNKED)]
        if driver_says(data, _VERDICT_CHUNKED) != want:
            faults.append(f"case {number}: {driver_says(data, _VERDICT_CHUNKED)!r}, not {want!r}")
    text = _decode(good).stdout.decode()
    want = ["BALLAST 0x101, 108 bytes", "requires: ballast", "100 bytes from 0x12c to 0x190, beginning with 04 04",
            "whole and consistent"]
    return faults + [f"not there: {one!r}" for one in want if one not in text]


def known_crc() -> list[str]:
    """CRC32C of the string that everybody uses."""
    return [] if crc32c(b"123456789") == 0xe3069283 else ["wrong"]


FACTS = """TAP version 13
# fact rx_head_writable=0
# fact heads_writable=0
ok 1 - heads: Question 1: can heads of a queue that is off be written?
# TDH was 5, 5 when off, 0 when on again
# fact heads_kept=0
# fact tails_latched=1
# fact queue_off_us_longest=312
# fact mask_readable=1
# fact page_size=4096
"""


def _silicon(text: str, *options: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-B", SCRIPTS / "silicon.py", *options], input=text, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)


def profile() -> list[str]:
    """What silicon_test says becomes parameters; half of it, or two devices, become none."""
    faults = []
    want = ["heads_writable=0", "heads_kept=0", "mask_readable=1", "tails_latched=1"]
    good = ((FACTS, (), want),
            (FACTS.replace("# fact", "fact").replace("=4096", "=65536"), (), [*want, "mmap=N"]),
            (FACTS, ("--modprobe",), [f"options igbvf_vfio_pci {one}" for one in want]))
    for text, options, lines in good:
        done = _silicon(text, *options)
        if done.returncode or done.stdout.splitlines() != lines:
            faults.append(f"{options}: {done}")
    for text in ("", FACTS.replace("# fact heads_kept", "# fact heads_lost"), FACTS + "# fact mask_readable=0\n",
                 FACTS.replace("latched=1", "latched=2")):
        done = _silicon(text)
        if done.returncode != 1 or done.stdout or not done.stderr:
            faults.append(f"taken: {done}")
    return faults


TRACE = """# tracer: nop
#
   qemu-system-x86-812   [000] .....   100.110000: mig_phase: 0000:01:10.0 phase='locks' us=9001
   qemu-system-x86-812   [000] .....   100.120000: igbvf_queue: 0000:01:10.0 queue=TX0 drain us=9000 ret=0
   qemu-system-x86-812   [000] .....   100.121000: mig_step: 0000:01:10.0 step='quiesce' undo=0 us=20000 ret=0
   qemu-system-x86-812   [000] .....   100.122000: mig_transition: 0000:01:10.0 door=v2 from=RUNNING to=RUNNING|NDMA reached=RUNNING|NDMA us=22000 ret=0
 migration/0 tr-815     [001] d..1.   100.130000: mig_step: 0000:01:10.0 step='capture' undo=0 us=1000 ret=0
           <...>-820    [001] .....   100.150000: mig_record: 0000:02:10.0 in sequence=1 index=2 type=0x100 length=160
           <...>-820    [001] .....   100.155000: igbvf_mbx_request: 0000:02:10.0 by=driver SET_MAC word0=0x00000002 word1=0x00000000
           <...>-820    [001] .....   100.160000: igbvf_mbx_answer: 0000:02:10.0 by=driver SET_MAC NACK word0=0x40000002 us=5000 ret=0
           <...>-820    [001] .....   100.161000: mig_phase: 0000:02:10.0 phase='load' us=11000
           <...>-820    [001] .....   100.161500: mig_refusal: 0000:02:10.0 error=-1 reason='the PF refuses the guest's MAC 52:54:00:82:57:60'
           <...>-820    [001] .....   100.200000: mig_step: 0000:02:10.0 step='release' undo=0 us=10000 ret=-5
           <...>-820    [001] .....   100.300000: something_else: 0000:02:10.0 us=1
"""


def time_line() -> list[str]:
    """The time line: one row each, in order, on the right side; the downtime adds up."""
    sides = ("0000:01:10.0", "0000:02:10.0")
    events = timeline.parse(TRACE)
    marks = [timeline.Mark(100.125, None, timeline.STOPPED), timeline.Mark(100.195, None, timeline.STARTED)]
    rows = timeline.draw(events, marks, sides, 100.0)
    text = "\n".join(rows)
    want = ["RUNNING -> RUNNING|NDMA 22.0 ms", "quiesce 20.0 ms", "TX0 drain 9.0 ms", "-- QEMU: guest stopped --",
            "<- 0x100, 160 bytes", "PF? driver: SET_MAC", "PF! SET_MAC NACK 5.0 ms", "load 11.0 ms",
            "! refused (-1): the PF refuses the guest's MAC 52:54:00:82:57:60", "release 10.0 ms FAILED (-5)"]
    faults = [f"not there: {one!r}" for one in want if one not in text]
    times = [float(row.split()[0]) for row in rows[1:]]
    if times != sorted(times) or len(events) != 12:
        faults.append(f"{len(events)} events at {times}")
    column = next(row for row in rows if "load" in row).index("load")
    if column < timeline.WIDTH:
        faults.append("the destination is on the source's side")
    order = [next(at for at, row in enumerate(rows) if one in row)
             for one in ("RUNNING -> RUNNING|NDMA", "quiesce", "locks", "TX0 drain", "load", "PF? driver", "PF! SET")]
    if order != sorted(order):
        faults.append(f"rows in the order {order}: {text}")
    blame = "\n".join(timeline.blame(events, sides, marks))
    for one in ("did not run for 99.0 ms", "20.0 ms  source's device made quiet", "1.0 ms  source's state saved",
                "11.0 ms  destination's state loaded", "10.0 ms  destination's device started",
                "57.0 ms  everything else"):
        if one not in blame:
            faults.append(f"not there: {one!r}")
    return faults


def main() -> int:
    """Run all."""
    tests = (known_crc, good_streams, broken_streams, any_byte, chunks, in_words, search, profile, time_line)
    print(f"1..{len(tests)}")
    failed = 0
    for number, test in enumerate(tests, 1):
        faults = test()
        failed += bool(faults)
        for fault in faults:
            print(f"# {fault}")
        print(f"{'not ok' if faults else 'ok'} {number} - {test.__name__}: {test.__doc__}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
