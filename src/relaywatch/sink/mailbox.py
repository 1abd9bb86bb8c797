"""The sink's SMTP server: sockets, time limits and STARTTLS around the dialogue.

A connection is one small protocol object: no task and no queue, but for the moments in which a message
is being written down or TLS negotiated. Runs in any asyncio event loop, uvloop's too.

Why not aiosmtpd (1.4.6, measured on loopback, Python 3.11, 2 cores): what a mangling or old relay sends
is lost before its handler sees it (see `relaywatch.sink.dialogue`), which here turns *open* into
*accepting*; it bounds neither connections nor a session's time (each valid command starts its clock anew,
a message that is too big is read for ever); 900 idle connections, both ends counted, took 7 KiB each
(10 KiB in uvloop), here 1 to 2 KiB; 2,000 messages on a connection each went at 1,900 a second (2,000
in uvloop), here at 2,100 to 3,900, and at 2,300 to 3,200 with the journal's fsync before each 250.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, cast

from relaywatch.model.places import Endpoint, parse_address
from relaywatch.model.tokens import Token

from .dialogue import AnswerFor, BeginTLS, Dialogue, House, Message, Say, Step, Take
from .doorkeeper import Doorkeeper, Refusal

_HANDSHAKE = 20.0
_UNSENT = 16_384
"""Octets of replies that a peer may leave unread before we stop reading from it."""
_REFUSALS = {
    Refusal.TOO_MANY: b"421 4.3.2 Too many connections, try later\r\n",
    Refusal.TOO_MANY_FROM_YOU: b"421 4.7.0 Too many connections from you, try later\r\n",
}


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a message came from and which port of ours it reached; ``tls`` is the version, or empty."""

    peer: Endpoint
    port: int
    tls: str


TakeMessage = Callable[[Message, Origin], Awaitable[bytes]]
"""Writes a message down and gives the reply; never raises."""


AnswerToken = Callable[[Token, Origin], Awaitable[bytes]]
"""Notes that a token was said here and gives the reply; never raises."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mailbox:
    """What all connections of the SMTP server share."""

    house: House
    take: TakeMessage
    answer: AnswerToken
    doorkeeper: Doorkeeper
    tls: ssl.SSLContext | None

    def connection(self) -> Connection:
        """Make the protocol of a new connection."""
        return Connection(self)


class Connection(asyncio.Protocol):
    """One peer: carries out the dialogue's steps in order."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox
        self._dialogue = Dialogue(mailbox.house)
        self._transport: asyncio.Transport | None = None
        self._peer: Endpoint | None = None
        self._port = 0
        self._tls_version = ""
        self._is_waiting = False
        """A message is being written down, or TLS negotiated: no step till then."""
        self._is_full = False
        """The peer doesn't read our replies: no step till it does."""
        self._is_at_end = False
        """The peer has sent all that it will."""
        self._began = self._last_step = asyncio.get_running_loop().time()

    # --- what asyncio calls --------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet, or turn away."""
        transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        peername = transport.get_extra_info("peername")
        if not peername:  # reset before it was accepted
            transport.abort()
            return
        self._transport = transport
        self._peer = peer = Endpoint(parse_address(peername[0].partition("%")[0]), peername[1])
        self._port = transport.get_extra_info("sockname")[1]
        transport.set_write_buffer_limits(_UNSENT)
        refusal = self._mailbox.doorkeeper.enter(self, peer.address)
        if refusal:
            self._is_waiting = True
            transport.write(_REFUSALS[refusal])
            transport.close()
        else:
            transport.write(self._dialogue.greeting)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  asyncio's name
        """Forget the connection."""
        self._transport = None
        if self._peer:
            self._mailbox.doorkeeper.leave(self, self._peer.address)

    def data_received(self, data: bytes) -> None:
        """Go on with the dialogue."""
        self._dialogue.feed(data)
        self._advance()

    def eof_received(self) -> bool:
        """Keep a half-closed connection while a message is being written down for it."""
        self._is_at_end = True
        return self._is_waiting and not self._tls_version  # TLS knows no half-closed connection

    def pause_writing(self) -> None:
        """Stop reading from a peer that doesn't read."""
        self._is_full = True
        self._read(wanted=False)

    def resume_writing(self) -> None:
        """Go on."""
        self._is_full = False
        self._read(wanted=True)
        self._advance()

    # --- the dialogue's steps ------------------------------------------------------------------

    def _advance(self) -> None:
        while self._transport and not self._is_waiting and not self._is_full:
            step = self._dialogue.step()
            if step is None:
                return
            self._last_step = asyncio.get_running_loop().time()
            self._carry_out(step)

    def _carry_out(self, step: Step) -> None:
        match step:
            case Say(reply, hang_up):
                self._say(reply, hang_up=hang_up)
            case Take(message):
                self._wait_for(self._reply_with(self._mailbox.take(message, self._origin())))
            case AnswerFor(token):
                self._wait_for(self._reply_with(self._mailbox.answer(token, self._origin())))
            case BeginTLS(reply):
                self._wait_for(self._begin_tls(reply))

    def _say(self, reply: bytes, *, hang_up: bool = False) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        self._transport.write(reply)
        if hang_up:
            self._is_waiting = True
            self._transport.close()

    def _wait_for(self, work: Coroutine[Any, Any, None]) -> None:
        self._is_waiting = True
        self._read(wanted=False)
        self._mailbox.doorkeeper.run(work)

    def _origin(self) -> Origin:
        return Origin(cast("Endpoint", self._peer), self._port, self._tls_version)

    async def _reply_with(self, reply: Awaitable[bytes]) -> None:
        self._say(await reply)
        self._go_on()

    async def _begin_tls(self, reply: bytes) -> None:
        transport = self._transport
        if transport is None or self._mailbox.tls is None:
            return
        transport.write(reply)
        loop = asyncio.get_running_loop()
        try:
            secured = await loop.start_tls(
                transport, self, self._mailbox.tls, server_side=True, ssl_handshake_timeout=_HANDSHAKE
            )
        except OSError:  # ssl.SSLError is one
            transport.abort()
            self.connection_lost(None)  # asyncio tells the protocol nothing before the handshake is done
            return
        self._secure(secured)

    def _secure(self, transport: asyncio.Transport | None) -> None:
        if transport is None or self._transport is None:
            return
        self._transport = transport
        transport.set_write_buffer_limits(_UNSENT)
        tls = transport.get_extra_info("ssl_object")
        self._tls_version = tls.version() if tls else "TLS"
        self._dialogue.secured()
        self._go_on()

    def _go_on(self) -> None:
        self._is_waiting = False
        self._last_step = asyncio.get_running_loop().time()
        self._read(wanted=True)
        self._advance()
        if self._is_at_end and not self._is_waiting and self._transport:
            self._transport.close()

    def _read(self, *, wanted: bool) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        if wanted and not self._is_waiting and not self._is_full:
            self._transport.resume_reading()
        elif not wanted:
            self._transport.pause_reading()

    # --- the clock -----------------------------------------------------------------------------

    def is_overdue(self, now: float, *, idle: float, session: float) -> bool:
        """Whether the peer has had its time; octets that complete no command don't count."""
        return now - self._last_step > idle or now - self._began > session

    def time_out(self) -> None:
        """Say goodbye and hang up; whoever doesn't read it is dropped."""
        if self._transport is None:
            return
        if self._transport.is_closing() or self._transport.get_write_buffer_size():
            self._transport.abort()
        else:
            self._say(b"421 4.4.2 Time is up\r\n", hang_up=True)

    def drop(self) -> None:
        """Drop the connection at once."""
        if self._transport:
            self._transport.abort()
