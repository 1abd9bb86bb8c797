"""One target: its doors one after the other, with what each teaches for the next, and the judgement."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import chain, product

from relaywatch.engine.arrivals import ArrivalBoard
from relaywatch.engine.driver import Engine
from relaywatch.engine.pace import Pace
from relaywatch.model.evidence import Arrival, Attempt, AttemptStatus, Fact, Observation, Weakness
from relaywatch.model.places import Address, Door, Endpoint, Family, Transport
from relaywatch.model.tokens import Mint, Token
from relaywatch.model.verdicts import Verdict
from relaywatch.rules.judge import judge
from relaywatch.script.brief import Brief, Depth, Identity, Leave, SinkNames
from relaywatch.script.probe import Probe

from .allowance import Share
from .hosts import Host
from .lore import Lore
from .reporting import EventKind, RunEvent
from .settings import DEFAULT_PORTS, RunSettings

_IMPLICIT_TLS_PORTS = frozenset({465})
_MUTE = frozenset({AttemptStatus.TIMEOUT, AttemptStatus.PROTOCOL_ERROR, AttemptStatus.CUT_SHORT})
"""How a plain attempt ends at a door that waits for a TLS hello."""


@dataclass(slots=True, kw_only=True)
class TargetRun:
    """What one target has had and has given so far; the surroundings of each of its attempts."""

    host: Host
    lore: Lore
    settings: RunSettings
    identity: Identity
    leave: Leave
    sink: SinkNames
    key: bytes
    board: ArrivalBoard
    engine: Engine
    paces: tuple[Pace, ...]
    """What its connections keep to, all of them."""
    tell: Callable[[RunEvent], None]
    share: Share
    """Of the messages that the run may hand over."""
    attempts: list[Attempt] = field(default_factory=list)
    tokens: list[Token] = field(default_factory=list)
    learned: list[str] = field(default_factory=list)
    """Names that the target gave itself at an earlier door."""
    software: str | None = None
    door: Door | None = None
    was_asked_all: bool = False
    """Whether a door has answered all that is asked of the first."""

    # --- the surroundings of an attempt --------------------------------------------------------

    def may_send(self) -> bool:
        """Whether the target may be handed one more message, which is then as good as sent."""
        return self.share.reserve()

    def await_arrival(self, tokens: tuple[Token, ...]) -> asyncio.Future[Arrival | None]:
        """Wait for one of the canaries as long as the run waits."""
        self._keep(tokens)
        return self.board.expect(tokens, self.settings.wait)

    def observed(self, observation: Observation) -> None:
        """Keep the observation's canaries in mind, count messages taken, and pass it on."""
        self.share.observed(observation)
        self._keep(token for token in (observation.token, observation.return_token) if token)
        if observation.fact is Fact.RATE_LIMITED:
            for pace, address in product(self.paces, self.host.addresses):
                pace.back_off(address)
        self.tell(
            RunEvent(
                kind=EventKind.OBSERVED,
                target=str(self.host.address),
                door=self.door,
                observation=observation,
            )
        )

    def admit(self, address: Address) -> float:
        """Ask each pace for a place; the slowest decides."""
        now = time.monotonic()
        return max(pace.admit(address, now) for pace in self.paces)

    def _keep(self, tokens: Iterable[Token]) -> None:
        kept = tuple(tokens)
        self.tokens += kept
        self.board.register(kept)

    # --- doors ---------------------------------------------------------------------------------

    async def check(self, probe: Probe) -> None:
        """Try the probe at every door, until a proof comes unless all are wanted."""
        async for door, endpoint, depth in self._doors(probe):
            attempt = await self._attempt(probe, door, endpoint, depth)
            self._learn(attempt)
            if attempt.status is AttemptStatus.INTERRUPTED:
                return
            if self._is_proven(probe.weakness) and not self.settings.exhaustive:
                return

    async def _doors(self, probe: Probe) -> AsyncIterator[tuple[Door, Endpoint, Depth]]:
        """Give the doors in order; what follows depends on what came before."""
        for port in self._ports(probe):
            for address in self.host.addresses:
                family = Family.IPV6 if address.version == 6 else Family.IPV4
                endpoint = Endpoint(address, port)
                first = Transport.TLS if port in _IMPLICIT_TLS_PORTS else Transport.PLAIN
                yield Door(port, first, family), endpoint, self._depth()
                for transport in self._further(port):
                    yield Door(port, transport, family), endpoint, self._depth()

    def _ports(self, probe: Probe) -> tuple[int, ...]:
        usual = self.settings.ports or tuple(port for port, _ in probe.default_doors) or DEFAULT_PORTS
        ports = ((port,) if port is not None else usual for port in self.host.ports)
        return tuple(dict.fromkeys(chain.from_iterable(ports)))

    def _further(self, port: int) -> tuple[Transport, ...]:
        """The transports that the last attempt gives reason to try at the same port."""
        last = self.attempts[-1]
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
        if self.settings.exhaustive:
            return Depth.EXHAUSTIVE
        return Depth.CORE if self.was_asked_all else Depth.STANDARD

    async def _attempt(self, probe: Probe, door: Door, endpoint: Endpoint, depth: Depth) -> Attempt:
        self.door = door
        target = str(self.host.address)
        self.tell(RunEvent(kind=EventKind.ATTEMPT_BEGAN, target=target, door=door))
        brief = Brief(
            endpoint=endpoint,
            door=door,
            mint=Mint(self.key, secrets.token_bytes(16)),
            sink=self.sink,
            identity=self.identity,
            leave=self.leave,
            patience=self.settings.patience,
            depth=depth,
            target_names=tuple(dict.fromkeys((*self.lore.names, *self.learned))),
            local_domains=self._local_domains(),
            software=self.software,
            now=datetime.now(UTC),
        )
        attempt = await self.engine.attempt(probe, brief, self)
        self.share.ended(in_good_order=attempt.status is AttemptStatus.COMPLETED)
        if depth is not Depth.CORE and attempt.status is AttemptStatus.COMPLETED:
            self.was_asked_all |= any(seen.fact is Fact.REFUSED for seen in attempt.observations)
        if not self._is_no_door(attempt):
            self.attempts.append(attempt)
        self.tell(RunEvent(kind=EventKind.ATTEMPT_ENDED, target=target, door=door, attempt=attempt))
        return attempt

    def _is_no_door(self, attempt: Attempt) -> bool:
        """Whether TLS was tried on a guess at a door that doesn't speak it: then there is no such door."""
        is_guess = any(a.endpoint == attempt.endpoint for a in self.attempts)
        is_tls = attempt.door.transport is Transport.TLS
        is_dumb = attempt.status in {AttemptStatus.TLS_FAILED, *_MUTE} and not attempt.observations
        return is_guess and is_tls and is_dumb

    def _local_domains(self) -> tuple[str, ...]:
        return tuple(
            dict.fromkeys((*self.settings.local_domains, *self.host.local_domains, *self.lore.domains))
        )

    def _learn(self, attempt: Attempt) -> None:
        for seen in attempt.observations:
            if seen.fact is Fact.SOFTWARE and self.software is None:
                self.software = seen.detail.split(" ", 1)[0]
            elif seen.fact is Fact.OFFERS and seen.reply:
                self.learned.append(seen.reply.lower())

    def _is_proven(self, weakness: Weakness) -> bool:
        return judge(weakness, self.attempts, self.arrivals()).verdict is Verdict.OPEN

    def arrivals(self) -> tuple[Arrival, ...]:
        """All that arrived for this target's canaries so far."""
        return self.board.arrivals(dict.fromkeys(self.tokens))

    def forget(self) -> None:
        """Let the board go of this target's canaries."""
        self.board.forget(self.tokens)


def narrowed(
    leave: Leave, *, no_mail: bool, is_introduced: bool, is_proved: bool, sink_unproved_ok: bool
) -> Leave:
    """What is left of a permission's leave once the run's own limits are taken into account."""
    if no_mail:
        return replace(leave, mail=False, mail_withheld_because="not-sent")
    if not is_introduced:
        return replace(leave, mail=False, mail_withheld_because="not-sent: nobody says who checks")
    if not is_proved and not sink_unproved_ok:
        return replace(leave, mail=False, mail_withheld_because="sink-unproved")
    return leave
