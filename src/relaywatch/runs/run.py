"""The run: permission first, then names, sink, doors, arrivals, judgement, lines."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from datetime import UTC, datetime

from relaywatch.engine.arrivals import ArrivalBoard
from relaywatch.engine.driver import Engine
from relaywatch.engine.resolve import Resolver
from relaywatch.model.errors import InterruptedRunError, UsageError
from relaywatch.model.evidence import Weakness
from relaywatch.model.places import Endpoint
from relaywatch.model.verdicts import Judgement, Reason, Verdict
from relaywatch.script.probe import Probe, load_probes
from relaywatch.sink.serve import raise_file_limit
from relaywatch.targets.lists import BadTarget, Entry
from relaywatch.targets.parse import parse_target

from .allowance import Allowance
from .course import weaknesses_of
from .crew import Crew, WorkerCrew
from .gate import Gate, IsDone, Part, Permitted, nothing_is_done
from .interruption import Interruption
from .lines import untested_line
from .naming import Named, Unresolved, find_hosts
from .pacing import Pacing
from .reporting import EventKind, RunEvent, TargetReport
from .settings import RunSettings
from .sinks import OpenedSink, Sinks
from .workshop import Workshop

Tell = Callable[[RunEvent], None]
Coming = Permitted | TargetReport
"""What the list comes to: a host to check, or the report of what can't be."""


class Run:
    """Checks any number of targets, each behind its permission; one for a command.

    ``tell`` hears of everything as it happens. ``is_done`` says of an address whether it needs no check at a port (or,
    if that is nothing, at the usual ones), since an earlier run has made it. `interrupt` makes the run end soon, with what it has.
    """

    def __init__(
        self,
        settings: RunSettings,
        tell: Tell = lambda _event: None,
        *,
        is_done: IsDone = nothing_is_done,
    ) -> None:
        self._is_done = is_done
        self._settings = settings
        self._tell = tell
        self._probes = choose_probes(settings.probes)
        self._engine: Engine | None = None
        self._interruption = Interruption()
        self._workers: WorkerCrew | None = None

    @property
    def is_interrupted(self) -> bool:
        """Whether the run was told to stop."""
        return self._interruption.is_set

    def interrupt(self) -> None:
        """Stop opening targets, and end what is under way with what it has."""
        self._interruption.set()
        if self._engine is not None:
            self._engine.interrupt()
        if self._workers is not None:
            self._workers.interrupt()

    async def check(self, entries: Iterable[Entry]) -> AsyncIterator[TargetReport]:
        """Check the targets and give a report for each and each weakness, as they end.

        The entries are read in a thread of their own, so that they may come as slowly as they like. Those
        that can't be read or that no permission covers are told as events, and the rest goes on.

        :raises UsageError: if the sink that the user named can't be had.
        """
        raise_file_limit()
        resolver = resolver_of(self._settings)
        board = ArrivalBoard()
        self._engine = Engine(self._settings.limits, sources=self._settings.sources)
        if self.is_interrupted:
            self._engine.interrupt()
        async with contextlib.AsyncExitStack() as stack:
            coming = await stack.enter_async_context(
                contextlib.aclosing(self._permitted(find_hosts(entries, resolver)))
            )
            while isinstance(first := await self._next(coming), TargetReport):
                yield first  # what can't be tested needs no sink
            if first is None:
                return
            sinks = await self._opened_sinks(stack, board, resolver)
            if sinks is None:
                return
            workshop = self._workshop(self._engine, board, resolver, sinks)
            # Closed before the sink is, if whoever listens stops doing so.
            crew = await stack.enter_async_context(self._crew(workshop))
            reports = await stack.enter_async_context(contextlib.aclosing(self._all(first, coming, crew)))
            async for report in reports:
                yield report

    @contextlib.asynccontextmanager
    async def _crew(self, workshop: Workshop) -> AsyncIterator[Crew]:
        """Who checks: this process, and others beside it once the list is long enough to be worth them."""
        if self._settings.workers == 1:
            yield workshop
            return
        async with WorkerCrew(workshop) as crew:
            self._workers = crew
            yield crew

    async def _opened_sinks(
        self, stack: contextlib.AsyncExitStack, board: ArrivalBoard, resolver: Resolver
    ) -> Sinks | None:
        """Open the sinks for as long as the stack lasts; nothing if the run was told to stop meanwhile."""
        settings = self._settings
        wants_canaries = Weakness.OPEN_PROXY in weaknesses_of(self._probes)
        sinks = Sinks(
            board,
            resolver,
            settings.identity,
            sources=settings.sources,
            tell=self._tell_of_sink,
            wants_canaries=wants_canaries,
        )
        opening = stack.enter_async_context(sinks.opened(settings.sink))
        try:
            return await self._interruption.within(opening)
        except InterruptedRunError:
            return None

    def _tell_of_sink(self, sink: OpenedSink) -> None:
        kind = EventKind.SINK_PROVED if sink.is_proved else EventKind.SINK_UNPROVED
        self._tell(RunEvent(kind=kind, detail=sink.detail))
        if sink.canaries.detail:
            self._tell(RunEvent(kind=EventKind.CANARIES_UNPROVED, detail=sink.canaries.detail))

    def _workshop(self, engine: Engine, board: ArrivalBoard, resolver: Resolver, sinks: Sinks) -> Workshop:
        return Workshop(
            settings=self._settings,
            engine=engine,
            board=board,
            resolver=resolver,
            pacing=Pacing(self._settings.rates),
            sinks=sinks,
            tell=self._tell,
            probes=self._probes,
            allowance=Allowance(self._settings.messages),
            interruption=self._interruption,
        )

    async def _all(
        self, first: Permitted, coming: AsyncGenerator[Coming, None], crew: Crew
    ) -> AsyncGenerator[TargetReport, None]:
        """Keep as many targets under way as the run allows, and give reports as they come."""
        ended: asyncio.Queue[asyncio.Task[list[TargetReport]] | TargetReport | None] = asyncio.Queue()
        under_way: set[asyncio.Task[list[TargetReport]]] = set()
        room = asyncio.Semaphore(self._settings.concurrency)

        async def feed(one: Coming | None) -> None:
            while one is not None:
                if isinstance(one, TargetReport):
                    ended.put_nowait(one)
                else:
                    await room.acquire()
                    if self.is_interrupted:
                        return
                    task = asyncio.create_task(crew.check(*one))
                    under_way.add(task)
                    task.add_done_callback(ended.put_nowait)
                one = await anext(coming, None)

        feeding = asyncio.create_task(self._unless_told_to_stop(feed(first)))
        feeding.add_done_callback(lambda _: ended.put_nowait(None))
        try:
            while under_way or not feeding.done() or not ended.empty():
                one = await ended.get()
                if isinstance(one, TargetReport):
                    yield one
                elif one is not None:
                    under_way.discard(one)
                    for report in one.result():
                        yield report
                    room.release()  # whoever writes slowly holds us up, and nothing is begun that nobody wants
            feeding.result()
        finally:
            ending = (*under_way, feeding)
            for task in ending:
                task.cancel()
            await asyncio.gather(*ending, return_exceptions=True)
            # The loop closes a connection that was still being opened in its next turn.
            await asyncio.sleep(0)

    async def _unless_told_to_stop(self, work: Awaitable[None]) -> None:
        with contextlib.suppress(InterruptedRunError):
            await self._interruption.within(work)

    async def _next(self, coming: AsyncGenerator[Coming, None]) -> Coming | None:
        """What comes next; nothing at the end, or once the run was told to stop."""
        try:
            return await self._interruption.within(anext(coming, None))
        except InterruptedRunError:
            return None

    async def _permitted(self, batches: AsyncGenerator[list[Named], None]) -> AsyncGenerator[Coming, None]:
        """Let through what a permission covers and nobody excluded, with that permission."""
        settings = self._settings
        gate = Gate(
            settings.scope, settings.exclusions, self._skip, seed=settings.seed, is_done=self._is_done
        )
        async with contextlib.aclosing(batches):
            async for batch in batches:
                parts: list[Part] = []
                for one in batch:
                    if isinstance(one, BadTarget):
                        self._skip(str(one), one.text, 1)
                    elif isinstance(one, Unresolved):
                        for weakness in weaknesses_of(self._probes):
                            yield _unresolved(one, weakness)
                    else:
                        parts += gate.permitted(one)
                for permitted in gate.mixed(parts):
                    yield permitted

    def _skip(self, detail: str, target: str, count: int) -> None:
        self._tell(RunEvent(kind=EventKind.SKIPPED, target=target, detail=detail, count=count))


def choose_probes(names: Iterable[str]) -> tuple[Probe, ...]:
    """The probes of those names, all if none is named.

    :raises UsageError: if there is none of a name.
    """
    known = load_probes()
    wanted = tuple(names) or tuple(known)
    for name in wanted:
        if name not in known:
            raise UsageError(f"no probe is called {name!r}; there are: {', '.join(sorted(known))}")
    return tuple(known[name] for name in wanted)


def resolver_of(settings: RunSettings) -> Resolver:
    """A resolver that asks the name servers of the settings, or the system's.

    :raises UsageError: if one is no address.
    """
    return Resolver(_nameservers(settings.nameservers))


def _nameservers(texts: Iterable[str]) -> tuple[Endpoint, ...]:
    return tuple(map(_nameserver, texts))


def _nameserver(text: str) -> Endpoint:
    """Read ``address`` or ``address:port``, brackets round an IPv6 address that has a port."""
    try:
        target = parse_target(text)
    except ValueError as error:
        raise UsageError(f"name server {text!r}: {error}") from None
    if target.address is None:
        raise UsageError(f"name server {text!r}: not an address")
    return Endpoint(target.address, target.port or 53)


def _unresolved(one: Unresolved, weakness: Weakness) -> TargetReport:
    judgement = Judgement(weakness=weakness, verdict=Verdict.INCONCLUSIVE, reasons=(Reason.UNRESOLVED,))
    line = untested_line(
        judgement, target=one.target.text, name=one.target.name, error=one.reason, began=datetime.now(UTC)
    )
    return TargetReport(line=line, judgement=judgement)
