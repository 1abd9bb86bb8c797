"""A real HTTP/3 proxy on loopback, by aioquic: it truly carries TCP, UDP and IP packets to wherever it is asked.

There is no such server in Debian; this one is small and does what the RFCs say, for tests alone.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from ipaddress import ip_address
from typing import Any
from urllib.parse import unquote

from aioquic.asyncio import QuicConnectionProtocol, serve
from aioquic.h3.events import DatagramReceived, DataReceived, HeadersReceived
from aioquic.quic.events import ConnectionTerminated, ProtocolNegotiated
from tests.http3_server import MASQUE, capsule, configure, http3_of

from relaywatch.model.places import Endpoint
from relaywatch.wire.ip import UDPPacket, encode_packet, read_packet

GIVEN = ip_address("192.0.2.200")


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, take: Any) -> None:
        self.take = take

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.take(data, addr)


class ProxyConnection(QuicConnectionProtocol):
    """One client's connection; knows CONNECT, connect-udp and connect-ip."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.h3: Any = None
        self.tasks: set[asyncio.Task[None]] = set()
        self.tcp: dict[int, asyncio.StreamWriter] = {}
        self.udp: dict[int, asyncio.DatagramTransport] = {}
        self.is_ip: set[int] = set()

    def quic_event_received(self, event: Any) -> None:
        if isinstance(event, ProtocolNegotiated):
            self.h3 = http3_of(self._quic, MASQUE)
        if isinstance(event, ConnectionTerminated):
            self.end()
        for news in self.h3.handle_event(event) if self.h3 else ():
            match news:
                case HeadersReceived():
                    fields = {name.decode(): value.decode() for name, value in news.headers}
                    self.begin(self.request(news.stream_id, fields))
                case DataReceived(stream_id=stream) if stream in self.tcp:
                    self.tcp[stream].write(news.data)
                case DataReceived(stream_id=stream) if stream in self.is_ip and news.data[:1] == b"\x02":
                    self.send(stream, capsule(1, b"\x01\x04" + GIVEN.packed + b"\x20"))
                case DatagramReceived(stream_id=stream) if stream in self.udp:
                    self.carry(stream, news.data[1:])

    def begin(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def request(self, stream: int, fields: dict[str, str]) -> None:
        match fields.get(":protocol"):
            case "connect-udp":
                await self.open_udp(stream, fields[":path"])
            case "connect-ip":
                self.is_ip.add(stream)
                await self.open_socket(stream)
            case _:
                await self.open_tcp(stream, fields[":authority"])

    async def open_tcp(self, stream: int, authority: str) -> None:
        host, _, port = authority.rpartition(":")
        try:
            reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
        except OSError:
            self.answer(stream, 502)
            return
        self.tcp[stream] = writer
        self.answer(stream, 200)
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(4096):
                self.send(stream, data)

    async def open_udp(self, stream: int, path: str) -> None:
        host, port = (unquote(part) for part in path.strip("/").split("/")[-2:])
        await self.open_socket(stream, (host, int(port)))

    async def open_socket(self, stream: int, to: tuple[str, int] | None = None) -> None:
        loop = asyncio.get_running_loop()
        options: dict[str, Any] = {"remote_addr": to} if to else {"local_addr": ("127.0.0.1", 0)}
        transport, _ = await loop.create_datagram_endpoint(
            lambda: _Datagrams(lambda data, source: self.bring_back(stream, data, source)), **options
        )
        self.udp[stream] = transport
        self.answer(stream, 200)

    def carry(self, stream: int, data: bytes) -> None:
        """To the destination; of an IP packet what it holds, from user space."""
        if stream not in self.is_ip:
            self.udp[stream].sendto(data)
        elif (packet := read_packet(data)) and packet.source.address == GIVEN:
            self.client_port = packet.source.port
            self.udp[stream].sendto(packet.data, (str(packet.destination.address), packet.destination.port))

    def bring_back(self, stream: int, data: bytes, source: Any) -> None:
        if stream in self.is_ip:
            ends = Endpoint(ip_address(source[0]), source[1]), Endpoint(GIVEN, self.client_port)
            data = encode_packet(UDPPacket(*ends, data))
        self.h3.send_datagram(stream, b"\0" + data)
        self.transmit()

    def answer(self, stream: int, status: int) -> None:
        self.h3.send_headers(stream, [(b":status", str(status).encode())])
        self.transmit()

    def send(self, stream: int, data: bytes) -> None:
        self.h3.send_data(stream, data, False)
        self.transmit()

    def end(self) -> None:
        for held in (*self.tcp.values(), *self.udp.values()):
            held.close()
        for task in self.tasks:
            task.cancel()


@contextlib.asynccontextmanager
async def http3_proxy(
    connection: type[ProxyConnection] = ProxyConnection, *, host: str = "127.0.0.1", retry: bool = False
) -> AsyncIterator[Endpoint]:
    """Where the proxy listens, while it does."""
    live: list[ProxyConnection] = []

    def make(*arguments: Any, **options: Any) -> ProxyConnection:
        live.append(connection(*arguments, **options))
        return live[-1]

    server = await serve(host, 0, configuration=configure(), create_protocol=make, retry=retry)
    try:
        yield Endpoint(ip_address(host), server._transport.get_extra_info("sockname")[1])
    finally:
        for one in live:
            one.end()
        server.close()
        await asyncio.sleep(0.05)
