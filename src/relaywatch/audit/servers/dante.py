"""Dante's server (danted.conf(5), 1.4): client rules, then SOCKS rules; the first that fits decides, and none refuses."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from itertools import product
from types import MappingProxyType

from relaywatch.audit.addresses import LOOPBACK, AddressSet
from relaywatch.audit.claims import Claim, ClaimKind
from relaywatch.audit.conditions import ALWAYS, NEVER, Condition, Way, claimed, joined, unknown
from relaywatch.audit.deciding import Rule, first_match
from relaywatch.audit.findings import AuditFinding, Cause, Gap, GapKind, Position
from relaywatch.audit.proxies import (
    AS_HE_LIKES,
    first_of_each,
    headed,
    is_destination,
    is_loopback,
    own_networks,
    ports_to_try,
)
from relaywatch.audit.server import Edit, Mark, Server, Service
from relaywatch.audit.setup import Setup
from relaywatch.audit.text import SourceFile
from relaywatch.audit.tokens import Token, tokens
from relaywatch.audit.witness import OUTSIDE_HOST
from relaywatch.model.evidence import Weakness

_RULES = {"connect": "da-connect", "bind": "da-bind", "udpassociate": "da-udp"}
_NAMED_PORTS = {
    "ftp": 21, "ssh": 22, "telnet": 23, "smtp": 25, "domain": 53, "http": 80, "www": 80, "pop3": 110, "nntp": 119,
    "imap": 143, "imap2": 143, "https": 443, "smtps": 465, "submissions": 465, "submission": 587, "imaps": 993,
    "pop3s": 995, "socks": 1080, "ircd": 6667, "http-alt": 8080,
}  # fmt: skip
_COMPARED: Mapping[str, Callable[[int, int], bool]] = MappingProxyType(
    {
        **dict.fromkeys(("!=", "ne"), operator.ne),
        **dict.fromkeys((">", "gt"), operator.gt),
        **dict.fromkeys((">=", "ge"), operator.ge),
        **dict.fromkeys(("<", "lt"), operator.lt),
        **dict.fromkeys(("<=", "le"), operator.le),
    }
)
_OPERATORS = frozenset({"=", "eq", *_COMPARED})
_PROTOCOLS = {
    "connect": ("socks_v5", "socks_v4"),
    "bind": ("socks_v5", "socks_v4"),
    "udpassociate": ("socks_v5",),
}
_SAYS_NOTHING = re.compile(
    r"from|to|port|command|protocol|proxyprotocol|clientmethod|socksmethod|user|group|log|bandwidth|redirect"
    r"|maxsessions|(?:session|timeout|udp|tcp|pam|ldap|gssapi|bsdauth|rfc931|clientcompression|servercompression)\b.*"
)
"""What a rule says that is evaluated, or that limits only how much and how long."""
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
        is_out_of_reach=bool(heard)
        and all(one.words[:1] == ("lo",) or is_loopback(" ".join(one.words[:1])) for one in heard),
    )


def _what_is_missing(setup: Setup, said: Sequence[_Block]) -> Cause | None:
    """Without an internal and an external address it shuts down, and where a rule has a method that it hasn't."""
    if setup.gaps:
        return None
    names = {one.name for one in said}
    missing = next((name for name in ("internal", "external") if name not in names), None)
    if missing is not None:
        return Cause(f"no {missing} address", rule="da-missing")
    methods = _methods(said, "socksmethod")
    if methods is None:
        return None
    rules = (one for one in said if one.name.removeprefix("socks ") in _OF_RULES)
    beyond = (one for one in rules if not {*(one.values("socksmethod") or ())} <= {*methods.words})
    return next((one.cause("da-method") for one in beyond), None)


def _ways(setup: Setup, said: Sequence[_Block]) -> Iterator[Way]:
    methods = _methods(said, "socksmethod")
    if methods is None:
        return
    words = (word for one in said for other in one.inside for word in other.words)
    texts = [str(_NAMED_PORTS.get(word, word)) for word in words]
    for command, port, version in product(_RULES, ports_to_try(texts), _families(said)):
        for protocol in _PROTOCOLS[command]:
            asked = _Asked(setup, said, command, port, version, protocol)
            for way in joined(asked.as_client(), asked.served()):
                told = way.because(methods.cause("da-none") if "none" in methods.words else methods.cause())
                yield headed(told, f"{OUTSIDE_HOST}:{port} by SOCKS {command}")


def _families(said: Sequence[_Block]) -> tuple[int, ...]:
    """The families of its internal addresses; an interface may have either."""
    heard = [one.words[0] for one in said if one.name == "internal" and one.words]
    found = {4: ":", 6: "."}
    return tuple(
        version for version, other in found.items() if not heard or any(other not in one for one in heard)
    )


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
    protocol: str

    def as_client(self) -> tuple[Way, ...]:
        """Past the client rules."""
        rules = []
        for one in self._of("client"):
            fits = self._from(one) & self._at(one) & self._admitted(one, "clientmethod", unset=True)
            rules.append(self._rule(one, fits, _RULES[self.command]))
        return first_match(rules, default=False).get(True, ())

    def served(self) -> tuple[Way, ...]:
        """Past the SOCKS rules."""
        rules = []
        for one in self._of("socks"):
            fits = self._from(one) & self._to(one) & self._by(one)
            fits &= self._admitted(one, "socksmethod", unset=False)
            rules.append(self._rule(one, fits, "da-socks-wide"))
        return first_match(rules, default=False).get(True, ())

    def _of(self, kind: str) -> Iterator[_Block]:
        bare = _OF_RULES if kind == "socks" else frozenset()
        return (one for one in self.said if one.name in bare or one.name in {f"{kind} pass", f"{kind} block"})

    def _rule(self, one: _Block, fits: Condition, rule: str) -> Rule[bool]:
        is_passing = one.name.endswith("pass")
        if any(not _SAYS_NOTHING.fullmatch(other.name) for other in one.inside):
            fits &= self._unknown(one, one.text)
        return Rule(fits, answer=is_passing, causes=(one.cause(rule),) if is_passing else ())

    def _admitted(self, one: _Block, name: str, *, unset: bool) -> Condition:
        """Whether one of the methods asks for nothing: the client picks, and a rule for others isn't for him."""
        own = one.values(name) or (one.values("method") if name == "socksmethod" else None)
        if own is None:
            everywhere = _methods(self.said, name)
            own = everywhere.words if everywhere is not None else (("none",) if unset else ())
        if "none" in own or any(one.values(key) for key in ("user", "group")):
            return ALWAYS if "none" in own and not (one.values("user") or one.values("group")) else NEVER
        if {"rfc931", "pam.address", "pam.any"} & set(own):
            return unknown(self.setup.note(Gap(GapKind.EXTERNAL, " ".join((name, *own)), one.position)))
        return NEVER

    def _from(self, one: _Block) -> Condition:
        words = one.values("from") or ("0/0",)
        meant = networks(words[0])
        if meant is not None:
            fits = self.setup.strangers(meant, self.version)
            return fits & AS_HE_LIKES if len(words) > 1 else fits  # the port that he comes from
        if words[0].startswith("."):
            return claimed(Claim(ClaimKind.CLIENT_NAME, words[0]))
        return NEVER  # a host, or an interface's own addresses

    def _at(self, one: _Block) -> Condition:
        """Whether he comes to one of the internal addresses that a client rule's ``to`` means."""
        words = one.values("to") or ("0/0",)
        meant = networks(words[0])
        if meant is None:
            return self._unknown(one, " ".join(words))
        found: list[bool | None] = []
        for heard in (other for other in self.said if other.name == "internal" and other.words):
            is_port = _is_port(int(heard.words[-1]) if heard.words[-1].isdecimal() else 1080, words[1:])
            found.append(_holds(meant, heard.words[0], self.version) if is_port else False)
        if not found or None in found:
            return self._unknown(one, " ".join(words)) if found else ALWAYS
        return ALWAYS if all(found) else AS_HE_LIKES if any(found) else NEVER

    def _unknown(self, one: _Block, text: str) -> Condition:
        return unknown(self.setup.note(Gap(GapKind.NOT_EVALUATED, text[:80], one.position)))

    def _to(self, one: _Block) -> Condition:
        words = one.values("to") or ("0/0",)
        meant = networks(words[0])
        fits = is_destination(meant) if meant is not None else _named(words[0])
        if not all(_is_readable(word) for word in words[1:]):
            return fits & self._unknown(one, one.text)
        return fits if _is_port(self.port, words[1:]) else NEVER

    def _by(self, one: _Block) -> Condition:
        commands, carriers, protocols = map(one.values, ("command", "protocol", "proxyprotocol"))
        carrier = "udp" if self.command == "udpassociate" else "tcp"
        asked = ((commands, self.command), (carriers, carrier), (protocols, self.protocol))
        return ALWAYS if all(listed is None or wanted in listed for listed, wanted in asked) else NEVER


def _holds(meant: AddressSet, internal: str, version: int) -> bool | None:
    """Whether an internal address is one of these; nothing if nobody knows, an interface's being the machine's own."""
    whole = AddressSet.everything().only(version)
    if not whole - meant:
        return True
    if not meant.only(version) - LOOPBACK:
        return False
    try:
        address = ip_address(internal)
    except ValueError:
        return None
    return None if address.is_unspecified else address in meant


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


def _is_readable(word: str) -> bool:
    return word[:1].isdecimal() or word in {"port", "port:", *_OPERATORS, *_NAMED_PORTS}


def _is_port(port: int, words: Sequence[str]) -> bool:
    """``port = 25``, ``port gt 1023``, ``port 1-65535``, ``port: 25``."""
    rest = [word for word in words if word not in {"port", "port:"}]
    if not rest:
        return True
    sign = rest[0] if rest[0] in _OPERATORS else "="
    first, _, last = (rest[-1] if rest[-1] not in _OPERATORS else "").partition("-")
    number = _NAMED_PORTS.get(first, int(first) if first.isdecimal() else -1)
    compared = _COMPARED.get(sign)
    if compared is not None:
        return compared(port, number)
    return number <= port <= (int(last) if last.isdecimal() else number)


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
