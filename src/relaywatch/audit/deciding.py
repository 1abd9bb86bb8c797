"""Lists of rules in which the first that applies decides, as most servers have them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from .conditions import Condition, Way, joined, shortest
from .findings import AuditVerdict, Cause

Answer = TypeVar("Answer")
_MOST_KEPT = 256
_MOST_DENIED = 200
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
            ways[:] = shortest(ways)
        left = tuple(map(_less, joined(left, rule.condition.false)))
        if not left:
            break
    found.setdefault(default, []).extend(way.because(*causes) for way in left)
    return {answer: shortest(ways) for answer, ways in found.items() if ways}


def _less(way: Way) -> Way:
    """The way with a bounded number of claims that aren't made: it is no harder to go without the others."""
    denied = [claim for claim in way.claims if claim.negated]
    if len(denied) <= _MOST_DENIED:
        return way
    dropped = frozenset(sorted(denied)[_MOST_DENIED:])
    return replace(way, claims=way.claims - dropped)


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
