"""HTTP/2 between octets and values, by h2: one request on one connection, and its answer (RFC 9113).

Frames go to h2 one by one: so what came before a broken one counts, and no peer can keep us busy with frames
that say nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    ResponseReceived,
    StreamEnded,
    StreamReset,
)
from h2.exceptions import H2Error
from h2.settings import SettingCodes, Settings
from hyperframe.exceptions import HyperframeError

from relaywatch.model.errors import LocalProtocolError, RemoteProtocolError

from .http1 import MAX_HEAD, ResponseHead

MAX_FRAMES = 1000
"""Frames that are read of one peer: one that needs more for an answer has none."""
_FRAME_HEAD, _MAX_FRAME = 9, 16384
"""Octets of a frame's head, and of its content (RFC 9113 sections 4.1 and 4.2)."""
_SETTINGS, _GOAWAY = 4, 7


class Http2Exchange:
    """One request and whatever answers it, fed as it comes; knows nothing of connections.

    ::

        exchange = Http2Exchange([(":method", "CONNECT"), (":authority", "192.0.2.9:443")])
        octets_to_send = exchange.outgoing()
        exchange.feed(octets_that_came)     # until exchange.head is there, or is_ended

    With ``ends``, the request has no content; else `send` gives it some. ``is_upgraded`` is for a connection
    that HTTP/1.1 opened, by a request that offered `upgrade_settings` (RFC 7540 section 3.2).

    :raises LocalProtocolError: if it is no request that HTTP/2 knows.
    """

    def __init__(
        self, fields: Iterable[tuple[str, str]], *, ends: bool = False, is_upgraded: bool = False
    ) -> None:
        self._connection = _connection()
        if is_upgraded:
            self._connection.initiate_upgrade_connection()
        else:
            self._connection.initiate_connection()
        self._stream = self._connection.get_next_available_stream_id()
        self._unread = bytearray()
        self._frames = 0
        self.head: ResponseHead | None = None
        self.body = bytearray()
        """What came on the stream; whoever reads it empties it."""
        self.is_ended = False
        """Nothing more will come on the stream."""
        self.is_broken = False
        """What came was no HTTP/2 any more: nothing more can be read or sent."""
        self.error: ErrorCodes | int | None = None
        """Why the peer broke the stream or the connection off, if it did."""
        try:
            self._connection.send_headers(self._stream, list(fields), end_stream=ends)
        except H2Error as error:
            raise LocalProtocolError(str(error)) from error

    @property
    def has_spoken(self) -> bool:
        """Whether the peer has begun as HTTP/2 begins, with SETTINGS (RFC 9113 section 3.4)."""
        return self._frames > 0

    def feed(self, data: bytes) -> None:
        """Take octets of the peer.

        :raises RemoteProtocolError: if they are no HTTP/2, or too much of it.
        """
        if self.is_broken:
            raise RemoteProtocolError("broken HTTP/2", data)
        self._unread += data
        try:
            self._feed()
        except RemoteProtocolError:
            self.is_broken = True
            raise

    def _feed(self) -> None:
        while (frame := self._next_frame()) is not None:
            self._frames += 1
            if self._frames > MAX_FRAMES:
                raise RemoteProtocolError(f"more than {MAX_FRAMES} frames of HTTP/2", frame)
            if not self._is_farewell(frame):
                self._take(frame)

    def outgoing(self) -> bytes:
        """Give the octets that are due to the peer."""
        return self._connection.data_to_send()

    def send(self, data: bytes) -> int:
        """Put content on the stream, as far as the peer's windows let it through: so many octets of it.

        None once the stream has ended, or the peer has broken the protocol.
        """
        if self.is_ended or self.is_broken:
            return 0
        window = self._connection.local_flow_control_window(self._stream)
        size = max(0, min(window, self._connection.max_outbound_frame_size, len(data)))
        if size:
            self._connection.send_data(self._stream, data[:size])
        return size

    def _next_frame(self) -> bytes | None:
        """The next whole frame, if it is there; one that can't be ours is told by its head."""
        if len(self._unread) < _FRAME_HEAD:
            return None
        length, kind = int.from_bytes(self._unread[:3], "big"), self._unread[3]
        if length > _MAX_FRAME or not (self._frames or kind == _SETTINGS):
            raise RemoteProtocolError("no HTTP/2", bytes(self._unread))
        if len(self._unread) < _FRAME_HEAD + length:
            return None
        frame = bytes(self._unread[: _FRAME_HEAD + length])
        del self._unread[: _FRAME_HEAD + length]
        return frame

    def _is_farewell(self, frame: bytes) -> bool:
        """Whether it is a GOAWAY that lets our stream go on; h2 would end it (RFC 9113 section 6.8)."""
        last_stream, error = frame[9:13], frame[13:17]
        return (
            frame[3] == _GOAWAY
            and error == bytes(4)
            and int.from_bytes(last_stream, "big") & 0x7FFF_FFFF >= self._stream
        )

    def _take(self, frame: bytes) -> None:
        try:
            events = self._connection.receive_data(frame)
            for event in events:
                self._note(event)
        except (H2Error, HyperframeError) as error:
            raise RemoteProtocolError(f"broken HTTP/2: {error}", frame) from error

    def _note(self, event: Event) -> None:
        match event:
            case ConnectionTerminated(error_code=code):
                self.error, self.is_ended = code, True
            case DataReceived(stream_id=stream, data=data, flow_controlled_length=length):
                self._connection.acknowledge_received_data(length, stream)
                if stream == self._stream:
                    self.body += data
            case ResponseReceived(stream_id=self._stream, headers=fields):
                self.head = _head(fields)
            case StreamEnded(stream_id=self._stream):
                self.is_ended = True
            case StreamReset(stream_id=self._stream, error_code=code):
                self.error, self.is_ended = code, True
            case _:  # settings, pings, windows, interim responses: h2 has answered what needs an answer
                pass


def upgrade_settings() -> str:
    """The value of HTTP2-Settings in a request for the upgrade (RFC 7540 section 3.2.1)."""
    return (_connection().initiate_upgrade_connection() or b"").decode().rstrip("=")


def _connection() -> H2Connection:
    connection = H2Connection(H2Configuration(client_side=True))
    connection.local_settings = Settings(
        client=True,
        initial_values={
            SettingCodes.ENABLE_PUSH: 0,
            SettingCodes.MAX_CONCURRENT_STREAMS: 1,
            SettingCodes.MAX_HEADER_LIST_SIZE: MAX_HEAD,
        },
    )
    # Servers have choked on it; and it is theirs to send (RFC 8441 section 3).
    del connection.local_settings[SettingCodes.ENABLE_CONNECT_PROTOCOL]
    connection.decoder.max_header_list_size = MAX_HEAD
    return connection


def _head(fields: Iterable[tuple[bytes | str, bytes | str]]) -> ResponseHead:
    read = [(_text(name), _text(value)) for name, value in fields]
    status = dict(read).get(":status", "")
    if not (status.isascii() and status.isdecimal() and len(status) == 3):
        raise RemoteProtocolError(f"no status code: {status!r}")
    ordinary = tuple((name, value) for name, value in read if not name.startswith(":"))
    return ResponseHead(status_code=int(status), reason="", fields=ordinary, http_version="2")


def _text(octets: bytes | str) -> str:
    return octets.decode("utf-8", "surrogateescape") if isinstance(octets, bytes) else octets
