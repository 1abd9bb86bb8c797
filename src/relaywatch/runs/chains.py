"""Chains: through an open proxy to mail servers that trust it, and there the relay dialogue up to the proof.

The talk's classic: the server is closed to everybody, and open to the proxy beside it. It is tried only
where the permission gives leave, and leads nowhere but to the target's own loopback, its own address, and
mail servers that the same permission covers.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass

from relaywatch.engine.resolve import ResolveError, Resolver
from relaywatch.model.evidence import Attempt, AttemptStatus
from relaywatch.model.places import Address, Door, Endpoint, Family, Transport, parse_address
from relaywatch.script.brief import Brief, Depth
from relaywatch.script.chains import ChainedLink
from relaywatch.script.probe import Probe
from relaywatch.script.tunnels import CanaryKind, Destination, OpenTunnel
from relaywatch.targets.scope import LOOPBACK

from .proxies import is_reached, proven_cases
from .target import TargetRun

_MAX_TARGETS = 16
"""Mail servers that one target's chains lead to, at most."""
_LOOPBACK = {Family.IPV4: parse_address("127.0.0.1"), Family.IPV6: parse_address("::1")}


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenTunnelDoor:
    """An open proxy that carries octets: how it was found, and how a tunnel through it is opened."""

    probe: str
    tunnel: OpenTunnel
    brief: Brief
    exits: frozenset[Address]
    """The addresses from which it reached our canary."""


async def check_chains(
    target: TargetRun, relay_probes: Iterable[Probe], proxy_probes: Iterable[Probe], resolver: Resolver
) -> None:
    """Ask the mail servers behind each open proxy of the target, as far as there is leave."""
    relays = tuple(relay_probes)
    for proxy in open_tunnels(target, proxy_probes):
        async for address in _places(target, proxy, resolver):
            for port in target.settings.chain_ports:
                for relay in relays:
                    if target.is_interrupted or _is_proven(target):
                        return
                    place = Endpoint(address, port)
                    if place not in target.own_places:  # what our sink takes is no relaying
                        await _ask(target, relay, proxy, place)


def open_tunnels(target: TargetRun, probes: Iterable[Probe]) -> tuple[OpenTunnelDoor, ...]:
    """The target's open proxies through which a chain can lead, one for each door."""
    tunnels = {probe.name: probe.tunnel for probe in probes if probe.tunnel is not None}
    found: dict[Door, OpenTunnelDoor] = {}
    for attempt in tuple(target.attempts):
        tunnel = tunnels.get(attempt.probe)
        if tunnel is None or attempt.door in found:
            continue
        cases = proven_cases(target, attempt)
        if cases:
            exits = frozenset(parse_address(case.exit_address) for case in cases if case.exit_address)
            brief = target.briefs[id(attempt)]
            found[attempt.door] = OpenTunnelDoor(probe=attempt.probe, tunnel=tunnel, brief=brief, exits=exits)
    return tuple(found.values())


async def _places(target: TargetRun, proxy: OpenTunnelDoor, resolver: Resolver) -> AsyncIterator[Address]:
    """Where chains may lead, each once: the host's own loopback and addresses, and the permission's mail servers."""
    permission = target.permission
    given: set[Address] = set()
    if permission is LOOPBACK or permission.loopback_chains:
        for address in target.host.addresses:
            loopback = (_LOOPBACK[Endpoint(address, 0).family],) if _ends_at_home(target, proxy) else ()
            for own in (*loopback, address):
                if own not in given:
                    given.add(own)
                    yield own
    for host in permission.chain_targets[:_MAX_TARGETS]:
        for address in await _addresses(host, resolver):
            if address not in given and target.permits(address):
                given.add(address)
                yield address


def _ends_at_home(target: TargetRun, proxy: OpenTunnelDoor) -> bool:
    """Whether 127.0.0.1 behind the proxy is surely of a host that the permission covers.

    A proxy that leaves by another host's address may end its tunnels there, and that loopback is a stranger's.
    On loopback we may come out at any address of this machine.
    """
    return target.permission is LOOPBACK or (bool(proxy.exits) and all(map(target.permits, proxy.exits)))


async def _addresses(host: str, resolver: Resolver) -> tuple[Address, ...]:
    try:
        return (parse_address(host),)
    except ValueError:
        pass
    try:
        return tuple(await resolver.addresses(host))
    except ResolveError:
        return ()


async def _ask(target: TargetRun, relay: Probe, proxy: OpenTunnelDoor, place: Endpoint) -> Attempt:
    """Run the relay probe behind the proxy, at one mail server."""
    through = f"{proxy.brief.endpoint.port} to {place.address}"
    door = Door(place.port, Transport.PLAIN, place.family, via=proxy.probe, through=through)
    destination = Destination(address=place.address, port=place.port, kind=CanaryKind.SMTP)
    link = ChainedLink(proxy.tunnel, proxy.brief, destination)
    attempt = await target.attempt(relay, door, proxy.brief.endpoint, Depth.CORE, link=link)
    target.share.ended(in_good_order=attempt.status is AttemptStatus.COMPLETED)
    target.attempts.append(attempt)
    return attempt


def _is_proven(target: TargetRun) -> bool:
    """Whether a chain is proven; a target that relays anyway is asked behind its proxies as well."""
    if target.settings.exhaustive:
        return False
    chained = [attempt for attempt in target.attempts if attempt.door.via]
    return any(is_reached(target, attempt) for attempt in chained)
