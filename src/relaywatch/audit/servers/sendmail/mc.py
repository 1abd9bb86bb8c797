"""sendmail.mc: the macros that it calls, without m4 itself (cf/README)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from relaywatch.audit.findings import Cause, Position
from relaywatch.audit.text import SourceFile

_NAME = re.compile(r"[A-Za-z_]\w*")
_DIVERT = re.compile(r"divert\s*\(\s*`?(-?\d*)'?\s*\)")
_MOST = 100_000


@dataclass(frozen=True, slots=True)
class Call:
    """A macro with its arguments, quotes taken off."""

    name: str
    arguments: tuple[str, ...]
    position: Position
    last: int
    """The line on which it ends."""
    text: str

    def cause(self, rule: str = "") -> Cause:
        """The call as it stands."""
        return Cause(self.text, self.position, rule)

    @property
    def first(self) -> str:
        """The first argument."""
        return self.arguments[0] if self.arguments else ""

    @property
    def rest(self) -> str:
        """The second argument."""
        return self.arguments[1] if len(self.arguments) > 1 else ""


@dataclass(frozen=True, slots=True)
class Raw:
    """A line that goes into sendmail.cf as it is."""

    text: str
    position: Position


def read_mc(source: SourceFile) -> Iterator[Call | Raw]:
    """What counts, in order: comments and what is diverted away are left out.

    :raises ValueError: with the line, if a quote or a bracket has no end.
    """
    text = source.text
    at, hidden = 0, False
    begin = True
    while at < len(text):
        if (found := _DIVERT.match(text, at)) and _is_word(text, at):
            hidden, at = found[1].startswith("-"), found.end()
            continue
        if text.startswith("dnl", at) and _is_word(text, at) and not text[at + 3 : at + 4].isalnum():
            end = text.find("\n", at)
            at, begin = (len(text) if end < 0 else end + 1), True
            continue
        if text[at] == "#" and not hidden:
            at = _line_end(text, at)
            continue
        name = _NAME.match(text, at) if _is_word(text, at) else None
        if name is not None and text[name.end() : name.end() + 1] == "(" and not hidden:
            arguments, end = _arguments(text, name.end(), source)
            line, last = _line(text, at), _line(text, end - 1)
            said = " ".join(text[at:end].split())[:200]
            yield Call(name[0], arguments, source.at(line), last, said)
            at, begin = end, False
        elif begin and not hidden and text[at] != "\n":
            end = _line_end(text, at)
            raw = text[at:end].split("dnl")[0].strip("`' ")
            if raw:
                yield Raw(raw, source.at(_line(text, at)))
            at = end
        else:
            begin = text[at] == "\n"
            at += 1


def _is_word(text: str, at: int) -> bool:
    return at == 0 or not (text[at - 1].isalnum() or text[at - 1] == "_")


def _line_end(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1


def _arguments(  # noqa: C901 -- m4 has two kinds of brackets
    text: str, at: int, source: SourceFile
) -> tuple[tuple[str, ...], int]:
    """The arguments from the opening bracket on, and where they end."""
    begun, depth, quoted = at, 0, 0
    parts: list[list[str]] = [[]]
    while at < min(len(text), begun + _MOST):
        char = text[at]
        at += 1
        if char == "`":
            quoted += 1
            if quoted == 1:
                continue
        elif char == "'" and quoted:
            quoted -= 1
            if not quoted:
                continue
        elif not quoted and char == "(":
            depth += 1
            if depth == 1:
                continue
        elif not quoted and char == ")":
            depth -= 1
            if not depth:
                return tuple("".join(part).strip() for part in parts), at
        elif not quoted and char == "," and depth == 1:
            parts.append([])
            continue
        parts[-1].append(char)
    raise ValueError(_line(source.text, begun))
