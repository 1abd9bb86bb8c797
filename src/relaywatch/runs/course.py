"""The course of one target: which of its ports are asked what, relays first, then proxies, then chains."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from relaywatch.engine.resolve import Resolver
from relaywatch.model.evidence import Attempt, Fact, Weakness
from relaywatch.model.places import Service
from relaywatch.script.probe import Probe

from .chains import check_chains, heard_behind
from .port_plan import proxy_ports, relay_ports, untold_doors
from .proxies import ProxyDoors, SpeakingDoor
from .relays import RelayDoors
from .settings import DEFAULT_PORTS
from .target import TargetRun


def weaknesses_of(probes: Iterable[Probe]) -> tuple[Weakness, ...]:
    """What these probes look for, in their order."""
    return tuple(dict.fromkeys(probe.weakness for probe in probes))


async def check_target(
    target: TargetRun, probes: Sequence[Probe], resolver: Resolver
) -> tuple[Weakness, ...]:
    """Try the probes at the target's doors, and tell for which weaknesses that was done.

    Where nobody named ports, at the usual ones of each. A port that was named is asked for mail or for
    proxies as it is known or found to speak (docs/adr/0012), so that often one weakness alone is looked for.
    """
    relays = [probe for probe in probes if probe.weakness is Weakness.OPEN_RELAY]
    proxies = [probe for probe in probes if probe.weakness is Weakness.OPEN_PROXY]
    course = _Course(target, relays, proxies)
    named = _named_ports(target)
    asked: set[Weakness] = set()
    if None in target.host.ports and not target.settings.ports:
        asked |= await course.usual(beside=named)
    if named:
        asked |= await course.named(named)
    if Weakness.OPEN_PROXY in asked:
        await course.look_again()
    if relays and proxies and await course.chains(resolver):
        asked.add(Weakness.OPEN_RELAY)
    return tuple(weakness for weakness in weaknesses_of(probes) if weakness in asked)


def _named_ports(target: TargetRun) -> tuple[int, ...]:
    """The ports that the list or the user named, each once."""
    by_host = (port for port in target.host.ports if port is not None)
    by_user = target.settings.ports if None in target.host.ports else ()
    return tuple(dict.fromkeys((*by_host, *by_user)))


class _Course:
    def __init__(self, target: TargetRun, relays: Sequence[Probe], proxies: Sequence[Probe]) -> None:
        self._target, self._relays, self._proxies = target, relays, proxies
        self._doors = ProxyDoors(target, proxies)

    async def usual(self, *, beside: Sequence[int]) -> set[Weakness]:
        """Ask at the usual ports, but for those that are asked anyway."""
        asked: set[Weakness] = set()
        if self._relays:
            usual = dict.fromkeys(port for probe in self._relays for port in relay_ports(probe))
            asked |= await self._ask_relays([port for port in usual or DEFAULT_PORTS if port not in beside])
        if self._proxies and not self._target.is_interrupted:
            asked.add(Weakness.OPEN_PROXY)
            ports = [port.number for port in proxy_ports() if port.number not in beside]
            with self._target.faults_of(Weakness.OPEN_PROXY):
                doors = await self._doors.recognise(ports)
                await self._doors.check_untold(None)
                await self._doors.check(doors)
        return asked

    async def named(self, ports: Sequence[int]) -> set[Weakness]:
        """Ask at the ports that were named."""
        if not self._proxies:
            return await self._ask_relays(ports)
        mail = [port for port in ports if self._relays and port in DEFAULT_PORTS]
        asked = await self._ask_relays(mail)
        others = [port for port in ports if port not in mail or self._is_foreign(port)]
        if others and not self._target.is_interrupted:
            asked |= await self._ask_others(others)
        return asked

    async def look_again(self) -> None:
        """See whether the silence of some ports may be meant for us alone."""
        with self._target.faults_of(Weakness.OPEN_PROXY):
            await self._doors.look_again()

    async def chains(self, resolver: Resolver) -> bool:
        """Lead through proxies to mail servers; whether there is anything to tell of them.

        Of mail servers that aren't there, only whoever has asked for that probe wants to hear.
        """
        with self._target.faults_of(Weakness.OPEN_RELAY):
            await check_chains(self._target, self._relays, self._proxies, resolver)
        wanted = self._target.settings.probes
        if any(probe.name in wanted for probe in self._relays):
            return any(attempt.door.via for attempt in self._target.attempts)
        return heard_behind(self._target)

    async def _ask_others(self, ports: Sequence[int]) -> set[Weakness]:
        """Find out what the ports speak, and ask accordingly."""
        asked: set[Weakness] = set()
        with self._target.faults_of(Weakness.OPEN_PROXY):
            doors = await self._doors.recognise(ports)
            asked |= await self._ask_relays(self._perhaps_mail(doors))
            if not asked or any(map(self._doors.has_probe_for, doors)):
                asked.add(Weakness.OPEN_PROXY)
                await self._doors.check_untold(ports)
                await self._doors.check(doors, are_named=True)
        return asked

    async def _ask_relays(self, ports: Sequence[int]) -> set[Weakness]:
        if not ports or not self._relays:
            return set()
        with self._target.faults_of(Weakness.OPEN_RELAY):
            for probe in self._relays:
                await RelayDoors(self._target, probe).check(ports)
        return {Weakness.OPEN_RELAY}

    def _perhaps_mail(self, doors: Sequence[SpeakingDoor]) -> tuple[int, ...]:
        """The ports at which a mail server may be: one that makes us wait for its greeting looks mute at first."""
        usual = {port.number for port in proxy_ports()}
        usual |= {port for probe in self._proxies for port, _ in untold_doors(probe, None, is_wanted=False)}
        mute = (port for port in _ports_that_speak(doors, Service.MUTE) if port not in usual)
        return tuple(dict.fromkeys((*_ports_that_speak(doors, Service.SMTP), *mute)))

    def _is_foreign(self, port: int) -> bool:
        """Whether what took our connection at a mail port speaks something else."""
        return any(
            attempt.endpoint.port == port and attempt.door.port == port and _heard_another(attempt)
            for attempt in self._target.attempts
        )


def _ports_that_speak(doors: Iterable[SpeakingDoor], service: Service) -> tuple[int, ...]:
    return tuple(dict.fromkeys(door.endpoint.port for door in doors if service in door.services))


def _heard_another(attempt: Attempt) -> bool:
    return any(seen.fact is Fact.NOT_THIS_PROTOCOL for seen in attempt.observations)
