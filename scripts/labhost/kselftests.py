# SPDX-License-Identifier: GPL-2.0
"""The kernel's vfio selftests, and ours, built as kselftests: as a bundle, and in a kernel tree.

Harness, libvfio and the kernel's own tests come from Debian's kernel source,
as they are. Only what that takes is kept of it.
"""

from pathlib import Path

from . import cache, chroot, kernelsource, say, source, tools
from .tree import Tree, tail

SOURCE = "7.2"      # the series whose vfio selftests these are
RECIPE = 1          # raise when the way it is made changes
BUILD_LIMIT = 900

# What "make headers" reads, and what the tests are built from: there are links to
# headers of the kernel's own.
_UNPACK = """
tar -C /lab/build -xf "$1" --strip-components=1 --wildcards \\
	'*/Makefile*' '*/Kbuild*' '*/Kconfig*' 'linux-source-*/scripts' 'linux-source-*/usr' \\
	'linux-source-*/include/uapi' 'linux-source-*/include/asm-generic' 'linux-source-*/arch/x86' \\
	'linux-source-*/tools/include' \\
	'linux-source-*/tools/testing/selftests/*kselftest*' \\
	'linux-source-*/tools/testing/selftests/lib.mk' 'linux-source-*/tools/testing/selftests/vfio' \\
	'linux-source-*/drivers/dma/*.h' 'linux-source-*/include/linux/pci_ids.h'
"""

_HEADERS = """
set -e
make -s -C /lab/build headers
cd /lab/build
cp -a --parents drivers include/linux scripts tools usr /lab/out
"""

_INSTALL = "make -C /lab/project/selftests KSRC=/lab/tree O=/lab/build INSTALL_PATH=/lab/out install"

_IN_TREE = """
set -e
cp -a /lab/tree /lab/build/linux
make -C /lab/project/selftests KSRC=/lab/build/linux drop_in
make -C /lab/build/linux/tools/testing/selftests TARGETS="vfio_migration vfio_igbvf" \\
	INSTALL_PATH=/lab/build/installed install
cmp /lab/out/kselftest-list.txt /lab/build/installed/kselftest-list.txt
"""


def _source(tree: Tree) -> Path:
    """A kernel tree with selftests and headers, and little else."""
    package = kernelsource.find(tree, SOURCE)
    key = cache.digest(RECIPE, tree.path.name, package)

    def make(path: Path) -> None:
        log = cache.sub("logs") / "kselftest-source.log"
        log.write_bytes(b"")
        with say.step(f"taking the selftests from {package.name}"), cache.work(f"kselftest-{key}") as work:
            archive = kernelsource.fetch(tree, package.name, work, log)
            binds = [chroot.Bind(work, "/lab/build", "rw"), chroot.Bind(path, "/lab/out", "rw")]
            for script in (_UNPACK, _HEADERS):
                line = ["sh", "-c", script, "sh", f"/lab/build/{archive.name}"]
                if chroot.run(tree.path, line, binds, log=log) != 0:
                    raise say.LabError(f"unpacking {archive.name} failed:\n{tail(log, 30)}")
    return cache.entry("kselftest-source", key, make)


def build() -> Path:
    """A directory as kselftest's install makes it."""
    tree = tools.get()
    kernel = _source(tree)
    names = [name for name in source.files()
             if name.startswith(("selftests/Makefile", "selftests/scripts/", "selftests/vfio_",
                                 "driver/core/stream.", "driver/core/fsm.", "driver/core/plain.h",
                                 "driver/igbvf/regs.h", "uapi/"))]
    key = cache.digest(tree.path.name, kernel.name, source.digest(names))

    def make(path: Path) -> None:
        log = cache.sub("logs") / "kselftests.log"
        log.write_bytes(b"")
        with say.step("building the kselftests"), cache.work(f"kselftests-{key}") as work:
            binds = [chroot.Bind(work, "/lab/build", "rw"), chroot.Bind(path, "/lab/out", "rw"),
                     chroot.Bind(kernel, "/lab/tree"), chroot.Bind(source.CHECKOUT, "/lab/project")]
            if chroot.run(tree.path, ["sh", "-c", _INSTALL], binds, log=log, timeout=BUILD_LIMIT) != 0:
                raise say.LabError(f"building the kselftests failed:\n{tail(log, 30)}")
    return cache.entry("kselftests", key, make)


def in_tree(log: Path) -> int:
    """Drop the suites into a kernel tree and build them there; the status. The list must be that of the bundle."""
    tree = tools.get()
    with cache.work(f"{log.parent.name}-{log.stem}") as work:
        binds = [chroot.Bind(work, "/lab/build", "rw"), chroot.Bind(_source(tree), "/lab/tree"),
                 chroot.Bind(build(), "/lab/out"), chroot.Bind(source.CHECKOUT, "/lab/project")]
        return chroot.run(tree.path, ["sh", "-c", _IN_TREE], binds, log=log, timeout=BUILD_LIMIT)
