"""tinyproxy (tinyproxy.conf(5), 1.11): no ``Allow`` and no ``Deny`` means everybody."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from types import MappingProxyType

from relaywatch.audit.addresses import AddressSet
from relaywatch.audit.captures import is_of_own_names, is_outside, names_for
from relaywatch.audit.claims import Claim, ClaimKind
from relaywatch.audit.conditions import Condition, Way, claimed, joined, unknown
from relaywatch.audit.deciding import Rule, first_match
from relaywatch.audit.findings import AuditFinding, Cause, Gap, GapKind, Position
from relaywatch.audit.proxies import first_of_each, headed, is_loopback, own_networks
from relaywatch.audit.server import Edit, Mark, Server, Service
from relaywatch.audit.setup import Setup
from relaywatch.audit.witness import OUTSIDE_HOST
from relaywatch.model.evidence import Weakness

_DIRECTIVE = re.compile(r"\s*(?P<name>\w+)\s+(?P<value>\S.*?)\s*")
_NUMBER, _SWITCH, _TEXT, _REST = r"\d+", r"yes|on|no|off", r'"[^"]*"', r".*"
_ADDRESS = r"[\d.]+|[0-9a-f:.]+(?:%\w+)?"
_CLIENT = r"[\d.]+(?:/\d+)?|[0-9a-f:.]+(?:/\d+)?|[-a-z0-9._]+"
_FORMS: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(
            ("port", "connectport", "timeout", "maxclients", "maxspareservers", "minspareservers"), _NUMBER
        ),
        **dict.fromkeys(("startservers", "maxrequestsperchild"), _NUMBER),
        **dict.fromkeys(("listen", "bind"), _ADDRESS),
        **dict.fromkeys(("allow", "deny"), _CLIENT),
        **dict.fromkeys(
            ("bindsame", "disableviaheader", "filtercasesensitive", "filterdefaultdeny"), _SWITCH
        ),
        **dict.fromkeys(("filterextended", "filterurls", "reversemagic", "reverseonly", "syslog"), _SWITCH),
        **dict.fromkeys(("xtinyproxy",), rf"{_SWITCH}|{_CLIENT}"),
        **dict.fromkeys(("filter", "logfile", "pidfile", "defaulterrorfile", "statfile", "stathost"), _TEXT),
        **dict.fromkeys(("viaproxyname", "reversebaseurl", "anonymous", "basicauthrealm"), _TEXT),
        "basicauth": r"\S+\s+\S+",
        **dict.fromkeys(("addheader", "errorfile", "filtertype", "group", "loglevel", "logto"), _REST),
        **dict.fromkeys(("reversepath", "upstream", "user"), _REST),
    }
)
"""What each directive's value must be: after anything else on the line, a comment too, it refuses to start."""
_USUAL_PORT = "8888"
_ASKED = (("CONNECT", "25"), ("CONNECT", "443"), ("CONNECT", "80"), ("GET", "25"), ("GET", "80"))


@dataclass(frozen=True, slots=True)
class _Directive:
    name: str
    value: str
    position: Position

    def cause(self, rule: str = "") -> Cause:
        return Cause(f"{self.name} {self.value}".strip(), self.position, rule)


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
        down=_what_it_stumbles_over(said, setup),
        is_out_of_reach=bool(listening) and all(is_loopback(one.value) for one in listening),
    )


def _directives(setup: Setup) -> list[_Directive] | None:
    source = setup.read_main()
    if source is None:
        return None
    said: list[_Directive] = []
    for number, line in enumerate(source.lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = _DIRECTIVE.fullmatch(line)
        if found is None:
            setup.note(Gap(GapKind.SYNTAX, line.strip()[:80], source.at(number)))
        name, value = (found["name"].lower(), found["value"]) if found else ("", line.strip())
        said.append(_Directive(name, value, source.at(number)))
    return said


def _what_it_stumbles_over(said: list[_Directive], setup: Setup) -> Cause | None:
    """A line that it can't read ends it, and so does a list of hosts that isn't there."""
    for one in said:
        form = _FORMS.get(one.name)
        if form is None or not re.fullmatch(form, one.value, re.IGNORECASE):
            return one.cause("tp-syntax")
    filtering = _last(said, "filter")
    is_missing = filtering is not None and not setup.has(filtering.value.strip('"')) and not setup.tree.label
    return filtering.cause("tp-no-filter") if filtering is not None and is_missing else None


def _passing(said: list[_Directive], setup: Setup) -> tuple[Way, ...]:
    if any(directive.name == "basicauth" for directive in said):
        return ()
    ways = [way for version in (4, 6) for way in _let_in(said, version, setup)]
    mapped = [one for one in said if one.name == "reversepath" and _mapped(one)]
    if _is_on(said, "reverseonly") and mapped:
        loose = (Way(causes=(one.cause("tp-reverse-loose"),)) for one in mapped if _is_loose(_mapped(one)))
        return first_of_each(
            headed(way, f"{host}:80 by GET /.{host}/")
            for through in loose
            for host, filtered in _filtered(said, setup)
            for way in joined((through,), joined(ways, filtered))
        )
    return first_of_each(
        headed(way.because(*_of_tunnels(said, method)), f"{host}:{port} by {method}")
        for method, port in _ASKED
        if method == "GET" or _is_tunnelled(said, port)
        for host, filtered in _filtered(said, setup)
        for way in joined(ways, filtered)
    )


def _mapped(line: _Directive) -> str:
    """The URL to which a ``ReversePath`` leads; empty where it is none, and tinyproxy passes over the line."""
    *path, url = re.findall(r'"([^"]*)"', line.value) or [""]
    return url if "://" in url and all(one.startswith("/") for one in path[:1]) else ""


def _is_loose(url: str) -> bool:
    """Whether what follows the path in a request goes on with the host's name, since no slash ends it."""
    return "/" not in url.partition("://")[2]


def _is_tunnelled(said: list[_Directive], port: str) -> bool:
    """``ConnectPort`` holds for CONNECT alone, and without any every port is let through."""
    ports = {int(one.value) for one in said if one.name == "connectport" and one.value.isdecimal()}
    return not ports or int(port) in ports


def _of_tunnels(said: list[_Directive], method: str) -> tuple[Cause, ...]:
    is_limited = any(one.name == "connectport" for one in said)
    return (
        (Cause("no ConnectPort line", rule="tp-connect"),) if method == "CONNECT" and not is_limited else ()
    )


def _let_in(said: list[_Directive], version: int, setup: Setup) -> tuple[Way, ...]:
    """The first ``Allow`` or ``Deny`` that fits decides; none fits: no; there is none at all: yes."""
    rules = [
        Rule(
            _fits(one, version, setup),
            answer=one.name == "allow",
            causes=(one.cause(_rule_of(one)),) if one.name == "allow" else (),
        )
        for one in said
        if one.name in {"allow", "deny"}
    ]
    if not rules:
        return (Way(causes=(Cause("no Allow and no Deny line", rule="tp-no-allow"),)),)
    return first_match(rules, default=False).get(True, ())


def _rule_of(line: _Directive) -> str:
    return "tp-allow-wide" if _addresses(line) is not None else "tp-allow-name"


def _addresses(line: _Directive) -> AddressSet | None:
    try:
        return AddressSet.of([line.value])
    except ValueError:
        return None


def _fits(line: _Directive, version: int, setup: Setup) -> Condition:
    """Whether a stranger of this family is meant: an address, a network, or the end of a host's name.

    The name is the client's own word: tinyproxy asks for the PTR record, and doesn't ask back.
    """
    addresses = _addresses(line)
    if addresses is not None:
        return setup.strangers(addresses, version)
    return claimed(Claim(ClaimKind.CLIENT_NAME, line.value.lower()))


def _filtered(said: list[_Directive], setup: Setup) -> Iterator[tuple[str, tuple[Way, ...]]]:
    """A host that the list of hosts lets through, if there is any, and what is known of it."""
    filtering = _last(said, "filter")
    source = setup.read(filtering.value.strip('"'), filtering.position) if filtering is not None else None
    if filtering is None:
        yield OUTSIDE_HOST, (Way(),)
        return
    gap = Gap(GapKind.NOT_EVALUATED, filtering.cause().text, filtering.position)
    patterns = (
        [line.strip() for line in source.lines if line.strip()[:1] not in {"", "#"}] if source else None
    )
    is_default_deny = _is_on(said, "filterdefaultdeny")
    if patterns is None or (_is_on(said, "filterurls") and patterns):
        yield OUTSIDE_HOST, unknown(setup.note(gap)).true
        return
    by_shell = (kind := _last(said, "filtertype")) is not None and kind.value.lower() == "fnmatch"
    found = [_listed(pattern, by_shell=by_shell) for pattern in patterns]
    if is_default_deny:
        name = next((name for name, _ in found if name), "")
        if name:
            yield name, (Way(causes=(filtering.cause(),)),)
        elif not all(is_sure for _, is_sure in found):
            yield OUTSIDE_HOST, unknown(setup.note(gap)).true
    elif not any(name == OUTSIDE_HOST for name, _ in found):
        yield OUTSIDE_HOST, (Way(),)
    elif not any(pattern in {".", ".*", "^", "*"} for pattern in patterns):
        yield OUTSIDE_HOST, unknown(setup.note(gap)).true


def _listed(pattern: str, *, by_shell: bool) -> tuple[str, bool]:
    """An outside host that a pattern means, if there is one, and whether that is all that is to be known."""
    if by_shell:
        made = [OUTSIDE_HOST, pattern.replace("*", "elsewhere")]
        name = next((one for one in made if is_outside(one) and fnmatchcase(one, pattern)), "")
        return name, True
    name = next(names_for(pattern), "")
    return name, bool(name) or is_of_own_names(pattern)


def mend(setup: Setup, finding: AuditFinding) -> Iterator[Edit]:
    """Let in what the owner allows, and this machine; take out what is too wide."""
    source = setup.read_main()
    if source is None:
        return
    allowed = [f"Allow {network}" for network in own_networks(setup)]
    there = {line.strip() for number, line in enumerate(source.lines, 1) if number != finding.line}
    lines = tuple(line for line in ["Allow 127.0.0.1", "Allow ::1", *allowed] if line not in there)
    if finding.rule == "tp-no-allow":
        end = len(source.lines)
        yield Edit(setup.main, end + 1, end, lines)
    elif finding.rule in {"tp-allow-wide", "tp-allow-name"}:
        yield Edit(setup.main, finding.line, finding.line, lines)
    elif finding.rule == "tp-reverse-loose":
        fresh = re.sub(r'"\s*$', '/"', source.lines[finding.line - 1])
        yield Edit(setup.main, finding.line, finding.line, (fresh,))


def _last(said: list[_Directive], name: str) -> _Directive | None:
    return next((directive for directive in reversed(said) if directive.name == name), None)


def _is_on(said: list[_Directive], name: str) -> bool:
    found = _last(said, name)
    return found is not None and found.value.lower() in {"yes", "on"}


SERVER = Server(
    name="tinyproxy",
    home="/etc/tinyproxy",
    marks=(
        Mark(name="tinyproxy.conf"),
        Mark(
            name="*.conf",
            holds=re.compile(
                r"^\s*(?:ConnectPort|XTinyproxy|ViaProxyName|DisableViaHeader)\s",
                re.MULTILINE | re.IGNORECASE,
            ),
        ),
    ),
    evaluate=evaluate,
    mend=mend,
    reload=("systemctl", "restart", "tinyproxy"),
)
