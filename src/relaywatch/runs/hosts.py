"""Hosts: what a list's entries come to, and when two entries mean the same one."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from ipaddress import ip_address
from itertools import chain, pairwise
from typing import TypeVar

from relaywatch.model.places import Address, embedded_ipv4
from relaywatch.targets.parse import Span, Target, address_target

T = TypeVar("T")

USUAL = (None,)
"""The usual ports, where no entry names one."""

Place = tuple[Address, int | None]
"""An address; with a port where each port may be another server's."""

_LOCALHOST = frozenset({ip_address("127.0.0.1"), ip_address("::1")})


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """One host to check: its addresses, and all that the list and the DNS say of it."""

    target: Target
    addresses: tuple[Address, ...]
    ports: tuple[int | None, ...] = USUAL
    """The ports that entries name; ``None`` stands for the usual ones."""
    name: str | None = None
    """What it is called, by its list or by the name that led to it."""
    hints: tuple[str, ...] = ()
    """Further names that were said to be its."""
    leads: tuple[tuple[str, Address], ...] = ()
    """Names that the DNS resolved, each with an address that it gave: these alone count for permission."""
    local_domains: tuple[str, ...] = ()

    @property
    def address(self) -> Address:
        """The address that stands for the host."""
        return self.addresses[0]

    @property
    def places(self) -> tuple[Place, ...]:
        """Where it is."""
        return tuple(place_of(address, self.ports[0]) for address in self.addresses)

    def names_of(self, address: Address) -> tuple[str, ...]:
        """The names that the DNS leads from to this address."""
        return tuple(name for name, where in self.leads if where == address)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostRange:
    """The addresses of a network or range, each of which is a host."""

    target: Target
    span: Span
    ports: tuple[int | None, ...] = USUAL

    def hosts(self, span: Span) -> Iterator[Host]:
        """The hosts of a part of it, made as they are asked for."""
        for address in span:
            target = address_target(address, self.target.port, self.target.origin)
            yield Host(target=target, addresses=(address,), ports=self.ports)


def place_of(address: Address, port: int | None) -> Place:
    """The place that an address and a port name.

    An address is one host, whatever its ports, and the same as one that leads to it by translation. Only at 127.0.0.1 and ::1 is each port a place of its own:
    there the ports of containers, of forwardings and of the demonstration's servers lie.
    """
    return embedded_ipv4(address) or address, port if address in _LOCALHOST else None


def merge(hosts: Iterable[Host]) -> list[Host]:
    """Make one of those that share a place, in the order of the first of each."""
    groups: dict[int, Host] = {}
    at_place: dict[Place, int] = {}
    for number, host in enumerate(hosts):
        shared = sorted({at_place[place] for place in host.places if place in at_place})
        for other in reversed(shared):
            host = _merged(groups.pop(other), host)  # noqa: PLW2901 -- it grows
        first = shared[0] if shared else number
        groups[first] = host
        at_place.update(dict.fromkeys(host.places, first))
    return [groups[first] for first in sorted(groups)]


def _merged(one: Host, other: Host) -> Host:
    return replace(
        one,
        addresses=_joined(one.addresses, other.addresses),
        ports=_joined(one.ports, other.ports),
        name=one.name or other.name,
        hints=_joined(one.hints, (other.name,) if other.name else (), other.hints),
        leads=_joined(one.leads, other.leads),
        local_domains=_joined(one.local_domains, other.local_domains),
    )


def absorb(ranges: Iterable[HostRange], hosts: Iterable[Host]) -> tuple[list[HostRange], list[Host]]:
    """Take the hosts that stand for themselves out of the ranges, and give each the ports of its range.

    Ranges that overlap are cut into pieces that don't, each with the ports of all that hold it.
    """
    rest: list[HostRange] = []
    grown = list(hosts)
    known = {place: number for number, host in enumerate(grown) for place in host.places}
    ordered = sorted(known, key=_by_number)
    for piece in _disjoint(list(ranges)):
        inside = _places_within(piece, ordered)
        for number in {known[place] for place in inside}:
            grown[number] = replace(grown[number], ports=_joined(grown[number].ports, piece.ports))
        spans = _without(piece.span, [int(address) for address, _ in inside])
        rest += (replace(piece, span=span) for span in spans)
    return rest, grown


def _by_number(place: Place) -> tuple[int, int]:
    return place[0].version, int(place[0])


def _places_within(piece: HostRange, ordered: list[Place]) -> list[Place]:
    begin = bisect_left(ordered, _by_number((piece.span.first, None)), key=_by_number)
    end = bisect_right(ordered, _by_number((piece.span.last, None)), key=_by_number)
    return [place for place in ordered[begin:end] if place == place_of(place[0], piece.ports[0])]


def _without(span: Span, numbers: Iterable[int]) -> Iterator[Span]:
    begin, last = int(span.first), int(span.last)
    for number in numbers:
        if begin < number:
            yield span.part(begin, number - 1)
        begin = number + 1
    if begin <= last:
        yield span.part(begin, last)


def _disjoint(ranges: list[HostRange]) -> list[HostRange]:
    pieces = [piece for version in (4, 6) for piece in _swept(ranges, version)]
    return [piece for _, piece in sorted(pieces, key=lambda item: (item[0], int(item[1].span.first)))]


def _swept(ranges: list[HostRange], version: int) -> Iterator[tuple[int, HostRange]]:
    """Each piece between neighbouring edges that some range holds, with the number of the first that does."""
    changes: defaultdict[int, list[int]] = defaultdict(list)
    for number, one in enumerate(ranges):
        if one.span.first.version == version:
            changes[int(one.span.first)].append(number)
            changes[int(one.span.last) + 1].append(number)
    holding: set[int] = set()
    for begin, behind in pairwise(sorted(changes)):
        for number in changes[begin]:
            holding ^= {number}
        if holding:
            first, *others = (ranges[number] for number in sorted(holding))
            ports = _joined(first.ports, *(one.ports for one in others))
            yield min(holding), replace(first, span=first.span.part(begin, behind - 1), ports=ports)


def _joined(*parts: tuple[T, ...]) -> tuple[T, ...]:
    return tuple(dict.fromkeys(chain.from_iterable(parts)))
