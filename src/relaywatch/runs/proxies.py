"""Proxies of one target: what its doors speak, and at each the probes that this gives reason to try."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from relaywatch.model.evidence import Attempt, AttemptStatus, Fact, Weakness
from relaywatch.model.places import DATAGRAMS, Door, Endpoint, Service, Transport
from relaywatch.model.verdicts import Verdict
from relaywatch.rules.cases import CaseJudgement, CaseState, judge_cases
from relaywatch.rules.judge import judge
from relaywatch.rules.silence import SILENT, to_ask_again
from relaywatch.script.brief import Depth
from relaywatch.script.probe import Probe
from relaywatch.script.recognition import PRESENCE, RECOGNITION

from .port_plan import untold_doors
from .target import TargetRun

_NOBODY = SILENT | {AttemptStatus.NO_LISTENER}
DOORS_AT_ONCE = 4
"""Doors of one target that are recognised at a time, where its permission doesn't say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeakingDoor:
    """A TCP port at which something takes connections, and what it speaks."""

    endpoint: Endpoint
    services: frozenset[Service]

    def transports_for(self, probe: Probe) -> tuple[Transport, ...]:
        """How the probe is to be tried here, if at all: in the clear, within TLS, or both."""
        common = self.services & probe.services
        if common == {Service.MUTE} and Service.TLS in probe.services:
            return (Transport.TLS,)  # it may talk to those alone who name a host that it knows
        plain = (Transport.PLAIN,) if common - {Service.TLS} else ()
        return (*plain, *((Transport.TLS,) if Service.TLS in common else ()))

    def transport_asked_for(self, probe: Probe) -> tuple[Transport, ...]:
        """How the probe is to be tried where nothing but the user's word speaks for it."""
        usual = sorted({transport for _, transport in probe.default_doors} - DATAGRAMS)
        found = Transport.TLS if Service.TLS in self.services else Transport.PLAIN
        return (found,) if found in usual else tuple(usual[:1])


class ProxyDoors:
    """The course of all proxy probes at one target."""

    def __init__(self, target: TargetRun, probes: Sequence[Probe]) -> None:
        self._target = target
        self._probes = sorted(probes, key=lambda probe: probe.rank)
        at_once = target.permission.per_target or DOORS_AT_ONCE
        self._turns = asyncio.Semaphore(at_once)

    async def recognise(self, ports: Sequence[int]) -> list[SpeakingDoor]:
        """Find out what each port speaks; those that don't take connections are evidence already."""
        places = [Endpoint(address, port) for port in ports for address in self._target.host.addresses]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._recognise(endpoint)) for endpoint in places]
        return [door for task in tasks if (door := task.result()) is not None]

    def has_probe_for(self, door: SpeakingDoor) -> bool:
        """Whether a probe is worth its while there."""
        return any(door.transports_for(probe) for probe in self._probes)

    async def check(self, doors: Sequence[SpeakingDoor], *, are_named: bool = False) -> None:
        """Try the probes at each door that speaks, one after the other, at each until one is proven.

        Where the user named both the port and the probes, and none of these fits, they are tried all the same.
        """
        for door in doors:
            if door.services == {Service.MUTE} and self._has_talked_at(door.endpoint):
                continue  # to a probe whose service recognition can't tell
            is_meant = are_named and bool(self._target.settings.probes) and not self.has_probe_for(door)
            await self._check_door(door, door.transport_asked_for if is_meant else door.transports_for)

    async def _check_door(
        self, door: SpeakingDoor, transports_for: Callable[[Probe], tuple[Transport, ...]]
    ) -> None:
        """Try the probes there until one is proven, or nobody takes our connections any more."""
        tries = [(probe, transport) for probe in self._probes for transport in transports_for(probe)]
        for probe, transport in tries:
            if self._target.is_interrupted:
                return
            attempt = await self._try(probe, door.endpoint, transport)
            if attempt.status in SILENT or self._is_enough(attempt):
                return

    async def look_again(self) -> None:
        """Ask a port that was heard once more, if silence elsewhere would pass for a filter's: we may be blocked.

        One connection for an address, and none where something is open or the silence is accounted for already.
        """
        target = self._target
        for address in target.host.addresses:
            if target.is_interrupted or not self._would_pass():
                return
            known = [one for one in target.attempts if one.endpoint not in target.own_places]
            heard = to_ask_again(known, address)
            if heard is not None:
                # Of the same weakness and door: what was heard there may be no proxy's door, but mail's.
                probe = replace(PRESENCE, weakness=heard.weakness)
                again = await target.attempt(probe, heard.door, heard.endpoint, Depth.STANDARD)
                target.attempts.append(again)

    def _would_pass(self) -> bool:
        judgement = judge(Weakness.OPEN_PROXY, self._target.attempts, self._target.arrivals())
        return judgement.verdict in {Verdict.CLOSED, Verdict.ABSENT}

    def _has_talked_at(self, endpoint: Endpoint) -> bool:
        return any(
            seen.fact is Fact.TALKS
            for attempt in self._target.attempts
            if attempt.endpoint == endpoint and attempt.door.transport not in DATAGRAMS
            for seen in attempt.observations
        )

    async def check_untold(self, ports: Sequence[int] | None) -> None:
        """Try the probes whose doors can't be recognised, at theirs among the ports that were named, if any were."""
        wanted = self._target.settings.probes
        silent: set[tuple[Endpoint, Transport]] = set()
        for probe in self._probes:
            for port, transport in untold_doors(probe, ports, is_wanted=probe.name in wanted):
                for address in self._target.host.addresses:
                    endpoint = Endpoint(address, port)
                    if self._target.is_interrupted:
                        return
                    if (endpoint, transport) not in silent:
                        attempt = await self._try(probe, endpoint, transport)
                        if attempt.status in _NOBODY:  # nor for the other probes
                            silent.add((endpoint, transport))

    async def _recognise(self, endpoint: Endpoint) -> SpeakingDoor | None:
        async with self._turns:
            if self._target.is_interrupted:
                return None
            door = Door(endpoint.port, Transport.PLAIN, endpoint.family)
            attempt = await self._target.attempt(RECOGNITION, door, endpoint, Depth.STANDARD)
        self._target.attempts.append(attempt)
        services = frozenset(
            Service(seen.detail) for seen in attempt.observations if seen.fact is Fact.SPEAKS
        )
        return SpeakingDoor(endpoint=endpoint, services=services) if services else None

    async def _try(self, probe: Probe, endpoint: Endpoint, transport: Transport) -> Attempt:
        """Try the probe at the door, and keep what came of it."""
        target = self._target
        depth = Depth.EXHAUSTIVE if target.settings.exhaustive else Depth.STANDARD
        door = Door(endpoint.port, transport, endpoint.family)
        attempt = await target.attempt(probe, door, endpoint, depth)
        target.attempts.append(attempt)
        return attempt

    def _is_enough(self, attempt: Attempt) -> bool:
        """Whether nothing more need be tried at the attempt's door."""
        return is_reached(self._target, attempt) and not self._target.settings.exhaustive


def is_reached(target: TargetRun, attempt: Attempt) -> bool:
    """Whether a canary of ours was reached in this attempt."""
    return bool(proven_cases(target, attempt))


def proven_cases(target: TargetRun, attempt: Attempt) -> tuple[CaseJudgement, ...]:
    """The cases of the attempt that are judged open by now: a look-up of our name, say, proves none."""
    tokens = [seen.token for seen in attempt.observations if seen.token]
    cases = judge_cases([attempt], target.board.arrivals(tokens))
    return tuple(case for case in cases if case.state is CaseState.OPEN)
