"""Command lines by which a server is started: in a unit file, a script, or a file of them, with their words."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from .findings import Gap, GapKind, Position
from .setup import Setup
from .text import Joins, SourceFile, logical_lines

_STARTING = re.compile(
    r"^(?:Exec\w+\s*=\s*[-@:+!]*|CMD\s+|ENTRYPOINT\s+|exec\s+|command\s*[:=]\s*)", re.IGNORECASE
)
_SETTING = re.compile(r"^(?:Environment\s*=\s*|export\s+|ENV\s+)?\"?'?(\w+)=(.*?)\"?'?$")
_VARIABLE = re.compile(r"\$\{?(\w+)\}?")


@dataclass(frozen=True, slots=True)
class CommandLine:
    """How a program is started: its words after its own name."""

    words: tuple[str, ...]
    position: Position
    last: int
    text: str
    gap: Gap | None = None
    """What it is made of isn't known: to be noted where that decides."""


def command_lines(setup: Setup, source: SourceFile, program: str) -> Iterator[CommandLine]:
    """Every line that starts the program; variables are those that the file, or one that it names, sets."""
    known: dict[str, str] = {}
    for line in logical_lines(source, Joins.BY_BACKSLASH):
        if line.text.startswith("EnvironmentFile"):
            name = line.text.partition("=")[2].strip()
            is_there = not name.startswith("-") or setup.has(name.lstrip("-"))
            beside = setup.read(name.lstrip("-"), line.position) if is_there else None
            for one in beside.lines if beside else ():
                known.update(_set(one.strip()))
            continue
        words = _split(_JSON.sub(" ", _STARTING.sub("", line.text)))
        at = next((n for n, word in enumerate(words) if word.rsplit("/", 1)[-1] == program), None)
        if at is None:
            known.update(_set(line.text))
            continue
        found = [part for word in words[at + 1 :] for part in _expanded(word, known)]
        is_unknown = any(_VARIABLE.match(part) for part in found)
        gap = Gap(GapKind.NOT_EVALUATED, line.text[:80], line.position) if is_unknown else None
        yield CommandLine(tuple(found), line.position, line.last, line.text, gap)


_JSON = re.compile(r"[\[\],](?=\s|\"|$)")


def _set(line: str) -> dict[str, str]:
    found = _SETTING.match(line)
    return {found[1]: found[2].strip("\"'")} if found and not line.startswith("#") else {}


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text, comments=True)
    except ValueError:
        return text.split()


def _expanded(word: str, known: dict[str, str]) -> list[str]:
    """``$NAME`` alone is split into words, as systemd and the shell do it; what isn't known stays."""
    text = _VARIABLE.sub(lambda found: known.get(found[1], found[0]), word)
    return _split(text) if word.startswith("$") and not text.startswith("$") else [text]
