"""Whose an address is: a file of networks and organisations, and the longest prefix that covers."""

from __future__ import annotations

import csv
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from relaywatch.model.errors import UsageError

from .numbers import number_in
from .parse import Origin, Span, parse_span

_NAME_LIMIT = 200
_CSV = re.compile(r"[^\s,]+\s*,")


@dataclass(frozen=True, slots=True)
class Junk:
    """A line that says no network and organisation, and why not."""

    origin: Origin
    why: str


class Organisations:
    """Says of an address whose it is: of the networks that hold it the longest prefix counts.

    The networks are cut into pieces that don't overlap, so that a look-up is one bisection.
    """

    __slots__ = ("_names", "_starts", "junk", "networks")

    def __init__(self, networks: dict[tuple[int, int], str], junk: tuple[Junk, ...] = ()) -> None:
        self.junk = junk
        self.networks = len(networks)
        pieces = dict(_pieces(networks))
        self._starts = list(pieces)
        self._names = list(pieces.values())

    def find(self, number: int) -> str:
        """The organisation that has the address of this number, empty if none has."""
        place = bisect_right(self._starts, number) - 1
        return self._names[place] if place >= 0 else ""


def read_organisations(path: Path) -> Organisations:
    """Read a file of ``CIDR,organisation`` or ``CIDR organisation``; of a network that comes twice the later line counts.

    Comments (``#``) and a heading are passed over; other lines that say nothing are kept as junk.

    :raises UsageError: if it can't be read, or no line of it says anything.
    """
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: {getattr(error, 'strerror', None) or 'not UTF-8'}") from error
    networks: dict[tuple[int, int], str] = {}
    junk: list[Junk] = []
    for origin, text in _telling(lines, str(path)):
        try:
            span, name = _parse(text)
        except ValueError as error:
            junk.append(Junk(origin, str(error)))
        else:
            networks[number_in(span.first), number_in(span.last)] = name
    if not networks:
        first = f"; {junk[0].origin}: {junk[0].why}" if junk else ""
        raise UsageError(f"{path}: no line says a network and its organisation{first}")
    return Organisations(networks, tuple(junk))


def _telling(lines: Iterable[str], source: str) -> Iterator[tuple[Origin, str]]:
    is_first = True
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        if not (is_first and _is_heading(text)):
            yield Origin(source, number), text
        is_first = False


def _is_heading(text: str) -> bool:
    return "," in text and not any(char.isdigit() or char in ":/" for char in text)


def _parse(text: str) -> tuple[Span, str]:
    """Read a line.

    :raises ValueError: if it says no network, or no organisation; the message quotes nothing of it.
    """
    is_csv = _CSV.match(text)
    fields = next(csv.reader([text], skipinitialspace=True)) if is_csv else text.split(None, 1)
    network, name = (*(field.strip() for field in fields), "")[:2]
    if "-" in network:
        raise ValueError("a range; write networks, of which the longest prefix can count")
    span = parse_span(network)
    if not name:
        raise ValueError("no organisation")
    return span, name[:_NAME_LIMIT]


def _pieces(networks: dict[tuple[int, int], str]) -> Iterator[tuple[int, str]]:
    """Where each piece begins and whose it is; what is nobody's is a piece too.

    Networks are nested or apart, so that those around the current one are a stack. What begins where
    another piece begins comes later, and takes its place.
    """
    around: list[tuple[int, str]] = []
    ordered = sorted(networks.items(), key=lambda item: (item[0][0], -item[0][1]))
    for (first, last), name in ordered:
        yield from _ended(around, first)
        yield first, name
        around.append((last, name))
    yield from _ended(around, None)


def _ended(around: list[tuple[int, str]], before: int | None) -> Iterator[tuple[int, str]]:
    while around and (before is None or around[-1][0] < before):
        last, _ = around.pop()
        yield last + 1, around[-1][1] if around else ""
