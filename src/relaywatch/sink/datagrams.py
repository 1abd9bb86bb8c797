"""The sink's UDP ports: canaries that answer the words, and the DNS server's datagrams.

Whoever sends a datagram may lie about where it comes from. So nobody gets an answer but who says a token of
ours or asks for a name of our zone, an answer is hardly longer than what was asked, and each source, and all
of them together, get only so many a second.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, cast

from relaywatch.model.canary import find_token_words
from relaywatch.model.evidence import ArrivalKind
from relaywatch.model.places import Endpoint, parse_address
from relaywatch.model.tokens import Token

from .answering import Answerer, Circumstances
from .canary_dialogue import FindToken
from .doorkeeper import Doorkeeper, source_of
from .settings import Limits

_LONGEST = 512
"""Octets of a datagram of words that are looked at."""
_UNANSWERED = 500
"""Datagrams that wait for the disk at once; those beyond are dropped, as datagrams may be."""

Work = Callable[[], Awaitable[bytes | None]]
"""Does what a datagram asks for, and gives the answer, if there is one."""
React = Callable[[bytes, Endpoint, int], Work | None]
"""What is to be done about a datagram from there to this port of ours; nothing costs nothing."""


class Turnstile:
    """Lets so many datagrams through in each second."""

    def __init__(self, limits: Limits) -> None:
        self._most, self._most_from_one = limits.datagrams, limits.datagrams_per_source
        self._second = 0
        self._sources: Counter[str] = Counter()

    def lets(self, peer: Endpoint, now: float) -> bool:
        """Whether one from there may pass now."""
        if int(now) != self._second:
            self._second = int(now)
            self._sources.clear()
        source = source_of(peer.address)
        if self._sources[source] >= self._most_from_one or self._sources.total() >= self._most:
            return False
        self._sources[source] += 1
        return True


class DatagramPort(asyncio.DatagramProtocol):
    """One UDP port of ours."""

    def __init__(self, react: React, doorkeeper: Doorkeeper, turnstile: Turnstile) -> None:
        self._react, self._doorkeeper, self._turnstile = react, doorkeeper, turnstile
        self._transport: asyncio.DatagramTransport | None = None
        self._port = 0
        self._unanswered = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The port is open."""
        self._transport = cast("asyncio.DatagramTransport", transport)  # uvloop's is no subclass
        self._port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        """Do what it asks for, if it is worth it and there is time."""
        peer = Endpoint(parse_address(addr[0].partition("%")[0]), addr[1])
        work = self._react(data, peer, self._port)
        now = asyncio.get_running_loop().time()
        if work and self._unanswered < _UNANSWERED and self._turnstile.lets(peer, now):
            self._unanswered += 1
            self._doorkeeper.run(self._answer(work, addr))

    def error_received(self, exc: Exception) -> None:
        """Nobody was there to hear an answer."""

    async def _answer(self, work: Work, to: tuple[Any, ...]) -> None:
        try:
            answer = await work()
        finally:
            self._unanswered -= 1
        if answer is not None and self._transport and not self._transport.is_closing():
            self._transport.sendto(answer, to)


def answer_words(find: FindToken, answerer: Answerer) -> React:
    """Make what answers a datagram that says a token of ours, and no other."""

    async def answer(token: Token, peer: Endpoint, port: int) -> bytes | None:
        how = Circumstances(kind=ArrivalKind.UDP, peer=peer, port=port)
        said = await answerer.answer(token, how)
        return said.encode("ascii") if said else None

    def react(data: bytes, peer: Endpoint, port: int) -> Work | None:
        text = find_token_words(data[:_LONGEST].decode("latin-1"))
        token = find(text) if text else None
        return partial(answer, token, peer, port) if token else None

    return react
