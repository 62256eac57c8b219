# SPDX-License-Identifier: GPL-2.0
"""Which packages make a kernel of a wanted series, as the archive is today.

Debian's kernel packages carry the exact version in their name, a newer one
replaces it within weeks, and how a kernel is split into packages changed over
time. So the names are looked up when a tree is built, never written down.
"""

import re
from pathlib import Path
from typing import NamedTuple

from . import chroot


class Kernel(NamedTuple):
    """A kernel found in the archive."""

    series: str     # what was asked for
    version: str    # what `uname -r` says
    packages: list  # what to install


# How the archive may name what boots, best first; all need the headers too.
_IMAGE_SPLITS = (
    ("linux-image-{v}",),
    ("linux-image-{v}-unsigned",),
    ("linux-binary-{v}", "linux-modules-{v}"),
    ("linux-binary-unsigned-{v}", "linux-modules-{v}"),
)


def _numbers(version: str) -> list[int]:
    """6.12.107+deb13-amd64 -> [6, 12, 107, 13]: an order that suits people."""
    return [int(number) for number in re.findall(r"\d+", version.removesuffix("-amd64"))]


def _versions(tree: Path) -> list[str]:
    """Every plain amd64 kernel with a headers package, oldest first."""
    names = chroot.read(tree, ["apt-cache", "pkgnames", "linux-headers-"]).split()
    found = (re.fullmatch(r"linux-headers-(\d[^-]*(?:-\d+)?-amd64)", name) for name in names)
    return sorted((match[1] for match in found if match), key=_numbers)


def _installable(tree: Path, packages: list[str], release: str | None) -> bool:
    line = ["apt-get", "install", "--simulate", *packages]
    if release:
        line[1:1] = ["-t", release]
    return chroot.run(tree, line) == 0


def _packages(tree: Path, version: str, release: str | None) -> list[str] | None:
    """The packages of one version, or None if the archive has only parts of it."""
    headers = f"linux-headers-{version}"
    for split in _IMAGE_SPLITS:
        packages = [name.format(v=version) for name in split] + [headers]
        if _installable(tree, packages, release):
            return packages
    return None


def find(tree: Path, series: str, release: str | None = None) -> Kernel | None:
    """The newest installable kernel of a series; failing that the next newer one."""
    wanted = _numbers(series)
    versions = _versions(tree)
    same = [version for version in versions if _numbers(version)[:len(wanted)] == wanted]
    newer = [version for version in versions if _numbers(version)[:len(wanted)] > wanted]
    for version in [*reversed(same), *reversed(newer)]:
        packages = _packages(tree, version, release)
        if packages:
            return Kernel(series, version, packages)
    return None
