"""Lookup tables (DATABASE_README): those whose text can be read are looked up in; the rest are gaps."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Protocol

from relaywatch.audit.findings import Gap, GapKind, Position
from relaywatch.audit.patterns import NotEvaluatedError, Pattern, pattern, split_pattern
from relaywatch.audit.placed import Placed, unbraced
from relaywatch.audit.setup import Setup
from relaywatch.audit.text import SourceFile
from relaywatch.model.places import Address
from relaywatch.targets.reserved import Network

from .parameters import logical

_INDEXED = frozenset({"hash", "lmdb", "btree", "dbm", "sdbm", "cdb", "texthash"})
_OUTSIDE = frozenset({"mysql", "pgsql", "sqlite", "ldap", "mongodb"})
_DEEPEST = 8
_MOST_BEFORE = 8


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its key or pattern, what it says, and where."""

    key: str
    value: str
    position: Position | None = None
    pattern: Pattern | None = None
    network: Network | None = None
    within: tuple[Row, ...] = ()
    """The conditions of an ``if`` round it."""
    before: tuple[Row, ...] = ()
    """Expressions that are tried before it."""

    @property
    def text(self) -> str:
        """As it stands."""
        return f"{self.key} {self.value}".strip()


class Table(Protocol):
    """What a table answers."""

    @property
    def is_keyed(self) -> bool:
        """Whether it is asked for parts of a name or address as well."""

    def lookup(self, key: str) -> Row | Gap | None:
        """The row for a key, nothing, or why nobody knows."""

    def rows(self) -> Iterable[Row]:
        """Its rows in order, for strangers to try."""


@dataclass(frozen=True, slots=True)
class KeyedTable:
    """Keys and values; case is folded."""

    by_key: Mapping[str, Row]
    is_keyed: bool = True

    def lookup(self, key: str) -> Row | Gap | None:
        """The row of that very key."""
        return self.by_key.get(key.lower())

    def rows(self) -> Iterable[Row]:
        """Every row."""
        return self.by_key.values()


@dataclass(frozen=True, slots=True)
class StaticTable:
    """The same answer to everything."""

    row: Row
    is_keyed: bool = True

    def lookup(self, key: str) -> Row | Gap | None:  # noqa: ARG002 -- whatever is asked
        """The answer."""
        return self.row

    def rows(self) -> Iterable[Row]:
        """The one answer."""
        return (self.row,)


@dataclass(frozen=True, slots=True)
class Guard:
    """``if`` with its condition; ``endif`` without."""

    row: Row | None


@dataclass(frozen=True, slots=True)
class OrderedTable:
    """regexp, pcre and cidr: the first row that matches the whole key answers; ``if`` … ``endif`` round some."""

    lines: tuple[Row | Guard | Gap, ...]
    is_keyed: bool = False

    def lookup(self, key: str) -> Row | Gap | None:
        """The first that matches; a row that isn't evaluated may be it."""
        skipping = 0
        for line in self.lines:
            if isinstance(line, Guard):
                if line.row is None:
                    skipping = max(0, skipping - 1)
                elif skipping or not matches(line.row, key):
                    skipping += 1
            elif not skipping and (isinstance(line, Gap) or matches(line, key)):
                return line
        return None

    def rows(self) -> Iterator[Row]:
        """Every row that can be read, with the conditions round it and what is tried before."""
        within: list[Row] = []
        before: deque[Row] = deque(maxlen=_MOST_BEFORE)
        for line in self.lines:
            if isinstance(line, Row):
                yield replace(line, within=tuple(within), before=tuple(before)) if line.pattern else line
                before.append(line)
            elif isinstance(line, Guard):
                within = within[:-1] if line.row is None else [*within, line.row]


@dataclass(frozen=True, slots=True)
class UnknownTable:
    """One that nobody here can ask."""

    gap: Gap
    is_keyed: bool = False
    asks_for_key: bool = False
    """Whether it is a database whose query holds the key, so that it lists what its owner put in."""

    def lookup(self, key: str) -> Row | Gap | None:  # noqa: ARG002 -- whatever is asked
        """Why nobody knows."""
        return self.gap

    def rows(self) -> Iterable[Row]:
        """None that is known."""
        return ()


@dataclass(frozen=True, slots=True)
class PipedTable:
    """pipemap: the answer of one table is the next one's key."""

    tables: tuple[Table, ...]

    @property
    def is_keyed(self) -> bool:
        """As the first."""
        return any(table.is_keyed for table in self.tables)

    def lookup(self, key: str) -> Row | Gap | None:
        """The last one's answer."""
        found: Row | Gap | None = None
        for table in self.tables:
            found = table.lookup(key)
            if not isinstance(found, Row):
                return found
            key = found.value
        return found

    def rows(self) -> Iterable[Row]:
        """The first one's keys: what the others make of them isn't theirs to say."""
        return self.tables[0].rows() if self.tables else ()


@dataclass(frozen=True, slots=True)
class UnitedTable:
    """unionmap: all answers with commas between them."""

    tables: tuple[Table, ...]

    @property
    def is_keyed(self) -> bool:
        """As any of them."""
        return any(table.is_keyed for table in self.tables)

    def lookup(self, key: str) -> Row | Gap | None:
        """Every table's answer."""
        found = [answer for table in self.tables if (answer := table.lookup(key)) is not None]
        for answer in found:
            if isinstance(answer, Gap):
                return answer
        said = [answer for answer in found if isinstance(answer, Row)]
        if not said:
            return None
        return Row(said[0].key, ",".join(row.value for row in said), said[0].position)

    def rows(self) -> Iterable[Row]:
        """All of them."""
        return (row for table in self.tables for row in table.rows())


def matches(row: Row, key: str) -> bool:
    """Whether a row of a regexp, pcre or cidr table means the key."""
    if row.pattern is not None:
        return row.pattern.holds(key)
    address = _address(key)
    return row.network is not None and address is not None and address in row.network


@lru_cache(maxsize=256)
def _address(key: str) -> Address | None:
    try:
        return ip_address(key)
    except ValueError:
        return None


@dataclass(slots=True)
class Tables:
    """Opens tables by their names as restrictions and lists give them; each once."""

    setup: Setup
    opened: dict[str, Table] = field(default_factory=dict)
    gaps: dict[Gap, None] = field(default_factory=dict)
    """What couldn't be read; it decides only where a way through hangs on it."""

    def open(self, spec: Placed, depth: int = 0) -> Table:
        """The table that a ``type:name`` means."""
        known = self.opened.get(spec.text)
        if known is None:
            known = self.opened[spec.text] = self._open(spec, depth)
        return known

    def unknown(self, kind: GapKind, spec: Placed) -> UnknownTable:
        """A table that isn't looked up in."""
        return UnknownTable(self.gap(kind, spec.text, spec.position))

    def gap(self, kind: GapKind, subject: str, position: Position | None) -> Gap:
        """Something that isn't evaluated; harmless until a way hangs on it."""
        gap = Gap(kind, subject[:200], position)
        self.gaps.setdefault(gap)
        self.setup.set_aside(gap)
        return gap

    def read(self, name: str, position: Position | None) -> SourceFile | Gap:
        """A file; what is noted if it can't be read is harmless until a way hangs on it."""
        source = self.setup.read(name, position)
        if source is not None:
            return source
        noted = [gap for gap in self.setup.gaps if gap.subject == name or gap.subject.startswith(f"{name}: ")]
        gap = noted[-1] if noted else Gap(GapKind.MISSING, name, position)
        return self.gap(gap.kind, gap.subject, gap.position)

    def _open(self, spec: Placed, depth: int) -> Table:
        kind, _, name = spec.text.partition(":")
        rest = spec.part(len(kind) + 1, len(spec.text)).stripped()
        if depth > _DEEPEST:
            return self.unknown(GapKind.LOOP, spec)
        if kind in {"proxy", "debug"}:
            return self.open(rest, depth + 1)
        if kind == "static":
            return StaticTable(Row(spec.text, unbraced(rest).text, spec.position))
        if kind == "inline":
            return KeyedTable(dict(_inline(unbraced(rest))))
        if kind in {"pipemap", "unionmap"}:
            tables = tuple(self.open(word, depth + 1) for word in unbraced(rest).words())
            return PipedTable(tables) if kind == "pipemap" else UnitedTable(tables)
        return self._stored(kind, name, spec)

    def _stored(self, kind: str, name: str, spec: Placed) -> Table:
        if kind in _INDEXED or kind in {"regexp", "pcre", "cidr"}:
            return self._from_file(kind, name, spec)
        if kind in _OUTSIDE:
            return self._outside(name, spec)
        return self.unknown(GapKind.EXTERNAL, spec)

    def _from_file(self, kind: str, name: str, spec: Placed) -> Table:
        if kind not in _INDEXED and name.startswith("{"):
            words = unbraced(spec.part(len(kind) + 1, len(spec.text)).stripped()).words()
            return OrderedTable(tuple(_ordered(kind, (unbraced(word) for word in words), self)))
        source = self.read(name, spec.position)
        if isinstance(source, Gap):
            if kind in _INDEXED and self.setup.has(f"{name}.{_SUFFIXES.get(kind, 'db')}"):
                return self.unknown(GapKind.BINARY, spec)
            return UnknownTable(source)
        if kind in _INDEXED:
            return KeyedTable(dict(_keyed(source)))
        return OrderedTable(tuple(_ordered(kind, logical(source), self)))

    def _outside(self, name: str, spec: Placed) -> Table:
        """A database; a query that ignores the key answers the same to everything."""
        if not name.startswith("/"):
            return self.unknown(GapKind.EXTERNAL, spec)
        source = self.read(name, spec.position)
        if isinstance(source, Gap):
            return self.unknown(GapKind.EXTERNAL, spec)
        asks = False
        for line in logical(source):
            key, _, value = line.text.partition("=")
            asks = asks or (key.strip() in {"query", "query_filter"} and _asks_for_key(key, value))
            if key.strip() in {"query", "query_filter"} and "%" not in value:
                return StaticTable(Row(spec.text, value.strip(), line.position))
        return UnknownTable(self.gap(GapKind.EXTERNAL, spec.text, spec.position), asks_for_key=asks)


def _asks_for_key(parameter: str, query: str) -> bool:
    """Whether a query with the key in it answers for that very key only: SQL compares it, and with nothing wider."""
    return parameter.strip() == "query_filter" or (
        _COMPARED.search(query) is not None and _WIDER.search(query) is None
    )


_COMPARED = re.compile(r"\bwhere\b.*=.*%", re.IGNORECASE | re.DOTALL)
_WIDER = re.compile(r"\b(?:like|regexp|rlike|similar)\b|~", re.IGNORECASE)
_SUFFIXES = {"lmdb": "lmdb", "cdb": "cdb", "dbm": "pag", "sdbm": "pag"}


def _keyed(source: SourceFile) -> Iterator[tuple[str, Row]]:
    """A text table's rows; of two with one key the first holds, as postmap has it with its warning."""
    seen: set[str] = set()
    for line in logical(source):
        if line.text.startswith('"') and (end := line.text.find('"', 1)) > 0:
            key, value = line.text[1:end], line.text[end + 1 :].strip()
        else:
            key, _, value = line.text.partition(" ") if " " in line.text else line.text.partition("\t")
            if "\t" in key:
                key, _, more = key.partition("\t")
                value = f"{more} {value}"
        if value.strip() and key.lower() not in seen:
            seen.add(key.lower())
            yield key.lower(), Row(key, value.strip(), line.position)


def _inline(rest: Placed) -> Iterator[tuple[str, Row]]:
    for word in rest.words():
        inner = unbraced(word)
        key, equals, value = inner.text.partition("=")
        if equals:
            yield key.strip().lower(), Row(key.strip(), value.strip(), inner.position)


def _ordered(kind: str, lines: Iterable[Placed], tables: Tables) -> Iterator[Row | Guard | Gap]:
    for line in lines:
        try:
            row = _ordered_line(kind, line)
            if (
                isinstance(row, Guard) or row.value or kind != "cidr"
            ):  # "no lookup result: skipping this rule"
                yield row
        except (ValueError, NotEvaluatedError):
            yield tables.gap(GapKind.NOT_EVALUATED, line.text, line.position)


def _ordered_line(kind: str, line: Placed) -> Row | Guard:
    text = line.text
    word = text.split(None, 1)[0].lower() if text.split() else ""
    if word == "endif":
        return Guard(None)
    is_guard = word == "if" or text.lower().startswith("if/")
    said = text[2:].strip() if is_guard else text
    if kind == "cidr":
        row = _cidr_row(said, line.position)
    else:
        expression, flags, value = split_pattern(said)
        compiled = pattern(expression, flags, is_pcre=kind == "pcre")
        row = Row(said[: len(said) - len(value)].strip(), value, line.position, pattern=compiled)
    return Guard(row) if is_guard else row


def _cidr_row(said: str, position: Position | None) -> Row:
    """``network value``; a sign in front isn't evaluated.

    :raises ValueError: if it is no network.
    """
    key, _, value = said.replace("\t", " ").partition(" ")
    return Row(key, value.strip(), position, network=ip_network(key.strip("[]").replace("]/", "/")))
