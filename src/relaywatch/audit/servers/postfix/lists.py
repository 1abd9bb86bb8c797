"""Lists of hosts and of domains (postconf(5)): read from the left, the first pattern that matches decides."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_network
from itertools import groupby

from relaywatch.audit.addresses import AddressSet
from relaywatch.audit.findings import Gap, GapKind, Position
from relaywatch.audit.patterns import sample
from relaywatch.audit.placed import Placed
from relaywatch.model.places import Address
from relaywatch.targets.reserved import Network

from .addressing import addresses_of_all
from .parameters import logical
from .tables import Row, StaticTable, Table, Tables, UnknownTable

_DEEPEST = 8


@dataclass(frozen=True, slots=True)
class Item:
    """One pattern of a list."""

    said: Placed
    is_negated: bool
    table: Table | None = None
    network: Network | None = None
    gap: Gap | None = None
    """Set where the pattern is none: whoever gets to it is put off (451)."""

    @property
    def word(self) -> str:
        """The pattern without its sign."""
        return self.said.text.lstrip("!").lower()

    @property
    def position(self) -> Position | None:
        """Where it stands."""
        return self.said.position


@dataclass(frozen=True, slots=True)
class Match:
    """That a list's pattern matches, and the row of its table, if it is one."""

    item: Item
    row: Row | None = None


def items(value: Placed, tables: Tables, depth: int = 0) -> Iterator[Item]:
    """The patterns of a list; files that it names are read in their place."""
    for word in value.words():
        bare = word.text.lstrip("!")
        negated = (len(word.text) - len(bare)) % 2 == 1
        if bare.startswith("/"):
            yield from _from_file(word, bare, tables, depth, negated=negated)
        elif ":" in bare and not bare.startswith("[") and not _is_network(bare):
            table = tables.open(word.part(len(word.text) - len(bare), len(word.text)))
            yield Item(word, negated, table=table)
        else:
            yield _host(word, bare, tables, negated=negated)


def _from_file(word: Placed, name: str, tables: Tables, depth: int, *, negated: bool) -> Iterator[Item]:
    source = (
        tables.read(name, word.position)
        if depth < _DEEPEST
        else tables.gap(GapKind.LOOP, name, word.position)
    )
    if isinstance(source, Gap):
        yield Item(word, negated, table=UnknownTable(source))
        return
    for line in logical(source):
        for item in items(line, tables, depth + 1):
            yield Item(item.said, item.is_negated is not negated, item.table, item.network, item.gap)


def _host(word: Placed, bare: str, tables: Tables, *, negated: bool) -> Item:
    text = bare.replace("[", "").replace("]", "")
    if bare and not (text.count(":") > 1 or text.replace(".", "").replace("/", "").isdecimal()):
        return Item(word, negated)
    is_misread = (":" in bare and not bare.startswith("[")) or "." in text.partition("/")[2]
    try:
        network = (
            None if is_misread else ip_network(text)
        )  # IPv6 without brackets is a table, a mask has bits
    except ValueError:
        network = None
    if network is not None:
        return Item(word, negated, network=network)
    return Item(word, negated, gap=tables.gap(GapKind.SYNTAX, word.text, word.position))


def _is_network(text: str) -> bool:
    try:
        ip_network(text, strict=False)
    except ValueError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class HostList:
    """A list of hosts and networks, such as mynetworks."""

    items: tuple[Item, ...]
    matches_subdomains: bool

    def find(self, address: Address, name: str) -> Match | Gap | None:
        """What decides about a client; a gap if it is put off, or nobody knows."""
        for item in self.items:
            found = self._of(item, address, name)
            if isinstance(found, Gap):
                return found
            if found is not None:
                return None if item.is_negated else found
        return None

    def _of(self, item: Item, address: Address, name: str) -> Match | Gap | None:
        if item.gap is not None:
            return item.gap
        if item.network is not None:
            return Match(item) if address in item.network else None
        if item.table is None:
            return Match(item) if is_in_domain(name, item.word, subdomains=self.matches_subdomains) else None
        for key in (*_keys(name, item.table, subdomains=self.matches_subdomains), str(address)):
            found = item.table.lookup(key)
            if isinstance(found, Gap):
                return found
            if found is not None:
                return Match(item, found)
        return None

    def addresses(self) -> AddressSet:
        """All addresses in it that can be read, as a union less what is taken out."""
        result = AddressSet()
        for negated, group in groupby(reversed(self.items), key=lambda item: item.is_negated):
            its = _addresses(group)
            result = result - its if negated else result | its
        return result

    def names(self) -> Iterator[str]:
        """What may be names of clients: patterns, keys of tables, and samples of expressions."""
        for item in self.items:
            if item.is_negated or item.network is not None or item.gap is not None:
                continue
            if item.table is None:
                yield item.word
            for row in item.table.rows() if item.table is not None else ():
                if row.pattern is not None:
                    yield sample(row.pattern.expression) or ""
                elif row.network is None and not addresses_of_all([row]):
                    yield row.key

    @property
    def gaps(self) -> frozenset[Gap]:
        """Why nobody knows who else is in it."""
        tables = (item.table for item in self.items if not item.is_negated)
        return frozenset(table.gap for table in tables if isinstance(table, UnknownTable))


def _addresses(items: Iterable[Item]) -> AddressSet:
    """Of several patterns; a table's expressions count if they mean everybody."""
    rows: list[Row] = []
    result = AddressSet()
    for item in items:
        if item.network is not None:
            rows.append(Row(item.word, "", network=item.network))
        elif isinstance(item.table, StaticTable):
            result = AddressSet.everything()
        for row in item.table.rows() if item.table is not None else ():
            if row.pattern is None:
                rows.append(row)
            else:
                result |= _if_everything(row)
    return result | addresses_of_all(rows)


def _if_everything(row: Row) -> AddressSet:
    """All addresses, if a pattern matches quite different ones."""
    several = ("198.51.100.7", "203.0.113.99", "8.8.4.4", "2001:db8::7", "2a00::1")
    everything = row.pattern is not None and all(row.pattern.holds(one) for one in several)
    return AddressSet.everything() if everything else AddressSet()


def is_in_domain(name: str, pattern: str, *, subdomains: bool) -> bool:
    """Whether a host or domain name is meant: itself, those under ``.pattern``, and under ``pattern`` if so set."""
    name = name.lower()
    if name == pattern:
        return True
    if pattern.startswith("."):
        return not subdomains and name.endswith(pattern)
    return subdomains and name.endswith(f".{pattern}")


@dataclass(frozen=True, slots=True)
class DomainList:
    """A list of domains: relay_domains, which may mean subdomains, or mydestination and others, which don't."""

    items: tuple[Item, ...]
    matches_subdomains: bool = False
    is_of_strings: bool = True
    """Whether only the whole name is compared."""

    def find(self, domain: str) -> Match | Gap | None:
        """What decides about a domain; a database that asks for the key holds its owner's domains."""
        for item in self.items:
            found = self._of(item, domain)
            if isinstance(found, Gap):
                return found
            if found is not None:
                return None if item.is_negated else found
        return None

    def _of(self, item: Item, domain: str) -> Match | Gap | None:
        if item.table is None:
            same = domain.lower() == item.word
            parent = is_in_domain(domain, item.word, subdomains=self.matches_subdomains)
            return Match(item) if same or (parent and not self.is_of_strings) else None
        if isinstance(item.table, UnknownTable):
            return None if item.table.asks_for_key else item.table.gap
        for key in (
            [domain] if self.is_of_strings else _keys(domain, item.table, subdomains=self.matches_subdomains)
        ):
            found = item.table.lookup(key)
            if isinstance(found, Gap):
                return found
            if found is not None:
                return Match(item, found)
        return None

    def literals(self) -> Iterable[tuple[str, Match]]:
        """The domains that it names."""
        for item in self.items:
            if item.is_negated:
                continue
            if item.table is None:
                yield item.word, Match(item)
            else:
                yield from (
                    (row.key.lower(), Match(item, row)) for row in item.table.rows() if not row.pattern
                )

    def patterns(self) -> Iterable[Row]:
        """The expressions in it."""
        for item in self.items:
            if item.table is not None and not item.is_negated:
                yield from (row for row in item.table.rows() if row.pattern is not None)


def _keys(domain: str, table: Table, *, subdomains: bool) -> Iterator[str]:
    """A domain list asks a table for the domain, then for its parents (match_ops(3))."""
    yield domain
    rest = domain
    while table.is_keyed and "." in rest:
        _, _, rest = rest.partition(".")
        yield rest if subdomains else f".{rest}"


def is_name(text: str) -> bool:
    """Whether a key is a host's or domain's name and no address."""
    labels = text.split(".")
    proper = all(label and label.replace("-", "").replace("_", "").isalnum() for label in labels)
    return proper and not labels[-1].isdecimal()
