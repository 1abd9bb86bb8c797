"""The target's proxies through which a chain can lead: those that are open, and those that may lead home alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from relaywatch.model.evidence import Attempt, Fact
from relaywatch.model.places import DATAGRAMS, Address, Door, Service, parse_address
from relaywatch.rules.cases import CaseJudgement
from relaywatch.rules.homebound import may_lead_home
from relaywatch.script.brief import Brief
from relaywatch.script.probe import Probe
from relaywatch.script.tunnels import OpenTunnel

from .proxies import proven_cases
from .target import TargetRun

_MAX_CLOSED = 4
"""Doors of one target that are tried although they don't lead to our canary."""
_HURRY = 5.0
"""Seconds that a way home may take: it is short."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TunnelDoor:
    """A proxy that carries octets: how it was found, and how a tunnel through it is opened."""

    probe: Probe
    tunnel: OpenTunnel
    brief: Brief
    exits: frozenset[Address] = frozenset()
    """The addresses from which it reached our canary; not known of one that is closed."""
    is_open: bool = True
    """Whether our canary was reached through it."""


def open_tunnels(target: TargetRun, probes: Iterable[Probe]) -> tuple[TunnelDoor, ...]:
    """The target's open proxies through which a chain can lead, one for each door."""
    found: dict[Door, TunnelDoor] = {}
    for attempt, probe, tunnel in _tunnelling(target, probes):
        cases = proven_cases(target, attempt) if attempt.door not in found else ()
        if cases:
            exits = frozenset(parse_address(case.exit_address) for case in cases if case.exit_address)
            found[attempt.door] = TunnelDoor(
                probe=probe,
                tunnel=_proven_way(probe, cases) or tunnel,
                brief=target.briefs[attempt.probe, attempt.door],
                exits=exits,
            )
    return tuple(found.values())


def closed_tunnels(target: TargetRun, probes: Iterable[Probe]) -> tuple[TunnelDoor, ...]:
    """The target's proxies that don't lead us to our canary and may lead home, one for each door, few of them."""
    tunnelling = list(_tunnelling(target, probes))
    found: dict[Door, TunnelDoor] = {}
    is_open = {attempt.door for attempt in target.attempts if proven_cases(target, attempt)}
    for attempt, probe, tunnel in tunnelling:
        if attempt.door in found or attempt.door in is_open or not may_lead_home(attempt):
            continue
        if _is_heard_at(target, attempt):
            brief = _hurried(target.briefs[attempt.probe, attempt.door])
            found[attempt.door] = TunnelDoor(probe=probe, tunnel=tunnel, brief=brief, is_open=False)
    return tuple(found.values())[:_MAX_CLOSED]


def _proven_way(probe: Probe, cases: Iterable[CaseJudgement]) -> OpenTunnel | None:
    """How our canary was reached: a filter that one way evades is closed to the others."""
    names = {case.case.rpartition("-")[0] for case in cases}
    return next((way.ask for way in probe.ways if way.name in names), None)


def _tunnelling(target: TargetRun, probes: Iterable[Probe]) -> Iterable[tuple[Attempt, Probe, OpenTunnel]]:
    """The attempts of probes by which a tunnel can be opened."""
    known = {probe.name: probe for probe in probes}
    for attempt in tuple(target.attempts):
        probe = known.get(attempt.probe)
        if probe is not None and probe.tunnel is not None:
            yield attempt, probe, probe.tunnel


def _is_heard_at(target: TargetRun, attempt: Attempt) -> bool:
    """Whether the door is known to say anything at all: to what is mute, a proxy that is silent looks alike."""
    if any(seen.fact is Fact.TALKS for seen in attempt.observations):
        return True
    return any(
        seen.fact is Fact.SPEAKS and seen.detail != Service.MUTE
        for other in target.attempts
        if other.endpoint == attempt.endpoint and attempt.door.transport not in DATAGRAMS
        for seen in other.observations
    )


def _hurried(brief: Brief) -> Brief:
    patience = brief.patience
    return replace(brief, patience=replace(patience, tunnel=min(patience.tunnel, _HURRY)))
