"""The parts of Exim's configuration that decide about relaying: options, named lists, ACLs, routers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from relaywatch.audit.findings import Gap, GapKind, Position
from relaywatch.audit.placed import Placed
from relaywatch.audit.setup import Setup

_LIST = re.compile(r"(?P<kind>domain|host|address|localpart)list(?:_cache)?\s+(?P<name>\w+)\s*=\s*")
_OPTION = re.compile(r"(?P<name>\w+)\s*=\s*")
_NAME = re.compile(r"(?P<name>[\w.-]+)\s*:\s*")
VERBS = frozenset({"accept", "defer", "deny", "discard", "drop", "require", "warn"})
_CONDITION = re.compile(r"(?P<not>(?:!\s*)*)(?P<name>[a-z_]+(?:\s+acl_[cm]\w*)?)\s*(?:=\s*|$)")


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition or modifier of a statement."""

    name: str
    is_negated: bool
    value: Placed
    said: Placed


@dataclass(frozen=True, slots=True)
class Statement:
    """A verb with its conditions, in order."""

    verb: str
    conditions: tuple[Condition, ...]
    said: Placed

    @property
    def position(self) -> Position | None:
        """Where the verb stands."""
        return self.said.position

    @property
    def text(self) -> str:
        """The verb and what decides it, for reports."""
        parts = [one.said.text for one in self.conditions if one.name not in MODIFIERS]
        return " ".join([self.verb, *parts])[:200]


MODIFIERS = frozenset(
    {
        "add_header",
        "continue",
        "control",
        "delay",
        "endpass",
        "log_message",
        "log_reject_target",
        "logwrite",
        "message",
        "queue",
        "remove_header",
        "udpsend",
    }
)


@dataclass(slots=True)
class Config:
    """All of it."""

    options: dict[str, Placed] = field(default_factory=dict)
    lists: dict[tuple[str, str], Placed] = field(default_factory=dict)
    """By kind and name."""
    acls: dict[str, tuple[Statement, ...]] = field(default_factory=dict)
    routers: list[dict[str, Placed]] = field(default_factory=list)
    transports: dict[str, str] = field(default_factory=dict)
    """Each one's driver, by its name."""
    authenticators: list[dict[str, Placed]] = field(default_factory=list)
    rewrites: list[Placed] = field(default_factory=list)
    """Rules of the rewrite section, as they stand."""


def parsed(lines: Iterable[Placed], setup: Setup) -> Config:
    """Read the lines; those that can't be told are gaps."""
    config, section = Config(), "main"
    sections: dict[str, list[Placed]] = {"main": [], "acl": [], "routers": []}
    for line in lines:
        if line.text.startswith("begin ") or line.text.startswith("begin\t"):
            section = line.text[5:].strip().lower()
        else:
            sections.setdefault(section, []).append(line)
    for line in sections["main"]:
        _main(line, config, setup)
    for name, said in _named(sections["acl"]):
        config.acls[name] = statements(said, setup)
    for _, said in _named(sections["routers"]):
        config.routers.append(dict(map(_option, said)))
    for name, said in _named(sections.get("transports", [])):
        config.transports[name] = dict(map(_option, said)).get("driver", Placed()).text
    for _, said in _named(sections.get("authenticators", [])):
        config.authenticators.append(dict(map(_option, said)))
    config.rewrites = sections.get("rewrite", [])
    return config


def _main(line: Placed, config: Config, setup: Setup) -> None:
    text = line.text
    if text.startswith("hide "):
        line = line.part(5, len(text)).stripped()
    if found := _LIST.match(line.text):
        value = _unquoted(line.part(found.end(), len(line.text)).stripped())
        config.lists[found["kind"], found["name"]] = value.or_at(line.position)
        return
    name, value = _option(line)
    if not re.fullmatch(r"\w+", name):
        setup.note(Gap(GapKind.SYNTAX, text[:80], line.position))
        return
    config.options[name] = value


def _option(line: Placed) -> tuple[str, Placed]:
    """``name = value``; a switch's name alone, or with ``no_`` before it."""
    found = _OPTION.match(line.text)
    if found is None:
        name = line.text.strip()
        for no in ("no_", "not_"):
            if name.startswith(no):
                return name.removeprefix(no), Placed("false", line.marks)
        return name, Placed("true", line.marks)
    value = line.part(found.end(), len(line.text)).stripped()
    return found["name"], _unquoted(value).or_at(line.position)


def _unquoted(value: Placed) -> Placed:
    if value.text.startswith('"') and value.text.endswith('"') and len(value.text) > 1:
        return value.part(1, len(value.text) - 1)
    return value


def _named(lines: list[Placed]) -> Iterator[tuple[str, list[Placed]]]:
    """Items that begin with ``name:``."""
    name, said = "", list[Placed]()
    for line in lines:
        found = _NAME.match(line.text)
        if found is None:
            said.append(line)
            continue
        if name:
            yield name, said
        name = found["name"]
        rest = line.part(found.end(), len(line.text))
        said = [rest] if rest.text else []
    if name:
        yield name, said


def statements(lines: Iterable[Placed], setup: Setup) -> tuple[Statement, ...]:
    """The statements of one ACL."""
    found: list[Statement] = []
    verb, begin, conditions = "", Placed(), list[Condition]()
    for line in lines:
        word = re.match(r"\w+", line.text)
        if word is not None and word[0] in VERBS:
            if verb:
                found.append(Statement(verb, tuple(conditions), begin))
            verb, begin, conditions = word[0], line, []
            line = line.part(word.end(), len(line.text)).stripped()  # noqa: PLW2901 -- what follows the verb
            if not line.text:
                continue
        said = _condition(line)
        if said is None or not verb:
            setup.note(Gap(GapKind.SYNTAX, line.text[:80], line.position))
            continue
        conditions.append(said)
    if verb:
        found.append(Statement(verb, tuple(conditions), begin))
    return tuple(found)


def _condition(line: Placed) -> Condition | None:
    found = _CONDITION.match(line.text)
    if found is None:
        return None
    value = line.part(found.end(), len(line.text)).stripped()
    return Condition(found["name"], found["not"].count("!") % 2 == 1, value.or_at(line.position), line)
