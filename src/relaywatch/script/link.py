"""The connection as a script sees it: framing, with a limit on every read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from relaywatch.model.errors import PeerClosedError, ReadTimeoutError, RemoteProtocolError
from relaywatch.model.evidence import Arrival, Observation
from relaywatch.model.places import Address, Endpoint
from relaywatch.model.tokens import Token

from . import ops


class Stream(Protocol):
    """Anything that carries words both ways: a link, a stream within HTTP/2, datagrams through a relay."""

    async def send(self, data: bytes) -> None:
        """Send octets."""

    async def read_some(self, *, within: float) -> bytes:
        """Read what comes next; none at all once the other side has closed.

        :raises ReadTimeoutError: if nothing comes within so many seconds.
        """


@dataclass(frozen=True, slots=True)
class Deadline:
    """When several reads together must be done, by the engine's clock.

    So whoever gives an octet at a time holds us hardly longer than whoever is silent.
    """

    at: float

    @classmethod
    async def after(cls, seconds: float) -> Deadline:
        """The deadline so many seconds from now."""
        return cls(await ops.Now() + seconds)

    async def rest(self) -> float:
        """The seconds that are left.

        :raises ReadTimeoutError: if none are.
        """
        rest = self.at - await ops.Now()
        if rest <= 0:
            raise ReadTimeoutError("octets came, but too slowly")
        return rest


class Link:
    """Turns operations into reads of lines and of so many octets. Every method is awaited."""

    __slots__ = ("_buffer", "_channel")

    def __init__(self, channel: int = 0) -> None:
        self._buffer = bytearray()
        self._channel = channel

    def beside(self, channel: int) -> Link:
        """Another link of the same attempt, not yet connected; its channel is not 0."""
        return Link(channel)

    async def connect(
        self, *, at: Endpoint | None = None, source: Address | None = None, within: float | None = None
    ) -> None:
        """Open a new connection to the target's door, after closing the one before.

        ``at`` is another address that the target announced, ``source`` another one of ours to come from.

        :raises NetworkError: refused, no answer, unreachable.
        :raises NotPermittedError: if ``at`` isn't the target's and no permission covers it.
        """
        self._buffer.clear()
        await ops.Connect(channel=self._channel, at=at, source=source, within=within)

    async def close(self) -> None:
        """Close the connection, if there is one."""
        self._buffer.clear()
        await ops.Close(self._channel)

    async def send(self, data: bytes) -> None:
        """Send octets."""
        await ops.Send(data, self._channel)

    async def start_tls(
        self, server_name: str | None = None, *, alpn: tuple[str, ...] = ()
    ) -> ops.TLSSession:
        """Negotiate TLS; what came in the clear before is dropped (RFC 3207 section 4.2).

        :raises TLSFailedError: if the handshake fails.
        """
        early = len(self._buffer)
        self._buffer.clear()
        session = await ops.StartTLS(server_name, alpn, self._channel)
        if not early:
            return session
        return ops.TLSSession(
            version=session.version,
            cipher=session.cipher,
            certificate=session.certificate,
            dropped=session.dropped + early,
            alpn=session.alpn,
        )

    async def read_line(self, *, limit: int, within: float | None = None) -> bytes:
        """Read up to LF, and give the line without its LF or CR LF.

        :raises RemoteProtocolError: if the line is longer than ``limit`` octets.
        :raises PeerClosedError: if the peer closes first.
        """
        start = 0
        while (end := self._buffer.find(b"\n", start)) < 0:
            start = len(self._buffer)
            if start > limit:
                raise RemoteProtocolError(f"line longer than {limit} octets", bytes(self._buffer[:200]))
            await self._fill(within)
        if end > limit:
            raise RemoteProtocolError(f"line longer than {limit} octets", bytes(self._buffer[:200]))
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line.removesuffix(b"\r")

    async def read_exactly(self, count: int, *, within: float | None = None) -> bytes:
        """Read that many octets.

        :raises PeerClosedError: if the peer closes first.
        """
        while len(self._buffer) < count:
            await self._fill(within)
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        return data

    async def read_some(self, *, within: float | None = None) -> bytes:
        """Read what has come or comes next, at most 64 KiB; none at all once the peer has closed.

        :raises ReadTimeoutError: if nothing comes within so many seconds.
        """
        if self._buffer:
            data = bytes(self._buffer)
            self._buffer.clear()
            return data
        return await ops.Receive(within=within, channel=self._channel)

    def unread(self, data: bytes) -> None:
        """Put octets back that were read too far."""
        self._buffer[:0] = data

    def taken(self) -> bytes:
        """Give away what was received and not read, to whoever goes on with the connection."""
        data = bytes(self._buffer)
        self._buffer.clear()
        return data

    async def has_early_octets(self) -> bool:
        """Whether octets lie there that nobody has read: the peer speaks out of turn."""
        return bool(self._buffer) or bool(await ops.Peek(self._channel))

    async def pause(self, seconds: float) -> None:
        """Let so many seconds pass."""
        await ops.Pause(seconds)

    async def may_send(self) -> bool:
        """Ask leave to hand the target one more message."""
        return await ops.MaySend()

    async def await_arrival(self, *tokens: Token) -> Arrival | None:
        """Wait for one of the canaries, for as long as the run waits."""
        return await ops.AwaitArrival(tokens)

    async def report(self, observation: Observation) -> None:
        """Put an observation on record at once."""
        await ops.Report(observation)

    async def _fill(self, within: float | None) -> None:
        data = await ops.Receive(within=within, channel=self._channel)
        if not data:
            raise PeerClosedError("the peer closed the connection")
        self._buffer += data


class DatagramLink:
    """A UDP channel to the target. Every method is awaited."""

    __slots__ = ("_channel",)

    def __init__(self, channel: int = 0) -> None:
        self._channel = channel

    async def connect(self, *, at: Endpoint | None = None, source: Address | None = None) -> None:
        """Open the channel: nothing is sent yet.

        :raises NotPermittedError: if ``at`` isn't the target's and no permission covers it.
        """
        await ops.Connect(channel=self._channel, at=at, carrier=ops.Carrier.UDP, source=source)

    async def send(self, datagram: bytes) -> None:
        """Send one datagram."""
        await ops.Send(datagram, self._channel)

    async def read(self, *, within: float) -> bytes | None:
        """Read one datagram; nothing if none comes within so many seconds.

        :raises ConnectRefusedError: if ICMP says that nobody listens at the port.
        :raises UnreachableError: if ICMP says something else.
        """
        return await ops.ReceiveDatagram(within, self._channel)

    async def close(self) -> None:
        """Close the channel."""
        await ops.Close(self._channel)
