"""Configurations, each running in the product's own sandbox, as strangers find them with our own check.

Each process that runs them has a network of its own, which nothing leads out of; who asks is told in `claimants`.
"""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum
from functools import partial
from ipaddress import ip_network
from pathlib import Path, PurePosixPath

from relaywatch.audit.claims import Claim, ClaimKind
from relaywatch.audit.findings import AuditVerdict, ServerReport
from relaywatch.engine.limits import Limits
from relaywatch.engine.pace import Rates
from relaywatch.model.places import Endpoint, address_literal
from relaywatch.model.verdicts import Reason, Verdict
from relaywatch.runs import sandbox
from relaywatch.runs.run import Run
from relaywatch.runs.sandbox import SERVER_NAME, Furniture, Room
from relaywatch.runs.sandbox_network import DNS, SERVER, SINK, SandboxError, apart
from relaywatch.runs.settings import RemoteSinkChoice, RunSettings
from relaywatch.runs.starting import starting
from relaywatch.script.brief import Identity, Patience
from relaywatch.sink.keys import generate_keys
from relaywatch.sink.serve import ServeSettings, open_sink
from relaywatch.sink.settings import CANARY_PORTS, SinkSettings, with_canaries
from relaywatch.targets.parse import parse_target
from relaywatch.targets.permissions import Permission
from relaywatch.targets.scope import Scope

from .claimants import NOBODY, POINTING, SECOND, SINK_DOMAIN, Claimant, Surroundings, known
from .kit import Files, Kit

_NOTHING_GAINED = frozenset({Reason.CANT_CONNECT, Reason.CLIENT_BLOCKED, Reason.DEFERRED, Reason.GREYLISTED})
"""Of an undecided check: the server reaches nothing for us, won't speak with us, or puts us off each time.

To an audit that is closed: no configuration here has greylisting.
"""
START_SECONDS, CHECK_SECONDS = 15.0, 45.0
MOST_SECONDS = 150.0
"""For one configuration, with all who ask."""
MOST_CLAIMS = 3
"""Ways through that are tried, of those that the audit names."""
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
    HUNG = "hung"  # it keeps us waiting until no time is left
    UNCLEAR = "unclear"


_ENOUGH = frozenset({Doing.OPEN, Doing.OPEN_IF, Doing.HUNG})
"""After which nobody else need ask."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What came of one who asked, and what he claimed by the form of the case that got him through."""

    claimant: Claimant
    doing: Doing
    said: str = ""
    by_form: frozenset[ClaimKind] = frozenset()
    is_named: bool = False
    """Whether the audit named this way through."""
    is_barred: bool = False
    """Whether our check took itself for barred, and so didn't go on to what he claims."""

    @property
    def is_free_way(self) -> bool:
        """Whether he got through, and by no form that claims anything."""
        return self.doing is Doing.OPEN_IF and not self.by_form


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What one configuration did, and for whom: the last of them is the one that decides."""

    doing: Doing
    asked: tuple[Asked, ...] = ()
    said: str = ""
    is_all_tried: bool = True
    """Whether each way that the audit names could be tried, or enough of them."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A configuration, and what the audit says of it."""

    files: Files
    told: ServerReport


def observed(kit: Kit, layers: Sequence[Path], drafts: Sequence[Draft]) -> list[Behaviour]:
    """Run the configurations one after the other, in a network of their own, and ask."""
    return apart(partial(_all, _Asking(kit, tuple(layers)), drafts))


async def _all(asking: "_Asking", drafts: Sequence[Draft]) -> list[Behaviour]:
    around = Surroundings()
    around.furnish()
    async with around.open(), _sink() as key_file:
        return [await asking.behaviour(draft, around, key_file) for draft in drafts]


@dataclass(frozen=True, slots=True)
class _Asking:
    kit: Kit
    layers: tuple[Path, ...]

    @property
    def is_mail(self) -> bool:
        return "smtp-relay" in self.kit.probes

    async def behaviour(self, draft: Draft, around: Surroundings, key_file: Path) -> Behaviour:
        """What comes of one configuration."""
        furniture = Furniture(
            layers=self.layers,
            files={PurePosixPath(path): (text.encode(), 0o644) for path, text in draft.files.items()},
            script=self.kit.start or starting(self.kit.server, next(iter(draft.files))),
        )
        try:
            async with asyncio.timeout(MOST_SECONDS), sandbox.opened(furniture) as room:
                try:
                    async with asyncio.timeout(START_SECONDS):
                        listeners = await room.started()
                except TimeoutError:
                    return Behaviour(Doing.DOWN, said=f"listens nowhere\n{room.last_words()}")
                ports = tuple(sorted({one.port for one in listeners}))
                return await self._asked(draft, room, ports, around, key_file)
        except SandboxError as error:
            return Behaviour(Doing.DOWN, said=str(error))
        except TimeoutError:
            return Behaviour(Doing.HUNG, said="no time left for all who ask")

    async def _asked(
        self, draft: Draft, room: Room, ports: tuple[int, ...], around: Surroundings, key_file: Path
    ) -> Behaviour:
        asked = [await self._check(NOBODY, ports, key_file)]
        if asked[0].doing is Doing.DOWN:
            return Behaviour(Doing.DOWN, said=room.last_words())
        named, is_all_tried = _named(draft, around)
        is_hole = draft.told.verdict in {AuditVerdict.OPEN, AuditVerdict.OPEN_IF}
        for claimant in named if is_hole else ():
            if asked[-1].doing in _ENOUGH:
                break
            asked.append(await self._check(claimant, ports, key_file, is_named=True))
            if asked[-1].is_free_way and draft.told.verdict is AuditVerdict.OPEN:
                asked[-1] = replace(asked[-1], doing=Doing.OPEN)
        if asked[-1].doing not in _ENOUGH:
            everybody = known(is_mail=self.is_mail)
            asked += await asyncio.gather(*(self._check(one, ports, key_file) for one in everybody))
        order = list(Doing)
        rank = {one: order.index(one) for one in order} | {Doing.UNCLEAR: -1, Doing.HUNG: -2}
        ways = [one.doing for one in asked if one.doing in {Doing.OPEN, Doing.OPEN_IF}]
        doing = ways[0] if ways else min((one.doing for one in asked), key=rank.__getitem__)
        barred = all(one.is_barred for one in asked if one.is_named)
        return Behaviour(doing, tuple(asked), is_all_tried=is_all_tried and not barred)

    async def _check(
        self, claimant: Claimant, ports: tuple[int, ...], key_file: Path, *, is_named: bool = False
    ) -> Asked:
        run = Run(_settings(self.kit.probes, claimant, ports, key_file))
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                reports = [report async for report in run.check([parse_target(SERVER_NAME)])]
        except TimeoutError:
            return Asked(claimant, Doing.HUNG, "no time left")
        lines = [report.line for report in reports]
        findings = [one for line in lines for one in line.findings]
        said = "; ".join(
            " ".join([line.verdict, *line.reasons, *(f"{one.probe} {one.case}" for one in line.findings)])
            for line in lines
        )
        verdicts = {line.verdict for line in lines}
        if not any(attempt.observations for report in reports for attempt in report.attempts):
            verdicts = {Verdict.ABSENT}  # connections are taken, and nobody ever speaks
        elif _NOTHING_GAINED & {reason for line in lines for reason in line.reasons}:
            verdicts = verdicts - {Verdict.INCONCLUSIVE} | {Verdict.CLOSED}
        by_form = min((claimed_by(one.case) for one in findings), key=len, default=frozenset())
        if Verdict.OPEN in verdicts:
            is_plain = claimant is NOBODY and not (self.is_mail and by_form)
            doing = Doing.OPEN if is_plain else Doing.OPEN_IF
        else:
            doing = self._doing(verdicts)
        is_barred = any(Reason.CLIENT_BLOCKED in line.reasons for line in lines)
        return Asked(claimant, doing, said, by_form if self.is_mail else frozenset(), is_named, is_barred)

    def _doing(self, verdicts: set[Verdict]) -> Doing:
        if Verdict.INCONCLUSIVE in verdicts:
            return Doing.UNCLEAR
        if Verdict.ACCEPTING in verdicts:
            return Doing.ACCEPTING
        return Doing.DOWN if self.is_mail and verdicts == {Verdict.ABSENT} else Doing.CLOSED


def _named(draft: Draft, around: Surroundings) -> tuple[list[Claimant], bool]:
    """Who goes the ways that the audit names; and whether there is anybody who can."""
    texts = tuple(draft.files.values())
    ways: dict[frozenset[Claim], None] = {}
    for finding in draft.told.findings:
        if finding.verdict is draft.told.verdict:
            ways.setdefault(frozenset(finding.claims))
    made = [around.somebody(sorted(claims), texts) for claims in list(ways)[:MOST_CLAIMS]]
    found = [one for one in made if one is not None]
    return found, bool(found)


def claimed_by(case: str) -> frozenset[ClaimKind]:
    """What a case of mail claims by its form, however plain its words are: ``plain+from-null+helo-localhost``."""
    return frozenset(_claimed_by(case))


def _claimed_by(case: str) -> Iterator[ClaimKind]:
    forward, *rest = case.split("+")
    if forward not in {"plain", "bdat"}:
        yield ClaimKind.FORWARD_PATH
    for part in rest:
        kind, _, form = part.partition("-")
        if kind == "from" and form not in _OURS:
            yield ClaimKind.REVERSE_PATH
        elif kind == "helo" and form.startswith("xclient"):
            yield ClaimKind.XCLIENT
        elif kind == "helo" and form != "helo":
            yield ClaimKind.HELO


_OURS = frozenset({"second-domain", "unresolvable", "no-brackets", "space-after-colon"})
"""Reverse-paths of our own, as anybody has them."""


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
            domain=claimant.sink_domain,
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
async def _sink() -> AsyncIterator[Path]:
    """Our sink, for as long as it is entered; gives its key file."""
    with tempfile.TemporaryDirectory(prefix="rwd-sink-") as name:
        key_file = Path(name) / "keys.toml"
        generate_keys(key_file, [str(SINK[0])])
        listen = tuple(Endpoint(address, 25) for address in SINK)
        # By no name of its own: what the canaries are called is for the domain of each who asks.
        called = address_literal(SINK[0])
        sink = with_canaries(
            SinkSettings(domain=called, listen=listen, journal=Path(name) / "journal"), CANARY_PORTS
        )
        serving = ServeSettings(sink=sink, key_file=key_file, poll_listen=(Endpoint(SINK[0], POLL_PORT),))
        async with open_sink(serving):
            yield key_file
