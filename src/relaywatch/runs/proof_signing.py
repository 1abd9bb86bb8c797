"""A proof's control with credentials: the owner's own, from the stranger's address, at every door that may want them.

The transcripts of these attempts are thrown away, so that no password is in what is told.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from relaywatch.engine.driver import Engine
from relaywatch.engine.limits import Limits
from relaywatch.model.errors import RelaywatchError
from relaywatch.model.evidence import Arrival, Observation, Weakness
from relaywatch.model.places import Address, Door, Endpoint, Family, Service, Transport
from relaywatch.model.tokens import Mint, Token
from relaywatch.script.asking import CanaryKind
from relaywatch.script.brief import Brief, Identity, Patience, SinkNames
from relaywatch.script.link import Link
from relaywatch.script.probe import Probe
from relaywatch.script.signing_in import (
    Login,
    SignedIn,
    SigningIn,
    sign_in_by_http,
    sign_in_by_smtp,
    sign_in_by_socks5,
)
from relaywatch.script.tunnels import Destination

from .proofs import SignedInAt

_SUBMISSIONS = 465
"""Where TLS comes first (RFC 8314 section 3.3)."""
_CANARY_PORT = 443
_LONGEST_SAID = 300
_ORDER = tuple(SigningIn)
SignIn = Callable[[Link, Brief, Login | None], Awaitable[SignedIn]]
_Way = tuple[str, Transport, SignIn]


@dataclass(frozen=True, slots=True, kw_only=True)
class Signing:
    """Signs in at the doors of a running server; without a login, sees where somebody could."""

    login: Login | None
    sources: Sequence[Address]
    key: bytes
    """Of our sink, so that its canaries know us."""
    sink_domain: str
    canary: Address
    identity: Identity
    local_domains: tuple[str, ...]
    patience: Patience
    limits: Limits

    async def at(
        self,
        endpoints: Iterable[Endpoint],
        weaknesses: frozenset[Weakness],
        spoken: frozenset[Service] | None,
    ) -> tuple[SignedInAt, ...]:
        """What it came to, port by port; at several addresses of one the best that was seen."""
        engine = Engine(self.limits, sources=self.sources)
        found: dict[int, SignedInAt] = {}
        for endpoint in endpoints:
            answered: set[str] = set()
            for protocol, transport, sign_in in self._ways(endpoint.port, weaknesses, spoken):
                known = found.get(endpoint.port)
                if known and known.outcome is not SigningIn.NOT_OFFERED:
                    break
                if protocol in answered:
                    continue
                signed = await self._tried(engine, endpoint, transport, sign_in)
                if signed is not None:
                    answered.add(protocol)
                    one = SignedInAt(
                        port=endpoint.port,
                        protocol=protocol,
                        outcome=signed.outcome,
                        said=signed.said[:_LONGEST_SAID],
                    )
                    found[endpoint.port] = max(known or one, one, key=_rank)
        return tuple(found[port] for port in sorted(found))

    def _ways(
        self, port: int, weaknesses: frozenset[Weakness], spoken: frozenset[Service] | None
    ) -> Iterator[_Way]:
        if Weakness.OPEN_RELAY in weaknesses:
            if port == _SUBMISSIONS:
                yield "smtp", Transport.TLS, sign_in_by_smtp
            else:
                yield "smtp", Transport.STARTTLS, sign_in_by_smtp
                yield "smtp", Transport.PLAIN, sign_in_by_smtp  # where STARTTLS is offered and fails
        if Weakness.OPEN_PROXY in weaknesses:
            to = Destination(address=self.canary, port=_CANARY_PORT, kind=CanaryKind.WORDS)

            async def by_http(link: Link, brief: Brief, login: Login | None) -> SignedIn:
                return await sign_in_by_http(link, brief, login, to)

            async def by_socks5(link: Link, brief: Brief, login: Login | None) -> SignedIn:
                return await sign_in_by_socks5(link, brief, login, to)

            if spoken is None or Service.HTTP in spoken:
                yield "http", Transport.PLAIN, by_http
            if spoken is None or Service.SOCKS5 in spoken:
                yield "socks5", Transport.PLAIN, by_socks5

    async def _tried(
        self, engine: Engine, endpoint: Endpoint, transport: Transport, sign_in: SignIn
    ) -> SignedIn | None:
        """What came of it; nothing if the door speaks something else, or breaks off."""
        came: list[SignedIn] = []

        async def script(link: Link, brief: Brief) -> None:
            with suppress(RelaywatchError):
                came.append(await sign_in(link, brief, self.login))

        probe = Probe(
            name="signed-in", weakness=Weakness.OPEN_RELAY, default_doors=(), references=(), script=script
        )
        await engine.attempt(probe, self._brief(endpoint, transport), _Alone())
        return came[0] if came else None

    def _brief(self, endpoint: Endpoint, transport: Transport) -> Brief:
        family = Family.IPV6 if endpoint.address.version == 6 else Family.IPV4
        return Brief(
            endpoint=endpoint,
            door=Door(port=endpoint.port, transport=transport, family=family),
            mint=Mint(self.key, secrets.token_bytes(16)),
            sink=SinkNames(domain=self.sink_domain),
            identity=self.identity,
            patience=self.patience,
            local_domains=self.local_domains,
            now=datetime.now(UTC),
        )


def _rank(one: SignedInAt) -> int:
    return _ORDER.index(one.outcome)


class _Alone:
    """The surroundings of an attempt that sends no message, and goes nowhere but to its own door."""

    def may_send(self) -> bool:
        """No message is sent."""
        return False

    def await_arrival(self, tokens: tuple[Token, ...]) -> asyncio.Future[Arrival | None]:
        """Nothing is waited for: nobody asks."""
        del tokens
        return asyncio.get_running_loop().create_future()

    def observed(self, observation: Observation) -> None:
        """Nothing is observed."""

    def admit(self, address: Address) -> float:
        """At once: it is our own sandbox."""
        del address
        return 0.0

    def permits(self, address: Address) -> bool:
        """Nowhere else."""
        del address
        return False

    def is_canary(self, endpoint: Endpoint) -> bool:
        """None is asked for in this way."""
        del endpoint
        return False

    def open_port(self, token: Token, family: Family) -> asyncio.Future[Endpoint | None]:
        """None is opened: nobody asks."""
        del token, family
        return asyncio.get_running_loop().create_future()

    def close_port(self, token: Token) -> None:
        """None was opened."""
