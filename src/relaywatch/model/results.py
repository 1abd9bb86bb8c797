"""The result line, ``relaywatch.result/1``: what is written, one per target and weakness.

Contract: fields may be added, never renamed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from .evidence import Weakness
from .places import Family, Transport
from .verdicts import Proof, Reason, Vantage, Verdict

RESULT_SCHEMA = "relaywatch.result/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftwareLine:
    """The software as recognised: a hint, never proof."""

    name: str
    version: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingLine:
    """One hole and how far it is proven."""

    advisory: str
    probe: str
    case: str
    port: int
    transport: Transport
    family: Family
    via: str | None
    proof: Proof
    exit_address: str | None
    reply: str
    command: str = ""
    """The envelope that was used."""
    token: str | None = None
    """The canary, by which ``relaywatch settle`` finds a later arrival in the sink's journal."""
    destination_ports: tuple[int, ...] = ()
    """The ports that an open proxy let through to our canary."""
    through: str | None = None
    """Of a chain: the proxy's port, and the address behind it, as ``3128 to 127.0.0.1``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DoorLine:
    """The verdict for one door; ``asked`` of ``planned`` cases were answered."""

    port: int
    transport: Transport
    family: Family
    verdict: Verdict
    reasons: tuple[Reason, ...]
    asked: int = 0
    planned: int = 0
    notes: tuple[str, ...] = ()
    via: str | None = None
    through: str | None = None
    """Both of a chain, as in `FindingLine`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultLine:
    """The verdict for one target and weakness."""

    schema: Literal["relaywatch.result/1"] = "relaywatch.result/1"
    target: str
    name: str | None
    weakness: Weakness
    verdict: Verdict
    reasons: tuple[Reason, ...]
    software: SoftwareLine | None
    findings: tuple[FindingLine, ...]
    doors: tuple[DoorLine, ...]
    attempts: int
    began: datetime
    seconds: float
    vantage: Vantage
    advisories: tuple[str, ...] = ()
    """Advisories beside the findings': backscatter, accept-then-drop."""
    source_address: str | None = None
    """Our own address as the target saw it."""
    error: str | None = None
    """Why nothing could be tested, where that is all there is to say."""
