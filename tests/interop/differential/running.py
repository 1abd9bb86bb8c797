"""Configurations, each running in the product's own sandbox, as a stranger finds them with our own check.

A stranger is whoever claims nothing; a partner comes from a network, by a name, with a reverse-path or a HELO that
the configurations trust. Each process that runs them has a network of its own, which nothing leads out of.
"""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from functools import partial
from ipaddress import ip_address, ip_network
from pathlib import Path, PurePosixPath

from relaywatch.engine.limits import Limits
from relaywatch.engine.pace import Rates
from relaywatch.model.places import Endpoint
from relaywatch.model.verdicts import Reason, Verdict
from relaywatch.runs import sandbox
from relaywatch.runs.run import Run
from relaywatch.runs.sandbox import SERVER_NAME, Furniture, Room
from relaywatch.runs.sandbox_names import Names
from relaywatch.runs.sandbox_network import DNS, SERVER, SINK, STRANGER, SandboxError, apart, furnish_network
from relaywatch.runs.settings import RemoteSinkChoice, RunSettings
from relaywatch.runs.starting import starting
from relaywatch.script.brief import Identity, Patience
from relaywatch.sink.keys import generate_keys
from relaywatch.sink.serve import ServeSettings, open_sink
from relaywatch.sink.settings import CANARY_PORTS, SinkSettings, with_canaries
from relaywatch.targets.parse import parse_target
from relaywatch.targets.permissions import Permission
from relaywatch.targets.scope import Scope

from .kit import Files, Kit

PARTNER = "partner.example"
PARTNER_NAME = "relay.partner.example"
PARTNERS = (ip_address("65.1.2.3"), ip_address("2001:db8:77::77"))
OWN = "own.example"
SINK_DOMAIN, SECOND, POINTING, SINK_HOST = (
    "sink.example",
    "second-sink.example",
    "pointing.example",
    "mx.sink.example",
)
STRANGER_NAME = "stranger.example"
_NOTHING_GAINED = frozenset({Reason.CANT_CONNECT, Reason.CLIENT_BLOCKED, Reason.DEFERRED, Reason.GREYLISTED})
"""Of an undecided check: the server reaches nothing for us, won't speak with us, or puts us off each time.

To an audit that is closed: no configuration here has greylisting.
"""
CHECK_SECONDS = 45.0
START_SECONDS = 15.0
POLL_PORT = 8443
WAIT = 2.5
PATIENCE = Patience(
    greeting=3,
    reply=10,
    data_reply=10,
    greylist=1,
    after_rate_limit=0.5,
    first_words=0.4,
    tunnel=4,
    canary=2,
    datagram=0.5,
)
LIMITS = Limits(connect_seconds=2, receive_seconds=12, tls_seconds=5, attempt_seconds=90)
FAST = Rates(overall=2000, per_address=1000, per_network=2000, burst=500, overall_burst=2000)


class Doing(StrEnum):
    """What a running server does for strangers, in the audit's words as far as it has them."""

    OPEN = "open"  # something of ours arrived through it, and nothing was claimed
    OPEN_IF = "open-if"  # only with a claim
    ACCEPTING = "accepting"  # it says yes, and nothing arrives
    CLOSED = "closed"
    DOWN = "down"  # it doesn't start, or answers nobody
    UNCLEAR = "unclear"


@dataclass(frozen=True, slots=True)
class Claimant:
    """Somebody who asks: from where, by which HELO, and with which domains in reverse-paths."""

    name: str
    sources: tuple = STRANGER
    helo: str = STRANGER_NAME
    domains: tuple[str, ...] = ()
    mailbox_domain: str = "sink.example"


NOBODY = Claimant("a stranger")
ELSEWHERE_ADDRESSES = (ip_address("130.1.2.3"), ip_address("2a00:db8::1"))
FROM_ELSEWHERE = Claimant("a stranger from elsewhere", ELSEWHERE_ADDRESSES)
"""Where no configuration names a network: not to come from one costs nothing."""
PARTNER_IN_ALL = Claimant("a partner", PARTNERS, PARTNER_NAME, (PARTNER, OWN), "own.example.sink.example")
"""Who claims all that the configurations trust: what he isn't given, no claim gets."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What one configuration did, and for whom."""

    doing: Doing
    by: str = ""
    said: str = ""


def observed(kit: Kit, layers: Sequence[Path], drafts: Sequence[Files]) -> list[Behaviour]:
    """Run the configurations one after the other, in a network of their own, and ask."""
    return apart(partial(_all, _Asking(kit, tuple(layers)), drafts))


async def _all(asking: "_Asking", drafts: Sequence[Files]) -> list[Behaviour]:
    furnish_network((*PARTNERS, *ELSEWHERE_ADDRESSES))
    async with _outside() as key_file:
        return [await asking.behaviour(files, key_file) for files in drafts]


@dataclass(frozen=True, slots=True)
class _Asking:
    kit: Kit
    layers: tuple[Path, ...]

    @property
    def is_mail(self) -> bool:
        return "smtp-relay" in self.kit.probes

    async def behaviour(self, files: Files, key_file: Path) -> Behaviour:
        """What comes of one configuration."""
        start = self.kit.start or starting(self.kit.server, next(iter(files)))
        furniture = Furniture(
            layers=self.layers,
            files={PurePosixPath(path): (text.encode(), 0o644) for path, text in files.items()},
            script=start,
        )
        try:
            async with sandbox.opened(furniture) as room:
                try:
                    async with asyncio.timeout(START_SECONDS):
                        listeners = await room.started()
                except TimeoutError:
                    return Behaviour(Doing.DOWN, said=f"listens nowhere\n{room.last_words()}")
                return await self._asked(room, {one.port for one in listeners}, key_file)
        except SandboxError as error:
            return Behaviour(Doing.DOWN, said=str(error))

    async def _asked(self, room: Room, ports: Iterable[int], key_file: Path) -> Behaviour:
        behaviours = []
        for claimant in (NOBODY, FROM_ELSEWHERE, PARTNER_IN_ALL):
            verdicts, said = await self._check(claimant, tuple(sorted(ports)), key_file)
            if Verdict.OPEN in verdicts:
                doing = Doing.OPEN_IF if claimant is PARTNER_IN_ALL else Doing.OPEN
                return Behaviour(doing, claimant.name, said)
            behaviours.append(Behaviour(self._doing(verdicts), claimant.name, said))
            if behaviours[-1].doing is Doing.DOWN:
                return Behaviour(Doing.DOWN, said=room.last_words())
        order = list(Doing)
        return min(behaviours, key=lambda one: (one.doing is not Doing.UNCLEAR, order.index(one.doing)))

    def _doing(self, verdicts: set[Verdict]) -> Doing:
        if Verdict.INCONCLUSIVE in verdicts:
            return Doing.UNCLEAR
        if Verdict.ACCEPTING in verdicts:
            return Doing.ACCEPTING
        return Doing.DOWN if self.is_mail and verdicts == {Verdict.ABSENT} else Doing.CLOSED

    async def _check(
        self, claimant: Claimant, ports: tuple[int, ...], key_file: Path
    ) -> tuple[set[Verdict], str]:
        run = Run(_settings(self.kit.probes, claimant, ports, key_file))
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                reports = [report async for report in run.check([parse_target(SERVER_NAME)])]
        except TimeoutError:  # a proxy that asks itself without end, say
            return {Verdict.INCONCLUSIVE}, "no time left"
        lines = [report.line for report in reports]
        said = "; ".join(
            " ".join([line.verdict, *line.reasons, *(f"{one.probe} {one.case}" for one in line.findings)])
            for line in lines
        )
        verdicts = {line.verdict for line in lines}
        if not any(attempt.observations for report in reports for attempt in report.attempts):
            verdicts = {Verdict.ABSENT}  # connections are taken, and nobody ever speaks
        elif _NOTHING_GAINED & {reason for line in lines for reason in line.reasons}:
            verdicts = verdicts - {Verdict.INCONCLUSIVE} | {Verdict.CLOSED}
        return verdicts, said


def _settings(
    probes: tuple[str, ...], claimant: Claimant, ports: tuple[int, ...], key_file: Path
) -> RunSettings:
    permission = Permission(
        networks=tuple(ip_network(address) for address in SERVER),
        domains=(SERVER_NAME,),
        owner="the lab",
        contact=f"postmaster@{SERVER_NAME}",
        until=date.max,
        local_reverse_paths=True,
        local_mailboxes=True,
    )
    return RunSettings(
        probes=probes,
        ports=ports,
        identity=Identity(ehlo_name=claimant.helo, contact=f"postmaster@{SINK_DOMAIN}"),
        scope=Scope((permission,)),
        sink=RemoteSinkChoice(
            url=f"https://{SINK[0]}:{POLL_PORT}",
            key_file=key_file,
            domain=claimant.mailbox_domain,
            second_domain=SECOND,
            mx_pointing_domain=POINTING,
        ),
        wait=WAIT,
        local_domains=claimant.domains,
        patience=PATIENCE,
        limits=LIMITS,
        rates=FAST,
        sources=claimant.sources,
        nameservers=(str(DNS),),
    )


@contextlib.asynccontextmanager
async def _outside() -> AsyncIterator[Path]:
    """The DNS and our sink, for as long as it is entered; gives the sink's key file."""
    with tempfile.TemporaryDirectory(prefix="rwd-sink-") as name:
        key_file = Path(name) / "keys.toml"
        generate_keys(key_file, [str(SINK[0])])
        listen = tuple(Endpoint(address, 25) for address in SINK)
        sink = with_canaries(
            SinkSettings(domain=SINK_HOST, listen=listen, journal=Path(name) / "journal"), CANARY_PORTS
        )
        serving = ServeSettings(sink=sink, key_file=key_file, poll_listen=(Endpoint(SINK[0], POLL_PORT),))
        async with _names().served(Endpoint(DNS, 53)), open_sink(serving):
            yield key_file


def _names() -> Names:
    names = Names()
    names.add_host(STRANGER_NAME, (*STRANGER, *ELSEWHERE_ADDRESSES))
    names.add_host("visitor.example", PARTNERS)
    names.add_host(PARTNER_NAME, PARTNERS, has_reverse=False)
    names.add_host(SINK_HOST, SINK)
    names.add_host(SERVER_NAME, SERVER)
    for domain in (SINK_DOMAIN, SECOND, PARTNER_IN_ALL.mailbox_domain):
        names.add_host(domain, SINK, has_reverse=False)
        names.add_exchanges(domain, {SINK_HOST: 10})
    names.add_exchanges(POINTING, {SINK_HOST: 10, SERVER_NAME: 20})
    names.add_exchanges(PARTNER, {PARTNER_NAME: 10})  # where nobody takes mail: what is relayed to it, stays
    names.add_exchanges(OWN, {SERVER_NAME: 10})
    return names
