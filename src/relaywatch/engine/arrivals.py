"""Where arrivals at our sink meet the attempts that wait for them."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable

from relaywatch.model.evidence import Arrival, ArrivalKind
from relaywatch.model.tokens import Token

_MAX_PER_TOKEN = 20
"""Enough to tell a message from its bounce and its copies."""


class ArrivalBoard:
    """Keeps arrivals by token, and answers whoever expects one.

    Memory is bounded: of a token the first 20 arrivals are kept; of tokens that nobody has registered,
    the last ``max_strangers``, since a message may well arrive before its attempt is told "250".
    """

    def __init__(self, *, max_strangers: int = 10_000) -> None:
        self._max_strangers = max_strangers
        self._registered: dict[Token, list[Arrival]] = {}
        self._strangers: OrderedDict[Token, list[Arrival]] = OrderedDict()
        self._waiting: dict[Token, set[asyncio.Future[Arrival | None]]] = {}
        self.hear: Callable[[Arrival], None] | None = None
        """Told of every arrival, for whom this board isn't the only one."""

    def register(self, tokens: Iterable[Token]) -> None:
        """Keep whatever arrives, or has lately arrived, for these tokens."""
        for token in tokens:
            if token not in self._registered:
                self._registered[token] = self._strangers.pop(token, [])

    def forget(self, tokens: Iterable[Token]) -> None:
        """Let go of what was registered."""
        for token in tokens:
            self._registered.pop(token, None)

    def note(self, arrival: Arrival) -> None:
        """Keep an arrival, and answer whoever expects it."""
        if self.hear is not None:
            self.hear(arrival)
        kept = self._kept(arrival.token)
        if len(kept) < _MAX_PER_TOKEN:
            kept.append(arrival)
        for waiting in tuple(self._waiting.get(arrival.token, ())) if _is_awaited(arrival) else ():
            if not waiting.done():
                waiting.set_result(arrival)

    def arrivals(self, tokens: Iterable[Token]) -> tuple[Arrival, ...]:
        """All that has arrived for these tokens, in the order of the tokens."""
        return tuple(arrival for token in tokens for arrival in self._of(token))

    def expect(self, tokens: Iterable[Token], seconds: float) -> asyncio.Future[Arrival | None]:
        """Give the first arrival for any of the tokens, or nothing when ``seconds`` are over.

        What has arrived already answers at once. A look-up of a canary's name is kept, and answers nobody.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Arrival | None] = loop.create_future()
        wanted = tuple(tokens)
        already = tuple(filter(_is_awaited, self.arrivals(wanted)))
        if already or seconds <= 0:
            future.set_result(already[0] if already else None)
            return future
        for token in wanted:
            self._waiting.setdefault(token, set()).add(future)
        timer = loop.call_later(seconds, _give_up, future)
        future.add_done_callback(lambda done: self._stop_waiting(done, wanted, timer))
        return future

    def _of(self, token: Token) -> list[Arrival]:
        return self._registered.get(token) or self._strangers.get(token) or []

    def _kept(self, token: Token) -> list[Arrival]:
        if token in self._registered:
            return self._registered[token]
        kept = self._strangers.setdefault(token, [])
        self._strangers.move_to_end(token)
        if len(self._strangers) > self._max_strangers:
            self._strangers.popitem(last=False)
        return kept

    def _stop_waiting(
        self, future: asyncio.Future[Arrival | None], tokens: tuple[Token, ...], timer: asyncio.TimerHandle
    ) -> None:
        timer.cancel()
        for token in tokens:
            waiting = self._waiting.get(token, set())
            waiting.discard(future)
            if not waiting:
                self._waiting.pop(token, None)


def _is_awaited(arrival: Arrival) -> bool:
    """Whether it is what somebody waits for: a look-up of a canary's name only announces it."""
    return arrival.kind is not ArrivalKind.DNS


def _give_up(future: asyncio.Future[Arrival | None]) -> None:
    if not future.done():
        future.set_result(None)
