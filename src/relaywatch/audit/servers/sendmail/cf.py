"""sendmail.cf: macros, classes, maps, options and rulesets, each with its line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from relaywatch.audit.findings import Gap, GapKind, Position
from relaywatch.audit.setup import Setup
from relaywatch.audit.text import SourceFile

from .tables import Table, read_table, read_words

META = "\x01"
"""Before a token that is no text: what stands behind a dollar sign."""
_DELIMITERS = "()<>,;"
_NAME = re.compile(r"\{([^{}]{1,80})\}|(.)", re.DOTALL)
_TABLES = frozenset({"hash", "btree", "dbm", "cdb", "text", "implicit"})
_FIRST = "\\" + "SRDCFKOVTMPHELQX"
_LETTERED = {"d": "DeliveryMode"}


@dataclass(frozen=True, slots=True)
class RewriteRule:
    """An ``R`` line."""

    left: tuple[str, ...]
    right: tuple[str, ...]
    text: str
    position: Position


@dataclass(slots=True)
class Ruleset:
    """The rules below an ``S`` line."""

    position: Position
    rules: list[RewriteRule] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Map:
    """A ``K`` line."""

    kind: str
    flags: dict[str, str]
    words: tuple[str, ...]
    position: Position
    table: Table | None = None


@dataclass(slots=True)
class Cf:
    """One sendmail.cf."""

    macros: dict[str, str] = field(default_factory=dict)
    classes: dict[str, dict[str, Position | None]] = field(default_factory=dict)
    maps: dict[str, Map] = field(default_factory=dict)
    options: list[tuple[str, str, Position]] = field(default_factory=list)
    rulesets: dict[str, Ruleset] = field(default_factory=dict)
    numbers: dict[str, str] = field(default_factory=dict)
    """The names of rulesets by their numbers."""
    operators: str = ".:%@!^/[]+"

    def option(self, name: str) -> tuple[str, Position] | None:
        """The last value of an option."""
        found = [(value, at) for key, value, at in self.options if key.lower() == name.lower()]
        return found[-1] if found else None

    def ruleset(self, name: str) -> Ruleset | None:
        """By its name or number."""
        plain = name.strip('"')
        return self.rulesets.get(self.numbers.get(plain, plain))

    def tokens(self, text: str) -> tuple[str, ...]:
        """Plain text as a rewriting sees it: no dollar sign means anything."""
        return tuple(_plain(text, self.operators))

    def placed(self, text: str) -> tuple[str, ...]:
        """One side of a rule; macros that aren't deferred are put in place."""
        return tuple(_pattern(text, self))


def read_cf(  # noqa: C901 -- a letter each
    source: SourceFile, setup: Setup, host: str
) -> Cf:
    """Read all of it; ``host`` is the name that the machine has where the file doesn't set ``$j``."""
    name = host or "mail.unknown.invalid"
    cf = Cf(macros={"j": name, "w": name.partition(".")[0], "m": host.partition(".")[2]})
    cf.classes = {"w": {"localhost": None}, "m": {}}
    now: Ruleset | None = None
    for text, position in _lines(source):
        kind, rest = text[0], text[1:]
        if kind == "S":
            now = _begun(cf, rest.split("#")[0].strip(), position)
        elif kind == "R":
            _rule(cf, now, rest, position, setup)
        elif kind == "D":
            name, value = _named(rest)
            cf.macros[name] = "".join(_expanded(value.strip("\n"), cf))
        elif kind == "C":
            name, value = _named(rest)
            for word in "".join(_expanded(value, cf)).split():
                cf.classes.setdefault(name, {}).setdefault(word.lower(), position)
        elif kind == "F":
            _class_file(cf, rest, position, setup)
        elif kind == "K":
            _map(cf, rest, position, setup)
        elif kind == "O":
            _option(cf, rest, position)
        elif kind not in _FIRST:
            setup.note(Gap(GapKind.SYNTAX, text[:80], position))
    for name in ("j", "w"):
        cf.classes["w"].setdefault(cf.macros[name].lower(), None)
    if cf.macros["m"]:
        cf.classes["m"].setdefault(cf.macros["m"].lower(), None)
    return cf


def _lines(source: SourceFile) -> Iterator[tuple[str, Position]]:
    """Lines joined with those that begin with white space; the line feeds between them stay."""
    begun: list[str] = []
    first = 0
    for number, line in enumerate((*source.lines, ""), 1):
        if line[:1] in {" ", "\t"} and begun:
            begun.append(line)
            continue
        if begun and begun[0] and not begun[0].startswith("#"):
            yield "\n".join(begun), source.at(first)
        begun, first = [line], number


def _begun(cf: Cf, header: str, position: Position) -> Ruleset:
    name, _, number = header.partition("=")
    name = name.strip() or number.strip()
    if number.strip():
        cf.numbers[number.strip()] = name
    name = cf.numbers.get(name, name)
    return cf.rulesets.setdefault(name, Ruleset(position))


def _rule(cf: Cf, now: Ruleset | None, text: str, position: Position, setup: Setup) -> None:
    parts = [part for part in re.split(r"\t+", text) if part.strip("\n")] if "\t" in text else [text]
    if now is None or len(parts) < 2:
        setup.note(Gap(GapKind.SYNTAX, f"R{text}"[:80], position))
        return
    now.rules.append(
        RewriteRule(
            cf.placed(parts[0]), cf.placed(parts[1]), f"R{parts[0].strip()}\t{parts[1].strip()}", position
        )
    )


def _named(rest: str) -> tuple[str, str]:
    found = _NAME.match(rest)
    if found is None:
        return "", ""
    return found[1] or found[2], rest[found.end() :]


def _class_file(cf: Cf, rest: str, position: Position, setup: Setup) -> None:
    name, value = _named(rest)
    path, _, form = value.strip().partition(" ")
    optional = path.startswith("-o")
    if path == "-o":
        path, _, form = form.strip().partition(" ")
    path = path.removeprefix("-o").strip()
    if not path.startswith("/"):
        setup.note(Gap(GapKind.EXTERNAL, f"F{rest}"[:80], position))
        return
    words = read_words(setup, path, position, is_optional=optional, whole_line="%[" in form)
    for word, where in words:
        cf.classes.setdefault(name, {}).setdefault(word.lower(), where)


def _map(cf: Cf, rest: str, position: Position, setup: Setup) -> None:
    words = rest.split()
    if len(words) < 2:
        setup.note(Gap(GapKind.SYNTAX, f"K{rest}"[:80], position))
        return
    flags = {word[1:2]: word[2:] for word in words[2:] if word.startswith("-")}
    others = tuple(word for word in words[2:] if not word.startswith("-"))
    table = None
    if words[1].lower() in _TABLES and others:
        path = others[-1].removesuffix(".db")
        table = read_table(setup, path, position, is_optional="o" in flags)
    cf.maps[words[0]] = Map(words[1].lower(), flags, others, position, table)


def _option(cf: Cf, rest: str, position: Position) -> None:
    if rest[:1] != " ":
        cf.options.append((_LETTERED.get(rest[:1], rest[:1]), rest[1:].strip(), position))
        return
    found = re.match(r"\s*(\w[\w.]*)\s*=?\s*(.*)", rest, re.DOTALL)
    if found is None:
        return
    cf.options.append((found[1], found[2].strip(), position))
    if found[1] == "OperatorChars" and found[2].strip():
        cf.operators = found[2].strip()


# --- tokens ---------------------------------------------------------------------------------------


def _pattern(text: str, cf: Cf) -> Iterator[str]:
    at = 0
    plain: list[str] = []
    while at < len(text):
        if text[at] != "$" or at + 1 >= len(text):
            plain.append(text[at])
            at += 1
            continue
        yield from _plain("".join(plain), cf.operators)
        plain.clear()
        sign = text[at + 1]
        at += 2
        if sign in "=~&":
            name, rest = _named(text[at:])
            at = len(text) - len(rest)
            yield f"{META}{sign}{name}"
        elif sign in "*+-@#:|()[]>?.0123456789":
            yield META + sign
        elif sign == "$":
            plain.append("$")
        else:
            name, rest = _named(text[at - 1 :])
            at = len(text) - len(rest)
            yield from _plain(cf.macros.get(name, ""), cf.operators)
    yield from _plain("".join(plain), cf.operators)


def _expanded(text: str, cf: Cf) -> Iterator[str]:
    """A macro's or a class's text with the macros in it."""
    at = 0
    while at < len(text):
        if text[at] == "$" and at + 1 < len(text) and (text[at + 1].isalpha() or text[at + 1] == "{"):
            name, rest = _named(text[at + 1 :])
            at = len(text) - len(rest)
            yield cf.macros.get(name, "")
        else:
            yield text[at]
            at += 1


def _plain(text: str, operators: str) -> Iterator[str]:
    word: list[str] = []
    at = 0
    while at < len(text):
        char = text[at]
        if char == '"':
            end = text.find('"', at + 1)
            end = len(text) if end < 0 else end + 1
            word.append(text[at:end])
            at = end
            continue
        at += 1
        if char.isspace() or char in operators or char in _DELIMITERS:
            if word:
                yield "".join(word)
                word.clear()
            if not char.isspace():
                yield char
        else:
            word.append(char)
    if word:
        yield "".join(word)
