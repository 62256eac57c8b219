# SPDX-License-Identifier: GPL-2.0
"""Checks of what is written for people."""

import re
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


# Words that codespell would rather see written differently.
_SPELLED = {
    "aer": "Advanced Error Reporting, of PCI Express",
    "filp": "what the kernel calls a pointer to a struct file",
    "parm": "a field of modinfo",
}


def spelling(log: Path) -> list[str]:
    """What codespell says about all that is written here, comments included."""
    line = ["sh", "-c", 'cd /lab/project && exec "$@"', "sh", "codespell", "-L", ",".join(_SPELLED), *source.files()]
    status = chroot.run(tools.get().path, line, [chroot.Bind(source.CHECKOUT, "/lab/project")], log=log)
    said = [line for line in log.read_text(errors="replace").splitlines() if re.match(r"\S+:\d+: ", line)]
    if status and not said:
        said.append(f"codespell ended with status {status}")
    return said
