"""The verdict on each case, which comes before the verdict on the door and on the target."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from relaywatch.model.evidence import Arrival, Attempt, Fact, Observation
from relaywatch.model.places import Door
from relaywatch.model.verdicts import Proof, Reason

_YES = frozenset({Fact.ACCEPTED, Fact.QUEUED, Fact.CANARY_REACHED})


class CaseState(StrEnum):
    """What a case came to."""

    OPEN = "open"
    ACCEPTING = "accepting"
    REFUTED = "refuted"
    """A yes, and then a bounce."""
    VOID = "void"
    REFUSED = "refused"
    DEFERRED = "deferred"


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseJudgement:
    """The verdict on one case at one door, with the observation that shows it best."""

    door: Door
    probe: str
    case: str
    state: CaseState
    shown_by: Observation
    source: str = ""
    arrival: Arrival | None = None
    reason: Reason | None = None

    @property
    def proof(self) -> Proof:
        """How far the yes went."""
        if self.shown_by.fact is Fact.CANARY_REACHED:
            return Proof.CANARY_REACHED
        if self.arrival is not None:
            return Proof.DELIVERED
        return Proof.QUEUED if self.shown_by.fact is Fact.QUEUED else Proof.ACCEPTED


def judge_cases(attempts: Iterable[Attempt], arrivals: Iterable[Arrival]) -> tuple[CaseJudgement, ...]:
    """Judge every case that was asked, in the order of door and name."""
    arrived = _first_arrivals(arrivals)
    asked: dict[tuple[Door, str, str], list[tuple[Observation, str]]] = {}
    for attempt in attempts:
        for seen in attempt.observations:
            if seen.case and seen.fact is not Fact.NOTE:
                asked.setdefault((attempt.door, attempt.probe, seen.case), []).append((seen, attempt.source))
    return tuple(
        judgement
        for (door, probe, case), seen in sorted(asked.items(), key=lambda item: item[0])
        if (judgement := _judge_case(door, probe, case, seen, arrived)) is not None
    )


def _first_arrivals(arrivals: Iterable[Arrival]) -> Mapping[str, Arrival]:
    """The earliest arrival for each canary, whatever the order in which they are told."""
    first: dict[str, Arrival] = {}
    for arrival in sorted(arrivals, key=lambda a: (a.at, a.kind, str(a.came_from), a.forward_path)):
        first.setdefault(arrival.token, arrival)
    return first


def _judge_case(
    door: Door,
    probe: str,
    case: str,
    seen: list[tuple[Observation, str]],
    arrived: Mapping[str, Arrival],
) -> CaseJudgement | None:
    facts = {observation.fact for observation, _ in seen}
    ordered = sorted(seen, key=lambda pair: (_weight(pair[0], arrived), repr(pair[0])))
    best, source = ordered[0]
    arrival = arrived.get(best.token or "")
    state, reason = _state(best, facts, arrival, arrived)
    if state is None:
        return None
    return CaseJudgement(
        door=door,
        probe=probe,
        case=case,
        state=state,
        shown_by=best,
        source=source,
        arrival=arrival,
        reason=reason,
    )


def _weight(observation: Observation, arrived: Mapping[str, Arrival]) -> int:
    """The observation that says most comes first: proven, then yes, then no."""
    if observation.token in arrived and observation.fact in _YES:
        return 0
    order = (
        Fact.CANARY_REACHED,
        Fact.QUEUED,
        Fact.ACCEPTED,
        Fact.VOID,
        Fact.REFUSED,
        Fact.DEFERRED,
    )
    return 1 + (order.index(observation.fact) if observation.fact in order else len(order))


def _state(
    best: Observation, facts: set[Fact], arrival: Arrival | None, arrived: Mapping[str, Arrival]
) -> tuple[CaseState | None, Reason | None]:
    if best.fact is Fact.CANARY_REACHED or (arrival is not None and best.token is not None):
        return CaseState.OPEN, None
    if best.fact in _YES:
        return _state_of_yes(best, facts, arrived)
    if best.fact is Fact.VOID or best.fact is Fact.ACCEPTS_ANYTHING:
        return CaseState.VOID, None
    if best.fact is Fact.REFUSED:
        return CaseState.REFUSED, None
    if best.fact is Fact.DEFERRED:
        return CaseState.DEFERRED, Reason.GREYLISTED if best.detail == "greylisted" else Reason.DEFERRED
    return None, None


def _state_of_yes(
    best: Observation, facts: set[Fact], arrived: Mapping[str, Arrival]
) -> tuple[CaseState, Reason | None]:
    if best.fact is Fact.QUEUED and best.return_token in arrived:
        return CaseState.REFUTED, Reason.BACKSCATTER
    if Fact.ACCEPTS_ANYTHING in facts:
        return CaseState.VOID, Reason.ACCEPTS_ANYTHING  # a catch-all's yes says nothing
    if best.fact is Fact.QUEUED:
        return CaseState.ACCEPTING, Reason.NOT_DELIVERED
    unproved = best.detail.startswith(Reason.SINK_UNPROVED.value)
    return CaseState.ACCEPTING, Reason.SINK_UNPROVED if unproved else Reason.NOT_SENT
