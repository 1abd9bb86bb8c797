"""Listening, and clear words if it can't be had."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import ssl
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from relaywatch.model.places import Address, Endpoint, parse_address

from .errors import ListenError

_log = logging.getLogger(__name__)
_BACKLOG = 512
_HANDSHAKE = 10.0
_TRIES = 20
"""How many ports are tried until one is free at every address, over TCP and UDP."""
_ADVICE = {
    errno.EADDRINUSE: "another program listens there; stop it, or name another address or port",
    errno.EACCES: "ports below 1024 need root or CAP_NET_BIND_SERVICE; grant it, "
    "or name another port and have 25 forwarded to it",
    errno.EADDRNOTAVAIL: "this host has no such address",
    errno.EAFNOSUPPORT: "this host has no such address family",
}

MakeProtocol = Callable[[], asyncio.Protocol]
MakeDatagramProtocol = Callable[[], asyncio.DatagramProtocol]


async def listen(
    where: Iterable[Endpoint], protocol: MakeProtocol, *, tls: ssl.SSLContext | None = None
) -> list[asyncio.Server]:
    """Serve a protocol on all of the endpoints, each on its own address family only.

    "Any IPv6 address" is left out on a host that has no IPv6, if there is another endpoint.

    :raises ListenError: if an endpoint can't be had, and then on none; says where and what to do.
    """
    with contextlib.ExitStack() as unless_all_listen:
        listeners = _open_all(tuple(where), unless_all_listen)
        unless_all_listen.pop_all()
    return [await _serve(listener, protocol, tls) for listener in listeners]


async def listen_where_possible(
    where: Iterable[Endpoint], protocol: MakeProtocol
) -> tuple[list[asyncio.Server], list[ListenError]]:
    """Serve a protocol on those of the endpoints that can be had; and why the others can't."""
    listeners, failures = _open_possible(where, socket.SOCK_STREAM)
    return [await _serve(listener, protocol, None) for listener in listeners], failures


async def take_datagrams_where_possible(
    where: Iterable[Endpoint], protocol: MakeDatagramProtocol
) -> tuple[list[asyncio.DatagramTransport], list[ListenError]]:
    """Do so for datagrams, like `listen_where_possible`."""
    loop = asyncio.get_running_loop()
    ports, failures = _open_possible(where, socket.SOCK_DGRAM)
    opened = [await loop.create_datagram_endpoint(protocol, sock=port) for port in ports]
    return [transport for transport, _ in opened], failures


async def take_both_where_possible(
    where: Iterable[Endpoint], datagrams: MakeDatagramProtocol, connections: MakeProtocol
) -> tuple[list[asyncio.DatagramTransport], list[asyncio.Server], list[ListenError]]:
    """Take datagrams and serve connections at the same ports, as far as they can be had; and why not elsewhere.

    A port that the kernel chooses (number 0) is one that is free for both. One that was named takes datagrams
    even where another program has the connections.
    """
    loop = asyncio.get_running_loop()
    pairs, failures = _open_possible_pairs(where)
    opened = [await loop.create_datagram_endpoint(datagrams, sock=port) for port, _ in pairs]
    servers = [await _serve(listener, connections, None) for _, listener in pairs if listener is not None]
    return [transport for transport, _ in opened], servers, failures


def endpoints(servers: Iterable[asyncio.Server]) -> tuple[Endpoint, ...]:
    """Where they listen, with the ports that they got."""
    return _endpoints(server.sockets[0].getsockname() for server in servers if server.sockets)


def datagram_endpoints(ports: Iterable[asyncio.DatagramTransport]) -> tuple[Endpoint, ...]:
    """Where they take datagrams, with the ports that they got."""
    return _endpoints(port.get_extra_info("sockname") for port in ports)


def _endpoints(names: Iterable[tuple[str, int]]) -> tuple[Endpoint, ...]:
    return tuple(Endpoint(parse_address(name[0]), name[1]) for name in names)


def hold_port(addresses: Sequence[Address]) -> tuple[int, list[socket.socket]]:
    """Bind a port that is free at all of these addresses, over TCP and UDP, and listen at none.

    A connection to it is reset, and a datagram is lost, for as long as the sockets stay open.

    :raises ListenError: if there is no such port.
    """
    why = "no address was named"
    for _ in range(_TRIES if addresses else 0):
        with contextlib.ExitStack() as unless_all_bind:
            try:
                port, sockets = _bind_alike(addresses, unless_all_bind)
            except OSError as error:
                why = _why(error)
                continue
            unless_all_bind.pop_all()
            return port, sockets
    raise ListenError(f"no port can be held at {', '.join(map(str, addresses))}: {why}")


def _bind_alike(addresses: Sequence[Address], stack: contextlib.ExitStack) -> tuple[int, list[socket.socket]]:
    port, sockets = 0, []
    for address in addresses:
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            held = stack.enter_context(_bind(Endpoint(address, port), kind))
            port = held.getsockname()[1]
            sockets.append(held)
    return port, sockets


# --- opening -----------------------------------------------------------------------------------


async def _serve(
    listener: socket.socket, protocol: MakeProtocol, tls: ssl.SSLContext | None
) -> asyncio.Server:
    return await asyncio.get_running_loop().create_server(
        protocol,
        sock=listener,
        backlog=_BACKLOG,
        ssl=tls,
        ssl_handshake_timeout=_HANDSHAKE if tls else None,
    )


def _open_all(where: tuple[Endpoint, ...], stack: contextlib.ExitStack) -> list[socket.socket]:
    listeners: list[socket.socket] = []
    for endpoint in where:
        try:
            listener = _open(endpoint)
        except OSError as error:
            if _is_dispensable(endpoint, error) and len(where) > 1:
                _log.warning("this host has no IPv6: not listening on %s", endpoint)
                continue
            raise _error(endpoint, error) from error
        listeners.append(stack.enter_context(listener))
    return listeners


def _open_possible(
    where: Iterable[Endpoint], kind: socket.SocketKind
) -> tuple[list[socket.socket], list[ListenError]]:
    opened: list[socket.socket] = []
    failures: list[ListenError] = []
    for endpoint in where:
        try:
            opened.append(_open(endpoint) if kind == socket.SOCK_STREAM else _bind(endpoint, kind))
        except OSError as error:
            if opened and _is_dispensable(endpoint, error):
                continue
            failures.append(_error(endpoint, error))
    return opened, failures


_Pair: TypeAlias = tuple[socket.socket, socket.socket | None]


def _open_possible_pairs(where: Iterable[Endpoint]) -> tuple[list[_Pair], list[ListenError]]:
    pairs: list[_Pair] = []
    failures: list[ListenError] = []
    for endpoint in where:
        try:
            pairs.append(_open_pair(endpoint, failures))
        except OSError as error:
            if not (pairs and _is_dispensable(endpoint, error)):
                failures.append(_error(endpoint, error))
    return pairs, failures


def _open_pair(endpoint: Endpoint, failures: list[ListenError]) -> _Pair:
    """Bind for datagrams, and listen at the same port; where it was named and can't be had, that is told.

    The kernel gives a number that is free of datagrams; somebody's connection may have it all the same.
    """
    tries = 1 if endpoint.port else _TRIES
    while True:
        tries -= 1
        port = _bind(endpoint, socket.SOCK_DGRAM)
        alike = Endpoint(endpoint.address, port.getsockname()[1])
        try:
            return port, _open(alike)
        except OSError as error:
            if not tries:
                failures.append(_error(alike, error))
                return port, None
            port.close()


def _error(endpoint: Endpoint, error: OSError) -> ListenError:
    return ListenError(f"can't listen on {endpoint}: {_why(error)}")


def _why(error: OSError) -> str:
    return _ADVICE.get(error.errno or 0, error.strerror or str(error))


def _is_dispensable(endpoint: Endpoint, error: OSError) -> bool:
    has_no_ipv6 = error.errno in {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}
    return endpoint.address.version == 6 and endpoint.address.is_unspecified and has_no_ipv6


def _family(address: Address) -> socket.AddressFamily:
    return socket.AF_INET6 if address.version == 6 else socket.AF_INET


def _open(endpoint: Endpoint) -> socket.socket:
    listener = socket.create_server(
        (str(endpoint.address), endpoint.port), family=_family(endpoint.address), backlog=_BACKLOG
    )
    listener.setblocking(False)
    return listener


def _bind(endpoint: Endpoint, kind: socket.SocketKind) -> socket.socket:
    """Bind, and no more; without the option that lets two programs share a port."""
    bound = socket.socket(_family(endpoint.address), kind)
    try:
        if endpoint.address.version == 6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.setblocking(False)
        bound.bind((str(endpoint.address), endpoint.port))
    except BaseException:
        bound.close()
        raise
    return bound
