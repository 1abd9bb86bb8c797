"""A real HTTP/2 proxy on loopback, by h2: it truly carries TCP to wherever it is asked on this machine."""

from __future__ import annotations

import asyncio

from tests.http2_peer import Http2Peer

from relaywatch.demo.proxies import SOURCE

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter


async def http2_proxy(reader: Reader, writer: Writer) -> None:
    """Serve one connection; whoever speaks HTTP/1.1 is told so in its own words."""
    first = await reader.read(4096)
    if not first.startswith(b"PRI"):
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        return
    connection = _Connection(writer)
    try:
        connection.take(first)
        while data := await reader.read(4096):
            connection.take(data)
    finally:
        connection.end()


class _Connection:
    def __init__(self, writer: Writer) -> None:
        self.writer = writer
        self.tunnels: dict[int, Writer] = {}
        self.tasks: list[asyncio.Task[None]] = []
        self.peer = Http2Peer(self.begin, self.carry)

    def take(self, data: bytes = b"") -> None:
        self.writer.write(self.peer.take(data))

    def begin(self, _peer: Http2Peer, stream: int, fields: dict[str, str]) -> None:
        self.tasks.append(asyncio.ensure_future(self.lead(stream, fields)))

    def carry(self, _peer: Http2Peer, stream: int, data: bytes) -> None:
        if stream in self.tunnels:
            self.tunnels[stream].write(data)

    async def lead(self, stream: int, fields: dict[str, str]) -> None:
        host, _, port = fields[":authority"].rpartition(":")
        try:
            reader, self.tunnels[stream] = await asyncio.open_connection(
                host, int(port), local_addr=(SOURCE, 0)
            )
        except (OSError, ValueError):
            self.peer.respond(stream, 502, ends=True)
            self.take()
            return
        self.peer.respond(stream, 200)
        self.take()
        while data := await reader.read(4096):
            self.peer.say(stream, data)
            self.take()

    def end(self) -> None:
        for task in self.tasks:
            task.cancel()
        for tunnel in self.tunnels.values():
            tunnel.close()
