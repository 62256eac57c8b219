# SPDX-License-Identifier: GPL-2.0
"""Many measurements of one thing: median, range, and a bar that shows both."""

import statistics
from typing import NamedTuple

WIDTH = 32      # of a bar
NAME = 30       # of what it stands for


class Row(NamedTuple):
    """One of the things that are compared."""

    name: str
    values: list
    note: str = ""


def median(values: list) -> float:
    """As everybody knows it; 0 of nothing."""
    return statistics.median(values) if values else 0.0


def number(value: float) -> str:
    """With as many digits as say something."""
    if value == int(value) or abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def spread(values: list) -> str:
    """Median and range; only the value if there is no other."""
    if not values:
        return "not measured"
    if min(values) == max(values):
        return number(values[0])
    return f"{number(median(values))} ({number(min(values))} .. {number(max(values))})"


def _bar(values: list, most: float) -> str:
    """The median as #, what is beyond as -."""
    if not values or not most:
        return " " * WIDTH
    full = round(median(values) / most * WIDTH)
    return ("#" * full).ljust(round(max(values) / most * WIDTH), "-").ljust(WIDTH)


def chart(title: str, rows: list[Row], unit: str) -> list[str]:
    """Lines to look at."""
    most = max((max(row.values) for row in rows if row.values), default=0)
    return ["", f"{title}, {unit}: median (range)",
            *(f"  {row.name:{NAME}} |{_bar(row.values, most)}| {spread(row.values)}  {row.note}".rstrip()
              for row in rows)]


def times(values: list, base: list) -> str:
    """How many times as much as something else."""
    return f"x {median(values) / median(base):.2f}" if base and median(base) else ""


def goal(what: str, value: float | None, most: float | None = None, least: float | None = None) -> str:
    """Whether it has been reached, in a line."""
    want = f"<= {number(most)}" if most is not None else f">= {number(least)}"
    if value is None:
        return f"  {'?':8}{what}: not measured, wanted {want}"
    good = value <= most if most is not None else value >= least
    return f"  {'met' if good else 'NOT MET':8}{what}: {number(value)}, wanted {want}"
