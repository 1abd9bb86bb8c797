"""What is said to a TCP canary: words, HTTP or TLS, told by the first octets; no socket, no clock.

Lenient where a proxy's odd habits would cost us an arrival: what telnet gateways, line editors and PROXY
headers put before our words is passed over, and words are found in any of the first lines. Whoever says no
token of ours gets nothing from it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import islice

from relaywatch.model.canary import CANARY_PATH
from relaywatch.model.evidence import ArrivalKind
from relaywatch.model.tokens import TOKEN_PATTERN, Token
from relaywatch.wire import telnet

from .canary_http import Asked, Continue, HTTPRequest, Page

HEARD = 4096
"""Octets that a peer may say before a token of ours is among them."""
_BLANKS = b"\r\n\t \0"
"""Beside telnet commands (RFC 854) what gateways put before what they carry."""
_PROXY_LINE = re.compile(rb"PROXY [^\r\n]{0,100}\r?\n")
_PROXY_BLOCK = b"\r\n\r\n\0\r\nQUIT\n"
"""The signature of version 2 of the PROXY protocol; four octets follow, the last two are a length."""
_WORDS = re.compile(rb"relaywatch (" + TOKEN_PATTERN.pattern.encode() + rb")", re.IGNORECASE)
_SIMPLE_REQUEST = re.compile(
    rb"^GET \S*" + CANARY_PATH.encode() + rb"(" + TOKEN_PATTERN.pattern.encode() + rb")\s*\n",
    re.IGNORECASE | re.MULTILINE,
)
"""HTTP/0.9 (RFC 1945 section 4.1), which the oldest proxies speak."""
_HANDSHAKE = b"\x16"
_CANDIDATES = 10
"""What may be tokens, of which so many are verified at most."""

FindToken = Callable[[str], Token | None]
"""Finds a token of ours in a text."""


@dataclass(frozen=True, slots=True)
class BeginTLS:
    """Negotiate TLS with these octets, and what comes after them."""

    octets: bytes


@dataclass(frozen=True, slots=True)
class HangUp:
    """There is nothing here for this peer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """A token of ours: note it, and then send what ``reply`` makes of the answer."""

    token: Token
    kind: ArrivalKind
    reply: Callable[[str], bytes]
    fields: tuple[tuple[str, str], ...] = ()


CanaryStep = BeginTLS | HangUp | Heard | Page | Continue


class CanaryDialogue:
    """One connection: feed it octets, take its steps until there is none."""

    __slots__ = ("_buffer", "_find", "_may_begin_tls", "_notice", "_proxy_line", "_request")

    def __init__(self, find: FindToken, notice: str, *, may_begin_tls: bool = True) -> None:
        """``notice`` says in one line who runs this; inside TLS there is no second TLS."""
        self._find = find
        self._notice = notice
        self._may_begin_tls = may_begin_tls
        self._buffer = bytearray()
        self._request: HTTPRequest | None = None
        self._proxy_line = ""

    def feed(self, data: bytes) -> None:
        """Take octets as they came."""
        if self._request:
            self._request.feed(data)
        else:
            self._buffer += data

    def step(self) -> CanaryStep | None:
        """The next thing to do, or nothing until more octets come."""
        if self._request:
            return self._read_request(self._request)
        if self._skip_proxy_header():
            head = bytes(self._buffer[self._noise() :])
            if self._may_begin_tls and head.startswith(_HANDSHAKE):
                return BeginTLS(head)
            if request := HTTPRequest.begin(head):
                self._request = request
                self._buffer.clear()
                return self._read_request(request)
            if heard := self._words():
                return heard
        return HangUp() if len(self._buffer) > HEARD else None

    # --- what comes first ----------------------------------------------------------------------

    def _noise(self) -> int:
        return telnet.skip(bytes(self._buffer), _BLANKS)

    def _skip_proxy_header(self) -> bool:
        """Drop a PROXY header, of either version; whether there is none, or no more."""
        start = bytes(self._buffer[: len(_PROXY_BLOCK) + 4])
        if start.startswith(_PROXY_BLOCK):
            end = len(start) + int.from_bytes(start[-2:], "big")
            if len(start) < len(_PROXY_BLOCK) + 4 or len(self._buffer) < end:
                return False
            del self._buffer[:end]
            self._proxy_line = "version 2"
        elif found := _PROXY_LINE.match(bytes(self._buffer[:128])):
            self._proxy_line = found[0].decode("latin-1").strip()
            del self._buffer[: found.end()]
        return True

    # --- words and requests --------------------------------------------------------------------

    def _words(self) -> Heard | None:
        parted = telnet.part(bytes(self._buffer))
        said = parted.text + parted.rest  # our words may stand in a subnegotiation that never ends
        for found in islice(_WORDS.finditer(said), _CANDIDATES):
            if token := self._find(found[1].decode("ascii")):
                return self._heard(token, ArrivalKind.TCP, self._say)
        simple = _SIMPLE_REQUEST.search(said)
        token = self._find(simple[1].decode("ascii")) if simple else None
        return self._heard(token, ArrivalKind.HTTP, self._say) if token else None

    def _heard(self, token: Token, kind: ArrivalKind, reply: Callable[[str], bytes]) -> Heard:
        fields = ((":proxy", self._proxy_line),) if self._proxy_line else ()
        return Heard(token=token, kind=kind, reply=reply, fields=fields)

    def _say(self, answer: str) -> bytes:
        return f"{answer}\r\n{self._notice}\r\n".encode("utf-8", "replace")

    def _read_request(self, request: HTTPRequest) -> CanaryStep | None:
        step = request.step()
        if not isinstance(step, Asked):
            return step
        for candidate in step.candidates:
            if token := self._find(candidate):
                heard = self._heard(token, ArrivalKind.HTTP, step.reply)
                return replace(heard, fields=(*heard.fields, *step.fields))
        return step.otherwise
