"""A relay probe's doors, one after the other, with what each teaches for the next."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from relaywatch.model.evidence import Attempt, AttemptStatus, Fact
from relaywatch.model.places import Door, Endpoint, Family, Transport
from relaywatch.script.brief import Depth
from relaywatch.script.probe import Probe

from .settings import DEFAULT_PORTS
from .target import TargetRun

_IMPLICIT_TLS_PORTS = frozenset({465})
_MUTE = frozenset({AttemptStatus.TIMEOUT, AttemptStatus.PROTOCOL_ERROR, AttemptStatus.CUT_SHORT})
"""How a plain attempt ends at a door that waits for a TLS hello."""


class RelayDoors:
    """The course of one relay probe at one target."""

    def __init__(self, target: TargetRun, probe: Probe) -> None:
        self._target, self._probe = target, probe
        self._made: list[Attempt] = []
        self._was_asked_all = False
        """Whether a door has answered all that is asked of the first."""

    async def check(self, ports: Sequence[int]) -> None:
        """Try the probe at every door, until a proof comes unless all are wanted."""
        target = self._target
        async for door, endpoint in self._doors(ports):
            depth = self._depth()
            attempt = await target.attempt(self._probe, door, endpoint, depth)
            target.share.ended(in_good_order=attempt.status is AttemptStatus.COMPLETED)
            if depth is not Depth.CORE and attempt.status is AttemptStatus.COMPLETED:
                self._was_asked_all |= any(seen.fact is Fact.REFUSED for seen in attempt.observations)
            if not self._is_no_door(attempt):
                target.attempts.append(attempt)
            self._made.append(attempt)
            if attempt.status is AttemptStatus.INTERRUPTED:
                return
            if target.is_proven(self._probe.weakness) and not target.settings.exhaustive:
                return

    def spoke_at(self, port: int) -> bool:
        """Whether something spoke the probe's protocol at the port."""
        return any(attempt.endpoint.port == port and _spoke(attempt) for attempt in self._made)

    async def _doors(self, ports: Sequence[int]) -> AsyncIterator[tuple[Door, Endpoint]]:
        """Give the doors in order; what follows depends on what came before."""
        for port in ports:
            for address in self._target.host.addresses:
                family = Family.IPV6 if address.version == 6 else Family.IPV4
                endpoint = Endpoint(address, port)
                first = Transport.TLS if port in _IMPLICIT_TLS_PORTS else Transport.PLAIN
                yield Door(port, first, family), endpoint
                for transport in self._further(port):
                    yield Door(port, transport, family), endpoint

    def _further(self, port: int) -> tuple[Transport, ...]:
        """The transports that the last attempt gives reason to try at the same port."""
        last = self._made[-1]
        offers = {
            keyword
            for seen in last.observations
            if seen.fact is Fact.OFFERS
            for keyword in seen.detail.split()
        }
        if last.door.transport is Transport.PLAIN and "STARTTLS" in offers:
            return (Transport.STARTTLS,)
        is_mute = last.status in _MUTE and not last.observations
        if last.door.transport is Transport.PLAIN and is_mute and port not in DEFAULT_PORTS:
            return (Transport.TLS,)
        return ()

    def _depth(self) -> Depth:
        """Everything once, at the first door that answers; what is telling at the others."""
        if self._target.settings.exhaustive:
            return Depth.EXHAUSTIVE
        return Depth.CORE if self._was_asked_all else Depth.STANDARD

    def _is_no_door(self, attempt: Attempt) -> bool:
        """Whether TLS was tried on a guess at a door that doesn't speak it: then there is no such door."""
        is_guess = any(a.endpoint == attempt.endpoint for a in self._made)
        is_tls = attempt.door.transport is Transport.TLS
        is_dumb = attempt.status in {AttemptStatus.TLS_FAILED, *_MUTE} and not attempt.observations
        return is_guess and is_tls and is_dumb


def _spoke(attempt: Attempt) -> bool:
    return any(seen.fact is not Fact.NOT_THIS_PROTOCOL for seen in attempt.observations)
