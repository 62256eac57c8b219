# SPDX-License-Identifier: GPL-2.0
"""The drivers' trace points, and QEMU's events, as a time line that a person can read.

Both sides of a migration are in one machine here, with one clock; traces of two hosts can
be put together if their clocks agree.
"""

import re
from typing import NamedTuple

WIDTH = 52      # of a side's column

# Marks that tell when the guest ran.
STOPPED = "QEMU: guest stopped"
STARTED = "QEMU: guest runs"

_LINE = re.compile(r"^\s*\S.*-\d+\s+(?:\(.*?\)\s+)?\[\d+\]\s+(?:\S+\s+)?(\d+\.\d+): (\w+): (\S+) (.*)$")
_PAIR = re.compile(r"(\w+)=(?:'(.*)'$|'([^']*)'|(\S+))")     # a sentence comes last


class Event(NamedTuple):
    """A trace point that was hit: the end of what it stands for."""

    when: float     # in seconds
    name: str
    device: str
    data: dict
    text: str       # all of it, but for the device
    began: float

    @property
    def took(self) -> float:
        """How long it has taken, in ms."""
        return int(self.data.get("us", 0)) / 1000


class Mark(NamedTuple):
    """Something that happened to the guest or its QEMU. side: 0 source, 1 destination, None both."""

    when: float
    side: int | None
    text: str


def parse(trace: str) -> list[Event]:
    """The events in what /sys/kernel/tracing/trace says."""
    found = []
    for line in trace.splitlines():
        match = _LINE.match(line)
        if match:
            when, name, device, text = match.groups()
            data = {key: "".join(values) for key, *values in _PAIR.findall(text)}
            began = float(when) - int(data.get("us", 0)) / 1e6
            found.append(Event(float(when), name, device, data, text, began))
    return [_within(event, found) for event in found]


def _within(event: Event, events: list[Event]) -> Event:
    """Microseconds are rounded down: nothing may begin before what it is a part of."""
    around = [one.began for one in events if one.device == event.device and one.began <= event.when <= one.when
              and _DEPTH.get(one.name, 4) < _DEPTH.get(event.name, 4)]
    return event._replace(began=max([event.began, *around]))


def _ms(value: float) -> str:
    return f"{value:.1f} ms" if value >= 0.05 else ""


def _bad(event: Event) -> str:
    return "" if event.data.get("ret", "0") == "0" else f" FAILED ({event.data['ret']})"


def _transition(event: Event) -> str:
    data = event.data
    line = f"{data['from']} -> {data['to']}"
    return f"{line} {_ms(event.took)}{_bad(event)}".rstrip()


def _accesses(event: Event) -> str:
    reads, writes = event.data.get("reads", "0"), event.data.get("writes", "0")
    return "" if reads == writes == "0" else f" ({reads} reads, {writes} writes)"


def _step(event: Event) -> str:
    undo = "undo " if event.data["undo"] == "1" else ""
    return f"  {undo}{event.data['step']} {_ms(event.took)}{_accesses(event)}{_bad(event)}".rstrip()


def _phase(event: Event) -> str:
    return f"    {event.data['phase']} {_ms(event.took)}{_accesses(event)}".rstrip()


def _record(event: Event) -> str:
    names = {"0x1": "HEADER", "0x2": "IDENTITY", "0x3": "END", "0x4": "AHEAD"}
    kind = event.data["type"]
    way = "->" if event.text.startswith("out ") else "<-"
    return f"    {way} {names.get(kind, kind)}, {event.data['length']} bytes"


def _mailbox(event: Event) -> str:
    words = event.text.split()
    if event.name == "igbvf_mbx_request":
        return f"      PF? {words[0].partition('=')[2]}: {words[1]}"
    return f"      PF! {words[1]} {words[2]} {_ms(event.took)}".rstrip()


def _queue(event: Event) -> str:
    return f"      {event.data['queue']} {event.text.split()[1]} {_ms(event.took)}{_bad(event)}".rstrip()


def _refusal(event: Event) -> str:
    return f"! refused ({event.data['error']}): {event.data['reason']}"


def _reset(event: Event) -> str:
    return f"  reset ({event.data['why']}){_bad(event)}"


_WORDS = {"mig_transition": _transition, "mig_step": _step, "mig_phase": _phase, "mig_record": _record,
          "mig_refusal": _refusal, "mig_reset": _reset, "igbvf_mbx_request": _mailbox,
          "igbvf_mbx_answer": _mailbox, "igbvf_queue": _queue}

# What ends at one moment is listed from the outside in.
_DEPTH = {"mig_transition": 0, "mig_step": 1, "mig_reset": 2, "mig_phase": 3}


def _row_time(event: Event) -> float:
    """Where it stands: where it began, but for an answer, which has a question."""
    return event.when if event.name == "igbvf_mbx_answer" else event.began


def _order(event: Event) -> tuple:
    return _row_time(event), _DEPTH.get(event.name, 4)


def _row(when: float, side: int | None, text: str) -> str:
    stamp = f"{when * 1000:9.1f}  "
    if side is None:
        return f"{stamp}{f' {text} ':-^{2 * WIDTH}}"
    return f"{stamp}{' ' * (WIDTH * side)}{text}".rstrip()


def draw(events: list[Event], marks: list[Mark], sides: tuple[str, str], start: float,
         least: float = 0.0) -> list[str]:
    """The lines; sides: PCI names of source and destination; least: ms that a phase must take."""
    rows = []
    for event in sorted(events, key=_order):
        if event.device not in sides or event.name not in _WORDS:
            continue
        if event.name in ("mig_phase", "igbvf_queue") and event.took < least:
            continue
        rows.append((_row_time(event) - start, sides.index(event.device), _WORDS[event.name](event)))
    rows += [(mark.when - start, mark.side, mark.text) for mark in marks]
    rows.sort(key=lambda row: row[0])
    head = f"{'ms':>9}  {f'source {sides[0]}':{WIDTH}}destination {sides[1]}"
    return [head, *(_row(*row) for row in rows)]


def _overlap(events: list[Event], begin: float, end: float) -> float:
    """Milliseconds of a time span that these events, which may overlap, take up."""
    total, until = 0.0, begin
    for event in sorted(events, key=lambda event: event.began):
        first, last = max(event.began, until), min(event.when, end)
        if last > first:
            total += last - first
            until = last
    return total * 1000


def _pause(events: list[Event], sides: tuple[str, str], marks: list[Mark]) -> tuple[float, float]:
    """When the guest was stopped and when it ran again.

    QEMU says so when it has told its devices to stop, and before it has told them to run;
    the guest's CPUs are still in between.
    """
    quiet = [event.began for event in events if event.device == sides[0] and event.data.get("step") == "quiesce"]
    runs = [event.when for event in events if event.device == sides[1] and event.data.get("step") == "release"]
    stopped = [mark.when for mark in marks if mark.text == STOPPED]
    started = [mark.when for mark in marks if mark.text == STARTED]
    return min(quiet[-1:] + stopped), max(runs[-1:] + started)


def blame(events: list[Event], sides: tuple[str, str], marks: list[Mark]) -> list[str]:
    """Where the time went in which the guest did not run; nothing if it did."""
    if not {STOPPED, STARTED} <= {mark.text for mark in marks}:
        return []
    stopped, started = _pause(events, sides, marks)

    def of(side: int, *names: str) -> list[Event]:
        return [event for event in events if event.device == sides[side]
                and (event.name == "mig_step" and event.data["step"] in names
                     or event.name == "mig_phase" and event.data["phase"] in names)]
    parts = (("source's device made quiet", of(0, "quiesce")),
             ("source's state saved", of(0, "capture")),
             ("destination's device reset", of(1, "begin resuming")),
             ("destination's state loaded", of(1, "load")),
             ("destination's device started", of(1, "release")))
    whole = (started - stopped) * 1000
    lines = [f"the guest did not run for {whole:.1f} ms:"]
    for name, found in parts:
        lines.append(f"  {_overlap(found, stopped, started):9.1f} ms  {name}")
    device = _overlap([event for _, found in parts for event in found], stopped, started)
    lines.append(f"  {whole - device:9.1f} ms  everything else: the guest's memory, QEMU")
    return lines
