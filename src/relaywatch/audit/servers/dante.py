"""Dante's server (danted.conf(5), 1.4): client rules, then SOCKS rules; the first that fits decides, and none refuses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from relaywatch.audit.addresses import AddressSet
from relaywatch.audit.claims import Claim, ClaimKind
from relaywatch.audit.conditions import ALWAYS, NEVER, Condition, Way, claimed, joined, unknown
from relaywatch.audit.deciding import Rule, first_match
from relaywatch.audit.findings import AuditFinding, Cause, Gap, GapKind, Position
from relaywatch.audit.proxies import first_of_each, headed, is_destination, is_loopback, own_networks
from relaywatch.audit.server import Edit, Mark, Server, Service
from relaywatch.audit.setup import Setup
from relaywatch.audit.text import SourceFile
from relaywatch.audit.tokens import Token, tokens
from relaywatch.audit.witness import OUTSIDE_HOST
from relaywatch.model.evidence import Weakness

_RULES = {"connect": "da-connect", "bind": "da-bind", "udpassociate": "da-udp"}
_NAMED_PORTS = {"smtp": 25, "http": 80, "https": 443, "submission": 587, "smtps": 465, "socks": 1080}
_OPERATORS = frozenset({"=", "eq", "!=", "ne", "gt", "ge", "lt", "le", ">", ">=", "<", "<="})
_PORTS = (25, 443, 80, 587, 40025)
_OF_RULES = frozenset({"pass", "block"})
_OLD = {"method": "socksmethod"}


@dataclass(slots=True)
class _Block:
    """A setting, or a rule with its own settings."""

    name: str
    """``internal``, ``client pass``, ``socks block``."""
    words: tuple[str, ...]
    position: Position
    last: int
    text: str
    inside: list[_Block] = field(default_factory=list)

    def cause(self, rule: str = "") -> Cause:
        return Cause(self.text, self.position, rule)

    def values(self, name: str) -> tuple[str, ...] | None:
        """What is set in it under a name; nothing if it isn't."""
        return next((one.words for one in self.inside if one.name == name), None)


def evaluate(setup: Setup) -> Iterator[Service]:
    """One server, on all its internal addresses."""
    source = setup.read_main()
    if source is None:
        return
    said = _Parsing(setup, source).whole()
    heard = [one for one in said if one.name == "internal"]
    yield Service(
        name=", ".join(" ".join(one.words) for one in heard) or "no internal address",
        weakness=Weakness.OPEN_PROXY,
        position=heard[0].position if heard else None,
        passing=first_of_each(_ways(setup, said)),
        down=_what_is_missing(setup, said),
        is_out_of_reach=bool(heard) and all(is_loopback(one.words[0] if one.words else "") for one in heard),
    )


def _what_is_missing(setup: Setup, said: Sequence[_Block]) -> Cause | None:
    """Without an internal and an external address it shuts down."""
    names = {one.name for one in said}
    missing = next((name for name in ("internal", "external") if name not in names), None)
    if missing is None or setup.gaps:
        return None
    return Cause(f"no {missing} address", rule="da-missing")


def _ways(setup: Setup, said: Sequence[_Block]) -> Iterator[Way]:
    methods = _methods(said, "socksmethod")
    if methods is None:
        return
    for command in _RULES:
        for port in _PORTS:
            for version in (4, 6):
                asked = _Asked(setup, said, command, port, version)
                for way in joined(asked.as_client(), asked.served()):
                    told = way.because(
                        methods.cause("da-none") if "none" in methods.words else methods.cause()
                    )
                    yield headed(told, f"{OUTSIDE_HOST}:{port} by SOCKS {command}")


def _methods(said: Sequence[_Block], name: str) -> _Block | None:
    return next((one for one in reversed(said) if one.name == name), None)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a stranger of a family asks for."""

    setup: Setup
    said: Sequence[_Block]
    command: str
    port: int
    version: int

    def as_client(self) -> tuple[Way, ...]:
        """Past the client rules."""
        rules = []
        for one in self._of("client"):
            fits = self._from(one)
            if one.name.endswith("pass"):
                fits &= self._admitted(one, "clientmethod", unset=True)
            rules.append(self._rule(one, fits, _RULES[self.command]))
        return first_match(rules, default=False).get(True, ())

    def served(self) -> tuple[Way, ...]:
        """Past the SOCKS rules."""
        rules = []
        for one in self._of("socks"):
            fits = self._from(one) & self._to(one) & self._by(one)
            if one.name.endswith("pass"):
                fits &= self._admitted(one, "socksmethod", unset=False)
            rules.append(self._rule(one, fits, "da-socks-wide"))
        return first_match(rules, default=False).get(True, ())

    def _of(self, kind: str) -> Iterator[_Block]:
        bare = _OF_RULES if kind == "socks" else frozenset()
        return (one for one in self.said if one.name in bare or one.name in {f"{kind} pass", f"{kind} block"})

    def _rule(self, one: _Block, fits: Condition, rule: str) -> Rule[bool]:
        is_passing = one.name.endswith("pass")
        return Rule(fits, answer=is_passing, causes=(one.cause(rule),) if is_passing else ())

    def _admitted(self, one: _Block, name: str, *, unset: bool) -> Condition:
        """Whether one of the methods asks for nothing: the client picks."""
        own = one.values(name) or (one.values("method") if name == "socksmethod" else None)
        if own is None:
            everywhere = _methods(self.said, name)
            own = everywhere.words if everywhere is not None else (("none",) if unset else ())
        if "none" in own or any(one.values(key) for key in ("user", "group")):
            return ALWAYS if "none" in own and not (one.values("user") or one.values("group")) else NEVER
        if any(method == "rfc931" or method.startswith("pam.address") for method in own):
            return unknown(self.setup.note(Gap(GapKind.EXTERNAL, " ".join((name, *own)), one.position)))
        return NEVER

    def _from(self, one: _Block) -> Condition:
        words = one.values("from") or ("0/0",)
        meant = networks(words[0])
        if meant is not None:
            return self.setup.strangers(meant, self.version)
        if words[0].startswith("."):
            return claimed(Claim(ClaimKind.CLIENT_NAME, words[0]))
        return NEVER  # a host, or an interface's own addresses

    def _to(self, one: _Block) -> Condition:
        words = one.values("to") or ("0/0",)
        meant = networks(words[0])
        fits = is_destination(meant) if meant is not None else _named(words[0])
        return fits if self.port in _ports(words[1:]) else NEVER

    def _by(self, one: _Block) -> Condition:
        commands, protocols = one.values("command"), one.values("protocol") or one.values("proxyprotocol")
        if commands is not None and self.command not in commands:
            return NEVER
        carrier = "udp" if self.command == "udpassociate" else "tcp"
        wanted = {carrier, "socks_v5", *(() if carrier == "udp" else ("socks_v4",))}
        return ALWAYS if protocols is None or wanted & set(protocols) else NEVER


def _named(name: str) -> Condition:
    """A destination by its name: hosts below a top-level domain are the stranger's to choose."""
    if name == ".":
        return ALWAYS
    labels = name.strip(".").split(".")
    if name.startswith(".") and len(labels) == 1:
        return claimed(Claim(ClaimKind.DESTINATION, f"elsewhere.{labels[0]}"))
    return NEVER


def networks(text: str) -> AddressSet | None:
    """The addresses that a rule's ``from`` or ``to`` means; nothing for a name or an interface."""
    if text in {"0/0", "0.0.0.0/0/0", "any"}:
        return AddressSet.everything()
    try:
        return AddressSet.of([text])
    except ValueError:
        return None


def _ports(words: Sequence[str]) -> range:
    """``port = 25``, ``port gt 1023``, ``port 1-65535``, ``port: 25``."""
    rest = [word for word in words if word not in {"port", "port:"}]
    if not rest:
        return range(65536)
    operator = rest[0] if rest[0] in _OPERATORS else "="
    first, _, last = (rest[-1] if rest[-1] not in _OPERATORS else "").partition("-")
    number = _NAMED_PORTS.get(first, int(first) if first.isdigit() else -1)
    if operator in {"!=", "ne"}:
        return range(65536) if number != 25 else range(26, 65536)
    spans = {
        "gt": range(number + 1, 65536), ">": range(number + 1, 65536), "ge": range(number, 65536),
        ">=": range(number, 65536), "lt": range(number), "<": range(number),
        "le": range(number + 1), "<=": range(number + 1),
    }  # fmt: skip
    return spans.get(operator, range(number, int(last if last.isdigit() else number) + 1))


@dataclass(slots=True)
class _Parsing:
    setup: Setup
    source: SourceFile
    stray: bool = False

    def whole(self) -> list[_Block]:
        """All settings and rules; what is none is a gap."""
        found: list[_Block] = []
        rule: _Block | None = None
        words: list[Token] = []
        try:
            for token in (*tokens(self.source, marks="{}", by_line=True), Token("\n", 0, is_mark=True)):
                if not token.is_mark:
                    words.append(token)
                    continue
                if token.text == "{":
                    rule = self._rule(words)
                    found.append(rule)
                elif rule is None:
                    found += self._settings(words)
                else:
                    rule.inside += self._settings(words)
                    rule.text = " ".join((rule.text, *(word.text for word in words)))
                if token.text == "}" and rule is not None:
                    rule.last, rule.text, rule = token.line, f"{rule.text} }}", None
                words = []
        except ValueError as error:
            self._stray(int(str(error)))
        return found

    def _rule(self, words: list[Token]) -> _Block:
        name = " ".join(word.text for word in words)
        line = words[0].line if words else 0
        if name.split(" ")[-1] not in {*_OF_RULES, "route"}:
            self._stray(line)
        return _Block(name, (), self.source.at(line), line, f"{name} {{")

    def _settings(self, words: list[Token]) -> list[_Block]:
        """``key: values`` as often as a line has them; a colon may stand apart."""
        found: list[_Block] = []
        for number, word in enumerate(words):
            if word.text == ":":
                continue
            following = words[number + 1].text if number + 1 < len(words) else ""
            is_key = word.text.endswith(":") or following == ":"
            is_port = word.text.rstrip(":") == "port" and found
            if is_key and not is_port:
                name = _OLD.get(word.text.rstrip(":"), word.text.rstrip(":"))
                text = " ".join(one.text for one in words)
                found.append(_Block(name, (), self.source.at(word.line), word.line, text))
            elif not found:
                self._stray(word.line)
            else:
                found[-1].words += (word.text,)
        return found

    def _stray(self, line: int) -> None:
        text = self.source.lines[line - 1].strip()[:80] if 0 < line <= len(self.source.lines) else ""
        self.setup.note(Gap(GapKind.SYNTAX, text, self.source.at(line)))


def mend(setup: Setup, finding: AuditFinding) -> Iterator[Edit]:
    """Client rules for the owner's networks in the place of the one that lets strangers in."""
    source = setup.read_main()
    if source is None or finding.rule not in _RULES.values():
        return
    said = _Parsing(setup, source).whole()
    rule = next((one for one in said if one.position == finding.position), None)
    if rule is None:
        return
    own = own_networks(setup) or ("127.0.0.0/8",)
    lines = tuple(f"client pass {{ from: {network} to: 0/0 }}" for network in own)
    yield Edit(setup.main, rule.position.line, rule.last, lines)


SERVER = Server(
    name="dante",
    home="/etc",
    marks=(Mark(name="danted.conf"), Mark(name="sockd.conf")),
    evaluate=evaluate,
    mend=mend,
    check=("danted", "-V", "-f", "{main}"),
    reload=("systemctl", "restart", "danted"),
)
