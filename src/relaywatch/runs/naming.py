"""From entries of a list to hosts: names and MX resolved, and what else is known of each host."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field, replace
from itertools import zip_longest

from relaywatch.engine.resolve import ResolveError, Resolver
from relaywatch.model.places import Address
from relaywatch.targets.lists import BadTarget, Entry
from relaywatch.targets.parse import Target, TargetKind

_AT_ONCE = 200
"""Names that are resolved together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """One host to check: an address, with its other family's address where a name gave both."""

    target: Target
    addresses: tuple[Address, ...]
    name: str | None = None
    local_domains: tuple[str, ...] = ()

    @property
    def address(self) -> Address:
        """The address that stands for the host."""
        return self.addresses[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unresolved:
    """A name that led nowhere."""

    target: Target
    reason: str


Named = Host | Unresolved | BadTarget


async def find_hosts(entries: Iterable[Entry], resolver: Resolver) -> AsyncIterator[Named]:
    """Give the hosts that the entries name.

    Addresses come at once, in the list's order. Names and domains come after them, together, since
    several may lead to one host, which is then checked once, with all the domains that it serves: the
    backup MX of another listed domain is asked about that domain too.
    """
    named: list[Target] = []
    for entry in entries:
        if isinstance(entry, BadTarget):
            yield entry
        elif entry.kind in {TargetKind.NAME, TargetKind.MX}:
            named.append(entry)
        else:
            for target in entry.hosts():
                if target.address is not None:
                    yield Host(target=target, addresses=(target.address,), name=target.name)
    for one in await _look_up_all(named, resolver):
        yield one


async def _look_up_all(named: list[Target], resolver: Resolver) -> list[Host | Unresolved]:
    """Resolve all names; those that lead to one host become one."""
    failed: list[Unresolved] = []
    found: dict[tuple[tuple[Address, ...], int | None], Host] = {}
    for start in range(0, len(named), _AT_ONCE):
        together = named[start : start + _AT_ONCE]
        for results in await asyncio.gather(*(_look_up(target, resolver) for target in together)):
            for result in results:
                if isinstance(result, Unresolved):
                    failed.append(result)
                    continue
                key = (result.addresses, result.target.port)
                found[key] = _merged(found[key], result) if key in found else result
    return [*failed, *found.values()]


def _merged(one: Host, other: Host) -> Host:
    domains = dict.fromkeys((*one.local_domains, *other.local_domains))
    return replace(one, name=one.name or other.name, local_domains=tuple(domains))


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
            name=name,
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Lore:
    """What the DNS tells of a host."""

    names: tuple[str, ...] = ()
    domains: tuple[str, ...] = field(default=())


async def gather_lore(host: Host, resolver: Resolver) -> Lore:
    """Ask the DNS what the host is called and which domains' mail it takes.

    A domain counts as hosted if one of its mail exchangers has the host's address; asked are the host's
    name and PTR names and the domains above them. Failures are passed over: this only helps.
    """
    pointers: list[str] = []
    for address in host.addresses:
        try:
            pointers += await resolver.pointer(address)
        except ResolveError:
            continue
    names = tuple(dict.fromkeys([*([host.name] if host.name else []), *pointers]))
    candidates = dict.fromkeys(domain for name in names for domain in (name, _above(name)) if domain)
    served = await asyncio.gather(*(_serves(host, domain, resolver) for domain in candidates))
    domains = [domain for domain, is_served in zip(candidates, served, strict=True) if is_served]
    return Lore(names=names, domains=tuple(domains))


def _above(name: str) -> str:
    _, _, above = name.partition(".")
    return above if "." in above else ""


async def _serves(host: Host, domain: str, resolver: Resolver) -> bool:
    try:
        for exchange in (await resolver.exchanges(domain))[:5]:
            if exchange != domain and set(await resolver.addresses(exchange)) & set(host.addresses):
                return True
    except ResolveError:
        pass
    return False
