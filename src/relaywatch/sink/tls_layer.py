"""TLS over octets that have come already, which the loop's own can't take; no socket."""

from __future__ import annotations

import contextlib
import ssl

_RECORD = 16_384


class TLSLayer:
    """The server's end of TLS: what comes from the peer goes in, and plain octets come out."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._is_ready = False
        self.is_at_end = False
        """The peer has said that it sends no more."""

    @property
    def version(self) -> str:
        """The version, once it is agreed."""
        return self._object.version() or ""

    def feed(self, data: bytes) -> bytes:
        """Take octets of the peer's, give what they say.

        :raises ssl.SSLError: if they aren't TLS, or no version or cipher suits both.
        """
        self._incoming.write(data)
        said = bytearray()
        try:
            if not self._is_ready:
                self._object.do_handshake()
                self._is_ready = True
            while octets := self._object.read(_RECORD):
                said += octets
            self.is_at_end = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.is_at_end = True
        return bytes(said)

    def write(self, data: bytes) -> None:
        """Say something; once the handshake is done."""
        self._object.write(data)

    def end(self) -> None:
        """Say that nothing more comes (RFC 8446 section 6.1)."""
        with contextlib.suppress(ssl.SSLError):  # it would wait for the peer's own
            self._object.unwrap()

    def to_send(self) -> bytes:
        """Octets for the peer."""
        return self._outgoing.read()
