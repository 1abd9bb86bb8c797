"""Proxies of the loopback world, and what is only taken for one: each a handler, and none leads off this machine.

They connect from an address of their own, so that a mail server behind them can trust them and nobody else.
"""

from __future__ import annotations

import asyncio
import contextlib
from ipaddress import ip_address
from typing import TypeAlias
from urllib.parse import urlsplit

from .server import Handler

SOURCE = "127.0.0.9"
"""From where the proxies connect to IPv4 destinations."""
_HEAD_LIMIT = 16_384
_CONNECT_SECONDS = 5.0
_IDLE_SECONDS = 60.0
_PIPE_OCTETS = 1 << 20
_PAGE = b"<!doctype html><title>Welcome</title><p>It works."
_NAMES = {"localhost": "127.0.0.1", "sink.localhost": "127.0.0.1"}
"""The names that the world's proxies can resolve."""

Reader: TypeAlias = asyncio.StreamReader
Writer: TypeAlias = asyncio.StreamWriter


# --- HTTP ------------------------------------------------------------------------------------------


def http_proxy(
    *,
    connects: bool = True,
    forwards: bool = True,
    wants_credentials: bool = False,
    filters_first_line: bool = False,
) -> Handler:
    """An HTTP proxy for anybody: with CONNECT, with absolute URIs, or for users alone.

    ``filters_first_line`` refuses CONNECT where it stands in the first line, and takes it behind an empty one.
    """

    async def serve(reader: Reader, writer: Writer) -> None:
        head = await _read_head(reader)
        is_late = head.startswith(b"\r\n")
        method, target, *_ = (*head.lstrip(b"\r\n").split(b"\r\n")[0].decode("latin-1").split(" "), "", "")
        if wants_credentials:
            await _answer(
                writer, "407 Proxy Authentication Required", ("Proxy-Authenticate", 'Basic realm="staff"')
            )
        elif method == "CONNECT" and connects and (is_late or not filters_first_line):
            await _tunnel(reader, writer, _split(target))
        elif "://" in target and forwards:
            await _forward(reader, writer, head.lstrip(b"\r\n"), target)
        elif method == "CONNECT":
            await _answer(writer, "403 Forbidden")
        else:
            await _page(writer, "404 Not Found")

    return serve


async def misrouting(reader: Reader, writer: Writer) -> None:
    """A reverse proxy that fetches from whatever host the client names."""
    head = await _read_head(reader)
    host = _field(head, "host")
    path = head.split(b" ", 2)[1].decode("latin-1") if head.count(b" ") > 1 else ""
    if path.startswith("/c/"):
        await _forward(reader, writer, head, f"http://{host}{path}")
    else:
        await _page(writer, "404 Not Found")


async def web_server(reader: Reader, writer: Writer) -> None:
    """A web server that knows its own pages only."""
    head = await _read_head(reader)
    await _page(writer, "405 Method Not Allowed" if head.startswith(b"CONNECT") else "404 Not Found")


async def welcome_all(reader: Reader, writer: Writer) -> None:
    """A web server that answers everything with its page, CONNECT too."""
    while await _read_head(reader):
        await _page(writer, "200 OK")


async def captive_portal(reader: Reader, writer: Writer) -> None:
    """A portal that sends everybody to its own login."""
    await _read_head(reader)
    await _answer(writer, "302 Found", ("Location", "http://portal.example/login"))


async def tunnel_to_nowhere(reader: Reader, writer: Writer) -> None:
    """A honeypot: grants every tunnel, and leads nowhere."""
    await _read_head(reader)
    await _say(writer, b"HTTP/1.1 200 Connection established\r\n\r\n")
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_IDLE_SECONDS):
            await reader.read(-1)


# --- SOCKS and others ------------------------------------------------------------------------------


def socks_server(*, wants_credentials: bool = False, pretends: bool = False) -> Handler:
    """A SOCKS server of both versions: for anybody, for users alone, or one that leads nowhere."""

    async def serve(reader: Reader, writer: Writer) -> None:
        version = await reader.readexactly(1)
        if version == b"\x04" and not wants_credentials:
            await _serve_socks4(reader, writer, pretends=pretends)
        elif version == b"\x05":
            await _serve_socks5(reader, writer, wants_credentials=wants_credentials, pretends=pretends)

    return serve


async def _serve_socks4(reader: Reader, writer: Writer, *, pretends: bool) -> None:
    request = await reader.readexactly(7)
    await reader.readuntil(b"\0")
    port, address = int.from_bytes(request[1:3]), request[3:7]
    host = str(ip_address(address))
    if address[:3] == b"\0\0\0" and address[3]:
        host = (await reader.readuntil(b"\0"))[:-1].decode("latin-1")
    await _lead(
        reader, writer, (host, port), yes=b"\0\x5a" + bytes(6), no=b"\0\x5b" + bytes(6), pretends=pretends
    )


async def _serve_socks5(reader: Reader, writer: Writer, *, wants_credentials: bool, pretends: bool) -> None:
    methods = await reader.readexactly((await reader.readexactly(1))[0])
    if wants_credentials or 0 not in methods:
        await _say(writer, b"\x05\xff")
        return
    await _say(writer, b"\x05\x00")
    _, command, _, address_type = await reader.readexactly(4)
    host = await _read_socks5_host(reader, address_type)
    port = int.from_bytes(await reader.readexactly(2))
    bound = b"\x00\x01" + bytes(6)
    if command != 1:
        await _say(writer, b"\x05\x07" + bound)
        return
    await _lead(
        reader, writer, (host, port), yes=b"\x05\x00" + bound, no=b"\x05\x05" + bound, pretends=pretends
    )


async def _read_socks5_host(reader: Reader, address_type: int) -> str:
    if address_type == 3:
        return (await reader.readexactly((await reader.readexactly(1))[0])).decode("latin-1")
    return str(ip_address(await reader.readexactly(4 if address_type == 1 else 16)))


async def telnet_gateway(reader: Reader, writer: Writer) -> None:
    """A gateway with a prompt, as WinGate had it."""
    await _say(writer, b"gateway>")
    line = (await reader.readline()).decode("latin-1").strip()
    host, port = _split(line.removeprefix("telnet ").replace(" ", ":"))
    await _say(writer, f"Connecting to host {host}...".encode())
    await _lead(reader, writer, (host, port), yes=b"Connected\r\n", no=b"Host not found\r\n")


# --- leading on ------------------------------------------------------------------------------------


async def _tunnel(reader: Reader, writer: Writer, destination: tuple[str, int]) -> None:
    yes, no = (
        b"HTTP/1.1 200 Connection established\r\n\r\n",
        b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n",
    )
    await _lead(reader, writer, destination, yes=yes, no=no)


async def _lead(
    reader: Reader,
    writer: Writer,
    destination: tuple[str, int],
    *,
    yes: bytes,
    no: bytes,
    pretends: bool = False,
) -> None:
    """Connect to a place on this machine, say so, and carry octets both ways."""
    if pretends:
        await _say(writer, yes)
        await _sink(reader)
        return
    try:
        there = await _connect(*destination)
    except (OSError, ValueError):
        await _say(writer, no)
        return
    await _say(writer, yes)
    await _carry((reader, writer), there)


async def _forward(reader: Reader, writer: Writer, head: bytes, target: str) -> None:
    """Fetch a URI, and hand back what comes."""
    try:
        there, path = await _open_uri(target)
    except (OSError, ValueError):
        await _page(writer, "502 Bad Gateway")
        return
    method = head.split(b" ", 1)[0]
    _, _, rest = head.partition(b"\r\n")
    await _say(there[1], method + b" " + path.encode("latin-1") + b" HTTP/1.1\r\n" + rest)
    await _carry((reader, writer), there)


async def _open_uri(target: str) -> tuple[tuple[Reader, Writer], str]:
    """Connect to where an http URI leads, and give its path.

    :raises ValueError: if it is another scheme's, or leads off this machine.
    """
    parts = urlsplit(target)
    if parts.scheme != "http":
        raise ValueError(f"{parts.scheme} is not served")
    return await _connect(parts.hostname or "", parts.port or 80), parts.path or "/"


async def _connect(host: str, port: int) -> tuple[Reader, Writer]:
    """Open a connection to this machine, and to no other.

    :raises ValueError: if the host is another, or no name that we know.
    """
    address = ip_address(_NAMES.get(host.rstrip("."), host))
    if not address.is_loopback:
        raise ValueError(f"{host} is not on loopback")
    local = (SOURCE, 0) if address.version == 4 else None
    async with asyncio.timeout(_CONNECT_SECONDS):
        return await asyncio.open_connection(str(address), port, local_addr=local)


async def _carry(one: tuple[Reader, Writer], other: tuple[Reader, Writer]) -> None:
    try:
        async with asyncio.timeout(_IDLE_SECONDS):
            await asyncio.gather(_pump(one[0], other[1]), _pump(other[0], one[1]))
    except (OSError, TimeoutError):
        return
    finally:
        other[1].close()


async def _pump(source: Reader, sink: Writer) -> None:
    left = _PIPE_OCTETS
    while left > 0 and (data := await source.read(16_384)):
        left -= len(data)
        await _say(sink, data)
    if sink.can_write_eof():
        sink.write_eof()


async def _sink(reader: Reader) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_IDLE_SECONDS):
            while await reader.read(16_384):
                pass


# --- words -----------------------------------------------------------------------------------------


async def _read_head(reader: Reader) -> bytes:
    """A request's head; octets that are none end in what has come."""
    head = b""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_IDLE_SECONDS):
            while b"\r\n\r\n" not in head.lstrip(b"\r\n") and len(head) < _HEAD_LIMIT:
                data = await reader.read(4096)
                if not data:
                    break
                head += data
    return head


def _field(head: bytes, name: str) -> str:
    for line in head.decode("latin-1").split("\r\n")[1:]:
        own, _, value = line.partition(":")
        if own.strip().lower() == name:
            return value.strip()
    return ""


def _split(authority: str) -> tuple[str, int]:
    host, _, port = authority.rpartition(":")
    return host.strip("[]"), int(port) if port.isdecimal() else 0


async def _page(writer: Writer, status: str) -> None:
    await _answer(writer, status, ("Content-Type", "text/html"), body=_PAGE)


async def _answer(writer: Writer, status: str, *fields: tuple[str, str], body: bytes = b"") -> None:
    lines = [
        f"HTTP/1.1 {status}",
        *(f"{name}: {value}" for name, value in fields),
        f"Content-Length: {len(body)}",
    ]
    await _say(writer, "\r\n".join([*lines, "", ""]).encode("latin-1") + body)


async def _say(writer: Writer, data: bytes) -> None:
    writer.write(data)
    await writer.drain()
