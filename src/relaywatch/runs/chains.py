"""Chains: through an open proxy to mail servers that trust it, and there the relay dialogue up to the proof.

The talk's classic: the server is closed to everybody, and open to the proxy beside it. It is tried only
where the permission gives leave, and leads nowhere but to the target's own loopback, its own address, and
mail servers that the same permission covers. A proxy that leads to none of our canaries may lead home all
the same: it is asked for the target's own loopback and address alone (docs/adr/0014).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, replace

from relaywatch.engine.resolve import ResolveError, Resolver
from relaywatch.model.evidence import ArrivalKind, Attempt, AttemptStatus, Fact
from relaywatch.model.places import Address, Door, Endpoint, Family, Transport, parse_address
from relaywatch.script.brief import Depth
from relaywatch.script.chains import CALLS_ITSELF, OUR_SINK, ChainedLink, meet, past_our_sink
from relaywatch.script.probe import Probe
from relaywatch.script.tunnels import CanaryKind, Destination
from relaywatch.targets.scope import LOOPBACK

from .proxies import is_reached
from .reach import Reach, reach_of
from .target import TargetRun
from .tunnel_doors import TunnelDoor, closed_tunnels, open_tunnels

_MAX_TARGETS = 16
"""Mail servers that one target's chains lead to, at most."""
_MAX_NAMES = 2
"""Names of a mail server that are looked up."""
_LOOPBACK = {Family.IPV4: parse_address("127.0.0.1"), Family.IPV6: parse_address("::1")}
_UNHEARD = frozenset(
    {
        *(AttemptStatus.NO_LISTENER, AttemptStatus.NO_ANSWER, AttemptStatus.UNREACHABLE),
        *(AttemptStatus.TIMEOUT, AttemptStatus.CUT_SHORT),
    }
)
"""How an attempt ends in which nobody said a word."""


async def check_chains(
    target: TargetRun, relay_probes: Iterable[Probe], proxy_probes: Iterable[Probe], resolver: Resolver
) -> None:
    """Ask the mail servers behind each proxy of the target, as far as there is leave."""
    relays, proxies = tuple(relay_probes), tuple(proxy_probes)
    for proxy in (*open_tunnels(target, proxies), *closed_tunnels(target, proxies)):
        chains = _Chains(target, relays, proxy, resolver)
        async for address in chains.places():
            for port in target.settings.chain_ports:
                if target.is_interrupted or _is_proven(target):
                    return
                place = Endpoint(address, port)
                if place not in target.own_places:  # what our sink takes is no relaying
                    await chains.ask(place)


def heard_behind(target: TargetRun) -> bool:
    """Whether anybody who may speak mail was heard behind a proxy of the target's."""
    return any(attempt.door.via and _was_heard(attempt) for attempt in target.attempts)


def _was_heard(attempt: Attempt) -> bool:
    facts = {seen.fact for seen in attempt.observations} - {Fact.NOTE}
    return bool(facts - {Fact.NOT_THIS_PROTOCOL}) or (not facts and attempt.status not in _UNHEARD)


@dataclass(frozen=True, slots=True)
class _Chains:
    """All that is led through one proxy."""

    target: TargetRun
    relays: tuple[Probe, ...]
    proxy: TunnelDoor
    resolver: Resolver

    async def places(self) -> AsyncIterator[Address]:
        """Where they may lead, each once: the host's own loopback and addresses, and the permission's mail servers."""
        permission = self.target.permission
        given: set[Address] = set()
        if permission is LOOPBACK or permission.loopback_chains:
            for address in self.target.host.addresses:
                for own in self._at_home(address):
                    if own not in given:
                        given.add(own)
                        yield own
        for host in permission.chain_targets[:_MAX_TARGETS] if self.proxy.is_open else ():
            for address in await _addresses(host, self.resolver):
                if address not in given and self.target.permits(address):
                    given.add(address)
                    yield address

    def _at_home(self, address: Address) -> tuple[Address, ...]:
        loopback = _LOOPBACK[Endpoint(address, 0).family]
        if self._ends_at_home():
            return (loopback, address)
        is_elsewhere = self.proxy.is_open and self.target.permission is not LOOPBACK
        return (address,) if is_elsewhere else (address, loopback)

    def _ends_at_home(self) -> bool:
        """Whether 127.0.0.1 behind the proxy is surely of a host that the permission covers.

        A proxy that leaves by another host's address may end its tunnels there, and that loopback is a stranger's.
        """
        return bool(self.proxy.exits) and all(map(self.target.permits, self.proxy.exits))

    async def ask(self, place: Endpoint) -> None:
        """Run the relay probes behind the proxy, at one mail server, unless it may be a stranger's, or is ours."""
        if self._may_be_anothers(place) and not await self._is_home(place):
            return
        for relay in self.relays:
            attempt = await self._attempt(relay, place)
            self.target.share.ended(in_good_order=attempt.status is AttemptStatus.COMPLETED)
            is_vain = not self.proxy.is_open and not _was_heard(attempt)
            if not is_vain and not self._led_to_ourselves(attempt):
                self.target.attempts.append(attempt)

    def _may_be_anothers(self, place: Endpoint) -> bool:
        """Whether the address may mean a stranger's host to whoever ends the tunnel: loopback, or a private one."""
        return reach_of(place.address) is not Reach.EVERYWHERE and not self._ends_at_home()

    def _led_to_ourselves(self, attempt: Attempt) -> bool:
        """Whether our own sink was there: it said so, or it took a message from nobody but ourselves.

        Whoever relays says a name of its own, and adds a Received field (RFC 5321 section 4.4). So a sink that
        was too busy to answer our first question is found out after all.
        """
        if any(seen.detail == OUR_SINK for seen in attempt.observations):
            return True
        tokens = [seen.token for seen in attempt.observations if seen.token]
        return any(
            arrival.kind is ArrivalKind.MAIL
            and not arrival.received
            and arrival.helo.lower() == self.target.identity.ehlo_name.lower()
            for arrival in self.target.board.arrivals(tokens)
        )

    async def _is_home(self, place: Endpoint) -> bool:
        """Whether the mail server there is one of a permitted host, by what it calls itself.

        Whose loopback or network it is depends on who ends the tunnel, which a proxy may leave to another host's
        proxy. Where we can go ourselves, to our own loopback or a private address, the same server is there; at
        another's loopback its name leads to permitted addresses alone.
        """
        names = await self._meet(place, self._link(place))
        if self.target.permission is LOOPBACK or not place.address.is_loopback:
            return bool(names) and not set(names).isdisjoint(await self._meet(place, None))
        for name in names[:_MAX_NAMES]:
            addresses = await _addresses(name, self.resolver)
            if addresses and all(map(self.target.permits, addresses)):
                return True
        return False

    async def _meet(self, place: Endpoint, link: ChainedLink | None) -> tuple[str, ...]:
        """What whoever is there calls itself: behind the proxy, or on our own loopback."""
        door = self._door(place) if link else Door(place.port, Transport.PLAIN, place.family)
        endpoint = self.proxy.brief.endpoint if link else place
        probe = replace(self.relays[0], script=meet)
        met = await self.target.attempt(probe, door, endpoint, Depth.CORE, link=link)
        if met.status is AttemptStatus.INTERRUPTED:
            self.target.attempts.append(met)
            return ()
        return tuple(dict.fromkeys(seen.reply for seen in met.observations if seen.detail == CALLS_ITSELF))

    async def _attempt(self, relay: Probe, place: Endpoint) -> Attempt:
        probe = replace(relay, script=past_our_sink(relay.script))
        endpoint = self.proxy.brief.endpoint
        return await self.target.attempt(
            probe, self._door(place), endpoint, Depth.CORE, link=self._link(place)
        )

    def _door(self, place: Endpoint) -> Door:
        through = f"{self.proxy.brief.endpoint.port} to {place.address}"
        return Door(place.port, Transport.PLAIN, place.family, via=self.proxy.probe.name, through=through)

    def _link(self, place: Endpoint) -> ChainedLink:
        proxy = self.proxy
        destination = Destination(address=place.address, port=place.port, kind=CanaryKind.SMTP)
        return ChainedLink(proxy.tunnel, proxy.brief, destination, opener=proxy.probe.opener)


async def _addresses(host: str, resolver: Resolver) -> tuple[Address, ...]:
    try:
        return (parse_address(host),)
    except ValueError:
        pass
    try:
        return tuple(await resolver.addresses(host))
    except ResolveError:
        return ()


def _is_proven(target: TargetRun) -> bool:
    """Whether a chain is proven; a target that relays anyway is asked behind its proxies as well."""
    if target.settings.exhaustive:
        return False
    chained = [attempt for attempt in target.attempts if attempt.door.via]
    return any(is_reached(target, attempt) for attempt in chained)
