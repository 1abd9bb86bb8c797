"""The verdict on each case, which comes before the verdict on the door and on the target."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
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
PROVES_A_TUNNEL = frozenset({ArrivalKind.TCP, ArrivalKind.HTTP, ArrivalKind.UDP})
"""Whoever looks up our canary's name hasn't been led anywhere yet."""
_CLOCKS = timedelta(seconds=5)
"""How far the sink's clock may be from the engine's."""
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


_NO = frozenset({CaseState.REFUSED, CaseState.VOID, CaseState.UNDECIDED})


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
    """What came to our sink: the earliest proof of each canary, and the reverse-paths that refute."""

    first: Mapping[str, Arrival]
    late: frozenset[str]
    """Canaries that were reached too late, and from elsewhere, to say who did it."""
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
    first: dict[str, Arrival] = {}
    late: set[str] = set()
    for attempt in attempts:
        for seen in attempt.observations:
            for arrival in by_token.get(seen.token or "", ()):
                if not _is_of_its_kind(arrival, seen):
                    continue
                if _is_anybodys(arrival, seen, attempt):
                    late.add(arrival.token)
                else:
                    first.setdefault(arrival.token, arrival)
    return _Mail(first, frozenset(late), frozenset(refuting))


def _is_of_its_kind(arrival: Arrival, asked: Observation) -> bool:
    """Whether it came as what was asked for: mail by a relay, a connection or datagram by a proxy."""
    if asked.destination:
        return arrival.kind in PROVES_A_TUNNEL
    return arrival.kind is ArrivalKind.MAIL


def _is_anybodys(arrival: Arrival, asked: Observation, attempt: Attempt) -> bool:
    """Whether it may be of a stranger who read our words, in a log say: of a proxy, and after the attempt.

    From the target's own address it is the target's whenever it comes. Mail takes its time, by whatever way.
    """
    if not asked.destination or attempt.began is None:
        return False
    if arrival.came_from is not None and arrival.came_from.address == attempt.endpoint.address:
        return False
    return arrival.at > attempt.began + timedelta(seconds=attempt.seconds) + _CLOCKS


def _is_notification(arrival: Arrival) -> bool:
    """Whether it comes from a mail system, rather than from somebody's autoresponder (RFC 5321 section 6.1)."""
    return arrival.kind is ArrivalKind.BOUNCE or arrival.reverse_path in {"", "<>"}


def _judge_case(door: Door, probe: str, case: str, seen: list[_Seen], mail: _Mail) -> CaseJudgement | None:
    facts = {observation.fact for observation, _ in seen}
    best, attempt = min(seen, key=lambda pair: (_rank(pair[0], mail), repr(pair[0]), pair[1].source))
    state, reason = _state(best, facts, mail)
    if state is None:
        return None
    if state in _NO and any(observation.token in mail.late for observation, _ in seen):
        state, reason = CaseState.UNDECIDED, Reason.REACHED_LATER
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
    """Whether a proxy's canary was reached from where we come from, by something on our own way (docs/adr/0013).

    On this machine, and where the target is ourselves, that is as it should be.
    """
    target = attempt.endpoint.address
    if judgement.state is not CaseState.OPEN or target.is_loopback or not judgement.exit_address:
        return False
    own = set(attempt.seen_from)
    if attempt.source:
        own.add(parse_address(attempt.source.partition("%")[0]))
    return parse_address(judgement.exit_address) in own - {target}


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
