# SPDX-License-Identifier: GPL-2.0
"""Read, check and write the device state stream of vfio_pci_migration.

The format is described in uapi/vfio_pci_migration_stream.h. Standard library
only, so that it runs wherever a stream was caught.
"""

import struct
from dataclasses import dataclass

MAGIC = b"VFIOMIGS"
ALIGN = 8

HEADER = 1
IDENTITY = 2
END = 3
BACKEND = 0x100     # types from here on belong to the backend

_RECORD = struct.Struct("<HHIIIII")     # type flags length sequence index crc reserved
_END = struct.Struct("<IIQ")            # records crc bytes
_CRC_AT = 16                            # of crc in a record's header

# In the payload of IDENTITY: vendor, device, subsystem_vendor, subsystem_device.
IDENTITY_IDS = struct.Struct("<HHHH")
IDENTITY_IDS_AT = 20


class StreamError(Exception):
    """The bytes are no stream, or not a whole one."""


def _table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82f63b78 if value & 1 else 0)
        table.append(value)
    return table


_TABLE = _table()


def crc32c(data: bytes, crc: int = 0) -> int:
    """CRC32C (Castagnoli) of data, going on from the crc of what was before."""
    crc ^= 0xffffffff
    for byte in data:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 0xff]
    return crc ^ 0xffffffff


@dataclass
class Record:
    """One record; crc is what the stream says, not what is right."""

    type: int
    flags: int
    sequence: int
    index: int
    payload: bytes
    crc: int = 0
    reserved: int = 0
    padding: bytes | None = None    # None: zeros, as it should be

    def encode(self) -> bytes:
        """The record as it is, with its crc right or wrong."""
        padding = self.padding
        if padding is None:
            padding = bytes(-len(self.payload) % ALIGN)
        return _RECORD.pack(self.type, self.flags, len(self.payload), self.sequence, self.index,
                            self.crc, self.reserved) + self.payload + padding

    def right_crc(self) -> int:
        """What crc should be."""
        data = bytearray(self.encode())
        data[_CRC_AT:_CRC_AT + 4] = bytes(4)
        return crc32c(bytes(data))


def records(data: bytes) -> list[Record]:
    """The records of a stream; StreamError if it ends within one."""
    found = []
    at = 0
    while at < len(data):
        if len(data) - at < _RECORD.size:
            raise StreamError(f"the stream ends within a record's header at {at}")
        type_, flags, length, sequence, index, crc, reserved = _RECORD.unpack_from(data, at)
        begin = at + _RECORD.size
        end = begin + length
        at = end + -length % ALIGN
        if at > len(data):
            raise StreamError(f"the stream ends within record {index} of sequence {sequence}")
        found.append(Record(type_, flags, sequence, index, bytes(data[begin:end]), crc, reserved,
                            bytes(data[end:at])))
    return found


def encode(parts: list[Record]) -> bytes:
    """The stream of these records, as they are."""
    return b"".join(record.encode() for record in parts)


def _end_payload(before: list[Record]) -> bytes:
    """What END says of the records of its sequence before it."""
    data = encode(before)
    return _END.pack(len(before), crc32c(data), len(data))


def seal(parts: list[Record]) -> list[Record]:
    """Make every CRC right, that of END over its sequence included."""
    before = []
    for record in parts:
        if record.type == HEADER:
            before = []
        if record.type == END:
            record.payload = _end_payload(before)
        record.crc = record.right_crc()
        before.append(record)
    return parts


def faults(data: bytes) -> list[str]:
    """What is wrong with a stream; empty if it is whole and consistent."""
    found = []
    before = []
    for record in records(data):
        name = f"record {record.index} of sequence {record.sequence}"
        if record.type == HEADER:
            before = []
            if not record.payload.startswith(MAGIC):
                found.append(f"{name}: no magic")
        if record.crc != record.right_crc():
            found.append(f"{name}: wrong CRC")
        if record.type == END and record.payload != _end_payload(before):
            found.append(f"{name}: END does not fit its sequence")
        before.append(record)
    if not before or before[-1].type != END:
        found.append("the last sequence has no END")
    return found
