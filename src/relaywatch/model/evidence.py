"""What was seen, and how the looking ended: facts, observations, attempts, arrivals.

None of these judges; `relaywatch.rules` does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from .places import Address, Door, Endpoint
from .tokens import Token


class Weakness(StrEnum):
    """What a probe looks for."""

    OPEN_RELAY = "open-relay"
    OPEN_PROXY = "open-proxy"


class Fact(StrEnum):
    """What was seen."""

    NOT_THIS_PROTOCOL = "not-this-protocol"
    """Something spoke, in other words than the probe's."""
    NOT_OFFERED = "not-offered"
    """The door isn't there: STARTTLS is not advertised, say."""
    SOFTWARE = "software"
    """A hint at the software; ``detail`` is its name, ``reply`` what gave it away."""
    OFFERS = "offers"
    """What EHLO advertises: ``detail`` is the keywords, in order."""
    PLANNED = "planned"
    """How many cases the script means to ask: ``count``."""
    TALKS = "talks"
    """The positive control: the server takes mail for its own people from us."""
    CLIENT_BLOCKED = "client-blocked"
    """It refuses this client whatever it asks."""
    TLS_REQUIRED = "tls-required"
    """It wants TLS before it answers the question."""
    AUTH_REQUIRED = "auth-required"
    """It wants credentials before it answers the question."""
    RATE_LIMITED = "rate-limited"
    """It said that we ask too much (421, too many connections)."""
    ACCEPTS_ANYTHING = "accepts-anything"
    """The negative control: it says yes to what can't exist."""
    VOID = "void"
    """The case says nothing here: its reverse-path is refused for a local recipient too, or the target's
    own domain takes any local part."""
    REFUSED = "refused"
    """No, for good: 5yz, or the known 454 4.7.1."""
    DEFERRED = "deferred"
    """Not now: 4yz."""
    ACCEPTED = "accepted"
    """Yes, and we stopped there: 250 to RCPT, 200 to CONNECT. ``detail`` says why we stopped."""
    QUEUED = "queued"
    """250 after the dot."""
    HANDED_OVER = "handed-over"
    """The final dot has gone, and no reply came: it may have been taken."""
    CANARY_REACHED = "canary-reached"
    """Our canary's answer came back through the target."""
    SPEAKS = "speaks"
    """What the door speaks: ``detail`` is the `Service`."""
    FAILED = "failed"
    """It tried, and could not connect to our canary (502, SOCKS5 reply field 0x04): others it might reach."""
    UNANSWERED = "unanswered"
    """Silence, to this case alone."""
    DECEPTIVE = "deceptive"
    """The dead canary: it says yes to a destination where nothing listens."""
    NOTE = "note"
    """Worth telling, and no answer to any case: an old TLS version, a certificate that has expired."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """A fact with its circumstances. What the peer said stands in ``reply``, untrusted."""

    fact: Fact
    case: str = ""
    """The case that was asked; empty for what concerns the whole door."""
    advisory: str = ""
    """The advisory that the case belongs to, should it prove open."""
    reply: str = ""
    """The peer's words."""
    detail: str = ""
    """Ours."""
    count: int = 0
    """Cases planned, or messages that the target has taken; with a no, messages that were sent in vain."""
    token: Token | None = None
    """The canary of the forward-path, or of the tunnel: its arrival proves the case."""
    return_token: Token | None = None
    """The canary of the reverse-path: its arrival is a bounce."""
    command: str = ""
    """What was asked, as sent: the envelope, the request line, for a report."""
    destination: str = ""
    """Where a proxy was asked to lead: ``address:port`` or ``name:port`` of our canary.

    Of one that was asked to wait (BIND): the address that it waits for, without a port.
    """
    exit_address: str = ""
    """The address from which our canary was reached, as its answer says, which nobody else can make."""


class AttemptStatus(StrEnum):
    """How a script ended; the order is no ranking."""

    COMPLETED = "completed"
    NO_LISTENER = "no-listener"
    """A reset in answer to the SYN."""
    NO_ANSWER = "no-answer"
    """Nothing in answer to the SYN."""
    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    """Silence in an open connection."""
    TARPIT = "tarpit"
    """Octets came, but so slowly that the whole attempt ran out of time."""
    CUT_SHORT = "cut-short"
    """The peer closed or reset."""
    TLS_FAILED = "tls-failed"
    PROTOCOL_ERROR = "protocol-error"
    LIMIT = "limit"
    """Too many octets or operations; or the target led us where no permission does."""
    INTERRUPTED = "interrupted"
    """We were told to stop."""
    BUG = "bug"
    """A fault of ours; ``error`` tells which."""


class Direction(StrEnum):
    """Who spoke, in a transcript."""

    CLIENT = "C"
    SERVER = "S"
    NOTE = "*"


@dataclass(frozen=True, slots=True)
class TranscriptEntry:
    """Octets that went one way, or a note of the engine's, ``at`` seconds after the attempt began."""

    at: float
    direction: Direction
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One script run against one door: it always comes back, whatever happened."""

    probe: str
    weakness: Weakness
    endpoint: Endpoint
    door: Door
    status: AttemptStatus
    observations: tuple[Observation, ...] = ()
    error: str = ""
    transcript: tuple[TranscriptEntry, ...] = field(default=(), repr=False)
    began: datetime | None = None
    seconds: float = 0.0
    source: str = ""
    """Our own address in this attempt, which an administrator may exempt."""
    seen_from: tuple[Address, ...] = ()
    """Where we come from in our sink's eyes, with no target in between: behind NAT, say, or a proxy on our way."""


class ArrivalKind(StrEnum):
    """How the canary was reached."""

    MAIL = "mail"
    BOUNCE = "bounce"
    """A message for our reverse-path."""
    TCP = "tcp"
    HTTP = "http"
    UDP = "udp"
    DNS = "dns"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """Something of ours that came to our sink."""

    token: Token
    kind: ArrivalKind
    at: datetime
    came_from: Endpoint | None = None
    port: int = 0
    """The port of ours that was reached; 0 where an older journal doesn't tell."""
    reverse_path: str = ""
    forward_path: str = ""
    helo: str = ""
    received: tuple[str, ...] = ()
    """The Received chain, outermost first."""
    subject: str = ""
