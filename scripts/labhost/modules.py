# SPDX-License-Identifier: GPL-2.0
"""Build the project's kernel modules for one kernel, outside the checkout."""

import re
import shutil
from pathlib import Path

from . import cache, chroot, say, source
from .tree import Tree, tail

BUILD = "/lab/build"

# gcc, sparse and modpost all say what they have to say in one of these forms.
_MESSAGE = re.compile(r"(\bwarning:|\berror:|^WARNING: modpost|^ERROR: modpost|^make.*\*\*\*)")

# Said about Debian's headers packages, not about us.
_NOT_OURS = (
    # The headers package has no vmlinux with BTF that pahole could extend.
    re.compile(r"Skipping BTF generation"),
    # gcc of the tree against the gcc that built the kernel, same major version.
    re.compile(r"the compiler differs from the one used to build the kernel"),
)


def exist() -> bool:
    """Whether the checkout has modules to build (early in its life it had none)."""
    return (source.CHECKOUT / "Kbuild").is_file() and (source.CHECKOUT / "Makefile").is_file()


def complaints(log: Path) -> list[str]:
    """Lines of a build log that are warnings or errors about us."""
    return [line for line in log.read_text(errors="replace").splitlines()
            if _MESSAGE.search(line) and not any(known.search(line) for known in _NOT_OURS)]


def make(tree: Tree, version: str, directory: Path, log: Path, *targets: str, faults: bool = True) -> int:
    """Run the project's own Makefile in the tree; the lab wants faults and the example."""
    line = ["make", "-j2", "-C", BUILD, f"KDIR=/lib/modules/{version}/build",
            f"MIG_FAULTS={'y' if faults else 'n'}", "MIG_EXAMPLE=y", *targets]
    return chroot.run(tree.path, line, [chroot.Bind(directory, BUILD, "rw")], log=log)


def _compile(tree: Tree, version: str, result: Path) -> None:
    log = result / "build.log"
    with cache.work(f"modules-{result.name}") as work:
        source.copy(source.module_files(), work)
        status = make(tree, version, work, log, "W=1", "modules")
        for module in work.rglob("*.ko"):
            shutil.copy(module, result / module.name)
    if status != 0:
        kept = cache.sub("logs") / f"modules-{version}.log"
        shutil.copy(log, kept)
        raise say.LabError(f"building the modules for {version} failed, log {kept}\n{tail(kept, 40)}")


def build(tree: Tree, version: str) -> Path:
    """A directory with our .ko files and build.log; kept until the sources change."""
    if not exist():
        raise say.LabError("the checkout has no Kbuild and Makefile to build modules with")
    names = source.module_files()
    key = f"{version}-{cache.digest(tree.path.name, source.digest(names))}"

    def compile_into(path: Path) -> None:
        with say.step(f"building the modules for {version} (W=1)"):
            _compile(tree, version, path)
    path = cache.entry("modules", key, compile_into)
    for line in complaints(path / "build.log"):
        say.info(f"warning in the build for {version}: {line}")
    return path


def stage(tree: Tree, version: str, ours: Path | None, target: Path) -> None:
    """Make what lies over the tree's /lib/modules/<version> in L1: ours, and new indexes.

    depmod has to see the kernel's modules and ours together. The kernel's are
    only mounted into place for it, so the result is small and the tree clean.
    """
    base = target.with_name(f"{target.name}.base")
    directory = base / "lib/modules" / version
    stock = tree.path / "lib/modules" / version
    (directory / "kernel").mkdir(parents=True)
    for index in ("modules.order", "modules.builtin", "modules.builtin.modinfo"):
        shutil.copy(stock / index, directory / index)
    (directory / "updates").mkdir()
    for module in ours.glob("*.ko") if ours else ():
        shutil.copy(module, directory / "updates" / module.name)
    log = target.with_name("depmod.log")
    binds = [chroot.Bind(base, BUILD, "rw"),
             chroot.Bind(stock / "kernel", f"{BUILD}/lib/modules/{version}/kernel")]
    if chroot.run(tree.path, ["depmod", "-b", BUILD, version], binds, log=log) != 0:
        raise say.LabError(f"depmod failed:\n{tail(log)}")
    directory.rename(target)
    cache.remove(base)
