"""A link that leads through an open proxy, so that any script can be run behind it, word for word.

And the first words there: whether it is our own sink that answers, or who else it says it is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress

from relaywatch.model.canary import read_canary_answer
from relaywatch.model.errors import (
    ConnectRefusedError,
    ConnectTimeoutError,
    NetworkError,
    PeerClosedError,
    ReadTimeoutError,
    RemoteProtocolError,
    TLSFailedError,
)
from relaywatch.model.evidence import Fact, Observation
from relaywatch.model.places import Address, Endpoint
from relaywatch.wire.hostnames import plausible_host_name

from . import ops
from .brief import Brief
from .link import Link, Stream
from .probe import Script
from .smtp import command, leave, read_reply
from .tunnels import Answer, Destination, Opening, OpenLink, OpenTunnel, open_link

OUR_SINK = "our own sink answers there, and so none of the target's"
CALLS_ITSELF = "calls itself"
_LEADS = frozenset({Answer.YES, Answer.PAGE})
"""A page's head may stand before a tunnel, as the dialogue behind it tells."""
_ANYBODYS = (".localhost", ".localdomain", ".localdomain4", ".localdomain6")
"""How hosts call themselves that nobody has named (RFC 6761 section 6.3, and what systems come with)."""
_AT_ONCE = 0.001
"""Seconds within which what lies there already is read."""


class ChainedLink(Link):
    """Connects to the proxy, and there asks for a tunnel to the destination each time.

    ``proxy`` is the brief with which the proxy was found; it stays bound to the proxy's door. The tunnel is
    the connection itself, or a stream within it (HTTP/2, HTTP/3): then there is no TLS inside of it.
    """

    __slots__ = ("_destination", "_open_link", "_proxy", "_release", "_stream", "_tunnel")

    def __init__(
        self, tunnel: OpenTunnel, proxy: Brief, destination: Destination, *, opener: OpenLink = open_link
    ) -> None:
        super().__init__()
        self._tunnel, self._proxy, self._destination = tunnel, proxy, destination
        self._open_link = opener
        self._stream: Stream | None = None
        self._release: Callable[[], Awaitable[None]] | None = None

    async def connect(
        self,
        *,
        at: Endpoint | None = None,  # noqa: ARG002 -- a chain leads to one place
        source: Address | None = None,  # noqa: ARG002
        within: float | None = None,  # noqa: ARG002
    ) -> None:
        """Open a connection to the proxy and a tunnel through it.

        :raises ConnectRefusedError: if the proxy leads no further, as if nobody listened there.
        :raises ConnectTimeoutError: if the proxy doesn't say whether it does.
        """
        await self.close()
        plain = Link()
        await self._open_link(plain, self._proxy)
        opening = await self._ask(plain)
        self._release = opening.release
        if opening.stream is None or opening.answer not in _LEADS:
            await self.close()
            raise ConnectRefusedError(f"the proxy doesn't lead to {self._destination}: {opening.reply}")
        if opening.stream is plain:
            self._buffer += plain.taken()
        else:
            self._stream = opening.stream

    async def _ask(self, plain: Link) -> Opening:
        """Ask for the tunnel; whoever hangs up instead of answering refuses, and silence may be a firewall's."""
        token = self._proxy.token(f"chain {self._destination}")
        try:
            opening = await self._tunnel(plain, self._proxy, self._destination, token)
        except ReadTimeoutError as error:
            raise ConnectTimeoutError(f"the proxy doesn't answer for {self._destination}") from error
        except PeerClosedError as error:
            raise ConnectRefusedError(f"the proxy hangs up for {self._destination}") from error
        if opening.answer is Answer.TOO_MANY:
            await self.report(Observation(fact=Fact.RATE_LIMITED, reply=opening.reply))
        return opening

    async def close(self) -> None:
        """Take leave of the proxy, and close the connection, if there is one."""
        release, self._release, self._stream = self._release, None, None
        if release is not None:
            with suppress(NetworkError):
                await release()
        await super().close()

    async def send(self, data: bytes) -> None:
        """Send octets through the tunnel."""
        if self._stream is None:
            await super().send(data)
        else:
            await self._stream.send(data)

    async def start_tls(
        self, server_name: str | None = None, *, alpn: tuple[str, ...] = ()
    ) -> ops.TLSSession:
        """Negotiate TLS through the tunnel.

        :raises TLSFailedError: if the handshake fails, and within a stream, where the engine can't do it.
        """
        if self._stream is not None:
            raise TLSFailedError("TLS inside of a stream of HTTP/2 or HTTP/3 isn't for us")
        return await super().start_tls(server_name, alpn=alpn)

    async def read_some(self, *, within: float | None = None) -> bytes:
        """Read what has come or comes next; none at all once the other side has closed.

        :raises ReadTimeoutError: if nothing comes within so many seconds.
        """
        if self._stream is None or self._buffer:
            return await super().read_some(within=within)
        return await self._stream.read_some(within=within or self._proxy.patience.reply)

    async def has_early_octets(self) -> bool:
        """Whether octets lie there that nobody has read; what is the proxy's own talk counts for nothing."""
        if self._stream is None:
            return await super().has_early_octets()
        if not self._buffer and await ops.Peek(self._channel):
            with suppress(NetworkError):  # what broke tells whoever reads next
                self._buffer += await self._stream.read_some(within=_AT_ONCE)
        return bool(self._buffer)

    async def _fill(self, within: float | None) -> None:
        if self._stream is None:
            await super()._fill(within)
            return
        data = await self._stream.read_some(within=within or self._proxy.patience.reply)
        if not data:
            raise PeerClosedError("the peer closed the tunnel")
        self._buffer += data


def past_our_sink(script: Script) -> Script:
    """The script, unless our own sink is where the chain leads: nothing is asked of mail there."""

    async def behind(link: Link, brief: Brief) -> None:
        await link.connect()
        if await _is_our_sink(link, brief):
            await link.report(Observation(fact=Fact.NOTE, detail=OUR_SINK))
            return
        await script(link, brief)

    return behind


async def meet(link: Link, brief: Brief) -> None:
    """Report what whoever is there calls itself, and ask nothing: for places that may be a stranger's."""
    await link.connect()
    within = brief.patience.reply
    said = [await read_reply(link, within=within)]
    if said[0].is_positive:
        said.append(await command(link, "EHLO", brief.identity.ehlo_name, within=within))
    for reply in said:
        name = plausible_host_name(reply.text.split(" ", 1)[0])
        if name is not None and "." in name and not name.endswith(_ANYBODYS):
            await link.report(Observation(fact=Fact.NOTE, detail=CALLS_ITSELF, reply=name))
    await leave(link)


async def _is_our_sink(link: Link, brief: Brief) -> bool:
    """Whether a token is answered with what only our own sink can say; a real server shrugs (RFC 5321 section 3.5.3).

    Our sink greets at once. Whatever else may be told of the place, the script that comes next tells.
    """
    token = brief.token("whose mailbox")
    try:
        greeting = await read_reply(link, within=brief.patience.canary)
        if greeting.code != 220:
            return False
        reply = await command(link, "VRFY", token, within=brief.patience.canary)
        await leave(link)
    except (NetworkError, RemoteProtocolError):
        return False
    return read_canary_answer(brief.mint.key, token, str(reply)) is not None
