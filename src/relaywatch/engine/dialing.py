"""How channels to a target are opened: from which of our addresses, and without a name ever being looked up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TypeVar

from relaywatch.model.places import Address, Endpoint

from .connection import Connection
from .datagrams import DatagramChannel, open_socket
from .owner import Owner

AnyProtocol = TypeVar("AnyProtocol", bound=asyncio.BaseProtocol)


class Dialer:
    """Opens channels, from a source address of the target's family if one is set.

    ``source`` of a call is another one, for that channel alone.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, sources: Iterable[Address] = ()) -> None:
        self._loop = loop
        self._sources = {Endpoint(source, 0).family: source for source in sources}
        self._buffer = memoryview(bytearray(64 << 10))

    def dial(
        self, endpoint: Endpoint, owner: Owner, number: int = 0, source: Address | None = None
    ) -> Connection:
        """Send the SYN; the owner hears what comes of it.

        :raises ValueError: if there is no such port; libuv would fold it into another.
        """
        _check_port(endpoint)
        connection = Connection(owner, self._buffer, number)
        connection.follow(self._loop.create_task(self.open(lambda: connection, endpoint, source)))
        return connection

    def open_datagrams(
        self, endpoint: Endpoint, owner: Owner, number: int = 0, source: Address | None = None
    ) -> DatagramChannel:
        """Open a UDP channel; no packet leaves.

        :raises UnreachableError: if there is no way.
        :raises ValueError: if there is no such port.
        """
        _check_port(endpoint)
        sock = open_socket(endpoint, source or self._sources.get(endpoint.family))
        return DatagramChannel(owner, sock, number)

    async def open(
        self, factory: Callable[[], AnyProtocol], endpoint: Endpoint, source: Address | None = None
    ) -> tuple[asyncio.Transport, AnyProtocol]:
        """Open a connection for a protocol that does its own I/O.

        :raises OSError: if it can't be opened.
        :raises ValueError: if there is no such port.
        """
        _check_port(endpoint)
        source = source or self._sources.get(endpoint.family)
        return await self._loop.create_connection(
            factory,
            str(endpoint.address),
            endpoint.port,
            local_addr=(str(source), 0) if source is not None else None,
        )


def _check_port(endpoint: Endpoint) -> None:
    if not 0 < endpoint.port < 1 << 16:
        raise ValueError(f"no such port: {endpoint.port}")
