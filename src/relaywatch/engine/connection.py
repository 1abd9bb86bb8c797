"""One TCP connection with a target: what has come, what has ended it, and TLS on top."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any, cast

from relaywatch.model.errors import ConnectRefusedError, PeerClosedError, TLSFailedError, TLSRefusedError
from relaywatch.model.evidence import Direction
from relaywatch.script.ops import TLSSession

from .failures import connect_error, words, written
from .owner import Owner
from .tls import TLSStack, shared_context

_INBOX_OCTETS = 64 << 10
"""Unread octets beyond which we stop reading, so that the peer's own flow control holds it back."""


class Connection(asyncio.BufferedProtocol):
    """A connection from its SYN to its end.

    ``error`` says what ended it, if anything did: a `NetworkError`, or a fault of ours.
    """

    __slots__ = (
        "_buffer", "_dialling", "_dropped", "_has_input", "_is_held", "_number", "_owner", "_tls", "_transport",
        "at_eof", "error", "has_spoken", "inbox", "is_connected", "is_drained", "session", "source",
    )  # fmt: skip

    def __init__(self, owner: Owner, buffer: memoryview, number: int = 0) -> None:
        self._owner: Owner | None = owner
        self._buffer = buffer
        self._number = number
        self._dialling: asyncio.Task[Any] | None = None
        self._transport: asyncio.Transport | None = None
        self._tls: TLSStack | None = None
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

    def follow(self, dialling: asyncio.Task[Any]) -> None:
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

    def peek(self) -> bytes:
        """The unread octets, which stay."""
        return bytes(self.inbox)

    def send(self, data: bytes) -> None:
        """Hand octets to the peer; ``is_drained`` says whether the kernel has taken them all."""
        if self._tls is None:
            self._write(data)
            return
        try:
            self._tls.write(data)
        except ssl.SSLError as failure:
            self._fail(TLSFailedError(failure.reason or str(failure)))
        self._flush(self._tls)

    def start_tls(self, server_name: str | None, alpn: tuple[str, ...] = ()) -> None:
        """Begin the handshake; it ends in ``session`` or in ``error``. Unread octets are dropped.

        Where TLS is there already, this one goes through it: a tunnel leads on to another server.

        :raises LocalProtocolError: if the handshake before isn't done.
        """
        tls = self._tls or TLSStack()
        tls.begin(shared_context(alpn), server_name)
        self._dropped = len(self.inbox)
        self.inbox.clear()
        self._tls, self.session = tls, None
        if self.at_eof:
            self._fail(TLSFailedError("the peer closed the connection before the handshake"))
        else:
            self._pump(tls, b"")

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
            self._write(self._tls.close())
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
            self._owner.note(f"connected from {written(here)} to {written(there)}", self._number)
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
            self._pump(self._tls, data)
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
            self._fail(TLSFailedError(f"the peer reset the connection during the handshake ({words(exc)})"))
        else:
            self._fail(PeerClosedError(f"the peer reset the connection ({words(exc)})"))

    # --- within ----------------------------------------------------------------------------------

    def _dialled(self, task: asyncio.Task[Any]) -> None:
        self._dialling = None
        if not task.cancelled() and (failure := task.exception()) is not None:
            self._fail(connect_error(failure))

    def _receive(self, data: bytes) -> None:
        if data and self._owner is not None:
            self.inbox += data
            self.has_spoken = True
            self._owner.record(Direction.SERVER, data, self._number)

    def _pump(self, tls: TLSStack, data: bytes) -> None:
        try:
            clear, is_over = tls.receive(data)
            if self.session is None and tls.is_done:
                self.session = tls.session(self._dropped)
                self._note_session(self.session)
            self._receive(clear)
            if is_over and self.session is None:
                self._fail(TLSFailedError("the peer closed the connection during the handshake"))
            self.at_eof = self.at_eof or is_over
        except ssl.SSLError as failure:
            self._fail(TLSRefusedError(failure.reason or str(failure)))
        self._flush(tls)

    def _note_session(self, session: TLSSession) -> None:
        if self._owner is not None:
            dropped = f", {session.dropped} octets in the clear dropped" if session.dropped else ""
            agreed = f", {session.alpn}" if session.alpn else ""
            self._owner.note(f"{session.version}, {session.cipher}{agreed}{dropped}", self._number)

    def _flush(self, tls: TLSStack) -> None:
        try:
            self._write(tls.outgoing())
        except ssl.SSLError as failure:  # an outer layer is over
            self._fail(TLSFailedError(failure.reason or str(failure)))

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
            self._owner.note("closed by the peer", self._number)
            self._owner.changed()

    def _fail(self, error: Exception) -> None:
        if self.error is not None:
            return
        self.error = error
        if self._owner is not None:
            self._owner.note(str(error), self._number)
            self._owner.changed()

    def _can_read(self) -> bool:
        return self._transport is not None and self._has_input and not self._transport.is_closing()
