# SPDX-License-Identifier: GPL-2.0
"""The source of Debian's kernels, from the linux-source packages."""

import re
from pathlib import Path
from typing import NamedTuple

from . import cache, chroot, say
from .tree import Tree, tail

# Fresh lists: the tree's own may name versions the archive no longer has. All
# in the tmpfs on /tmp, the tree itself is read-only.
_FETCH = """
set -e
mkdir -p /tmp/lists /tmp/cache/archives/partial
apt="apt-get -q -o Dir::State::lists=/tmp/lists -o Dir::Cache=/tmp/cache"
$apt update
cd /lab/out
$apt download "$1"
dpkg-deb --fsys-tarfile "$1"_*.deb | tar -x --wildcards '*/linux-source-*.tar.xz'
rm "$1"_*.deb
"""


class Package(NamedTuple):
    """A package with a kernel's source."""

    name: str
    version: str    # when the tree was made


def find(tree: Tree, series: str) -> Package:
    """The package of a series; failing that, of the newest series after it."""
    names = chroot.read(tree.path, ["apt-cache", "pkgnames", "linux-source-"]).split()
    found = (re.fullmatch(r"linux-source-(\d+)\.(\d+)", name) for name in names)
    there = {(int(match[1]), int(match[2])): match[0] for match in found if match}
    wanted = tuple(int(number) for number in series.split("."))
    best = wanted if wanted in there else max(there, default=wanted)
    if best not in there or best < wanted:
        raise say.LabError(f"the archive has no linux-source-{series} and none newer")
    about = chroot.read(tree.path, ["apt-cache", "show", "--no-all-versions", there[best]])
    version = re.search(r"^Version: (.*)$", about, re.MULTILINE)
    return Package(there[best], version[1] if version else "")


def fetch(tree: Tree, package: str, target: Path, log: Path) -> Path:
    """Put the archive with a kernel's source into the target directory."""
    binds = [chroot.Bind(target, "/lab/out", "rw")] + chroot.network_binds()
    if chroot.run(tree.path, ["sh", "-c", _FETCH, "sh", package], binds, log=log) != 0:
        raise say.LabError(f"could not fetch {package}:\n{tail(log)}")
    packed = next(target.glob("usr/src/linux-source-*.tar.xz"))
    archive = packed.rename(target / packed.name)
    cache.remove(target / "usr")
    return archive
