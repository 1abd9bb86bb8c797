"""The verdict on each door."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from relaywatch.model.evidence import Attempt, AttemptStatus, Fact, Weakness
from relaywatch.model.places import SUBMISSION_PORTS, Door, Family, Transport
from relaywatch.model.results import DoorLine
from relaywatch.model.verdicts import DoorJudgement, Reason, Verdict

from .cases import CaseJudgement, CaseState

_STATUS_REASONS = {
    AttemptStatus.NO_LISTENER: Reason.INCOMPLETE,  # where somebody has been heard before, that is
    AttemptStatus.NO_ANSWER: Reason.NO_ANSWER,
    AttemptStatus.UNREACHABLE: Reason.UNREACHABLE,
    AttemptStatus.TIMEOUT: Reason.TIMEOUT,
    AttemptStatus.TARPIT: Reason.TARPIT,
    AttemptStatus.CUT_SHORT: Reason.CUT_SHORT,
    AttemptStatus.TLS_FAILED: Reason.TLS_FAILED,
    AttemptStatus.PROTOCOL_ERROR: Reason.PROTOCOL_ERROR,
    AttemptStatus.LIMIT: Reason.LIMIT,
    AttemptStatus.INTERRUPTED: Reason.INTERRUPTED,
    AttemptStatus.BUG: Reason.BUG,
}
_SPARE_PORTS = frozenset({2525})
"""Doors beside the usual ones, which most servers haven't got."""
_FACT_REASONS = {
    Fact.TLS_REQUIRED: Reason.TLS_REQUIRED,
    Fact.AUTH_REQUIRED: Reason.AUTH_REQUIRED,
    Fact.CLIENT_BLOCKED: Reason.CLIENT_BLOCKED,
    Fact.RATE_LIMITED: Reason.RATE_LIMITED,
    Fact.DEFERRED: Reason.DEFERRED,
}
_NOBODY_HOME = frozenset({Fact.NOT_THIS_PROTOCOL, Fact.NOT_OFFERED, Fact.SPEAKS})
"""Facts of whoever doesn't speak the probe's protocol; to say what one speaks answers no question."""
_ANSWERED = frozenset({CaseState.REFUSED, CaseState.REFUTED})
_SILENCE = frozenset({Reason.NO_ANSWER, Reason.UNREACHABLE})
_MUTE = frozenset({Reason.TIMEOUT, Reason.PROTOCOL_ERROR, Reason.CUT_SHORT})
"""How a plain attempt ends at a door that waits for a TLS hello."""
_PRECEDENCE = (Verdict.OPEN, Verdict.ACCEPTING, Verdict.INCONCLUSIVE, Verdict.CLOSED, Verdict.ABSENT)

_Part = tuple[Verdict, set[Reason]]


def judge_door(door: Door, attempts: Sequence[Attempt], cases: Sequence[CaseJudgement]) -> DoorJudgement:
    """Judge one door by its attempts and by the verdicts on its cases, each probe's share by itself."""
    parts: list[_Part] = []
    planned = 0
    for probe in sorted({attempt.probe for attempt in attempts}):
        share = [attempt for attempt in attempts if attempt.probe == probe]
        answered = [case for case in cases if case.probe == probe]
        if not answered and all(map(_could_ask_nothing, share)):
            continue
        parts.append(_judge_share(door, share, answered))
        # A proxy that lets one port through is asked for the others too, which nobody planned.
        planned += max(_planned(share), len(answered))
    verdict, reasons = _put_together(parts)
    notes = {seen.detail for a in attempts for seen in a.observations if seen.fact is Fact.NOTE}
    return DoorJudgement(
        door=door,
        verdict=verdict,
        reasons=tuple(sorted(reasons)),
        asked=len(cases),
        planned=planned,
        notes=tuple(sorted(notes)),
    )


def _put_together(parts: Iterable[_Part]) -> _Part:
    """The first of the verdicts in the order of precedence, with the reasons of all that share it.

    Absent comes last: what isn't there adds nothing to what is.  Of nothing nothing can be said.
    """
    listed = list(parts)
    if not listed:
        return Verdict.INCONCLUSIVE, {Reason.INCOMPLETE}
    verdict = min((verdict for verdict, _ in listed), key=_PRECEDENCE.index)
    return verdict, {reason for other, reasons in listed if other is verdict for reason in reasons}


def _judge_share(door: Door, attempts: Sequence[Attempt], cases: Sequence[CaseJudgement]) -> _Part:
    """Judge what one probe saw at the door."""
    states = {case.state for case in cases}
    if CaseState.OPEN in states:
        return Verdict.OPEN, set()
    facts = {seen.fact for a in attempts for seen in a.observations if not seen.case}
    side_effects = {Reason.BACKSCATTER} if CaseState.REFUTED in states else set()
    side_effects |= {case.reason for case in cases if case.state is CaseState.VOID and case.reason}
    if CaseState.ACCEPTING in states:
        why = {case.reason for case in cases if case.state is CaseState.ACCEPTING and case.reason}
        return Verdict.ACCEPTING, why | side_effects | _yes_man(facts)
    if not cases and all(_found_nobody(attempt) for attempt in attempts):
        return Verdict.ABSENT, set()
    reasons = _doubts(attempts, cases, facts)
    if reasons == {Reason.AUTH_REQUIRED} and _wants_users(door, attempts):
        return Verdict.CLOSED, reasons  # docs/adr/0005: there the demand is the refusal
    if not reasons:
        return Verdict.CLOSED, side_effects
    return Verdict.INCONCLUSIVE, reasons | side_effects


def _wants_users(door: Door, attempts: Sequence[Attempt]) -> bool:
    """Whether the door is for those alone who have credentials: submission, and any proxy that asks for them."""
    return door.port in SUBMISSION_PORTS or all(a.weakness is Weakness.OPEN_PROXY for a in attempts)


def _yes_man(facts: set[Fact]) -> set[Reason]:
    yes_men = {Fact.ACCEPTS_ANYTHING: Reason.ACCEPTS_ANYTHING, Fact.DECEPTIVE: Reason.DECEPTIVE}
    return {reason for fact, reason in yes_men.items() if fact in facts}


def _could_ask_nothing(attempt: Attempt) -> bool:
    """Whether we lacked what the probe needs (a name of our canary, say): that is no trait of the door."""
    plans = [seen.count for seen in attempt.observations if seen.fact is Fact.PLANNED]
    return bool(plans) and not any(plans)


def _found_nobody(attempt: Attempt) -> bool:
    facts = {seen.fact for seen in attempt.observations} - {Fact.PLANNED}  # which is of ours
    if not facts:
        return attempt.status is AttemptStatus.NO_LISTENER
    return not facts.isdisjoint(_NOBODY_HOME)


def _planned(attempts: Iterable[Attempt]) -> int:
    """How many cases were to be asked: the largest plan, since a further attempt asks some of them again."""
    return max(
        (seen.count for a in attempts for seen in a.observations if seen.fact is Fact.PLANNED), default=0
    )


def _doubts(attempts: Sequence[Attempt], cases: Sequence[CaseJudgement], facts: set[Fact]) -> set[Reason]:
    """All that keeps the door from being called closed."""
    doubts = {_FACT_REASONS[fact] for fact in facts if fact in _FACT_REASONS}
    doubts |= {_STATUS_REASONS[a.status] for a in attempts if a.status in _STATUS_REASONS}
    doubts |= {case.reason for case in cases if case.state is CaseState.UNDECIDED and case.reason}
    if len(cases) < _planned(attempts) or (not doubts and not all(_planned([a]) for a in attempts)):
        doubts.add(Reason.INCOMPLETE)
    if not doubts and not any(case.state in _ANSWERED for case in cases):
        doubts.add(Reason.VOID)
    if not doubts and Fact.TALKS not in facts:
        doubts.add(Reason.CLIENT_BLOCKED)  # no sign that it answers the question, rather than us
    return doubts


def judge_target(doors: Sequence[DoorJudgement]) -> tuple[Verdict, set[Reason]]:
    """Put the doors' verdicts together into the target's."""
    closed = [door.door for door in doors if door.verdict is Verdict.CLOSED and not door.door.via]
    return _put_together(
        (door.verdict, set(door.reasons)) for door in doors if not _may_be_overlooked(door, closed)
    )


def judge_proxies(
    doors: Sequence[DoorJudgement], *, is_alive: bool, blocked: Collection[Family] = ()
) -> tuple[Verdict, set[Reason]]:
    """Put the doors' verdicts together where proxies are looked for, on many ports that most hosts haven't got.

    A silent one among them is as good as none, at a host that is heard elsewhere (docs/adr/0012): no provider
    closes these ports to us as some close port 25. But where a port that was heard has fallen silent, the host
    has closed itself to us, and over that family silence says nothing.
    """
    return _put_together(_weigh(door, is_alive=is_alive, blocked=blocked) for door in doors)


def _weigh(door: DoorJudgement, *, is_alive: bool, blocked: Collection[Family]) -> _Part:
    reasons = set(door.reasons)
    if door.door.family in blocked and door.verdict is Verdict.INCONCLUSIVE and reasons & _SILENCE:
        return Verdict.INCONCLUSIVE, {Reason.CLIENT_BLOCKED}
    if is_alive and is_silent(door):
        return Verdict.ABSENT, set()
    return door.verdict, reasons


def is_silent(door: DoorJudgement | DoorLine) -> bool:
    """Whether nothing has come from there at all, whatever we meant to ask."""
    reasons = set(door.reasons) - {Reason.INCOMPLETE}
    is_mute = bool(reasons) and reasons <= _SILENCE
    return door.verdict is Verdict.INCONCLUSIVE and is_mute and not door.asked


def _may_be_overlooked(door: DoorJudgement, closed: Sequence[Door]) -> bool:
    """Whether a door adds nothing to those that were tested and are closed (docs/adr/0006).

    A door for users is silent beside one that speaks, or any door beside the same of the other family; or it
    wants TLS, or waits for a TLS hello, beside its twin with TLS. Nothing speaks for a silent door where
    strangers' mail comes in: our own provider may have closed that port to us.
    """
    if door.verdict is not Verdict.INCONCLUSIVE:
        return False
    here, reasons = door.door, set(door.reasons)
    if reasons <= _SILENCE:
        return any(other.port == here.port or _speaks_for(other, here) for other in closed)
    twins = {other.transport for other in closed if (other.port, other.family) == (here.port, here.family)}
    if reasons == {Reason.TLS_REQUIRED}:
        return bool(twins)
    return reasons <= _MUTE and not door.asked and Transport.TLS in twins


def _speaks_for(closed: Door, silent: Door) -> bool:
    """A submission door refuses strangers by its nature, and speaks for no more than its own kind."""
    if silent.port in SUBMISSION_PORTS:
        return True
    return silent.port in _SPARE_PORTS and closed.port not in SUBMISSION_PORTS
