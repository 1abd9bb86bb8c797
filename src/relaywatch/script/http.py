"""HTTP/1.x dialogues over a link: one request, its answer, and what that says about a tunnel."""

from __future__ import annotations

from contextlib import suppress

from relaywatch.model.errors import PeerClosedError, ReadTimeoutError, RemoteProtocolError
from relaywatch.model.places import Transport
from relaywatch.wire.http1 import Exchange, ResponseHead

from .brief import Brief
from .link import Deadline, Link
from .page import Page
from .software import recognise_answer
from .tunnels import Answer, Destination, Opening, as_text

MAX_BODY = 8192
"""Octets of a body that are read; our canary's answer is shorter."""
_FAILED = frozenset({500, 502, 503, 504})
"""Status codes of a proxy that tried and could not connect (RFC 9110 section 15.6); tinyproxy says 500."""
_TOO_MANY_REQUESTS = 429
"""RFC 6585 section 4."""
_CREDENTIALS = frozenset({401, 407})


def own_fields(brief: Brief) -> list[tuple[str, str]]:
    """The fields by which a request says who checks."""
    identity = brief.identity
    contact = f" ({identity.contact})" if identity.contact else ""
    return [("User-Agent", _ascii(f"relaywatch{contact}"))]


def own_authority(brief: Brief) -> str:
    """How the target itself is named in a Host field: its port too, unless that is the scheme's own."""
    default = 443 if brief.door.transport in {Transport.TLS, Transport.QUIC} else 80
    address = brief.endpoint.address
    host = f"[{address}]" if address.version == 6 else str(address)
    name = next(iter(brief.target_names), host)
    return name if brief.door.port == default else f"{name}:{brief.door.port}"


def connect_exchange(destination: Destination, brief: Brief) -> Exchange:
    """CONNECT to the destination (RFC 9110 section 9.3.6)."""
    return Exchange("CONNECT", str(destination), [("Host", str(destination)), *own_fields(brief)])


async def read_head(link: Link, exchange: Exchange, *, within: float) -> ResponseHead:
    """Read until the answer's head is there.

    :raises ReadTimeoutError: if the peer is silent for so long, or not done in twice that time.
    :raises RemoteProtocolError: if what comes is no HTTP.
    :raises PeerClosedError: if the peer closes first.
    """
    deadline = await Deadline.after(2 * within)
    while exchange.head is None:
        data = await link.read_some(within=min(within, await deadline.rest()))
        if not data:
            raise PeerClosedError("the peer closed the connection")
        exchange.feed(data)
    return exchange.head


async def read_body(link: Link, exchange: Exchange, *, within: float) -> str:
    """Read the body as far as it is of interest, whatever its end is.

    :raises RemoteProtocolError: if its framing is broken.
    """
    deadline = await Deadline.after(2 * within)
    while not exchange.is_complete and len(exchange.body) < MAX_BODY:
        exchange.feed(await link.read_some(within=min(within, await deadline.rest())))
    return exchange.body[:MAX_BODY].decode("utf-8", "surrogateescape")


async def read_rest(link: Link, exchange: Exchange, brief: Brief) -> str:
    """Read the body behind a head: it comes with that or right after, and counts however it breaks off."""
    with suppress(ReadTimeoutError, PeerClosedError, RemoteProtocolError):
        await read_body(link, exchange, within=min(brief.patience.canary, brief.patience.first_words))
    return as_text(exchange.body[:MAX_BODY])


async def exchange_with(link: Link, exchange: Exchange, brief: Brief, *, after: bytes = b"") -> ResponseHead:
    """Send a request, with octets that don't belong there after it, and read the answer's head."""
    await link.send(exchange.request + after)
    return await read_head(link, exchange, within=brief.patience.tunnel)


async def read_tunnel(
    link: Link, exchange: Exchange, brief: Brief, head: ResponseHead, command: str
) -> Opening:
    """What the answer to CONNECT says; with a yes, the link is the tunnel.

    A 2xx that announces content is a page, unless our canary says otherwise: an answer to CONNECT has none, and
    what it says of any must be ignored (RFC 9110 section 9.3.6).
    """
    answer = classify(head)
    if answer is Answer.YES:
        link.unread(exchange.rest())
        answer = Answer.PAGE if has_content(head) else Answer.YES
        told = recognise_answer(head.fields, "", is_own=True)
        return Opening(answer=answer, reply=str(head), command=command, stream=link, software=told)
    page = None
    if answer is Answer.FAILED:  # which may be what it says to everything
        page = Page(head.status_code, await read_rest(link, exchange, brief))
    told = recognise_answer(head.fields, page.body if page else "", is_own=True)
    return Opening(answer=answer, reply=str(head), command=command, page=page, software=told)


def classify(head: ResponseHead) -> Answer:
    """What the status code says to whoever asks a proxy for something."""
    if head.is_successful:
        return Answer.YES
    if head.status_code in _CREDENTIALS:
        return Answer.CREDENTIALS
    if head.status_code == _TOO_MANY_REQUESTS:
        return Answer.TOO_MANY
    return Answer.FAILED if head.status_code in _FAILED else Answer.NO


def has_content(head: ResponseHead) -> bool:
    """Whether an answer announces content, which an answer to CONNECT has not (RFC 9110 section 9.3.6)."""
    return any(
        (name == "content-length" and value.strip() != "0") or (name == "transfer-encoding")
        for name, value in head.fields
    )


def _ascii(text: str) -> str:
    """A field's value may hold visible ASCII alone, whatever the user is called (RFC 9110 section 5.5)."""
    return "".join(char if 32 <= ord(char) < 127 else "?" for char in text)
