"""One connection of a server: lines in, replies out, both bounded."""

from __future__ import annotations

import asyncio
import ssl

from relaywatch.model.places import Address, parse_address
from relaywatch.model.smtp import Reply

LINE_LIMIT = 4096
IDLE_SECONDS = 60.0


class LineTooLongError(Exception):
    """The client sent a line without an end."""


class Line:
    """A buffer of its own, so that what came in the clear before STARTTLS can be thrown away."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, reply_seconds: float = 0.0
    ) -> None:
        self._reader, self._writer = reader, writer
        self._reply_seconds = reply_seconds
        self._buffer = bytearray()

    @property
    def peer(self) -> Address:
        """The client's address."""
        return parse_address(self._writer.get_extra_info("peername")[0])

    @property
    def own(self) -> Address:
        """The address that the client reached."""
        return parse_address(self._writer.get_extra_info("sockname")[0])

    async def read_line(self) -> bytes:
        """Read a line with its ending.

        :raises EOFError: once the client has closed.
        :raises LineTooLongError: after 4096 octets.
        :raises TimeoutError: after a minute's silence.
        """
        while (end := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > LINE_LIMIT:
                raise LineTooLongError
            await self._fill()
        return self._take(end + 1)

    async def read_exactly(self, count: int) -> bytes:
        """Read that many octets; raises as `read_line` does."""
        while len(self._buffer) < count:
            await self._fill()
        return self._take(count)

    async def speaks_within(self, seconds: float) -> bool:
        """Whether the client says anything, or closes, in that time."""
        try:
            async with asyncio.timeout(seconds):
                await self._fill()
        except TimeoutError:
            return False
        return True

    async def reply(self, reply: Reply) -> None:
        """Say something, after the tarpit's time."""
        if self._reply_seconds:
            await asyncio.sleep(self._reply_seconds)
        *before, last = reply.lines or ("",)
        lines = [f"{reply.code}-{text}" for text in before] + [f"{reply.code} {last}".rstrip()]
        self._writer.write("".join(f"{line}\r\n" for line in lines).encode("utf-8", "surrogateescape"))
        await self._writer.drain()

    async def start_tls(self, context: ssl.SSLContext) -> None:
        """Negotiate TLS, and forget what came before (RFC 3207 section 4.2)."""
        self._buffer.clear()
        await self._writer.start_tls(context, ssl_handshake_timeout=10)

    async def _fill(self) -> None:
        async with asyncio.timeout(IDLE_SECONDS):
            data = await self._reader.read(65536)
        if not data:
            raise EOFError
        self._buffer += data

    def _take(self, count: int) -> bytes:
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        return data
