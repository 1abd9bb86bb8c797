"""TURN dialogues (RFC 8656, RFC 6062): an allocation without credentials, and the canary through it.

At most one allocation at a time, and each is given back as soon as it has been tried.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Protocol

from relaywatch.model.errors import (
    ConnectTimeoutError,
    NetworkError,
    PeerClosedError,
    ProtocolError,
    ReadTimeoutError,
    RemoteProtocolError,
)
from relaywatch.model.places import Endpoint, Family, Transport
from relaywatch.model.tokens import Token
from relaywatch.wire.stun import (
    HEAD,
    Attribute,
    Message,
    MessageClass,
    Method,
    encode_address,
    encode_message,
    parse_message,
    read_length,
)

from .brief import Brief
from .link import DatagramLink, Deadline, Link
from .software import Recognition, Where, recognise
from .tunnels import Answer, Destination, Opening, open_link

_UDP, _TCP = b"\x11\0\0\0", b"\x06\0\0\0"
"""REQUESTED-TRANSPORT's values (RFC 8656 section 18.8, RFC 6062 section 4.1)."""
_IPV6 = b"\x02\0\0\0"
"""REQUESTED-ADDRESS-FAMILY's (RFC 8656 section 18.6); without it, IPv4 is meant."""
_NOTHING_MORE = b"\0\0\0\0"
"""A LIFETIME that ends an allocation (RFC 8656 section 8)."""
_TRIES = 3
"""How often a request is sent in datagrams (RFC 8489 section 6.2.1 has seven)."""
_MAX_OTHERS = 20
"""Messages that may come before the one that is awaited."""
_ANSWERS = {
    401: Answer.CREDENTIALS,
    438: Answer.CREDENTIALS,
    447: Answer.FAILED,  # Connection Timeout or Failure (RFC 6062)
    486: Answer.FAILED,  # Allocation Quota Reached
    500: Answer.FAILED,
    508: Answer.FAILED,  # Insufficient Capacity
}
"""What error codes say (RFC 8656 section 19, RFC 6062 section 6.3); any other is a no.

So is 300, which names another server: that one is not our target."""


Release = Callable[[], Awaitable[None]]


class _Carrier(Protocol):
    """What carries messages."""

    tries: int

    async def send(self, message: bytes) -> None:
        """Send one message."""

    async def read(self, *, within: float) -> bytes | None:
        """Read one message; nothing if none came, where messages may be lost."""

    def silence(self) -> NetworkError:
        """What it means that nothing ever came."""


class _Datagrams:
    """A message a datagram, any of which may be lost."""

    tries = _TRIES

    def __init__(self, link: DatagramLink) -> None:
        self._link = link

    async def send(self, message: bytes) -> None:
        await self._link.send(message)

    async def read(self, *, within: float) -> bytes | None:
        return await self._link.read(within=within)

    def silence(self) -> NetworkError:
        return ConnectTimeoutError("nothing answered")


class _Octets:
    """Messages one after the other in a connection (RFC 8489 section 6.2.2)."""

    tries = 1

    def __init__(self, link: Link) -> None:
        self._link = link

    async def send(self, message: bytes) -> None:
        await self._link.send(message)

    async def read(self, *, within: float) -> bytes | None:
        head = await self._link.read_exactly(HEAD, within=within)
        return head + await self._link.read_exactly(read_length(head) - HEAD, within=within)

    def silence(self) -> NetworkError:
        return ReadTimeoutError("only other messages came")


class TurnClient:
    """Requests and their responses over one carrier; transactions are named after the token."""

    def __init__(self, carrier: _Carrier, brief: Brief, token: Token) -> None:
        self._carrier, self.token = carrier, token
        self._patience = brief.patience
        self._within = brief.patience.datagram if carrier.tries > 1 else brief.patience.canary
        self._number = 0
        self._has_answered = False
        self._indications: deque[Message] = deque()

    async def request(self, method: Method, *attributes: tuple[Attribute, bytes | Endpoint]) -> Message:
        """Send a request, again if need be, and give the response to it.

        :raises ConnectTimeoutError: if nothing ever answered, in datagrams.
        :raises ReadTimeoutError: if nothing answered this.
        :raises RemoteProtocolError: if what came is no STUN.
        """
        transaction, message = self._encode(method, MessageClass.REQUEST, attributes)
        within = self._patience.tunnel if method is Method.CONNECT else self._within
        for _ in range(self._carrier.tries):
            await self._carrier.send(message)
            if (response := await self._read_response(transaction, within)) is not None:
                self._has_answered = True
                return response
        raise ReadTimeoutError("silence") if self._has_answered else self._carrier.silence()

    async def send_indication(self, peer: Endpoint, data: bytes) -> None:
        """Have the relay send data to a peer (RFC 8656 section 11.1)."""
        attributes = ((Attribute.XOR_PEER_ADDRESS, peer), (Attribute.DATA, data))
        _, message = self._encode(Method.SEND, MessageClass.INDICATION, attributes)
        await self._carrier.send(message)

    async def read_data(self, peer: Endpoint, *, within: float) -> bytes:
        """Read what the relay got from that peer.

        :raises ReadTimeoutError: if nothing comes.
        """
        deadline = await Deadline.after(2 * within)
        for _ in range(_MAX_OTHERS):
            if not self._indications:
                octets = await self._carrier.read(within=min(within, await deadline.rest()))
                if octets is None:
                    break
                self._note(parse_message(octets))
                continue
            indication = self._indications.popleft()
            if indication.address(Attribute.XOR_PEER_ADDRESS) == peer:
                return indication.attributes.get(Attribute.DATA, b"")
        raise ReadTimeoutError("silence")

    async def release(self) -> None:
        """Give the allocation back, as far as the server still listens (RFC 8656 section 8)."""
        try:
            await self.request(Method.REFRESH, (Attribute.LIFETIME, _NOTHING_MORE))
        except (NetworkError, ProtocolError):
            return

    def _encode(
        self,
        method: Method,
        kind: MessageClass,
        attributes: tuple[tuple[Attribute, bytes | Endpoint], ...],
    ) -> tuple[bytes, bytes]:
        self._number += 1
        transaction = hashlib.sha256(f"{self.token} {self._number}".encode()).digest()[:12]
        written = [
            (attribute, encode_address(value, transaction) if isinstance(value, Endpoint) else value)
            for attribute, value in attributes
        ]
        return transaction, encode_message(method, kind, transaction, written)

    async def _read_response(self, transaction: bytes, within: float) -> Message | None:
        deadline = await Deadline.after(2 * within)
        for _ in range(_MAX_OTHERS):
            octets = await self._carrier.read(within=min(within, await deadline.rest()))
            if octets is None:
                return None
            message = parse_message(octets)
            if message.transaction == transaction and message.kind & MessageClass.SUCCESS:
                return message
            self._note(message)
        return None

    def _note(self, message: Message) -> None:
        if message.method == Method.DATA and message.kind is MessageClass.INDICATION:
            self._indications.append(message)


class _Relay:
    """Datagrams to and from one peer, through the allocation."""

    def __init__(self, client: TurnClient, peer: Endpoint) -> None:
        self._client, self._peer = client, peer

    async def send(self, data: bytes) -> None:
        await self._client.send_indication(self._peer, data)

    async def read_some(self, *, within: float) -> bytes:
        return await self._client.read_data(self._peer, within=within)


async def relay_datagrams(link: Link, brief: Brief, destination: Destination, token: Token) -> Opening:
    """Ask for an allocation, and then for leave to exchange datagrams with the destination."""
    if brief.door.transport is Transport.UDP:
        channel = DatagramLink()
        await channel.connect()
        client = TurnClient(_Datagrams(channel), brief, token)
    else:
        client = TurnClient(_Octets(link), brief, token)
    peer = Endpoint(destination.address, destination.port)
    allocated = await client.request(Method.ALLOCATE, *_wanted(_UDP, peer))
    if allocated.is_error:
        return _refusal("Allocate UDP", allocated)
    return await _or_release(_permit(client, allocated, peer), allocated, client.release)


async def _permit(client: TurnClient, allocated: Message, peer: Endpoint) -> Opening:
    """Ask for leave to exchange datagrams with the peer (RFC 8656 section 9)."""
    permitted = await client.request(Method.CREATE_PERMISSION, (Attribute.XOR_PEER_ADDRESS, peer))
    if permitted.is_error:
        return _refusal(f"CreatePermission {peer.address}", permitted)
    relayed = allocated.address(Attribute.XOR_RELAYED_ADDRESS)
    return Opening(
        answer=Answer.YES,
        reply=_with_software(f"relayed address {relayed}", allocated),
        command=f"Allocate UDP, CreatePermission {peer.address}",
        stream=_Relay(client, peer),
        software=_software(allocated),
    )


async def relay_connection(link: Link, brief: Brief, destination: Destination, token: Token) -> Opening:
    """Ask for an allocation of TCP, for a connection to the destination, and for that on a connection of its own.

    RFC 6062 sections 4.1, 4.3 and 4.4.
    """
    client, beside = TurnClient(_Octets(link), brief, token), link.beside(1)
    peer = Endpoint(destination.address, destination.port)
    allocated = await client.request(Method.ALLOCATE, *_wanted(_TCP, peer))
    if allocated.is_error:
        return _refusal("Allocate TCP", allocated)

    async def release() -> None:
        await beside.close()
        await client.release()

    return await _or_release(_connect(client, beside, brief, peer), allocated, release)


async def _connect(client: TurnClient, beside: Link, brief: Brief, peer: Endpoint) -> Opening:
    """Have the relay connect to the peer, and bind that to a connection beside ours."""
    connected = await client.request(Method.CONNECT, (Attribute.XOR_PEER_ADDRESS, peer))
    if connected.is_error:
        return _refusal(f"Connect {peer}", connected)
    connection_id = connected.attributes.get(Attribute.CONNECTION_ID)
    if connection_id is None:
        raise RemoteProtocolError("a connection without an id")
    await open_link(beside, brief)
    binder = TurnClient(_Octets(beside), brief, Token(f"{client.token} data"))
    bound = await binder.request(Method.CONNECTION_BIND, (Attribute.CONNECTION_ID, connection_id))
    if bound.is_error:
        return _refusal("ConnectionBind", bound)
    command = f"Allocate TCP, Connect {peer}, ConnectionBind"
    return Opening(
        answer=Answer.YES,
        reply=_with_software("connected", connected),
        command=command,
        stream=beside,
        software=_software(connected),
    )


async def _or_release(asking: Awaitable[Opening], allocated: Message, release: Release) -> Opening:
    """What came of asking within the allocation, which is given back afterwards, or at once if nothing did.

    Whoever hangs up or talks nonsense here has spoken TURN before: that is a no.
    """
    try:
        return replace(await asking, release=release)
    except (PeerClosedError, ProtocolError) as error:
        await release()
        return Opening(answer=Answer.NO, reply=_with_software("allocated", allocated), detail=str(error))
    except NetworkError:
        await release()
        raise


def _wanted(transport: bytes, peer: Endpoint) -> list[tuple[Attribute, bytes]]:
    wanted = [(Attribute.REQUESTED_TRANSPORT, transport)]
    if peer.family is Family.IPV6:
        wanted.append((Attribute.REQUESTED_ADDRESS_FAMILY, _IPV6))
    return wanted


def _refusal(command: str, response: Message) -> Opening:
    code, reason = response.error()
    reply = _with_software(f"{code} {reason}".rstrip(" \0"), response)
    answer = _ANSWERS.get(code, Answer.NO)
    return Opening(answer=answer, reply=reply, command=command, software=_software(response))


def _software(response: Message) -> Recognition | None:
    return recognise(Where.TURN, response.text(Attribute.SOFTWARE))


def _with_software(words: str, response: Message) -> str:
    software = response.text(Attribute.SOFTWARE)
    return f"{words} ({software})" if software else words
