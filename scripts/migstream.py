# SPDX-License-Identifier: GPL-2.0
"""Read, check and write the device state stream of vfio_pci_migration.

The format is described in uapi/vfio_pci_migration_stream.h. Standard library
only, so that it runs wherever a stream was caught.
"""

import struct
from dataclasses import dataclass
from typing import NamedTuple

MAGIC = b"VFIOMIGS"
ALIGN = 8

HEADER = 1
IDENTITY = 2
END = 3
AHEAD = 4           # what came before it in its sequence was sent while the source works
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


class Kind(NamedTuple):
    """What a backend understands: a type of its records."""

    name: str
    min: int
    max: int
    mandatory: bool = True
    chunked: bool = False   # any number of them


class Backend(NamedTuple):
    """What a reader of a backend's records knows of them."""

    version: int
    kinds: dict             # type -> Kind
    required: tuple = ()    # names of the feature bits that it knows, from bit 0 on
    optional: tuple = ()


class Fault(NamedTuple):
    """Something that is wrong with a stream."""

    at: int         # where the record begins
    record: str     # which one
    reason: str     # in the words of the driver


_HEADER = struct.Struct("<8sHHIQQ")         # magic major minor reserved required optional
_IDENTITY = struct.Struct("<16sIHHHHB3sQQ")  # backend version ids(4) revision reserved required optional
_WANTED = {HEADER: _HEADER.size, IDENTITY: _IDENTITY.size, END: _END.size, AHEAD: 0}
MAJOR = 1
REQUIRED = 1        # flag
SKIP_MAX = 1 << 20  # a longer record of an unknown type is not skipped


@dataclass
class Identity:
    """The payload of IDENTITY."""

    backend: str
    version: int
    vendor: int
    device: int
    subsystem_vendor: int
    subsystem_device: int
    revision: int
    reserved: bytes
    required: int
    optional: int

    @staticmethod
    def of(payload: bytes) -> "Identity":
        """What a payload of the right size says."""
        name, *rest = _IDENTITY.unpack(payload)
        return Identity(name.rstrip(b"\0").decode("ascii", "replace"), *rest)


class Checker:
    """Reads a stream as the driver does (driver/core/stream.c), but does not stop at the first fault.

    The first fault is the one that the driver names, if it knows the same backend and is
    of the same kind of device.
    """

    def __init__(self, backends: dict | None = None):
        self.faults: list[Fault] = []
        self.records: list[tuple[int, Record]] = []     # where, what
        self._backends = backends or {}
        self._where = (0, "")
        self._sequence = None
        self._index = 0
        self._before: list[Record] = []
        self._identity: bytes | None = None
        self._complete = False

    def _fault(self, reason: str) -> None:
        self.faults.append(Fault(*self._where, reason))

    @property
    def backend(self) -> Backend | None:
        """Whose records these are, if that is known."""
        if self._identity is None:
            return None
        return self._backends.get(Identity.of(self._identity).backend)

    def read(self, data: bytes) -> "Checker":
        """All of a stream."""
        at = 0
        while len(data) - at >= _RECORD.size:
            type_, flags, length, sequence, index, crc, reserved = _RECORD.unpack_from(data, at)
            self._where = (at, f"record {index} of sequence {sequence}")
            begin, end = at + _RECORD.size, at + _RECORD.size + length
            self._check_order(type_, flags, sequence, index, reserved)
            self._check_size(type_, flags, length, index)
            after = end + -length % ALIGN
            if after > len(data):
                self._fault("truncated within a record")
                return self
            record = Record(type_, flags, sequence, index, bytes(data[begin:end]), crc, reserved,
                            bytes(data[end:after]))
            self.records.append((at, record))
            self._take(record)
            at = after
        self._where = (at, "the end")
        if at < len(data):
            self._fault("truncated within a record")
        elif self._sequence is None:
            self._fault("truncated before it began")
        elif not self._complete:
            self._fault("truncated before END")
        return self

    def _check_order(self, type_: int, flags: int, sequence: int, index: int, reserved: int) -> None:
        if type_ != HEADER and self._sequence is None:
            self._fault("not a device state stream")
        elif type_ != HEADER and self._complete:
            self._fault("data after END")
        if not type_:
            self._fault("record without type")
        if flags & ~REQUIRED:
            self._fault("unknown record flag")
        if reserved:
            self._fault("reserved field of a record is not 0")
        if type_ == HEADER:
            if self._sequence is not None and sequence <= self._sequence:
                self._fault("sequence number does not grow")
            if index:
                self._fault("record out of order")
        elif self._sequence is not None:
            if sequence != self._sequence:
                self._fault("record of another sequence")
            if index != self._index:
                self._fault("record out of order")

    def _check_size(self, type_: int, flags: int, length: int, index: int) -> None:
        if type_ in _WANTED:
            if type_ == IDENTITY and index != 1:
                self._fault("IDENTITY not next to HEADER")
            if type_ == AHEAD and self._identity is None:
                self._fault("AHEAD before IDENTITY")
            if type_ == AHEAD and any(record.type == AHEAD for record in self._before):
                self._fault("duplicate record")
            if length != _WANTED[type_]:
                self._fault("HEADER, IDENTITY, AHEAD or END of wrong size")
            return
        if type_ >= BACKEND and self._identity is None:
            self._fault("device state before IDENTITY")
        backend = self.backend
        kind = backend.kinds.get(type_) if backend and type_ >= BACKEND else None
        if kind:
            if not kind.chunked and any(record.type == type_ for record in self._before):
                self._fault("duplicate record")
            if length < kind.min:
                self._fault("record is too short")
            if length > kind.max:
                self._fault("record is too long")
        elif backend or type_ < BACKEND:    # else: nobody knows what to expect
            if flags & REQUIRED:
                self._fault("required record of unknown type")
            if length > SKIP_MAX:
                self._fault("record of unknown type is too long")

    def _take(self, record: Record) -> None:
        if any(record.padding):
            self._fault("padding is not 0")
        if record.crc != record.right_crc():
            self._fault("record CRC mismatch")
        if record.type == HEADER:
            self._before = []
            self._complete = False
            self._sequence = record.sequence
            self._index = 0
        if len(record.payload) == _WANTED.get(record.type):
            {HEADER: self._header, IDENTITY: self._take_identity, END: self._end,
             AHEAD: lambda record: None}[record.type](record)
        self._before.append(record)
        self._index += 1

    def _header(self, record: Record) -> None:
        magic, major, _, reserved, required, _ = _HEADER.unpack(record.payload)
        if magic != MAGIC:
            self._fault("not a device state stream")
        elif major != MAJOR:
            self._fault("unknown version of the stream format")
        if reserved:
            self._fault("reserved field of HEADER is not 0")
        if required:
            self._fault("unknown feature of the stream format")

    def _take_identity(self, record: Record) -> None:
        identity = Identity.of(record.payload)
        known = self._backends.get(identity.backend)
        if known and identity.version > known.version:
            self._fault("state is of a newer version")
        if any(identity.reserved):
            self._fault("reserved field of IDENTITY is not 0")
        if identity.required >> len(known.required if known else ()):
            self._fault("unknown feature of the device state")
        if self._identity not in (None, record.payload):
            self._fault("IDENTITY has changed")
        self._identity = record.payload

    def _end(self, record: Record) -> None:
        count, crc, size = _END.unpack(record.payload)
        data = encode(self._before)
        if count != len(self._before):
            self._fault("number of records does not match END")
        if size != len(data):
            self._fault("number of bytes does not match END")
        if crc != crc32c(data):
            self._fault("sequence CRC mismatch")
        if self._identity is None:
            self._fault("no IDENTITY")
        kinds = self.backend.kinds if self.backend else {}
        there = {one.type for one in self._before}
        for type_, kind in kinds.items():
            if kind.mandatory and type_ not in there:
                self._fault(f"a mandatory record is missing: {kind.name}")
        self._complete = True
