"""Where arrivals are written down: the journal, how often each token has come, and whoever wants to know."""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from relaywatch.model.evidence import Arrival, ArrivalKind
from relaywatch.model.tokens import Token

from .counters import Counters
from .journal import GroupCommit, Journal, Record
from .settings import Limits

OnArrival = Callable[[Arrival], object]

_log = logging.getLogger(__name__)
_TOKENS_COUNTED = 200_000
"""Tokens whose arrivals are counted; beyond, the oldest half is forgotten."""
_MAIL = frozenset({ArrivalKind.MAIL, ArrivalKind.BOUNCE})
"""Counted together: only the message tells which of the two it is, and floods aren't worth reading."""


class Notebook:
    """Writes arrivals down and tells of them."""

    def __init__(self, *, limits: Limits, counters: Counters, listeners: Iterable[OnArrival]) -> None:
        self.journal: Journal | None = None
        self._limits = limits
        self._counters = counters
        self._listeners = list(listeners)
        self._seen: Counter[str] = Counter()
        self._commit: GroupCommit | None = None
        self._opened = contextlib.ExitStack()

    def open(self, directory: Path) -> None:
        """Open the journal.

        :raises JournalError: if it can't be opened.
        """
        self.journal = Journal(
            directory,
            segment_octets=self._limits.journal_segment,
            segments=self._limits.journal_segments,
        )
        self._opened.callback(self.journal.close)
        self._commit = GroupCommit(self.journal)
        self._opened.callback(self._commit.close)
        self._seen = Counter(_counted_as(record.token, record.kind) for record in self.journal.read_all())

    def close(self) -> None:
        """Close the journal."""
        self._opened.close()

    def subscribe(self, on_arrival: OnArrival) -> Callable[[], None]:
        """Call this at each arrival too, until the function that comes back is called."""
        self._listeners.append(on_arrival)
        return lambda: self._listeners.remove(on_arrival)

    def is_worth_noting(self, token: Token, kind: ArrivalKind) -> bool:
        """Whether the token hasn't come often enough in this way; it is counted, and is to be noted then."""
        counted_as = _counted_as(token, kind)
        if self._seen[counted_as] >= self._limits.arrivals_per_token:
            self._counters.repeated += 1
            return False
        self._seen[counted_as] += 1
        self._forget_oldest()
        return True

    async def note(self, records: Sequence[Record]) -> None:
        """Have the records on disk, then tell of them.

        :raises JournalError: if the disk won't take them; none of them counts then.
        """
        if not records:
            return
        try:
            written = await self._commit.append(records) if self._commit else records
        except BaseException:
            self._counters.failures += 1
            self._seen.subtract(_counted_as(record.token, record.kind) for record in records)
            raise
        self._counters.arrivals += len(written)
        for record in written:
            self._tell(record.arrival())

    def _tell(self, arrival: Arrival) -> None:
        for listener in tuple(self._listeners):
            try:
                listener(arrival)
            except Exception:  # noqa: BLE001  a listener's fault must not cost the sender its answer
                _log.exception("a listener failed at an arrival")

    def _forget_oldest(self) -> None:
        if len(self._seen) > _TOKENS_COUNTED:
            for counted_as in list(self._seen)[: _TOKENS_COUNTED // 2]:
                del self._seen[counted_as]


def _counted_as(token: Token, kind: ArrivalKind) -> str:
    """Each way in counts for itself, lest a resolver that repeats itself hide the connection after it."""
    return token if kind in _MAIL else f"{token} {kind}"
