"""All that a script may know before it speaks."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from relaywatch.model.places import Address, Door, Endpoint, Family
from relaywatch.model.tokens import Mint, Token


class Depth(StrEnum):
    """How much of the table is asked."""

    CORE = "core"
    """What a further door of a known server is asked: the plain cases, claims of origin, the famous forms."""
    STANDARD = "standard"
    """Every form once, and the crossings that the recognised software is known for."""
    EXHAUSTIVE = "exhaustive"
    """Every form with every reverse-path, and no stop at the first proof."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkNames:
    """How our sink is named in mail: ``domain`` is what stands behind the at sign, a literal if need be."""

    domain: str
    addresses: tuple[Address, ...] = ()
    second_domain: str | None = None
    """Another domain of ours, for a reverse-path from elsewhere."""
    mx_pointing_domain: str | None = None
    """A domain of ours whose second MX is the target."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryPlaces:
    """Where our sink's canaries are, for proxies to be led to; empty where there are none.

    At each address, every one of ``ports`` takes words, HTTP or TLS, as the first octets say; ``smtp_ports``
    are those at which our SMTP server greets. Likeliest to be let through first.
    """

    addresses: tuple[Address, ...] = ()
    """At most one a family."""
    ports: tuple[int, ...] = ()
    smtp_ports: tuple[int, ...] = ()
    udp_port: int | None = None
    dead_port: int | None = None
    """A port of those addresses at which nobody listens, and never will while the run lasts."""
    name: str | None = None
    """A name that leads to those addresses, as the target resolves names."""
    zone: str | None = None
    """A domain whose every label our sink's own DNS server answers, and notes."""
    is_proved: bool = True
    """Whether we could show that they can be reached by that address."""
    seen_from: tuple[Address, ...] = ()
    """From which addresses they were reached when we did so ourselves, at any port and by any protocol."""
    second_sources: tuple[Address, ...] = ()
    """Other addresses of ours, at most one a family, from which a stranger to a session may speak."""

    def address_of(self, family: Family) -> Address | None:
        """The address of that family, if there is one."""
        return _of_family(self.addresses, family)

    def second_source(self, family: Family) -> Address | None:
        """Our other address of that family, if there is one: what is of another can't reach such a door."""
        return _of_family(self.second_sources, family)


def _of_family(addresses: tuple[Address, ...], family: Family) -> Address | None:
    version = 6 if family is Family.IPV6 else 4
    return next((address for address in addresses if address.version == version), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who checks: said in EHLO and in the test message."""

    ehlo_name: str = "relaywatch.invalid"
    operator: str = "the operator of this checker"
    """Whoever runs the check."""
    contact: str = ""
    """A mail or web address that answers questions and takes opt-outs."""
    requested_by: str = ""
    """For whom: the permission's owner."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leave:
    """What the permission allows beyond asking; loopback targets carry every leave."""

    mail: bool = True
    """Messages may be handed over at all (no ``--no-mail``, and the sink is proven)."""
    mail_withheld_because: str = ""
    """Why not, if not: ``not-sent`` or ``sink-unproved``."""
    local_reverse_paths: bool = False
    """Messages may carry a reverse-path of the target's own, where a bounce would go."""
    local_mailboxes: bool = False
    """A message may go to a mailbox at the target beside ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Time that a script gives the target, in seconds; the engine has limits of its own."""

    greeting: float = 60.0
    """Servers that make talkers wait do so for 20 s and more."""
    reply: float = 30.0
    data_reply: float = 60.0
    greylist: float = 330.0
    """How long a greylisted script waits before it tries again; most ask for 300 s."""
    after_rate_limit: float = 5.0
    first_words: float = 2.0
    """How long a door may take to speak first before it is taken for one that waits for us."""
    tunnel: float = 20.0
    """How long a proxy may take to connect to our canary."""
    canary: float = 8.0
    """How long our canary's answer may take, once the proxy has said yes."""
    datagram: float = 1.5
    """How long to wait for an answer to one datagram, of several."""
    connect: float | None = None
    """How long to wait for a connection; the engine's own limit if not given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Brief:
    """The script's whole knowledge: where, as whom, with which canaries, how far."""

    endpoint: Endpoint
    door: Door
    mint: Mint
    sink: SinkNames
    canaries: CanaryPlaces = field(default_factory=CanaryPlaces)
    identity: Identity = field(default_factory=Identity)
    leave: Leave = field(default_factory=Leave)
    patience: Patience = field(default_factory=Patience)
    depth: Depth = Depth.STANDARD
    target_names: tuple[str, ...] = ()
    """The target's own names as known from PTR, the user, an earlier door; likeliest first."""
    local_domains: tuple[str, ...] = ()
    """Domains that the target hosts: from the user, the scope, MX records."""
    software: str | None = None
    """What an earlier door gave away."""
    refusal_limit: int | None = None
    """Refusals a connection, where the caller knows better than `relaywatch.script.software`."""
    proxy_header: str = ""
    """A PROXY protocol header (version 1) to say before anything else, where the server waits for one."""
    now: datetime | None = None
    """The engine's time as the attempt began: for the test message's Date and for certificates."""

    def token(self, label: str) -> Token:
        """The canary for what the label names."""
        return self.mint.token(label)
