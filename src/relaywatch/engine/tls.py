"""TLS with targets: whatever they offer is good enough to ask our question, and is reported.

Nothing here protects a secret, since a check sends none; so any certificate, version and cipher will do.
"""

from __future__ import annotations

import ssl

from relaywatch.script.ops import TLSSession

_LEGACY_SERVER_CONNECT = 0x4
_UNSAFE_LEGACY_RENEGOTIATION = 0x40000
"""OpenSSL's options for servers that lack RFC 5746; ``ssl`` names them from Python 3.12 on, if at all."""

_READ_OCTETS = 16384


def lenient_context() -> ssl.SSLContext:
    """Make a context that gets along with old and broken servers, as far as OpenSSL still permits."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.options |= _LEGACY_SERVER_CONNECT | _UNSAFE_LEGACY_RENEGOTIATION
    return context


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
