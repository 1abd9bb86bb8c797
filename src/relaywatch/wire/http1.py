"""HTTP/1.x between octets and values, by h11: one request, and its answer (RFC 9112).

Bodies are never decompressed, since nothing that a check looks for would be compressed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import h11

from relaywatch.model.errors import LocalProtocolError, RemoteProtocolError

MAX_HEAD = 16 << 10
"""Octets of a status line and its fields, with all interim responses before them; more is an error."""
_EMPTY_LINES = b"\r\n"
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_STATUS_LINE = re.compile(rb"HTTP/([0-9](?:\.[0-9])?)\s+([0-9]{3})(?![0-9])(.*)", re.IGNORECASE | re.DOTALL)


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

    @property
    def is_interim(self) -> bool:
        """1xx but 101, after which no other answer comes (RFC 9110 section 15.2)."""
        return self.status_code < 200 and self.status_code != 101

    def __str__(self) -> str:
        return f"HTTP/{self.http_version} {self.status_code} {self.reason}".rstrip()


class Exchange:
    """One request and whatever answers it, fed as it comes; knows nothing of connections.

    What h11 finds no proper head is read by white space, as RFC 9112 section 4 allows: many a proxy writes its
    head by hand, and a broken field in it makes it no less open.

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
        self._method = method
        self._before_body = b""
        """Everything that came until the head was there."""
        self._sloppy: bytes | None = None
        """What came behind a head that only we could read."""
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
        if self.head is None:
            self._before_body += data
            if not b"HTTP/".startswith(self._before_body.lstrip(_EMPTY_LINES)[:5].upper()):
                raise RemoteProtocolError("no HTTP", self._before_body)
        if self._sloppy is not None:
            self._feed_sloppily(data)
            return
        try:
            self._connection.receive_data(data)
            self._read_events()
        except h11.RemoteProtocolError as error:
            if self.head is not None:
                raise RemoteProtocolError(f"no HTTP: {error}", data) from error
            self._sloppy = b""
            self._feed_sloppily(data)

    def _feed_sloppily(self, data: bytes) -> None:
        """Read what comes by a head as the many write it who write one by hand."""
        is_closed = not data
        if self.head is None:
            data = self._read_sloppy_head(is_closed=is_closed)
        if self.is_tunnel:
            self._sloppy = self.rest() + data
        elif self.head is not None:
            self.body += data
            self.is_complete = self._method == "HEAD" or is_closed

    def _read_sloppy_head(self, *, is_closed: bool) -> bytes:
        """Read the head, if it is there, and give what stands behind it."""
        came = self._before_body
        while self.head is None:
            came = came.lstrip(_EMPTY_LINES)
            end = _HEAD_END.search(came)
            self._limit_head(len(self._before_body) - (len(came) - end.end() if end else 0))
            if end is None and is_closed:
                raise RemoteProtocolError("no HTTP: a head without an end", came)
            if end is None:
                return b""
            head, came = _sloppy_head(came[: end.start()]), came[end.end() :]
            if not head.is_interim:
                self.head = head
        self.is_tunnel = self.is_complete = self._method == "CONNECT" and self.head.is_successful
        return came

    def rest(self) -> bytes:
        """What came behind the head of a tunnel's answer: the tunnel's own octets."""
        return self._connection.trailing_data[0] if self._sloppy is None else self._sloppy

    def _sent(self, event: h11.Event) -> bytes:
        return self._connection.send(event) or b""

    def _read_events(self) -> None:
        while True:
            event = self._connection.next_event()
            match event:
                case h11.NEED_DATA:
                    if self.head is None:  # many interim responses are too much too
                        self._limit_head(len(self._before_body))
                    return
                case h11.PAUSED:
                    self.is_tunnel = self.head is not None and (
                        self.head.is_successful or self.head.status_code == 101
                    )
                    self.is_complete = True
                    return
                case h11.Response() | h11.InformationalResponse(status_code=101):
                    self._limit_head(len(self._before_body) - len(self._connection.trailing_data[0]))
                    self.head = _head(event)
                case h11.Data():
                    self.body += bytes(event.data)
                case h11.EndOfMessage() | h11.ConnectionClosed():
                    self.is_complete = True
                    return
                case _:  # an interim response (1xx): the final one follows
                    continue

    def _limit_head(self, octets: int) -> None:
        if octets > MAX_HEAD:
            raise RemoteProtocolError(f"a head of more than {MAX_HEAD} octets", self._before_body)


def _sloppy_head(octets: bytes) -> ResponseHead:
    status_line, *lines = octets.replace(b"\r\n", b"\n").split(b"\n")
    found = _STATUS_LINE.match(status_line)
    if found is None:
        raise RemoteProtocolError("no HTTP: illegal status line", octets)
    fields = [line.partition(b":") for line in lines if b":" in line]
    return ResponseHead(
        status_code=int(found[2]),
        reason=_text(found[3].strip()),
        fields=tuple((_text(name.strip().lower()), _text(value.strip())) for name, _, value in fields),
        http_version=_text(found[1]),
    )


def _head(response: h11.Response | h11.InformationalResponse) -> ResponseHead:
    return ResponseHead(
        status_code=response.status_code,
        reason=_text(response.reason),
        fields=tuple((_text(name), _text(value)) for name, value in response.headers),
        http_version=_text(response.http_version),
    )


def _text(octets: bytes) -> str:
    return bytes(octets).decode("utf-8", "surrogateescape")
