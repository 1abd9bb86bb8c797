"""3proxy (3proxy.cfg(5), 1.0): lines are obeyed in order, and a service has the lists that stand above it.

Without ``auth``, or with ``none`` in it, no list is applied at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from ipaddress import ip_address
from types import MappingProxyType

from relaywatch.audit.addresses import AddressSet
from relaywatch.audit.claims import Claim, ClaimKind
from relaywatch.audit.conditions import ALWAYS, NEVER, Condition, Way, any_of, claimed, joined, unknown
from relaywatch.audit.deciding import Rule, first_match
from relaywatch.audit.findings import AuditFinding, Cause, Gap, GapKind, Position
from relaywatch.audit.proxies import (
    AS_HE_LIKES,
    first_of_each,
    headed,
    is_destination,
    is_loopback,
    own_networks,
    path_of,
    ports_to_try,
)
from relaywatch.audit.server import Edit, Mark, Server, Service
from relaywatch.audit.setup import Setup
from relaywatch.audit.text import SourceFile
from relaywatch.audit.witness import OUTSIDE_HOST
from relaywatch.model.evidence import Weakness

_ASKED: Mapping[str, tuple[tuple[str, str], ...]] = MappingProxyType(
    {
        "proxy": (("HTTP_CONNECT", "p3-connect"), ("HTTP_GET", "p3-forward"), ("HTTP_POST", "p3-forward")),
        "socks": (("CONNECT", "p3-socks"), ("BIND", "p3-bind"), ("UDPASSOC", "p3-udp")),
        "tlspr": (("CONNECT", "p3-sni"),),
        "auto": (("HTTP_CONNECT", "p3-connect"), ("CONNECT", "p3-socks")),
    }
)
"""What a stranger asks of each kind of service, and the rule that it breaks."""
_USUAL_PORTS = {"proxy": "3128", "socks": "1080", "tlspr": "1443", "auto": "8080"}
_FIXED = frozenset({"tcppm", "udppm", "admin", "dnspr", "icqpr"})
"""Services that lead to one place."""
_BY_NAME = frozenset({"smtpp", "pop3p", "imapp", "ftppr"})
"""Services that lead to whatever host the client's user name ends in, by mail's and files' own protocols."""
_PORTS_AT = (4, 6)
"""The word of a list's line that is of ports: behind the address of the next proxy in ``redirect``."""
_WORD = re.compile(r'\$?"(?:[^"]|"")*"|\S+')
_ALLOWING = frozenset({"allow", "redirect"})
_BY_PASSWORD = frozenset({"strong", "cache", "cacheacl", "radius"})
_MOST_DEPTH = 8


@dataclass(frozen=True, slots=True)
class _Line:
    words: tuple[str, ...]
    position: Position
    gap: Gap | None = None
    """A file among its words that couldn't be read."""

    def cause(self, rule: str = "") -> Cause:
        return Cause(" ".join(self.words)[:200], self.position, rule)

    def word(self, number: int) -> str:
        """One of its words; ``*`` where it has none."""
        return self.words[number] if len(self.words) > number else "*"


@dataclass(slots=True)
class _State:
    """What holds for the services that follow."""

    auth: _Line | None = None
    rules: list[_Line] = field(default_factory=list)
    internal: str = ""


def evaluate(setup: Setup) -> Iterator[Service]:
    """Every service that leads to destinations of the client's own."""
    source = setup.read_main()
    found = list(_services(setup, source))
    if source is not None and not found:
        yield Service(name="no service", weakness=Weakness.OPEN_PROXY)
    yield from found


def _services(setup: Setup, source: SourceFile | None) -> Iterator[Service]:
    state = _State()
    for line in _lines(setup, source, 0):
        name = line.words[0]
        if name == "auth":
            state.auth = line
        elif name in {"allow", "deny", "redirect"}:
            state.rules.append(line)
        elif name == "flush":
            state.rules = []
        elif name == "internal":
            state.internal = line.word(1)
        elif name == "end":
            return
        elif name in _ASKED:
            yield _service(setup, line, state)
        elif name in _FIXED | _BY_NAME | {"plugin"}:
            _not_evaluated(setup, line, state)


def _not_evaluated(setup: Setup, line: _Line, state: _State) -> None:
    """It can't decide anything if it leads to one place, or if nobody gets to it."""
    name = line.words[0]
    gap = Gap(GapKind.NOT_EVALUATED, " ".join(line.words)[:80], line.position)
    is_closed = name in _BY_NAME and not _Asked(setup, state, "CONNECT", "", 25, 4).ways()
    if name in _FIXED or is_closed:
        setup.set_aside(gap)
    else:
        setup.note(gap)


def _lines(setup: Setup, source: SourceFile | None, depth: int) -> Iterator[_Line]:
    """What begins with a blank or ``#`` is a comment; ``include`` takes a file in."""
    for number, text in enumerate(source.lines if source else (), 1):
        if source is None or not text.strip() or text[0] in " \t#\r":
            continue
        line = _line(setup, text, source.at(number))
        if line.words[:1] == ("include",):
            if depth >= _MOST_DEPTH:
                setup.note(Gap(GapKind.LOOP, line.word(1), line.position))
                continue
            yield from _lines(setup, setup.read(line.word(1), line.position), depth + 1)
        elif line.words:
            yield line


def _line(setup: Setup, text: str, position: Position) -> _Line:
    """The words; ``$file`` stands for the words in a file."""
    words: list[str] = []
    gap: Gap | None = None
    for found in _WORD.finditer(text):
        bare = found[0].lstrip("$") if found[0].startswith("$") else found[0]
        bare = bare[1:-1].replace('""', '"') if len(bare) > 1 and bare[0] == bare[-1] == '"' else bare
        if not found[0].startswith("$"):
            words.append(bare)
            continue
        named = setup.read(bare, position)
        if named is None:
            gap = Gap(GapKind.MISSING, bare, position)
        else:
            words += named.text.split()
    return _Line(tuple(words) or ("",), position, gap)


def _service(setup: Setup, line: _Line, state: _State) -> Service:
    options = [word for word in line.words[1:] if word.startswith("-")]
    bound = next((one[2:] for one in options if one.startswith("-i")), state.internal)
    port = next((one[2:] for one in options if one.startswith("-p")), _USUAL_PORTS[line.words[0]])
    ways = [
        headed(way.because(line.cause()), f"{OUTSIDE_HOST}:{number} by {line.words[0]} {operation}")
        for operation, rule in _ASKED[line.words[0]]
        for number in ports_to_try(one.word(_PORTS_AT[one.words[0] == "redirect"]) for one in state.rules)
        for version in (4, 6)
        for way in _Asked(setup, state, operation, rule, number, version).ways()
    ]
    is_leaving = any(one.startswith(("-r", "-R")) for one in options)
    if is_leaving:
        setup.note(Gap(GapKind.NOT_EVALUATED, " ".join(line.words)[:80], line.position))
    return Service(
        name=f"{line.words[0]} {bound or '*'}:{port}",
        weakness=Weakness.OPEN_PROXY,
        position=line.position,
        passing=first_of_each(ways),
        is_out_of_reach=bool(bound) and is_loopback(bound),
    )


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a stranger of a family asks for."""

    setup: Setup
    state: _State
    operation: str
    rule: str
    port: int
    version: int

    def ways(self) -> tuple[Way, ...]:
        """By any of the kinds of authentication: which are tried in their order, until one lets him in."""
        auth = self.state.auth
        kinds = auth.words[1:] if auth else ()
        if auth is None or not kinds:
            return (Way(causes=(Cause("no auth line", rule=self.rule),)),)
        if "none" in kinds:
            return (Way(causes=(auth.cause(self.rule),)),)
        found: list[Way] = []
        for kind in kinds:
            found += self._by(kind, auth)
        return tuple(found)

    def _by(self, kind: str, auth: _Line) -> tuple[Way, ...]:
        if kind in _BY_PASSWORD:
            return ()
        admitted: Condition = ALWAYS
        if kind == "dnsname":
            admitted = claimed(Claim(ClaimKind.CLIENT_NAME, "any that leads back"))
        elif kind not in {"iponly", "useronly"}:
            admitted = unknown(self.setup.note(Gap(GapKind.EXTERNAL, f"auth {kind}", auth.position)))
        listed = self._listed(kind)
        return tuple(way.because(auth.cause()) for way in joined(listed, admitted.true))

    def _listed(self, kind: str) -> tuple[Way, ...]:
        """The first line that fits decides; none fits: no; there is none: yes."""
        if not self.state.rules:
            return (Way(causes=(Cause("no allow and no deny line", rule=self.rule),)),)
        rules = []
        for line in self.state.rules:
            fits = self._fits(line, kind)
            is_allowing = line.words[0] in _ALLOWING
            if line.gap is not None:
                fits = unknown(self.setup.note(line.gap))
            rules.append(
                Rule(fits, answer=is_allowing, causes=(line.cause(self.rule),) if is_allowing else ())
            )
        return first_match(rules, default=False).get(True, ())

    def _fits(self, line: _Line, kind: str) -> Condition:
        at = 3 if line.words[0] == "redirect" else 1
        users, sources, targets, ports, operations = (line.word(at + number) for number in range(5))
        when = AS_HE_LIKES if {line.word(at + 5), line.word(at + 6)} != {"*"} else ALWAYS
        if not self._is_port(ports) or not self._is_operation(operations):
            return NEVER
        return self._user(users, kind) & self._from(sources) & self._to(targets, line) & when

    def _user(self, users: str, kind: str) -> Condition:
        if users == "*":
            return ALWAYS
        if kind == "useronly":  # nobody asks for a password
            return any_of(claimed(Claim(ClaimKind.FIELD, f"user name {one}")) for one in users.split(","))
        if kind == "dnsname":
            return any_of(claimed(Claim(ClaimKind.CLIENT_NAME, one)) for one in users.split(","))
        return ALWAYS if "-" in users.split(",") else NEVER

    def _from(self, sources: str) -> Condition:
        if sources == "*":
            return ALWAYS
        meant = AddressSet()
        for one in sources.split(","):
            meant |= _addresses(one) or AddressSet()
        return self.setup.strangers(meant, self.version)

    def _to(self, targets: str, line: _Line) -> Condition:
        """Names are looked at only where the client gives one; what is given by address passes them."""
        if targets == "*":
            return ALWAYS
        addresses, names = AddressSet(), []
        for one in targets.split(","):
            meant = _addresses(one)
            addresses |= meant or AddressSet()
            names += [] if meant is not None else [one.lower()]
        fits = is_destination(addresses)
        for name in names:
            if fnmatchcase(OUTSIDE_HOST, name):
                return ALWAYS
            made = name.replace("*", "elsewhere", 1)
            if name.startswith("*") and len(made.split(".")) == 2:
                fits |= claimed(Claim(ClaimKind.DESTINATION, made))
        if names and not addresses and line.words[0] in _ALLOWING and not self.operation.startswith("HTTP"):
            fits |= unknown(self.setup.note(Gap(GapKind.NOT_EVALUATED, " ".join(line.words), line.position)))
        return fits

    def _is_port(self, ports: str) -> bool:
        if ports == "*":
            return True
        spans = [one.partition("-") for one in ports.split(",")]
        return any(
            int(first) <= self.port <= int(last if last.isdigit() else first)
            for first, _, last in spans
            if first.isdigit()
        )

    def _is_operation(self, operations: str) -> bool:
        for one in operations.split(","):
            is_any_http = one == "HTTP" and self.operation != "HTTP_CONNECT"
            if one in {"*", self.operation} or (one == "HTTPS" and self.operation == "HTTP_CONNECT"):
                return True
            if is_any_http and self.operation.startswith("HTTP_"):
                return True
        return False


def _addresses(text: str) -> AddressSet | None:
    """An address, a network, or the first and last of a range; nothing for a name."""
    first, dash, last = text.partition("-")
    try:
        if not dash:
            return AddressSet.of([first])
        low, high = ip_address(first), ip_address(last)
        return AddressSet.span(low, high) if low.version == high.version else AddressSet()
    except ValueError:
        return None


def mend(setup: Setup, finding: AuditFinding) -> Iterator[Edit]:
    """Lists that know addresses, and the owner's networks on them, before the service or in the wide line's place."""
    path = path_of(setup, finding.file)
    if path is None or not finding.rule.startswith("p3-"):
        return
    own = ",".join(own_networks(setup) or ("127.0.0.0/8",))
    lines = (f"allow * {own}", "deny *")
    cause = next(one for one in finding.causes if one.rule)
    words = cause.text.split()
    if words[0] == "allow":
        yield Edit(path, finding.line, finding.line, lines[:1])
    elif words[0] == "auth":
        yield Edit(path, finding.line, finding.line, ("auth iponly",))
    else:
        service = next(one.position for one in reversed(finding.causes) if one.position)
        at, there = service.line, path_of(setup, service.file)
        if there is not None:
            before = ("auth iponly",) if cause.text == "no auth line" else ()
            yield Edit(there, at, at - 1, (*before, *lines))


SERVER = Server(
    name="3proxy",
    home="/etc/3proxy",
    marks=(Mark(name="3proxy.cfg"), Mark(name="3proxy.conf"), Mark(name="3proxy*.cfg")),
    evaluate=evaluate,
    mend=mend,
    reload=("systemctl", "restart", "3proxy"),
)
