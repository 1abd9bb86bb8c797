"""An HTTP/1.x request to a canary, read by h11; no socket, no clock.

``GET`` and ``HEAD`` carry the token in the path, ``POST`` and ``PUT`` there or in the words of their body.
Answers are written plainly: one a connection, which then ends, so that a broken request can be answered too.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

import h11

from relaywatch.model.canary import CANARY_PATH
from relaywatch.model.tokens import TOKEN_PATTERN

from .message import bound_fields

_HEAD = 16_384
"""Octets of a request line with its fields; proxies add to them."""
_BODY = 4096
_REQUEST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}) ([^ \r\n]{1,4096}) HTTP/1\.[01]\r?\n")
"""The method is any token (RFC 9110 section 9.1)."""
_PATH_TOKEN = re.compile(re.escape(CANARY_PATH) + f"({TOKEN_PATTERN.pattern})", re.IGNORECASE)
_WORDS = re.compile(rf"relaywatch(?: |\+|%20)({TOKEN_PATTERN.pattern})", re.IGNORECASE)
_WITH_BODY = frozenset({"POST", "PUT"})
_TAKEN = frozenset({"GET", "HEAD"}) | _WITH_BODY
_NOT_ALLOWED = frozenset({"CONNECT", "DELETE", "OPTIONS", "PATCH", "TRACE"})
"""Methods that are well known, and that nothing here takes (RFC 9110 section 15.5.6); any other is none of ours."""
_NAME = 100
_VALUE = 1000
_CANDIDATES = 10

Fields = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Page:
    """A request without a token of ours: answer so, with a page that tells who this is; then hang up."""

    status_code: int
    is_head: bool = False
    is_root: bool = False
    """The page for people was asked for."""


@dataclass(frozen=True, slots=True)
class Continue:
    """Tell the peer to send its body (RFC 9110 section 10.1.1)."""

    octets: bytes = b"HTTP/1.1 100 Continue\r\n\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A complete request, with what may be tokens in it."""

    candidates: tuple[str, ...]
    fields: Fields
    reply: Callable[[str], bytes]
    otherwise: Page


class HTTPRequest:
    """One request, fed as its octets come."""

    __slots__ = ("_body", "_connection", "_given", "_has_encouraged", "_method", "_target")

    def __init__(self, method: str, target: str, head: bytes) -> None:
        """``head`` are its first octets, from the request line on."""
        self._method, self._target = method, target
        self._connection = h11.Connection(h11.SERVER, max_incomplete_event_size=_HEAD)
        self._given: list[tuple[str, str]] = []
        self._body = bytearray()
        self._has_encouraged = False
        self._connection.receive_data(head)

    @classmethod
    def begin(cls, octets: bytes) -> HTTPRequest | None:
        """Make one of the first octets, if they begin with a whole request line of HTTP/1.x."""
        found = _REQUEST_LINE.match(octets)
        return cls(found[1].decode("ascii"), found[2].decode("latin-1"), octets) if found else None

    def feed(self, data: bytes) -> None:
        """Take octets as they came."""
        self._connection.receive_data(data)

    def step(self) -> Asked | Page | Continue | None:
        """The next thing to do, or nothing until more octets come."""
        try:
            return self._read()
        except h11.RemoteProtocolError as error:
            # Whoever led it here may garble fields and bodies: that it came is what matters.
            return self._asked(otherwise=error.error_status_hint)

    def _read(self) -> Asked | Continue | None:
        while True:
            event = self._connection.next_event()
            if isinstance(event, h11.Request):
                self._given = [(_text(name), _text(value)) for name, value in event.headers.raw_items()]
            elif isinstance(event, h11.Data):
                self._body += event.data
            if isinstance(event, h11.EndOfMessage) or len(self._body) > _BODY:
                return self._asked()
            if event is h11.NEED_DATA:
                return self._encourage()

    def _encourage(self) -> Continue | None:
        if not self._connection.they_are_waiting_for_100_continue or self._has_encouraged:
            return None
        self._has_encouraged = True
        return Continue()

    def _asked(self, otherwise: int = 404) -> Asked:
        is_head = self._method == "HEAD"
        path = _path_of(self._target)
        page = Page(otherwise, is_head=is_head)
        if self._method not in _TAKEN:
            page = Page(405 if self._method in _NOT_ALLOWED else 501)
        elif path == "/" and otherwise == 404:
            page = Page(200, is_head=is_head, is_root=True)
        line = [(":method", self._method), (":path", self._target[:_VALUE])]
        return Asked(
            candidates=self._candidates(path),
            fields=bound_fields(line + [(name[:_NAME], value[:_VALUE]) for name, value in self._given]),
            reply=lambda answer: answer_page(answer, is_head=is_head),
            otherwise=page,
        )

    def _candidates(self, path: str) -> tuple[str, ...]:
        if self._method not in _TAKEN:
            return ()
        found = _PATH_TOKEN.findall(path)
        if self._method in _WITH_BODY:
            found += _WORDS.findall(path) + _WORDS.findall(self._body[:_BODY].decode("latin-1"))
        return tuple(found[:_CANDIDATES])


def _path_of(target: str) -> str:
    """The path of an origin-form or absolute-form target (RFC 9112 section 3.2)."""
    _, colon, rest = target.partition("://")
    if not colon or target.startswith("/"):
        return target
    _, slash, path = rest.partition("/")
    return slash + path or "/"


def _text(octets: bytes) -> str:
    return octets.decode("utf-8", "backslashreplace")


def answer_page(answer: str, *, is_head: bool) -> bytes:
    """Write a canary's answer."""
    return write_response(
        200, (answer + "\r\n").encode("ascii"), is_head=is_head, extra=(("X-Relaywatch-Answer", answer),)
    )


def write_response(
    status_code: int,
    body: bytes,
    *,
    media_type: str = "text/plain; charset=utf-8",
    is_head: bool = False,
    extra: Fields = (),
) -> bytes:
    """Write a response that is the connection's last."""
    fields = [
        ("Content-Type", media_type),
        ("Content-Length", str(len(body))),
        *extra,
        *([("Allow", ", ".join(sorted(_TAKEN)))] if status_code == 405 else []),
        ("Cache-Control", "no-store"),
        ("X-Content-Type-Options", "nosniff"),
        ("Server", "relaywatch"),
        ("Connection", "close"),
    ]
    lines = [
        f"HTTP/1.1 {status_code} {HTTPStatus(status_code).phrase}",
        *(f"{name}: {value}" for name, value in fields),
        "\r\n",
    ]
    return "\r\n".join(lines).encode("latin-1", "replace") + (b"" if is_head else body)
