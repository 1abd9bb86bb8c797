"""Exim (specification 4.96 to 4.98): the ACL of RCPT, its lists, and where routers send what it accepts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import product

from relaywatch.audit.addresses import LOOPBACK, AddressSet
from relaywatch.audit.conditions import Way, shortest
from relaywatch.audit.findings import Cause, Gap, GapKind, Position
from relaywatch.audit.placed import Placed
from relaywatch.audit.server import Mark, Server, Service
from relaywatch.audit.setup import Setup
from relaywatch.audit.strangers import ANYBODY, GREETING, Client, Said, Stranger, typical, unless
from relaywatch.audit.trying import TooManyError, tried
from relaywatch.model.evidence import Weakness

from .acl import SPOKEN, Dialogue, Port, conditions_of, host_sets
from .config import VERBS, Config, Statement, parsed, statements
from .expansion import ForcedError, UnknownError
from .matching import split
from .mending import mend
from .reading import Preprocessor, sources_of
from .routing import Routing
from .strangers import Candidates

_MOST_TRIED = 3_000
_PORTS = {"smtp": "25", "smtps": "465", "submissions": "465", "submission": "587"}
_OUTSIDE = "someone@elsewhere.example"
_BEFORE = ("acl_smtp_connect", "acl_smtp_helo", "acl_smtp_mail", "acl_smtp_rcpt")


def evaluate(setup: Setup) -> Iterator[Service]:
    """Every port, since an ACL may ask for it."""
    preprocessor = Preprocessor(setup)
    sources = sources_of(setup, preprocessor)
    if not sources:
        return
    config = parsed(preprocessor.lines(sources), setup)
    interfaces = _interfaces(config)
    inside = bool(interfaces) and all(_is_loopback(one) for one in interfaces)
    for port in _ports(config, interfaces):
        listener = _Listener(config, setup, port, inside)
        yield Service(
            name=f"port {port.number}",
            weakness=Weakness.OPEN_RELAY,
            position=_position(config, "acl_smtp_rcpt"),
            passing=listener.ways(),
            is_out_of_reach=inside,
        )


@dataclass(slots=True)
class _Listener:
    config: Config
    setup: Setup
    port: Port
    inside: bool
    opaque: frozenset[str] = frozenset()
    """Conditions about what he says that came out the same for everybody who was made up for them."""

    def ways(self) -> tuple[Way, ...]:
        """The shortest ways through."""
        if "acl_smtp_rcpt" not in self.config.options:
            return ()  # 550 Administrative prohibition
        self.opaque = frozenset(self._opaque())
        needs = frozenset({"client"}) if self.inside else frozenset()
        try:
            return tried(self._strangers(), self._through, most=_MOST_TRIED, needs=needs)
        except TooManyError as error:
            self.setup.note(
                Gap(GapKind.TOO_MANY, "ways through the ACLs", _position(self.config, "acl_smtp_rcpt"))
            )
            return error.found

    def _strangers(self) -> Iterator[tuple[Stranger, dict[str, list[Client | Said]]]]:
        candidates = self._candidates(self._anybody(4, []))
        sets = host_sets(self.config, candidates.lists)
        fronts = tuple(one for one in self.setup.front_ends if one.reaches_loopback or not self.inside)
        for version in (4, 6):
            anybody = self._anybody(version, sets)
            clients: list[Client | Said] = [*candidates.through(fronts, version)]
            if not self.inside:
                clients += candidates.clients(version, sets)
                clients += candidates.named(str(anybody.client.address))
                clients += self._lying(candidates, sets, anybody)
            yield (
                anybody,
                {
                    "client": clients,
                    "sender": [*candidates.senders()],
                    "greeting": [*candidates.greetings()],
                    "recipient": [*candidates.recipients(), *candidates.routes()],
                },
            )

    def _candidates(self, anybody: Stranger) -> Candidates:
        return Candidates(self.config, self._dialogue(anybody).lists, self.setup)

    def _opaque(self) -> Iterator[str]:
        """A condition that asks what he says, and that no claim was found for: there may be one all the same."""
        anybody, choices = next(iter(self._strangers()))
        others = [anybody, *(anybody.varied(one, name) for name in choices for one in choices[name])]
        words = self._candidates(anybody).words("local_part", "domain")
        for word in words:
            others += [
                anybody.varied(Said(text), "recipient") for text in (f"a@{word}", f"{word}@elsewhere.example")
            ]
        pairs = product(choices["sender"], choices["greeting"])
        others += [anybody.varied(one, "sender").varied(other, "greeting") for one, other in pairs]
        for condition in conditions_of(self.config):
            text = condition.value.text
            if not SPOKEN.search(text) and ("sender_host_address" not in text or "match_ip" in text):
                continue
            answers = {self._dialogue(other).holds(condition) for other in others}
            if len(answers) == 1 and None not in answers:
                yield condition.value.text

    def _anybody(self, version: int, sets: list[AddressSet]) -> Stranger:
        address = typical(version, sets, self.setup.allowed)
        client = Client(address, claims=frozenset(unless(version, address, sets, self.setup.allowed)))
        return Stranger(client, Said(GREETING), Said(ANYBODY), Said(_OUTSIDE))

    def _lying(self, candidates: Candidates, sets: list[AddressSet], anybody: Stranger) -> Iterator[Client]:
        value = self.config.options.get("hosts_proxy")
        if value is None:
            return
        found = self._dialogue(anybody).lists.find("host", value, str(anybody.client.address))
        if found.holds:
            cause = Cause(f"hosts_proxy = {value.text}"[:200], found.position or value.position, "ex-proxy")
            yield from candidates.lying(sets, cause)

    def _dialogue(self, stranger: Stranger) -> Dialogue:
        routing = Routing(self.config, self.setup)
        return Dialogue(self.config, self.setup, stranger, self.port, routing.leaves, opaque=self.opaque)

    def _through(self, stranger: Stranger) -> list[Way]:
        """The ways in which his message is taken and sent on."""
        ways = [Way(stranger.claims, causes=stranger.client.causes)]
        for name in _BEFORE:
            if name not in self.config.options:
                continue
            dialogue = self._dialogue(stranger)
            dialogue.stage = "rcpt" if name == "acl_smtp_rcpt" else "before"
            found = self._acl(name, dialogue)
            if isinstance(found, Gap):
                cause = Cause(f"{name} = {found.subject}"[:200], found.position)
                answers = (
                    [Way(gaps=frozenset({found}), causes=(cause,))] if dialogue.stage == "rcpt" else [Way()]
                )
            else:
                answers = dialogue.accepted(found)
                if dialogue.stage != "rcpt":
                    answers = [Way(way.claims) for way in answers]  # it can only refuse
            ways = [way.joined(answer) for way in ways for answer in answers]
        leaving = Routing(self.config, self.setup).leaves(stranger) if ways else []
        return list(shortest(way.joined(out) for way in ways for out in leaving))

    def _acl(self, name: str, dialogue: Dialogue) -> tuple[Statement, ...] | Gap:
        """An ACL by its option: a name, a file, or its statements."""
        value = self.config.options[name]
        try:
            text = dialogue.lists.expand(value.text).strip()
        except ForcedError:  # which Exim takes for an ACL that accepts
            return statements([Placed("accept", ((0, value.position),))], self.setup)
        except UnknownError as error:
            gap = Gap(GapKind.NOT_EVALUATED, f"{name}: {error}"[:200], value.position)
            self.setup.set_aside(gap)
            return gap
        if not text or text in self.config.acls:
            return self.config.acls[text] if text else ()
        if text.split(None, 1)[0:1] and text.split(None, 1)[0] in VERBS:
            lines = [
                Placed(line.strip(), ((0, value.position),)) for line in text.splitlines() if line.strip()
            ]
            return statements(lines, self.setup)
        source = self.setup.read(text, value.position) if text.startswith("/") else None
        if source is None:
            gap = Gap(GapKind.MISSING, text[:200], value.position)
            self.setup.set_aside(gap)
            return gap
        return statements(Preprocessor(self.setup).lines([source]), self.setup)


def _position(config: Config, name: str) -> Position | None:
    return config.options[name].position if name in config.options else None


def _interfaces(config: Config) -> list[str]:
    value = config.options.get("local_interfaces")
    return [one for one in split(value.text) if one] if value else []


def _is_loopback(interface: str) -> bool:
    host = interface.partition("]")[0].strip("[") if interface.startswith("[") else interface
    for text in (host, host.rpartition(".")[0]):
        try:
            return ip_address(text) in LOOPBACK
        except ValueError:
            continue
    return False


def _ports(config: Config, interfaces: list[str]) -> Iterator[Port]:
    """daemon_smtp_ports, and those that local_interfaces name."""
    value = config.options.get("daemon_smtp_ports") or config.options.get("daemon_smtp_port")
    names = [one for one in split(value.text) if one] if value else ["smtp"]
    names += [found[1] for one in interfaces if (found := re.fullmatch(r"\[.*\]:(\d+)", one))]
    tls = config.options.get("tls_on_connect_ports")
    encrypted = {_PORTS.get(one, one) for one in split(tls.text)} if tls else set()
    for number in dict.fromkeys(_PORTS.get(name, name) for name in names):
        yield Port(number, number in encrypted)


SERVER = Server(
    name="exim",
    home="/etc/exim4",
    other_homes=("/etc/exim",),
    marks=(
        Mark(name="exim4/update-exim4.conf.conf"),
        Mark(name="exim4/exim4.conf"),
        Mark(name="exim4/config.autogenerated"),
        Mark(name="exim/exim.conf"),
        Mark(
            name="*exim*.conf",
            holds=re.compile(r"^\s*(?:acl_smtp_\w+\s*=|begin\s+(?:acl|routers)\b)", re.MULTILINE),
        ),
    ),
    evaluate=evaluate,
    mend=mend,
    check=("exim", "-C", "{main}", "-bV"),
    reload=("systemctl", "restart", "exim4"),
)
