"""Whether silence is a filter's, which strangers meet as well, or an answer to us alone."""

from __future__ import annotations

from collections.abc import Iterable

from relaywatch.model.evidence import Attempt, AttemptStatus, Fact
from relaywatch.model.places import DATAGRAMS, Address, Endpoint, Family

SILENT = frozenset({AttemptStatus.NO_ANSWER, AttemptStatus.UNREACHABLE})
"""Nothing came in answer to our first packet; a reset is an answer."""
_SAY_NOTHING = SILENT | {AttemptStatus.INTERRUPTED, AttemptStatus.BUG}

_OURS = frozenset({Fact.PLANNED, Fact.NOTE})
"""Facts that a script may report of itself, before anything has come."""


def families_that_fell_silent(attempts: Iterable[Attempt]) -> frozenset[Family]:
    """The families over which a port was heard at one time and silent at another: we are blocked there now.

    Whatever else is silent over that family may be so for us alone. Datagrams get lost, and tell nothing.
    """
    heard: set[Endpoint] = set()
    silent: set[Endpoint] = set()
    for attempt in _direct(attempts):
        if attempt.status in SILENT:
            silent.add(attempt.endpoint)
        if was_heard(attempt):
            heard.add(attempt.endpoint)
    return frozenset(endpoint.family for endpoint in heard & silent)


def to_ask_again(attempts: Iterable[Attempt], address: Address) -> Attempt | None:
    """The first at which the address was heard, if another port was asked after it and is silent: so may this be now."""
    there = [one for one in _direct(attempts) if one.endpoint.address == address and one.began is not None]
    heard = [one for one in there if was_heard(one)]
    silent = [one for one in there if one.status in SILENT]
    if not heard or not silent:
        return None
    first = min(heard, key=_began)
    return first if _began(max(silent, key=_began)) > _began(first) else None


def was_heard(attempt: Attempt) -> bool:
    """Whether anything came from there; a fault of ours tells of nobody."""
    return attempt.status not in _SAY_NOTHING or any(seen.fact not in _OURS for seen in attempt.observations)


def _began(attempt: Attempt) -> float:
    return attempt.began.timestamp() if attempt.began else 0.0


def _direct(attempts: Iterable[Attempt]) -> list[Attempt]:
    """Those that led by TCP to the target itself."""
    return [one for one in attempts if not one.door.via and one.door.transport not in DATAGRAMS]
