"""Lists of rules in which the first that applies decides, as most servers have them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from .conditions import Condition, Way, fewest, joined, shortest
from .findings import AuditVerdict, Cause

Answer = TypeVar("Answer")
_MOST_KEPT = 256
_MOST_DENIED = 100
"""A list of a million names must not grow into a million claims, each in a million ways."""


@dataclass(frozen=True, slots=True)
class Rule(Generic[Answer]):
    """If the condition holds, this is the answer, because of these settings."""

    condition: Condition
    answer: Answer
    causes: tuple[Cause, ...] = ()


def first_match(
    rules: Iterable[Rule[Answer]], default: Answer, *causes: Cause
) -> dict[Answer, tuple[Way, ...]]:
    """The ways to each answer that a stranger can bring about; ``default``, by these causes, if no rule applies."""
    found: dict[Answer, list[Way]] = {}
    left: tuple[Way, ...] = (Way(),)
    for rule in rules:
        if not rule.condition.true and Way() in rule.condition.false:
            continue
        ways = found.setdefault(rule.answer, [])
        ways.extend(way.because(*rule.causes) for way in joined(left, rule.condition.true))
        if len(ways) > _MOST_KEPT:
            ways[:] = fewest(ways)
        left = _left(left, rule.condition)
        if not left:
            break
    found.setdefault(default, []).extend(way.because(*causes) for way in left)
    return {answer: shortest(ways) for answer, ways in found.items() if ways}


def _left(ways: tuple[Way, ...], condition: Condition) -> tuple[Way, ...]:
    """The ways past the rule. One that denies much already denies no more: it is no harder to go without."""
    full = tuple(way for way in ways if len(way.claims) > _MOST_DENIED)
    rest = joined((way for way in ways if len(way.claims) <= _MOST_DENIED), condition.false)
    if not full:
        return rest
    return fewest([*rest, *(past for way in full for past in _past(way, condition))])


def _past(way: Way, condition: Condition) -> Iterator[Way]:
    for other in condition.false:
        if way.agrees_with(other):
            asked = frozenset(claim for claim in other.claims if not claim.negated)
            yield way.joined(Way(asked, other.gaps, other.causes))


def last_match(
    rules: Iterable[Rule[Answer]], default: Answer, *causes: Cause
) -> dict[Answer, tuple[Way, ...]]:
    """The same where the last rule that applies decides."""
    return first_match(reversed(tuple(rules)), default, *causes)


def verdict_of(way: Way) -> AuditVerdict:
    """What it means that this way leads through."""
    if way.gaps:
        return AuditVerdict.UNKNOWN
    return AuditVerdict.OPEN if way.is_free else AuditVerdict.OPEN_IF
