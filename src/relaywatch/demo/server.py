"""A small mail server in the process: listens on loopback, both families on one port, and delivers for real."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections import deque
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from relaywatch.model.errors import UsageError
from relaywatch.model.places import Endpoint, parse_address
from relaywatch.sink.certificate import make_certificate

from .admission import GreylistMemory, Recipient
from .delivery import Courier, Message, received_line, with_trace
from .line import Line
from .phrases import say
from .policy import Fate, Policy, UnknownUser
from .session import Accepted, House, Session

LOOPBACK = ("127.0.0.1", "::1")
CONNECTIONS_LIMIT = 64
CONNECTION_SECONDS = 300.0
_PORT_TRIES = 20

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Listener:
    """Serves every connection with ``handler``, on one port of each of the ``hosts`` that this machine has.

    An async context manager; ``port`` and ``hosts`` hold once it is entered.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        port: int = 0,
        hosts: tuple[str, ...] = LOOPBACK,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        if not all(parse_address(host).is_loopback for host in hosts):
            raise UsageError("the loopback world listens on loopback only")
        self._handler, self._tls = handler, tls
        self.port, self.hosts = port, hosts
        self._servers: list[asyncio.Server] = []
        self._connections: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        sockets = bind(self.hosts, self.port)
        self.hosts = tuple(str(bound.getsockname()[0]) for bound in sockets)
        self.port = sockets[0].getsockname()[1]
        for bound in sockets:
            self._servers.append(await asyncio.start_server(self._serve, sock=bound, ssl=self._tls))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in self._servers:
            server.close()
        connections = tuple(self._connections)
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.create_task(self._converse(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(OSError, EOFError, asyncio.IncompleteReadError):  # what clients do to us
                async with asyncio.timeout(CONNECTION_SECONDS):
                    if len(self._connections) > CONNECTIONS_LIMIT:
                        writer.write(b"421 4.7.0 Too many connections\r\n")
                    else:
                        await self._handler(reader, writer)
                    await writer.drain()
        finally:
            writer.close()


def bind(hosts: tuple[str, ...], port: int) -> list[socket.socket]:
    """Bind the same port on each of the hosts; an address that this machine hasn't is left out.

    :raises OSError: if there is no such port.
    """
    present = [host for host in hosts if _has_address(host)]
    if not present:
        raise OSError(f"this machine has none of {', '.join(hosts)}")
    tries = 1 if port else _PORT_TRIES  # a port that is free in one family may be taken in the other
    while True:
        tries -= 1
        try:
            return _bind_all(present, port)
        except OSError:
            if not tries:
                raise


def _bind_all(hosts: list[str], port: int) -> list[socket.socket]:
    first = _bind(hosts[0], port)
    bound = [first]
    try:
        bound += [_bind(host, first.getsockname()[1]) for host in hosts[1:]]
    except OSError:
        first.close()
        raise
    return bound


def _has_address(host: str) -> bool:
    try:
        _bind(host, 0).close()
    except OSError:
        return False
    return True


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind((host, port))
    except OSError:
        bound.close()
        raise
    return bound


class MailServer:
    """A mail server with a policy. An async context manager; ``port`` and ``hosts`` hold once it is entered.

    ``next_hop`` takes whatever leaves; without one, mail goes to the address literal behind the at sign,
    port 25. Never to anything but loopback. ``mailbox`` holds what was kept, the last hundred.
    """

    def __init__(
        self,
        policy: Policy,
        next_hop: Endpoint | None = None,
        *,
        port: int = 0,
        hosts: tuple[str, ...] = LOOPBACK,
    ) -> None:
        if next_hop is not None and not next_hop.address.is_loopback:
            raise UsageError(f"the loopback world delivers to loopback only, not to {next_hop.address}")
        self.policy = policy
        self.mailbox: deque[Message] = deque(maxlen=100)
        wants_tls = policy.offers_starttls or policy.implicit_tls
        context = make_certificate([policy.hostname, *LOOPBACK]).server_context() if wants_tls else None
        self._house = House(policy=policy, tls=context, greylist=GreylistMemory(), take=self._take)
        self._courier = Courier(hostname=policy.hostname, next_hop=next_hop)
        self._errands: set[asyncio.Task[None]] = set()
        self._connections = 0
        self._listener = Listener(
            self._serve, port=port, hosts=hosts, tls=context if policy.implicit_tls else None
        )

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self._listener.port

    @property
    def hosts(self) -> tuple[str, ...]:
        """The addresses that it listens on."""
        return self._listener.hosts

    async def __aenter__(self) -> Self:
        await self._listener.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._listener.__aexit__(kind, error, trace)
        errands = tuple(self._errands)
        for errand in errands:
            errand.cancel()
        await asyncio.gather(*errands, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        conduct = self.policy.conduct
        line = Line(reader, writer, reply_seconds=conduct.reply_seconds)
        self._connections += 1
        if conduct.connections_served is not None and self._connections > conduct.connections_served:
            await line.reply(
                say(
                    "421 4.7.0 {hostname} Too many connections, try again later",
                    hostname=self.policy.hostname,
                )
            )
            return
        await Session(self._house, line, tls=self.policy.implicit_tls).run()

    def _take(self, accepted: Accepted) -> None:
        errand = asyncio.create_task(self._distribute(accepted))
        self._errands.add(errand)
        errand.add_done_callback(self._errands.discard)

    async def _distribute(self, accepted: Accepted) -> None:
        for recipient in accepted.recipients:
            await self._forward(self._traced(accepted, recipient), recipient)

    def _traced(self, accepted: Accepted, recipient: Recipient) -> Message:
        message = Message(
            reverse_path=accepted.reverse_path,
            forward_path=recipient.mailbox,
            content=accepted.content,
        )
        protocol = ("ESMTP" if accepted.esmtp else "SMTP") + ("S" if accepted.client.tls else "")
        line = received_line(
            hostname=self.policy.hostname,
            helo=accepted.client.helo,
            client=accepted.client.address,
            protocol=protocol,
            path=recipient.path,
            number=accepted.number,
        )
        return with_trace(message, line)

    async def _forward(self, message: Message, recipient: Recipient) -> None:
        fate = self._fate(recipient)
        if fate is Fate.DELIVER:
            await self._courier.deliver(message)
        elif fate is Fate.BOUNCE:
            await self._courier.bounce(message, "550 5.1.1 No such user")
        elif recipient.local:
            self.mailbox.append(message)

    def _fate(self, recipient: Recipient) -> Fate:
        if not recipient.local:
            return self.policy.outside_mail
        bounces = not recipient.exists and self.policy.unknown_user is UnknownUser.BOUNCE
        return Fate.BOUNCE if bounces else Fate.DROP
