"""What a run tells its caller: reports of finished targets, and events while it goes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from relaywatch.model.evidence import Arrival, Attempt, Observation
from relaywatch.model.places import Door
from relaywatch.model.results import ResultLine
from relaywatch.model.verdicts import Judgement


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetReport:
    """A finished target and weakness: the line, and all that it rests on."""

    line: ResultLine
    judgement: Judgement
    attempts: tuple[Attempt, ...] = ()
    arrivals: tuple[Arrival, ...] = ()


class EventKind(StrEnum):
    """What happened in a run."""

    SINK_PROVED = "sink-proved"
    SINK_UNPROVED = "sink-unproved"
    CANARIES_UNPROVED = "canaries-unproved"
    """Proxies can't be led to our canaries, or not everywhere: ``detail`` says why."""
    MAIL_WITHHELD = "mail-withheld"
    """Messages stop before DATA until the options are given that ``detail`` names."""
    SECOND_SOURCE_UNUSED = "second-source-unused"
    """The address in ``detail`` isn't a second one: connections come from it anyway."""
    TARGET_BEGAN = "target-began"
    ATTEMPT_BEGAN = "attempt-began"
    OBSERVED = "observed"
    ATTEMPT_ENDED = "attempt-ended"
    TARGET_ENDED = "target-ended"
    SKIPPED = "skipped"
    """A target, or a part of a network, that was refused before a packet left: ``detail`` says why and where it stands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEvent:
    """One thing that happened, for whoever watches."""

    kind: EventKind
    target: str = ""
    door: Door | None = None
    observation: Observation | None = None
    attempt: Attempt | None = None
    report: TargetReport | None = None
    detail: str = ""
    count: int = 1
    """How many targets are meant: a skipped part of a network is one event."""
