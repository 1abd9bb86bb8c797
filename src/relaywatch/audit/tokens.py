"""Configurations of words, quoted texts, and blocks in braces, with the line of each word."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .text import SourceFile

_QUOTES = frozenset("\"'")


@dataclass(frozen=True, slots=True)
class Token:
    """A word, or a mark: one of the specials, or a line's end."""

    text: str
    line: int
    is_mark: bool = False


def tokens(
    source: SourceFile, *, marks: str = "{};", by_line: bool = False, comment: str = "#", quotes: str = "\"'"
) -> Iterator[Token]:
    """The words and marks of a file; with ``by_line`` a line's end is a mark too, unless a backslash stands before it.

    A quote begins a quoted text at a word's beginning only, and a comment likewise, as nginx has it.

    :raises ValueError: with the line, if a quoted text has no end.
    """
    text = source.text
    at, line, end = 0, 1, len(text)
    while at < end:
        char = text[at]
        if char == "\n":
            if by_line:
                yield Token("\n", line, is_mark=True)
            at, line = at + 1, line + 1
        elif char.isspace():
            at += 1
        elif char == "\\" and text[at + 1 : at + 2] == "\n":
            at, line = at + 2, line + 1
        elif text.startswith(comment, at):
            at = text.find("\n", at)
        elif char in marks:
            yield Token(char, line, is_mark=True)
            at += 1
        elif char in _QUOTES and char in quotes:
            word, after = _quoted(text, at, line)
            yield Token(word, line)
            line += text.count("\n", at, after)
            at = after
        else:
            after = _word_end(text, at, marks)
            yield Token(text[at:after], line)
            line += text.count("\n", at, after)
            at = after


def _quoted(text: str, at: int, line: int) -> tuple[str, int]:
    quote, here = text[at], at + 1
    parts: list[str] = []
    while here < len(text):
        char = text[here]
        if char == "\\" and here + 1 < len(text):
            following = text[here + 1]
            parts.append(following if following == quote else char + following)
            here += 2
        elif char == quote:
            return "".join(parts), here + 1
        else:
            parts.append(char)
            here += 1
    raise ValueError(line)


def _word_end(text: str, at: int, marks: str) -> int:
    """A word ends at white space or a mark; ``${name}`` and what a backslash stands before are parts of it."""
    while at < len(text):
        char = text[at]
        if char == "\\" and text[at + 1 : at + 2] not in {"", "\n"}:
            at += 2
        elif text.startswith("${", at) and "}" in text[at : at + 80]:
            at = text.index("}", at) + 1
        elif char.isspace() or char in marks or (char == "\\" and text[at + 1 : at + 2] == "\n"):
            return at
        else:
            at += 1
    return at
