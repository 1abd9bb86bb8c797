"""What a run is told: whom to check, from where, as whom, how far and how fast."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from relaywatch.engine.limits import Limits
from relaywatch.engine.pace import Rates
from relaywatch.model.places import Address
from relaywatch.script.brief import Identity, Patience
from relaywatch.targets.exclusions import Exclusions
from relaywatch.targets.scope import Scope

DEFAULT_PORTS = (25, 465, 587, 2525)
CHAIN_PORTS = (25, 587)
CANARY_PORTS = (443, 80, 587, 6667, 23)
"""Ports beside a high one at which our canaries listen, where they can: which of them a proxy lets through tells what
it is good for. 25 is the mailbox's own."""
MESSAGES_PER_TARGET = 3
"""Messages that one target may be handed in one run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalSink:
    """A sink inside this process: SMTP on ``address``, or on the address that targets see us from."""

    address: Address | None = None
    domain: str | None = None
    """The mailbox's domain, whose MX is this host; an address literal without one."""
    port: int = 25
    """Where it listens; mail from outside only ever comes to 25."""
    journal: Path | None = None
    key_file: Path | None = None
    """Whose key makes the tokens, so that what comes after the run is still known; one that nobody keeps if none."""
    second_domain: str | None = None
    mx_pointing_domain: str | None = None
    canary_ports: tuple[int, ...] = CANARY_PORTS
    """Where canaries listen beside a port that the system gives, as far as they can."""
    canary_zone: str | None = None
    """A domain that is delegated to this host, whose names our own DNS server answers."""
    canary_name: str | None = None
    """A name that leads to ``address``, for proxies that are asked by name; ``domain`` if it does."""
    dns_port: int = 53


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteSinkChoice:
    """A ``relaywatch sink`` elsewhere, by its URL and key file."""

    url: str
    key_file: Path
    domain: str
    second_domain: str | None = None
    mx_pointing_domain: str | None = None


SinkChoice = LocalSink | RemoteSinkChoice


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """All of a run's choices; times in seconds."""

    probes: tuple[str, ...] = ()
    """Names of the probes; all if none is named."""
    ports: tuple[int, ...] = ()
    """Ports to try instead of the default ones."""
    identity: Identity = field(default_factory=Identity)
    scope: Scope = field(default_factory=Scope)
    exclusions: Exclusions = field(default_factory=Exclusions)
    sink: SinkChoice = field(default_factory=LocalSink)
    sink_unproved_ok: bool = False
    """Hand messages over although our sink isn't proven to receive."""
    wait: float = 60.0
    """How long an arrival is waited for."""
    no_mail: bool = False
    exhaustive: bool = False
    messages: int = MESSAGES_PER_TARGET
    local_domains: tuple[str, ...] = ()
    """Domains that the targets host, as the user knows."""
    chain_ports: tuple[int, ...] = CHAIN_PORTS
    """Ports of the mail servers to which chains through open proxies lead."""
    second_sources: tuple[Address, ...] = ()
    """Further local addresses, at most one a family, for questions that need a stranger to a session."""
    patience: Patience = field(default_factory=Patience)
    limits: Limits = field(default_factory=Limits)
    rates: Rates = field(default_factory=Rates)
    concurrency: int = 100
    """Targets at a time."""
    workers: int = 1
    """Processes that check, of a list that is long enough."""
    seed: int = 0
    """Decides the order of the targets."""
    sources: tuple[Address, ...] = ()
    """Local addresses to connect from, at most one a family."""
    nameservers: tuple[str, ...] = ()
