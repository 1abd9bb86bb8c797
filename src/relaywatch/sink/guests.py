"""A connection that may stay so long and say so much, whatever it is for."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import cast

from relaywatch.model.places import Endpoint, parse_address

from .doorkeeper import Doorkeeper

_LINGER = 5.0
"""Seconds in which the peer may read our last words; a reset on unread octets would take them from it."""
_LINGERED = 262_144
"""Octets that are read meanwhile, and thrown away."""


class GuestConnection(asyncio.Protocol):
    """One peer that the doorkeeper watches; what it is told is for those that derive from this."""

    def __init__(self, doorkeeper: Doorkeeper, octets_limit: int) -> None:
        self.doorkeeper = doorkeeper
        self.transport: asyncio.Transport | None = None
        self.peer: Endpoint | None = None
        self.port = 0
        """The port of ours."""
        self._octets_left = octets_limit
        self._is_leaving = False
        self._is_at_end = False
        """The peer has half closed."""
        self._began = self._last_step = asyncio.get_running_loop().time()

    # --- for those that derive from this -------------------------------------------------------

    def welcomed(self, peer: Endpoint) -> None:
        """The connection was let in."""

    def heard(self, data: bytes) -> None:
        """Octets came; none come once `hang_up` was called."""
        raise NotImplementedError

    def ended(self) -> None:
        """The peer has said all that it will."""
        self.hang_up()

    def say(self, data: bytes) -> None:
        """Send, if the peer is still there."""
        if self.transport and not self.transport.is_closing():
            self.transport.write(data)

    def renew(self) -> None:
        """The peer has said something whole: its time to say the next begins."""
        self._last_step = asyncio.get_running_loop().time()

    def hang_up(self) -> None:
        """Say no more, and go once the peer has read what was said."""
        if self._is_leaving or self.transport is None:
            return
        self._is_leaving = True
        self._octets_left = _LINGERED
        self.renew()
        if self._is_at_end:
            self.transport.close()
        elif not self.transport.is_closing():
            with suppress(OSError):  # whoever has gone resets what is still said to it
                self.transport.write_eof()

    # --- what asyncio calls --------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let it in, or not."""
        transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        peername = transport.get_extra_info("peername")
        if not peername:  # reset before it was accepted
            transport.abort()
            return
        self.peer = Endpoint(parse_address(peername[0].partition("%")[0]), peername[1])
        self.port = transport.get_extra_info("sockname")[1]
        self.transport = transport
        if self.doorkeeper.enter(self, self.peer.address):
            transport.abort()
        else:
            self.welcomed(self.peer)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  asyncio's name
        """Forget the connection."""
        self.transport = None
        if self.peer:
            self.doorkeeper.leave(self, self.peer.address)

    def data_received(self, data: bytes) -> None:
        """Hand on what came, up to the limit."""
        self._octets_left -= len(data)
        if self._octets_left < 0:
            self.drop()
        elif not self._is_leaving:
            self.heard(data)

    def eof_received(self) -> bool:
        """Keep a half-closed connection until it has had its answer."""
        self._is_at_end = True
        if self._is_leaving:
            return False
        self.ended()
        return not self._is_leaving

    # --- what the doorkeeper calls -------------------------------------------------------------

    def is_overdue(self, now: float, *, idle: float, session: float) -> bool:
        """Whether the peer has had its time; octets that complete nothing don't count."""
        allowed = min(idle, _LINGER) if self._is_leaving else idle
        return now - self._last_step > allowed or now - self._began > session

    def time_out(self) -> None:
        """Hang up; there is nothing to say."""
        self.drop()

    def drop(self) -> None:
        """Drop the connection at once."""
        if self.transport:
            self.transport.abort()
