"""The verdict on each case, which comes before the verdict on the door and on the target."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from relaywatch.model.evidence import Arrival, ArrivalKind, Attempt, Fact, Observation
from relaywatch.model.places import Door, parse_address
from relaywatch.model.verdicts import Proof, Reason

_TAKEN = frozenset({Fact.QUEUED, Fact.HANDED_OVER})
"""The message has left us whole, and may be on its way."""
_YES = frozenset({Fact.ACCEPTED, *_TAKEN})
_ORDER = (
    Fact.CANARY_REACHED,
    Fact.QUEUED,
    Fact.HANDED_OVER,
    Fact.ACCEPTED,
    Fact.VOID,
    Fact.REFUSED,
    Fact.DEFERRED,
    Fact.FAILED,
    Fact.UNANSWERED,
)
_UNDECIDED = {
    Fact.DEFERRED: Reason.DEFERRED,
    Fact.FAILED: Reason.CANT_CONNECT,
    Fact.UNANSWERED: Reason.TIMEOUT,
}
_NO_PROOF = frozenset({ArrivalKind.BOUNCE, ArrivalKind.DNS})
"""A bounce is none; and whoever looks up our canary's name hasn't been led anywhere yet."""
_Seen = tuple[Observation, Attempt]
"""An observation, and the attempt in which it was made."""


class CaseState(StrEnum):
    """What a case came to."""

    OPEN = "open"
    ACCEPTING = "accepting"
    REFUTED = "refuted"
    """A yes, and then a bounce."""
    VOID = "void"
    REFUSED = "refused"
    UNDECIDED = "undecided"
    """Neither yes nor no: put off, tried in vain, unanswered, or answered by another than the target."""


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
    def exit_address(self) -> str | None:
        """The address from which our sink was reached, if it was."""
        came_from = self.arrival.came_from if self.arrival else None
        return self.shown_by.exit_address or (str(came_from.address) if came_from else None)

    @property
    def destination_port(self) -> int | None:
        """The port that a proxy was asked to lead to, if it was."""
        port = self.shown_by.destination.rpartition(":")[2]
        return int(port) if port.isdecimal() else None

    @property
    def proof(self) -> Proof:
        """How far the yes went."""
        if self.shown_by.fact is Fact.CANARY_REACHED:
            return Proof.CANARY_REACHED
        if self.arrival is not None:
            return Proof.DELIVERED if self.arrival.kind is ArrivalKind.MAIL else Proof.CANARY_REACHED
        return Proof.QUEUED if self.shown_by.fact is Fact.QUEUED else Proof.ACCEPTED


def judge_cases(attempts: Iterable[Attempt], arrivals: Iterable[Arrival]) -> tuple[CaseJudgement, ...]:
    """Judge every case that was asked, in the order of door and name."""
    gathered = tuple(attempts)
    mail = _read_arrivals(gathered, arrivals)
    asked: dict[tuple[Door, str, str], list[_Seen]] = {}
    for attempt in gathered:
        for seen in attempt.observations:
            if seen.case and seen.fact is not Fact.NOTE:
                asked.setdefault((attempt.door, attempt.probe, seen.case), []).append((seen, attempt))
    return tuple(
        judgement
        for (door, probe, case), seen in sorted(asked.items(), key=lambda item: item[0])
        if (judgement := _judge_case(door, probe, case, seen, mail)) is not None
    )


@dataclass(frozen=True, slots=True)
class _Mail:
    """What came to our sink: the earliest arrival of each canary, and the reverse-paths that refute."""

    first: Mapping[str, Arrival]
    refuting: frozenset[str]


def _read_arrivals(attempts: Iterable[Attempt], arrivals: Iterable[Arrival]) -> _Mail:
    by_token: dict[str, list[Arrival]] = {}
    distinct = {repr(arrival): arrival for arrival in arrivals}
    for _, arrival in sorted(distinct.items(), key=lambda item: (item[1].at, item[0])):
        by_token.setdefault(arrival.token, []).append(arrival)
    messages: Counter[str] = Counter()
    for attempt in attempts:
        for seen in attempt.observations:
            if seen.fact in _TAKEN and seen.return_token:
                messages[seen.return_token] += seen.count
    # Messages from one reverse-path share its canary, so that only as many bounces as messages refute them.
    refuting = {
        token
        for token, taken in messages.items()
        if sum(map(_is_notification, by_token.get(token, ()))) >= max(taken, 1)
    }
    proofs = {
        token: next((arrival for arrival in came if arrival.kind not in _NO_PROOF), None)
        for token, came in by_token.items()
    }
    return _Mail({token: came for token, came in proofs.items() if came}, frozenset(refuting))


def _is_notification(arrival: Arrival) -> bool:
    """Whether it comes from a mail system, rather than from somebody's autoresponder (RFC 5321 section 6.1)."""
    return arrival.kind is ArrivalKind.BOUNCE or arrival.reverse_path in {"", "<>"}


def _judge_case(door: Door, probe: str, case: str, seen: list[_Seen], mail: _Mail) -> CaseJudgement | None:
    facts = {observation.fact for observation, _ in seen}
    best, attempt = min(seen, key=lambda pair: (_rank(pair[0], mail), repr(pair[0]), pair[1].source))
    state, reason = _state(best, facts, mail)
    if state is None:
        return None
    judgement = CaseJudgement(
        door=door,
        probe=probe,
        case=case,
        state=state,
        shown_by=best,
        source=attempt.source,
        arrival=mail.first.get(best.token or ""),
        reason=reason,
    )
    if judgement.destination_port is not None and _is_intercepted(judgement, attempt):
        return replace(judgement, state=CaseState.UNDECIDED, reason=Reason.INTERCEPTED)
    return judgement


def _is_intercepted(judgement: CaseJudgement, attempt: Attempt) -> bool:
    """Whether a proxy's canary was reached from our own address, by something on our own way (docs/adr/0013).

    On this machine, and where the target is ourselves, that is as it should be.
    """
    target = attempt.endpoint.address
    if (
        judgement.state is not CaseState.OPEN
        or target.is_loopback
        or not (attempt.source and judgement.exit_address)
    ):
        return False
    own = parse_address(attempt.source.partition("%")[0])
    return own != target and own == parse_address(judgement.exit_address)


def _rank(observation: Observation, mail: _Mail) -> tuple[int, bool]:
    """The observation that says most comes first: proven, whatever the target said; then yes; then no."""
    if observation.token in mail.first:
        return 0, False
    place = _ORDER.index(observation.fact) if observation.fact in _ORDER else len(_ORDER)
    return 1 + place, observation.fact in _TAKEN and observation.return_token in mail.refuting


def _state(best: Observation, facts: set[Fact], mail: _Mail) -> tuple[CaseState | None, Reason | None]:
    if best.token in mail.first or best.fact is Fact.CANARY_REACHED:
        return CaseState.OPEN, None
    if best.fact in _YES:
        return _state_of_yes(best, facts, mail)
    is_catch_alls = Fact.ACCEPTS_ANYTHING in facts  # putting off says no more than taking, there
    if best.fact in {Fact.VOID, Fact.ACCEPTS_ANYTHING} or (best.fact is Fact.DEFERRED and is_catch_alls):
        return CaseState.VOID, Reason.ACCEPTS_ANYTHING if is_catch_alls else None
    if best.fact is Fact.REFUSED:
        return CaseState.REFUSED, None
    if best.fact in _UNDECIDED:
        is_greylist = best.detail == Reason.GREYLISTED.value
        return CaseState.UNDECIDED, Reason.GREYLISTED if is_greylist else _UNDECIDED[best.fact]
    return None, None


def _state_of_yes(best: Observation, facts: set[Fact], mail: _Mail) -> tuple[CaseState, Reason | None]:
    if best.fact in _TAKEN and best.return_token in mail.refuting:
        return CaseState.REFUTED, Reason.BACKSCATTER
    if Fact.ACCEPTS_ANYTHING in facts:
        return CaseState.VOID, Reason.ACCEPTS_ANYTHING  # a catch-all's yes says nothing
    if best.detail.startswith(Reason.SINK_UNPROVED.value):
        return CaseState.ACCEPTING, Reason.SINK_UNPROVED
    if best.destination:
        return CaseState.ACCEPTING, Reason.NOT_REACHED
    return CaseState.ACCEPTING, Reason.NOT_DELIVERED if best.fact in _TAKEN else Reason.NOT_SENT
