# SPDX-License-Identifier: GPL-2.0
"""The tree with the tools that only `lab check` needs: documentation, other compilers, packaging,
kselftests.

It is the trixie tree with more packages. What both have is linked, not copied,
so it costs some 400 MB, half a minute, and nothing to those who run no checks.
"""

import shutil
import subprocess

from . import cache, say, tree

PACKAGES = ("clang", "coccinelle", "codespell", "dkms", "lld", "python3-sphinx", "rsync", "uuid-dev")


def _link(base: tree.Tree, path) -> None:
    """A second tree with the files of the first.

    dpkg puts new files in the place of old ones. What it writes into, such as
    its logs, is in /var, which is copied.
    """
    subprocess.run(["cp", "-alT", str(base.path), str(path)], check=True)
    shutil.rmtree(path / "var")
    subprocess.run(["cp", "-aT", str(base.path / "var"), str(path / "var")], check=True)


def get() -> tree.Tree:
    """The tree, built on first use."""
    base = tree.get(tree.TRIXIE)

    def build(path) -> None:
        with say.step("adding the tools for checks to a copy of the trixie tree (once)"):
            _link(base, path)
            builder = tree.Builder(tree.TRIXIE, path, "tools")
            builder.install(PACKAGES)
            builder.finish(base.versions)
    key = f"{base.path.name}-{cache.digest(PACKAGES)}"
    return tree.Tree(cache.entry("tools", key, build), base.versions)
