"""Proxying UDP and IP in HTTP (RFC 9298, RFC 9484): asked for over HTTP/3, or by an upgrade of HTTP/1.1."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import Protocol
from urllib.parse import quote

from relaywatch.model.errors import NetworkError, ProtocolError, ReadTimeoutError
from relaywatch.model.places import Address, Endpoint, Transport
from relaywatch.wire.capsules import (
    ADDRESS_ASSIGN,
    DATAGRAM,
    Capsule,
    CapsuleReader,
    encode_address_request,
    encode_capsule,
    encode_datagram,
    read_assigned_addresses,
    read_datagram,
)
from relaywatch.wire.http1 import Exchange
from relaywatch.wire.ip import UDP, UDPPacket, encode_packet, read_packet

from . import http3
from .brief import Brief
from .controls import AS_TO_THE_CONTROL, OwnName, ask_plainly
from .http import classify, exchange_with, own_authority, own_fields, read_rest
from .link import Deadline, Link
from .page import Page
from .tunnels import Answer, Destination, Opening

_MAX_CAPSULES = 50
"""Capsules and datagrams that may come before the one that is awaited."""
_SOURCE_PORT = 49_200
"""Ours, within the tunnel."""
_CAPSULES = ("Capsule-Protocol", "?1")
"""RFC 9297 section 3.4."""


class Carrier(Protocol):
    """What carries capsules, and perhaps HTTP datagrams beside them."""

    async def send(self, data: bytes) -> None:
        """Send octets of the stream."""

    async def send_datagram(self, datagram: bytes) -> bool:
        """Send an HTTP datagram beside the stream; not if there is no such way."""

    async def read_more(self, *, within: float) -> tuple[bytes, list[bytes]]:
        """Read octets of the stream, and HTTP datagrams; neither once it is closed."""


class _Upgraded:
    """A connection of HTTP/1.1 that was upgraded: capsules alone."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def send(self, data: bytes) -> None:
        await self._link.send(data)

    async def send_datagram(self, datagram: bytes) -> bool:  # noqa: ARG002
        return False

    async def read_more(self, *, within: float) -> tuple[bytes, list[bytes]]:
        return await self._link.read_some(within=within), []


class HTTPDatagrams:
    """Data in HTTP datagrams of context 0: a UDP datagram's, or IP packets."""

    def __init__(self, carrier: Carrier) -> None:
        self._carrier = carrier
        self._reader = CapsuleReader()
        self._waiting: deque[Capsule] = deque()
        self._sent = 0

    async def send(self, data: bytes) -> None:
        """Send data; every third time in a capsule, since a path may lose all datagrams of that size."""
        self._sent += 1
        datagram = encode_datagram(data)
        if self._sent % 3 == 0 or not await self._carrier.send_datagram(datagram):
            await self._carrier.send(encode_capsule(DATAGRAM, datagram))

    async def read_some(self, *, within: float) -> bytes:
        """Read one datagram's data; none at all once the other side has closed.

        :raises ReadTimeoutError: if none comes.
        """
        deadline = await Deadline.after(2 * within)
        for _ in range(_MAX_CAPSULES):
            capsule = await self._next(min(within, await deadline.rest()))
            if capsule is None:
                return b""
            if capsule.kind == DATAGRAM and (data := read_datagram(capsule.value)):
                return data
        raise ReadTimeoutError("only other capsules came")

    async def request_address(self, version: int, *, within: float) -> Address | None:
        """Ask for an address of ours within the tunnel (RFC 9484 section 4.7); nothing if we get none.

        :raises ReadTimeoutError: if no answer comes.
        """
        await self._carrier.send(encode_address_request(version))
        deadline = await Deadline.after(2 * within)
        for _ in range(_MAX_CAPSULES):
            capsule = await self._next(min(within, await deadline.rest()))
            if capsule is None:
                return None
            if capsule.kind == ADDRESS_ASSIGN:
                addresses = read_assigned_addresses(capsule.value)
                fitting = (address for address in addresses if address.version == version)
                if (address := next(fitting, None)) is not None or not addresses:
                    return address
        raise ReadTimeoutError("only other capsules came")

    async def _next(self, within: float) -> Capsule | None:
        """The next capsule, a datagram beside the stream among them; nothing once all is over."""
        while not self._waiting:
            octets, datagrams = await self._carrier.read_more(within=within)
            if not octets and not datagrams:
                return None
            self._waiting.extend(Capsule(DATAGRAM, datagram) for datagram in datagrams)
            self._waiting.extend(self._reader.feed(octets))
        return self._waiting.popleft()


class _Packets:
    """A UDP datagram's data, in IP packets that we write ourselves."""

    def __init__(self, datagrams: HTTPDatagrams, source: Endpoint, destination: Endpoint) -> None:
        self._datagrams, self._source, self._destination = datagrams, source, destination

    async def send(self, data: bytes) -> None:
        await self._datagrams.send(encode_packet(UDPPacket(self._source, self._destination, data)))

    async def read_some(self, *, within: float) -> bytes:
        deadline = await Deadline.after(2 * within)
        for _ in range(_MAX_CAPSULES):
            octets = await self._datagrams.read_some(within=min(within, await deadline.rest()))
            packet = read_packet(octets)
            if not octets or (packet and (packet.source, packet.destination) == self._ends):
                return packet.data if packet else b""
        raise ReadTimeoutError("only other packets came")

    @property
    def _ends(self) -> tuple[Endpoint, Endpoint]:
        return self._destination, self._source


async def proxy_udp(link: Link, brief: Brief, destination: Destination, own: OwnName) -> Opening:
    """Ask for UDP to the destination (RFC 9298 section 3), by its default template."""
    path = f"/.well-known/masque/udp/{_host(destination)}/{destination.port}/"
    opening, carrier = await _ask(link, brief, _Request("connect-udp", path, destination), own)
    return opening if carrier is None else replace(opening, stream=HTTPDatagrams(carrier))


async def proxy_ip(
    link: Link, brief: Brief, destination: Destination, own: OwnName, *, flow: bool
) -> Opening:
    """Ask for IP packets to anywhere or, as a flow, to the destination alone (RFC 9484 section 4)."""
    path = (
        f"/.well-known/masque/ip/{_host(destination)}/{UDP}/" if flow else "/.well-known/masque/ip/%2A/%2A/"
    )
    opening, carrier = await _ask(link, brief, _Request("connect-ip", path, destination), own)
    if carrier is None:
        return opening
    datagrams = HTTPDatagrams(carrier)
    try:
        source = await datagrams.request_address(destination.address.version, within=brief.patience.canary)
    except (NetworkError, ProtocolError) as error:
        return replace(opening, answer=Answer.FAILED, detail=f"no address within the tunnel: {error}")
    if source is None:
        return replace(opening, answer=Answer.FAILED, detail="no address within the tunnel")
    ends = Endpoint(source, _SOURCE_PORT), Endpoint(destination.address, destination.port)
    return replace(opening, stream=_Packets(datagrams, *ends))


@dataclass(frozen=True, slots=True)
class _Request:
    """What is asked for, as what, and where that leads."""

    protocol: str
    path: str
    destination: Destination


async def _ask(link: Link, brief: Brief, asked: _Request, own: OwnName) -> tuple[Opening, Carrier | None]:
    if brief.door.transport is not Transport.QUIC:
        host = await own.shown(link, brief, asked.destination)
        try:
            return await _upgrade(link, brief, asked, host)
        except NetworkError:
            own.is_harmless = False
            raise
    fields = [(":method", "CONNECT"), (":protocol", asked.protocol), (":scheme", "https")]
    fields += [(":authority", own_authority(brief)), (":path", asked.path)]
    fields.append((_CAPSULES[0].lower(), _CAPSULES[1]))
    command = f"CONNECT {asked.protocol} {asked.path} HTTP/3"
    return await http3.ask_for_tunnel(brief, fields, command, extended=True)


async def _upgrade(link: Link, brief: Brief, asked: _Request, host: str) -> tuple[Opening, Carrier | None]:
    """Ask an HTTP/1.1 server to switch (RFC 9298 section 3.2); who answers otherwise, 200 too, doesn't."""
    fields = [("Host", host), ("Connection", "Upgrade"), ("Upgrade", asked.protocol)]
    exchange = Exchange("GET", asked.path, [*fields, _CAPSULES, *own_fields(brief)])
    head = await exchange_with(link, exchange, brief)
    command = f"GET {asked.path} HTTP/1.1, Upgrade: {asked.protocol}"
    if head.status_code == 101 and (head.field("upgrade") or "").lower() == asked.protocol:
        link.unread(exchange.rest())
        return Opening(answer=Answer.YES, reply=str(head), command=command), _Upgraded(link)
    answer = Answer.NO if head.status_code == 101 or head.is_successful else classify(head)
    opening = Opening(answer=answer, reply=str(head), command=command)
    if answer is Answer.FAILED:
        page = Page(head.status_code, await read_rest(link, exchange, brief))
        # The control: its own page. A web server whose backend is down says 503 to all of it.
        control = await ask_plainly(link, brief, host)
        if control is not None and control.is_like(page):
            opening = replace(opening, answer=Answer.NO, detail=AS_TO_THE_CONTROL)
    return opening, None


def _host(destination: Destination) -> str:
    """The destination's host as a path's segment: colons are written as %3A (RFC 9298 section 3)."""
    return quote(destination.name or str(destination.address), safe="")
