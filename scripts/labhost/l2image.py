# SPDX-License-Identifier: GPL-2.0
"""The inner guest L2: Debian's kernel and an initramfs with its ordinary driver.

L2 is what a user would migrate. It has the kernel's own igbvf, which knows
nothing of migration; virtio_console for its reports; virtio_net and igb for
cards of QEMU's own, to compare with.
"""

import shutil
from pathlib import Path

from . import cpio, kmod, source

INIT = source.CHECKOUT / "scripts/l1/l2-init"

MODULES = ["virtio_pci", "virtio_console", "virtio_net", "igb", "igbvf"]

# All that l2-init calls; busybox does not need more.
APPLETS = ("sh", "mount", "cat", "echo", "tr", "insmod", "sleep", "ip", "basename", "readlink",
           "poweroff", "sysctl", "dmesg")


def build(root: Path, tree: Path, version: str, traffic: Path, out_dir: Path) -> None:
    """Write vmlinuz, initramfs.cpio.gz and the version (release) of L2 for one kernel of a tree.

    The programs in it come from root.
    """
    archive = cpio.Archive()
    for name in ("dev", "proc", "sys", "tmp"):
        archive.directory(name)
    archive.character("dev/console", 5, 1)
    archive.file("bin/busybox", (root / "usr/bin/busybox").read_bytes(), executable=True)
    for applet in APPLETS:
        archive.symlink(f"bin/{applet}", "busybox")
    archive.file("bin/traffic", traffic.read_bytes(), executable=True)
    for number, path in enumerate(kmod.closure(tree, version, MODULES)):
        name = path.rsplit("/", 1)[-1].split(".ko")[0]
        archive.file(f"modules/{number:02}-{name}.ko", kmod.read(tree, version, path))
    archive.file("init", INIT.read_bytes(), executable=True)
    archive.write(out_dir / "initramfs.cpio.gz")
    shutil.copy(tree / "boot" / f"vmlinuz-{version}", out_dir / "vmlinuz")
    (out_dir / "release").write_text(version)
