"""Privoxy's directives, and what its action files say of every URL."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from relaywatch.audit.findings import Cause, Position
from relaywatch.audit.setup import Setup
from relaywatch.audit.text import Joins, logical_lines

_EVERYTHING = frozenset({"/", "/.*", ".", ".*", "./"})
"""Patterns that mean every URL; ``*`` isn't one."""
_MOST_DEPTH = 8


@dataclass(frozen=True, slots=True)
class Directive:
    """A line of the main file."""

    name: str
    words: tuple[str, ...]
    position: Position

    def cause(self, rule: str = "") -> Cause:
        """It as a cause."""
        return Cause(" ".join((self.name, *self.words)), self.position, rule)


@dataclass(frozen=True, slots=True)
class Actions:
    """What the action files say of every URL."""

    ports: str | None = None
    """Of ``limit-connect``; none, and CONNECT leads to any."""
    limit: Cause | None = None
    block: Cause | None = None
    opened: tuple[tuple[str, Cause], ...] = ()
    """Patterns of URLs for which the block is lifted again."""


def read_actions(setup: Setup, said: Sequence[Directive]) -> Actions:
    """Sections that mean every URL, later ones over earlier ones, and what they leave of a block."""
    found = Actions()
    aliases: dict[str, str] = {}
    for file in said:
        if file.name != "actionsfile" or not file.words:
            continue
        name = file.words[0]
        source = setup.read(name if name.startswith("/") else f"{_folder(said)}{name}", file.position)
        header, done = "", dict[str, str]()
        for line in logical_lines(source, Joins.BY_BACKSLASH) if source else ():
            if line.text.startswith("{{"):
                header = line.text
            elif line.text.startswith("{"):
                header = line.text
                done = _done(line.text[1:].rpartition("}")[0], aliases)
            elif header.startswith("{{alias"):
                name, _, value = line.text.partition("=")
                aliases[name.strip().lower()] = value
            elif header and not header.startswith("{{"):
                found = _with(found, done, line.text, Cause(header[:80], line.position))
    return found


_ACTION = re.compile(r"(?P<name>[-+]?[\w-]+)(?:\{(?P<value>(?:\\.|[^}\\])*)\})?")


def _done(text: str, aliases: Mapping[str, str], depth: int = 0) -> dict[str, str]:
    """A section's actions with their parameters, those that its aliases stand for among them."""
    done: dict[str, str] = {}
    for action in _ACTION.finditer(text):
        alias = aliases.get(action["name"].lower())
        if alias is None or depth > _MOST_DEPTH:
            done[action["name"].lower()] = action["value"] or ""
        else:
            done |= _done(alias, aliases, depth + 1)
    return done


def _with(found: Actions, done: Mapping[str, str], pattern: str, cause: Cause) -> Actions:
    if pattern not in _EVERYTHING:
        others = tuple(one for one in found.opened if one[0] != pattern)
        if "-block" in done and found.block is not None:
            return replace(found, opened=(*others, (pattern, cause)))
        return replace(found, opened=others) if "+block" in done else found
    if "-limit-connect" in done:
        found = replace(found, ports=None, limit=None)
    elif "+limit-connect" in done:
        found = replace(found, ports=done["+limit-connect"], limit=cause)
    if {"+block", "-block"} & done.keys():
        found = replace(found, block=cause if "+block" in done else None, opened=())
    return found


def _folder(said: Sequence[Directive]) -> str:
    """``confdir``, in which action files are."""
    found = next((one.words[0] for one in reversed(said) if one.name == "confdir" and one.words), "")
    return f"{found.rstrip('/')}/" if found and found != "." else ""
