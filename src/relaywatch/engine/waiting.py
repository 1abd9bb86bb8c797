"""What an operation is answered with when it can't be answered at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final

from relaywatch.script import ops


class Pending(Enum):
    """The type of `PENDING`."""

    PENDING = auto()


PENDING: Final = Pending.PENDING
"""Not answered yet."""

NEVER = float("inf")


def _not_yet(_op: ops.Op[Any]) -> Pending:
    return PENDING


@dataclass(slots=True)
class Wait:
    """An operation that can't be answered at once.

    ``poll`` is asked for the answer whenever something has changed, ``late`` when ``seconds`` are over;
    either gives the answer, `PENDING`, another `Wait`, or raises the error that is the answer.
    While ``is_idle``, the attempt's own time stands still; what it waits for a greeting is given back to it
    afterwards, within limits.
    """

    op: Any
    seconds: float
    poll: Callable[[Any], Any] = _not_yet
    late: Callable[[Any], Any] = _not_yet
    is_idle: bool = False
    is_for_greeting: bool = False
