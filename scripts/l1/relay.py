# SPDX-License-Identifier: GPL-2.0
"""A relay between two QEMUs that finds our device state in their stream.

QEMU's main migration channel carries the device state in chunks, all numbers
big endian: a mark (VFIO_MIG_FLAG_DEV_DATA_STATE), a size, that many bytes. The
relay can change the bytes and keeps QEMU's own framing right, so that nobody
but the device driver can notice. It can also close the connection in the
middle of a chunk, or stop there and wait.
"""

import contextlib
import socket
import struct
import threading
from pathlib import Path

MARK = struct.pack(">Q", 0xffffffffef100004)
SIZE = struct.Struct(">Q")
MAX_CHUNK = 1 << 20         # QEMU reads no more at once
BLOCK = 1 << 18
IO_LIMIT = 120


class Cut(Exception):
    """Raised by a mangler: send only these bytes of the chunk, then hang up."""

    def __init__(self, sent: bytes):
        super().__init__("connection to be cut")
        self.sent = sent


def _held_back(data: bytes) -> int:
    """How many bytes at the end may be the beginning of a mark."""
    for length in range(len(MARK) - 1, 0, -1):
        if data.endswith(MARK[:length]):
            return length
    return 0


class Relay:
    """One connection, both ways; mangle(bytes) -> bytes is called for each chunk.

    It may also return a list, of chunks that are to be sent instead of the one.
    A chunk for which hold(bytes) is true is not passed on, nor what follows it.
    """

    def __init__(self, mangle=None, hold=None):
        self.at_device_state = threading.Event()
        self.chunks: list[bytes] = []       # as the source sent them
        self.error: Exception | None = None
        self._mangle = mangle or (lambda chunk: chunk)
        self._hold = hold or (lambda chunk: False)
        self._closing = threading.Event()
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    def listen(self, target: Path) -> Path:
        """Listen beside the socket of the destination; returns where."""
        path = target.with_suffix(".relay")
        path.unlink(missing_ok=True)
        server = socket.socket(socket.AF_UNIX)
        server.settimeout(IO_LIMIT)
        server.bind(str(path))
        server.listen(1)
        self._sockets.append(server)
        self._start(self._serve, server, target)
        return path

    def _start(self, function, *arguments) -> None:
        thread = threading.Thread(target=self._guarded, args=(function, *arguments), daemon=True)
        self._threads.append(thread)
        thread.start()

    def _guarded(self, function, *arguments) -> None:
        """An end that hangs up is what the tests are about; all else is kept."""
        try:
            function(*arguments)
        except OSError:
            pass
        except Exception as error:  # pylint: disable=broad-exception-caught
            self.error = error
        finally:
            self._hang_up()

    def _serve(self, server: socket.socket, target: Path) -> None:
        source, _ = server.accept()
        self._sockets.append(source)
        destination = socket.socket(socket.AF_UNIX)
        self._sockets.append(destination)
        for end in (source, destination):
            end.settimeout(IO_LIMIT)
        destination.connect(str(target))
        self._start(self._back, destination, source)
        self._forward(source, destination)

    @staticmethod
    def _back(destination: socket.socket, source: socket.socket) -> None:
        """The return path, untouched."""
        while data := destination.recv(BLOCK):
            source.sendall(data)

    def _forward(self, source: socket.socket, destination: socket.socket) -> None:
        pending = b""
        while data := source.recv(BLOCK):
            pending = self._pass(pending + data, destination)
        destination.sendall(pending)

    def _pass(self, data: bytes, destination: socket.socket) -> bytes:
        """Send what can be sent; returns the rest, which needs more behind it."""
        while True:
            at = data.find(MARK)
            if at < 0:
                keep = _held_back(data)
                destination.sendall(data[:len(data) - keep])
                return data[len(data) - keep:]
            begin = at + len(MARK) + SIZE.size
            destination.sendall(data[:at])
            if len(data) < begin:
                return data[at:]
            size = SIZE.unpack_from(data, at + len(MARK))[0]
            if size > MAX_CHUNK:    # something else in the guest's memory
                destination.sendall(MARK)
                data = data[at + len(MARK):]
                continue
            if len(data) < begin + size:
                return data[at:]
            self._chunk(data[begin:begin + size], destination)
            data = data[begin + size:]

    def _chunk(self, chunk: bytes, destination: socket.socket) -> None:
        self.chunks.append(chunk)
        if self._hold(chunk):
            self.at_device_state.set()
            self._closing.wait(IO_LIMIT)
            raise OSError("held until the end")
        try:
            new = self._mangle(chunk)
        except Cut as cut:
            destination.sendall(MARK + SIZE.pack(len(chunk)) + cut.sent)
            raise OSError("cut") from cut
        for part in new if isinstance(new, list) else [new]:
            if part:    # QEMU takes an empty chunk for an error
                destination.sendall(MARK + SIZE.pack(len(part)) + part)

    def _hang_up(self) -> None:
        for end in list(self._sockets):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def close(self) -> None:
        """Hang up on both ends and wait for the threads."""
        self._closing.set()
        self._hang_up()
        for thread in self._threads:
            thread.join(10)
