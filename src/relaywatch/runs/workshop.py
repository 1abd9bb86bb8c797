"""The run's tools, and how one permitted host is checked with them."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from relaywatch.engine.arrivals import ArrivalBoard
from relaywatch.engine.driver import Engine
from relaywatch.engine.resolve import Resolver
from relaywatch.engine.vantage import judge_vantage, source_for
from relaywatch.model.errors import InterruptedRunError
from relaywatch.model.evidence import Arrival, Attempt, Fact, Observation, Weakness
from relaywatch.model.places import Address
from relaywatch.model.verdicts import Judgement, Reason, Verdict
from relaywatch.rules.judge import judge
from relaywatch.script.brief import CanaryPlaces, Identity, Leave, SinkNames
from relaywatch.script.probe import Probe
from relaywatch.targets.permissions import Permission
from relaywatch.targets.scope import LOOPBACK

from .allowance import Allowance
from .canaries import facing
from .course import check_target, weaknesses_of
from .hosts import Host
from .interruption import Interruption
from .lines import make_line, untested_line
from .lore import Lore, gather_lore
from .pacing import Pacing
from .reporting import EventKind, RunEvent, TargetReport
from .settings import RunSettings
from .sinks import OpenedSink, SinksAtHand
from .target import TargetRun, narrowed
from .turns import Turns

_NOBODYS = (".invalid", ".localhost", ".local", ".localdomain")
"""Endings of names by which no stranger finds us (RFC 2606, RFC 6761, RFC 6762)."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """All that the targets of one run have in common."""

    settings: RunSettings
    engine: Engine
    board: ArrivalBoard
    resolver: Resolver
    pacing: Pacing
    sinks: SinksAtHand
    tell: Callable[[RunEvent], None]
    probes: tuple[Probe, ...]
    allowance: Allowance
    interruption: Interruption = field(default_factory=Interruption)
    turns: Turns = field(default_factory=Turns)
    withheld: list[tuple[str, ...]] = field(default_factory=list)
    """What was missing for mail to be handed over, once that was told."""
    unused: set[Address | None] = field(default_factory=set)
    """Second addresses of ours that were told to be none."""

    async def check(self, host: Host, permission: Permission) -> list[TargetReport]:
        """Check one host with every probe, a report for each weakness.

        Whatever goes wrong with us is a report too: other targets have no part in it.
        """
        async with self.turns.at(host.places):
            self.tell(RunEvent(kind=EventKind.TARGET_BEGAN, target=str(host.address), detail=host.name or ""))
            reports = await self._reports(host, permission)
            for report in reports:
                self.tell(RunEvent(kind=EventKind.TARGET_ENDED, target=str(host.address), report=report))
            return reports

    async def _reports(self, host: Host, permission: Permission) -> list[TargetReport]:
        try:
            return await self._checked(host, permission, await self._lore(host))
        except Exception as error:  # noqa: BLE001 -- told, logged, and no other target's business
            _log.error("the check of %s went wrong", host.address, exc_info=error)
            return broken_reports(host, self.probes, error)

    async def _lore(self, host: Host) -> Lore:
        if host.address.is_loopback:
            return Lore()
        try:
            return await self.interruption.within(gather_lore(host, self.resolver))
        except InterruptedRunError:
            return Lore()
        except Exception as error:  # noqa: BLE001 -- it would only have helped
            _log.error("looking up %s went wrong", host.address, exc_info=error)
            return Lore()

    async def _checked(self, host: Host, permission: Permission, lore: Lore) -> list[TargetReport]:
        began, started = datetime.now(UTC), time.monotonic()
        sink = await self.sink_facing(host)
        target = self.target_run(host, permission, lore, sink)
        try:
            asked = await check_target(target, self.probes, self.resolver)
            with contextlib.suppress(InterruptedRunError):
                await self.interruption.within(sink.catch_up())
            arrivals = target.arrivals()
        finally:
            target.forget()
        attempts = unheard(target.attempts) if sink.trouble() else tuple(target.attempts)
        networks = () if permission is LOOPBACK else permission.networks
        vantage = judge_vantage(host.address, self._source(host.address), networks)
        seconds = time.monotonic() - started
        return [
            self._report(target, weakness, attempts, arrivals, vantage=vantage, began=began, seconds=seconds)
            for weakness in asked
        ]

    def _report(
        self,
        target: TargetRun,
        weakness: Weakness,
        attempts: tuple[Attempt, ...],
        arrivals: tuple[Arrival, ...],
        **circumstances: Any,
    ) -> TargetReport:
        """Judge one weakness by all that was seen; a fault of ours leaves what is proven."""
        judgement = judge(weakness, attempts, arrivals)
        fault = target.faults.get(weakness)
        if fault is not None and judgement.verdict is not Verdict.OPEN:
            return _broken(target.host, weakness, fault)
        own = tuple(attempt for attempt in attempts if attempt.weakness is weakness)
        line = make_line(judgement, own, target=target.host.address, name=target.host.name, **circumstances)
        tokens = {seen.token for attempt in own for seen in attempt.observations}
        tokens |= {seen.return_token for attempt in own for seen in attempt.observations}
        arrived = tuple(arrival for arrival in arrivals if arrival.token in tokens)
        return TargetReport(line=line, judgement=judgement, attempts=own, arrivals=arrived)

    async def sink_facing(self, host: Host) -> OpenedSink:
        """The sink that the host is asked to relay to; none that is proven if the run is told to stop."""
        try:
            return await self.interruption.within(self.sinks.facing(host.addresses))
        except InterruptedRunError as error:
            return OpenedSink(
                names=SinkNames(domain="relaywatch.invalid"), key=b"", is_proved=False, detail=str(error)
            )

    def target_run(self, host: Host, permission: Permission, lore: Lore, sink: OpenedSink) -> TargetRun:
        """What a target's attempts have round them."""
        leave = Leave(
            local_reverse_paths=permission.local_reverse_paths, local_mailboxes=permission.local_mailboxes
        )
        settings = self.settings
        return TargetRun(
            host=host,
            permission=permission,
            lore=lore,
            settings=settings,
            identity=_on_behalf(settings.identity, permission),
            leave=narrowed(
                leave,
                no_mail=settings.no_mail,
                is_introduced=self._is_introduced(host),
                is_proved=sink.is_proved,
                sink_unproved_ok=settings.sink_unproved_ok and sink.is_reachable,
            ),
            sink=sink.names,
            canaries=self._canaries(host, sink),
            own_places=sink.own_places(),
            key=sink.key,
            board=self.board,
            engine=self.engine,
            paces=self.pacing.for_permission(permission),
            tell=self.tell,
            share=self.allowance.share(host.places),
            ports=self.sinks,
        )

    def _canaries(self, host: Host, sink: OpenedSink) -> CanaryPlaces:
        """The canaries as the target sees them, and a word on second addresses that are none to it."""
        sources = {self._source(address) for address in host.addresses}
        for address in sources.intersection(self.settings.second_sources).difference(self.unused):
            self.unused.add(address)
            self.tell(RunEvent(kind=EventKind.SECOND_SOURCE_UNUSED, detail=str(address)))
        return facing(sink.canaries.places, host.addresses, self.settings.second_sources, sources)

    def _is_introduced(self, host: Host) -> bool:
        """Whether the message would tell who checks; on this machine nobody asks."""
        missing = missing_of(self.settings.identity)
        if not missing or all(address.is_loopback for address in host.addresses):
            return True
        if not self.withheld and not self.settings.no_mail:
            self.withheld.append(missing)
            self.tell(RunEvent(kind=EventKind.MAIL_WITHHELD, detail=" ".join(missing)))
        return False

    def _source(self, address: Address) -> Address | None:
        chosen = [source for source in self.settings.sources if source.version == address.version]
        return chosen[0] if chosen else source_for(address)


def missing_of(identity: Identity) -> tuple[str, ...]:
    """The options that are still to be given before a stranger may be sent mail: whom to ask, and who calls."""
    is_named = "." in identity.ehlo_name and not identity.ehlo_name.endswith(_NOBODYS)
    return (*(() if identity.contact else ("--contact",)), *(() if is_named else ("--ehlo-name",)))


def unheard(attempts: Iterable[Attempt]) -> tuple[Attempt, ...]:
    """The attempts as they are to be judged while our sink can't be asked: silence says nothing then."""
    return tuple(
        replace(attempt, observations=tuple(map(_unheard, attempt.observations))) for attempt in attempts
    )


def _unheard(seen: Observation) -> Observation:
    is_proxys_yes = seen.fact is Fact.ACCEPTED and bool(seen.destination)
    if seen.fact not in {Fact.QUEUED, Fact.HANDED_OVER} and not is_proxys_yes:
        return seen
    return replace(seen, detail=f"{Reason.SINK_UNPROVED}: our sink can't be asked what has arrived")


def _on_behalf(identity: Identity, permission: Permission) -> Identity:
    """Who checks, and for whom: whoever gave the permission, unless somebody else is named."""
    return replace(identity, requested_by=identity.requested_by or permission.owner)


def broken_reports(host: Host, probes: Iterable[Probe], error: Exception) -> list[TargetReport]:
    """The reports of a host at which a fault of ours showed."""
    return [_broken(host, weakness, error) for weakness in weaknesses_of(probes)]


def _broken(host: Host, weakness: Weakness, error: Exception) -> TargetReport:
    """The report of a target at which a fault of ours showed."""
    judgement = Judgement(weakness=weakness, verdict=Verdict.INCONCLUSIVE, reasons=(Reason.BUG,))
    line = untested_line(
        judgement,
        target=str(host.address),
        name=host.name,
        error=f"{type(error).__name__}: {error}",
        began=datetime.now(UTC),
    )
    return TargetReport(line=line, judgement=judgement)
