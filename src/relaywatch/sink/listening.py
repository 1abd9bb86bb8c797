"""Listening, and clear words if it can't be had."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import ssl
from collections.abc import Callable, Iterable

from relaywatch.model.places import Endpoint, parse_address

from .errors import ListenError

_log = logging.getLogger(__name__)
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
    where: Iterable[Endpoint], protocol: Callable[[], asyncio.Protocol], *, tls: ssl.SSLContext | None = None
) -> list[asyncio.Server]:
    """Serve a protocol on all of the endpoints, each on its own address family only.

    "Any IPv6 address" is left out on a host that has no IPv6, if there is another endpoint.

    :raises ListenError: if an endpoint can't be had, and then on none; says where and what to do.
    """
    loop = asyncio.get_running_loop()
    with contextlib.ExitStack() as unless_all_listen:
        listeners = _open_all(tuple(where), unless_all_listen)
        unless_all_listen.pop_all()
    handshake = _HANDSHAKE if tls else None
    return [
        await loop.create_server(
            protocol, sock=listener, backlog=_BACKLOG, ssl=tls, ssl_handshake_timeout=handshake
        )
        for listener in listeners
    ]


def endpoints(servers: Iterable[asyncio.Server]) -> tuple[Endpoint, ...]:
    """Where they listen, with the ports that they got."""
    names = [server.sockets[0].getsockname() for server in servers if server.sockets]
    return tuple(Endpoint(parse_address(name[0]), name[1]) for name in names)


def _open_all(where: tuple[Endpoint, ...], stack: contextlib.ExitStack) -> list[socket.socket]:
    listeners: list[socket.socket] = []
    for endpoint in where:
        try:
            listener = _open(endpoint)
        except OSError as error:
            if _is_dispensable(endpoint, error) and len(where) > 1:
                _log.warning("this host has no IPv6: not listening on %s", endpoint)
                continue
            why = _ADVICE.get(error.errno or 0, error.strerror or str(error))
            raise ListenError(f"can't listen on {endpoint}: {why}") from error
        listeners.append(stack.enter_context(listener))
    return listeners


def _is_dispensable(endpoint: Endpoint, error: OSError) -> bool:
    has_no_ipv6 = error.errno in {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}
    return endpoint.address.version == 6 and endpoint.address.is_unspecified and has_no_ipv6


def _open(endpoint: Endpoint) -> socket.socket:
    family = socket.AF_INET6 if endpoint.address.version == 6 else socket.AF_INET
    listener = socket.create_server((str(endpoint.address), endpoint.port), family=family, backlog=_BACKLOG)
    listener.setblocking(False)
    return listener
