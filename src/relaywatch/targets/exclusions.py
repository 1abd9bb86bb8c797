"""Addresses that are never touched, whatever a permission or a target list says."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

from relaywatch.model.errors import UsageError
from relaywatch.model.places import Address, embedded_ipv4

from .parse import Origin, Span, parse_span


@dataclass(frozen=True, slots=True)
class Exclusion:
    """A network, range or address to leave alone, and where that was said."""

    span: Span
    text: str
    origin: Origin

    def __str__(self) -> str:
        return f"{self.text} ({self.origin})"


class Exclusions:
    """Says of an address whether it is excluded: wins over every permission, loopback's too.

    A look-up is one bisection, however long the list.
    """

    __slots__ = ("_exclusions", "_starts")

    def __init__(self, exclusions: Iterable[Exclusion] = ()) -> None:
        self._exclusions = {
            version: _without_covered(item for item in kept if item.span.first.version == version)
            for kept in [tuple(exclusions)]
            for version in (4, 6)
        }
        self._starts = {
            version: [int(item.span.first) for item in items] for version, items in self._exclusions.items()
        }

    def __contains__(self, address: Address) -> bool:
        return self.find(address) is not None

    def __len__(self) -> int:
        return sum(map(len, self._exclusions.values()))

    def __iter__(self) -> Iterator[Exclusion]:
        return chain.from_iterable(self._exclusions.values())

    def find(self, address: Address) -> Exclusion | None:
        """The exclusion that covers the address, or the IPv4 address to which it leads, if one does."""
        inner = embedded_ipv4(address)
        return self._find(address) or (self._find(inner) if inner is not None else None)

    def _find(self, address: Address) -> Exclusion | None:
        place = bisect_right(self._starts[address.version], int(address)) - 1
        if place < 0:
            return None
        exclusion = self._exclusions[address.version][place]
        return exclusion if int(address) <= int(exclusion.span.last) else None

    def cut(self, span: Span) -> Iterator[tuple[Span, Exclusion | None]]:
        """Cut the span into pieces, in order, each with the exclusion that covers it, if one does."""
        version, at, end = span.first.version, int(span.first), int(span.last)
        nearest = max(bisect_right(self._starts[version], at) - 1, 0)
        for exclusion in islice(self._exclusions[version], nearest, None):
            first, last = int(exclusion.span.first), min(int(exclusion.span.last), end)
            if first > end or at > end:
                break
            if last < at:
                continue
            if first > at:
                yield span.part(at, first - 1), None
                at = first
            yield span.part(at, last), exclusion
            at = last + 1
        if at <= end:
            yield span.part(at, end), None


def read_exclusions(path: Path) -> Exclusions:
    """Read a file of one CIDR, range or address a line, ``#`` for comments.

    :raises UsageError: naming file and line: who can't read what is excluded may not go on.
    """
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: {getattr(error, 'strerror', None) or 'not UTF-8'}") from error
    return Exclusions(_parsed(lines, str(path)))


def _parsed(lines: Iterable[str], source: str) -> Iterator[Exclusion]:
    for number, line in enumerate(lines, 1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        origin = Origin(source, number)
        try:
            yield Exclusion(parse_span(text), text, origin)
        except ValueError as error:
            raise UsageError(f"{origin}: {error}") from None


def _without_covered(exclusions: Iterable[Exclusion]) -> list[Exclusion]:
    """Sort by where they begin, and leave out those that lie within another.

    What is left begins and ends in the same order, so that the last one that begins at or before an
    address is the one that reaches furthest.
    """
    kept: list[Exclusion] = []
    for exclusion in sorted(exclusions, key=lambda item: (int(item.span.first), -int(item.span.last))):
        if not kept or int(exclusion.span.last) > int(kept[-1].span.last):
            kept.append(exclusion)
    return kept
