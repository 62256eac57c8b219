# SPDX-License-Identifier: GPL-2.0
"""`lab mutants`: drivers with a planted defect, and whether the tests notice.

The defects are in selftests/vfio_migration/mutants.txt. They are compiled from a copy
of the sources, one after the other in one directory, so that each costs the
compilation of one file.
"""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from . import cache, l1, modules, say, source, tap, tree

LIST = source.CHECKOUT / "selftests/vfio_migration/mutants.txt"
LIMIT = 3600


class Mutant(NamedTuple):
    """A defect: a sed script for a file, and who has to notice."""

    name: str
    file: str
    program: str
    test: str
    script: str


def _parse(text: str) -> list[Mutant]:
    found = []
    for block in re.split(r"^\[", text, flags=re.MULTILINE)[1:]:
        name, _, rest = block.partition("]\n")
        lines = [line for line in rest.splitlines() if line and not line.startswith("#")]
        words = {line.split()[0]: line.split()[1:] for line in lines[:2]}
        try:
            found.append(Mutant(name, words["in"][0], *words["expect"], "\n".join(lines[2:]) + "\n"))
        except (KeyError, TypeError) as error:
            raise say.LabError(f"{LIST.name}: [{name}] wants 'in FILE' and 'expect PROGRAM TEST'") from error
    return found


def _spoiled(mutant: Mutant, text: str) -> str:
    """A file's text with the defect in it; the script must change something."""
    done = subprocess.run(["sed", mutant.script], input=text, stdout=subprocess.PIPE, text=True, check=True)
    if done.stdout == text:
        raise say.LabError(f"{LIST.name}: [{mutant.name}] changes nothing in {mutant.file}")
    return done.stdout


def _compile(where: tree.Tree, version: str, wanted: list[Mutant], target: Path) -> None:
    """A directory of modules per mutant, and one without any defect."""
    with cache.work(f"mutants-{target.parent.name}") as work:
        source.copy(source.module_files(), work)
        for mutant in [None, *wanted]:
            name = mutant.name if mutant else "none"
            log = target / f"{name}.log"
            if mutant:
                path = work / mutant.file
                path.write_text(_spoiled(mutant, path.read_text()))
            if modules.make(where, version, work, log, "modules") != 0:
                raise say.LabError(f"[{name}] does not compile:\n{tree.tail(log, 20)}")
            (target / name).mkdir()
            for module in work.rglob("*.ko"):
                shutil.copy(module, target / name / module.name)
            if mutant:
                shutil.copy(source.CHECKOUT / mutant.file, work / mutant.file)


def run(series: str, names: list[str], accel: str | None) -> int:
    """All mutants, or those named; TAP, a line for each."""
    wanted = [mutant for mutant in _parse(LIST.read_text()) if not names or mutant.name in names]
    if not wanted:
        raise say.LabError(f"{LIST.name} has none of {', '.join(names)}")
    for mutant in wanted:   # before time is spent on the others
        _spoiled(mutant, (source.CHECKOUT / mutant.file).read_text())
    where, version = tree.for_series(series)
    target = cache.new_job("mutants-built") / "mutants"
    target.mkdir()
    with say.step(f"compiling {len(wanted)} drivers with a defect each"):
        _compile(where, version, wanted, target)
    (target / "list.json").write_text(json.dumps([mutant._asdict() for mutant in wanted]))
    result = l1.run(l1.Request(series, ["python3", "/project/scripts/l1/mutants.py"], LIMIT, accel=accel,
                               more=target))
    count, complaints = tap.count(result.output())
    for complaint in complaints:
        say.info(complaint)
    print(count, flush=True)
    return 1 if result.status or count.failed or not count.passed else 0
