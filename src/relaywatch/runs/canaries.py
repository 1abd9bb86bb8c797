"""The canaries of the run's sink: opened beside its mailbox, proven, and shown to each target as it sees them."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass, field, replace

from relaywatch.model.evidence import Arrival
from relaywatch.model.places import Address, Endpoint, parse_address
from relaywatch.model.tokens import Mint, Token
from relaywatch.script.brief import CanaryPlaces
from relaywatch.sink.client import RemoteSink
from relaywatch.sink.errors import ListenError, NoCanariesError
from relaywatch.sink.prove_canaries import prove_canaries
from relaywatch.sink.server import Sink

from .reach import Reach, can_reach, reach_of
from .settings import LocalSink

HIGH_PORT = 40025
"""Where a canary listens that needs no privilege, unless another program does; then wherever the system lets it."""
SUBMISSION_PORT = 587
_LOCALHOST = frozenset({parse_address("127.0.0.1"), parse_address("::1")})
_SPARE = (parse_address("127.0.0.2"), parse_address("127.0.0.3"))
"""What we may come from beside, to a target on our own loopback."""

AwaitToken = Callable[[Token], Awaitable[Arrival]]


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedCanaries:
    """The canaries of one sink, and what people should know of them, if anything."""

    places: CanaryPlaces = field(default_factory=CanaryPlaces)
    detail: str = ""


async def open_canaries(
    sink: Sink, choice: LocalSink, addresses: Iterable[Address], names: Iterable[str]
) -> CanaryPlaces:
    """Have the sink's canaries listen at these addresses of ours, as far as they can; empty if none can.

    ``names`` are those that lead to the addresses, for proxies that are asked by name.
    """
    ours = tuple(addresses)
    try:
        await _listen_high(sink, ours)
    except ListenError:
        return CanaryPlaces()
    with contextlib.suppress(ListenError):
        await sink.listen_canaries_at(
            Endpoint(address, port)
            for port in choice.canary_ports
            if port != SUBMISSION_PORT
            for address in ours
        )
    if SUBMISSION_PORT in choice.canary_ports:
        with contextlib.suppress(ListenError):
            await sink.listen_smtp_also_at(Endpoint(address, SUBMISSION_PORT) for address in ours)
    with contextlib.suppress(ListenError):
        sink.reserve_dead_port(*ours)
    return sink.canary_places(*ours, name=_name_for(choice, ours, names))


async def _listen_high(sink: Sink, addresses: tuple[Address, ...]) -> None:
    """Listen at the usual high port, or at any; over UDP at the same number if that is to be had."""
    try:
        got = await sink.listen_canaries_at(Endpoint(address, HIGH_PORT) for address in addresses)
    except ListenError:
        got = await sink.listen_canaries_at([Endpoint(addresses[0], 0)])
        with contextlib.suppress(ListenError):  # the same port for each address, since places name it once
            await sink.listen_canaries_at(Endpoint(address, got[0].port) for address in addresses[1:])
    port = got[0].port
    try:
        await sink.listen_datagrams_at(Endpoint(address, port) for address in addresses)
    except ListenError:
        with contextlib.suppress(ListenError):
            await sink.listen_datagrams_at(Endpoint(address, 0) for address in addresses)


def _name_for(choice: LocalSink, addresses: tuple[Address, ...], names: Iterable[str]) -> str | None:
    if choice.canary_name is not None:
        return choice.canary_name
    if set(addresses) <= _LOCALHOST:
        return "localhost"
    return next(iter(names), None)


async def proved(places: CanaryPlaces, key: bytes, await_token: AwaitToken) -> OpenedCanaries:
    """Show that the canaries can be reached by their public addresses; those that can't are kept as unproved."""
    if not places.addresses:
        return OpenedCanaries(detail="no canaries that proxies could be led to")
    token = Mint(key, secrets.token_bytes(16)).token("canary")
    proof = await prove_canaries(places, key, token, await_token)
    if proof.is_proven:
        return OpenedCanaries(places=proof.places, detail=proof.detail)
    return OpenedCanaries(places=replace(places, is_proved=False), detail=proof.detail)


async def remote_canaries(remote: RemoteSink) -> OpenedCanaries:
    """The canaries of a sink elsewhere, as it says."""
    try:
        places = await remote.canaries()
    except NoCanariesError as error:
        return OpenedCanaries(detail=str(error))
    return OpenedCanaries(places=places)


def facing(
    places: CanaryPlaces,
    targets: tuple[Address, ...],
    second_sources: Iterable[Address],
    sources: Collection[Address | None] = (),
) -> CanaryPlaces:
    """The canaries as these addresses of one target see them: those that mean our host there.

    ``sources`` are those that we come from anyway: none of them is a second one.
    """
    others = tuple(address for address in (*_SPARE, *second_sources) if address not in {*targets, *sources})
    addresses = tuple(address for address in places.addresses if can_reach(targets, address))
    name = places.name if len(addresses) == len(places.addresses) else None
    return replace(
        places,
        addresses=addresses,
        name=name,
        seen_from=places.seen_from if _is_far(targets) else (),
        second_sources=_second_sources(targets, others),
    )


def _is_far(targets: tuple[Address, ...]) -> bool:
    """Whether none of them may go out by the same address as we do, as a neighbour behind our NAT does."""
    return min(map(reach_of, targets)) is Reach.EVERYWHERE


def _second_sources(targets: tuple[Address, ...], others: tuple[Address, ...]) -> tuple[Address, ...]:
    """Another address of ours for each of the target's families: on loopback of IPv4 there is always one."""
    of_families: dict[int, Address] = {}
    for target in targets:
        fitting = (a for a in others if (a.version, a in _SPARE) == (target.version, target.is_loopback))
        if (address := next(fitting, None)) is not None:
            of_families.setdefault(target.version, address)
    return tuple(of_families.values())


def ported(
    sink: Sink | None, token: Token, address: Address, admits: Callable[[Address], bool]
) -> asyncio.Future[Endpoint | None]:
    """A port of the token's own, for these peers, at a sink in this process; nothing if there is none to be had."""

    async def open_it() -> Endpoint | None:
        if sink is None:
            return None
        try:
            return await sink.open_port(token, address, admits=admits)
        except ListenError:
            return None

    return asyncio.ensure_future(open_it())
