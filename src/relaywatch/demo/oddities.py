"""Whatever answers on a mail port and is no mail server, or none that can be talked to.

Each is a handler for `relaywatch.demo.server.Listener`, bounded in octets and in time.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct

_CHUNK = b"220-" + b"x" * 1000 + b"\r\n"
_ENDLESS_OCTETS = 16_000_000
_LONG_LINE_OCTETS = 10_000_000
_QUIET_SECONDS = 240.0
_DRIP_SECONDS = 1.0


async def speak_garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer everything with octets that are no reply: NULs, terminal escapes, a binary header."""
    await _say(writer, b"\x00\x01\xffSSH\x1b]0;owned\x07\x1b[2J\x00\r\n")
    while await reader.readline():
        await _say(writer, b"\x7fELF\x02\x01\x00\x1b[31m?\r\n")


async def greet_without_end(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send a greeting of continuation lines that never comes to its last one."""
    for _ in range(_ENDLESS_OCTETS // len(_CHUNK)):
        await _say(writer, _CHUNK)


async def send_a_long_line(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send a greeting of ten million octets on one line."""
    await _say(writer, b"220 ")
    for _ in range(_LONG_LINE_OCTETS // 10_000):
        await _say(writer, b"x" * 10_000)
    await _say(writer, b"\r\n")


async def drip(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send the greeting one octet a second."""
    for octet in b"220-" + b"mail.example ESMTP" * 20:
        await _say(writer, bytes((octet,)))
        await asyncio.sleep(_DRIP_SECONDS)


async def stay_silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Take the connection, read, and say nothing."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_QUIET_SECONDS):
            while await reader.read(65536):
                pass


async def say_yes_to_everything(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer each line with 250, whatever it is, the message's lines too."""
    await _say(writer, b"220 mail.yew.example ESMTP\r\n")
    while await reader.readline():
        await _say(writer, b"250 Ok\r\n")


async def reset(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Greet, and reset the connection."""
    await _say(writer, b"220 mail.example ESMTP\r\n")
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Close at once, without a word."""
    writer.close()


async def _say(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)
    await writer.drain()
