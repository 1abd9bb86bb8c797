"""The run: permission first, then names, sink, doors, arrivals, judgement, lines."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from relaywatch.engine.arrivals import ArrivalBoard
from relaywatch.engine.driver import Engine
from relaywatch.engine.resolve import Resolver
from relaywatch.engine.vantage import judge_vantage, source_for
from relaywatch.model.errors import UsageError
from relaywatch.model.evidence import Weakness
from relaywatch.model.places import Address, Endpoint
from relaywatch.model.verdicts import Judgement, Reason, Verdict
from relaywatch.rules.judge import judge
from relaywatch.script.brief import Identity, Leave
from relaywatch.script.probe import Probe, load_probes
from relaywatch.sink.serve import raise_file_limit
from relaywatch.targets.lists import BadTarget, Entry
from relaywatch.targets.parse import parse_target
from relaywatch.targets.permissions import Permission
from relaywatch.targets.scope import LOOPBACK

from .lines import make_line, untested_line
from .naming import Host, Lore, Unresolved, find_hosts, gather_lore
from .pacing import Pacing
from .reporting import EventKind, RunEvent, TargetReport
from .settings import RunSettings
from .sinks import OpenedSink, opened_sink
from .target import Place, TargetRun, narrowed

Tell = Callable[[RunEvent], None]


class Run:
    """Checks any number of targets, each behind its permission; one for a command.

    ``tell`` hears of everything as it happens. `interrupt` makes the run end soon, with what it has.
    """

    def __init__(self, settings: RunSettings, tell: Tell = lambda _event: None) -> None:
        self._settings = settings
        self._tell = tell
        self._probes = choose_probes(settings.probes)
        self._engine: Engine | None = None
        self._is_interrupted = False

    @property
    def is_interrupted(self) -> bool:
        """Whether the run was told to stop."""
        return self._is_interrupted

    def interrupt(self) -> None:
        """Stop opening targets, and end what is under way with what it has."""
        self._is_interrupted = True
        if self._engine is not None:
            self._engine.interrupt()

    async def check(self, entries: Iterable[Entry]) -> AsyncIterator[TargetReport]:
        """Check the targets and give a report for each and each weakness, as they end.

        Entries that can't be read or that no permission covers are told as events, and the rest goes on.

        :raises UsageError: if the sink that the user named can't be had.
        """
        settings = self._settings
        raise_file_limit()
        resolver = Resolver(_nameservers(settings.nameservers))
        board = ArrivalBoard()
        self._engine = Engine(settings.limits, sources=settings.sources)
        if self._is_interrupted:
            self._engine.interrupt()
        hosts = self._permitted(find_hosts(entries, resolver))
        async for first in hosts:
            if not isinstance(first, TargetReport):
                break
            yield first  # what can't be tested needs no sink
        else:
            return
        towards = next((ours for a in first[0].addresses if (ours := source_for(a)) is not None), None)
        async with contextlib.AsyncExitStack() as stack:
            sink = await stack.enter_async_context(
                opened_sink(settings.sink, board, resolver, settings.identity, towards=towards)
            )
            kind = EventKind.SINK_PROVED if sink.is_proved else EventKind.SINK_UNPROVED
            self._tell(RunEvent(kind=kind, detail=sink.detail))
            workshop = _Workshop(
                settings=settings,
                engine=self._engine,
                board=board,
                resolver=resolver,
                pacing=Pacing(settings.rates),
                sink=sink,
                tell=self._tell,
                probes=self._probes,
            )
            # Closed before the sink is, if whoever listens stops doing so.
            reports = await stack.enter_async_context(contextlib.aclosing(self._all(first, hosts, workshop)))
            async for report in reports:
                yield report

    async def _all(
        self,
        first: _Permitted,
        rest: AsyncIterator[_Permitted | TargetReport],
        workshop: _Workshop,
    ) -> AsyncGenerator[TargetReport, None]:
        """Keep as many targets under way as the run allows, and give reports as they come."""
        under_way: set[asyncio.Task[list[TargetReport]]] = set()
        upcoming: _Permitted | TargetReport | None = first
        try:
            while upcoming is not None or under_way:
                while upcoming is not None and len(under_way) < self._settings.concurrency:
                    if self._is_interrupted:
                        upcoming = None
                        break
                    if isinstance(upcoming, TargetReport):
                        yield upcoming
                    else:
                        under_way.add(asyncio.create_task(workshop.check(*upcoming)))
                    upcoming = await anext(rest, None)
                if not under_way:
                    continue
                done, under_way = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    for report in task.result():
                        yield report
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)

    async def _permitted(
        self, named: AsyncIterator[Host | Unresolved | BadTarget]
    ) -> AsyncIterator[_Permitted | TargetReport]:
        """Let through what a permission covers and nobody excluded, with that permission."""
        async for one in named:
            if isinstance(one, BadTarget):
                self._skip(str(one), one.text)
            elif isinstance(one, Unresolved):
                for weakness in self._weaknesses():
                    yield _unresolved(one, weakness)
            elif (host := self._without_excluded(one)) is not None:
                for covered in self._covered(host):
                    yield covered

    def _covered(self, host: Host) -> Iterator[_Permitted]:
        """The host for each permission that covers an address of it; what none covers is skipped.

        That is one nearly always: but what is allowed at one address may not be at the other.
        """
        scope, today = self._settings.scope, datetime.now(UTC).date()
        shares: dict[Permission, list[Address]] = {}
        for address in host.addresses:
            permission = scope.permission_for(address, today, host.name)
            if permission is None:
                why = scope.explain_refusal(address, today, host.name)
                self._skip(f"{host.target.origin}: {why}", str(address))
            else:
                shares.setdefault(permission, []).append(address)
        for permission, addresses in shares.items():
            domains = (*host.local_domains, *permission.domains)
            yield replace(host, addresses=tuple(addresses), local_domains=domains), permission

    def _without_excluded(self, host: Host) -> Host | None:
        exclusions = self._settings.exclusions
        kept = tuple(address for address in host.addresses if address not in exclusions)
        if kept == host.addresses:
            return host
        for address in host.addresses:
            if exclusion := exclusions.find(address):
                self._skip(f"{host.target.origin}: {address} is excluded by {exclusion}", str(address))
        if not kept:
            return None
        return replace(host, addresses=kept)

    def _weaknesses(self) -> tuple[Weakness, ...]:
        return tuple(dict.fromkeys(probe.weakness for probe in self._probes))

    def _skip(self, detail: str, target: str) -> None:
        self._tell(RunEvent(kind=EventKind.SKIPPED, target=target, detail=detail))


_Permitted = tuple[Host, Permission]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Workshop:
    """The run's tools, and how one permitted host is checked with them."""

    settings: RunSettings
    engine: Engine
    board: ArrivalBoard
    resolver: Resolver
    pacing: Pacing
    sink: OpenedSink
    tell: Tell
    probes: tuple[Probe, ...]
    taken: Counter[Place] = field(default_factory=Counter)
    """Messages that have been taken in this run, however often a place was led to."""

    async def check(self, host: Host, permission: Permission) -> list[TargetReport]:
        """Check one host with every probe, a report for each weakness."""
        self.tell(RunEvent(kind=EventKind.TARGET_BEGAN, target=str(host.address), detail=host.name or ""))
        lore = await gather_lore(host, self.resolver) if not host.address.is_loopback else Lore()
        reports: list[TargetReport] = []
        for weakness in dict.fromkeys(probe.weakness for probe in self.probes):
            report = await self._check_weakness(host, permission, lore, weakness)
            self.tell(RunEvent(kind=EventKind.TARGET_ENDED, target=str(host.address), report=report))
            reports.append(report)
        return reports

    async def _check_weakness(
        self, host: Host, permission: Permission, lore: Lore, weakness: Weakness
    ) -> TargetReport:
        began, started = datetime.now(UTC), time.monotonic()
        target = self._target_run(host, permission, lore)
        try:
            for probe in self.probes:
                if probe.weakness is weakness:
                    await target.check(probe)
            arrivals = target.arrivals()
        finally:
            target.forget()
        judgement = judge(weakness, target.attempts, arrivals)
        networks = () if permission is LOOPBACK else permission.networks
        line = make_line(
            judgement,
            target.attempts,
            target=host.address,
            name=host.name,
            vantage=judge_vantage(host.address, self._source(host.address), networks),
            began=began,
            seconds=time.monotonic() - started,
        )
        return TargetReport(
            line=line, judgement=judgement, attempts=tuple(target.attempts), arrivals=arrivals
        )

    def _target_run(self, host: Host, permission: Permission, lore: Lore) -> TargetRun:
        leave = Leave(
            local_reverse_paths=permission.local_reverse_paths, local_mailboxes=permission.local_mailboxes
        )
        settings = self.settings
        return TargetRun(
            host=host,
            lore=lore,
            settings=settings,
            identity=_on_behalf(settings.identity, permission),
            leave=narrowed(
                leave,
                no_mail=settings.no_mail,
                is_proved=self.sink.is_proved,
                sink_unproved_ok=settings.sink_unproved_ok,
            ),
            sink=self.sink.names,
            key=self.sink.key,
            board=self.board,
            engine=self.engine,
            paces=self.pacing.for_permission(permission),
            tell=self.tell,
            taken=self.taken,
        )

    def _source(self, address: Address) -> Address | None:
        chosen = [source for source in self.settings.sources if source.version == address.version]
        return chosen[0] if chosen else source_for(address)


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


def _on_behalf(identity: Identity, permission: Permission) -> Identity:
    """Who checks, and for whom: whoever gave the permission, unless somebody else is named."""
    return replace(identity, requested_by=identity.requested_by or permission.owner)


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
