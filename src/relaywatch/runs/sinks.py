"""The run's own receiving end: opened in this process or polled elsewhere, and proven before it is trusted."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import format_datetime
from itertools import product
from typing import Protocol

from relaywatch.engine.arrivals import ArrivalBoard
from relaywatch.engine.resolve import ResolveError, Resolver
from relaywatch.engine.vantage import source_for
from relaywatch.model.evidence import Arrival
from relaywatch.model.places import Address, Endpoint, address_literal, parse_address
from relaywatch.model.tokens import Mint, Token
from relaywatch.script.brief import CanaryPlaces, Identity, SinkNames
from relaywatch.sink.client import RemoteSink
from relaywatch.sink.errors import ListenError
from relaywatch.sink.keys import read_keys
from relaywatch.sink.prove import ProofRequest, prove_sink
from relaywatch.sink.server import Sink
from relaywatch.sink.settings import SinkSettings

from .admission import Admission, Ports
from .canaries import OpenedCanaries, open_canaries, ported, proved, remote_canaries
from .reach import can_reach
from .settings import LocalSink, RemoteSinkChoice, SinkChoice

Tell = Callable[["OpenedSink"], None]


def _no_trouble() -> str:
    return ""


async def _told_at_once() -> None:
    """A sink in this process tells of an arrival as soon as it is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedSink:
    """A sink that is there for the run: how mail names it, its key, whether it is proven, and why not."""

    names: SinkNames
    key: bytes
    is_proved: bool
    detail: str
    known_at: tuple[Address, ...] = ()
    """The addresses that its name leads to."""
    is_reachable: bool = True
    """Whether the target would find it by its name: to another one that may mean another host."""
    trouble: Callable[[], str] = _no_trouble
    """Says what keeps us from hearing of arrivals just now, if anything does."""
    catch_up: Callable[[], Awaitable[None]] = _told_at_once
    """Waits until all is told that has arrived by now; ``trouble`` says if that can't be."""
    canaries: OpenedCanaries = field(default_factory=OpenedCanaries)
    """Where proxies are led to, of a run that looks for any."""
    mail_ports: tuple[int, ...] = ()
    """Where our SMTP server listens, at each of the names' addresses."""

    def lent(self) -> OpenedSink:
        """The sink without what only the process has in which it is open."""
        return replace(self, trouble=_no_trouble, catch_up=_told_at_once)

    def own_places(self) -> frozenset[Endpoint]:
        """Every place at which we listen ourselves."""
        places = self.canaries.places
        datagrams = () if places.udp_port is None else (places.udp_port,)
        canaries = product(places.addresses, (*places.ports, *places.smtp_ports, *datagrams))
        return frozenset(
            Endpoint(*place) for place in (*product(self.names.addresses, self.mail_ports), *canaries)
        )

    def facing(self, targets: tuple[Address, ...]) -> OpenedSink:
        """The sink as these addresses of one target see it; mail must not name what means another host there."""
        usable = tuple(a for a in self.names.addresses if can_reach(targets, a))
        names = replace(self.names, addresses=usable)
        if not self.known_at or any(can_reach(targets, address) for address in self.known_at):
            return replace(self, names=names)
        where = ", ".join(map(str, self.known_at))
        return replace(
            self,
            names=names,
            is_proved=False,
            is_reachable=False,
            detail=f"to targets such as {targets[0]}, {where} means another host than ours; "
            "name a --sink-address or --sink-domain that they know",
        )


class SinksAtHand(Ports, Protocol):
    """The run's sinks, in this process or reached through another."""

    async def facing(self, targets: tuple[Address, ...]) -> OpenedSink:
        """The sink that a target at these addresses is asked to relay to."""


class Sinks:
    """The sink for each target: the one that the user chose, or one where that target sees us from.

    ``tell`` hears of each once, and of each for whom it can't be used.
    """

    def __init__(
        self,
        board: ArrivalBoard,
        resolver: Resolver,
        identity: Identity,
        *,
        sources: Iterable[Address] = (),
        tell: Tell = lambda _sink: None,
        wants_canaries: bool = False,
    ) -> None:
        self._board, self._resolver, self._identity = board, resolver, identity
        self._wants_canaries = wants_canaries
        self._sources = {source.version: source for source in sources}
        self._tell_of = tell
        self._told: set[str] = set()
        self._turn = asyncio.Lock()
        self._chosen: OpenedSink | None = None
        self._local: _LocalSinks | None = None

    @contextlib.asynccontextmanager
    async def opened(self, choice: SinkChoice) -> AsyncIterator[Sinks]:
        """Open what the user chose for as long as the run lasts; the rest opens when a target needs it.

        :raises UsageError: if an address that the user gave can't be listened on, or a key file can't be read.
        :raises SinkError: if a sink elsewhere doesn't answer, or isn't ours, or a journal can't be opened.
        """
        async with contextlib.AsyncExitStack() as stack:
            if isinstance(choice, RemoteSinkChoice):
                self._chosen = await self._remote(choice, stack)
            else:
                self._local = await stack.enter_async_context(self._listening(choice))
                if choice.address is not None:
                    self._chosen = await self._local.at(choice.address)
            if self._chosen is not None:
                self._tell(self._chosen)
            yield self

    async def facing(self, targets: tuple[Address, ...]) -> OpenedSink:
        """The sink that a target at these addresses is asked to relay to."""
        async with self._turn:
            sink = self._chosen or await self._on_the_way_to(targets)
        facing = sink.facing(targets)
        if not facing.is_reachable:
            self._tell(facing, once_for=f"{sink.names.domain} is out of reach")
            return self._told_apart(facing, targets)
        return facing

    def open_port(self, token: Token, address: Address, admits: Admission) -> asyncio.Future[Endpoint | None]:
        """A port of our sink's for this token alone; nothing if our sink is elsewhere, or has none to spare."""
        return ported(self._local.sink if self._local else None, token, address, admits)

    def close_port(self, token: Token) -> None:
        """Close that port."""
        if self._local:
            self._local.sink.close_port(token)

    def _told_apart(self, sink: OpenedSink, targets: tuple[Address, ...]) -> OpenedSink:
        """With a name that is at least not the target's own, as a loopback literal of ours would be."""
        ours = next((found for address in targets if (found := self._source(address)) is not None), None)
        if ours is None or not sink.names.domain.startswith("["):
            return sink
        return replace(sink, names=replace(sink.names, domain=address_literal(ours)))

    async def _on_the_way_to(self, targets: tuple[Address, ...]) -> OpenedSink:
        assert self._local is not None  # noqa: S101 -- one of the two is chosen
        ours = next((found for address in targets if (found := self._source(address)) is not None), None)
        if ours is None:
            names = SinkNames(domain=self._local.domain or "relaywatch.invalid")
            detail = "no address to receive test mail on; name one with --sink-address"
            sink = OpenedSink(names=names, key=self._local.key, is_proved=False, detail=detail)
        else:
            sink = await self._local.at(ours, must_listen=False)
        self._tell(sink)
        return sink

    def _source(self, target: Address) -> Address | None:
        return self._sources.get(target.version) or source_for(target)

    def _tell(self, sink: OpenedSink, once_for: str = "") -> None:
        said = once_for or f"{sink.names.domain} {sink.is_proved}"
        if said not in self._told:
            self._told.add(said)
            self._tell_of(sink)

    @contextlib.asynccontextmanager
    async def _listening(self, choice: LocalSink) -> AsyncIterator[_LocalSinks]:
        key = read_keys(choice.key_file).canary_key if choice.key_file else secrets.token_bytes(32)
        known_at = await _sink_addresses(choice.domain, self._resolver) if choice.domain else ()
        named = choice.domain or (address_literal(choice.address) if choice.address else "localhost")
        settings = SinkSettings(
            domain=named,
            listen=(),
            journal=choice.journal,
            canary_zone=choice.canary_zone or "",
            dns_listen=_dns_places(choice) if choice.canary_zone and self._wants_canaries else (),
            canary_addresses=known_at or ((choice.address,) if choice.address else ()),
            operator=self._identity.operator,
            contact=self._identity.contact,
        )
        async with Sink(settings, key, on_arrival=self._board.note) as sink:
            yield _LocalSinks(choice, sink, key, known_at, self._proved, self._local_canaries)

    async def _local_canaries(
        self, sink: Sink, choice: LocalSink, key: bytes, ours: tuple[Address, ...]
    ) -> OpenedCanaries:
        if not self._wants_canaries:
            return OpenedCanaries()
        names = await hosts_leading_to(ours, choice.domain, self._resolver) if choice.domain else ()
        return await self._proved_canaries(await open_canaries(sink, choice, ours, names), key)

    async def _remote(self, choice: RemoteSinkChoice, stack: contextlib.AsyncExitStack) -> OpenedSink:
        keys = read_keys(choice.key_file)
        known_at = await _sink_addresses(choice.domain, self._resolver)
        names = SinkNames(
            domain=choice.domain,
            addresses=known_at,
            second_domain=choice.second_domain,
            mx_pointing_domain=choice.mx_pointing_domain,
        )
        remote = await stack.enter_async_context(RemoteSink(choice.url, keys, on_arrival=self._board.note))
        proved = await self._proved(names, keys.canary_key, 25)
        canaries = await self._remote_canaries(remote, choice.domain, keys.canary_key)
        return replace(
            proved,
            known_at=known_at,
            trouble=lambda: remote.trouble,
            catch_up=remote.catch_up,
            canaries=canaries,
            mail_ports=(25,),
        )

    async def _remote_canaries(self, remote: RemoteSink, domain: str, key: bytes) -> OpenedCanaries:
        if not self._wants_canaries:
            return OpenedCanaries()
        told = await remote_canaries(remote)
        if not told.places.addresses:
            return told
        names = await hosts_leading_to(told.places.addresses, domain, self._resolver)
        return await self._proved_canaries(
            replace(told.places, name=told.places.name or next(iter(names), None)), key
        )

    async def _proved_canaries(self, places: CanaryPlaces, key: bytes) -> OpenedCanaries:
        return await proved(places, key, self._await_token)

    async def _await_token(self, wanted: Token) -> Arrival:
        self._board.register([wanted])
        while (arrival := await self._board.expect([wanted], 3600)) is None:
            pass
        return arrival

    async def _proved(self, names: SinkNames, key: bytes, port: int) -> OpenedSink:
        token = Mint(key, secrets.token_bytes(16)).token("sink")
        self._board.register([token])

        async def resolve(domain: str) -> Sequence[tuple[str, Sequence[Address]]]:
            return await _exchangers(domain, self._resolver)

        request = ProofRequest(
            domain=names.domain,
            token=token,
            port=port,
            ehlo_name=self._identity.ehlo_name,
            contact=self._identity.contact,
            date=format_datetime(datetime.now(UTC)),
        )
        try:
            proof = await prove_sink(request, resolve, self._await_token)
        finally:
            self._board.forget([token])
        detail = f"{proof.host} at {proof.endpoint}" if proof.is_proven else proof.detail
        return OpenedSink(names=names, key=key, is_proved=proof.is_proven, detail=detail)


class _LocalSinks:
    """A sink in this process, at one address of ours or, where none was chosen, at several."""

    def __init__(
        self,
        choice: LocalSink,
        sink: Sink,
        key: bytes,
        known_at: tuple[Address, ...],
        prove: Callable[[SinkNames, bytes, int], Awaitable[OpenedSink]],
        open_canaries: Callable[[Sink, LocalSink, bytes, tuple[Address, ...]], Awaitable[OpenedCanaries]],
    ) -> None:
        self.key, self.domain, self.sink = key, choice.domain, sink
        self._choice, self._prove, self._open_canaries = choice, prove, open_canaries
        self._known_at = known_at
        self._opened: dict[Address, OpenedSink] = {}

    async def at(self, address: Address, *, must_listen: bool = True) -> OpenedSink:
        """The sink at this address of ours, opened and proven when it is asked for first.

        A domain is one sink, wherever it is seen from, and listens at each address of ours that it has.

        :raises ListenError: if it can't be listened on, and it must be.
        """
        place = self._home(address)
        if place not in self._opened:
            self._opened[place] = await self._open(place, must_listen=must_listen)
        return self._opened[place]

    def _home(self, address: Address) -> Address:
        if self.domain is None or self._choice.address is not None:
            return address
        return next(iter(self._opened), next(filter(_is_ours, self._known_at), address))

    async def _open(self, address: Address, *, must_listen: bool) -> OpenedSink:
        names = SinkNames(
            domain=self.domain or address_literal(address),
            addresses=(address,),
            second_domain=self._choice.second_domain,
            mx_pointing_domain=self._choice.mx_pointing_domain,
        )
        known_at = self._known_at if self.domain else (address,)
        others = [a for a in self._known_at if a.version != address.version and _is_ours(a)][:1]
        try:
            await self.sink.listen_at(Endpoint(one, self._choice.port) for one in (address, *others))
        except ListenError as error:
            if must_listen:
                raise
            # Proxies can be proven all the same, at ports that need no privilege.
            opened = OpenedSink(
                names=names, key=self.key, is_proved=False, detail=str(error), known_at=known_at
            )
        else:
            proved = await self._prove(names, self.key, self._choice.port)
            opened = replace(proved, mail_ports=(self._choice.port,))
        canaries = await self._open_canaries(self.sink, self._choice, self.key, (address, *others))
        return replace(opened, known_at=known_at, canaries=canaries)


def _dns_places(choice: LocalSink) -> tuple[Endpoint, ...]:
    """Where the names of the zone are answered: at the sink's address, or at all of this host's."""
    anywhere = (parse_address("0.0.0.0"), parse_address("::"))  # noqa: S104 -- a delegation may name any of ours
    return tuple(
        Endpoint(address, choice.dns_port) for address in ((choice.address,) if choice.address else anywhere)
    )


def _is_ours(address: Address) -> bool:
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind((str(address), 0))
        except OSError:
            return False
    return True


async def _sink_addresses(domain: str, resolver: Resolver) -> tuple[Address, ...]:
    return tuple(address for _, addresses in await _exchangers(domain, resolver) for address in addresses)


async def hosts_leading_to(
    addresses: tuple[Address, ...], domain: str, resolver: Resolver
) -> tuple[str, ...]:
    """The names of the domain's mail exchangers that lead to these addresses and nowhere else."""
    return tuple(
        host for host, found in await _exchangers(domain, resolver) if found and set(found) <= set(addresses)
    )


async def _exchangers(domain: str, resolver: Resolver) -> Sequence[tuple[str, Sequence[Address]]]:
    """The domain's mail exchangers with their addresses; none of them if the DNS can't tell."""
    try:
        return [(host, await resolver.addresses(host)) for host in await resolver.exchanges(domain)]
    except ResolveError:
        return []
