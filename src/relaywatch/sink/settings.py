"""How the sink is set up, and its limits under flood."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from relaywatch.model.places import Address, Endpoint

from .certificate import Certificate

ANY_ADDRESS_25 = (Endpoint(IPv4Address("0.0.0.0"), 25), Endpoint(IPv6Address("::"), 25))  # noqa: S104

CANARY_PORTS = (443, 80, 40025, 587, 23, 6667)
"""Where canaries wait by default, likeliest to be let through first: Squid and Apache httpd open tunnels to 443
as they come, forward proxies fetch from 80, a high one needs no privilege; 23 and 6667 are what abusers of open
proxies ask for beside mail. 587 is SMTP, as 25 is."""
DATAGRAM_PORTS = (443, 40025)
_SMTP_PORTS = frozenset({25, 587})


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """How many connections of one kind there may be, and for how long; see `Limits`."""

    connections: int
    per_source: int
    idle: float
    idle_when_busy: float
    session: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one stranger, and all of them together, may take. Times in seconds, sizes in octets."""

    connections: int = 400
    """At once, in all; a common process may hold 1,024 files."""
    connections_per_source: int = 50
    """At once, from one IPv4 address or one IPv6 /64, which is what one customer gets. Many relays may
    deliver through one smarthost."""
    idle: float = 120.0
    """Between complete commands: less than RFC 5321 section 4.5.3.2.7 asks for, more than relays need."""
    idle_when_busy: float = 10.0
    """The same while more than half of the connections are taken."""
    session: float = 600.0
    errors: int = 20
    """Refused or unknown commands a connection, after which it is closed."""
    commands: int = 1000
    recipients: int = 100
    """A message; RFC 5321 section 4.5.3.1.8 asks for 100."""
    message: int = 131_072
    """Ours have 2 KiB; a bounce brings ours back within its own."""
    canary_connections: int = 300
    """At once, in all, beside those for mail, so that neither keeps the other out."""
    canary_idle: float = 15.0
    """Until the words are complete; a proxy has had its time before it connects."""
    canary_idle_when_busy: float = 5.0
    canary_session: float = 60.0
    datagrams_per_source: int = 50
    """A second; resolvers ask for many. Those beyond get no answer."""
    datagrams: int = 1000
    """A second, in all."""
    arrivals_per_token: int = 10
    """Further arrivals of the same token and kind are answered alike and not written down."""
    journal_segment: int = 16 * 1024 * 1024
    journal_segments: int = 8
    """The oldest is deleted when there would be more."""
    human_messages: int = 1000
    """Kept in the Maildir for postmaster; further ones are deferred until somebody reads it."""

    @property
    def of_mail(self) -> Quota:
        """What holds for SMTP connections."""
        return Quota(
            connections=self.connections,
            per_source=self.connections_per_source,
            idle=self.idle,
            idle_when_busy=self.idle_when_busy,
            session=self.session,
        )

    @property
    def of_canaries(self) -> Quota:
        """What holds for connections to canaries and to the DNS server."""
        return Quota(
            connections=self.canary_connections,
            per_source=self.connections_per_source,
            idle=self.canary_idle,
            idle_when_busy=self.canary_idle_when_busy,
            session=self.canary_session,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkSettings:
    """Where the sink listens, what it calls itself, where it writes."""

    domain: str
    """Its name in the greeting: the host that the MX record names, or an address literal."""
    listen: tuple[Endpoint, ...] = ANY_ADDRESS_25
    journal: Path | None = None
    """The journal's directory; without one, whoever is called at an arrival keeps it."""
    operator: str = "the operator of this checker"
    contact: str = ""
    """A mail or web address that answers questions and takes opt-outs; named in replies."""
    certificate: Certificate | None = None
    """For STARTTLS; one is made in memory if none is given."""
    human_maildir: Path | None = None
    """Takes mail for postmaster and abuse, if given; otherwise they are refused, naming the contact."""
    human_domains: tuple[str, ...] = ()
    """Domains beside ``domain`` whose postmaster and abuse are answered."""
    canary_listen: tuple[Endpoint, ...] = ()
    """Where canaries wait for whatever comes through a proxy over TCP: words, HTTP or TLS. Those that can't be
    had are left out, if one can; of the two that follow, even if none can."""
    canary_udp: tuple[Endpoint, ...] = ()
    """Where they wait for datagrams."""
    smtp_also: tuple[Endpoint, ...] = ()
    """Where the SMTP server listens beside ``listen``, for proxies that let another of mail's ports through."""
    dns_listen: tuple[Endpoint, ...] = ()
    """Where the names of ``canary_zone`` are answered, over UDP and TCP."""
    canary_zone: str = ""
    """A domain that is delegated to this sink: each of its labels leads here, and a token is noted."""
    canary_addresses: tuple[Address, ...] = ()
    """This host's public addresses, which the zone's names lead to."""
    limits: Limits = field(default_factory=Limits)


def with_canaries(
    settings: SinkSettings, ports: Sequence[int], *, zone: str | None = None, dns_port: int = 53
) -> SinkSettings:
    """Add canaries on these ports, wherever mail is taken; SMTP on 25 and 587, and a name server for a zone."""
    addresses = tuple(dict.fromkeys(endpoint.address for endpoint in settings.listen))
    listened = {endpoint.port for endpoint in settings.listen}

    def at(wanted: Sequence[int]) -> tuple[Endpoint, ...]:
        return tuple(Endpoint(address, port) for port in wanted for address in addresses)

    return replace(
        settings,
        canary_listen=at([port for port in ports if port not in _SMTP_PORTS]),
        canary_udp=at(DATAGRAM_PORTS),
        smtp_also=at([port for port in ports if port in _SMTP_PORTS - listened]),
        canary_zone=zone or "",
        dns_listen=at([dns_port]) if zone else (),
    )
