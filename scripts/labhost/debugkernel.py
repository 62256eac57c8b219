# SPDX-License-Identifier: GPL-2.0
"""The debug kernel: a small kernel for L1 with all checkers on, made of Debian's source.

It lives in a tree of its own, which is the trixie tree once more (hard links,
so it takes little room) with this kernel, its modules and its build directory
added as packages would have added them. Whatever works with a tree works with
this one.
"""

import json
import os
import re
import shutil
from pathlib import Path

from . import cache, chroot, kernelsource, say, source, tree

SOURCE = "7.2"      # the series of its source
CONFIG = source.CHECKOUT / "scripts/labhost/debug.config"
RECIPE = 1          # raise when the way it is made changes
JOBS = os.cpu_count() or 2
ROOM_NEEDED = 3 << 30
BUILD_LIMIT = 3600

TOOLS = ("bc", "bison", "flex")

# What this kernel has no use for is half of the archive. Kconfig reads its
# files everywhere.
_UNPACK = """
tar -C /lab/build -xf "$1" --strip-components=1 --exclude='*.rst' --exclude='*.dts*' \\
	--exclude='*/drivers/gpu/*.[ch]' --exclude='*/sound/*.[ch]' --exclude='*/arch/[a-wyz]*/*.[chSs]'
"""

_CONFIGURE = "make -C /lab/build -s KCONFIG_ALLCONFIG=/lab/project/scripts/labhost/debug.config allnoconfig"

_COMPILE = f"""
export KBUILD_BUILD_USER=lab KBUILD_BUILD_HOST=lab KBUILD_BUILD_TIMESTAMP=1970-01-01
make -C /lab/build -j{JOBS} bzImage modules
"""

# The script that Linux itself uses to make its headers package knows what a
# build directory needs.
_INSTALL = """
set -e
cd /lab/build
release=$(make -s kernelrelease)
build=/usr/src/linux-headers-$release
make -s modules_install
cp arch/x86/boot/bzImage "/boot/vmlinuz-$release"
make -s run-command KBUILD_RUN_COMMAND="+scripts/package/install-extmod-build $build"
ln -sfn "$build" "/lib/modules/$release/build"
"""


def _options(text: str) -> dict:
    """Options of a configuration file; what is "not set" is n."""
    off = re.findall(r"^# (CONFIG_\w+) is not set$", text, re.MULTILINE)
    return {**dict(re.findall(r"^(CONFIG_\w+)=(.*)$", text, re.MULTILINE)), **dict.fromkeys(off, "n")}


def _missing(wanted: str, got: str) -> list[str]:
    """Options that did not come out as they were wanted."""
    have = _options(got)
    return [f"{name}={value}" for name, value in _options(wanted).items() if have.get(name, "n") != value]


class _Maker:
    """Compiles the kernel and installs it in a tree."""

    def __init__(self, path: Path, work: Path, log: Path):
        self.path = path
        self.work = work
        self.log = log

    def _inside(self, script: str, *arguments: str, what: str, mode: str = "ro") -> None:
        binds = [chroot.Bind(self.work, "/lab/build", "rw"), chroot.Bind(source.CHECKOUT, "/lab/project")]
        status = chroot.run(self.path, ["sh", "-c", script, "sh", *arguments], binds, mode,
                            self.log, BUILD_LIMIT)
        if status != 0:
            raise say.LabError(f"{what} failed, see {self.log}\n{tree.tail(self.log, 30)}")

    def unpack(self, archive: Path) -> None:
        """The source, without what is not needed."""
        self._inside(_UNPACK, f"/lab/build/{archive.name}", what=f"unpacking {archive.name}")
        archive.unlink()

    def configure(self) -> None:
        """Set the options, and see that they are set."""
        self._inside(_CONFIGURE, what="configuring the kernel")
        missing = _missing(CONFIG.read_text(), (self.work / ".config").read_text())
        if missing:
            raise say.LabError(f"this kernel does not take all options of {CONFIG.name}: {' '.join(missing)}")

    def compile(self) -> None:
        """The kernel and its modules."""
        self._inside(_COMPILE, what="compiling the kernel")

    def install(self) -> str:
        """Put all into the tree; returns the kernel's version."""
        self._inside(_INSTALL, what="installing the kernel", mode="rw")
        return (self.work / "include/config/kernel.release").read_text().strip()


def _copy_tree(base: tree.Tree, path: Path, log: Path) -> None:
    """The base tree by hard links. Its logs are not ours: they would be appended to."""
    if tree.run_on_host(["cp", "-al", f"{base.path}/.", str(path)], log) != 0:
        raise say.LabError(f"copying {base.path} failed:\n{tree.tail(log)}")
    shutil.rmtree(path / "var/log")
    (path / "var/log/apt").mkdir(parents=True)


def _build(base: tree.Tree, package: kernelsource.Package, path: Path) -> None:
    builder = tree.Builder(tree.TRIXIE._replace(suite=tree.DEBUG), path)
    _copy_tree(base, path, builder.log)
    builder.install(TOOLS)
    with cache.work(f"kernel-{path.name}") as work:
        maker = _Maker(path, work, builder.log)
        maker.unpack(kernelsource.fetch(base, package.name, work, builder.log))
        maker.configure()
        maker.compile()
        version = maker.install()
    (path / "lab/versions.json").unlink()
    builder.finish({**base.versions, tree.DEBUG: version})


def get() -> tuple[tree.Tree, str]:
    """The tree with the debug kernel, built on first use, and the kernel's version."""
    base = tree.get(tree.TRIXIE)
    package = kernelsource.find(base, SOURCE)
    if package.name != f"linux-source-{SOURCE}":
        say.info(f"NOTE: the archive has no linux-source-{SOURCE} any more; {package.name} stands in for it")
    key = cache.digest(RECIPE, base.path.name, package, CONFIG.read_bytes())

    def build(path: Path) -> None:
        tree.need_room(path, ROOM_NEEDED)
        with say.step(f"building the debug kernel from {package.name} (once, some six minutes)"):
            _build(base, package, path)
    path = cache.entry("trees", f"debug-{key}", build, "tree-debug")
    versions = json.loads((path / "lab/versions.json").read_text())
    return tree.Tree(path, versions), versions[tree.DEBUG]
