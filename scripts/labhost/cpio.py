# SPDX-License-Identifier: GPL-2.0
"""Write cpio archives in the format the kernel reads ("newc"), for initramfs images."""

import gzip
from pathlib import Path


class Archive:
    """An initramfs in the making."""

    def __init__(self):
        self._parts = []
        self._inode = 1
        self._names = set()

    def _add(self, name: str, mode: int, data: bytes = b"", rdev: tuple = (0, 0)) -> None:
        encoded = name.encode() + b"\0"
        fields = (self._inode, mode, 0, 0, 1, 0, len(data), 0, 0, *rdev, len(encoded), 0)
        header = b"070701" + b"".join(b"%08X" % field for field in fields)
        for part in (header + encoded, data):
            self._parts.append(part + b"\0" * (-len(part) % 4))
        self._inode += 1
        self._names.add(name)

    def _parents(self, name: str) -> None:
        parent = name.rpartition("/")[0]
        if parent and parent not in self._names:
            self.directory(parent)

    def directory(self, name: str) -> None:
        """A directory, with those above it."""
        self._parents(name)
        if name not in self._names:
            self._add(name, 0o040755)

    def file(self, name: str, data: bytes, executable: bool = False) -> None:
        """A regular file."""
        self._parents(name)
        self._add(name, 0o100755 if executable else 0o100644, data)

    def symlink(self, name: str, target: str) -> None:
        """A symbolic link."""
        self._parents(name)
        self._add(name, 0o120777, target.encode())

    def character(self, name: str, major: int, minor: int) -> None:
        """A character device."""
        self._parents(name)
        self._add(name, 0o020600, rdev=(major, minor))

    def write(self, path: Path, level: int = 1) -> None:
        """Write the archive, compressed just enough."""
        self._add("TRAILER!!!", 0)
        path.write_bytes(gzip.compress(b"".join(self._parts), level, mtime=0))
