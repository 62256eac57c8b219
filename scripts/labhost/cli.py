# SPDX-License-Identifier: GPL-2.0
"""The command line: scripts/lab <command>."""

import argparse
import os
import signal
import sys

import silicon

from . import cache, check, hostpkgs, l1, modules, mutants, say, soak, tree

BOOTABLE = [*tree.OF_SERIES, tree.DEBUG]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/lab",
        description="A nested lab for live migration of VFIO devices: L1 is an emulated machine with "
                    "two 82576 NICs, the inner guests L2 run in it under KVM. Needs root on Debian 12 "
                    "or newer, no hardware virtualisation. All it makes is in one cache directory.")
    commands = parser.add_subparsers(dest="name", required=True, metavar="COMMAND")

    def add(name: str, text: str, kernels=BOOTABLE) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        if kernels:
            sub.add_argument("--kernel", choices=kernels, default=kernels[0],
                             help=f"kernel series (default {kernels[0]})")
        if name in ("demo", "bench", "mutants", "trace", "shell", "run", "soak", "check"):
            sub.add_argument("--accel", choices=("kvm", "tcg"),
                             help="force the outer machine's accelerator (default: KVM if it works)")
        return sub

    demo = add("demo", "migrate a running inner guest with its NIC back and forth")
    demo.add_argument("--v1", action="store_true",
                      help="through the v1 migration region, with QEMU 7.2 (default: v2, QEMU 11)")
    demo.add_argument("--set", action="append", default=[], metavar="NAME=VALUE",
                      help="a parameter of our modules, such as heads_writable=0")
    demo.add_argument("--profile", metavar="FILE",
                      help="with devices taken for such ones as silicon_test has found this one to be")
    demo.add_argument("--round-trips", type=int, default=1, metavar="N")
    demo.add_argument("-v", "--verbose", action="store_true", help="show the consoles too")
    demo.add_argument("--timeout", type=float, default=1800, metavar="S")

    bench = add("bench", "measure: downtime beside other cards, the data path beside vfio-pci, costs")
    bench.add_argument("part", nargs="*", metavar="PART",
                       help="only some: downtime, arcs, path, many, stream (default: all, half an hour)")
    bench.add_argument("--repeat", type=int, default=3, metavar="N", help="of each (default 3)")
    bench.add_argument("--timeout", type=float, default=3600, metavar="S")

    mutant = add("mutants", "drivers with a defect each: do the tests notice?")
    mutant.add_argument("mutant", nargs="*", metavar="NAME", help="of selftests/vfio_migration/mutants.txt")

    trace = add("trace", "one migration with the trace points on, drawn as a time line")
    trace.add_argument("--v1", action="store_true",
                       help="through the v1 migration region, with QEMU 7.2 (default: v2, QEMU 11)")
    trace.add_argument("--least", type=float, default=0.1, metavar="MS",
                       help="leave out phases that take less (default 0.1)")
    trace.add_argument("--timeout", type=float, default=900, metavar="S")

    add("shell", "boot L1, set everything up and give a root shell in it")

    run = add("run", "run a command in L1 and return its exit status")
    run.add_argument("-v", "--verbose", action="store_true", help="show the consoles too")
    run.add_argument("--timeout", type=float, default=1800, metavar="S")
    run.add_argument("--bare", action="store_true", help="without the project's modules")
    run.add_argument("--kselftests", action="store_true",
                     help="with the kernel's vfio selftests and ours in /artifacts/kselftest")
    run.add_argument("command", nargs="+", metavar="CMD")

    long = add("soak", "run the test programs in a loop for a time, and sum up what they did",
               kernels=["both", *BOOTABLE])
    long.add_argument("minutes", type=float, nargs="?", default=60, metavar="MINUTES")
    long.add_argument("--seed", type=int, help="as another soak said (default: a new one)")

    add("build", "build the modules with W=1", kernels=["all", *BOOTABLE])
    checks = add("check", "everything: unit tests, proof, builds, static checks, demos", kernels=None)
    checks.add_argument("--list", action="store_true", help="only say which steps there are")
    checks.add_argument("step", nargs="*", metavar="STEP",
                        help="only these, patterns as of the shell ('v2 test*'); default: all")
    add("prove", "prove the state machine with a model checker", kernels=None)
    add("prove-mutants", "see that the proof finds deliberate defects", kernels=None)
    add("clean", "remove the cache directory", kernels=None)
    return parser


def _demo(options) -> int:
    command = ["python3", "/project/scripts/l1/demo.py", "--round-trips", str(options.round_trips)]
    profile = silicon.of_file(options.profile) if options.profile else []
    command += [f"--set={setting}" for setting in [*(setting for _, setting in profile), *options.set]]
    if options.v1:
        command.append("--v1")
    if options.verbose:
        command.append("-v")
    return _status(l1.run(l1.Request(options.kernel, command, options.timeout, options.verbose,
                                     options.accel, old=options.v1)))


def _bench(options) -> int:
    command = ["python3", "/project/scripts/l1/bench.py", "--repeat", str(options.repeat), *options.part]
    return _status(l1.run(l1.Request(options.kernel, command, options.timeout, accel=options.accel)))


def _mutants(options) -> int:
    return mutants.run(options.kernel, options.mutant, options.accel)


def _shell(options) -> int:
    if not sys.stdin.isatty():
        raise say.LabError("'lab shell' needs a terminal; use 'lab run -- CMD'")
    command = ["python3", "/project/scripts/l1/setup.py"]
    return _status(l1.run(l1.Request(options.kernel, command, accel=options.accel, interactive=True,
                                     old=True)))


def _trace(options) -> int:
    command = ["python3", "/project/scripts/l1/trace.py", "--least", str(options.least)]
    if options.v1:
        command.append("--v1")
    return _status(l1.run(l1.Request(options.kernel, command, options.timeout, accel=options.accel, old=options.v1)))


def _run(options) -> int:
    return _status(l1.run(l1.Request(options.kernel, options.command, options.timeout,
                                     options.verbose, options.accel, options.bare, old=True,
                                     kselftests=options.kselftests)))


def _status(result: l1.Result) -> int:
    """The command's own status, unless the kernel complained about a success."""
    return result.status if result.status or not result.problems else 1


def _soak(options) -> int:
    kernels = soak.BOTH if options.kernel == "both" else (options.kernel,)
    return soak.run(kernels, options.minutes, options.seed, options.accel)


def _build(options) -> int:
    wanted = BOOTABLE if options.kernel == "all" else [options.kernel]
    warned = False
    for series in wanted:
        where, version = tree.for_series(series)
        path = modules.build(where, version)
        warned |= bool(modules.complaints(path / "build.log"))
        say.info(f"{series}: {path}")
    return 1 if warned else 0


def _check(options) -> int:
    if options.list:
        print("\n".join(check.names()))
        return 0
    if check.FROZEN not in os.environ:
        check.freeze(options.arguments)
    return check.run(options.accel, options.step)


def _prove(options) -> int:
    return check.prove(options.name)


_COMMANDS = {"demo": _demo, "bench": _bench, "mutants": _mutants, "trace": _trace, "soak": _soak,
             "shell": _shell, "run": _run, "build": _build, "check": _check,
             "prove": _prove, "prove-mutants": _prove}


def _stop(number, _frame):
    """A polite request to end: leave all blocks, so that L1 is ended too."""
    raise SystemExit(128 + number)


def main(arguments: list[str]) -> int:
    """Do what the command line says."""
    options = _parser().parse_args(arguments)
    options.arguments = arguments
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    try:
        if options.name == "clean":
            cache.clean()
            return 0
        hostpkgs.require()
        cache.prune()
        with cache.in_use():
            cache.empty_trash()
            return _COMMANDS[options.name](options)
    except (say.LabError, silicon.ProfileError) as error:
        say.info(f"ERROR: {error}")
        return l1.BROKEN
    except KeyboardInterrupt:
        say.info("interrupted")
        return 130
