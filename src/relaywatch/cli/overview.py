"""What many result lines come to: how many of each verdict, by whatever they have in common."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import msgspec

from relaywatch.model.evidence import Weakness
from relaywatch.model.places import Transport
from relaywatch.model.verdicts import Vantage, Verdict
from relaywatch.targets.numbers import network_around, network_text, number_of
from relaywatch.targets.organisations import Organisations

from .exit_codes import Tally
from .held import HeldLines

SUMMARY_SCHEMA = "relaywatch.summary/1"
MOST_KEYS = 100_000
"""Rows of one table; what a hostile server can make up without end is counted together beyond that."""
_COLUMN = {
    pair: place
    for place, pair in enumerate((weakness, verdict) for weakness in Weakness for verdict in Verdict)
}


class SoftwarePart(msgspec.Struct, frozen=True, gc=False):
    """As much of the software as is counted."""

    name: str
    version: str | None = None


class FindingPart(msgspec.Struct, frozen=True, gc=False):
    """As much of a finding."""

    advisory: str


class DoorPart(msgspec.Struct, frozen=True, gc=False):
    """As much of a door."""

    port: int
    transport: Transport
    verdict: Verdict
    via: str | None = None


class LineParts(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """As much of a result line as is counted: what isn't named isn't read, which makes it fast."""

    schema: Literal["relaywatch.result/1"]
    target: str
    weakness: Weakness
    verdict: Verdict
    reasons: tuple[str, ...]
    software: SoftwarePart | None
    findings: tuple[FindingPart, ...]
    doors: tuple[DoorPart, ...]
    began: datetime
    vantage: Vantage
    advisories: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """How many lines, or doors, have this in common, and what their verdicts are."""

    name: str
    """Empty for those of which it isn't known."""
    count: int
    verdicts: dict[Weakness, dict[Verdict, int]]

    def of(self, verdict: Verdict, weakness: Weakness | None = None) -> int:
        """How many have this verdict, on one weakness or on both."""
        weaknesses = tuple(Weakness) if weakness is None else (weakness,)
        return sum(self.verdicts.get(one, {}).get(verdict, 0) for one in weaknesses)


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """The summary of some files, ``relaywatch.summary/1``. Contract: fields may be added, never renamed."""

    schema: Literal["relaywatch.summary/1"] = "relaywatch.summary/1"
    files: tuple[str, ...]
    lines: int
    """Lines that hold: one for each target and weakness."""
    revised: int
    """Lines in whose place a later one holds."""
    torn: tuple[str, ...]
    """Files and lines that a crash left torn."""
    began: datetime | None
    """When the first target was begun."""
    ended: datetime | None
    """When the last one was begun."""
    weaknesses: tuple[Row, ...]
    advisories: tuple[Row, ...]
    software: tuple[Row, ...]
    versions: tuple[Row, ...]
    networks: tuple[Row, ...]
    """Each /24, or /48 of IPv6, in which something is open or accepting."""
    networks_seen: int
    organisations: tuple[Row, ...]
    """Empty without a file of networks."""
    reasons: tuple[Row, ...]
    doors: tuple[Row, ...]
    vantages: tuple[Row, ...]


class Table:
    """Counts verdicts by name."""

    __slots__ = ("_counts", "_others")

    def __init__(self) -> None:
        self._counts: dict[Hashable, list[int]] = {}
        self._others = [0] * len(_COLUMN)

    def add(self, name: Hashable, column: int) -> None:
        """Count one more."""
        counts = self._counts.get(name)
        if counts is None:
            counts = self._new(name)
        counts[column] += 1

    def _new(self, name: Hashable) -> list[int]:
        if len(self._counts) >= MOST_KEYS:
            return self._others
        return self._counts.setdefault(name, [0] * len(_COLUMN))

    def rows(self, say: Callable[[Any], str] = str) -> tuple[Row, ...]:
        """The rows, those with the most open first; their names are said so."""
        rows = [_row(say(name), counts) for name, counts in self._counts.items()]
        if any(self._others):
            rows.append(_row("…", self._others))
        return tuple(sorted(rows, key=_rank))


class Networks:
    """Which networks were met, and in which of them something is open or accepting, by the first reading."""

    def __init__(self) -> None:
        self._met: set[int] = set()
        self.telling: set[int] = set()

    def __len__(self) -> int:
        return len(self._met)

    def note(self, target: int | str, verdict: Verdict) -> None:
        """Note a target's, by the number of its address; a name that led nowhere has none."""
        if isinstance(target, str):
            return
        network = network_around(target)
        self._met.add(network)
        if verdict is Verdict.OPEN or verdict is Verdict.ACCEPTING:
            self.telling.add(network)


class _Counting:
    """The tables, and one line after another."""

    def __init__(self, telling: set[int], organisations: Organisations | None) -> None:
        self._telling = telling
        self._whose = organisations
        self.lines = 0
        self.first: datetime | None = None
        self.last: datetime | None = None
        self.weaknesses, self.advisories, self.software, self.versions = Table(), Table(), Table(), Table()
        self.networks, self.organisations, self.reasons = Table(), Table(), Table()
        self.doors, self.vantages = Table(), Table()

    def add(self, line: LineParts) -> None:
        """Count a line."""
        column = _COLUMN[line.weakness, line.verdict]
        self.lines += 1
        self._note_time(line.began)
        self.weaknesses.add(line.weakness, column)
        self.vantages.add(line.vantage, column)
        for reason in line.reasons:
            self.reasons.add(reason, column)
        if line.findings or line.advisories:
            for advisory in {*(finding.advisory for finding in line.findings), *line.advisories}:
                self.advisories.add(advisory, column)
        for door in line.doors:
            if not door.via:
                self.doors.add((door.port, door.transport), _COLUMN[line.weakness, door.verdict])
        self._add_software(line, column)
        self._add_place(line.target, column)

    def _note_time(self, began: datetime) -> None:
        if self.first is None or began < self.first:
            self.first = began
        if self.last is None or began > self.last:
            self.last = began

    def _add_software(self, line: LineParts, column: int) -> None:
        software = line.software
        if software is not None:
            self.software.add(software.name, column)
            if software.version:
                self.versions.add(f"{software.name} {software.version}", column)
        elif line.verdict is not Verdict.ABSENT:
            self.software.add("", column)

    def _add_place(self, target: str, column: int) -> None:
        if not self._telling and self._whose is None:
            return
        number = number_of(target)
        if isinstance(number, str):
            if self._whose is not None:
                self.organisations.add("", column)
            return
        if self._whose is not None:
            self.organisations.add(self._whose.find(number), column)
        network = network_around(number)
        if network in self._telling:
            self.networks.add(network, column)


def survey(paths: Iterable[Path], organisations: Organisations | None = None) -> Overview:
    """Count what the files hold.

    :raises UsageError: naming file and line, if one is no result line.
    """
    held = HeldLines(paths)
    networks = Networks()
    for target, heading in held.read_headings():
        networks.note(target, heading.verdict)
    counting = _Counting(networks.telling, organisations)
    for line in held.read(msgspec.json.Decoder(LineParts).decode):
        counting.add(line)
    return Overview(
        files=tuple(str(source.path) for source in held.sources),
        lines=counting.lines,
        revised=held.revised,
        torn=held.torn,
        began=counting.first,
        ended=counting.last,
        weaknesses=counting.weaknesses.rows(),
        advisories=counting.advisories.rows(),
        software=counting.software.rows(),
        versions=counting.versions.rows(),
        networks=tuple(filter(_is_telling, counting.networks.rows(network_text))),
        networks_seen=len(networks),
        organisations=counting.organisations.rows(),
        reasons=counting.reasons.rows(),
        doors=counting.doors.rows(_door_text),
        vantages=counting.vantages.rows(),
    )


def tally_of(overview: Overview) -> Tally:
    """The counts that the last line and the exit code are made of."""
    tally = Tally()
    tally.lines = overview.lines
    for row in overview.weaknesses:
        weakness = Weakness(row.name)
        tally.by_weakness[weakness] = row.of(Verdict.OPEN), row.count
        for verdict in Verdict:
            setattr(tally, verdict, getattr(tally, verdict) + row.of(verdict))
    return tally


def _is_telling(row: Row) -> bool:
    """Whether something is open there still: another line may hold by now."""
    return bool(row.of(Verdict.OPEN) or row.of(Verdict.ACCEPTING))


def _door_text(door: tuple[int, Transport]) -> str:
    return f"{door[0]}/{door[1]}"


def _row(name: str, counts: list[int]) -> Row:
    verdicts: dict[Weakness, dict[Verdict, int]] = {}
    for (weakness, verdict), place in _COLUMN.items():
        if counts[place]:
            verdicts.setdefault(weakness, {})[verdict] = counts[place]
    return Row(name=name, count=sum(counts), verdicts=verdicts)


def _rank(row: Row) -> tuple[bool, int, int, int, str]:
    """The most open first, then accepting; what stands for the rest last."""
    return row.name == "…", -row.of(Verdict.OPEN), -row.of(Verdict.ACCEPTING), -row.count, row.name
