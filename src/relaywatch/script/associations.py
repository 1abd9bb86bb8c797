"""Associations of SOCKS5 that carry datagrams (UDP ASSOCIATE, RFC 1928 sections 4 and 7)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from relaywatch.model.errors import NetworkError, ReadTimeoutError, RemoteProtocolError
from relaywatch.model.evidence import Fact, Observation
from relaywatch.model.places import Address, Endpoint
from relaywatch.model.tokens import Token
from relaywatch.wire import socks5 as wire
from relaywatch.wire.socks5 import Command

from . import socks5
from .brief import Brief
from .link import DatagramLink, Link
from .tunnels import Answer, Destination, Opening, Way, ask_canary, destinations, open_link

_CLIENT, _STRANGER = 1, 2
"""Channels of datagrams beside the connection, which must stay open as long as the association is wanted."""


@dataclass(slots=True)
class Relay:
    """A stream of datagrams through the server's relay to one destination.

    ``at`` is the relay; ``stranger`` speaks in the client's place, from another address, if there is one.
    """

    client: DatagramLink
    at: Endpoint
    host: Address | str
    port: int
    stranger: DatagramLink | None = None

    async def send(self, data: bytes) -> None:
        """Send one datagram to the destination."""
        speaker = self.stranger or self.client
        await speaker.send(wire.encode_datagram(self.host, self.port, data))

    async def read_some(self, *, within: float) -> bytes:
        """Read what the next datagram carries; the whole of one that isn't as it should be.

        What a stranger has asked may be answered to either.

        :raises ReadTimeoutError: if none comes within so many seconds.
        """
        datagram = await self.client.read(within=within)
        if datagram is None and self.stranger is not None:
            datagram = await self.stranger.read(within=within)
        if datagram is None:
            raise ReadTimeoutError(f"no datagram in {within:g} s")
        try:
            return wire.parse_datagram(datagram)
        except RemoteProtocolError:
            return datagram

    async def bring_stranger(self, source: Address | None) -> None:
        """Let somebody else speak from here on: from another address of ours, or else from another port.

        :raises NetworkError: if that address can't be used.
        """
        stranger = DatagramLink(_STRANGER)
        await stranger.connect(at=self.at, source=source)
        self.stranger = stranger


async def associate(link: Link, brief: Brief, destination: Destination, token: Token) -> Opening:
    """Ask for an association, whose datagrams go to the destination; the request itself names none."""
    reply = await socks5.request(link, brief, Command.UDP_ASSOCIATE, socks5.anywhere(brief), 0)
    if reply.bound is None:
        return reply.opening("UDP ASSOCIATE")
    client = DatagramLink(_CLIENT)
    try:
        at = await socks5.dial(client, reply.bound, brief)
    except NetworkError as error:
        return Opening(answer=Answer.FAILED, reply=reply.text, detail=str(error), command="UDP ASSOCIATE")
    host = socks5.noted_host(brief, destination, token)
    return reply.opening("UDP ASSOCIATE", Relay(client, at, host, destination.port))


async def ask_as_stranger(link: Link, brief: Brief, way: Way) -> None:
    """Report whether the relay of a session carries what comes from another address than the client's.

    It must not (RFC 1928 section 7). Where we have no other address, another port is tried, which it may
    serve: that is no more than a note.
    """
    destination, *_ = destinations(brief, way)  # there is one: another way has reached it
    source = brief.canaries.second_source(brief.door.family)
    case = f"{way.name}-{destination.port}"
    about = Observation(
        fact=Fact.UNANSWERED,
        case=case,
        advisory=way.advisory,
        token=brief.token(case),
        destination=str(destination),
        detail="nothing came back",
    )
    try:
        reached_from = await _hear_stranger(link, brief, destination, case)
    except (NetworkError, RemoteProtocolError) as error:
        reached_from, about = None, replace(about, detail=str(error))
    await link.close()
    if source is not None and reached_from is not None:
        about = replace(about, fact=Fact.CANARY_REACHED, detail="", exit_address=str(reached_from))
    if source is not None:
        await link.report(about)
    elif reached_from is not None:
        await link.report(Observation(fact=Fact.NOTE, detail="carries datagrams of the client's other ports"))


async def _hear_stranger(link: Link, brief: Brief, destination: Destination, case: str) -> Address | None:
    """From where our canary was reached by a stranger's words, if it was; the client speaks first.

    That binds the association to the client, where the relay goes by who speaks first.
    """
    await open_link(link, brief)
    opening = await associate(link, brief, destination, brief.token(f"{case} client"))
    relay = opening.stream
    if not isinstance(relay, Relay):
        return None
    reached_from, _ = await ask_canary(relay, brief, destination, brief.token(f"{case} client"))
    if reached_from is None:
        return None
    await relay.bring_stranger(brief.canaries.second_source(brief.door.family))
    reached_from, _ = await ask_canary(relay, brief, destination, brief.token(case))
    return reached_from
