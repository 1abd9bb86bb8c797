"""One target: what it has had and has given so far, and the surroundings of each of its attempts."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import product

from relaywatch.engine.arrivals import ArrivalBoard
from relaywatch.engine.driver import Engine
from relaywatch.engine.pace import Pace
from relaywatch.model.evidence import Arrival, Attempt, AttemptStatus, Fact, Observation, Weakness
from relaywatch.model.places import Address, Door, Endpoint, Family
from relaywatch.model.tokens import Mint, Token
from relaywatch.model.verdicts import Verdict
from relaywatch.rules.judge import judge
from relaywatch.script.brief import Brief, CanaryPlaces, Depth, Identity, Leave, Patience, SinkNames
from relaywatch.script.link import Link
from relaywatch.script.probe import Probe
from relaywatch.targets.permissions import Permission

from .admission import Admission, Ports, covers
from .allowance import Share
from .hosts import Host
from .lore import Lore
from .reporting import EventKind, RunEvent
from .settings import RunSettings

_log = logging.getLogger(__name__)
_HURRY = 1.0
"""Seconds for words at a door that says yes to everything."""


@dataclass(slots=True, kw_only=True)
class TargetRun:
    """What one target has had and has given so far, and what its attempts share."""

    host: Host
    permission: Permission
    lore: Lore
    settings: RunSettings
    identity: Identity
    leave: Leave
    sink: SinkNames
    canaries: CanaryPlaces
    own_places: frozenset[Endpoint]
    """Where our sink listens, should the target be this machine: what answers there is none of the target's."""
    key: bytes
    board: ArrivalBoard
    engine: Engine
    paces: tuple[Pace, ...]
    """What its connections keep to, all of them."""
    tell: Callable[[RunEvent], None]
    share: Share
    """Of the messages that the run may hand over."""
    ports: Ports
    attempts: list[Attempt] = field(default_factory=list)
    briefs: dict[tuple[str, Door], Brief] = field(default_factory=dict)
    """The latest brief of each probe at each door: what leads back through an open proxy."""
    tokens: list[Token] = field(default_factory=list)
    learned: list[str] = field(default_factory=list)
    """Names that the target gave itself at an earlier door."""
    software: str | None = None
    faults: dict[Weakness, Exception] = field(default_factory=dict)
    """What went wrong with us while a weakness was looked for."""

    @contextlib.contextmanager
    def faults_of(self, weakness: Weakness) -> Iterator[None]:
        """A fault of ours within ends what is done for this weakness, and nothing else."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 -- told, logged, and no other weakness's business
            _log.error("the check of %s went wrong", self.host.address, exc_info=error)
            self.faults[weakness] = error

    @property
    def is_interrupted(self) -> bool:
        """Whether an attempt was told to stop: then no other is begun."""
        return any(attempt.status is AttemptStatus.INTERRUPTED for attempt in self.attempts)

    async def attempt(
        self, probe: Probe, door: Door, endpoint: Endpoint, depth: Depth, *, link: Link | None = None
    ) -> Attempt:
        """Run the probe's script at a door; whoever asks decides whether it is kept as evidence."""
        if link is None and endpoint in self.own_places:
            return _nobody_there(probe, door, endpoint)
        target = str(self.host.address)
        self.tell(RunEvent(kind=EventKind.ATTEMPT_BEGAN, target=target, door=door))
        brief = self.brief(door, endpoint, depth)
        attempt = await self.engine.attempt(probe, brief, _Surroundings(self, door), link=link)
        self.briefs[probe.name, door] = brief
        self._learn(attempt)
        self.tell(RunEvent(kind=EventKind.ATTEMPT_ENDED, target=target, door=door, attempt=attempt))
        return attempt

    def brief(self, door: Door, endpoint: Endpoint, depth: Depth) -> Brief:
        """What a script may know that is run at the door."""
        return Brief(
            endpoint=endpoint,
            door=door,
            mint=Mint(self.key, secrets.token_bytes(16)),
            sink=self.sink,
            canaries=self.canaries,
            identity=self.identity,
            leave=self.leave,
            patience=self._patience(endpoint),
            depth=depth,
            target_names=tuple(dict.fromkeys((*self.lore.names, *self.learned))),
            local_domains=self._local_domains(),
            software=self.software,
            now=datetime.now(UTC),
        )

    def _patience(self, endpoint: Endpoint) -> Patience:
        """Less where a probe has found that every yes is worth nothing: there hardly anything is to be waited for."""
        patience = self.settings.patience
        seen = (o for one in self.attempts if one.endpoint == endpoint for o in one.observations)
        if not any(observation.fact is Fact.DECEPTIVE for observation in seen):
            return patience
        hurry = min(_HURRY, patience.first_words)
        return replace(patience, first_words=hurry, canary=min(patience.canary, hurry))

    def is_proven(self, weakness: Weakness) -> bool:
        """Whether the target is known to be open by now."""
        arrived = self.arrivals()
        if not arrived and not any(
            seen.fact is Fact.CANARY_REACHED for a in self.attempts for seen in a.observations
        ):
            return False  # without a judgement, which costs as much as the questions
        return judge(weakness, self.attempts, arrived).verdict is Verdict.OPEN

    def arrivals(self) -> tuple[Arrival, ...]:
        """All that arrived for this target's canaries so far."""
        return self.board.arrivals(dict.fromkeys(self.tokens))

    def forget(self) -> None:
        """Let the board go of this target's canaries."""
        self.board.forget(self.tokens)

    def keep(self, tokens: Iterable[Token]) -> None:
        """Keep canaries in mind: what arrives for them is this target's."""
        kept = tuple(tokens)
        self.tokens += kept
        self.board.register(kept)

    def observed(self, observation: Observation, door: Door | None = None) -> None:
        """Keep the observation's canaries in mind, count messages taken, and pass it on."""
        self.share.observed(observation)
        self.keep(token for token in (observation.token, observation.return_token) if token)
        if observation.fact is Fact.RATE_LIMITED:
            now = time.monotonic()
            for pace, address in product(self.paces, self.host.addresses):
                pace.back_off(address, now)
        target = str(self.host.address)
        self.tell(RunEvent(kind=EventKind.OBSERVED, target=target, door=door, observation=observation))

    def admit(self, address: Address) -> float:
        """Ask each pace for a place; the slowest decides."""
        now = time.monotonic()
        return max(pace.admit(address, now) for pace in self.paces)

    def permits(self, address: Address) -> bool:
        """Whether the same permission covers another address, and nobody excluded it."""
        return covers(self.host, self.permission, self.settings.exclusions, address)

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


def _nobody_there(probe: Probe, door: Door, endpoint: Endpoint) -> Attempt:
    """The attempt at a port that our own sink has: nobody else can listen there."""
    return Attempt(
        probe=probe.name,
        weakness=probe.weakness,
        endpoint=endpoint,
        door=door,
        status=AttemptStatus.NO_LISTENER,
        error="our own sink listens there, and so nobody else",
        began=datetime.now(UTC),
    )


class _Surroundings:
    """The run, as one attempt at one door sees it."""

    def __init__(self, target: TargetRun, door: Door) -> None:
        self._target, self._door = target, door

    def may_send(self) -> bool:
        """Whether the target may be handed one more message, which is then as good as sent."""
        return self._target.share.reserve()

    def await_arrival(self, tokens: tuple[Token, ...]) -> asyncio.Future[Arrival | None]:
        """Wait for one of the canaries as long as the run waits."""
        self._target.keep(tokens)
        return self._target.board.expect(tokens, self._target.settings.wait)

    def observed(self, observation: Observation) -> None:
        """Have the run take note of it."""
        self._target.observed(observation, self._door)

    def admit(self, address: Address) -> float:
        """Reserve a place for a connection."""
        return self._target.admit(address)

    def permits(self, address: Address) -> bool:
        """Whether a connection may go to another address, which the target has announced."""
        return self._target.permits(address)

    def is_canary(self, endpoint: Endpoint) -> bool:
        """Whether a canary of our own sink is there."""
        places = self._target.canaries
        return endpoint.address in places.addresses and endpoint.port in (
            *places.ports,
            *places.smtp_ports,
            places.dead_port,
        )

    def open_port(self, token: Token, family: Family) -> asyncio.Future[Endpoint | None]:
        """Have our sink listen on a port of the token's own; nothing if it can't."""
        target = self._target
        address = target.canaries.address_of(family)
        if address is None:
            nothing: asyncio.Future[Endpoint | None] = asyncio.get_running_loop().create_future()
            nothing.set_result(None)
            return nothing
        target.keep([token])

        return target.ports.open_port(
            token, address, Admission(target.host, target.permission, target.settings.exclusions, address)
        )

    def close_port(self, token: Token) -> None:
        """Close the token's port."""
        self._target.ports.close_port(token)


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
