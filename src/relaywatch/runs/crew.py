"""Who checks hosts for a run: its own process, and worker processes beside it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import subprocess
import sys
from collections.abc import Coroutine
from itertools import count
from typing import Any, Protocol, Self

from relaywatch.model.evidence import Arrival
from relaywatch.model.places import Address, Endpoint
from relaywatch.model.tokens import Token
from relaywatch.targets.permissions import Permission
from relaywatch.targets.scope import LOOPBACK

from .admission import Admission
from .hosts import Host
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
from .reporting import TargetReport
from .sinks import OpenedSink
from .workshop import Workshop, broken_reports

_WORTH_IT = 100
"""Hosts that this process begins to check by itself, before others are started: of a short list it does all."""
_TRIES = 2
"""Workers that may die of one host."""
_MOST_DEATHS = 20
"""Workers that may die in one run."""
_END_SECONDS = 10.0
"""For a worker to end once its run has hung up."""
_log = logging.getLogger(__name__)


class Crew(Protocol):
    """Whoever checks hosts."""

    async def check(self, host: Host, permission: Permission) -> list[TargetReport]:
        """Check one host, and give a report for each weakness that was looked for."""


class WorkerDiedError(Exception):
    """The worker is gone that had the job."""


class WorkerCrew:
    """The run's own process and, of a long list, workers; a context manager.

    The run's process keeps what there is but once: the list, the permissions, the sink, and who has what. A worker
    has an engine of its own. They share the paces and the counts of messages, so that all together keep to them.
    What a worker had not told of when it died is checked anew by another.
    """

    def __init__(self, workshop: Workshop) -> None:
        self._own = workshop
        self._numbers = count()
        self._begun = 0
        self._deaths = 0
        self._workers: list[Worker] = []
        self._starting = asyncio.Lock()

    async def __aenter__(self) -> Self:
        self._own.board.hear = self._tell_of
        return self

    async def __aexit__(self, *_: object) -> None:
        self._own.board.hear = None
        for worker in self._workers:
            worker.end()
        await asyncio.gather(*(worker.ended for worker in self._workers))

    def interrupt(self) -> None:
        """Have the workers end what they are at with what they have."""
        for worker in self._workers:
            worker.channel.send(Interrupt())

    async def check(self, host: Host, permission: Permission) -> list[TargetReport]:
        """Check one host, here or in a worker."""
        self._begun += 1
        if self._begun <= _WORTH_IT:
            return await self._own.check(host, permission)
        async with self._own.turns.at(host.places):
            for _ in range(_TRIES):
                worker = await self._free_worker()
                if worker is None:
                    break
                with contextlib.suppress(WorkerDiedError):
                    sink = await self._own.sink_facing(host)
                    return await worker.check(next(self._numbers), host, permission, sink)
            return broken_reports(host, self._own.probes, WorkerDiedError("the workers that checked it died"))

    async def _free_worker(self) -> Worker | None:
        """The worker that has least to do; those that are missing are started first, unless too many have died."""
        async with self._starting:
            self._deaths += sum(worker.is_gone for worker in self._workers)
            self._workers = [worker for worker in self._workers if not worker.is_gone]
            while len(self._workers) < self._own.settings.workers and self._deaths < _MOST_DEATHS:
                self._workers.append(await Worker.start(self._own))
        return min(self._workers, key=lambda worker: worker.load, default=None)

    def _tell_of(self, arrival: Arrival) -> None:
        for worker in self._workers:
            worker.channel.send(Arrived(arrival))


class Worker:
    """A worker process, from here."""

    def __init__(self, own: Workshop, process: subprocess.Popen[bytes], channel: Channel) -> None:
        self._own, self._process, self.channel = own, process, channel
        self._jobs: dict[int, tuple[Host, Permission, asyncio.Future[list[TargetReport]]]] = {}
        self._sinks: dict[int, OpenedSink] = {}
        self._ports: set[Token] = set()
        self._errands: set[asyncio.Task[None]] = set()
        self.is_gone = False
        self.ended = asyncio.create_task(self._listen())

    @classmethod
    async def start(cls, own: Workshop) -> Worker:
        """Start a process and tell it what it needs to know."""
        ours, theirs = socket.socketpair()
        buckets, counts = own.pacing.buckets.share(), own.allowance.counts.share()
        command = [sys.executable, "-m", "relaywatch.runs.worker", str(theirs.fileno())]
        process = subprocess.Popen(  # noqa: S603, ASYNC220 -- our own program, and it returns at once
            command,
            pass_fds=(theirs.fileno(), buckets, counts),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        theirs.close()
        channel = Channel(*await asyncio.open_connection(sock=ours))
        channel.send(Begin(settings=own.settings, buckets=buckets, counts=counts))
        if own.interruption.is_set:
            channel.send(Interrupt())
        return cls(own, process, channel)

    @property
    def load(self) -> int:
        """How many hosts it is at."""
        return len(self._jobs)

    async def check(
        self, number: int, host: Host, permission: Permission, sink: OpenedSink
    ) -> list[TargetReport]:
        """Have it check a host.

        :raises WorkerDiedError: if it is gone before it has told.
        """
        if self.is_gone:
            raise WorkerDiedError
        told: asyncio.Future[list[TargetReport]] = asyncio.get_running_loop().create_future()
        self._jobs[number] = host, permission, told
        self._sinks[number] = sink
        self.channel.send(Job(number, host, _number_of(permission, self._own), sink.lent()))
        try:
            return await told
        finally:
            self._jobs.pop(number, None)
            self._sinks.pop(number, None)

    def end(self) -> None:
        """Let it go: it ends when we hang up."""
        self.channel.close()

    async def _listen(self) -> None:
        while (message := await self.channel.receive()) is not None:
            self._take(message)
        self.is_gone = True
        self.channel.close()
        for _, _, told in self._jobs.values():
            if not told.done():
                told.set_exception(WorkerDiedError())
        for token in self._ports:
            self._own.sinks.close_port(token)
        for errand in self._errands:
            errand.cancel()
        code = await asyncio.to_thread(self._end_process)
        if code:
            _log.error("a worker ended with %s", code)

    def _end_process(self) -> int:
        """Wait until the process is gone; it has hung up, or we have."""
        try:
            return self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def _take(self, message: object) -> None:
        match message:
            case Done(number, reports) if number in self._jobs:
                told = self._jobs[number][2]
                if not told.done():
                    told.set_result(reports)
            case Told(event):
                self._own.tell(event)
            case CatchUp(number):
                self._run(self._catch_up(number))
            case OpenPort(job, token, address) if job in self._jobs:
                self._open_port(job, token, address)
            case ClosePort(token):
                self._ports.discard(token)
                self._own.sinks.close_port(token)
            case _:
                pass  # of a job that was given up meanwhile

    async def _catch_up(self, number: int) -> None:
        """Let all sinks tell what they have; what they told has gone out by then."""
        trouble = ""
        for catch_up, sink in {sink.catch_up: sink for sink in self._sinks.values()}.items():
            try:
                await catch_up()
            except Exception as error:  # noqa: BLE001 -- who waits for this must have an answer
                _log.error("asking our sink went wrong", exc_info=error)
                trouble = trouble or f"{type(error).__name__}: {error}"
            trouble = trouble or sink.trouble()
        self.channel.send(CaughtUp(number, trouble))

    def _open_port(self, job: int, token: Token, address: Address) -> None:
        host, permission, _ = self._jobs[job]
        admits = Admission(host, permission, self._own.settings.exclusions, address)
        self._ports.add(token)
        port = self._own.sinks.open_port(token, address, admits)

        def opened(done: asyncio.Future[Endpoint | None]) -> None:
            place = None if done.cancelled() or done.exception() else done.result()
            self.channel.send(PortOpened(token, place))

        port.add_done_callback(opened)

    def _run(self, errand: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(errand)
        self._errands.add(task)
        task.add_done_callback(self._errands.discard)


def _number_of(permission: Permission, own: Workshop) -> int | None:
    return None if permission is LOOPBACK else own.settings.scope.permissions.index(permission)
