"""Text that remembers where each part of it stands, through continuation lines and expansion."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .findings import Position


@dataclass(frozen=True, slots=True)
class Placed:
    """A text; from each mark's offset on it stands at the mark's position, which a default has none of."""

    text: str = ""
    marks: tuple[tuple[int, Position | None], ...] = ((0, None),)

    @classmethod
    def joined(cls, parts: Iterable[Placed]) -> Placed:
        """The parts one after the other."""
        texts: list[str] = []
        marks: list[tuple[int, Position | None]] = []
        length = 0
        for part in parts:
            marks.extend((length + offset, position) for offset, position in part.marks)
            texts.append(part.text)
            length += len(part.text)
        return cls("".join(texts), tuple(marks) or ((0, None),))

    @property
    def position(self) -> Position | None:
        """Where it begins."""
        return self.at(0)

    def at(self, offset: int) -> Position | None:
        """Where the character at an offset stands."""
        index = bisect_right(self.marks, offset, key=lambda mark: mark[0]) - 1
        return self.marks[max(index, 0)][1]

    def part(self, first: int, last: int) -> Placed:
        """The characters from ``first`` up to ``last``."""
        inside = [(offset - first, position) for offset, position in self.marks if first < offset < last]
        return Placed(self.text[first:last], ((0, self.at(first)), *inside))

    def stripped(self) -> Placed:
        """Without white space at both ends."""
        begin = len(self.text) - len(self.text.lstrip())
        return self.part(begin, max(begin, len(self.text.rstrip())))

    def or_at(self, position: Position | None) -> Placed:
        """The same; what has no position of its own stands there."""
        return Placed(self.text, tuple((offset, own or position) for offset, own in self.marks))

    def words(self) -> Iterator[Placed]:
        """Its words, which commas and white space part; what stands in braces is one word with them."""
        begin: int | None = None
        depth = 0
        for index, character in enumerate(self.text):
            if depth == 0 and character in ", \t\r\n":
                if begin is not None:
                    yield self.part(begin, index)
                begin = None
                continue
            begin = index if begin is None else begin
            depth = max(0, depth + {"{": 1, "}": -1}.get(character, 0))
        if begin is not None:
            yield self.part(begin, len(self.text))


def unbraced(placed: Placed) -> Placed:
    """What stands in the braces, if it stands in some."""
    if placed.text.startswith("{") and placed.text.endswith("}"):
        return placed.part(1, len(placed.text) - 1).stripped()
    return placed
