"""HTTP/1.x between octets and values, by h11: one request, and its answer (RFC 9112).

Bodies are never decompressed, since nothing that a check looks for would be compressed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import h11

from relaywatch.model.errors import LocalProtocolError, RemoteProtocolError

MAX_HEAD = 16 << 10
"""Octets of a status line and its fields; more is an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseHead:
    """A status line and its fields, names in lower case; octets beyond ASCII as surrogates."""

    status_code: int
    reason: str
    fields: tuple[tuple[str, str], ...]
    http_version: str

    def field(self, name: str) -> str | None:
        """The first field of that name, if there is one."""
        return next((value for own, value in self.fields if own == name.lower()), None)

    @property
    def is_successful(self) -> bool:
        """2xx (RFC 9110 section 15.3)."""
        return 200 <= self.status_code < 300

    def __str__(self) -> str:
        return f"HTTP/{self.http_version} {self.status_code} {self.reason}".rstrip()


class Exchange:
    """One request and whatever answers it, fed as it comes; knows nothing of connections.

    ::

        exchange = Exchange("CONNECT", "192.0.2.9:443", [("Host", "192.0.2.9:443")])
        octets_to_send = exchange.request
        exchange.feed(octets_that_came)     # until exchange.head is there, then until is_complete

    :raises LocalProtocolError: if it is no request that HTTP/1.1 knows.
    """

    def __init__(
        self, method: str, target: str, fields: Iterable[tuple[str, str]], body: bytes = b""
    ) -> None:
        self._connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
        self.head: ResponseHead | None = None
        self.body = b""
        self.is_complete = False
        self.is_tunnel = False
        """The connection is a tunnel from here on: 2xx to CONNECT, 101 to an Upgrade (RFC 9110 section 7.8)."""
        try:
            request = h11.Request(method=method, target=target, headers=list(fields))
            self.request = self._sent(request) + (self._sent(h11.Data(data=body)) if body else b"")
            self.request += self._sent(h11.EndOfMessage())
        except h11.LocalProtocolError as error:
            raise LocalProtocolError(str(error)) from error

    def feed(self, data: bytes) -> None:
        """Take octets of the answer; none at all means that the peer has closed.

        :raises RemoteProtocolError: if it is no HTTP.
        """
        try:
            self._connection.receive_data(data)
            self._read_events()
        except h11.RemoteProtocolError as error:
            raise RemoteProtocolError(f"no HTTP: {error}", data) from error

    def rest(self) -> bytes:
        """What came behind the head of a tunnel's answer: the tunnel's own octets."""
        return self._connection.trailing_data[0]

    def _sent(self, event: h11.Event) -> bytes:
        return self._connection.send(event) or b""

    def _read_events(self) -> None:
        while True:
            event = self._connection.next_event()
            match event:
                case h11.NEED_DATA:
                    return
                case h11.PAUSED:
                    self.is_tunnel = self.head is not None and (
                        self.head.is_successful or self.head.status_code == 101
                    )
                    self.is_complete = True
                    return
                case h11.Response() | h11.InformationalResponse(status_code=101):
                    self.head = _head(event)
                case h11.Data():
                    self.body += bytes(event.data)
                case h11.EndOfMessage() | h11.ConnectionClosed():
                    self.is_complete = True
                    return
                case _:  # an interim response (1xx): the final one follows
                    continue


def _head(response: h11.Response | h11.InformationalResponse) -> ResponseHead:
    return ResponseHead(
        status_code=response.status_code,
        reason=_text(response.reason),
        fields=tuple((_text(name), _text(value)) for name, value in response.headers),
        http_version=_text(response.http_version),
    )


def _text(octets: bytes) -> str:
    return bytes(octets).decode("utf-8", "surrogateescape")
