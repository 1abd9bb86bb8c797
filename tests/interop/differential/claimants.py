"""Who asks a running server: a stranger with nothing to show, those whom configurations trust, and, for each way
through that the audit names, somebody who claims just what it takes.

Names of strangers and of our sink end in ``.test``, and those that configurations know in ``.example``: nobody meets
a claim by accident. The stranger's addresses are outside of every network that a configuration names.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Collection, Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from relaywatch.audit.addresses import PUBLIC, AddressSet
from relaywatch.audit.claims import Claim, ClaimKind
from relaywatch.audit.strangers import UNNAMED
from relaywatch.model.places import Address, Endpoint
from relaywatch.runs.sandbox import SERVER_NAME
from relaywatch.runs.sandbox_names import Names
from relaywatch.runs.sandbox_network import (
    DNS,
    NEAR,
    SERVER,
    SINK,
    STRANGER,
    family_of,
    furnish_network,
    tool,
)

PARTNER, PARTNER_NAME, OWN = "partner.example", "relay.partner.example", "own.example"
SINK_DOMAIN, SINK_HOST, SECOND, POINTING = "sink.test", "mx.sink.test", "second-sink.test", "pointing.test"
IN_EXAMPLE = "own.example.sink.example"
"""A domain of ours whose name fits what configurations say of their own, carelessly."""
BELOW_EXAMPLE = "sink.example"
STRANGER_NAME = "stranger.test"
ELSEWHERE = (ip_address("130.1.2.3"), ip_address("2a00:db8::1"))
PARTNERS = (ip_address("65.1.2.3"), ip_address("2001:db8:77::77"))
UPSTREAMS = tuple(map(ip_address, ("192.0.2.31", "192.0.2.32", "192.0.2.33", "203.0.113.99")))
"""Web servers that configurations name as their own, with a page each."""
_PAGE_PORTS = (80, 8080)
_PAGE = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\nour page\n"
_RARE = frozenset(
    {ClaimKind.FRONT_END, ClaimKind.PROXY_HEADER, ClaimKind.FIELD, ClaimKind.CERTIFICATE, ClaimKind.DNS}
)
"""Claims that the outside check doesn't make, and nobody here for it."""
_BEYOND_US = re.compile(r" by (?:GET /.|Host, )|:25 by SOCKS udp")
"""Destinations that it doesn't ask for: by a path or a Host of the configuration's own, and our port 25 by UDP."""
_OUT_OF_THE_WAY = AddressSet.of([*NEAR.values(), "203.0.113.0/24", "2001:db8:113::/64", "192.0.2.0/24"])


@dataclass(frozen=True, slots=True)
class Claimant:
    """Somebody who asks: from where, by which HELO, with which domains in reverse-paths, and for whom."""

    name: str
    sources: tuple[Address, Address] = ELSEWHERE
    helo: str = STRANGER_NAME
    domains: tuple[str, ...] = ()
    sink_domain: str = SINK_DOMAIN
    named: str = ""
    """What the DNS calls his address, where it was made up for him."""

    def makes(self, claim: Claim, by_form: Collection[ClaimKind] = ()) -> bool:
        """Whether he claims that, by himself or by the form of the case that got him through."""
        if claim.is_free or claim.kind in by_form:
            return True
        if claim.kind is ClaimKind.CLIENT_ADDRESS:
            return any(source in _networks(claim) for source in self.sources)
        domain = claim.value.rpartition("@")[2]
        own = {
            ClaimKind.HELO: claim.value == self.helo,
            ClaimKind.CLIENT_NAME: claim.value == self.named,
            ClaimKind.REVERSE_PATH: domain in self.domains,
            ClaimKind.FORWARD_PATH: domain == self.sink_domain,
        }
        return own.get(claim.kind, False)


NOBODY = Claimant("a stranger")
NEIGHBOUR = Claimant("a stranger beside our sink", STRANGER)
BY_ADDRESS = Claimant("a partner's address", PARTNERS)
BY_WORD = Claimant("a partner's words", helo=PARTNER_NAME, domains=(PARTNER, OWN))
IN_EXAMPLES = Claimant("for a domain with a familiar name", sink_domain=IN_EXAMPLE)
IN_ALL = Claimant("a partner in all", PARTNERS, PARTNER_NAME, (PARTNER, OWN), BELOW_EXAMPLE)


def known(*, is_mail: bool) -> tuple[Claimant, ...]:
    """All who come to a server of which the audit names no way through: what none is given, no claim gets."""
    return (NEIGHBOUR, BY_ADDRESS, *((BY_WORD,) if is_mail else ()), IN_EXAMPLES, IN_ALL)


@dataclass(slots=True)
class Surroundings:
    """The network and the DNS round the rooms; both grow by whoever comes."""

    names: Names = field(default_factory=Names)
    _made: int = 0

    def furnish(self) -> None:
        """Give this thread's network its addresses, and the DNS its names."""
        furnish_network((*PARTNERS, *ELSEWHERE, *UPSTREAMS))
        # What leads nowhere is told so each time: a proxy that waits for it would keep all others waiting.
        for name in ("ipv4/icmp_ratelimit", "ipv6/icmp/ratelimit"):
            Path("/proc/sys/net", name).write_text("0", encoding="ascii")
        self.names.add_host(STRANGER_NAME, (*ELSEWHERE, *STRANGER))
        self.names.add_host("visitor.test", PARTNERS)
        self.names.add_host(PARTNER_NAME, PARTNERS, has_reverse=False)
        self.names.add_host(SERVER_NAME, SERVER)
        self.names.add_host(SINK_HOST, SINK)
        for domain in (SINK_DOMAIN, SECOND):
            self.names.add_host(domain, SINK, has_reverse=False)
            self.names.add_exchanges(domain, {SINK_HOST: 10})
        self._add_sink(IN_EXAMPLE)
        self._add_sink(BELOW_EXAMPLE)
        self.names.add_exchanges(POINTING, {SINK_HOST: 10, SERVER_NAME: 20})
        self.names.add_exchanges(PARTNER, {PARTNER_NAME: 10})  # nobody takes mail there: it stays
        self.names.add_exchanges(OWN, {SERVER_NAME: 10})

    def somebody(self, claims: Iterable[Claim], texts: Iterable[str]) -> Claimant | None:
        """Who claims that; nobody, where our check doesn't make such claims.

        ``texts`` are the configuration's: a mailbox that stands in it is claimed by its local part too, and ours
        have canaries there.
        """
        asked = [claim for claim in claims if not claim.negated]
        by_kind = {claim.kind: claim.value for claim in asked}
        mailbox = by_kind.get(ClaimKind.REVERSE_PATH, "")
        if _RARE & set(by_kind) or (mailbox and any(mailbox in text for text in texts)):
            return None
        if _BEYOND_US.search(by_kind.get(ClaimKind.DESTINATION, "")):
            return None
        sources = self._sources(list(claims), by_kind.get(ClaimKind.CLIENT_NAME))
        if sources is None:
            return None
        local, _, domain = by_kind.get(ClaimKind.FORWARD_PATH, "").rpartition("@")
        ours, of_theirs = (local.rpartition("%")[2], domain) if "%" in local else (domain, "")
        host = by_kind.get(ClaimKind.DESTINATION, "").partition(":")[0]
        ours = ours or (host if host.endswith(".example") else "")
        if ours:
            self._add_sink(ours)
        domains = [one for one in (mailbox.rpartition("@")[2], of_theirs) if one and one != SERVER_NAME]
        return Claimant(
            "who claims " + (", ".join(f"{claim.kind} {claim.value}" for claim in asked) or "nothing"),
            sources,
            by_kind.get(ClaimKind.HELO, STRANGER_NAME),
            tuple(domains),
            ours or SINK_DOMAIN,
            by_kind.get(ClaimKind.CLIENT_NAME, ""),
        )

    def _sources(self, claims: list[Claim], name: str | None) -> tuple[Address, Address] | None:
        """An address of each family: where he claims one, that; where not, the stranger's."""
        chosen = [self._source(claims, one, is_fresh=name is not None) for one in ELSEWHERE]
        if not any(chosen):
            return None
        four, six = (one or usual for one, usual in zip(chosen, ELSEWHERE, strict=True))
        if name is not None and name != UNNAMED:
            self.names.add_host(f"client{name}" if name.startswith(".") else name, (four, six))
        return four, six

    def _source(self, claims: list[Claim], usual: Address, *, is_fresh: bool) -> Address | None:
        within = PUBLIC - _OUT_OF_THE_WAY
        for claim in claims:
            if claim.kind is ClaimKind.CLIENT_ADDRESS:
                within = within - _networks(claim) if claim.negated else within & _networks(claim)
        ready = (usual, *PARTNERS, *STRANGER)
        fits = (one for one in ready if one.version == usual.version and one in within)
        if not is_fresh and (found := next(fits, None)):
            return found
        networks = within.networks(usual.version)
        if not networks:
            return None
        around = next((network for network in networks if usual in network), networks[-1])
        self._made += 1
        base = usual if usual in around else around.network_address
        address = base + 0x100 + self._made
        if address not in within:
            return None
        tool("ip", *family_of(address), "addr", "replace", f"{address}/{address.max_prefixlen}", "dev", "lo")
        return address

    def _add_sink(self, domain: str) -> None:
        self.names.add_host(domain, SINK, has_reverse=False)
        self.names.add_host(f"mx.{domain}", SINK, has_reverse=False)
        self.names.add_exchanges(domain, {f"mx.{domain}": 10})

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Answer by the DNS, and serve the pages of the configurations' own web servers."""
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(self.names.served(Endpoint(DNS, 53)))
            for port in _PAGE_PORTS:
                hosts = [str(address) for address in UPSTREAMS]
                await stack.enter_async_context(await asyncio.start_server(_page, hosts, port))
            yield


async def _page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(_PAGE)
        await writer.drain()
    writer.close()


def _networks(claim: Claim) -> AddressSet:
    return AddressSet.of(part.strip() for part in claim.value.split(","))
