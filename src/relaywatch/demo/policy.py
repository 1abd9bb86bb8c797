"""How a server of the loopback world is configured: whom it relays for, what it does with paths, how it behaves."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network

from .phrases import PLAIN, Phrases

Network = IPv4Network | IPv6Network

EVERYWHERE: tuple[Network, ...] = (IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))
"""Trusted networks of a server that trusts everybody."""


class Rewrite(StrEnum):
    """What a server makes of a local part of its own domains, after relay control has looked at the domain."""

    PERCENT_HACK = "percent-hack"
    """``user%outside`` becomes ``user@outside``."""
    BANG_PATH = "bang-path"
    """``outside!user`` becomes ``user@outside``."""
    DEQUOTE = "dequote"
    """``"user@outside"`` loses its quotes."""
    SECOND_AT = "second-at"
    """``user@outside`` in front of the last at sign is taken for an address."""
    DECAPSULATE = "decapsulate"
    """``IMCEASMTP-user+40outside`` is decoded."""
    ADDRESS_LIST = "address-list"
    """``"x@outside, user@outside"`` is taken for a list, whose last address counts."""


class RelayCheck(StrEnum):
    """When relay control answers."""

    AT_RCPT = "at-rcpt"
    AT_DATA = "at-data"


class Fate(StrEnum):
    """What becomes of a message that was taken."""

    DELIVER = "deliver"
    DROP = "drop"
    """Thrown away."""
    BOUNCE = "bounce"


class UnknownUser(StrEnum):
    """What becomes of a message for a local part that doesn't exist."""

    REFUSE = "refuse"
    KEEP = "keep"
    """A catch-all."""
    BOUNCE = "bounce"
    """Taken, and sent back afterwards."""


class GreylistKey(StrEnum):
    """What a greylist remembers."""

    CLIENT = "client"
    TRIPLET = "triplet"
    """Client, reverse-path and forward-path together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Greylist:
    """Whoever comes for the first time is told to come back after so many seconds."""

    seconds: float
    key: GreylistKey = GreylistKey.TRIPLET


@dataclass(frozen=True, slots=True, kw_only=True)
class Conduct:
    """How a server treats a connection, whatever is asked; seconds."""

    greeting_seconds: float = 0.0
    """Whoever speaks before the greeting is turned away."""
    reply_seconds: float = 0.0
    """Before each reply: a tarpit."""
    drops_after_errors: int | None = None
    sleeps_after_errors: int | None = None
    error_sleep_seconds: float = 1.0
    connections_served: int | None = None
    """How many connections are served; whoever comes later hears 421."""
    blocks_client: bool = False
    """The client stands on a blocklist, and every recipient is refused for that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A server's configuration. The first of ``local_domains`` completes an unqualified local part.

    Nothing is relayed by default.
    """

    hostname: str
    local_domains: tuple[str, ...]
    mailboxes: frozenset[str] = frozenset({"postmaster", "abuse"})
    unknown_user: UnknownUser = UnknownUser.REFUSE
    own_literals_are_local: bool = False
    relay_domains: frozenset[str] = frozenset()
    """Domains that it is a backup MX for, with the same mailboxes; kept for a primary that never comes."""

    trusted_networks: tuple[Network, ...] = ()
    trusted_reverse_path_domains: frozenset[str] = frozenset()
    trusted_helo_names: frozenset[str] = frozenset()
    null_reverse_path_relays: bool = False
    tls_clients_relay: bool = False
    """Whoever speaks TLS is taken for one of its own people."""

    rewrites: frozenset[Rewrite] = frozenset()
    rewriting_domains: frozenset[str] | None = None
    """Where local parts are rewritten; at its local domains if not said."""
    source_route_hides_mailbox: bool = False
    """Relay control looks at a source route's first hop and not at its mailbox."""
    bare_paths_unchecked: bool = False
    """A forward-path without angle brackets slips past relay control."""
    relay_check: RelayCheck = RelayCheck.AT_RCPT
    checks_first_recipient_only: bool = False
    bdat_unchecked: bool = False
    """Relay control sits in DATA alone; only with ``RelayCheck.AT_DATA``."""

    offers_starttls: bool = False
    requires_tls: bool = False
    implicit_tls: bool = False
    requires_auth: bool = False
    offers_chunking: bool = False
    greylist: Greylist | None = None
    outside_mail: Fate = Fate.DELIVER
    conduct: Conduct = Conduct()
    phrases: Phrases = PLAIN
