"""The sink's DNS server: answers for the canaries' zone, and notes whose name was looked up."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import cast

from relaywatch.model.evidence import ArrivalKind
from relaywatch.model.places import Endpoint

from .answering import Answerer, Circumstances
from .canary_dialogue import FindToken
from .datagrams import Work
from .doorkeeper import Doorkeeper
from .guests import GuestConnection
from .zone import Zone

_LONGEST = 1024
"""Octets of a query."""
_OCTETS = 16_384
_QUERIES = 20
"""On one connection, which may ask for more than one thing (RFC 7766 section 6.2.1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NameServer:
    """Answers for a zone, over UDP (`react`) and TCP (`connection`)."""

    zone: Zone
    find: FindToken
    answerer: Answerer
    doorkeeper: Doorkeeper

    def connection(self) -> NameConnection:
        """Make the protocol of a new TCP connection."""
        return NameConnection(self)

    def react(self, data: bytes, peer: Endpoint, port: int) -> Work | None:
        """What to do about a datagram."""
        return partial(self.answer, data, peer, port) if len(data) <= _LONGEST else None

    async def answer(self, query: bytes, peer: Endpoint, port: int) -> bytes | None:
        """Note the look-up of a token of ours, then give the answer; nothing if there is none to give."""
        look = self.zone.look(query)
        if look is None:
            return None
        token = next(filter(None, map(self.find, look.labels)), None)
        how = Circumstances(kind=ArrivalKind.DNS, peer=peer, port=port)
        if token and not await self.answerer.note(token, how):
            return None
        return look.answer


class NameConnection(GuestConnection):
    """One peer that asks over TCP, where each message has its length before it (RFC 1035 section 4.2.2)."""

    def __init__(self, server: NameServer) -> None:
        super().__init__(server.doorkeeper, _OCTETS)
        self._server = server
        self._buffer = bytearray()
        self._queries = 0
        self._is_waiting = False
        self._has_ended = False

    def heard(self, data: bytes) -> None:
        """Answer what is complete, one after the other."""
        self._buffer += data
        self._advance()

    def ended(self) -> None:
        """Stay until what was asked is answered."""
        self._has_ended = True
        if not self._is_waiting:
            self.hang_up()

    def _advance(self) -> None:
        if self._is_waiting:
            return
        length = int.from_bytes(self._buffer[:2], "big")
        if length > _LONGEST or self._queries >= _QUERIES:
            self.hang_up()
        elif len(self._buffer) >= 2 + length and len(self._buffer) > 2:
            query = bytes(self._buffer[2 : 2 + length])
            del self._buffer[: 2 + length]
            self._queries += 1
            self._is_waiting = True
            self.renew()
            self.doorkeeper.run(self._answer(query, cast("Endpoint", self.peer)))
        elif self._has_ended:
            self.hang_up()

    async def _answer(self, query: bytes, peer: Endpoint) -> None:
        answer = await self._server.answer(query, peer, self.port)
        self._is_waiting = False
        if answer is None:
            self.hang_up()
            return
        self.say(len(answer).to_bytes(2, "big") + answer)
        self._advance()
