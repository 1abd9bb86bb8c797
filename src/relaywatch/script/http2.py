"""HTTP/2 dialogues over a link: one request, its answer, and the stream that a tunnel is."""

from __future__ import annotations

from collections.abc import Iterable

from h2.errors import ErrorCodes

from relaywatch.model.errors import NetworkError, PeerClosedError, ReadTimeoutError, RemoteProtocolError
from relaywatch.wire.http1 import Exchange, ResponseHead
from relaywatch.wire.http2 import Http2Exchange, upgrade_settings

from . import fetching, http
from .asking import listen
from .brief import Brief
from .fetching import Question
from .link import Deadline, Link
from .page import Page
from .software import recognise_answer
from .tunnels import Answer, Destination, Opening, as_text, open_link

ALPN = ("h2", "http/1.1")
"""The second so that a server without HTTP/2 says so in HTTP/1.1, where some break the handshake off."""
_BREAKS: dict[int | None, Answer] = {
    ErrorCodes.HTTP_1_1_REQUIRED: Answer.FOREIGN,
    ErrorCodes.CONNECT_ERROR: Answer.FAILED,
}
"""What breaking a stream off says (RFC 9113 section 7); any other way to do so is a no."""

_ENDS = (PeerClosedError, ReadTimeoutError, RemoteProtocolError)


async def open_http2_link(link: Link, brief: Brief) -> None:
    """Connect to the door; within TLS, offer HTTP/2.

    :raises NetworkError: refused, no answer, unreachable, no TLS.
    """
    await open_link(link, brief, alpn=ALPN)


def connect_fields(destination: Destination, brief: Brief) -> list[tuple[str, str]]:
    """CONNECT to the destination (RFC 9113 section 8.5)."""
    return [(":method", "CONNECT"), (":authority", str(destination)), *own_fields(brief)]


async def upgrade(
    link: Link, brief: Brief, destination: Destination, fields: Iterable[tuple[str, str]]
) -> Http2Exchange | None:
    """Ask in HTTP/1.1 for HTTP/2 on this connection, and make the request there; nothing if it says no.

    It was taken out of the standard by RFC 9113; RFC 7540 section 3.2 has it, and so have servers. The host is our
    canary's there too: a server that fetches from whatever host it is shown would ask itself for its own.

    :raises RemoteProtocolError: if it answers in no HTTP at all.
    """
    offer = [
        ("Host", str(destination)),
        ("Connection", "Upgrade, HTTP2-Settings"),
        ("Upgrade", "h2c"),
        ("HTTP2-Settings", upgrade_settings()),
        *http.own_fields(brief),
    ]
    asked = Exchange("HEAD", "/", offer)
    head = await http.exchange_with(link, asked, brief)
    if head.status_code != 101:
        return None
    link.unread(asked.rest())
    return Http2Exchange(fields, is_upgraded=True)


async def read_head(link: Link, exchange: Http2Exchange, *, within: float) -> ResponseHead | None:
    """Send the request and read until the answer's head is there; none if the stream was broken off instead.

    What comes behind the head and is no HTTP/2 ends the stream, in the same piece or in a later one.

    :raises RemoteProtocolError: if what comes is no HTTP/2.
    :raises PeerClosedError: if the peer closes first.
    :raises ReadTimeoutError: if the peer is silent for so long, or not done in twice that time.
    """
    await link.send(exchange.outgoing())
    deadline = await Deadline.after(2 * within)
    while exchange.head is None and not exchange.is_ended:
        rest = min(within, await deadline.rest())
        try:
            await _feed(link, exchange, rest)
        except RemoteProtocolError:
            if exchange.head is None:
                raise
    return exchange.head


async def ask_for_tunnel(link: Link, brief: Brief, exchange: Http2Exchange, command: str) -> Opening:
    """Ask, and tell what the answer says; with a yes, the stream is the tunnel.

    :raises ReadTimeoutError: if it speaks HTTP/2, and doesn't answer.
    """
    try:
        head = await read_head(link, exchange, within=brief.patience.tunnel)
    except _ENDS as error:
        return _without_answer(exchange, error, command)
    if head is None:
        return _broken_off(exchange, command)
    answer = http.classify(head)
    stream = Http2Stream(link, exchange, patience=brief.patience.tunnel)
    if answer is not Answer.YES:
        page = None
        if answer is Answer.FAILED:  # which may be what it says to everything
            page = Page(head.status_code, await _read_page(stream, within=brief.patience.first_words))
        told = recognise_answer(head.fields, page.body if page else "", is_own=True)
        return Opening(answer=answer, reply=str(head), command=command, page=page, software=told)
    if http.has_content(head) or exchange.is_ended:
        answer = Answer.PAGE
    told = recognise_answer(head.fields, "", is_own=True)
    return Opening(answer=answer, reply=str(head), command=command, stream=stream, software=told)


async def fetch(link: Link, brief: Brief, fields: Iterable[tuple[str, str]], question: Question) -> Opening:
    """Ask for a page, and tell what the answer says: yes only if it is our canary's.

    :raises ReadTimeoutError: if it speaks HTTP/2, and doesn't answer.
    """
    exchange = Http2Exchange(fields, ends=True)
    try:
        head = await read_head(link, exchange, within=brief.patience.tunnel)
    except _ENDS as error:
        return _without_answer(exchange, error, question.command)
    if head is None:
        return _broken_off(exchange, question.command)
    stream = Http2Stream(link, exchange, patience=brief.patience.tunnel)
    body = await _read_page(stream, within=brief.patience.canary)
    return await fetching.read_answer(link, brief, head, body, question)


async def _read_page(stream: Http2Stream, *, within: float) -> str:
    body = await listen(stream, lambda _: False, within=within, limit=http.MAX_BODY)
    return as_text(body[: http.MAX_BODY])


def own_fields(brief: Brief) -> list[tuple[str, str]]:
    """The fields by which a request says who checks, named as HTTP/2 wants it."""
    return [(name.lower(), value) for name, value in http.own_fields(brief)]


def _without_answer(
    exchange: Http2Exchange, error: NetworkError | RemoteProtocolError, command: str
) -> Opening:
    """What it says not to answer.

    Whoever doesn't begin as HTTP/2 begins doesn't speak it, even if all that comes is silence: the server's
    SETTINGS wait for nothing (RFC 9113 section 3.4).
    """
    if not exchange.has_spoken:
        return Opening(answer=Answer.FOREIGN, command=command)
    if isinstance(error, ReadTimeoutError):
        raise error
    return Opening(answer=Answer.NO, detail=str(error), command=command)


def _broken_off(exchange: Http2Exchange, command: str) -> Opening:
    """What it says to break the stream off, by the name that RFC 9113 section 7 gives the code."""
    code = exchange.error
    name = code.name if isinstance(code, ErrorCodes) else f"error {code}"
    return Opening(answer=_BREAKS.get(code, Answer.NO), reply=f"HTTP/2 {name}", command=command)


class Http2Stream:
    """A tunnel within HTTP/2: what is sent becomes DATA, as far as the peer's windows let it through."""

    def __init__(self, link: Link, exchange: Http2Exchange, *, patience: float) -> None:
        self._link, self._exchange, self._patience = link, exchange, patience

    async def send(self, data: bytes) -> None:
        """Send octets, waiting while the peer's window is shut.

        :raises PeerClosedError: if the stream has ended.
        :raises ReadTimeoutError: if the window stays shut.
        """
        deadline = await Deadline.after(2 * self._patience)
        while data:
            if self._exchange.is_ended or self._exchange.is_broken:
                raise PeerClosedError("the peer has ended the stream")
            sent = self._exchange.send(data)
            data = data[sent:]
            if sent:
                await self._link.send(self._exchange.outgoing())
            else:
                await self._go_on(min(self._patience, await deadline.rest()))

    async def read_some(self, *, within: float) -> bytes:
        """Read what comes next on the stream; none at all once it has ended.

        :raises ReadTimeoutError: if nothing comes on the connection within so many seconds.
        :raises PeerClosedError: if the peer closes the connection, or breaks the protocol.
        """
        deadline = await Deadline.after(2 * within)
        while not self._exchange.body and not self._exchange.is_ended:
            if self._exchange.is_broken:
                raise PeerClosedError("the peer has broken the protocol")
            await self._go_on(min(within, await deadline.rest()))
        data = bytes(self._exchange.body)
        self._exchange.body.clear()
        return data

    async def _go_on(self, within: float) -> None:
        """Whatever breaks the connection ends the tunnel, and says nothing of who granted it."""
        try:
            await _feed(self._link, self._exchange, within)
        except RemoteProtocolError as error:
            raise PeerClosedError(str(error)) from error


async def _feed(link: Link, exchange: Http2Exchange, within: float) -> None:
    """Take what comes next, and send what that calls for."""
    data = await link.read_some(within=within)
    if not data:
        raise PeerClosedError("the peer closed the connection")
    exchange.feed(data)
    if due := exchange.outgoing():
        await link.send(due)
