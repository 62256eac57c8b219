# SPDX-License-Identifier: GPL-2.0
"""Installing, upgrading and removing the project, with make and with DKMS."""

from pathlib import Path

from . import cache, chroot, source, tools

LIMIT = 1800


def run(log: Path) -> int:
    """selftests/packaging for each kernel, in a copy of the tools' tree; its status."""
    tree = tools.get()
    line = ["/lab/build/selftests/packaging/run.sh", *tree.versions.values()]
    with cache.work(f"{log.parent.name}-{log.stem}") as work:
        source.copy(source.files(), work)
        return chroot.run(tree.path, line, [chroot.Bind(work, "/lab/build")], mode="copy", log=log,
                          timeout=LIMIT)
