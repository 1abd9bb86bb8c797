"""The connection as a script sees it: framing, with a limit on every read."""

from __future__ import annotations

from relaywatch.model.errors import PeerClosedError, RemoteProtocolError
from relaywatch.model.evidence import Arrival, Observation
from relaywatch.model.tokens import Token

from . import ops


class Link:
    """Turns operations into reads of lines and of so many octets. Every method is awaited."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    async def connect(self) -> None:
        """Open a new connection to the target's door, after closing the one before.

        :raises NetworkError: refused, no answer, unreachable.
        """
        self._buffer.clear()
        await ops.Connect()

    async def close(self) -> None:
        """Close the connection, if there is one."""
        self._buffer.clear()
        await ops.Close()

    async def send(self, data: bytes) -> None:
        """Send octets."""
        await ops.Send(data)

    async def start_tls(self, server_name: str | None = None) -> ops.TLSSession:
        """Negotiate TLS; what came in the clear before is dropped (RFC 3207 section 4.2).

        :raises TLSFailedError: if the handshake fails.
        """
        early = len(self._buffer)
        self._buffer.clear()
        session = await ops.StartTLS(server_name)
        if not early:
            return session
        return ops.TLSSession(
            version=session.version,
            cipher=session.cipher,
            certificate=session.certificate,
            dropped=session.dropped + early,
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

    async def has_early_octets(self) -> bool:
        """Whether octets lie there that nobody has read: the peer speaks out of turn."""
        return bool(self._buffer) or bool(await ops.Peek())

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
        data = await ops.Receive(within=within)
        if not data:
            raise PeerClosedError("the peer closed the connection")
        self._buffer += data
