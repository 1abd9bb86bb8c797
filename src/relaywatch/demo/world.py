"""The loopback world: starts everybody who lives there, and tells where."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from relaywatch.model.errors import UsageError
from relaywatch.model.places import Endpoint

from .population import POPULATION, Inhabitant, Role, Settings
from .server import LOOPBACK, Listener, MailServer, bind


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where one of the world's servers answers: ``host`` is how a user would name it."""

    name: str
    host: str
    port: int
    addresses: tuple[str, ...]
    settings: Settings = field(default_factory=Settings)
    role: Role = Role.MAIL


class World:
    """All servers of the population, or those named in ``only``; an async context manager.

    ``next_hop`` takes whatever is relayed; without one, mail goes to the address literal behind the
    at sign, port 25. ``ports`` fixes ports by name; the others are free ones. Where there is no IPv6,
    whoever shows a difference between the families is left out.

    :raises UsageError: if the next hop isn't on loopback, or a name is unknown.
    """

    def __init__(
        self,
        next_hop: Endpoint | None = None,
        *,
        only: Iterable[str] | None = None,
        ports: Mapping[str, int] | None = None,
        hosts: tuple[str, ...] = LOOPBACK,
    ) -> None:
        if next_hop is not None and not next_hop.address.is_loopback:
            raise UsageError(f"the loopback world delivers to loopback only, not to {next_hop.address}")
        self._inhabitants = _choose(only)
        self._next_hop, self._ports, self._hosts = next_hop, dict(ports or {}), hosts
        self._stack = contextlib.AsyncExitStack()
        self.places: Mapping[str, Place] = {}
        """By name, once entered."""

    def __getitem__(self, name: str) -> Place:
        return self.places[name]

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as stack:
            settled = [(one, await self._settle(stack, one)) for one in self._inhabitants]
            self.places = {one.name: place for one, place in settled if _can_be_shown(one, place)}
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def _settle(self, stack: contextlib.AsyncExitStack, one: Inhabitant) -> Place:
        port = self._ports.get(one.name, 0)
        if one.policy is not None:
            server = MailServer(one.policy, self._next_hop, port=port, hosts=self._hosts)
            await stack.enter_async_context(server)
            return _place(one, server.port, server.hosts)
        if one.handler is not None:
            listener = Listener(one.handler, port=port, hosts=self._hosts)
            await stack.enter_async_context(listener)
            return _place(one, listener.port, listener.hosts)
        return _place(one, *_keep_dead(stack, self._hosts, port))


@contextlib.asynccontextmanager
async def serve_world(
    next_hop: Endpoint | None = None, *, first_port: int | None = None, only: Iterable[str] | None = None
) -> AsyncIterator[World]:
    """Keep the world up, on free ports or on ports in a row from ``first_port``, while the caller lists it."""
    names = [one.name for one in _choose(only)]
    ports = {} if first_port is None else {name: first_port + index for index, name in enumerate(names)}
    async with World(next_hop, only=names, ports=ports) as world:
        yield world


def _choose(only: Iterable[str] | None) -> tuple[Inhabitant, ...]:
    if only is None:
        return POPULATION
    by_name = {one.name: one for one in POPULATION}
    names = tuple(only)
    if unknown := [name for name in names if name not in by_name]:
        raise UsageError(f"nobody in the loopback world is called {', '.join(unknown)}")
    return tuple(by_name[name] for name in names)


def _place(one: Inhabitant, port: int, addresses: tuple[str, ...]) -> Place:
    host = "localhost" if one.both_families_by_name else addresses[0]
    return Place(
        name=one.name, host=host, port=port, addresses=addresses, settings=one.settings, role=one.role
    )


def _can_be_shown(one: Inhabitant, place: Place) -> bool:
    """Whether the machine has what it takes: a difference between families needs two of them."""
    return len(place.addresses) > 1 or not one.both_families_by_name


def _keep_dead(
    stack: contextlib.AsyncExitStack, hosts: tuple[str, ...], port: int
) -> tuple[int, tuple[str, ...]]:
    """Hold a port without listening, so that it answers with a reset and nobody else takes it."""
    held: list[socket.socket] = bind(hosts, port)
    for one in held:
        stack.callback(one.close)
    return held[0].getsockname()[1], tuple(str(one.getsockname()[0]) for one in held)
