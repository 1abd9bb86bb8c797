"""squid.conf as a list of directives: lines joined, files included, conditions followed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from relaywatch.audit.findings import Cause, Gap, GapKind, Position
from relaywatch.audit.setup import Setup
from relaywatch.audit.text import Joins, LogicalLine, SourceFile, logical_lines

_MOST_DEPTH = 16
_EQUAL = re.compile(r"(\d+)\s*=\s*(\d+)")


@dataclass(frozen=True, slots=True)
class Directive:
    """One: its name, its words, and where it stands. Without a name it is something that wasn't read."""

    name: str
    words: tuple[str, ...]
    position: Position
    last: int
    gap: Gap | None = None

    @property
    def text(self) -> str:
        """As it is written, in one line."""
        return " ".join((self.name, *self.words))

    def cause(self, rule: str = "") -> Cause:
        """The directive as a cause."""
        return Cause(self.text, self.position, rule)


def directives(setup: Setup) -> list[Directive]:
    """All directives in the order in which Squid obeys them."""
    source = setup.read_main()
    return [] if source is None else list(_Reading(setup).of(source, ()))


@dataclass(slots=True)
class _Reading:
    setup: Setup

    def of(self, source: SourceFile, within: tuple[str, ...]) -> Iterator[Directive]:
        branches: list[bool | None] = []
        for line in logical_lines(source, Joins.BY_BACKSLASH):
            words = _words(line.text)
            name = words[0] if words else ""
            if not name:
                continue
            if name == "if":
                branches.append(_truth(" ".join(words[1:])))
                if branches[-1] is None:
                    yield self._gap(GapKind.NOT_EVALUATED, line)
            elif name == "else" and branches:
                branches[-1] = None if branches[-1] is None else not branches[-1]
            elif name == "endif" and branches:
                branches.pop()
            elif all(branches):
                yield from self._obeyed(name, words[1:], line, (*within, source.name))

    def _obeyed(
        self, name: str, words: tuple[str, ...], line: LogicalLine, within: tuple[str, ...]
    ) -> Iterator[Directive]:
        if name != "include":
            yield Directive(name, words, line.position, line.last)
            return
        for word in words:
            pattern = word.strip('"')
            names = self.setup.included(pattern)
            if not names:
                yield self._gap(GapKind.MISSING, line, pattern)
            for named in names:
                yield from self._included(named, line, within)

    def _included(self, named: str, line: LogicalLine, within: tuple[str, ...]) -> Iterator[Directive]:
        source = self.setup.read(named, line.position)
        if source is None:
            yield Directive("", (), line.position, line.last, self.setup.latest_gap)
        elif source.name in within or len(within) > _MOST_DEPTH:
            yield self._gap(GapKind.LOOP, line, named)
        else:
            yield from self.of(source, within)

    def _gap(self, kind: GapKind, line: LogicalLine, subject: str = "") -> Directive:
        gap = self.setup.note(Gap(kind, subject or line.text[:80], line.position))
        return Directive("", (), line.position, line.last, gap)


def _words(text: str) -> tuple[str, ...]:
    """Split at white space; a word that begins with ``#`` begins a comment."""
    words = text.split()
    end = next((n for n, word in enumerate(words) if n and word.startswith("#")), len(words))
    return tuple(words[:end])


def _truth(condition: str) -> bool | None:
    if condition in {"true", "false"}:
        return condition == "true"
    if condition.isdigit():
        return int(condition) != 0
    equal = _EQUAL.fullmatch(condition)
    return int(equal[1]) == int(equal[2]) if equal else None
