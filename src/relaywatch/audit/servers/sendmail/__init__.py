"""Sendmail (Installation and Operation Guide, cf/README; 8.17): sendmail.cf by its own rules, sendmail.mc by its features."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from relaywatch.audit.conditions import Way
from relaywatch.audit.findings import Cause, Gap, GapKind, Position
from relaywatch.audit.hostname import first_word, hostname
from relaywatch.audit.proxies import is_loopback
from relaywatch.audit.server import Mark, Server, Service
from relaywatch.audit.setup import Setup
from relaywatch.audit.strangers import GREETING, Client, Said, Stranger, typical
from relaywatch.audit.text import SourceFile
from relaywatch.audit.trying import TooManyError, tried
from relaywatch.model.evidence import Weakness

from .cf import Cf, read_cf
from .features import Features, read_features
from .mending import mend
from .running import Running
from .strangers import POINTING, Known
from .tables import Entry, UnknownError

_MOST_TRIED = 3_000
_ROUTES = ("%", "!", '"')
_PORTS = {"smtp": "25", "smtps": "465", "submission": "587"}
Through = Callable[[Stranger], list[Cause] | None]


@dataclass(frozen=True, slots=True)
class _Daemon:
    """A listener: its options, and where they stand."""

    options: dict[str, str]
    position: Position | None

    @property
    def name(self) -> str:
        where = self.options.get("addr", "*")
        return f"{self.options.get('name', 'MTA')} {where}:{self.port}"

    @property
    def port(self) -> str:
        named = self.options.get("port", "smtp").lower()
        return _PORTS.get(named, named)

    @property
    def flags(self) -> str:
        """As ``{daemon_flags}`` has them: a capital twice."""
        letters = self.options.get("m", self.options.get("modify", ""))
        return " ".join(letter * 2 if letter.isupper() else letter for letter in letters)

    @property
    def versions(self) -> tuple[int, ...]:
        """The families of who comes; with ``inet6`` IPv4 comes to the same socket."""
        return (
            (4,)
            if self.options.get("family", "").lower() == "inet" and ":" not in self.options.get("addr", "")
            else (4, 6)
        )


def evaluate(setup: Setup) -> Iterator[Service]:
    """Every daemon that the file starts."""
    source = setup.read_main()
    if source is None:
        return
    host = _host(setup)
    if setup.main.suffix == ".mc":
        yield from _of_mc(source, setup, host)
        return
    cf = read_cf(source, setup, host)
    known = Known(
        tuple(cf.classes["w"]),
        (*cf.classes.get("R", ()), *cf.classes["m"]),
        tuple(_entries(cf)),
        asks_for_mx=any(one.kind == "bestmx" for one in cf.maps.values()),
        trusts_senders=True,
    )
    values: list[tuple[str, Position | None]] = [
        (value, at) for name, value, at in cf.options if name.lower() == "daemonportoptions"
    ]
    for daemon in _daemons(values):
        through = Running(cf, daemon.flags, host).through
        gaps: tuple[Gap, ...] = ()
        if cf.ruleset("check_rcpt") is None:
            gaps = (setup.note(Gap(GapKind.NOT_EVALUATED, "no ruleset check_rcpt", source.at(1))),)
        yield _service(daemon, setup, known, through, gaps)


def _of_mc(source: SourceFile, setup: Setup, host: str) -> Iterator[Service]:
    features = read_features(source, setup, host)
    call = features.defined.get("confDOMAIN_NAME")
    if call is not None and call.rest:
        features.own.setdefault(call.rest.lower(), call.position)
    parent = features.host.partition(".")[2]
    relayed = (
        *features.relayed,
        *([parent] if parent and "relay_entire_domain" in features.switched else ()),
    )
    known = Known(
        tuple(features.own),
        relayed,
        tuple(features.access.entries.values()),
        asks_for_mx="relay_based_on_mx" in features.switched,
        trusts_senders="relay_mail_from" in features.switched,
    )
    values: list[tuple[str, Position | None]] = [(call.first, call.position) for call in features.daemons]
    if (
        not any("port=587" in value.lower() for value, _ in values)
        and "no_default_msa" not in features.switched
    ):
        values = [*(values or [("Name=MTA", None)]), ("Port=587, Name=MSA, M=E", None)]
    for daemon in _daemons(values):
        through = partial(_by_features, features)
        yield _service(daemon, setup, known, through, tuple(features.gaps))


def _by_features(features: Features, stranger: Stranger) -> list[Cause] | None:
    return features.through(stranger, POINTING)


def _host(setup: Setup) -> str:
    """The machine's own full name, if the tree says it: that is what ``$m`` comes from."""
    if full := hostname(setup):
        return full
    name = first_word(setup)
    hosts = setup.read("/etc/hosts") if name and setup.has("/etc/hosts") else None
    words = (
        word.lower() for line in (hosts.lines if hosts else ()) for word in line.partition("#")[0].split()[1:]
    )
    return next((word for word in words if word.startswith(f"{name}.")), "")


def _entries(cf: Cf) -> Iterator[Entry]:
    for one in cf.maps.values():
        if one.table is not None:
            yield from one.table.entries.values()


def _daemons(values: list[tuple[str, Position | None]]) -> Iterator[_Daemon]:
    for value, position in values or [("Name=MTA", None)]:
        pairs = (part.partition("=") for part in value.split(","))
        options = {name.strip().lower(): said.strip() for name, _, said in pairs}
        letters = {name[:1]: said for name, said in options.items() if name[:1] in "apfm"}
        yield _Daemon(
            {"addr": letters.get("a", "*"), "port": letters.get("p", "smtp"), "family": letters.get("f", "")}
            | {"m": letters.get("m", ""), "name": options.get("name", "MTA")},
            position,
        )


def _by_certificate(known: Known, setup: Setup) -> Iterator[Gap]:
    """Whoever has a certificate of an authority relays: nobody here knows whether that is the owner's own."""
    for one in known.entries:
        if one.tag == "certissuer" and one.value.upper() in {"RELAY", "SUBJECT"}:
            yield setup.note(Gap(GapKind.EXTERNAL, f"{one.key} {one.value}"[:200], one.position))


def _service(daemon: _Daemon, setup: Setup, known: Known, through: Through, gaps: tuple[Gap, ...]) -> Service:
    inside = daemon.options["addr"] != "*" and is_loopback(daemon.options["addr"].removeprefix("IPv6:"))
    gaps = (*gaps, *_by_certificate(known, setup))
    asks_for_password = "a" in daemon.flags.split()
    ways = () if asks_for_password else _ways(daemon, setup, known, through, inside=inside)
    if gaps and not asks_for_password:
        ways = (*ways, Way(gaps=frozenset(gaps)))
    return Service(
        name=daemon.name,
        weakness=Weakness.OPEN_RELAY,
        position=daemon.position,
        passing=ways,
        is_out_of_reach=inside,
        own=next((one for one in known.own if "." in one), ""),
    )


def _ways(daemon: _Daemon, setup: Setup, known: Known, through: Through, *, inside: bool) -> tuple[Way, ...]:
    fronts = [
        one for one in setup.front_ends if one.leads_to(daemon.port) and (one.reaches_loopback or not inside)
    ]
    families = []
    for version in daemon.versions:
        client = Client(typical(version, known.address_sets(), setup.allowed), known.named)
        sender, recipient = (
            Said(f"anybody@anywhere.{known.outside}"),
            Said(f"someone@elsewhere.{known.outside}"),
        )
        anybody = Stranger(client, Said(GREETING), sender, recipient)
        clients = [one for one in known.clients(version, setup, fronts) if not inside or one.how is not None]
        choices: dict[str, list[Client | Said]] = {
            "client": [*clients],
            "sender": [*known.senders()],
            "recipient": [*known.recipients()],
        }
        families.append((anybody, choices))
    needs = frozenset({"client"}) if inside else frozenset[str]()
    try:
        return tried(families, partial(_tried, setup, through), most=_MOST_TRIED, needs=needs)
    except TooManyError as error:
        setup.note(Gap(GapKind.TOO_MANY, "ways through the rules", daemon.position))
        return error.found


def _tried(setup: Setup, through: Through, stranger: Stranger) -> list[Way]:
    try:
        causes = through(stranger)
    except UnknownError as error:
        return [Way(stranger.claims, frozenset({setup.note(error.gap)}), stranger.client.causes)]
    if causes is None:
        return []
    if any(sign in (stranger.recipient.text or "") for sign in _ROUTES):
        causes = [Cause(one.text, one.position, "sm-loose") for one in causes]
    return [Way(stranger.claims, causes=(*stranger.client.causes, *causes))]


SERVER = Server(
    name="sendmail",
    home="/etc/mail",
    marks=(
        Mark(name="sendmail.cf"),
        Mark(name="sendmail.mc"),
    ),
    evaluate=evaluate,
    mend=mend,
    check=("sendmail", "-C", "{main}", "-bV"),
    reload=("make", "-C", "/etc/mail", "all", "restart"),
)
