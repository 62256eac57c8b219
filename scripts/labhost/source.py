# SPDX-License-Identifier: GPL-2.0
"""The checkout: which files belong to it, what they hash to, how to copy them.

Modules are never built in the checkout: the same files are built for several
kernels, at times at once, and a build leaves dozens of files behind.
"""

import os
import shutil
import subprocess
from pathlib import Path

from . import cache

CHECKOUT = Path(__file__).resolve().parents[2]

# Top-level entries that no module build reads.
NOT_FOR_MODULES = {"scripts", "selftests", "packaging", "Documentation", ".ci", ".git", ".gitignore"}


def _from_git() -> list[str] | None:
    line = ["git", "-c", f"safe.directory={CHECKOUT}", "-C", str(CHECKOUT),
            "ls-files", "-z", "-co", "--exclude-standard"]
    try:
        done = subprocess.run(line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    except FileNotFoundError:
        return None
    return done.stdout.decode().split("\0")[:-1] if done.returncode == 0 else None


def _from_disk() -> list[str]:
    """For an unpacked archive: everything but what is hidden or obviously built."""
    found = []
    for directory, names, files in os.walk(CHECKOUT):
        names[:] = [name for name in names if name not in (".git", "__pycache__")]
        found += [os.path.relpath(os.path.join(directory, name), CHECKOUT) for name in files
                  if not name.endswith((".o", ".ko", ".mod", ".mod.c", ".cmd"))]
    return found


def files() -> list[str]:
    """Every file of the checkout, tracked or new, without the ignored ones."""
    listed = _from_git()
    if listed is None:
        listed = _from_disk()
    return sorted(name for name in set(listed) if (CHECKOUT / name).is_file())


def module_files() -> list[str]:
    """The files a module build may read."""
    return [name for name in files()
            if name.split("/")[0] not in NOT_FOR_MODULES and not name.endswith((".md", ".rst"))]


def digest(names: list[str]) -> str:
    """A key for the content of these files."""
    return cache.digest(*(part for name in names for part in (name, (CHECKOUT / name).read_bytes())))


def copy(names: list[str], target: Path) -> None:
    """Copy files of the checkout, keeping their times so that make builds little."""
    for name in names:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(CHECKOUT / name, target / name)
