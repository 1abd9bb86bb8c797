"""One target as a person writes it, read into a frozen value.

===================================  ==========================================
``192.0.2.7``, ``2001:db8::7``       an address
``mail.example.org``                 a name
``mx:example.org``                   the mail exchangers of a domain
``192.0.2.0/24``, ``2001:db8::/120`` a network
``192.0.2.1-192.0.2.20``, ``…-20``   a range
===================================  ==========================================

Each may be followed by ``:port``; what has colons of its own stands in brackets then, ``[2001:db8::7]:587``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
    summarize_address_range,
)
from itertools import islice

import idna

from relaywatch.model.places import Address, parse_address

from .reserved import leads_elsewhere, why_no_host

HOSTS_LIMIT = 2**24
"""Addresses in one network or range: an IPv4 /8, an IPv6 /104. More is a slip of the pen."""

_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_NUMERIC = re.compile(r"[0-9.]+(\s*-\s*[0-9.]+)?")
_BRACKETED = re.compile(r"\[([^\[\]]+)\](?::(.*))?", re.DOTALL)


class TargetKind(StrEnum):
    """What a target's text says."""

    ADDRESS = "address"
    NAME = "name"
    MX = "mx"
    NETWORK = "network"
    RANGE = "range"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where something stands: the file's name, ``-`` for standard input, empty for the command line."""

    source: str = ""
    line: int = 0

    def __str__(self) -> str:
        place = {"": "command line", "-": "standard input"}.get(self.source, self.source)
        return f"{place}:{self.line}" if self.line else place


@dataclass(frozen=True, slots=True)
class Span:
    """All addresses from the first to the last, of one family."""

    first: Address
    last: Address

    @property
    def count(self) -> int:
        """How many they are; not ``len``, which can't tell numbers as big as IPv6's."""
        return int(self.last) - int(self.first) + 1

    def __iter__(self) -> Iterator[Address]:
        """Each address, network and broadcast addresses among them: what those are only the owner knows."""
        make = type(self.first)
        return (make(number) for number in range(int(self.first), int(self.last) + 1))

    def __contains__(self, address: Address) -> bool:
        return self.first.version == address.version and int(self.first) <= int(address) <= int(self.last)

    def __str__(self) -> str:
        """As one address, one network, or a range."""
        if self.first == self.last:
            return str(self.first)
        networks = list(islice(self.networks(), 2))
        return str(networks[0]) if len(networks) == 1 else f"{self.first}-{self.last}"

    def networks(self) -> Iterator[IPv4Network | IPv6Network]:
        """The fewest networks that make it up, in order."""
        return summarize_address_range(self.first, self.last)

    def part(self, first: int, last: int) -> Span:
        """The addresses of these numbers, in the same family."""
        make = type(self.first)
        return Span(make(first), make(last))

    def cut_at(self, edges: Iterable[int]) -> Iterator[Span]:
        """The pieces that it falls into if it is cut before each address of these numbers."""
        begin = int(self.first)
        for edge in sorted(set(edges)):
            if begin < edge <= int(self.last):
                yield self.part(begin, edge - 1)
                begin = edge
        yield self.part(begin, int(self.last))


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What is to be checked.

    ``text`` is the canonical form, the same for every way of writing the same target. An address has
    ``address`` (and ``name`` where the list told one), a name and a domain whose MX is meant have
    ``name`` as an A-label, a network or range has ``span``.
    """

    text: str
    kind: TargetKind
    address: Address | None = None
    name: str | None = None
    span: Span | None = None
    port: int | None = None
    origin: Origin = Origin()

    @property
    def count(self) -> int:
        """How many targets `hosts` gives."""
        return self.span.count if self.span else 1

    @property
    def addresses(self) -> Span:
        """The span of an address, a network or a range.

        :raises ValueError: if it is a name: where that leads isn't known here.
        """
        if self.span is not None:
            return self.span
        if self.address is None:
            raise ValueError("a name has no addresses of its own")
        return Span(self.address, self.address)

    def hosts(self) -> Iterator[Target]:
        """The targets that are checked one by one, made as they are asked for; a name is itself."""
        if self.span is None:
            yield self
            return
        for address in self.span:
            yield address_target(address, self.port, self.origin)


def parse_target(text: str, origin: Origin = Origin()) -> Target:
    """Read a target.

    :raises ValueError: if it is none; the message says why, and quotes nothing of it.
    """
    host, port = _split_port(text.strip())
    if not host:
        raise ValueError("empty target")
    if host[:3].lower() == "mx:":
        name = parse_name(host[3:])
        return Target(
            text=_with_port(f"mx:{name}", port), kind=TargetKind.MX, name=name, port=port, origin=origin
        )
    if ":" in host or "/" in host or _NUMERIC.fullmatch(host):
        return _span_target(host, port, origin)
    name = parse_name(host)
    return Target(text=_with_port(name, port), kind=TargetKind.NAME, name=name, port=port, origin=origin)


def address_target(address: Address, port: int | None = None, origin: Origin = Origin()) -> Target:
    """Make the target that is one address."""
    text = _with_port(str(address), port)
    return Target(text=text, kind=TargetKind.ADDRESS, address=address, port=port, origin=origin)


def parse_name(text: str) -> str:
    """Read a host or domain name, and give it in lower case, as A-labels (RFC 5890), without a final dot.

    :raises ValueError: if it is none.
    """
    name = text.removesuffix(".")
    if not name.isascii():
        name = _to_a_labels(name)
    name = name.lower()
    labels = name.split(".")
    if not all(_LABEL.fullmatch(label) for label in labels) or len(name) > 253:
        raise ValueError("neither an address nor a name")
    if labels[-1].isdigit():
        raise ValueError("not an address, and no name ends in a number")  # RFC 3696 section 2
    return name


def parse_span(text: str) -> Span:
    """Read an address, a network or a range.

    :raises ValueError: if it is none of them.
    """
    if "/" in text:
        return _parse_network(text)
    first, dash, last = text.partition("-")
    if dash:
        return _parse_range(first.strip(), last.strip())
    address = _parse_address(first)
    return Span(address, address)


def _span_target(host: str, port: int | None, origin: Origin) -> Target:
    span = parse_span(host)
    if what := why_no_host(span.first, span.last):
        raise ValueError(f"no host has such an address: {what}")
    if span.count > HOSTS_LIMIT:
        raise ValueError(f"more than {HOSTS_LIMIT:,} addresses; cut it into parts")
    if span.count > 1 and leads_elsewhere(span.first, span.last):
        raise ValueError("holds addresses that lead to IPv4 hosts; name those by their IPv4 addresses")
    if "/" not in host and "-" not in host:
        return address_target(span.first, port, origin)
    kind = TargetKind.NETWORK if "/" in host else TargetKind.RANGE
    text = str(_network(host)) if "/" in host else f"{span.first}-{span.last}"
    return Target(text=_with_port(text, port), kind=kind, span=span, port=port, origin=origin)


def _with_port(text: str, port: int | None) -> str:
    if port is None:
        return text
    has_colons = ":" in text.removeprefix("mx:")
    return f"[{text}]:{port}" if has_colons else f"{text}:{port}"


def _split_port(text: str) -> tuple[str, int | None]:
    if match := _BRACKETED.fullmatch(text):
        host, port = match.groups()
        if ":" not in host:
            raise ValueError("brackets are for IPv6 addresses")
        return host, None if port is None else _parse_port(port)
    scheme, rest = ("mx:", text[3:]) if text[:3].lower() == "mx:" else ("", text)
    if rest.count(":") != 1:
        return text, None
    host, _, port = rest.partition(":")
    return scheme + host, _parse_port(port)


def _parse_port(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) < 65536:
        return int(text)
    raise ValueError("a port is a number from 1 to 65535")


def _parse_address(text: str) -> Address:
    try:
        address = ip_address(text)
    except ValueError:
        raise ValueError("not an address") from None
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        raise ValueError("an address with a zone id means another host on every machine")
    return parse_address(text)


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        raise ValueError("not a network") from None
    mapped = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) else None
    if mapped is not None and network.prefixlen >= 96:
        return IPv4Network((mapped, network.prefixlen - 96))
    return network


def _parse_network(text: str) -> Span:
    network = _network(text)
    if _parse_address(text.partition("/")[0]) != network[0]:
        raise ValueError(f"bits behind the prefix are set; the network is {network}")
    return Span(network[0], network[-1])


def _parse_range(first_text: str, last_text: str) -> Span:
    first = _parse_address(first_text)
    if isinstance(first, IPv4Address) and last_text.isascii() and last_text.isdigit():
        last_text = f"{str(first).rpartition('.')[0]}.{last_text}"
    last = _parse_address(last_text)
    if first.version != last.version:
        raise ValueError("a range has one address family")
    if int(first) > int(last):
        raise ValueError("the range ends before it begins")
    return Span(first, last)


def _to_a_labels(name: str) -> str:
    try:
        return idna.encode(name, uts46=True).decode("ascii")
    except idna.IDNAError:
        raise ValueError("no internationalised name (RFC 5891)") from None
