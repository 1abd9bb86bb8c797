"""What follows from the evidence: verdicts, reasons, findings, and the line that is written down."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from .evidence import Weakness
from .places import Door


class Verdict(StrEnum):
    """The five answers. Contract: their names and meanings stay."""

    OPEN = "open"
    """Something of ours arrived at our sink through the target."""
    ACCEPTING = "accepting"
    """The target said yes; nothing has arrived."""
    CLOSED = "closed"
    """Every planned attempt completed and was refused."""
    ABSENT = "absent"
    """Nothing speaks that protocol there."""
    INCONCLUSIVE = "inconclusive"
    """Anything else, always with reasons."""


class Reason(StrEnum):
    """Why a verdict is not more than it is."""

    GREYLISTED = "greylisted"
    DEFERRED = "deferred"
    TLS_REQUIRED = "tls-required"
    TLS_FAILED = "tls-failed"
    AUTH_REQUIRED = "auth-required"
    CLIENT_BLOCKED = "client-blocked"
    RATE_LIMITED = "rate-limited"
    TARPIT = "tarpit"
    TIMEOUT = "timeout"
    NO_ANSWER = "no-answer"
    UNREACHABLE = "unreachable"
    CUT_SHORT = "cut-short"
    PROTOCOL_ERROR = "protocol-error"
    LIMIT = "limit"
    INTERRUPTED = "interrupted"
    INCOMPLETE = "incomplete"
    """Fewer cases were asked than planned."""
    VOID = "void"
    """No case that was asked says anything here."""
    NOT_SENT = "not-sent"
    """A yes that was stopped before DATA."""
    SINK_UNPROVED = "sink-unproved"
    """Our own sink could not be shown to receive by its public name."""
    NOT_DELIVERED = "not-delivered"
    """250 after the dot, and nothing came in the waiting time."""
    ACCEPTS_ANYTHING = "accepts-anything"
    """It also says yes to what can't exist."""
    BACKSCATTER = "backscatter"
    """It says yes and then bounces."""
    NOT_REACHED = "not-reached"
    """The proxy said yes, and our canary was not reached in the waiting time."""
    DECEPTIVE = "deceptive"
    """It also says yes to a destination where nothing listens."""
    CANT_CONNECT = "cant-connect"
    """It tries to connect for us, and can't: what it would reach for others isn't known."""
    INTERCEPTED = "intercepted"
    """Our canary was reached from our own address: something on our own way answers in the target's place."""
    REACHED_LATER = "reached-later"
    """Our canary was reached after we had asked, and not from the target: whoever read our words can do that."""
    UNRESOLVED = "unresolved"
    """The name has no address."""
    BUG = "bug"


class Proof(StrEnum):
    """How far a yes went."""

    ACCEPTED = "accepted"
    QUEUED = "queued"
    DELIVERED = "delivered"
    CANARY_REACHED = "canary-reached"


class Vantage(StrEnum):
    """Where we looked from."""

    INSIDE = "inside"
    OUTSIDE = "outside"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One hole: the case that showed it, at which door, and how far it is proven."""

    advisory: str
    probe: str
    case: str
    door: Door
    proof: Proof
    reply: str = ""
    command: str = ""
    exit_address: str | None = None
    via: str | None = None
    token: str | None = None
    destination_ports: tuple[int, ...] = ()
    """Of an open proxy: the ports of our canary that were reached through it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DoorJudgement:
    """The verdict for one door."""

    door: Door
    verdict: Verdict
    reasons: tuple[Reason, ...] = ()
    asked: int = 0
    planned: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """The verdict for one target and weakness, with all that it rests on."""

    weakness: Weakness
    verdict: Verdict
    reasons: tuple[Reason, ...] = ()
    findings: tuple[Finding, ...] = ()
    doors: tuple[DoorJudgement, ...] = ()
    software: str | None = None
    advisories: tuple[str, ...] = field(default=())
    """Advisories that concern the target and are no hole of their own: backscatter, accept-then-drop."""
