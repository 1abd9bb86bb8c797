"""Domain, host, address and local part lists (chapter 10): the first item that matches decides."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from itertools import groupby

from relaywatch.audit.addresses import LOOPBACK, AddressSet
from relaywatch.audit.findings import Gap, GapKind, Position
from relaywatch.audit.patterns import NotEvaluatedError, Pattern, pattern
from relaywatch.audit.placed import Placed
from relaywatch.audit.setup import Setup

from .config import Config
from .expansion import ForcedError, UnknownError

PRIMARY = "$primary_hostname"
"""Stands for the server's own name, where it isn't set."""
POINTING = "pointing.example"
"""A domain whose MX records name this server, since its owner, a stranger, wrote them so."""
_SEARCHES = ("lsearch", "wildlsearch", "nwildlsearch", "iplsearch")
_DEEPEST = 16
_KEY = re.compile(r'(?:"(?P<quoted>[^"]+)"|(?P<plain>[^\s:#"][^\s:]*(?:::?[^\s:]+)*))')
"""At a line's beginning; a colon within a key is one of an IPv6 address."""


@dataclass(frozen=True, slots=True)
class Listed:
    """Whether a value is in a list, and which part says so."""

    holds: bool
    item: str = ""
    position: Position | None = None
    """Of the named list that holds the item; nothing where the item stands in the condition itself."""
    name: str = ""
    gap: Gap | None = None
    """Set if nobody knows."""
    is_broken: bool = False
    """Whether Exim can't tell either, and puts him off."""


@dataclass(slots=True)
class Lists:
    """The lists of a configuration, for one stranger's expansion."""

    config: Config
    setup: Setup
    expand: Callable[[str], str]

    def find(self, kind: str, value: Placed, what: str, name: str = "", depth: int = 0) -> Listed:
        """Whether ``what`` is in the list; for hosts ``what`` is an address, and ``name`` its verified name."""
        try:
            items = list(split(self.expand(value.text)))
        except ForcedError:
            return Listed(holds=False)
        except UnknownError as error:
            return Listed(holds=False, gap=self._gap(GapKind.NOT_EVALUATED, str(error), value.position))
        gap: Gap | None = None
        item = ""
        for item in self._read(items, value.position):
            found = self._of(kind, item.lstrip("! "), what, name, value.position, depth)
            if found.is_broken:
                return found
            if found.gap is not None:
                gap = gap or found.gap
            elif found.holds:
                if item.startswith("!"):
                    return Listed(holds=False, gap=gap)
                return Listed(True, found.item, found.position, found.name, gap)
        return Listed(holds=item.startswith("!"), item=item, gap=gap)

    def _of(
        self, kind: str, item: str, what: str, name: str, position: Position | None, depth: int
    ) -> Listed:
        if item.startswith("+"):
            return self._named(kind, item[1:].strip(), what, name, depth)
        if item.startswith("^"):
            return self._searched(kind, item, what, name, position)
        if ";" in item or item.startswith("@@"):
            return self._looked_up(kind, item, what, name, position)
        if kind == "address":
            return self._mailbox(item, what, position, depth)
        holds = _is_host(item, what, name) if kind == "host" else _is_domain(item, what, self.primary)
        return Listed(holds=holds, item=item)

    @property
    def primary(self) -> str:
        """The server's own name."""
        option = self.config.options.get("primary_hostname")
        return option.text.lower() if option else PRIMARY

    def _named(self, kind: str, name: str, what: str, verified: str, depth: int) -> Listed:
        value = self.config.lists.get((kind, name))
        if name in {"include_unknown", "ignore_unknown", "include_defer", "ignore_defer", "caseful"}:
            return Listed(holds=False)
        if value is None or depth > _DEEPEST:
            return Listed(holds=False, is_broken=True)
        found = self.find(kind, value, what, verified, depth + 1)
        if found.position is None and found.holds:
            return Listed(True, found.item, value.position, f"{kind}list {name} = {value.text}", found.gap)
        return found

    def _searched(self, kind: str, item: str, what: str, name: str, position: Position | None) -> Listed:
        try:
            holds = pattern(item, "", is_pcre=True).holds(name if kind == "host" else what)
        except NotEvaluatedError as error:
            return Listed(holds=False, gap=self._gap(GapKind.NOT_EVALUATED, f"{item}: {error}", position))
        return Listed(holds=holds, item=item)

    def _looked_up(self, kind: str, item: str, what: str, name: str, position: Position | None) -> Listed:
        """By the client's address only where the search says so (``net-``, iplsearch), otherwise by its name."""
        search, _, file = item.partition(";")
        by_address = search.strip().startswith(("net-", "iplsearch"))
        search = search.strip().removeprefix("net-").partition(",")[0]
        default = search.endswith("*")
        search = search.rstrip("*@")
        if search not in _SEARCHES:
            return Listed(holds=False, gap=self._gap(GapKind.EXTERNAL, item, position))
        keys = self._keys(file.strip(), position)
        if isinstance(keys, Gap):
            return Listed(holds=False, gap=keys)
        if kind == "host":
            holds = any(_is_host(key, what, "") if by_address else _is_host(key, "", name) for key in keys)
            holds = holds or (default and "*" in keys)
        elif search == "lsearch":
            holds = what.lower() in map(str.lower, keys) or (default and "*" in keys)
        else:
            holds = any(_is_domain(key, what, self.primary) for key in keys if not key.startswith("^"))
        return Listed(holds=holds, item=item)

    def _keys(self, file: str, position: Position | None) -> list[str] | Gap:
        """The keys of a file that is searched line by line."""
        source = self.setup.read(file, position)
        if source is None:
            gap = Gap(GapKind.MISSING, file, position)
            self.setup.set_aside(gap)
            return gap
        found = (_KEY.match(line) for line in source.lines)
        return [key["quoted"] or key["plain"] for key in found if key is not None]

    def _mailbox(self, item: str, what: str, position: Position | None, depth: int) -> Listed:
        if not item:
            return Listed(holds=not what, item="(empty)")
        local, at, domain = what.rpartition("@")
        if not what:
            return Listed(holds=False)  # a star isn't the null reverse-path
        if "@" not in item:
            return self._of("domain", item, domain, "", position, depth)
        wanted, _, where = item.rpartition("@")
        if wanted.startswith("*"):
            is_local = local.lower().endswith(wanted[1:].lower())
        else:
            is_local = local.lower() == wanted.lower()
        if not is_local or not at:
            return Listed(holds=False)
        return self._of("domain", where or PRIMARY, domain, "", position, depth)

    def _read(self, items: list[str], position: Position | None) -> Iterator[str]:
        """The items; files that stand for their lines are read in their place."""
        for item in items:
            bare = item.lstrip("! ")
            if not bare.startswith("/"):
                yield item
                continue
            source = self.setup.read(bare, position)
            for line in source.lines if source is not None else ():
                said = line.split("#")[0].strip()
                if said:
                    yield f"!{said}" if item.startswith("!") else said

    def _gap(self, kind: GapKind, subject: str, position: Position | None) -> Gap:
        gap = Gap(kind, subject[:200], position)
        self.setup.set_aside(gap)
        return gap

    def addresses(self, value: Placed, depth: int = 0) -> AddressSet:
        """The addresses of a host list that can be read."""
        result = AddressSet()
        try:
            items = list(self._read(list(split(self.expand(value.text))), value.position))
        except (ForcedError, UnknownError):
            return result
        for negated, group in groupby(reversed(items), key=lambda item: item.startswith("!")):
            its = self._union([item.lstrip("! ") for item in group], depth)
            result = result - its if negated else result | its
        return result

    def _union(self, items: list[str], depth: int) -> AddressSet:
        result = AddressSet()
        networks: list[str] = []
        for item in items:
            if item == "*":
                result = AddressSet.everything()
            elif item == "@[]":
                result |= LOOPBACK
            elif item.startswith("+"):
                value = self.config.lists.get(("host", item[1:].strip()))
                if value is not None and depth < _DEEPEST:
                    result |= self.addresses(value, depth + 1)
            elif _is_network(item.strip("[]")):
                networks.append(item.strip("[]"))
        return result | AddressSet.of(networks)

    def literals(self, kind: str, value: Placed, depth: int = 0) -> Iterator[str]:
        """The items of a list and of those that it names, without signs."""
        try:
            items = list(self._read(list(split(self.expand(value.text))), value.position))
        except (ForcedError, UnknownError):
            return
        for signed in items:
            item = signed.lstrip("! ")
            if item.startswith("+"):
                inner = self.config.lists.get((kind, item[1:].strip()))
                if inner is not None and depth < _DEEPEST:
                    yield from self.literals(kind, inner, depth + 1)
            else:
                search, _, file = item.partition(";")
                keys = self._keys(file.strip(), value.position) if "lsearch" in search else [item]
                yield from () if isinstance(keys, Gap) else keys


def split(text: str) -> Iterator[str]:
    """The items of a list: between colons, a double one being one colon, or what ``<`` names instead."""
    text = text.strip()
    sign = ":"
    if text.startswith("<") and len(text) > 1 and not text[1].isalnum():
        sign, text = text[1], text[2:]
    hidden = text.replace(sign * 2, "\0")
    for item in hidden.split(sign) if hidden.strip() else ():
        yield item.replace("\0", sign).strip()


def _is_network(text: str) -> bool:
    try:
        ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def _is_host(item: str, address: str, name: str) -> bool:
    if item in {"*", ""}:
        return item == "*"
    if item == "@[]":
        return bool(address) and ip_address(address) in LOOPBACK
    try:
        return ip_address(address) in ip_network(item.strip("[]"), strict=False)
    except ValueError:
        pass
    if item.startswith("*"):
        return name.lower().endswith(item[1:].lower())
    return bool(name) and name.lower() == item.lower()


def _is_domain(item: str, domain: str, primary: str) -> bool:
    domain, item = domain.lower(), item.lower()
    if item == "@":
        return domain in {primary, PRIMARY}
    if item.startswith("@mx_"):
        return domain == POINTING
    if item == "@[]":
        return domain.startswith("[127.")
    if item.startswith("*"):
        return domain.endswith(item[1:])
    return bool(item) and domain == item


def expression_of(item: str) -> Pattern | None:
    """An item's expression, if it is one that can be read."""
    try:
        return pattern(item, "", is_pcre=True) if item.startswith("^") else None
    except NotEvaluatedError:
        return None
