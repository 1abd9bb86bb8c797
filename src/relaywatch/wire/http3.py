"""The client's side of an HTTP/3 connection between datagrams and values, by aioquic (RFC 9000, RFC 9114).

It knows no sockets and no clock: times are whatever its caller's clock says. Importing it takes a tenth of a
second, so that whoever needs it does so late.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from aioquic.buffer import Buffer  # type: ignore[attr-defined]  # it exports it all the same
from aioquic.h3 import events as h3_events
from aioquic.h3.connection import H3Connection, Setting
from aioquic.quic import connection as quic_connection
from aioquic.quic import events
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.packet import pull_quic_header

from relaywatch.model.errors import PeerClosedError, RemoteProtocolError
from relaywatch.model.places import Endpoint

from .http1 import ResponseHead

CONNECT_ERROR: Final = 0x10F
"""H3_CONNECT_ERROR: the connection that CONNECT asked for was reset or closed (RFC 9114 section 8.1)."""
_ANY_CERTIFICATE: Final = 0
"""`ssl.CERT_NONE`: whoever answers is asked, whatever it calls itself."""
_MAX_DATAGRAM: Final = 65_535
_NO_ERROR: Final = 0x100
"""H3_NO_ERROR."""
_CRYPTO_ERRORS = range(0x100, 0x200)
"""TLS alerts (RFC 9001 section 4.8), as far as there is no HTTP/3 yet, whose own errors have the same codes."""
_NO_APPLICATION_PROTOCOL: Final = 0x178
_NO_COMMON_VERSION: Final = "Could not find a common protocol version"
"""aioquic's reason."""

# What a hostile peer does is told by the attempt, and no warning of ours on the user's terminal.
quic_connection.logger.setLevel("CRITICAL")


@dataclass(slots=True)
class RequestStream:
    """A request and what came in answer."""

    number: int
    head: ResponseHead | None = None
    octets: bytearray = field(default_factory=bytearray)
    """Of DATA frames, not read yet."""
    datagrams: list[bytes] = field(default_factory=list)
    """HTTP datagrams that came in QUIC's (RFC 9297 section 2.1), not read yet."""
    is_ended: bool = False
    reset_code: int | None = None

    @property
    def has_news(self) -> bool:
        """Whether there is anything to read, the end included."""
        return bool(self.octets or self.datagrams) or self.is_ended


class _H3(H3Connection):
    """aioquic's, which offers HTTP datagrams with WebTransport alone (RFC 9297 section 2.1.1)."""

    def _get_local_settings(self) -> dict[int, int]:
        return {**super()._get_local_settings(), Setting.H3_DATAGRAM: 1}


class Http3Client:
    """One connection with a server, fed with its datagrams and with the time."""

    def __init__(self, server: Endpoint, server_name: str | None, now: float) -> None:
        configuration = QuicConfiguration(
            alpn_protocols=["h3"],
            is_client=True,
            max_datagram_frame_size=_MAX_DATAGRAM,
            server_name=server_name if server_name and server_name.isascii() else None,
            verify_mode=_ANY_CERTIFICATE,
        )
        self._address = (str(server.address), server.port)
        self._quic = quic_connection.QuicConnection(configuration=configuration)
        self._quic.connect(self._address, now)
        self._h3: _H3 | None = None
        self._streams: dict[int, RequestStream] = {}
        self.has_heard = False
        """Whether a QUIC packet came that is addressed to our connection."""
        self.closed_because: str | None = None
        self.speaks_otherwise = False
        """It speaks QUIC, and neither a version nor a protocol of ours."""
        self.has_alerted = False
        """The handshake ended in a TLS alert."""

    # --- datagrams and time ----------------------------------------------------------------------

    def receive(self, datagram: bytes, now: float) -> None:
        """Take a datagram that came.

        :raises RemoteProtocolError: if aioquic stumbles over it.
        """
        self.has_heard = self.has_heard or self._is_for_us(datagram)
        try:
            self._quic.receive_datagram(datagram, self._address, now)
            self._read_events()
        except Exception as error:
            raise RemoteProtocolError(f"QUIC: {type(error).__name__} {error}", datagram) from error

    def pass_time(self, now: float) -> None:
        """Do what is due: what was lost is sent again.

        :raises RemoteProtocolError: if aioquic stumbles over what came before.
        """
        try:
            self._quic.handle_timer(now)
            self._read_events()
        except Exception as error:
            raise RemoteProtocolError(f"QUIC: {type(error).__name__} {error}") from error

    def datagrams_to_send(self, now: float) -> list[bytes]:
        """What is to be sent now, to the server's own address.

        A server may ask its clients to come to another address (RFC 9000 section 9.6); ours don't.
        """
        return [data for data, to in self._quic.datagrams_to_send(now) if to == self._address]

    def next_due(self) -> float | None:
        """When `pass_time` is to be called at the latest."""
        return self._quic.get_timer()

    # --- HTTP/3 ----------------------------------------------------------------------------------

    @property
    def settings(self) -> dict[int, int] | None:
        """The server's settings, once they came."""
        return self._h3.received_settings if self._h3 is not None else None

    @property
    def takes_extended_connect(self) -> bool:
        """Whether ``:protocol`` may be said to it (RFC 9220 section 3)."""
        return bool((self.settings or {}).get(Setting.ENABLE_CONNECT_PROTOCOL))

    @property
    def takes_datagrams(self) -> bool:
        """Whether HTTP datagrams may go in QUIC's (RFC 9297 section 2.1.1)."""
        return bool((self.settings or {}).get(Setting.H3_DATAGRAM))

    def ask(self, fields: Iterable[tuple[str, str]]) -> RequestStream:
        """Send a request's fields and leave the stream open.

        :raises PeerClosedError: if there is no HTTP/3 connection.
        """
        if self._h3 is None:
            raise PeerClosedError("there is no HTTP/3 connection")
        number = self._quic.get_next_available_stream_id()
        self._streams[number] = RequestStream(number)
        self._h3.send_headers(number, [(name.encode(), value.encode()) for name, value in fields])
        return self._streams[number]

    def send(self, stream: RequestStream, data: bytes) -> None:
        """Send octets in a DATA frame.

        :raises PeerClosedError: if the stream or the connection is over.
        """
        if self._h3 is None or self.closed_because is not None or stream.is_ended:
            raise PeerClosedError(self.closed_because or "the peer ended the stream")
        try:
            self._h3.send_data(stream.number, data, end_stream=False)
        except Exception as error:  # it asked us to stop sending, and aioquic forgot the stream
            raise PeerClosedError(f"the peer takes no more: {error}") from error

    def send_datagram(self, stream: RequestStream, datagram: bytes) -> bool:
        """Send an HTTP datagram in one of QUIC's; not if the server takes none."""
        if self._h3 is None or not self.takes_datagrams:
            return False
        self._h3.send_datagram(stream.number, datagram)
        return True

    def close(self) -> None:
        """End the connection; what says so is to be sent yet."""
        self._quic.close(error_code=_NO_ERROR)

    # --- within ----------------------------------------------------------------------------------

    def _is_for_us(self, datagram: bytes) -> bool:
        try:
            head = pull_quic_header(Buffer(data=datagram), host_cid_length=len(self._quic.host_cid))
        except ValueError:
            return False
        return head.destination_cid == self._quic.host_cid

    def _read_events(self) -> None:
        while (event := self._quic.next_event()) is not None:
            match event:
                case events.ProtocolNegotiated(alpn_protocol="h3"):
                    self._h3 = _H3(self._quic)
                case events.ConnectionTerminated():
                    self._terminate(event)
                case events.StreamReset():
                    self._end(event.stream_id, event.error_code)
                case _:
                    pass
            if self._h3 is not None:
                for news in self._h3.handle_event(event):
                    self._take(news)

    def _take(self, news: h3_events.H3Event) -> None:
        stream = self._streams.get(getattr(news, "stream_id", -1))
        if stream is None:  # pushed, or a datagram of a stream that never was
            return
        match news:
            case h3_events.HeadersReceived():
                self._take_head(stream, news.headers)
            case h3_events.DataReceived():
                stream.octets += news.data
            case h3_events.DatagramReceived():
                stream.datagrams.append(news.data)
            case _:
                pass
        if getattr(news, "stream_ended", False):
            stream.is_ended = True

    @staticmethod
    def _take_head(stream: RequestStream, fields: list[tuple[bytes, bytes]]) -> None:
        """Keep the final answer's head; interim ones (1xx) and trailers say nothing here."""
        words = [(_text(name), _text(value)) for name, value in fields]
        status_code = int(dict(words).get(":status", "100"))
        if stream.head is None and status_code >= 200:
            own = tuple((name, value) for name, value in words if not name.startswith(":"))
            stream.head = ResponseHead(status_code=status_code, reason="", fields=own, http_version="3")

    def _end(self, number: int, code: int) -> None:
        if (stream := self._streams.get(number)) is not None:
            stream.is_ended, stream.reset_code = True, code

    def _terminate(self, event: events.ConnectionTerminated) -> None:
        code, reason = event.error_code, event.reason_phrase
        self.closed_because = f"QUIC error {code:#x} {reason}".rstrip()
        self.speaks_otherwise = code == _NO_APPLICATION_PROTOCOL or reason == _NO_COMMON_VERSION
        self.has_alerted = self._h3 is None and code in _CRYPTO_ERRORS
        for stream in self._streams.values():
            stream.is_ended = True


def _text(octets: bytes) -> str:
    return octets.decode("utf-8", "surrogateescape")
