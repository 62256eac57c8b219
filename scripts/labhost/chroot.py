# SPDX-License-Identifier: GPL-2.0
"""Run a command inside a tree and leave nothing behind.

The mounts live in a mount namespace and the processes in a PID namespace of
their own: when the command ends, or is killed, or this Python dies, the kernel
takes both away. Nothing ever has to be unmounted by hand. Except while it is
being built, a tree is seen read-only by what runs in it, or as a copy that is
thrown away.
"""

import os
import subprocess
from pathlib import Path
from typing import Iterable, NamedTuple

# $1 = tree, $2 = rw|ro|copy, then triples <host path> <path in tree> <rw|ro>, "--", command
_SETUP = r"""
set -e
tree=$1; mode=$2; shift 2
mount --bind "$tree" "$tree"
if [ "$mode" = ro ]; then mount -o remount,bind,ro "$tree"; fi
if [ "$mode" = copy ]; then
	mount -t tmpfs tmpfs "$tree/tmp"
	mkdir "$tree/tmp/upper" "$tree/tmp/work"
	mount -t overlay -o "lowerdir=$tree,upperdir=$tree/tmp/upper,workdir=$tree/tmp/work" overlay "$tree"
fi
mount --rbind /dev "$tree/dev"
mount -t proc proc "$tree/proc"
mount -t tmpfs tmpfs "$tree/tmp"
while [ "$1" != -- ]; do
	if [ "$3" = ro ]; then
		mount --bind "$1" "$tree$2"
		mount -o remount,bind,ro "$tree$2"
	else
		mount --bind "$1" "$tree$2"
	fi
	shift 3
done
shift
exec chroot "$tree" "$@"
"""

# Directories every tree has, to bind things to (in the chroot, and in L1).
MOUNT_POINTS = ("/lab/project", "/lab/job", "/lab/artifacts", "/lab/build", "/lab/out", "/lab/tree",
                "/lab/bookworm", "/project", "/job", "/artifacts", "/bookworm")

# The host's view of the network; its certificates too, for a mirror behind https.
NETWORK_FILES = ("/etc/resolv.conf", "/etc/hosts", "/etc/ssl/certs/ca-certificates.crt")
_PASSED_ON = ("http_proxy", "https_proxy", "no_proxy")

_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LC_ALL": "C.UTF-8",
    "DEBIAN_FRONTEND": "noninteractive",
}


class Bind(NamedTuple):
    """A host path shown inside the tree."""

    host: Path
    inside: str
    mode: str = "ro"


def network_binds() -> list[Bind]:
    """What a command in the tree needs to see of the host to reach the network.

    The tree has the (empty) files these are bound to.
    """
    return [Bind(Path(name).resolve(), name) for name in NETWORK_FILES if Path(name).exists()]


def isolated(command: Iterable[str]) -> list[str]:
    """A command line whose mounts and processes go when it ends, or when we do."""
    # setpriv: should this Python be killed outright, the kernel ends the command too.
    return ["setpriv", "--pdeathsig", "KILL", "--",
            "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--", *command]


def argv(tree: Path, command: Iterable[str], binds: Iterable[Bind] = (), mode: str = "ro") -> list[str]:
    """The whole command line for running command inside tree; mode: ro, rw or copy."""
    line = isolated(["sh", "-c", _SETUP, "sh", str(tree), mode])
    for bind in binds:
        line += [str(bind.host), bind.inside, bind.mode]
    proxies = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    variables = {**_ENVIRONMENT, **proxies}
    line += ["--", "/usr/bin/env", "-i", *(f"{key}={value}" for key, value in variables.items())]
    return line + list(command)


def run(tree: Path, command: Iterable[str], binds: Iterable[Bind] = (), mode: str = "ro",
        log: Path | None = None, timeout: float = 1800) -> int:
    """Run command inside tree, output to a log file (appended); returns its status."""
    line = argv(tree, command, binds, mode)
    output = open(log, "ab") if log else subprocess.DEVNULL
    try:
        process = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=output,
                                   stderr=subprocess.STDOUT)
        try:
            return process.wait(timeout)
        except subprocess.TimeoutExpired:
            if log:
                output.write(f"\nlab: ended after {timeout} s\n".encode())
            return 124
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    finally:
        if log:
            output.close()


def read(tree: Path, command: Iterable[str], binds: Iterable[Bind] = ()) -> str:
    """Run command inside tree and return what it printed; '' if it failed."""
    done = subprocess.run(argv(tree, command, binds), stdin=subprocess.DEVNULL, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, timeout=300)
    return done.stdout if done.returncode == 0 else ""
