"""One TCP connection with a target: what has come, what has ended it, and TLS on top."""

from __future__ import annotations

import asyncio
import errno
import ssl
from collections.abc import Iterable
from typing import Protocol, cast

from relaywatch.model.errors import (
    ConnectRefusedError,
    ConnectTimeoutError,
    LocalProtocolError,
    PeerClosedError,
    TLSFailedError,
    UnreachableError,
)
from relaywatch.model.evidence import Direction
from relaywatch.model.places import Address, Endpoint
from relaywatch.script.ops import TLSSession

from .tls import TLSLayer, lenient_context

_INBOX_OCTETS = 64 << 10
"""Unread octets beyond which we stop reading, so that the peer's own flow control holds it back."""


class Owner(Protocol):
    """Whom a connection tells what happens."""

    def count(self, octets: int) -> None:
        """So many octets came from the wire."""

    def record(self, direction: Direction, data: bytes) -> None:
        """Put octets on the transcript."""

    def note(self, text: str) -> None:
        """Put a note on the transcript."""

    def changed(self) -> None:
        """Something came, went out or ended."""


class Connection(asyncio.BufferedProtocol):
    """A connection from its SYN to its end.

    ``error`` says what ended it, if anything did: a `NetworkError`, or a fault of ours.
    """

    __slots__ = (
        "_buffer", "_context", "_dialling", "_dropped", "_has_input", "_is_held", "_owner", "_tls", "_transport",
        "at_eof", "error", "has_spoken", "inbox", "is_connected", "is_drained", "session", "source",
    )  # fmt: skip

    def __init__(self, owner: Owner, buffer: memoryview, context: ssl.SSLContext) -> None:
        self._owner: Owner | None = owner
        self._buffer = buffer
        self._context = context
        self._dialling: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport | None = None
        self._tls: TLSLayer | None = None
        self._dropped = 0
        self._has_input = True
        self._is_held = False
        self.inbox = bytearray()
        self.at_eof = False
        self.has_spoken = False
        self.is_connected = False
        self.is_drained = True
        self.error: Exception | None = None
        self.session: TLSSession | None = None
        self.source = ""

    def follow(self, dialling: asyncio.Task[None]) -> None:
        """Learn from the task that opens the connection whether it failed."""
        self._dialling = dialling
        dialling.add_done_callback(self._dialled)

    def take(self, max_bytes: int) -> bytes:
        """Take unread octets."""
        data = bytes(self.inbox[:max_bytes])
        del self.inbox[:max_bytes]
        if self._is_held and len(self.inbox) < _INBOX_OCTETS and self._can_read():
            self._is_held = False
            cast("asyncio.Transport", self._transport).resume_reading()
        return data

    def send(self, data: bytes) -> None:
        """Hand octets to the peer; ``is_drained`` says whether the kernel has taken them all."""
        if self._tls is None:
            self._write(data)
            return
        try:
            self._tls.write(data)
        except ssl.SSLError as failure:
            self._fail(TLSFailedError(failure.reason or str(failure)))
        self._write(self._tls.outgoing())

    def start_tls(self, server_name: str | None) -> None:
        """Begin the handshake; it ends in ``session`` or in ``error``. Unread octets are dropped.

        :raises LocalProtocolError: if TLS is there already.
        """
        if self._tls is not None:
            raise LocalProtocolError("TLS inside TLS")
        self._dropped = len(self.inbox)
        self.inbox.clear()
        self._tls = TLSLayer(self._context, server_name)
        if self.at_eof:
            self._fail(TLSFailedError("the peer closed the connection before the handshake"))
        else:
            self._pump(self._tls)

    def close(self) -> None:
        """End the connection from our side, and hear no more of it."""
        self._owner = None
        if self._transport is None:
            if self._dialling is not None:
                self._dialling.cancel()
            return
        if self._transport.is_closing():
            return
        if self._tls is not None and self.session is not None:
            self._tls.close()
            self._write(self._tls.outgoing())
        if self.is_drained:
            self._transport.close()
        else:
            self._transport.abort()  # a peer that reads nothing would keep the rest in our memory

    def stop_reading(self) -> None:
        """Leave what else may come to the peer's own memory."""
        if not self._is_held and self._can_read():
            self._is_held = True
            cast("asyncio.Transport", self._transport).pause_reading()

    # --- from the event loop ---------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The peer has answered the SYN; nothing has been read yet."""
        self._transport = cast("asyncio.Transport", transport)
        if self._owner is None:
            self._transport.abort()
            return
        self._transport.set_write_buffer_limits(high=0)  # so that pause and resume mean: all gone or not
        here, there = transport.get_extra_info("sockname"), transport.get_extra_info("peername")
        if here is not None and here == there:
            # On loopback a SYN to a port of the ephemeral range may meet itself (simultaneous open).
            self._transport.abort()
            self._fail(ConnectRefusedError("nobody listens there"))
            return
        self.is_connected = True
        if here is not None and there is not None:  # else a reset was faster than we
            self.source = here[0]
            self._owner.note(f"connected from {_written(here)} to {_written(there)}")
        self._owner.changed()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        """Room for the next octets; all connections share it, since each copies out at once."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Octets have come."""
        if self._owner is None:
            return
        data = bytes(self._buffer[:nbytes])
        self._owner.count(nbytes)
        if self._tls is None:
            self._receive(data)
        elif self.error is None:
            self._tls.feed(data)
            self._pump(self._tls)
        if len(self.inbox) >= _INBOX_OCTETS or self.error is not None:
            self.stop_reading()
        if self._owner is not None:
            self._owner.changed()

    def eof_received(self) -> bool:
        """The peer has closed its direction; ours stays open."""
        self._has_input = False
        self._end_input()
        return True

    def pause_writing(self) -> None:
        """The kernel takes no more for now."""
        self.is_drained = False

    def resume_writing(self) -> None:
        """The kernel has taken everything."""
        self.is_drained = True
        if self._owner is not None:
            self._owner.changed()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, by a reset if there is an exception."""
        if exc is None:
            self._end_input()
        elif self._tls is not None and self.session is None:
            self._fail(TLSFailedError(f"the peer reset the connection during the handshake ({_words(exc)})"))
        else:
            self._fail(PeerClosedError(f"the peer reset the connection ({_words(exc)})"))

    # --- within ----------------------------------------------------------------------------------

    def _dialled(self, task: asyncio.Task[None]) -> None:
        self._dialling = None
        if not task.cancelled() and (failure := task.exception()) is not None:
            self._fail(_connect_error(failure))

    def _receive(self, data: bytes) -> None:
        if data and self._owner is not None:
            self.inbox += data
            self.has_spoken = True
            self._owner.record(Direction.SERVER, data)

    def _pump(self, tls: TLSLayer) -> None:
        try:
            if self.session is None and tls.handshake():
                self.session = tls.session(self._dropped)
                self._note_session(self.session)
            if self.session is not None:
                data, is_over = tls.read()
                self._receive(data)
                self.at_eof = self.at_eof or is_over
        except ssl.SSLError as failure:
            self._fail(TLSFailedError(failure.reason or str(failure)))
        self._write(tls.outgoing())

    def _note_session(self, session: TLSSession) -> None:
        if self._owner is not None:
            dropped = f", {session.dropped} octets in the clear dropped" if session.dropped else ""
            self._owner.note(f"{session.version}, {session.cipher}{dropped}")

    def _write(self, data: bytes) -> None:
        if data and self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def _end_input(self) -> None:
        if self.at_eof or self.error is not None:
            return
        if self._tls is not None and self.session is None:
            self._fail(TLSFailedError("the peer closed the connection during the handshake"))
            return
        self.at_eof = True
        if self._owner is not None:
            self._owner.note("closed by the peer")
            self._owner.changed()

    def _fail(self, error: Exception) -> None:
        if self.error is not None:
            return
        self.error = error
        if self._owner is not None:
            self._owner.note(str(error))
            self._owner.changed()

    def _can_read(self) -> bool:
        return self._transport is not None and self._has_input and not self._transport.is_closing()


class Dialer:
    """Opens connections, from a source address of the target's family if one is set."""

    def __init__(self, loop: asyncio.AbstractEventLoop, sources: Iterable[Address] = ()) -> None:
        self._loop = loop
        self._sources = {Endpoint(source, 0).family: source for source in sources}
        self._buffer = memoryview(bytearray(64 << 10))
        self._context = lenient_context()

    def dial(self, endpoint: Endpoint, owner: Owner) -> Connection:
        """Send the SYN; the owner hears what comes of it.

        :raises ValueError: if there is no such port; libuv would fold it into another.
        """
        if not 0 < endpoint.port < 1 << 16:
            raise ValueError(f"no such port: {endpoint.port}")
        connection = Connection(owner, self._buffer, self._context)
        connection.follow(self._loop.create_task(self._open(connection, endpoint)))
        return connection

    async def _open(self, connection: Connection, endpoint: Endpoint) -> None:
        source = self._sources.get(endpoint.family)
        await self._loop.create_connection(
            lambda: connection,
            str(endpoint.address),
            endpoint.port,
            local_addr=(str(source), 0) if source is not None else None,
        )


def _connect_error(failure: BaseException) -> Exception:
    if isinstance(failure, ConnectionRefusedError):
        return ConnectRefusedError("nobody listens there")
    if isinstance(failure, TimeoutError):
        return ConnectTimeoutError("nothing answered")
    if isinstance(failure, ConnectionError):
        return PeerClosedError(f"the peer reset the connection ({_words(failure)})")
    if isinstance(failure, OSError):
        return UnreachableError(_words(failure))
    return RuntimeError(f"could not connect: {failure!r}")


def _words(failure: BaseException) -> str:
    number = getattr(failure, "errno", None)
    return errno.errorcode.get(number, str(failure)) if number else (str(failure) or type(failure).__name__)


def _written(address: tuple[str, int]) -> str:
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
