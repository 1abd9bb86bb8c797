"""HTTP/3 dialogues over datagrams: a connection, one request, the tunnel that is its stream."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from relaywatch.model.errors import (
    ConnectTimeoutError,
    NetworkError,
    PeerClosedError,
    ProtocolError,
    ReadTimeoutError,
    RemoteProtocolError,
    TLSFailedError,
)
from relaywatch.wire.http1 import ResponseHead

from . import ops
from .brief import Brief
from .http import classify, has_content, own_fields
from .link import DatagramLink, Deadline
from .software import recognise_answer
from .tunnels import Answer, Destination, Opening

if TYPE_CHECKING:
    from relaywatch.wire.http3 import Http3Client, RequestStream

_MAX_DATAGRAMS = 400
"""Datagrams that a server may send in one connection; none of ours needs a tenth."""
_SHORTEST_WAIT = 0.001
_CONNECT_ERROR = 0x10F


class Http3:
    """A connection with the door, and its clock."""

    def __init__(self, link: DatagramLink, client: Http3Client) -> None:
        self._link, self.client = link, client
        self._received = 0

    @classmethod
    async def open(cls, brief: Brief) -> Http3:
        """Connect, and wait for the server's settings; any certificate will do.

        :raises ConnectTimeoutError: if nothing answers, or not as far as that.
        :raises ConnectRefusedError: if ICMP says that nobody listens there.
        :raises TLSFailedError: if the handshake fails.
        :raises RemoteProtocolError: if what answers isn't QUIC, or won't speak HTTP/3 with us.
        """
        from relaywatch.wire.http3 import Http3Client  # noqa: PLC0415 -- takes a tenth of a second

        link = DatagramLink()
        await link.connect()
        name = next(iter(brief.target_names), None)
        self = cls(link, Http3Client(brief.endpoint, name, await ops.Now()))
        client = self.client
        within = brief.patience.connect or brief.patience.canary
        try:
            is_open = await self.run(lambda: client.settings is not None, within=within)
        except PeerClosedError as error:
            raise self._no_http3(str(error)) from error
        if not is_open:
            raise self._silence()
        return self

    async def run(self, is_enough: Callable[[], bool], *, within: float) -> bool:
        """Send and receive until it is enough; not if the time is over before.

        :raises PeerClosedError: if the connection ends before.
        :raises RemoteProtocolError: if what comes isn't QUIC, or too much.
        """
        ends = await ops.Now() + within
        while True:
            now = await ops.Now()
            await self._flush(now)
            if is_enough():
                return True
            if self.client.closed_because is not None:
                raise PeerClosedError(self.client.closed_because)
            if now >= ends:
                return False
            await self._wait(now, ends)

    async def ask(self, fields: Iterable[tuple[str, str]], *, within: float) -> Http3Tunnel:
        """Send a request, and wait for its answer's head or its end.

        :raises ReadTimeoutError: if none comes in time.
        :raises PeerClosedError: if the connection ends before.
        """
        stream = self.client.ask(fields)
        if not await self.run(lambda: stream.head is not None or stream.is_ended, within=within):
            raise ReadTimeoutError("silence")
        if stream.head is None and self.client.closed_because is not None:
            raise PeerClosedError(self.client.closed_because)
        return Http3Tunnel(self, stream)

    async def close(self) -> None:
        """Say goodbye, so that the server may forget us."""
        self.client.close()
        try:
            await self._flush(await ops.Now())
            await self._link.close()
        except NetworkError:
            return

    async def flush(self) -> None:
        """Send what is to be sent."""
        await self._flush(await ops.Now())

    async def _wait(self, now: float, ends: float) -> None:
        """Wait for a datagram, until the clock has to be looked at."""
        due = self.client.next_due()
        until = ends if due is None else min(ends, due)
        datagram = await self._link.read(within=max(until - now, _SHORTEST_WAIT))
        now = await ops.Now()
        if datagram is not None:
            self._received += 1
            if self._received > _MAX_DATAGRAMS:
                raise RemoteProtocolError(f"more than {_MAX_DATAGRAMS} datagrams in a QUIC connection")
            self.client.receive(datagram, now)
        if due is not None and now >= due:
            self.client.pass_time(now)

    async def _flush(self, now: float) -> None:
        for datagram in self.client.datagrams_to_send(now):
            await self._link.send(datagram)

    def _no_http3(self, reason: str) -> NetworkError | RemoteProtocolError:
        """What it means that it closed the connection before there was HTTP/3."""
        if self.client.speaks_otherwise:
            return RemoteProtocolError(f"no HTTP/3: {reason}")
        if self.client.has_alerted:  # it may want to be called by a name that we don't know
            return TLSFailedError(reason)
        return ConnectTimeoutError(f"QUIC was answered, HTTP/3 was not: {reason}")

    def _silence(self) -> NetworkError | RemoteProtocolError:
        if self.client.has_heard:
            return ConnectTimeoutError("QUIC was answered, HTTP/3 was not")
        if self._received:
            return RemoteProtocolError("what answers isn't QUIC")
        return ConnectTimeoutError("nothing answered")


class Http3Tunnel:
    """A request's stream: carries octets in DATA frames, and HTTP datagrams."""

    def __init__(self, connection: Http3, stream: RequestStream) -> None:
        self._connection, self._stream = connection, stream

    @property
    def head(self) -> ResponseHead | None:
        """The answer's head; none if the stream ended without."""
        return self._stream.head

    @property
    def is_ended(self) -> bool:
        """Whether the server has said all that it has to say."""
        return self._stream.is_ended

    @property
    def reset_code(self) -> int | None:
        """The error with which the server ended the stream, if it did."""
        return self._stream.reset_code

    async def send(self, data: bytes) -> None:
        """Send octets.

        :raises PeerClosedError: if the other side has ended the stream.
        """
        self._connection.client.send(self._stream, data)
        await self._connection.flush()

    async def send_datagram(self, datagram: bytes) -> bool:
        """Send an HTTP datagram in one of QUIC's; not if the server takes none."""
        is_sent = self._connection.client.send_datagram(self._stream, datagram)
        await self._connection.flush()
        return is_sent

    async def read_more(self, *, within: float) -> tuple[bytes, list[bytes]]:
        """Read octets and HTTP datagrams, whichever come next; neither once the other side has closed.

        :raises ReadTimeoutError: if nothing comes within so many seconds.
        """
        stream = self._stream
        if not await self._connection.run(lambda: stream.has_news, within=within):
            raise ReadTimeoutError("silence")
        octets, datagrams = bytes(stream.octets), list(stream.datagrams)
        stream.octets.clear()
        stream.datagrams.clear()
        return octets, datagrams

    async def read_some(self, *, within: float) -> bytes:
        """Read octets; none at all once the other side has closed. Datagrams beside them are nobody's here.

        :raises ReadTimeoutError: if none come.
        """
        deadline = await Deadline.after(2 * within)
        while True:
            octets, datagrams = await self.read_more(within=min(within, await deadline.rest()))
            if octets or not datagrams:
                return octets


async def ask_for_tunnel(
    brief: Brief, fields: list[tuple[str, str]], command: str, *, extended: bool = False
) -> tuple[Opening, Http3Tunnel | None]:
    """Connect and ask: what the answer says, and the tunnel, if it is a yes.

    ``extended`` requests carry ``:protocol``, which may be said only to those who take it (RFC 9220 section 3).
    """
    connection = await Http3.open(brief)
    try:
        if extended and not connection.client.takes_extended_connect:
            await connection.close()
            return Opening(answer=Answer.FOREIGN, detail="no extended CONNECT", command=command), None
        tunnel = await connection.ask([*fields, *_lower(own_fields(brief))], within=brief.patience.tunnel)
    except PeerClosedError as error:  # it spoke HTTP/3 until then: that is a no
        await connection.close()
        return Opening(answer=Answer.NO, detail=str(error), command=command), None
    except (NetworkError, ProtocolError):
        await connection.close()
        raise
    opening = _read_answer(tunnel, connection, command)
    return opening, tunnel if opening.answer in {Answer.YES, Answer.PAGE} else None


async def open_tunnel(brief: Brief, destination: Destination) -> Opening:
    """CONNECT to the destination (RFC 9114 section 4.4)."""
    fields = [(":method", "CONNECT"), (":authority", str(destination))]
    opening, tunnel = await ask_for_tunnel(brief, fields, f"CONNECT {destination} HTTP/3")
    return opening if tunnel is None else replace(opening, stream=tunnel)


def _read_answer(tunnel: Http3Tunnel, connection: Http3, command: str) -> Opening:
    release = connection.close
    head = tunnel.head
    if head is None:
        answer = Answer.FAILED if tunnel.reset_code == _CONNECT_ERROR else Answer.NO
        words = f"stream reset, error {tunnel.reset_code or 0:#x}"
        return Opening(answer=answer, reply=words, command=command, release=release)
    answer = classify(head)
    if answer is Answer.YES and (has_content(head) or tunnel.is_ended):
        answer = Answer.PAGE
    told = recognise_answer(head.fields, "", is_own=True)
    return Opening(answer=answer, reply=str(head), command=command, release=release, software=told)


def _lower(fields: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(name.lower(), value) for name, value in fields]
