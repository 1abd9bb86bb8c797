"""A worker process of a run: has an engine, and checks the hosts that it is told to; started by `crew`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import count

from relaywatch.engine.arrivals import ArrivalBoard
from relaywatch.engine.driver import Engine
from relaywatch.engine.loop import new_event_loop
from relaywatch.engine.pace import Buckets
from relaywatch.model.places import Address, Endpoint
from relaywatch.model.tokens import Token
from relaywatch.targets.scope import LOOPBACK

from .admission import Admission
from .allowance import Allowance, Counts
from .hosts import Place
from .interruption import Interruption
from .messages import (
    Arrived,
    Begin,
    CatchUp,
    CaughtUp,
    Channel,
    ClosePort,
    Done,
    Interrupt,
    Job,
    OpenPort,
    PortOpened,
    Told,
)
from .pacing import Pacing
from .reporting import EventKind, RunEvent
from .run import choose_probes, resolver_of
from .sinks import OpenedSink
from .workshop import Workshop

_TOLD = frozenset({EventKind.MAIL_WITHHELD, EventKind.SECOND_SOURCE_UNUSED})
"""What whoever watches hears of; the rest is noise of many targets at once."""


class LentSinks:
    """The run's sinks, as a worker reaches them: through the run's process."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._numbers = count()
        self._sinks: dict[tuple[Address, ...], OpenedSink] = {}
        self._jobs: dict[tuple[Place, ...], int] = {}
        self._hosts_at: Counter[tuple[Address, ...]] = Counter()
        """How many hosts are under way at the same addresses, each with ports of its own."""
        self._ports: dict[Token, asyncio.Future[Endpoint | None]] = {}
        self._asked: dict[int, asyncio.Future[str]] = {}
        self._next: asyncio.Future[str] | None = None
        self._trouble = ""

    @contextlib.contextmanager
    def lent(self, job: Job) -> Iterator[None]:
        """Have the job's sink for its host."""
        sink = replace(job.sink, trouble=lambda: self._trouble, catch_up=self._catch_up)
        addresses, places = job.host.addresses, job.host.places
        self._sinks[addresses], self._jobs[places] = sink, job.number
        self._hosts_at[addresses] += 1
        try:
            yield
        finally:
            del self._jobs[places]
            self._hosts_at[addresses] -= 1
            if not self._hosts_at[addresses]:
                del self._sinks[addresses], self._hosts_at[addresses]

    async def facing(self, targets: tuple[Address, ...]) -> OpenedSink:
        """The sink that a target at these addresses is asked to relay to."""
        return self._sinks[targets]

    def open_port(self, token: Token, address: Address, admits: Admission) -> asyncio.Future[Endpoint | None]:
        """A port of our sink's for this token alone: the run's process knows whom to admit."""
        port: asyncio.Future[Endpoint | None] = asyncio.get_running_loop().create_future()
        self._ports[token] = port
        self._channel.send(OpenPort(self._jobs[admits.host.places], token, address))
        return port

    def close_port(self, token: Token) -> None:
        """Close that port."""
        self._ports.pop(token, None)
        self._channel.send(ClosePort(token))

    def opened(self, message: PortOpened) -> None:
        """The run's process tells where the port is."""
        port = self._ports.get(message.token)
        if port is not None and not port.done():
            port.set_result(message.place)

    def caught_up(self, message: CaughtUp) -> None:
        """The run's process has told of everything that had arrived."""
        self._trouble = message.trouble
        asked = self._asked.pop(message.number, None)
        if asked is not None and not asked.done():
            asked.set_result(message.trouble)

    async def _catch_up(self) -> None:
        """Ask once for all hosts that want it in the same moment."""
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_soon(self._ask)
        await asyncio.shield(self._next)

    def _ask(self) -> None:
        assert self._next is not None  # noqa: S101 -- made before
        number = next(self._numbers)
        self._asked[number], self._next = self._next, None
        self._channel.send(CatchUp(number))


class _Work:
    def __init__(self, channel: Channel, begin: Begin) -> None:
        self._channel = channel
        settings = begin.settings
        self._scope = settings.scope
        self._board = ArrivalBoard()
        self._sinks = LentSinks(channel)
        self._engine = Engine(settings.limits, sources=settings.sources)
        self._interruption = Interruption()
        self._under_way: set[asyncio.Task[None]] = set()
        self._workshop = Workshop(
            settings=settings,
            engine=self._engine,
            board=self._board,
            resolver=resolver_of(settings),
            pacing=Pacing(settings.rates, Buckets(fd=begin.buckets)),
            sinks=self._sinks,
            tell=self._tell,
            probes=choose_probes(settings.probes),
            allowance=Allowance(settings.messages, counts=Counts(fd=begin.counts)),
            interruption=self._interruption,
        )

    def take(self, message: object) -> None:
        """Do what the run's process says."""
        match message:
            case Job():
                task = asyncio.create_task(self._check(message))
                self._under_way.add(task)
                task.add_done_callback(self._under_way.discard)
            case Arrived(arrival):
                self._board.note(arrival)
            case CaughtUp():
                self._sinks.caught_up(message)
            case PortOpened():
                self._sinks.opened(message)
            case Interrupt():
                self._interruption.set()
                self._engine.interrupt()
            case _:
                raise TypeError(f"a message that a worker gets no sense of: {message!r}")

    async def _check(self, job: Job) -> None:
        permission = LOOPBACK if job.permission is None else self._scope.permissions[job.permission]
        with self._sinks.lent(job):
            self._channel.send(Done(job.number, await self._workshop.check(job.host, permission)))
        await self._channel.drained()

    def _tell(self, event: RunEvent) -> None:
        if event.kind in _TOLD:
            self._channel.send(Told(event))


async def work(sock: socket.socket) -> None:
    """Check what is asked for, until the run's process hangs up."""
    channel = Channel(*await asyncio.open_connection(sock=sock))
    begin = await channel.receive()
    if not isinstance(begin, Begin):
        return
    at_work = _Work(channel, begin)
    while (message := await channel.receive()) is not None:
        at_work.take(message)


def main(fd: int) -> None:
    """Be a worker. Signals are the run's process's to heed: it tells us what to do, and we end with it."""
    logging.basicConfig(level=logging.ERROR)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    with asyncio.Runner(loop_factory=new_event_loop) as runner, socket.socket(fileno=fd) as sock:
        runner.run(work(sock))


if __name__ == "__main__":
    main(int(sys.argv[1]))
