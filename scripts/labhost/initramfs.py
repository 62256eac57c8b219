# SPDX-License-Identifier: GPL-2.0
"""L1's initramfs: a busybox, the few modules that reach the 9p root, and an init."""

from pathlib import Path

from . import cpio, kmod

MODULES = ["virtio_pci", "9pnet_virtio", "9p", "overlay"]

# All that the init script calls; busybox does not need more.
APPLETS = ("sh", "mount", "mkdir", "insmod", "switch_root", "uname", "echo", "poweroff", "cat", "sleep")


def build(root: Path, tree: Path, version: str, init: Path, target: Path) -> None:
    """Write the initramfs for one kernel of a tree; root has the programs."""
    archive = cpio.Archive()
    for name in ("dev", "proc", "sys", "root", "lower", "upper"):
        archive.directory(name)
    archive.character("dev/console", 5, 1)
    archive.file("bin/busybox", (root / "usr/bin/busybox").read_bytes(), executable=True)
    for applet in APPLETS:
        archive.symlink(f"bin/{applet}", "busybox")
    order = kmod.closure(tree, version, MODULES)
    for number, path in enumerate(order):
        archive.file(f"modules/{number:02}-{path.rsplit('/', 1)[-1].split('.ko')[0]}.ko",
                     kmod.read(tree, version, path))
    archive.file("init", init.read_bytes(), executable=True)
    archive.write(target)
