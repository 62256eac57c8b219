# SPDX-License-Identifier: GPL-2.0
"""Checks of what is written for people."""

from pathlib import Path

from . import cache, chroot, source, tools


def sphinx(log: Path) -> list[str]:
    """What Sphinx says about Documentation/; every warning is an error."""
    with cache.work(f"{log.parent.name}-{log.stem}") as work:
        source.copy(source.files(), work)
        status = chroot.run(tools.get().path, ["make", "-C", "/lab/build", "docs"],
                            [chroot.Bind(work, "/lab/build", "rw")], log=log)
        built = list(work.glob("Documentation/_build/html/*.html"))
    said = [line for line in log.read_text(errors="replace").splitlines()
            if "WARNING:" in line or "ERROR:" in line]
    if status != 0 and not said:
        said.append(f"make docs ended with status {status}")
    return said if said or built else ["make docs has made nothing"]
