"""Files as text with line numbers, and the joining of lines that most configurations know."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from .findings import Position

_BOM = "\ufeff"
_MARKS_OF_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file: its name as reports give it, and its lines without their ends."""

    name: str
    lines: tuple[str, ...]
    line_end: str = "\n"
    """As the file has it, for what is written back."""
    begin: str = ""
    """A byte order mark, if the file has one."""
    is_ended: bool = True
    """Whether the last line has an end."""
    encoding: str = "utf-8"

    @classmethod
    def of(cls, name: str, octets: bytes) -> SourceFile:
        """Read octets as UTF-8, or as UTF-16 if they begin so; what is neither stays as surrogates.

        Writing back changes nothing (`octets`). Where some lines end otherwise than the others, a CR stays in them.
        """
        encoding = "utf-8"
        if octets.startswith(_MARKS_OF_UTF_16) and not _is_odd(octets):
            encoding = "utf-16-le" if octets.startswith(_MARKS_OF_UTF_16[0]) else "utf-16-be"
        text = octets.decode(encoding, "surrogateescape" if encoding == "utf-8" else "surrogatepass")
        begin = _BOM if text.startswith(_BOM) else ""
        text = text[len(begin) :]
        line_end = "\r\n" if text.count("\r\n") == text.count("\n") > 0 else "\n"
        lines = text.split(line_end)
        is_ended = lines[-1] == ""
        return cls(name, tuple(lines[:-1] if is_ended else lines), line_end, begin, is_ended, encoding)

    @property
    def text(self) -> str:
        """All of it, lines ended by a line feed."""
        return "".join(f"{line}\n" for line in self.lines)

    @property
    def octets(self) -> bytes:
        """All of it as the file has it."""
        text = (
            self.begin
            + self.line_end.join(self.lines)
            + (self.line_end if self.lines and self.is_ended else "")
        )
        return text.encode(self.encoding, "surrogateescape" if self.encoding == "utf-8" else "surrogatepass")

    def at(self, line: int) -> Position:
        """The position of a line, counted from 1."""
        return Position(self.name, line)


def _is_odd(octets: bytes) -> bool:
    return len(octets) % 2 == 1


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
