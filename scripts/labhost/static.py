# SPDX-License-Identifier: GPL-2.0
"""Static checks of our C: sparse through kbuild, and the kernel's checkpatch."""

import lzma
import re
import shlex
import tarfile
from pathlib import Path

from . import cache, chroot, kernelsource, modules, say, source
from .tree import Tree

CHECKPATCH_CONF = source.CHECKOUT / "scripts/checkpatch.conf"
_CHECKPATCH_FILES = {"checkpatch.pl", "spelling.txt", "const_structs.checkpatch"}


def _our_sources() -> list[str]:
    return [name for name in source.module_files()
            if name.startswith(("driver/", "uapi/")) and name.endswith((".c", ".h"))]


def sparse(tree: Tree, version: str, log: Path) -> list[str]:
    """What sparse says about our files; the kernel's own headers are not our business."""
    with cache.work(f"{log.parent.name}-{log.stem}") as work:
        source.copy(source.module_files(), work)
        status = modules.make(tree, version, work, log, "C=2", "modules")
    text = log.read_text(errors="replace")
    ours = re.compile(rf"^(?:{modules.BUILD}/|\./)?(?:driver|uapi)/\S+:\d+:\d+: ")
    found = [line for line in text.splitlines() if ours.match(line)]
    if status != 0:
        found.append(f"make ended with status {status}")
    if not re.search(r"^\s+CHECK\s", text, re.MULTILINE):
        found.append("sparse did not run on anything")
    return found


def _unpack(archive: Path, target: Path) -> None:
    """Stream through a kernel source archive until checkpatch's files are out."""
    wanted = set(_CHECKPATCH_FILES)
    with lzma.open(archive) as stream, tarfile.open(fileobj=stream, mode="r|") as kernel:
        for member in kernel:
            parts = member.name.split("/")
            if len(parts) == 3 and parts[1] == "scripts" and parts[2] in wanted:
                (target / parts[2]).write_bytes(kernel.extractfile(member).read())
                wanted.discard(parts[2])
                if not wanted:
                    return
    raise say.LabError(f"{archive.name} has no {', '.join(wanted)}")


def _fetch_checkpatch(tree: Tree, version: str, target: Path) -> None:
    """Take checkpatch out of the kernel's source package; no headers package has it."""
    log = cache.sub("logs") / "checkpatch-fetch.log"
    log.write_bytes(b"")
    series = ".".join(version.split(".")[:2])
    archive = kernelsource.fetch(tree, f"linux-source-{series}", target, log)
    _unpack(archive, target)
    archive.unlink()


def _exceptions() -> list[str]:
    """Options in our configuration file; comments there give the reasons."""
    if not CHECKPATCH_CONF.is_file():
        return []
    return shlex.split(CHECKPATCH_CONF.read_text(), comments=True)


def checkpatch(tree: Tree, version: str, log: Path) -> list[str]:
    """What checkpatch --strict says about our files."""
    key = f"{version}-{cache.digest(tree.path.name)}"
    tool = cache.entry("checkpatch", key, lambda path: _fetch_checkpatch(tree, version, path))
    line = ["perl", "/lab/out/checkpatch.pl", "--strict", "--no-tree", "--terse", "--no-summary",
            "--show-types", *_exceptions(), "-f", *_our_sources()]
    line = ["sh", "-c", 'cd /lab/build && exec "$@"', "sh", *line]
    # A copy, not the checkout: checkpatch wants to write, and to ask git if it sees .git.
    with cache.work(f"{log.parent.name}-{log.stem}") as work:
        source.copy(_our_sources(), work)
        binds = [chroot.Bind(tool, "/lab/out"), chroot.Bind(work, "/lab/build", "rw")]
        status = chroot.run(tree.path, line, binds, log=log)
    text = log.read_text(errors="replace")
    said = [line for line in text.splitlines() if re.match(r"\S+:\d+: ", line)]
    return said or ([f"checkpatch ended with status {status}"] if status else [])
