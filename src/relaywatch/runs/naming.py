"""From entries of a list to hosts: names and MX resolved, and those that are one host put together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from itertools import islice, zip_longest

from relaywatch.engine.resolve import ResolveError, Resolver
from relaywatch.model.places import Address
from relaywatch.targets.lists import BadTarget, Entry
from relaywatch.targets.parse import Target, TargetKind

from .feeding import Bounds, read_in_batches
from .hosts import Host, HostRange, absorb, merge

_AT_ONCE = 200
"""Names that are resolved at a time."""
_NAMES_TOGETHER = 5_000
"""Names whose hosts are waited for before the first of them is checked."""
_NAMED = frozenset({TargetKind.NAME, TargetKind.MX})


@dataclass(frozen=True, slots=True, kw_only=True)
class Unresolved:
    """A name that led nowhere."""

    target: Target
    reason: str


Named = Host | HostRange | Unresolved | BadTarget


async def find_hosts(
    entries: Iterable[Entry], resolver: Resolver, bounds: Bounds | None = None
) -> AsyncGenerator[list[Named], None]:
    """Give the hosts that the entries name, by the batch, each once for all entries that come together.

    Entries are looked at by the batch (`Bounds`): a list of usual length is one batch, and of a pipe
    whatever has come. Within it names are resolved first, and what leads to one address is one host, with
    all ports that were listed for it and all domains that it serves: the backup MX of another listed
    domain is asked about that domain too. They come in the list's order, each where it stands first.
    """
    async with aclosing(read_in_batches(entries, bounds)) as batches:
        async for batch in batches:
            for part in _parts(batch):
                yield await _find_in(part, resolver)


def _parts(batch: Iterable[Entry]) -> Iterator[list[Entry]]:
    """Cut a batch that has more names than should be waited for."""
    part: list[Entry] = []
    names = 0
    for entry in batch:
        part.append(entry)
        names += isinstance(entry, Target) and entry.kind in _NAMED
        if names == _NAMES_TOGETHER:
            yield part
            part, names = [], 0
    if part:
        yield part


async def _find_in(entries: list[Entry], resolver: Resolver) -> list[Named]:
    targets = [entry for entry in entries if isinstance(entry, Target)]
    found = await _look_up_all(targets, resolver)
    # Tens of thousands take a moment, in which attempts under way must not stand still.
    ranges, hosts = await asyncio.to_thread(_put_together, targets, found)
    named: list[Named] = [entry for entry in entries if isinstance(entry, BadTarget)]
    named += [one for one in found if isinstance(one, Unresolved)]
    place = {id(entry): number for number, entry in enumerate(entries)}
    return sorted([*named, *hosts, *ranges], key=lambda one: place[id(_entry_of(one))])


def _entry_of(named: Named) -> Entry:
    return named if isinstance(named, BadTarget) else named.target


def _put_together(
    targets: Iterable[Target], found: Iterable[Host | Unresolved]
) -> tuple[list[HostRange], list[Host]]:
    ranges = [
        HostRange(target=target, span=target.span, ports=(target.port,))
        for target in targets
        if target.span is not None
    ]
    return absorb(ranges, merge(one for one in found if isinstance(one, Host)))


async def _look_up_all(targets: list[Target], resolver: Resolver) -> list[Host | Unresolved]:
    """Make hosts of addresses and names, in their order; networks are left out."""
    found: list[Host | Unresolved] = []
    named = (target for target in targets if target.kind in _NAMED)
    led = {id(target): results async for target, results in _resolved(named, resolver)}
    for target in targets:
        if target.address is not None:
            found.append(
                Host(target=target, addresses=(target.address,), ports=(target.port,), name=target.name)
            )
        found += led.get(id(target), ())
    return found


async def _resolved(
    named: Iterator[Target], resolver: Resolver
) -> AsyncIterator[tuple[Target, list[Host | Unresolved]]]:
    while together := list(islice(named, _AT_ONCE)):
        results = await asyncio.gather(*(_look_up(target, resolver) for target in together))
        for pair in zip(together, results, strict=True):
            yield pair


async def _look_up(target: Target, resolver: Resolver) -> list[Host | Unresolved]:
    name = target.name or ""
    if target.kind is TargetKind.NAME:
        return await _hosts_of(target, name, resolver)
    try:
        exchanges = await resolver.exchanges(name)
    except ResolveError as error:
        return [Unresolved(target=target, reason=str(error))]
    if not exchanges:
        return [Unresolved(target=target, reason="its MX says that it takes no mail (RFC 7505)")]
    results = await asyncio.gather(*(_hosts_of(target, exchange, resolver, name) for exchange in exchanges))
    return [host for hosts in results for host in hosts]


async def _hosts_of(
    target: Target, name: str, resolver: Resolver, domain: str | None = None
) -> list[Host | Unresolved]:
    try:
        addresses = await resolver.addresses(name)
    except ResolveError as error:
        return [Unresolved(target=target, reason=str(error))]
    return [
        Host(
            target=target,
            addresses=pair,
            ports=(target.port,),
            name=name,
            leads=tuple((name, address) for address in pair),
            local_domains=(domain,) if domain else (),
        )
        for pair in pair_families(addresses)
    ]


def pair_families(addresses: Iterable[Address]) -> list[tuple[Address, ...]]:
    """Put a name's addresses into hosts: the first IPv4 with the first IPv6, and so on.

    That they are one host is a guess, and the usual case; a difference between the two is a finding.
    """
    listed = tuple(addresses)
    four = [address for address in listed if address.version == 4]
    six = [address for address in listed if address.version == 6]
    return [tuple(address for address in pair if address) for pair in zip_longest(four, six)]
