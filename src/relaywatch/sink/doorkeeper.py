"""Who may come in, and for how long: counts connections, and looks at the clock for all of them at once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine
from enum import Enum
from ipaddress import ip_network
from typing import Any, Protocol

from relaywatch.model.places import Address

from .counters import Counters
from .settings import Quota

_SWEEP = 1.0
"""Seconds between looks at the clock."""


class Refusal(Enum):
    """Why a connection isn't let in."""

    TOO_MANY = "too many connections"
    TOO_MANY_FROM_YOU = "too many connections from you"


class Guest(Protocol):
    """A connection as the doorkeeper sees it."""

    def is_overdue(self, now: float, *, idle: float, session: float) -> bool:
        """Whether the peer has had its time."""

    def time_out(self) -> None:
        """Hang up, with a word if there is one."""

    def drop(self) -> None:
        """Hang up at once."""


class Doorkeeper:
    """All connections of one kind, and the work that they wait for."""

    def __init__(self, quota: Quota, counters: Counters) -> None:
        self._quota = quota
        self._counters = counters
        self._guests: set[Guest] = set()
        self._sources: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._sweeper: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to watch the clock."""
        self._sweeper = asyncio.get_running_loop().call_later(_SWEEP, self._sweep)

    async def stop(self) -> None:
        """Drop all connections, and wait for what is being written down."""
        if self._sweeper:
            self._sweeper.cancel()
        for guest in list(self._guests):
            guest.drop()
        while self._tasks:
            await asyncio.wait(self._tasks)

    def enter(self, guest: Guest, peer: Address) -> Refusal | None:
        """Let a connection in, or say why not."""
        self._counters.connections += 1
        source = source_of(peer)
        if len(self._guests) >= self._quota.connections:
            refusal = Refusal.TOO_MANY
        elif self._sources[source] >= self._quota.per_source:
            refusal = Refusal.TOO_MANY_FROM_YOU
        else:
            self._guests.add(guest)
            self._sources[source] += 1
            self._counters.open_connections += 1
            return None
        self._counters.turned_away += 1
        return refusal

    def leave(self, guest: Guest, peer: Address) -> None:
        """Forget a connection; those that were never let in are none."""
        if guest not in self._guests:
            return
        self._guests.remove(guest)
        source = source_of(peer)
        self._sources[source] -= 1
        if not self._sources[source]:
            del self._sources[source]
        self._counters.open_connections -= 1

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Carry on work that a connection waits for, even if the connection goes."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        is_busy = len(self._guests) > self._quota.connections / 2
        idle = self._quota.idle_when_busy if is_busy else self._quota.idle
        for guest in list(self._guests):
            if guest.is_overdue(loop.time(), idle=idle, session=self._quota.session):
                self._counters.timed_out += 1
                guest.time_out()
        self._sweeper = loop.call_later(_SWEEP, self._sweep)


def source_of(address: Address) -> str:
    """What counts as one source: an IPv4 address, or an IPv6 /64, which is what one customer gets."""
    return str(ip_network((address, 64), strict=False)) if address.version == 6 else str(address)
