# SPDX-License-Identifier: GPL-2.0
"""Static checks of our C: sparse and clang through kbuild; the kernel's checkpatch, kernel-doc
and rules for coccinelle."""

import fnmatch
import lzma
import re
import shlex
import tarfile
from pathlib import Path

from . import cache, chroot, kernelsource, modules, say, source, tools
from .tree import Tree

CHECKPATCH_CONF = source.CHECKOUT / "scripts/checkpatch.conf"

# What is taken out of the kernel's source; each must match something.
_SCRIPTS = ("scripts/checkpatch.pl", "scripts/spelling.txt", "scripts/const_structs.checkpatch",
            "tools/docs/kernel-doc", "tools/lib/python/kdoc/*.py", "scripts/coccinelle/*.cocci")


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
    """Stream through a kernel source archive and keep the scripts."""
    missing = set(_SCRIPTS)
    with lzma.open(archive) as stream, tarfile.open(fileobj=stream, mode="r|") as kernel:
        for member in kernel:
            name = member.name.partition("/")[2]
            wanted = [pattern for pattern in _SCRIPTS if fnmatch.fnmatchcase(name, pattern)]
            if wanted and member.isfile():
                missing.difference_update(wanted)
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                (target / name).write_bytes(kernel.extractfile(member).read())
    if missing:
        raise say.LabError(f"{archive.name} has no {', '.join(sorted(missing))}")


def _fetch(tree: Tree, version: str, target: Path) -> None:
    """Take the scripts out of the kernel's source package; no headers package has them."""
    log = cache.sub("logs") / "kernel-scripts.log"
    log.write_bytes(b"")
    series = ".".join(version.split(".")[:2])
    archive = kernelsource.fetch(tree, f"linux-source-{series}", target, log)
    _unpack(archive, target)
    archive.unlink()


def _scripts(tree: Tree, version: str) -> Path:
    """A directory with the kernel's scripts, at their places."""
    key = f"{version}-{cache.digest(tree.path.name, _SCRIPTS)}"
    return cache.entry("kernel-scripts", key, lambda path: _fetch(tree, version, path))


def _exceptions() -> list[str]:
    """Options in our configuration file; comments there give the reasons."""
    if not CHECKPATCH_CONF.is_file():
        return []
    return shlex.split(CHECKPATCH_CONF.read_text(), comments=True)


# Debian's kernels are configured for gcc. What clang does not know of that matters to
# machine code only, and nobody runs what is made here.
_CLANG = """#!/bin/sh
for argument; do
	shift
	case $argument in
	-fmin-function-alignment=*|-fconserve-stack|-mrecord-mcount|-mpreferred-stack-boundary=*) ;;
	-mindirect-branch*|-fsanitize=bounds-strict) ;;
	*) set -- "$@" "$argument" ;;
	esac
done
# enum mig_point counts on from enum mig_step, on purpose.
exec clang "$@" -Wno-unknown-warning-option -Wno-enum-enum-conversion
"""


def clang(version: str, log: Path) -> list[str]:
    """What clang says about our files, with the warnings of W=1."""
    with cache.work(f"{log.parent.name}-{log.stem}") as work:
        source.copy(source.module_files(), work)
        compiler = work / "clang"
        compiler.write_text(_CLANG)
        compiler.chmod(0o755)
        status = modules.make(tools.get(), version, work, log, f"CC={modules.BUILD}/clang", "W=1", "modules")
        made = list(work.glob("*.ko"))
    ours = re.compile(rf"^(?:{modules.BUILD}/|\./)?(?:driver|uapi)/\S+:\d+:\d+: (?:warning|error):")
    found = [line for line in log.read_text(errors="replace").splitlines() if ours.match(line)]
    if status != 0 or not made:
        found.append(f"make ended with status {status} and made {len(made)} modules")
    return found


# Each rule says itself which options it wants. Those that only patch have no report mode,
# and those in OCaml need its compiler.
_COCCINELLE = """
cd /lab/build
find /lab/out/scripts/coccinelle -name '*.cocci' | sort | while read -r rule; do
	grep -q '^virtual report' "$rule" && ! grep -qE '@(script|initialize):ocaml' "$rule" || continue
	echo "rule ${rule#/lab/out/scripts/coccinelle/}"
	spatch --very-quiet -D report --cocci-file "$rule" \\
		$(sed -n 's|^// *Options: *||p' "$rule") --dir driver || echo "error: status $?"
done
"""

# mig_track_lock() returns with the lock held if it returns true.
_COCCINELLE_KNOWN = re.compile(r"driver/core/dirty\.c:\d+:\S+: preceding lock")


def coccinelle(version: str, log: Path) -> list[str]:
    """What the kernel's semantic patches say about our files."""
    tree = tools.get()
    with cache.work(f"{log.parent.name}-{log.stem}") as work:
        source.copy(_our_sources(), work)
        binds = [chroot.Bind(_scripts(tree, version), "/lab/out"), chroot.Bind(work, "/lab/build", "rw")]
        status = chroot.run(tree.path, ["sh", "-c", _COCCINELLE], binds, log=log)
    lines = log.read_text(errors="replace").splitlines()
    found = [line for line in lines
             if line.startswith(("driver/", "error:")) and not _COCCINELLE_KNOWN.match(line)]
    rules = sum(line.startswith("rule ") for line in lines)
    if status or rules < 20:
        found.append(f"coccinelle ended with status {status} after {rules} rules")
    return found


# Headers of trace points have a style of their own in the kernel, too.
_TRACE_STYLE = re.compile(r"\S+/trace\.h:\d+: CHECK:(?:PARENTHESIS_ALIGNMENT|OPEN_ENDED_LINE):")


def checkpatch(tree: Tree, version: str, log: Path) -> list[str]:
    """What checkpatch --strict says about our files."""
    line = ["perl", "/lab/out/scripts/checkpatch.pl", "--strict", "--no-tree", "--terse", "--no-summary",
            "--show-types", *_exceptions(), "-f", *_our_sources()]
    line = ["sh", "-c", 'cd /lab/build && exec "$@"', "sh", *line]
    # A copy, not the checkout: checkpatch wants to write, and to ask git if it sees .git.
    with cache.work(f"{log.parent.name}-{log.stem}") as work:
        source.copy(_our_sources(), work)
        binds = [chroot.Bind(_scripts(tree, version), "/lab/out"), chroot.Bind(work, "/lab/build", "rw")]
        status = chroot.run(tree.path, line, binds, log=log)
    text = log.read_text(errors="replace")
    said = [line for line in text.splitlines() if re.match(r"\S+:\d+: ", line)]
    if status and not said:
        said.append(f"checkpatch ended with status {status}")
    return [line for line in said if not _TRACE_STYLE.match(line)]


# A function or structure that others use: it begins in the first column.
_FUNCTION = re.compile(r"^(?!static|struct \w+ \{)[a-z][\w \*]*?\b(\w+)\([^;{}]*?\)\n\{", re.MULTILINE)
_STRUCT = re.compile(r"^struct (\w+) \{", re.MULTILINE)
_DOCUMENTED = re.compile(r"^/\*\*\n \* (?:struct )?(\w+)(?:\(\))? - ", re.MULTILINE)


def _undocumented() -> list[str]:
    """What has no kernel-doc: functions that are not static, structures of the uAPI."""
    texts = {name: (source.CHECKOUT / name).read_text() for name in _our_sources()}
    known = {name for text in texts.values() for name in _DOCUMENTED.findall(text)}
    found = []
    for path, text in texts.items():
        names = _FUNCTION.findall(text) + (_STRUCT.findall(text) if path.startswith("uapi/") else [])
        found += [f"{path}: {name} has no kernel-doc" for name in names if name not in known]
    return found


def kernel_doc(tree: Tree, version: str, log: Path) -> list[str]:
    """What the kernel's kernel-doc says about our comments, and where there are none."""
    line = ["sh", "-c", 'cd /lab/project && exec "$@"', "sh", "python3", "-B", "/lab/out/tools/docs/kernel-doc",
            "-none", "-Wall", "-Werror", *_our_sources()]
    binds = [chroot.Bind(_scripts(tree, version), "/lab/out"), chroot.Bind(source.CHECKOUT, "/lab/project")]
    status = chroot.run(tree.path, line, binds, log=log)
    said = [line for line in log.read_text(errors="replace").splitlines()
            if line.startswith(("Warning: ", "Error: "))]
    if status and not said:
        said.append(f"kernel-doc ended with status {status}")
    return said + _undocumented()
