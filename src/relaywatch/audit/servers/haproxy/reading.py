"""haproxy.cfg as sections of lines; what stands in ``defaults`` is inherited."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from relaywatch.audit.findings import Cause, Gap, GapKind, Position
from relaywatch.audit.setup import Setup
from relaywatch.audit.text import SourceFile
from relaywatch.audit.tokens import tokens

_SECTIONS = frozenset(
    {
        "global", "defaults", "listen", "frontend", "backend", "resolvers", "userlist", "peers", "mailers", "cache",
        "program", "http-errors", "ring", "log-forward", "fcgi-app", "crt-store", "traces",
    }
)  # fmt: skip
PROXIES = frozenset({"listen", "frontend", "backend"})
STAGES = (
    ("tcp-request", "connection"),
    ("tcp-request", "session"),
    ("tcp-request", "content"),
    ("http-request",),
)
"""The words with which rules begin, in the order in which HAProxy comes to them."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line: its words, and where it stands."""

    words: tuple[str, ...]
    position: Position

    @property
    def text(self) -> str:
        """As it is written, blanks apart."""
        return " ".join(self.words)

    def action(self, stage: tuple[str, ...]) -> str:
        """What a rule of this stage does; empty if it says nothing."""
        return self.words[len(stage)] if len(self.words) > len(stage) else ""

    def cause(self, rule: str = "") -> Cause:
        """The line as a cause."""
        return Cause(self.text, self.position, rule)


@dataclass(slots=True)
class Section:
    """A section, with the lines of the ``defaults`` before it first."""

    head: Line
    lines: list[Line] = field(default_factory=list)
    inherited: list[Line] = field(default_factory=list)

    @property
    def kind(self) -> str:
        """What it is: ``listen``, ``frontend``."""
        return self.head.words[0]

    @property
    def name(self) -> str:
        """Its name, empty if it has none."""
        return self.head.words[1] if len(self.head.words) > 1 else ""

    def all(self, *start: str) -> Iterator[Line]:
        """The lines that begin with these words, inherited ones first."""
        return (one for one in [*self.inherited, *self.lines] if one.words[: len(start)] == start)

    def obeyed(self, *start: str) -> Iterator[Line]:
        """The same where its mode is the one that they are for: ``http-request`` is ignored in ``mode tcp``."""
        mode = self.last("mode")
        if start[0] != "http-request" or (mode is not None and mode.words[1:2] == ("http",)):
            yield from self.all(*start)

    def last(self, *start: str) -> Line | None:
        """The last of them."""
        return next(iter(reversed(list(self.all(*start)))), None)


def sections(setup: Setup) -> list[Section]:
    """All sections, in their order."""
    source = setup.read_main()
    if source is None:
        return []
    found: list[Section] = []
    defaults: dict[str, list[Line]] = {}
    latest: list[Line] = []
    for line in _lines(setup, source):
        if line.words[0] not in _SECTIONS:
            if found:
                found[-1].lines.append(line)
            continue
        section = Section(line)
        named = line.words[3] if line.words[2:3] == ("from",) and len(line.words) > 3 else None
        if line.words[0] == "defaults":
            latest = section.lines
            defaults[section.name] = latest
        elif line.words[0] in PROXIES:
            section.inherited = latest if named is None else defaults.get(named, [])
        found.append(section)
    return found


def _lines(setup: Setup, source: SourceFile) -> Iterator[Line]:
    words: list[str] = []
    first = 0
    try:
        for token in tokens(source, marks="", by_line=True):
            if not token.is_mark:
                first = first if words else token.line
                words.append(token.text)
            elif words:
                yield Line(tuple(words), source.at(first))
                words = []
    except ValueError as error:
        number = int(str(error))
        setup.note(Gap(GapKind.SYNTAX, source.lines[number - 1].strip()[:80], source.at(number)))
