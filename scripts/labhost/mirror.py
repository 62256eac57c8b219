# SPDX-License-Identifier: GPL-2.0
"""Find the Debian mirror: the one this host's apt already uses.

No host name may stand in the project, and a machine may see the world only
through its own mirror or proxy. apt itself is asked for what is configured
(it reads both file formats), and each address is then tried for a Release
file that says it is Debian's own archive, which sorts out third parties.
"""

import functools
import subprocess
import tempfile
from pathlib import Path

from . import say

_PROXY_KEYS = ("Acquire::http::Proxy", "Acquire::https::Proxy")


def _output(*line: str) -> str:
    return subprocess.run(line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=False,
                          stderr=subprocess.DEVNULL, text=True).stdout


def _expand(uri: str) -> list[str]:
    """The addresses behind one apt address (a mirror list names several)."""
    if uri.startswith("mirror+file:"):
        try:
            lines = Path(uri.removeprefix("mirror+file:").rstrip("/")).read_text().splitlines()
        except OSError:
            return []
        return [line.split()[0] for line in lines if line.strip() and not line.startswith("#")]
    return [uri] if uri.startswith(("http:", "https:", "file:")) else []


def _candidates() -> list[str]:
    """Addresses in the host's apt configuration that carry component main."""
    lines = _output("apt-get", "indextargets", "--format", "$(REPO_URI) $(COMPONENT)",
                    "Created-By: Packages").splitlines()
    found = []
    for line in lines:
        uri, _, component = line.partition(" ")
        if component == "main":
            found += [one.rstrip("/") for one in _expand(uri)]
    return list(dict.fromkeys(found))


def _release(uri: str, suite: str) -> dict:
    """The head of a suite's Release file; {} if there is none."""
    with tempfile.TemporaryDirectory(prefix="lab-") as directory:
        target = Path(directory) / "Release"
        for _ in range(2):
            if not target.is_file():
                _output("/usr/lib/apt/apt-helper", "download-file",
                        f"{uri}/dists/{suite}/Release", str(target))
        if not target.is_file():
            return {}
        head = (line.partition(": ") for line in target.read_text(errors="replace").splitlines()[:20])
        return {key: value for key, _, value in head}


@functools.cache
def uri() -> str:
    """The address of the Debian archive."""
    for candidate in _candidates():
        release = _release(candidate, "trixie")
        if release.get("Origin") == "Debian" and release.get("Label") == "Debian":
            return candidate
    raise say.LabError("no Debian mirror that carries trixie in this host's apt configuration")


def sources(*suites: str) -> str:
    """A sources.list for those of the suites which the mirror has."""
    lines = []
    for suite in suites:
        if _release(uri(), suite):
            lines.append(f"deb {uri()} {suite} main\n")
        else:
            say.info(f"the mirror has no {suite}")
    return "".join(lines)


def apt_options() -> list[str]:
    """apt configuration lines the trees need: old snapshots are fine, and the host's proxy."""
    options = ['Acquire::Check-Valid-Until "false";', 'Acquire::Check-Date "false";',
               'Acquire::Languages "none";', 'Acquire::Retries "3";',
               'APT::Install-Recommends "false";', 'APT::Sandbox::User "root";']
    for key in _PROXY_KEYS:
        value = _output("apt-config", "shell", "value", key).strip()
        if value:
            options.append(f"{key} \"{value.split('=', 1)[1].strip(chr(39))}\";")
    return options
