"""Files as text with line numbers, and the joining of lines that most configurations know."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from .findings import Position

_BOM = "\ufeff"


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file: its name as reports give it, and its lines without their ends."""

    name: str
    lines: tuple[str, ...]
    line_end: str = "\n"
    """As the file has it, for what is written back."""

    @classmethod
    def of(cls, name: str, octets: bytes) -> SourceFile:
        """Read octets as UTF-8; what is none stays as surrogates, so that writing back changes nothing."""
        text = octets.decode("utf-8", "surrogateescape").removeprefix(_BOM)
        line_end = "\r\n" if "\r\n" in text else "\n"
        lines = text.replace("\r\n", "\n").split("\n")
        return cls(name, tuple(lines[:-1] if lines[-1] == "" else lines), line_end)

    @property
    def text(self) -> str:
        """All of it, lines ended by a line feed."""
        return "".join(f"{line}\n" for line in self.lines)

    def at(self, line: int) -> Position:
        """The position of a line, counted from 1."""
        return Position(self.name, line)


class Joins(Enum):
    """How a logical line goes on."""

    BY_INDENT = "indent"
    """A line that begins with white space goes on with the one before (Postfix, Sendmail)."""
    BY_BACKSLASH = "backslash"
    """A line that ends in a backslash is gone on with by the next."""


@dataclass(frozen=True, slots=True)
class LogicalLine:
    """A logical line: its text, joined by blanks, and the physical lines that it stands on."""

    text: str
    position: Position
    last: int
    """The last physical line."""


def logical_lines(source: SourceFile, joins: Joins, *, comment: str = "#") -> Iterator[LogicalLine]:
    """The lines that say something, comments and empty ones left out.

    A comment is a line whose first character other than white space begins it; what stands behind a value is
    the server's business. A comment within a logical line doesn't end it where lines are joined by indent, as
    in Postfix.
    """
    begun: _Begun | None = None
    for number, line in enumerate(source.lines, 1):
        said = line.strip()
        if joins is Joins.BY_INDENT and (not said or said.startswith(comment)):
            continue
        if begun is not None and _goes_on(begun, line, joins):
            begun = _Begun((*begun.parts, said), begun.first, number)
            continue
        if begun is not None:
            yield begun.joined(source)
        begun = _Begun((said,), number, number) if said and not said.startswith(comment) else None
    if begun is not None:
        yield begun.joined(source)


@dataclass(frozen=True, slots=True)
class _Begun:
    parts: tuple[str, ...]
    first: int
    last: int

    def joined(self, source: SourceFile) -> LogicalLine:
        text = " ".join(part.removesuffix("\\").rstrip() for part in self.parts)
        return LogicalLine(text.strip(), source.at(self.first), self.last)


def _goes_on(begun: _Begun, line: str, joins: Joins) -> bool:
    if joins is Joins.BY_BACKSLASH:
        return begun.parts[-1].endswith("\\")
    return line[:1] in {" ", "\t"}
