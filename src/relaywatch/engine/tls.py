"""TLS with targets: whatever they offer is good enough to ask our question, and is reported.

Nothing here protects a secret, since a check sends none; so any certificate, version and cipher will do.
"""

from __future__ import annotations

import ssl
from contextlib import suppress
from functools import lru_cache

from relaywatch.model.errors import LocalProtocolError
from relaywatch.script.ops import TLSSession

_LEGACY_SERVER_CONNECT = 0x4
_UNSAFE_LEGACY_RENEGOTIATION = 0x40000
"""OpenSSL's options for servers that lack RFC 5746; ``ssl`` names them from Python 3.12 on, if at all."""

_READ_OCTETS = 16384
_MAX_LAYERS = 3
"""A proxy inside TLS, TLS through its tunnel, and one to spare."""


def lenient_context(alpn: tuple[str, ...] = ()) -> ssl.SSLContext:
    """Make a context that gets along with old and broken servers, as far as OpenSSL still permits.

    ``alpn`` is what to offer (RFC 7301).

    :raises ssl.SSLError: if a protocol's name is empty or longer than 255 octets.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.options |= _LEGACY_SERVER_CONNECT | _UNSAFE_LEGACY_RENEGOTIATION
    if alpn:
        context.set_alpn_protocols(alpn)
    return context


shared_context = lru_cache(maxsize=32)(lenient_context)
"""The one context for all connections that offer the same: making one takes longer than a handshake."""


class TLSLayer:
    """TLS between two buffers: octets from the wire go in, octets for the wire come out.

    Only what is fed to it can be read from it, so nothing that came in the clear ever does
    (RFC 3207 section 4.2). Methods raise `ssl.SSLError` when the peer breaks TLS.
    """

    __slots__ = ("_incoming", "_object", "_outgoing", "_unsent")

    def __init__(self, context: ssl.SSLContext, server_name: str | None) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._unsent = b""
        self._object = self._wrap(context, server_name)

    def feed(self, data: bytes) -> None:
        """Take octets from the wire."""
        self._incoming.write(data)

    def outgoing(self) -> bytes:
        """Give the octets that are due on the wire."""
        return self._outgoing.read()

    def handshake(self) -> bool:
        """Go on with the handshake, and tell whether it is done."""
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def session(self, dropped: int) -> TLSSession:
        """Tell what the handshake came to."""
        cipher = self._object.cipher()
        return TLSSession(
            version=self._object.version() or "",
            cipher=cipher[0] if cipher else "",
            certificate=self._object.getpeercert(binary_form=True) or b"",
            dropped=dropped,
            alpn=self._object.selected_alpn_protocol() or "",
        )

    def read(self) -> tuple[bytes, bool]:
        """Give the clear text that has come, and whether the peer has ended it (close_notify)."""
        pieces: list[bytes] = []
        try:
            while piece := self._object.read(_READ_OCTETS):
                pieces.append(piece)
        except ssl.SSLWantReadError:
            if self._unsent:
                self.write(b"")
            return b"".join(pieces), False
        except ssl.SSLZeroReturnError:
            pass
        return b"".join(pieces), True

    def write(self, data: bytes) -> None:
        """Encrypt clear text; what must wait for a renegotiation goes out after the next `read`."""
        self._unsent += data
        try:
            while self._unsent:
                self._unsent = self._unsent[self._object.write(self._unsent) :]
        except ssl.SSLWantReadError:
            return

    def close(self) -> None:
        """Say close_notify, if there is anything to close."""
        try:
            self._object.unwrap()
        except (ssl.SSLError, ValueError):
            return

    def _wrap(self, context: ssl.SSLContext, server_name: str | None) -> ssl.SSLObject:
        try:
            return context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_name)
        except (ValueError, TypeError):  # the name is the target's own word, and may be anything
            return context.wrap_bio(self._incoming, self._outgoing)


class TLSStack:
    """TLS on a connection, and where a tunnel leads on from there, TLS within that TLS.

    Every layer's handshake is done before the next begins. Methods raise `ssl.SSLError` when a peer breaks TLS.
    """

    __slots__ = ("_layers", "is_done")

    def __init__(self) -> None:
        self._layers: list[TLSLayer] = []
        self.is_done = True
        """Whether the last handshake is done."""

    def begin(self, context: ssl.SSLContext, server_name: str | None) -> None:
        """Start a handshake within what is there; `receive` goes on with it.

        :raises LocalProtocolError: if a handshake is still under way, or there are too many within one another.
        """
        if not self.is_done or len(self._layers) == _MAX_LAYERS:
            raise LocalProtocolError("TLS inside TLS that isn't there yet, or too deep")
        self._layers.append(TLSLayer(context, server_name))
        self.is_done = False

    def receive(self, data: bytes) -> tuple[bytes, bool]:
        """Take octets from the wire; gives the clear text, and whether a peer has ended it (close_notify)."""
        is_over = False
        for layer in self._layers:
            layer.feed(data)
            if layer is self._layers[-1] and not self.is_done:
                if not layer.handshake():
                    return b"", is_over
                self.is_done = True
            data, is_ended = layer.read()
            is_over = is_over or is_ended
        return data, is_over

    def write(self, data: bytes) -> None:
        """Encrypt clear text in the innermost layer."""
        self._layers[-1].write(data)

    def outgoing(self) -> bytes:
        """Give the octets that are due on the wire."""
        data = b""
        for layer in reversed(self._layers):
            if data:
                layer.write(data)
            data = layer.outgoing()
        return data

    def session(self, dropped: int) -> TLSSession:
        """Tell what the last handshake came to."""
        return self._layers[-1].session(dropped)

    def close(self) -> bytes:
        """Say close_notify in every layer, and give the octets that are due on the wire."""
        data = b""
        for layer in reversed(self._layers):
            with suppress(ssl.SSLError):
                layer.write(data)
            layer.close()
            data = layer.outgoing()
        return data
