"""MikroTik RouterOS (``/export``, IPv4): its proxy and its SOCKS server, their access lists, and the input chain.

Nothing of it can be run here: the rules are as RouterOS's documentation has them.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field

from relaywatch.audit.addresses import AddressSet
from relaywatch.audit.claims import Claim, ClaimKind
from relaywatch.audit.conditions import ALWAYS, NEVER, Condition, Way, claimed, joined, unknown
from relaywatch.audit.deciding import Rule, first_match
from relaywatch.audit.findings import AuditFinding, Cause, Gap, GapKind, Position
from relaywatch.audit.proxies import (
    AS_HE_LIKES,
    first_of_each,
    headed,
    is_destination,
    own_networks,
    ports_to_try,
)
from relaywatch.audit.server import Edit, Mark, Server, Service
from relaywatch.audit.setup import Setup
from relaywatch.audit.text import Joins, SourceFile, logical_lines
from relaywatch.audit.witness import OUTSIDE_HOST
from relaywatch.model.evidence import Weakness

_SERVICES = {"/ip proxy": "8080", "/ip socks": "1080"}
_ON = frozenset({"yes", "true"})
_REFUSING = frozenset({"drop", "reject", "tarpit"})
_PASSING_OVER = frozenset(
    {"log", "passthrough", "add-src-to-address-list", "add-dst-to-address-list", "fasttrack-connection"}
)
_SAYS_NOTHING = frozenset(
    {"chain", "action", "comment", "disabled", "log", "log-prefix", "place-before", "reject-with"}
)


@dataclass(frozen=True, slots=True)
class _Item:
    """An ``add`` or ``set`` of a menu."""

    menu: str
    values: dict[str, str] = field(hash=False)
    position: Position
    text: str

    def cause(self, rule: str = "") -> Cause:
        return Cause(f"{self.menu} {self.text}"[:200], self.position, rule)

    @property
    def is_on(self) -> bool:
        return self.values.get("disabled") not in _ON

    @property
    def action(self) -> str:
        return self.values.get("action", "accept")


def evaluate(setup: Setup) -> Iterator[Service]:
    """The web proxy and the SOCKS server, if they are on."""
    source = setup.read_main()
    if source is None:
        return
    said = list(_items(setup, source))
    for menu, usual in _SERVICES.items():
        settings = [one for one in said if one.menu == menu and "enabled" in one.values]
        here: dict[str, str] = {}
        for one in (one for one in said if one.menu == menu):
            here |= one.values
        is_on = here.get("enabled") in _ON
        port = here.get("port", usual).split(",")[0]
        router = _Router(setup, said, menu, port if port.isdigit() else usual)
        is_asked = here.get("auth-method") == "password" and here.get("version") == "5"  # SOCKS4 knows none
        yield Service(
            name=f"{menu} *:{port}",
            weakness=Weakness.OPEN_PROXY,
            position=settings[-1].position if settings else None,
            passing=first_of_each(router.passing(settings[-1])) if is_on and not is_asked else (),
        )


def _items(setup: Setup, source: SourceFile) -> Iterator[_Item]:
    menu = ""
    for line in logical_lines(source, Joins.BY_BACKSLASH):
        text = line.text
        if text.startswith("/"):
            head = re.match(r"/[a-z0-9/ -]+?(?=[\s/]+(?:add|set|remove|print)\b|$)", text)
            named = head[0] if head else text
            text = text[len(named) :].lstrip("/ ")
            menu = f"/{named[1:].replace('/', ' ')}"  # /ip/proxy is RouterOS 7's way to write it
        if not text:
            continue
        try:
            words = shlex.split(text)
        except ValueError:
            setup.note(Gap(GapKind.SYNTAX, text[:80], line.position))
            continue
        if words[0] in {"add", "set"}:
            pairs = [word.partition("=") for word in words[1:] if "=" in word]
            yield _Item(menu, {name: value for name, _, value in pairs}, line.position, text)
        elif menu in {*_SERVICES, "/ip proxy access", "/ip socks access", "/ip firewall filter"}:
            setup.note(Gap(GapKind.SYNTAX, text[:80], line.position))


@dataclass(frozen=True, slots=True)
class _Router:
    setup: Setup
    said: list[_Item]
    menu: str
    port: str

    def passing(self, settings: _Item) -> Iterator[Way]:
        """Past the input chain, and then past the access list."""
        asked = (
            (("CONNECT", "mk-proxy"), ("GET", "mk-forward"))
            if self.menu == "/ip proxy"
            else (("SOCKS", "mk-socks"),)
        )
        reached = self._chain("/ip firewall raw", "prerouting")
        reached = joined(reached, self._chain("/ip firewall filter", "input"))
        for how, rule in asked:
            for port in ports_to_try(one.values.get("dst-port", "") for one in self.said):
                for way in joined(self._listed(how, port), reached):
                    told = Way(causes=(settings.cause(rule),)).joined(way)
                    yield headed(told, f"{OUTSIDE_HOST}:{port} by {how}")

    # --- access lists ---

    def _listed(self, how: str, port: int) -> tuple[Way, ...]:
        """The first that fits decides; none does: it is let through."""
        rules = [
            Rule(
                self._fits(one, how, port),
                answer=one.values.get("action", "allow") == "allow",
                causes=(one.cause(),),
            )
            for one in self.said
            if one.menu == f"{self.menu} access" and one.is_on
        ]
        return first_match(rules, default=True).get(True, ())

    def _fits(self, one: _Item, how: str, port: int) -> Condition:
        found = ALWAYS
        for name, value in one.values.items():
            if name in {"src-address", "dst-address"}:
                found &= self._addresses(one, name, value)
            elif name in {"dst-port", "method"}:
                is_meant = _is_port(value, port) if name == "dst-port" else _is_method(value, how)
                found &= ALWAYS if is_meant else NEVER
            elif name == "dst-host":
                found &= self._host(one, value)
            elif name == "path":
                found &= AS_HE_LIKES
            elif name == "local-port":
                found &= ALWAYS if _is_port(value, int(self.port)) else NEVER
            elif name not in {*_SAYS_NOTHING, "redirect-to", "action-data"}:
                found &= self._gap(one)
        return found

    def _host(self, one: _Item, value: str) -> Condition:
        """A name with wildcards, or an expression behind a colon: the list is of the names that are meant."""
        if value.startswith(":"):
            return self._gap(one)
        if value in {"*", ""}:
            return ALWAYS
        if one.values.get("action", "allow") != "allow":
            return NEVER  # he asks for another
        if "*" not in value and "?" not in value:
            return NEVER
        tail = value.rpartition("*")[2]
        if value.startswith("*.") and tail.count(".") == 1:
            return claimed(Claim(ClaimKind.DESTINATION, f"elsewhere{tail}"))
        return NEVER if value.startswith("*.") and tail.count(".") > 1 else self._gap(one)

    # --- firewall ---

    def _chain(self, menu: str, chain: str) -> tuple[Way, ...]:
        """The first that fits decides; none does: it is accepted."""
        rules = []
        for one in self.said:
            if (
                one.menu != menu
                or one.values.get("chain") != chain
                or not one.is_on
                or one.action in _PASSING_OVER
            ):
                continue
            fits = self._met(one)
            if one.action not in {*_REFUSING, "accept"}:
                fits &= self._gap(one)
                rules.append(Rule(fits, answer=False))
            else:
                rules.append(Rule(fits, answer=one.action == "accept", causes=(one.cause(),)))
        return first_match(rules, default=True).get(True, ())

    def _met(self, one: _Item) -> Condition:
        found = ALWAYS
        for name, value in one.values.items():
            if name in _SAYS_NOTHING:
                continue
            if name in {"src-address", "src-address-list"}:
                found &= self._addresses(one, name, value)
            elif name == "protocol":
                found &= ALWAYS if (value.lstrip("!") in {"tcp", "6"}) is not value.startswith("!") else NEVER
            elif name in {"dst-port", "port"}:
                found &= ALWAYS if _is_port(value, int(self.port)) else NEVER
            elif name == "connection-state":
                is_new = "new" in value.lstrip("!").split(",")
                found &= ALWAYS if is_new is not value.startswith("!") else NEVER
            elif name in {"in-interface", "in-interface-list"}:
                found &= self._came_by(one, name, value)
            elif name == "dst-address-type" and value == "local":
                continue
            else:
                found &= self._gap(one)
        return found

    def _came_by(self, one: _Item, name: str, value: str) -> Condition:
        """A stranger comes by the interfaces of the list WAN, and never by those of LAN."""
        is_not, bare = value.startswith("!"), value.lstrip("!")
        lists = [bare]
        if name == "in-interface":
            lists = [
                member.values.get("list", "")
                for member in self.said
                if member.menu == "/interface list member" and member.values.get("interface") == bare
            ]
        if "WAN" in lists:
            return NEVER if is_not else ALWAYS
        if "LAN" in lists:
            return ALWAYS if is_not else NEVER
        if bare == "all":
            return ALWAYS
        return self._gap(one)

    def _addresses(self, one: _Item, name: str, value: str) -> Condition:
        is_not, bare = value.startswith("!"), value.lstrip("!")
        texts = [bare]
        if name == "src-address-list":
            texts = [
                member.values.get("address", "")
                for member in self.said
                if member.menu == "/ip firewall address-list"
                and member.values.get("list") == bare
                and member.is_on
            ]
        meant = AddressSet()
        for text in texts:
            first, dash, last = text.partition("-")
            try:
                meant |= _span(first, last) if dash else AddressSet.of([text])
            except ValueError:
                return self._gap(one)
        fits = is_destination(meant) if name == "dst-address" else self.setup.strangers(meant, 4)
        if name == "dst-address" and not fits.true and not is_not:
            return NEVER
        return ~fits if is_not else fits

    def _gap(self, one: _Item) -> Condition:
        return unknown(self.setup.note(Gap(GapKind.NOT_EVALUATED, one.cause().text[:120], one.position)))


def _span(first: str, last: str) -> AddressSet:
    low, high = AddressSet.of([first]).networks(4), AddressSet.of([last]).networks(4)
    return AddressSet.span(low[0][0], high[0][0]) if low and high else AddressSet()


def _is_port(value: str, port: int) -> bool:
    is_not = value.startswith("!")
    spans = [one.partition("-") for one in value.lstrip("!").split(",")]
    is_in = any(
        int(low) <= port <= int(high if high.isdigit() else low) for low, _, high in spans if low.isdigit()
    )
    return is_in is not is_not


def _is_method(value: str, how: str) -> bool:
    return (value.lstrip("!").upper() == how) is not value.startswith("!")


def mend(setup: Setup, finding: AuditFinding) -> Iterator[Edit]:
    """An input rule before all others: the owner's networks, and nobody else; without any, it is switched off."""
    source = setup.read_main()
    if source is None or not finding.line or finding.rule not in {"mk-proxy", "mk-forward", "mk-socks"}:
        return
    line = source.lines[finding.line - 1]
    own = [one for one in own_networks(setup) if ":" not in one]
    if not own:
        yield Edit(
            setup.main, finding.line, finding.line, (re.sub(r"enabled=(?:yes|true)", "enabled=no", line),)
        )
        return
    menu = finding.causes[0].text.split(" set")[0]
    lines = [
        f"{menu} access",
        *(f"add action=allow src-address={one}" for one in own),
        "add action=deny",
        menu,
    ]
    at = finding.line
    while at > 1 and not source.lines[at - 1].startswith("/"):
        at -= 1
    yield Edit(setup.main, at, at - 1, tuple(lines[:-1]))


SERVER = Server(
    name="mikrotik",
    home="/routeros",  # an export lies anywhere, and not on the machine itself
    marks=(
        Mark(
            name="*.rsc",
            holds=re.compile(r"^/(?:ip|interface|system|routing|certificate)\b", re.MULTILINE),
        ),
        Mark(name="*.txt", holds=re.compile(r"^# .*by RouterOS", re.MULTILINE)),
    ),
    evaluate=evaluate,
    mend=mend,
)
