"""Listening, and clear words if it can't be had."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable, Iterable

from relaywatch.model.places import Endpoint, parse_address

from .errors import ListenError

_BACKLOG = 512
_HANDSHAKE = 10.0
_ADVICE = {
    errno.EADDRINUSE: "another program listens there; stop it, or name another address or port",
    errno.EACCES: "ports below 1024 need root or CAP_NET_BIND_SERVICE; grant it, "
    "or name another port and have 25 forwarded to it",
    errno.EADDRNOTAVAIL: "this host has no such address",
    errno.EAFNOSUPPORT: "this host has no such address family",
}


async def listen(
    endpoint: Endpoint, protocol: Callable[[], asyncio.Protocol], *, tls: ssl.SSLContext | None = None
) -> asyncio.Server:
    """Serve a protocol on an endpoint, on its own address family only.

    :raises ListenError: if the endpoint can't be had; says where and what to do.
    """
    return await asyncio.get_running_loop().create_server(
        protocol,
        sock=_open(endpoint),
        backlog=_BACKLOG,
        ssl=tls,
        ssl_handshake_timeout=_HANDSHAKE if tls else None,
    )


def endpoints(servers: Iterable[asyncio.Server]) -> tuple[Endpoint, ...]:
    """Where they listen, with the ports that they got."""
    names = [server.sockets[0].getsockname() for server in servers if server.sockets]
    return tuple(Endpoint(parse_address(name[0]), name[1]) for name in names)


def _open(endpoint: Endpoint) -> socket.socket:
    family = socket.AF_INET6 if endpoint.address.version == 6 else socket.AF_INET
    try:
        listener = socket.create_server(
            (str(endpoint.address), endpoint.port), family=family, backlog=_BACKLOG
        )
    except OSError as error:
        why = _ADVICE.get(error.errno or 0, error.strerror or str(error))
        raise ListenError(f"can't listen on {endpoint}: {why}") from error
    listener.setblocking(False)
    return listener
