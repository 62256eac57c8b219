# SPDX-License-Identifier: GPL-2.0
"""The trees: Debian root file systems in the cache.

The trixie tree is everything at once: the outer QEMU runs in it (so the host's
release does not matter), L1 has it as its root, and modules are built in it.
The bookworm tree has what is old: a kernel, and the last QEMU that drives the v1
migration region. L1 sees it as /bookworm.
"""

import json
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from . import cache, chroot, kernels, mirror, say

RECIPE = 1  # raise when the way a tree is made changes
BACKPORTS = "trixie-backports"
ROOM_NEEDED = 4 << 30


class Series(NamedTuple):
    """A kernel series a tree carries."""

    name: str
    release: str | None  # apt's target release, None: the tree's own


class Recipe(NamedTuple):
    """What goes into a tree."""

    suite: str
    suites: tuple
    packages: tuple     # from the tree's own suite
    backports: tuple    # from backports if they are there
    series: tuple

    def key(self) -> str:
        """The tree's name in the cache, made of everything that goes in."""
        return f"{self.suite}-{cache.digest(RECIPE, chroot.MOUNT_POINTS, chroot.NETWORK_FILES, self)}"


TRIXIE = Recipe(
    suite="trixie",
    suites=("trixie", "trixie-updates", BACKPORTS),
    packages=(
        "busybox-static", "cbmc", "ethtool", "gcc", "gdb-minimal", "iproute2", "iputils-ping", "kmod",
        "libc6-dev", "linux-libc-dev", "make", "mount", "pciutils", "perl", "procps", "python3",
        "python3-qemu-qmp", "socat", "sparse", "strace", "tcpdump", "xz-utils", "zstd", "cpio",
    ),
    backports=("qemu-system-x86", "libelf-dev", "ipxe-qemu", "seabios"),
    series=(Series("6.12", None), Series("7.2", BACKPORTS)),
)

BOOKWORM = Recipe(
    suite="bookworm",
    suites=("bookworm", "bookworm-updates"),
    packages=("gcc-12", "kmod", "libc6-dev", "libelf-dev", "make", "qemu-system-x86", "seabios"),
    backports=(),
    series=(Series("6.1", None),),
)

DEBUG = "debug"     # the kernel of debugkernel.py, as a series

OF_SERIES = {series.name: recipe for recipe in (TRIXIE, BOOKWORM) for series in recipe.series}


class Tree(NamedTuple):
    """A finished tree and the kernel versions in it."""

    path: Path
    versions: dict  # series -> uname -r

    def boot_file(self, version: str) -> Path:
        """The kernel image of a version."""
        return self.path / "boot" / f"vmlinuz-{version}"

    def guest_version(self, version: str) -> str:
        """The kernel for inner guests: that of L1, unless it is made to be thorough and slow."""
        return self.versions[TRIXIE.series[-1].name] if version == self.versions.get(DEBUG) else version


# Nothing in the lab reads manuals, and a tree that is thrown away needs no sync.
_DPKG_OPTIONS = ("force-unsafe-io", "path-exclude=/usr/share/man/*", "path-exclude=/usr/share/doc/*",
                 "path-exclude=/usr/share/locale/*", "path-exclude=/usr/share/info/*")

# Kernel packages want something that makes initramfs images. The lab makes its
# own, and generating Debian's takes a minute per kernel: this empty package
# says that the need is met.
_NO_INITRAMFS = """
set -e
mkdir -p /tmp/none/DEBIAN
cat >/tmp/none/DEBIAN/control <<END
Package: lab-no-initramfs
Version: 1
Architecture: all
Maintainer: nobody <nobody@localhost>
Provides: linux-initramfs-tool
Description: keeps kernel packages from making initramfs images
END
dpkg-deb --build --root-owner-group /tmp/none /tmp/none.deb
dpkg --install /tmp/none.deb
"""

_BROKEN = "see the end of {log}"


class Builder:
    """Makes one tree in a temporary directory."""

    def __init__(self, recipe: Recipe, path: Path, name: str | None = None):
        self.recipe = recipe
        self.path = path
        self.log = cache.sub("logs") / f"tree-{name or recipe.suite}.log"
        self.log.write_bytes(b"")

    def inside(self, *command: str, what: str, network: bool = True) -> None:
        """Run a command in the tree, with the network of the host or without."""
        binds = chroot.network_binds() if network else []
        if chroot.run(self.path, command, binds, mode="rw", log=self.log) != 0:
            raise say.LabError(f"{what} failed, {_BROKEN.format(log=self.log)}\n{tail(self.log)}")

    def install(self, packages, release: str | None = None) -> None:
        """apt-get install in the tree."""
        target = ["-t", release] if release else []
        line = ["apt-get", "-q", "-y", *target, "install", *packages]
        what = f"installing {' '.join(packages)}"
        try:
            self._install(line, what)
        except say.LabError:
            say.info(f"{what} failed; trying once more")
            self.inside("apt-get", "-q", "update", what="apt-get update")
            self._install(line, what)

    def _install(self, line: list[str], what: str) -> None:
        """Fetch, then unpack: a package may replace a file that the network needs."""
        self.inside(*line, "--download-only", what=what)
        self.inside(*line, "--no-download", what=what, network=False)

    def base(self) -> None:
        """The smallest tree with apt, by mmdebstrap."""
        sources = self.path.with_name(f"{self.recipe.suite}.list")
        sources.write_text(mirror.sources(*self.recipe.suites))
        line = ["mmdebstrap", "--variant=apt", "--mode=root", "--format=directory",
                "--skip=cleanup/apt/lists"]
        line += [f"--aptopt={option}" for option in mirror.apt_options()]
        line += [f"--dpkgopt={option}" for option in _DPKG_OPTIONS]
        line += [self.recipe.suite, str(self.path), str(sources)]
        try:
            if run_on_host(line, self.log) != 0:
                raise say.LabError(f"mmdebstrap failed, {_BROKEN.format(log=self.log)}\n{tail(self.log)}")
        finally:
            sources.unlink()

    def mount_points(self) -> None:
        """Directories that the lab binds to, in the chroot and in L1."""
        for name in chroot.MOUNT_POINTS:
            (self.path / name.lstrip("/")).mkdir(parents=True, exist_ok=True)
        for name in chroot.NETWORK_FILES:
            file = self.path / name.lstrip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()

    def kernel(self, series: Series) -> str | None:
        """Install the kernel of a series, return its version; None if there is no such kernel."""
        release = series.release if self.has_backports() else None
        found = kernels.find(self.path, series.name, release)
        if not found:
            say.info(f"NOTE: the archive has no kernel {series.name} and none newer")
            return None
        say.info(f"kernel {series.name}: {found.version}")
        self.install(found.packages, release)
        self.inside("depmod", found.version, what="depmod")
        return found.version

    def has_backports(self) -> bool:
        """Whether the mirror gave us backports."""
        return any("backports" in source.read_text()
                   for source in (self.path / "etc/apt/sources.list.d").glob("*.list"))

    def finish(self, versions: dict) -> None:
        """Drop what was only needed while building, note what is in the tree."""
        self.inside("apt-get", "clean", what="apt-get clean")
        (self.path / "lab/versions.json").write_text(json.dumps(versions))


def run_on_host(line: list[str], log: Path) -> int:
    """Run a host command (which may mount things) with its output in the log."""
    with open(log, "ab") as output:
        return subprocess.run(chroot.isolated(line), stdin=subprocess.DEVNULL, stdout=output,
                              stderr=subprocess.STDOUT, check=False).returncode


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log, for a message."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def _build(recipe: Recipe, path: Path) -> None:
    builder = Builder(recipe, path)
    builder.base()
    builder.mount_points()
    builder.inside("sh", "-c", _NO_INITRAMFS, what="the stand-in for initramfs-tools")
    builder.install(recipe.packages)
    if recipe.backports:
        builder.install(recipe.backports, BACKPORTS if builder.has_backports() else None)
    versions = {series.name: builder.kernel(series) for series in recipe.series}
    builder.finish({name: version for name, version in versions.items() if version})


def need_room(path: Path, much: int) -> None:
    """Fail now, rather than half way."""
    if shutil.disk_usage(path).free < much:
        raise say.LabError(f"less than {much >> 30} GiB free in {path.parent}")


def get(recipe: Recipe) -> Tree:
    """The finished tree, built on first use."""
    def build(path: Path) -> None:
        need_room(path, ROOM_NEEDED)
        with say.step(f"building the {recipe.suite} tree (once, one to three minutes)"):
            _build(recipe, path)
    path = cache.entry("trees", recipe.key(), build, f"tree-{recipe.suite}")
    return Tree(path, json.loads((path / "lab/versions.json").read_text()))


def for_series(series: str) -> tuple[Tree, str]:
    """The tree that has a kernel series, and that kernel's version."""
    if series == DEBUG:
        from . import debugkernel   # which builds upon this module
        return debugkernel.get()
    tree = get(OF_SERIES[series])
    if series not in tree.versions:
        raise say.LabError(f"the archive had no kernel {series} and none newer when {tree.path} was built")
    version = tree.versions[series]
    if not version.startswith(f"{series}."):
        say.info(f"NOTE: the archive had no kernel {series} any more; {version} stands in for it")
    return tree, version
