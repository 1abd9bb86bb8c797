"""SOCKS5 dialogues over a link: the method, a request and its replies, the relay of datagrams (RFC 1928)."""

from __future__ import annotations

from dataclasses import dataclass

from relaywatch.model.errors import (
    ConnectRefusedError,
    NotPermittedError,
    PeerClosedError,
    ReadTimeoutError,
    RemoteProtocolError,
)
from relaywatch.model.evidence import Fact, Observation
from relaywatch.model.places import Address, Endpoint, parse_address
from relaywatch.model.tokens import Token
from relaywatch.wire import socks5 as wire
from relaywatch.wire.socks5 import BoundAddress, Command, ReplyField

from .asking import noted_name
from .brief import Brief
from .entry import report_no_entry
from .link import DatagramLink, Link, Stream
from .tunnels import Answer, Destination, Opening, open_link

_GREETING = "method 0x00 (no authentication required)"
_ANSWERS = {
    ReplyField.SUCCEEDED: Answer.YES,
    # Servers say "general failure" of what they may not do, too; but OpenSSH and others say it whenever a
    # connection fails, so that it is no refusal.
    ReplyField.GENERAL_FAILURE: Answer.FAILED,
    ReplyField.NETWORK_UNREACHABLE: Answer.FAILED,
    ReplyField.HOST_UNREACHABLE: Answer.FAILED,
    ReplyField.CONNECTION_REFUSED: Answer.FAILED,
    ReplyField.TTL_EXPIRED: Answer.FAILED,
}
"""Any other reply field is a refusal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a request came to; ``bound`` with a yes alone."""

    answer: Answer
    text: str = ""
    detail: str = ""
    bound: BoundAddress | None = None

    def opening(self, command: str, stream: Stream | None = None) -> Opening:
        """The same for a survey."""
        return Opening(
            answer=self.answer, reply=self.text, detail=self.detail, command=command, stream=stream
        )


def noted_host(brief: Brief, destination: Destination, token: Token) -> Address | str:
    """The destination's host; of our canary's names the token's own, if our DNS server notes who looks it up."""
    return noted_name(destination, brief.canaries, token) or destination.address


async def negotiate(link: Link, brief: Brief) -> Reply:
    """Offer to come without authentication, and nothing else (RFC 1928 section 3).

    :raises RemoteProtocolError: if what comes is no SOCKS5.
    """
    await link.send(wire.encode_greeting())
    version, method = choice = await link.read_exactly(2, within=brief.patience.reply)
    if version != wire.VERSION:
        raise RemoteProtocolError("no SOCKS5 method selection", choice)
    text = f"METHOD 0x{method:02x}"
    if method == wire.NO_AUTHENTICATION_REQUIRED:
        return Reply(answer=Answer.YES, text=text)
    return Reply(answer=Answer.CREDENTIALS, text=text, detail="credentials")


async def lets_in(link: Link, brief: Brief, advisory: str) -> bool:
    """Connect, and whether it takes requests of those who have no credentials; reports it if not."""
    await open_link(link, brief)
    try:
        reply = await negotiate(link, brief)
    except (PeerClosedError, RemoteProtocolError):
        await link.report(Observation(fact=Fact.NOT_THIS_PROTOCOL))
        return False
    if reply.answer is Answer.CREDENTIALS:
        await report_no_entry(link, advisory, reply=reply.text, command=_GREETING)
    return reply.answer is Answer.YES


async def request(link: Link, brief: Brief, command: Command, host: Address | str, port: int) -> Reply:
    """Negotiate, ask, and read the first reply.

    Whoever hangs up after it has chosen a method has refused; whoever is silent then has tried in vain.

    :raises RemoteProtocolError: if what comes is no SOCKS5.
    """
    reply = await negotiate(link, brief)
    if reply.answer is not Answer.YES:
        return reply
    await link.send(wire.encode_request(command, host, port))
    try:
        return await read_reply(link, within=brief.patience.tunnel)
    except PeerClosedError as error:
        return Reply(answer=Answer.NO, detail=str(error))
    except ReadTimeoutError as error:
        return Reply(answer=Answer.FAILED, detail=str(error))


async def read_reply(link: Link, *, within: float) -> Reply:
    """Read a reply; of one that isn't a yes only as far as the reply field, since some end there.

    :raises RemoteProtocolError: if what comes is no SOCKS5.
    """
    version, field = head = await link.read_exactly(2, within=within)
    if version != wire.VERSION:
        raise RemoteProtocolError("no SOCKS5 reply", head)
    text = wire.show_reply_field(field)
    answer = {known.value: answer for known, answer in _ANSWERS.items()}.get(field, Answer.NO)
    if answer is not Answer.YES:
        return Reply(answer=answer, text=text)
    _reserved, address_type, first = await link.read_exactly(3, within=within)
    size = wire.address_size(address_type, first)
    rest = await link.read_exactly(size - 1, within=within)
    bound = wire.parse_address(address_type, bytes((first,)) + rest)
    return Reply(answer=answer, text=text, bound=bound)


async def connect(link: Link, brief: Brief, destination: Destination, token: Token) -> Opening:
    """Ask for a tunnel; with a yes, the link is the tunnel."""
    host = noted_host(brief, destination, token)
    reply = await request(link, brief, Command.CONNECT, host, destination.port)
    return reply.opening(f"CONNECT {host}:{destination.port}", link)


async def dial(
    beside: Link | DatagramLink, bound: BoundAddress, brief: Brief, source: Address | None = None
) -> Endpoint:
    """Open a link to where the server says that it is for us, and tell where that was.

    :raises NetworkError: refused, no answer, unreachable, or no such port.
    """
    if not bound.port:
        raise ConnectRefusedError("it names no port")
    named = Endpoint(_announced(bound.host, brief), bound.port)
    try:
        await beside.connect(at=named, source=source)
    except NotPermittedError:  # behind NAT it knows another address of its own than we do
        named = Endpoint(brief.endpoint.address, bound.port)
        await beside.connect(at=named, source=source)
    return named


def _announced(host: Address | str, brief: Brief) -> Address:
    """The address that is announced; the target's own for 0.0.0.0, for a name, and for a loopback address."""
    own = brief.endpoint.address
    if isinstance(host, str) or host.is_unspecified:
        return own
    return own if host.is_loopback and not own.is_loopback else host


def anywhere(brief: Brief) -> Address:
    """The address that names none: 0.0.0.0, or the same of IPv6."""
    return parse_address("0.0.0.0" if brief.endpoint.address.version == 4 else "::")  # noqa: S104 -- named, not bound
