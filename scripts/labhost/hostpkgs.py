# SPDX-License-Identifier: GPL-2.0
"""What the lab needs from the host: root, amd64, and a few Debian packages."""

import glob
import os
import platform
import shutil
import subprocess

from . import say

# package -> the program (or file pattern) that shows it is there
NEEDED = {
    "mmdebstrap": "mmdebstrap",
    "debian-archive-keyring": "/usr/share/keyrings/debian-archive-keyring.*",
    "util-linux": "setpriv",
    "mount": "mount",
    "git": "git",
}


def _there(probe: str) -> bool:
    return bool(glob.glob(probe) if probe.startswith("/") else shutil.which(probe))


def _apt(*arguments: str) -> bool:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    line = ["apt-get", "-q", "-o", "Acquire::Check-Valid-Until=false", *arguments]
    return subprocess.run(line, env=environment, stdin=subprocess.DEVNULL, check=False,
                          stdout=subprocess.DEVNULL).returncode == 0


def require() -> None:
    """Check the host, and install what is missing after naming it."""
    if platform.machine() != "x86_64":
        raise say.LabError(f"the lab needs an amd64 host, this is {platform.machine()}")
    if os.geteuid() != 0:
        raise say.LabError("the lab needs root (chroot and mount namespaces); run it with sudo")
    missing = [package for package, probe in NEEDED.items() if not _there(probe)]
    if not missing:
        return
    if not shutil.which("apt-get"):
        raise say.LabError(f"please install: {' '.join(missing)}")
    say.info(f"installing on this host with apt-get: {' '.join(missing)}")
    install = ("install", "-y", "--no-install-recommends", *missing)
    if not _apt(*install):
        say.info("apt-get update, then again")
        if not (_apt("update") and _apt(*install)):
            raise say.LabError(f"could not install {' '.join(missing)}; please do it by hand")
