"""What a stranger gets out of each frontend of HAProxy."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product

from relaywatch.audit.claims import Claim, ClaimKind
from relaywatch.audit.conditions import Way, claimed, joined, unknown
from relaywatch.audit.deciding import Rule, first_match
from relaywatch.audit.findings import Gap, GapKind
from relaywatch.audit.proxies import by_rule, first_of_each, headed, host_and_port, is_loopback, to
from relaywatch.audit.server import Service
from relaywatch.audit.setup import Setup
from relaywatch.audit.witness import OUTSIDE_HOST
from relaywatch.model.evidence import Weakness

from .matching import Matching, variable_of
from .reading import STAGES, Line, Section, sections

_REFUSING = re.compile(r"reject|deny|tarpit|return|redirect|auth|silent-drop|use-service")
_LETTING = frozenset({"accept", "allow"})
_CLIENTS = re.compile(
    r"(?:(?:req\.|req_)?f?hdr(?:_ip|_val|_names)?|urlp(?:_val)?|url_param|url(?:_ip|_port)?|path|base|query|pathq|uri"
    r"|(?:req\.)?cook|req\.ssl_sni|req_ssl_sni|ssl_fc_sni|req\.payload|payload|req\.body\w*|body\w*|capture\.req)\b"
)
_FIXED = re.compile(
    r"(?:str|int|bool|bin|ip|ipv4|ipv6|meth|env|proc|hostname|src|src_port|dst|dst_port|fc_src|fc_dst|fe_\w+|be_\w+|srv_\w+"
    r"|always_\w+|date|uuid|rand)\b(?!.*,concat\()"
)
_VARIABLE = re.compile(r"var\(([^),]+)")
_EMBEDDED = re.compile(r"%\[([^\]]*)\]")
_NOWHERE = frozenset({"0.0.0.0", "*", "::", ""})  # noqa: S104 -- an address to look for, not to bind to
_MAIL_PORTS = frozenset({"25", "465", "587", "2525"})
_MOST_DEPTH = 6


def evaluate(setup: Setup) -> Iterator[Service]:
    """Every ``listen`` and ``frontend``, with the backends that it leads to."""
    found = sections(setup)
    backends = {one.name: one for one in found if one.kind in {"backend", "listen"}}
    for section in found:
        if section.kind not in {"listen", "frontend"}:
            continue
        bound = [line for line in section.lines if line.words[0] == "bind"]
        heard = [word for line in bound for word in line.words[1:2]]
        ways = [way for version in (4, 6) for way in _passing(setup, section, backends, version)]
        yield Service(
            name=f"{section.kind} {section.name}",
            weakness=Weakness.OPEN_PROXY,
            position=section.head.position,
            passing=first_of_each(ways),
            is_out_of_reach=all(_is_inside(one) for word in heard for one in word.split(",")),
        )


def _is_inside(bound: str) -> bool:
    bare = re.sub(r"^(?:ipv4|ipv6|tcp4|tcp6)@", "", bound)
    return bare.startswith(("unix@", "abns@", "/", "fd@", "sockpair@")) or is_loopback(host_and_port(bare)[0])


@dataclass(frozen=True, slots=True)
class _Route:
    """From a frontend to one of its backends."""

    setup: Setup
    front: Section
    back: Section
    version: int

    @property
    def sections(self) -> tuple[Section, ...]:
        """The frontend, then the backend: each has its own rules, and ``allow`` ends those of one."""
        return (self.front,) if self.back is self.front else (self.front, self.back)

    def matching(self, section: Section) -> Matching:
        """How conditions of a section are evaluated."""
        return Matching(self.setup, section, self.version, self.sections)


def _passing(setup: Setup, front: Section, backends: dict[str, Section], version: int) -> Iterator[Way]:
    for back, chosen in _backends(setup, front, backends, version):
        route = _Route(setup, front, back, version)
        for way in _leading_out(route):
            for through in joined(_let_through(route), chosen):
                yield by_rule(way, through)


def _backends(
    setup: Setup, front: Section, backends: dict[str, Section], version: int
) -> Iterator[tuple[Section, tuple[Way, ...]]]:
    """The sections with servers that a request may come to, and how."""
    matching = Matching(setup, front, version)
    left: tuple[Way, ...] = (Way(),)
    for line in front.all("use_backend"):
        name = line.words[1] if len(line.words) > 1 else ""
        chosen = matching.when(line)
        for back in backends.values() if "%[" in name else filter(None, [backends.get(name)]):
            yield back, joined(left, chosen.true)
        if "%[" not in name:  # of a name that no backend has he comes to the default
            left = joined(left, chosen.false)
    default = front.last("default_backend")
    last = backends.get(default.words[1]) if default and len(default.words) > 1 else None
    if last is not None:
        yield last, left
    elif front.kind == "listen":
        yield front, left


def _let_through(route: _Route) -> tuple[Way, ...]:
    """The ways past all that refuses, stage by stage."""
    ways: tuple[Way, ...] = (Way(),)
    for stage in STAGES:
        for section in route.sections:
            rules = list(_rules(route, section, stage))
            ways = joined(ways, first_match(rules, default=True).get(True, ()))
    for line in (line for section in route.sections for line in section.all(".if")):
        gap = route.setup.note(Gap(GapKind.NOT_EVALUATED, line.text[:80], line.position))
        ways = joined(ways, unknown(gap).true)
    return ways


def _rules(route: _Route, section: Section, stage: tuple[str, ...]) -> Iterator[Rule[bool]]:
    for line in section.obeyed(*stage):
        action = line.action(stage)
        condition = route.matching(section).when(line)
        if action.startswith(("use-service", "lua.")):
            gap = route.setup.note(Gap(GapKind.EXTERNAL, line.text[:80], line.position))
            yield Rule(condition & unknown(gap), answer=False)
        elif _REFUSING.match(action):
            yield Rule(condition, answer=False)
        elif action in _LETTING:
            yield Rule(condition, answer=True)


def _leading_out(route: _Route) -> Iterator[Way]:
    """The ways to a destination of the client's own."""
    asked = route.back.last("option", "http_proxy") or route.front.last("option", "http_proxy")
    if asked is not None:
        gap = route.setup.note(Gap(GapKind.NOT_EVALUATED, f"{asked.text}: up to HAProxy 1.8", asked.position))
        yield Way(gaps=frozenset((gap,)), causes=(asked.cause("ha-http-proxy"),)).joined(
            to(f"{OUTSIDE_HOST}:25 by GET")
        )
    for server, port in _wild(route.back):
        yield from _by_setting(route, server, port)
        if server.words[0] == "option" or any(
            "transparent" in line.words for line in route.front.all("bind")
        ):
            gap = route.setup.note(Gap(GapKind.NOT_EVALUATED, server.text[:80], server.position))
            yield from joined(unknown(gap).because(server.cause()).true, (to(),))
        for line in route.front.all("bind"):
            if "accept-proxy" in line.words:
                claim = claimed(Claim(ClaimKind.PROXY_HEADER, f"to {OUTSIDE_HOST}:25"))
                yield from claim.because(line.cause("ha-accept-proxy"), server.cause()).true
    for server in route.back.all("server"):
        _note_hidden(route.setup, server)


def _wild(back: Section) -> Iterator[tuple[Line, str]]:
    """What goes where the connection was meant to go, and to which port: a server without an address, or none at all."""
    servers = list(back.all("server"))
    for line in servers:
        if len(line.words) > 2 and _is_wild(line.words[2]):
            yield line, host_and_port(line.words[2])[1]
    asked = back.last("option", "transparent")
    if asked is not None and not servers and back.last("dispatch") is None:
        yield asked, ""


def _by_setting(route: _Route, server: Line, port: str) -> Iterator[Way]:
    wanted = port if port not in {"", "0"} else "25"
    for stage, section in product(STAGES, route.sections):
        left: tuple[Way, ...] = (Way(),)
        for line in section.obeyed(*stage):
            action = line.action(stage)
            when = route.matching(section).when(line)
            if action in _LETTING:
                left = joined(left, when.false)  # whoever is let through here comes to no later rule
            for known in _taken(route, line, action, len(stage)):
                told = known.because(server.cause())
                yield from (
                    headed(told.joined(way), f"{OUTSIDE_HOST}:{wanted}") for way in joined(left, when.true)
                )


def _taken(route: _Route, line: Line, action: str, depth: int) -> Iterator[Way]:
    """That a line takes the destination from the client, if it does or may."""
    if not action.startswith("set-dst") or action.startswith("set-dst-port"):
        return
    expression = action.partition("(")[2] or " ".join(line.words[depth + 1 :])
    by_client = _is_clients(route, expression, 0)
    if by_client is None:
        gap = route.setup.note(Gap(GapKind.NOT_EVALUATED, line.text[:80], line.position))
        yield Way(gaps=frozenset((gap,)), causes=(line.cause("ha-set-dst"),))
    elif by_client:
        yield Way(causes=(line.cause("ha-set-dst"),))


def _is_clients(route: _Route, expression: str, depth: int) -> bool | None:
    """Whether an expression is the client's own words; nothing if that isn't known."""
    bare = re.split(r"\s(?:if|unless)\s", expression)[0]
    embedded = _EMBEDDED.findall(bare)
    if embedded:
        return _worst(_is_clients(route, one, depth + 1) for one in embedded)
    if re.search(r",map(?:_(?!reg)\w+)?\(", bare):
        return False
    if ",map_reg" in bare or depth > _MOST_DEPTH:
        return None
    named = _VARIABLE.search(bare)
    if named is None:
        told = bare.strip("()")
        return True if _CLIENTS.match(told) else False if _FIXED.match(told) else None
    set_to = [
        " ".join(line.words[len(stage) + 1 :])
        for stage, section in product(STAGES, route.sections)
        for line in section.obeyed(*stage)
        if variable_of(line.action(stage)) == named[1]
    ]
    return _worst(_is_clients(route, one, depth + 1) for one in set_to) if set_to else None


def _worst(found: Iterable[bool | None]) -> bool | None:
    told = list(found)
    return True if True in told else None if None in told else False


def _is_wild(address: str) -> bool:
    return host_and_port(re.sub(r"^(?:ipv4|ipv6)@", "", address))[0] in _NOWHERE


def _note_hidden(setup: Setup, server: Line) -> None:
    """In front of mail it hides clients, unless it tells the server who comes: that is the mail server's to judge."""
    target = server.words[2] if len(server.words) > 2 else ""
    is_told = any(word.startswith("send-proxy") for word in server.words)
    if host_and_port(target)[1] in _MAIL_PORTS and not is_told:
        setup.set_aside(Gap(GapKind.NOT_EVALUATED, f"{server.text}: hides who comes", server.position))
