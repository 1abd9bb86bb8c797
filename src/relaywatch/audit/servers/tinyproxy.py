"""tinyproxy (tinyproxy.conf(5), 1.11): no ``Allow`` and no ``Deny`` means everybody."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address

from relaywatch.audit.addresses import LOOPBACK, AddressSet
from relaywatch.audit.claims import Claim, ClaimKind
from relaywatch.audit.conditions import NEVER, Condition, Way, claimed
from relaywatch.audit.deciding import Rule, first_match
from relaywatch.audit.findings import AuditFinding, Cause, Gap, GapKind, Position
from relaywatch.audit.server import Edit, Mark, Server, Service
from relaywatch.audit.setup import Setup
from relaywatch.audit.text import Joins, logical_lines
from relaywatch.model.evidence import Weakness

_DIRECTIVE = re.compile(r'(?P<name>\w+)\s+(?P<value>"[^"]*"|\S.*?)\s*(?:#.*)?')
_KNOWN = frozenset(
    {
        "addheader",
        "allow",
        "anonymous",
        "basicauth",
        "basicauthrealm",
        "bind",
        "bindsame",
        "connectport",
        "defaulterrorfile",
        "deny",
        "disableviaheader",
        "errorfile",
        "filter",
        "filtercasesensitive",
        "filterdefaultdeny",
        "filterextended",
        "filtertype",
        "filterurls",
        "group",
        "listen",
        "logfile",
        "loglevel",
        "logto",
        "maxclients",
        "maxrequestsperchild",
        "maxspareservers",
        "minspareservers",
        "pidfile",
        "port",
        "reversebaseurl",
        "reversemagic",
        "reverseonly",
        "reversepath",
        "startservers",
        "statfile",
        "stathost",
        "syslog",
        "timeout",
        "upstream",
        "user",
        "viaproxyname",
        "xtinyproxy",
    }
)
_USUAL_PORT = "8888"


@dataclass(frozen=True, slots=True)
class _Directive:
    name: str
    value: str
    position: Position

    def cause(self, rule: str = "") -> Cause:
        return Cause(f"{self.name} {self.value}", self.position, rule)


def evaluate(setup: Setup) -> Iterator[Service]:
    """One listener: who is let in, and where to."""
    said = _directives(setup)
    if said is None:
        return
    port = _last(said, "port")
    listening = [directive for directive in said if directive.name == "listen"]
    yield Service(
        name=", ".join(
            f"{listen}:{port.value if port else _USUAL_PORT}"
            for listen in [one.value for one in listening] or ["*"]
        ),
        weakness=Weakness.OPEN_PROXY,
        position=listening[0].position if listening else (port.position if port else None),
        passing=_passing(said, setup),
        down=_what_it_stumbles_over(said),
        is_out_of_reach=bool(listening) and all(_is_loopback(one.value) for one in listening),
    )


def _directives(setup: Setup) -> list[_Directive] | None:
    source = setup.read_main()
    if source is None:
        return None
    said: list[_Directive] = []
    for line in logical_lines(source, Joins.BY_BACKSLASH):
        found = _DIRECTIVE.fullmatch(line.text)
        if found is None:
            setup.note(Gap(GapKind.SYNTAX, line.text[:80], line.position))
            continue
        said.append(_Directive(found["name"].lower(), found["value"].strip('"'), line.position))
    return said


def _what_it_stumbles_over(said: list[_Directive]) -> Cause | None:
    """A directive that it doesn't know ends it: "Syntax error on line"."""
    unknown = next((directive for directive in said if directive.name not in _KNOWN), None)
    return unknown.cause("tp-syntax") if unknown else None


def _passing(said: list[_Directive], setup: Setup) -> tuple[Way, ...]:
    if any(directive.name == "basicauth" for directive in said):
        return ()
    only_reverse = _last(said, "reverseonly")
    if only_reverse and only_reverse.value.lower() in {"yes", "on"}:
        return ()
    ways = [way for version in (4, 6) for way in _let_in(said, version, setup)]
    to = _destinations(said, setup)
    return tuple(dict.fromkeys(way.joined(to) for way in ways))


def _let_in(said: list[_Directive], version: int, setup: Setup) -> tuple[Way, ...]:
    """The first ``Allow`` or ``Deny`` that fits decides; none fits: no; there is none at all: yes."""
    rules = [
        Rule(
            _fits(one, version, setup),
            one.name == "allow",
            (one.cause("tp-allow-wide" if one.name == "allow" else ""),),
        )
        for one in said
        if one.name in {"allow", "deny"}
    ]
    if not rules:
        return (Way(causes=(Cause("no Allow and no Deny line", rule="tp-no-allow"),)),)
    return first_match(rules, default=False).get(True, ())


def _fits(rule: _Directive, version: int, setup: Setup) -> Condition:
    """Whether a stranger of this family is meant: an address, a network, or a host's or domain's name."""
    try:
        addresses = AddressSet.of([rule.value])
    except ValueError:
        name = rule.value.lower()
        return NEVER if name == "localhost" else claimed(Claim(ClaimKind.CLIENT_NAME, name))
    return setup.strangers(addresses, version)


def _destinations(said: list[_Directive], setup: Setup) -> Way:
    """Where it leads: ``ConnectPort`` holds for CONNECT alone, and a list of hosts isn't evaluated."""
    gaps = set()
    refusing = _last(said, "filterdefaultdeny")
    if refusing and refusing.value.lower() in {"yes", "on"} and (filtering := _last(said, "filter")):
        gaps.add(setup.note(Gap(GapKind.NOT_EVALUATED, f"Filter {filtering.value}", filtering.position)))
    ports = {one.value for one in said if one.name == "connectport"}
    claims = (
        frozenset()
        if not ports
        else frozenset({Claim(ClaimKind.DESTINATION, f"elsewhere.example:{_best(ports)}")})
    )
    return Way(claims, frozenset(gaps))


def _best(ports: set[str]) -> str:
    """The port to show: mail's, if it is let through; absolute URIs go to any port in any case."""
    return next((port for port in ("25", "443") if port in ports), "80")


def mend(setup: Setup, finding: AuditFinding) -> Iterator[Edit]:
    """Let in what the owner allows, and this machine; take out what is too wide."""
    source = setup.read_main()
    if source is None:
        return
    allowed = [f"Allow {network}" for version in (4, 6) for network in setup.allowed.networks(version)]
    there = set(map(str.strip, source.lines))
    lines = tuple(line for line in ["Allow 127.0.0.1", "Allow ::1", *allowed] if line not in there)
    if finding.rule == "tp-no-allow":
        end = len(source.lines)
        yield Edit(setup.main, end + 1, end, lines)
    elif finding.rule == "tp-allow-wide":
        yield Edit(setup.main, finding.line, finding.line, lines)


def _last(said: list[_Directive], name: str) -> _Directive | None:
    return next((directive for directive in reversed(said) if directive.name == name), None)


def _is_loopback(text: str) -> bool:
    try:
        return ip_address(text) in LOOPBACK
    except ValueError:
        return text.lower() == "localhost"


SERVER = Server(
    name="tinyproxy",
    home="/etc/tinyproxy",
    marks=(
        Mark(name="tinyproxy.conf"),
        Mark(
            name="*.conf",
            holds=re.compile(r"^\s*(?:ConnectPort|MaxClients|XTinyproxy)\s", re.MULTILINE | re.IGNORECASE),
        ),
    ),
    evaluate=evaluate,
    mend=mend,
    reload=("systemctl", "restart", "tinyproxy"),
)
