"""What the DNS tells of a host beside where it is."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from relaywatch.engine.resolve import ResolveError, Resolver

from .hosts import Host


@dataclass(frozen=True, slots=True, kw_only=True)
class Lore:
    """What the DNS tells of a host."""

    names: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()


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
    names = tuple(dict.fromkeys([*([host.name] if host.name else []), *host.hints, *pointers]))
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
