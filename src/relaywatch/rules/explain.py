"""Why a judgement is what it is: codes with their sources, for others to put into words."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from relaywatch.model.evidence import Weakness
from relaywatch.model.places import Door
from relaywatch.model.verdicts import Judgement, Reason, Verdict

REFERENCES = MappingProxyType(
    {
        Reason.GREYLISTED: "RFC 6647",
        Reason.DEFERRED: "RFC 5321 section 4.2.1",
        Reason.TLS_REQUIRED: "RFC 3207 section 4",
        Reason.TLS_FAILED: "RFC 3207 section 4.1",
        Reason.AUTH_REQUIRED: "RFC 4954 section 6",
        Reason.CLIENT_BLOCKED: "RFC 5321 section 7.8",
        Reason.RATE_LIMITED: "RFC 5321 section 3.8",
        Reason.TIMEOUT: "RFC 5321 section 4.5.3.2",
        Reason.TARPIT: "RFC 5321 section 4.5.3.2",
        Reason.PROTOCOL_ERROR: "RFC 5321 section 4.2",
        Reason.BACKSCATTER: "RFC 5321 section 6.1",
        Reason.NOT_DELIVERED: "RFC 5321 section 6.1",
        Reason.ACCEPTS_ANYTHING: "RFC 2606 section 2",
    }
)
"""Where the field's rules for a reason stand; a reason of our own making has none."""

PROXY_REFERENCES = MappingProxyType(
    {Reason.AUTH_REQUIRED: "RFC 9110 section 11.7", Reason.CANT_CONNECT: "RFC 9110 section 15.6.3"}
)
"""The same where proxies are judged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """One statement: a reason or an advisory, at a door or for the target as a whole."""

    code: str
    door: Door | None = None
    case: str = ""
    reference: str = ""
    asked: int = 0
    planned: int = 0


def explain(judgement: Judgement) -> tuple[Explanation, ...]:
    """Say what the judgement rests on: findings first, then each door's reasons, then what else is known."""
    references = PROXY_REFERENCES if judgement.weakness is Weakness.OPEN_PROXY else REFERENCES
    findings = tuple(
        Explanation(code=finding.advisory, door=finding.door, case=finding.case)
        for finding in judgement.findings
    )
    doors = tuple(
        Explanation(
            code=reason,
            door=door.door,
            reference=references.get(reason, ""),
            asked=door.asked,
            planned=door.planned,
        )
        for door in judgement.doors
        for reason in door.reasons
    )
    coverage = tuple(
        Explanation(code=Verdict.CLOSED, door=door.door, asked=door.asked, planned=door.planned)
        for door in judgement.doors
        if door.verdict is Verdict.CLOSED
    )
    beside = tuple(Explanation(code=advisory) for advisory in judgement.advisories)
    return findings + doors + coverage + beside
