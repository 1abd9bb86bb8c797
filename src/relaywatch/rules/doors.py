"""The verdict on each door."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from relaywatch.model.evidence import Attempt, AttemptStatus, Fact
from relaywatch.model.places import SUBMISSION_PORTS, Door
from relaywatch.model.verdicts import DoorJudgement, Reason, Verdict

from .cases import CaseJudgement, CaseState

_STATUS_REASONS = {
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
_FACT_REASONS = {
    Fact.TLS_REQUIRED: Reason.TLS_REQUIRED,
    Fact.AUTH_REQUIRED: Reason.AUTH_REQUIRED,
    Fact.CLIENT_BLOCKED: Reason.CLIENT_BLOCKED,
    Fact.RATE_LIMITED: Reason.RATE_LIMITED,
    Fact.DEFERRED: Reason.DEFERRED,
}
_NOBODY_HOME = frozenset({Fact.NOT_THIS_PROTOCOL, Fact.NOT_OFFERED})
_ANSWERED = frozenset({CaseState.REFUSED, CaseState.REFUTED})


def judge_door(door: Door, attempts: Sequence[Attempt], cases: Sequence[CaseJudgement]) -> DoorJudgement:
    """Judge one door by its attempts and by the verdicts on its cases."""
    verdict, reasons = _verdict(door, attempts, cases)
    planned = max(
        (seen.count for a in attempts for seen in a.observations if seen.fact is Fact.PLANNED), default=0
    )
    notes = {seen.detail for a in attempts for seen in a.observations if seen.fact is Fact.NOTE}
    return DoorJudgement(
        door=door,
        verdict=verdict,
        reasons=_sorted(reasons),
        asked=len(cases),
        planned=planned,
        notes=tuple(sorted(notes)),
    )


def _verdict(
    door: Door, attempts: Sequence[Attempt], cases: Sequence[CaseJudgement]
) -> tuple[Verdict, set[Reason]]:
    states = {case.state for case in cases}
    if CaseState.OPEN in states:
        return Verdict.OPEN, set()
    facts = {seen.fact for a in attempts for seen in a.observations if not seen.case}
    side_effects = {Reason.BACKSCATTER} if CaseState.REFUTED in states else set()
    if CaseState.ACCEPTING in states:
        why = {case.reason for case in cases if case.state is CaseState.ACCEPTING and case.reason}
        return Verdict.ACCEPTING, why | side_effects | _yes_man(facts)
    if _is_absent(attempts, facts):
        return Verdict.ABSENT, set()
    reasons = _doubts(attempts, cases, facts)
    if reasons == {Reason.AUTH_REQUIRED} and door.port in SUBMISSION_PORTS:
        return Verdict.CLOSED, reasons  # docs/adr/0005: there the demand is the refusal
    if not reasons:
        return Verdict.CLOSED, side_effects
    return Verdict.INCONCLUSIVE, reasons | side_effects


def _yes_man(facts: set[Fact]) -> set[Reason]:
    return {Reason.ACCEPTS_ANYTHING} if Fact.ACCEPTS_ANYTHING in facts else set()


def _is_absent(attempts: Sequence[Attempt], facts: set[Fact]) -> bool:
    if facts & _NOBODY_HOME:
        return True
    return bool(attempts) and all(a.status is AttemptStatus.NO_LISTENER for a in attempts)


def _doubts(attempts: Sequence[Attempt], cases: Sequence[CaseJudgement], facts: set[Fact]) -> set[Reason]:
    """All that keeps the door from being called closed."""
    doubts = {_FACT_REASONS[fact] for fact in facts if fact in _FACT_REASONS}
    doubts |= {_STATUS_REASONS[a.status] for a in attempts if a.status in _STATUS_REASONS}
    doubts |= {case.reason for case in cases if case.state is CaseState.DEFERRED and case.reason}
    planned = max(
        (seen.count for a in attempts for seen in a.observations if seen.fact is Fact.PLANNED), default=0
    )
    if len(cases) < planned or (not planned and not doubts):
        doubts.add(Reason.INCOMPLETE)
    if not doubts and not any(case.state in _ANSWERED for case in cases):
        doubts.add(Reason.VOID)
    if not doubts and Fact.TALKS not in facts:
        doubts.add(Reason.CLIENT_BLOCKED)  # no sign that it answers the question, rather than us
    return doubts


def judge_target(doors: Sequence[DoorJudgement]) -> tuple[Verdict, set[Reason]]:
    """Put the doors' verdicts together into the target's."""
    for verdict in (Verdict.OPEN, Verdict.ACCEPTING):
        deciding = [door for door in doors if door.verdict is verdict]
        if deciding:
            return verdict, {reason for door in deciding for reason in door.reasons}
    present = [door for door in doors if door.verdict is not Verdict.ABSENT]
    tested = [door for door in present if not _may_be_overlooked(door, present)]
    if not present:
        return (Verdict.ABSENT, set()) if doors else (Verdict.INCONCLUSIVE, {Reason.INCOMPLETE})
    if not tested:
        return Verdict.INCONCLUSIVE, {reason for door in present for reason in door.reasons}
    doubtful = [door for door in tested if door.verdict is Verdict.INCONCLUSIVE]
    if doubtful:
        return Verdict.INCONCLUSIVE, {reason for door in doubtful for reason in door.reasons}
    return Verdict.CLOSED, {reason for door in tested for reason in door.reasons}


def _may_be_overlooked(door: DoorJudgement, doors: Iterable[DoorJudgement]) -> bool:
    """Whether a door adds nothing: silent beside one that speaks, or wanting TLS beside its TLS twin."""
    if door.verdict is not Verdict.INCONCLUSIVE:
        return False
    others = [other for other in doors if other is not door and other.verdict is Verdict.CLOSED]
    if set(door.reasons) <= {Reason.NO_ANSWER, Reason.UNREACHABLE}:
        return bool(others)
    if set(door.reasons) == {Reason.TLS_REQUIRED}:
        return any((o.door.port, o.door.family) == (door.door.port, door.door.family) for o in others)
    return False


def _sorted(reasons: Iterable[Reason]) -> tuple[Reason, ...]:
    return tuple(sorted(reasons))
