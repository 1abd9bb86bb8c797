"""The sink as a whole: mailbox, canaries and name server, and the notebook behind them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Self

from relaywatch.model.errors import UsageError
from relaywatch.model.evidence import ArrivalKind
from relaywatch.model.places import Address, Endpoint
from relaywatch.model.tokens import Token, verify_token
from relaywatch.script.brief import CanaryPlaces

from .answering import Answerer, Circumstances
from .canaries import Canaries
from .certificate import Certificate, make_certificate
from .counters import Counters
from .datagrams import DatagramPort, React, Turnstile, answer_words
from .dialogue import House
from .doorkeeper import Doorkeeper
from .errors import ListenError
from .journal import Journal
from .listening import (
    MakeProtocol,
    datagram_endpoints,
    endpoints,
    hold_port,
    listen,
    listen_where_possible,
    take_both_where_possible,
    take_datagrams_where_possible,
)
from .mail import MailDesk
from .mailbox import Mailbox, Origin
from .name_server import NameServer
from .notebook import Notebook, OnArrival
from .own_ports import Admits, OwnPorts, anybody
from .page import render_notice, render_page
from .places import Listening
from .recipients import admit_recipients, find_token
from .settings import SinkSettings
from .zone import Zone

_UNWRITTEN = b"451 4.3.0 Can't write it down now, try later\r\n"


class Sink:
    """Receives our own test messages, and whoever says our tokens, for as long as it is entered.

    ::

        async with Sink(settings, key, on_arrival=board.note) as sink: ...

    Works in the running event loop, asyncio's or uvloop's. Each of ``on_arrival`` is called in that loop
    after the arrival is in the journal and before the sender hears an answer.
    """

    def __init__(
        self, settings: SinkSettings, key: bytes, *, on_arrival: OnArrival | Iterable[OnArrival] = ()
    ) -> None:
        """Listen nowhere yet."""
        self.settings = settings
        self.counters = Counters()
        self._find: Callable[[str], Token | None] = partial(verify_token, key)
        listeners = [on_arrival] if callable(on_arrival) else list(on_arrival)
        self._notebook = Notebook(limits=settings.limits, counters=self.counters, listeners=listeners)
        self._mail = MailDesk(settings, key, self._notebook, self.counters)
        self._answerer = Answerer(key, self._notebook)
        self._mail_door = Doorkeeper(settings.limits.of_mail, self.counters)
        self._canary_door = Doorkeeper(settings.limits.of_canaries, self.counters)
        certificate = settings.certificate or make_certificate([settings.domain])
        self._mailbox = self._make_mailbox(key, certificate)
        self._canaries = self._make_canaries(certificate)
        self._own_ports = OwnPorts(self._answerer, self._canary_door)
        self._servers: list[asyncio.Server] = []
        self._canary_servers: list[asyncio.Server] = []
        self._name_servers: list[asyncio.Server] = []
        self._datagram_ports: list[asyncio.DatagramTransport] = []
        self._name_ports: list[asyncio.DatagramTransport] = []
        self._dead_ports: dict[tuple[Address, ...], int] = {}
        self._held: list[socket.socket] = []
        self._zone: str | None = None
        self._left_out: list[str] = []

    @property
    def journal(self) -> Journal | None:
        """The journal, if it keeps one and is entered."""
        return self._notebook.journal

    @property
    def addresses(self) -> tuple[Endpoint, ...]:
        """Where it takes mail, with the ports that it got."""
        return endpoints(self._servers)

    async def __aenter__(self) -> Self:
        """Open the journal, then listen.

        :raises ListenError: if an address and port can't be had.
        :raises JournalError: if the journal can't be opened.
        :raises UsageError: if the zone is no domain.
        """
        settings = self.settings
        try:
            self._mail.open()
            if settings.journal:
                self._notebook.open(settings.journal)
            await self.listen_at(settings.listen)
            await self.listen_canaries_at(settings.canary_listen)
            with contextlib.suppress(ListenError):  # told among what is left out
                await self.listen_smtp_also_at(settings.smtp_also)
            with contextlib.suppress(ListenError):
                await self.listen_datagrams_at(settings.canary_udp)
            await self.answer_names_at(
                settings.dns_listen, zone=settings.canary_zone, addresses=settings.canary_addresses
            )
        except BaseException:
            await self._close()
            raise
        self._mail_door.start()
        self._canary_door.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    async def listen_at(self, where: Iterable[Endpoint]) -> None:
        """Take mail there as well.

        :raises ListenError: if an address and port can't be had.
        """
        self._servers += await listen(where, self._mailbox.connection)

    def subscribe(self, on_arrival: OnArrival) -> Callable[[], None]:
        """Call this at each arrival too, until the function that comes back is called."""
        return self._notebook.subscribe(on_arrival)

    # --- canaries, behind which proxies are proven ---------------------------------------------

    @property
    def canary_endpoints(self) -> tuple[Endpoint, ...]:
        """Where canaries wait over TCP, in the order in which they were wanted."""
        return endpoints(self._canary_servers)

    @property
    def datagram_endpoints(self) -> tuple[Endpoint, ...]:
        """Where canaries wait over UDP."""
        return datagram_endpoints(self._datagram_ports)

    @property
    def name_server_endpoints(self) -> tuple[Endpoint, ...]:
        """Where names of the zone are answered over UDP."""
        return datagram_endpoints(self._name_ports)

    @property
    def left_out(self) -> tuple[str, ...]:
        """Where it was to listen and can't, with the reason, for people."""
        return tuple(self._left_out)

    async def listen_canaries_at(self, where: Iterable[Endpoint]) -> tuple[Endpoint, ...]:
        """Have canaries wait there too, over TCP: those that could be had.

        :raises ListenError: if none can be had.
        """
        servers = await self._listen(where, self._canaries.connection)
        self._canary_servers += servers
        return endpoints(servers)

    async def listen_datagrams_at(self, where: Iterable[Endpoint]) -> tuple[Endpoint, ...]:
        """Have canaries wait there too, over UDP: those that could be had.

        :raises ListenError: if none can be had.
        """
        ports = await self._take_datagrams(where, answer_words(self._find, self._answerer))
        self._datagram_ports += ports
        return datagram_endpoints(ports)

    async def listen_smtp_also_at(self, where: Iterable[Endpoint]) -> tuple[Endpoint, ...]:
        """Take mail there too, like `listen_at`: those that could be had.

        :raises ListenError: if none can be had.
        """
        servers = await self._listen(where, self._mailbox.connection)
        self._servers += servers
        return endpoints(servers)

    async def answer_names_at(
        self, where: Iterable[Endpoint], *, zone: str, addresses: Sequence[Address]
    ) -> tuple[Endpoint, ...]:
        """Answer for the zone there, over UDP and TCP, so that its names lead to these addresses of ours.

        :raises ListenError: if none can be had.
        :raises UsageError: if the zone is no domain.
        """
        wanted = tuple(where)
        if not wanted:
            return ()
        server = NameServer(
            zone=self._read_zone(zone, addresses),
            find=self._find,
            answerer=self._answerer,
            doorkeeper=self._canary_door,
        )
        ports, servers, failures = await take_both_where_possible(
            wanted, self._taking_datagrams(server.react), server.connection
        )
        self._leave_out(failures, is_nothing_left=not ports)
        self._name_ports += ports
        self._name_servers += servers
        self._zone = zone
        return datagram_endpoints(ports)

    def reserve_dead_port(self, *addresses: Address) -> int:
        """Hold a port at which nobody answers at any of these addresses while the sink is up, TCP and UDP.

        The same again for the same addresses.

        :raises ListenError: if there is none.
        """
        if addresses not in self._dead_ports:
            port, held = hold_port(addresses)
            self._held += held
            self._dead_ports[addresses] = port
        return self._dead_ports[addresses]

    def canary_places(self, *addresses: Address, name: str | None = None) -> CanaryPlaces:
        """What waits at each of these addresses of ours, with the dead port if one was reserved there.

        Addresses at which no canary waits are left out. Those of ``canary_addresses`` may be translated to whatever we listen at.
        """
        listening = Listening(
            canaries=self.canary_endpoints,
            smtp=self.addresses,
            datagrams=self.datagram_endpoints,
            dead=tuple(
                Endpoint(address, port) for held, port in self._dead_ports.items() for address in held
            ),
        )
        places = listening.places(addresses, translated=self.settings.canary_addresses)
        return replace(places, name=name, zone=self._zone) if places.addresses else places

    async def open_port(self, token: Token, address: Address, *, admits: Admits = anybody) -> Endpoint:
        """Listen on a port of the token's own: any connection there of those whom it admits is an arrival of its.

        It closes after two minutes at the latest.

        :raises ListenError: if it can't be had, or too many are open.
        """
        return await self._own_ports.open(token, address, admits)

    def close_port(self, token: Token) -> None:
        """Close the token's own port, if it has one."""
        self._own_ports.close(token)

    # --- opening and closing -------------------------------------------------------------------

    def _make_mailbox(self, key: bytes, certificate: Certificate) -> Mailbox:
        settings, limits = self.settings, self.settings.limits
        people_at = (settings.domain, *settings.human_domains) if settings.human_maildir else ()
        house = House(
            domain=settings.domain,
            notice=render_notice(settings),
            admit=admit_recipients(key, people_at=people_at),
            refused=self._count_refused,
            find_token=partial(find_token, key),
            message_limit=limits.message,
            recipients_limit=limits.recipients,
            errors_limit=limits.errors,
            commands_limit=limits.commands,
        )
        return Mailbox(
            house=house,
            take=self._mail.take,
            answer=self._answer_verify,
            doorkeeper=self._mail_door,
            tls=certificate.server_context(takes_old_tls=True),
        )

    def _make_canaries(self, certificate: Certificate) -> Canaries:
        return Canaries(
            find=self._find,
            answerer=self._answerer,
            doorkeeper=self._canary_door,
            tls=certificate.server_context(takes_old_tls=True, alpn=("http/1.1",)),
            notice=render_notice(self.settings),
            page=partial(render_page, self.settings),
        )

    def _read_zone(self, name: str, addresses: Sequence[Address]) -> Zone:
        domain = self.settings.domain
        try:
            return Zone(name, addresses, server=None if domain.startswith("[") else domain)
        except ValueError as error:
            raise UsageError(str(error)) from error

    async def _take_datagrams(
        self, where: Iterable[Endpoint], react: React
    ) -> list[asyncio.DatagramTransport]:
        ports, failures = await take_datagrams_where_possible(where, self._taking_datagrams(react))
        self._leave_out(failures, is_nothing_left=not ports)
        return ports

    def _taking_datagrams(self, react: React) -> Callable[[], DatagramPort]:
        turnstile = Turnstile(self.settings.limits)
        return lambda: DatagramPort(react, self._canary_door, turnstile)

    async def _listen(self, where: Iterable[Endpoint], protocol: MakeProtocol) -> list[asyncio.Server]:
        servers, failures = await listen_where_possible(where, protocol)
        self._leave_out(failures, is_nothing_left=not servers)
        return servers

    def _leave_out(self, failures: Sequence[ListenError], *, is_nothing_left: bool) -> None:
        self._left_out += map(str, failures)
        if failures and is_nothing_left:
            raise failures[0]

    async def _close(self) -> None:
        servers = [*self._servers, *self._canary_servers, *self._name_servers]
        for server in servers:
            server.close()
        for port in (*self._datagram_ports, *self._name_ports):
            port.close()
        self._own_ports.close_all()
        for held in self._held:
            held.close()
        await self._mail_door.stop()
        await self._canary_door.stop()
        for server in servers:
            await server.wait_closed()
        for opened in (self._servers, self._canary_servers, self._name_servers):
            opened.clear()
        self._notebook.close()

    # --- what the mailbox asks -----------------------------------------------------------------

    def _count_refused(self) -> None:
        self.counters.unknown_recipients += 1

    async def _answer_verify(self, token: Token, origin: Origin) -> bytes:
        how = Circumstances(kind=ArrivalKind.TCP, peer=origin.peer, port=origin.port, tls=origin.tls)
        answer = await self._answerer.answer(token, how)
        return f"252 2.0.0 {answer}\r\n".encode("ascii") if answer else _UNWRITTEN
