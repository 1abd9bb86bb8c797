"""The summary as one HTML page that needs nothing else; each row's verdicts are drawn as a bar."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import TextIO

from jinja2 import Template

from relaywatch.advice.catalogue import Catalogue
from relaywatch.cli.language import Words
from relaywatch.cli.overview import Overview, Row
from relaywatch.model.verdicts import Verdict

from .overview_text import closing_line, headings, reason_text, scope_of, sections
from .pages import template_of, write_parts

WIDTH = 1000
"""Units of a bar's width, whatever the screen's."""
_LEAST = 12
"""What is there is seen, however little it is."""
_ORDER = (Verdict.OPEN, Verdict.ACCEPTING, Verdict.INCONCLUSIVE, Verdict.CLOSED, Verdict.ABSENT)


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a bar."""

    verdict: Verdict
    count: int
    x: int
    width: int


@dataclass(frozen=True, slots=True)
class Section:
    """A table of the page."""

    title: str
    rows: tuple[tuple[str, Row, tuple[Segment, ...]], ...]
    more: int


def write_overview_page(
    file: TextIO, overview: Overview, catalogue: Catalogue, words: Words, *, made_at: datetime, top: int
) -> None:
    """Write the page; each table has so many rows at most."""
    write_parts(
        file,
        _template(),
        ("page.css", "overview.css"),
        made_at,
        words=words,
        overview=overview,
        sections=tuple(_sections(overview, catalogue, words, top)),
        headings=tuple(headings(words)),
        scope=tuple(scope_of(overview, words)),
        summary=closing_line(overview, words),
        reasons=tuple(_reasons(overview, words, top)),
    )


def segments(row: Row, most: int) -> tuple[Segment, ...]:
    """The pieces of a row's bar, of which the longest of its table is as wide as can be."""
    return tuple(_segments(row, most))


def _segments(row: Row, most: int) -> Iterator[Segment]:
    counts = [(verdict, row.of(verdict)) for verdict in _ORDER]
    present = [(verdict, count) for verdict, count in counts if count]
    room = WIDTH - _LEAST * len(present)
    x = 0
    for verdict, count in present:
        width = _LEAST + room * count // most
        yield Segment(verdict, count, x, width)
        x += width


def _sections(overview: Overview, catalogue: Catalogue, words: Words, top: int) -> Iterator[Section]:
    for title, rows, name_of in sections(overview, catalogue, words):
        shown = rows[:top]
        most = max((row.count for row in shown), default=0)
        drawn = tuple((name_of(row), row, segments(row, most)) for row in shown)
        if drawn:
            yield Section(title, drawn, len(rows) - len(shown))


def _reasons(overview: Overview, words: Words, top: int) -> Iterable[tuple[str, str]]:
    """Every reason with what it means."""
    meanings = ((row.name, reason_text(row.name, words)) for row in overview.reasons[:top])
    return [(name, text) for name, text in meanings if text]


@cache
def _template() -> Template:
    return template_of("overview.html.j2", {"WIDTH": WIDTH})
