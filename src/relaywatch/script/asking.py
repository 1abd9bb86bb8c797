"""Saying the words to a canary through a tunnel, and hearing what comes back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from relaywatch.model import errors
from relaywatch.model.canary import CANARY_PATH, MAX_ANSWER, canary_words, read_canary_answer
from relaywatch.model.places import Address
from relaywatch.model.tokens import Token

from .brief import Brief, CanaryPlaces
from .link import Deadline, Stream

_DATAGRAMS = 3
"""How often the words are said where they may get lost."""


class CanaryKind(StrEnum):
    """What waits at the destination."""

    WORDS = "words"
    """Takes ``relaywatch TOKEN``, HTTP or TLS."""
    SMTP = "smtp"
    """Our SMTP server: greets, and answers ``VRFY TOKEN``."""
    DATAGRAMS = "datagrams"
    NOTHING = "nothing"
    """The dead canary: a port at which nobody listens, or a name that can't exist."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Where a proxy is asked to lead: an address of ours, or with ``name`` whatever that resolves to."""

    address: Address
    port: int
    kind: CanaryKind
    name: str | None = None

    @property
    def host(self) -> str:
        """The host as a URI writes it: the name, or the address, in brackets if need be (RFC 3986)."""
        if self.name is not None:
            return self.name
        return f"[{self.address}]" if self.address.version == 6 else str(self.address)

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def noted_name(destination: Destination, places: CanaryPlaces, token: Token) -> str | None:
    """The name to ask for, if it is to be one: of our canary's the token's own, where our DNS server notes look-ups."""
    is_ours = places.zone is not None and destination.name in {places.name, places.zone}
    return f"{token}.{places.zone}" if is_ours else destination.name


async def ask_canary(
    stream: Stream, brief: Brief, destination: Destination, token: Token, *, by_http: bool = False
) -> tuple[Address | None, bytes]:
    """Say the token through an open tunnel: from where our canary was reached, if it was, and what was heard.

    ``by_http`` says it as a request, to canaries that take words: for proxies that look into what they carry.
    """
    if destination.kind is CanaryKind.DATAGRAMS:
        return await _ask_by_datagrams(stream, brief, token)
    if destination.kind is CanaryKind.SMTP:
        heard = await listen(stream, _is_greeting, within=brief.patience.canary)
        if not heard.startswith(b"220"):
            return None, heard
        await stream.send(b"VRFY " + token.encode() + b"\r\n")
    elif by_http:
        request = f"GET {CANARY_PATH}{token} HTTP/1.1\r\nHost: {destination}\r\nConnection: close\r\n\r\n"
        await stream.send(request.encode())
    else:
        await stream.send(canary_words(token) + b"\r\n")

    def is_answered(said: bytes) -> bool:
        return read_canary_answer(brief.mint.key, token, as_text(said)) is not None

    heard = await listen(stream, is_answered, within=brief.patience.canary)
    return read_canary_answer(brief.mint.key, token, as_text(heard)), heard


def _is_greeting(said: bytes) -> bool:
    return said.startswith(b"220") and b"\n" in said


async def listen(
    stream: Stream, is_enough: Callable[[bytes], bool], *, within: float, limit: int = MAX_ANSWER
) -> bytes:
    """What comes, until it is enough, is too much, nothing more comes, or it has taken twice that time."""
    heard = bytearray()
    deadline = await Deadline.after(2 * within)
    while len(heard) < limit and not is_enough(bytes(heard)):
        try:
            data = await stream.read_some(within=min(within, await deadline.rest()))
        except (errors.PeerClosedError, errors.ReadTimeoutError):
            break
        if not data:
            break
        heard += data
    return bytes(heard)


async def _ask_by_datagrams(stream: Stream, brief: Brief, token: Token) -> tuple[Address | None, bytes]:
    heard = b""
    for _ in range(_DATAGRAMS):
        await stream.send(canary_words(token))
        try:
            heard = await stream.read_some(within=brief.patience.datagram)
        except errors.ReadTimeoutError:
            continue
        reached_from = read_canary_answer(brief.mint.key, token, as_text(heard))
        if reached_from is not None:
            return reached_from, heard
    return None, heard


def as_text(octets: bytes) -> str:
    """Octets of a peer as text; what is no UTF-8 stays as surrogates."""
    return octets.decode("utf-8", "surrogateescape")
