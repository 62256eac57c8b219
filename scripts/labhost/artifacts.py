# SPDX-License-Identifier: GPL-2.0
"""What L1 gets as /artifacts: modules, the inner guest, the traffic and test programs, kselftests.

Everything is kept under a key of what went in, so that a run after a change
builds only what the change touched and several labs can share the result.
"""

import os
import shutil
from pathlib import Path

from . import cache, chroot, initramfs, kselftests, modules, say, source
from .tree import TRIXIE, Tree, get, tail

INIT = source.CHECKOUT / "scripts/l1/initramfs-init"
TRAFFIC = source.CHECKOUT / "scripts/l1/traffic.c"
L2IMAGE = source.CHECKOUT / "scripts/labhost/l2image.py"
UAPI_TESTS = "selftests/vfio_migration"


# Host code that shapes /artifacts, besides what stands in scripts/l1.
_SHAPING = {f"scripts/labhost/{name}.py"
            for name in ("artifacts", "modules", "initramfs", "cpio", "kmod", "l2image")}


def _shaping() -> list[str]:
    """Files whose change calls for new artifacts; what runs from /project does not."""
    return [name for name in source.files()
            if name in _SHAPING
            or name.startswith("scripts/l1/") and not name.endswith((".py", "/boot"))]


def traffic(tree: Tree) -> Path | None:
    """The static traffic program that both guests run."""
    if not TRAFFIC.is_file():
        say.info("scripts/l1/traffic.c is not there yet: going on without")
        return None
    key = cache.digest(tree.path.name, TRAFFIC.read_bytes())

    def build(path: Path) -> None:
        log = cache.sub("logs") / "traffic.log"
        log.write_bytes(b"")
        line = ["gcc", "-O2", "-Wall", "-Wextra", "-static", "-o", "/lab/out/traffic",
                "/lab/project/scripts/l1/traffic.c"]
        binds = [chroot.Bind(path, "/lab/out", "rw"), chroot.Bind(source.CHECKOUT, "/lab/project")]
        status = chroot.run(tree.path, line, binds, log=log)
        said = tail(log, 30)
        if status != 0:
            raise say.LabError(f"compiling traffic.c failed:\n{said}")
        if said:
            say.info(f"compiling traffic.c said:\n{said}")
    return cache.entry("traffic", key, build) / "traffic"


def uapi_tests(tree: Tree) -> Path | None:
    """A directory with the static programs that test the uAPI in L1."""
    names = [name for name in source.files()
             if name.startswith((f"{UAPI_TESTS}/", "driver/core/stream.", "driver/core/fsm.",
                                 "driver/core/plain.h", "uapi/"))]
    if f"{UAPI_TESTS}/Makefile" not in names:
        return None
    key = f"{tree.path.name}-{source.digest(names)}"

    def build(path: Path) -> None:
        log = cache.sub("logs") / "uapi_tests.log"
        log.write_bytes(b"")
        line = ["make", "-j2", "-C", f"/lab/project/{UAPI_TESTS}", "O=/lab/out"]
        binds = [chroot.Bind(path, "/lab/out", "rw"), chroot.Bind(source.CHECKOUT, "/lab/project")]
        if chroot.run(tree.path, line, binds, log=log) != 0:
            raise say.LabError(f"building {UAPI_TESTS} failed:\n{tail(log, 30)}")
    return cache.entry("uapi_tests", key, build)


def _inner_guest(root: Tree, tree: Tree, version: str, program: Path | None, target: Path) -> None:
    """The inner guest's kernel and initramfs."""
    if not (program and L2IMAGE.is_file()):
        say.info("scripts/labhost/l2image.py or the traffic program is missing: no inner guest")
        return
    from . import l2image
    target.mkdir()
    l2image.build(root.path, tree.path, tree.guest_version(version), program, target)


def _ours(tree: Tree, version: str, bare: bool) -> Path | None:
    """Our modules, if they are wanted and there are any."""
    if bare:
        say.info("without modules of ours, as asked")
        return None
    if not modules.exist():
        say.info("the checkout has no Kbuild and Makefile yet: no modules of ours")
        return None
    return modules.build(tree, version)


def build(tree: Tree, version: str, bare: bool = False, with_kselftests: bool = False) -> Path:
    """The directory exported to L1 for this kernel; L1 itself boots from it, too."""
    root = get(TRIXIE)
    ours = _ours(tree, version, bare)
    program = traffic(root)
    tests = uapi_tests(root)
    suites = kselftests.build() if with_kselftests else None
    key = f"{version}-{cache.digest(tree.path.name, ours, program, tests, suites, source.digest(_shaping()))}"

    def compose(path: Path) -> None:
        with say.step(f"putting together /artifacts for {version}"):
            modules.stage(tree, version, ours, path / "modules")
            (path / "bin").mkdir()
            if program:
                (path / "bin/traffic").hardlink_to(program)
            if tests:
                for test in tests.iterdir():
                    (path / "bin" / test.name).hardlink_to(test)
            if suites:
                shutil.copytree(suites, path / "kselftest", copy_function=os.link)
            _inner_guest(root, tree, version, program, path / "l2")
            (path / "boot").mkdir()
            shutil.copy(tree.boot_file(version), path / "boot/vmlinuz")
            initramfs.build(root.path, tree.path, version, INIT, path / "boot/initramfs.gz")
    return cache.entry("artifacts", key, compose)
