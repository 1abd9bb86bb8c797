"""Names and addresses: A, AAAA, PTR, MX, and the host table."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from pathlib import Path
from typing import Any

import dns.asyncresolver
import dns.exception
import dns.name
import dns.nameserver
import dns.rdatatype
import dns.resolver
import dns.reversename

from relaywatch.model.errors import RelaywatchError
from relaywatch.model.places import Address, Endpoint, parse_address
from relaywatch.wire.hostnames import plausible_host_name

_HOST_TABLE = Path("/etc/hosts")
_CACHED_ANSWERS = 50_000
_MAX_RECORDS = 50
"""More mail exchangers, or addresses, than anybody honest has."""


class ResolveError(RelaywatchError):
    """A name could not be resolved."""


class NameNotFoundError(ResolveError):
    """There is no such name (NXDOMAIN)."""


class NoRecordError(ResolveError):
    """The name is there and has no such record."""


class ResolveTimeoutError(ResolveError):
    """No name server answered in time."""


class ResolverFailedError(ResolveError):
    """The name servers answered with a failure (SERVFAIL, REFUSED) or with rubbish."""


class Resolver:
    """Asks the DNS, after the host table, as an absolute name; a search list would guess at targets.

    ``nameservers`` are asked instead of the system's. Times are in seconds: ``lifetime`` for an answer,
    ``timeout`` for each server asked. Answers are cached for as long as they say.
    """

    def __init__(
        self,
        nameservers: Sequence[Endpoint] = (),
        *,
        timeout: float = 2.0,
        lifetime: float = 6.0,
        concurrency: int = 100,
        hosts: Mapping[str, Sequence[Address]] | None = None,
    ) -> None:
        self._resolver = _resolver(nameservers)
        self._resolver.timeout, self._resolver.lifetime = timeout, lifetime
        self._resolver.cache = dns.resolver.LRUCache(_CACHED_ANSWERS)
        self._room = asyncio.Semaphore(concurrency)
        self._hosts = read_host_table(_HOST_TABLE) if hosts is None else hosts

    async def addresses(self, name: str) -> tuple[Address, ...]:
        """The addresses of a name in their order, IPv4 first, since name servers shuffle them.

        A failure to find out about IPv6 is passed over where there is an IPv4 address: many name
        servers have never learnt to answer AAAA.

        :raises ResolveError: by its class why there are none.
        """
        known = self._known(name)
        if known:
            return known
        four, six = await asyncio.gather(
            self._try(name, dns.rdatatype.A), self._try(name, dns.rdatatype.AAAA)
        )
        if isinstance(six, ResolveError):
            if isinstance(four, ResolveError):
                raise _graver(four, six)
            six = []
        elif isinstance(four, ResolveError):
            if not isinstance(four, NoRecordError):
                raise four
            four = []
        found = {parse_address(record.address) for record in (four + six)[:_MAX_RECORDS]}
        return tuple(sorted(found, key=lambda address: (address.version, int(address))))

    async def pointer(self, address: Address) -> tuple[str, ...]:
        """The names that the address's PTR records give; none if it has none.

        :raises ResolveTimeoutError: if no name server answered.
        :raises ResolverFailedError: if they failed.
        """
        try:
            records = await self._ask(dns.reversename.from_address(str(address)), dns.rdatatype.PTR)
        except (NameNotFoundError, NoRecordError):
            return ()
        names = (plausible_host_name(record.target.to_text()) for record in records[:_MAX_RECORDS])
        return tuple(sorted({name for name in names if name}))

    async def exchanges(self, domain: str) -> tuple[str, ...]:
        """The domain's mail exchangers in the order in which to try them (RFC 5321 section 5.1).

        A domain without MX is its own exchanger; one with a null MX (RFC 7505) has none.

        :raises ResolveError: by its class why they can't be told.
        """
        if _is_localhost(domain):
            return (domain.lower().removesuffix("."),)
        try:
            records = await self._ask(domain, dns.rdatatype.MX)
        except NoRecordError:
            return (domain.lower().removesuffix("."),)
        ranked = sorted((record.preference, record.exchange.to_text().lower()) for record in records)
        names = (plausible_host_name(exchange) for _preference, exchange in ranked[:_MAX_RECORDS])
        return tuple(dict.fromkeys(name for name in names if name))

    def _known(self, name: str) -> tuple[Address, ...]:
        host = name.lower().removesuffix(".")
        if _is_localhost(host):
            # RFC 6761 section 6.3: both loopbacks, whatever the host table leaves out.
            return (parse_address("127.0.0.1"), parse_address("::1"))
        return tuple(self._hosts.get(host, ()))

    async def _try(self, name: str, kind: dns.rdatatype.RdataType) -> list[Any] | ResolveError:
        try:
            return await self._ask(name, kind)
        except ResolveError as failure:
            return failure

    async def _ask(self, name: str | dns.name.Name, kind: dns.rdatatype.RdataType) -> list[Any]:
        async with self._room:
            return list(await _translated(name, self._resolver.resolve(name, kind, search=False)))


async def _translated(name: object, answer: Awaitable[dns.resolver.Answer]) -> dns.resolver.Answer:
    try:
        return await answer
    except dns.resolver.NXDOMAIN as failure:
        raise NameNotFoundError(f"{name}: no such name") from failure
    except dns.resolver.NoAnswer as failure:
        raise NoRecordError(f"{name}: no such record") from failure
    except dns.exception.Timeout as failure:
        raise ResolveTimeoutError(f"{name}: no answer in time") from failure
    except (dns.name.EmptyLabel, dns.name.LabelTooLong, dns.name.NameTooLong, dns.name.BadEscape) as failure:
        raise NameNotFoundError(f"{name}: not a name") from failure
    except (dns.exception.DNSException, OSError, EOFError) as failure:
        raise ResolverFailedError(f"{name}: the name servers failed") from failure


def _is_localhost(name: str) -> bool:
    """Whether a name is one that RFC 6761 section 6.3 keeps on this machine, and from the DNS."""
    host = name.lower().removesuffix(".")
    return host == "localhost" or host.endswith(".localhost")


def read_host_table(path: Path) -> dict[str, tuple[Address, ...]]:
    """Read names and their addresses from a file in the format of hosts(5); bad lines are passed over."""
    table: dict[str, tuple[Address, ...]] = {}
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return table
    for line in lines:
        address_text, *names = line.partition("#")[0].split() or [""]
        try:
            address = parse_address(address_text)
        except ValueError:
            continue
        for name in names:
            table[name.lower()] = (*table.get(name.lower(), ()), address)
    return table


def _resolver(nameservers: Sequence[Endpoint]) -> dns.asyncresolver.Resolver:
    if not nameservers:
        try:
            return dns.asyncresolver.Resolver()
        except dns.resolver.NoResolverConfiguration:
            pass  # whoever checks addresses needs none; names fail when they are asked for
    resolver = dns.asyncresolver.Resolver(configure=False)
    resolver.nameservers = [
        dns.nameserver.Do53Nameserver(str(server.address), server.port) for server in nameservers
    ]
    return resolver


def _graver(first: ResolveError, second: ResolveError) -> ResolveError:
    """Of two failures, the one that leaves more open: an absence is told only where both are sure of it."""
    return second if isinstance(first, NameNotFoundError | NoRecordError) else first
