# SPDX-License-Identifier: GPL-2.0
"""Kernel modules of a tree as plain files: which ones, in which order."""

import lzma
import re
import subprocess
from pathlib import Path

from . import chroot


def _plain_name(path: str) -> str:
    """kernel/fs/9p/9p.ko.xz -> 9p"""
    return re.sub(r"\.ko(\.\w+)?$", "", path.rsplit("/", 1)[-1]).replace("-", "_")


def _dependencies(directory: Path) -> dict:
    """modules.dep as {name: (path, [paths it needs])}."""
    table = {}
    for line in (directory / "modules.dep").read_text().splitlines():
        path, _, needs = line.partition(":")
        table[_plain_name(path)] = (path, needs.split())
    return table


def closure(tree: Path, version: str, names: list[str]) -> list[str]:
    """Paths of the named modules and what they need, in the order to load them.

    What is built into the kernel has no file and is left out.
    """
    table = _dependencies(tree / "lib/modules" / version)
    order = []
    for name in names:
        if name in table:
            path, needs = table[name]
            # modules.dep lists the needs of each module from the nearest to the deepest
            order += [*reversed(needs), path]
    return list(dict.fromkeys(order))


def read(tree: Path, version: str, path: str) -> bytes:
    """The content of a module file, unpacked: a busybox insmod wants it plain."""
    file = tree / "lib/modules" / version / path
    if file.suffix == ".xz":
        return lzma.decompress(file.read_bytes())
    if file.suffix == ".zst":
        return _unpack_zstd(tree, f"/lib/modules/{version}/{path}")
    return file.read_bytes()


def _unpack_zstd(tree: Path, inside: str) -> bytes:
    """Python 3.11 knows no zstd; the tree has the program if its kernels use it."""
    return subprocess.run(chroot.argv(tree, ["zstd", "-dc", inside]), check=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE).stdout
