"""KumoMTA (docs.kumomta.com: start_esmtp_listener, make_listener_domain): what its policy says in so many words.

The policy is a program in Lua, which isn't run: what isn't a list of literals, or a file that the usual helper
``listener_domains`` reads, is unknown.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from relaywatch.audit.addresses import AddressSet
from relaywatch.audit.claims import Claim, ClaimKind
from relaywatch.audit.conditions import ALWAYS, NEVER, Condition, Way, claimed, joined
from relaywatch.audit.domains import is_public_suffix
from relaywatch.audit.findings import AuditFinding, Cause, Gap, GapKind, Position
from relaywatch.audit.proxies import own_networks
from relaywatch.audit.server import Edit, Mark, Server, Service
from relaywatch.audit.setup import Setup
from relaywatch.audit.text import SourceFile
from relaywatch.model.evidence import Weakness

_LISTENER = re.compile(r"\bstart_esmtp_listener\b(?P<open>\s*\(?\s*\{)?")
_HOSTS = re.compile(r"\brelay_hosts\b(?:\s*=\s*(\{[^}]*\}))?")
_LITERAL = re.compile(r"""(['"])([^'"]*)\1""")
_LEXICAL = re.compile(
    r"""(?P<comment>--\[(?P<level>=*)\[.*?\](?P=level)\]|--(?!\[=*\[)[^\n]*)"""
    r"""|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|\[(?P<long>=*)\[.*?\](?P=long)\]""",
    re.DOTALL,
)
_FILES = re.compile(r"\blistener_domains\s*:\s*setup\s*\(?\s*(?P<files>\{[^{}]*\})\s*\)?")
_HELPER = re.compile(
    r"""(?:local\s+listener_domains\s*=\s*)?require\s*\(?\s*(['"])policy-extras\.listener_domains\1\s*\)?"""
)
_HANDLER = re.compile(r"""kumo\.on\s*\(\s*(['"])get_listener_domain\1\s*,""")
_RETURNED = re.compile(
    r"\s*function\s*\([^()]*\)\s*return\s+kumo\.make_listener_domain\s*\(?\s*(?P<table>\{[^{}]*\})\s*\)?\s*;?\s*end\b"
)
_TO_ALL = re.compile(r"\brelay_to\s*=\s*true\b")
_PROGRAM = re.compile(
    r"get_listener_domain|listener_domains|smtp_server_\w+|make_listener_domain|shaping|dofile|loadfile|\bload\b"
    r"|start_proxy_listener|require(?!\s*\(?\s*['\"]kumo['\"])"
)


@dataclass(frozen=True, slots=True)
class _Policy:
    """The main file, and its text without comments; each character where it stands."""

    setup: Setup
    source: SourceFile
    text: str

    def at(self, offset: int) -> Position:
        return self.source.at(self.text.count("\n", 0, offset) + 1)

    def unknown(self, text: str, position: Position, rule: str = "") -> Way:
        gap = self.setup.note(Gap(GapKind.NOT_EVALUATED, text[:200], position))
        return Way(gaps=frozenset((gap,)), causes=(Cause(text[:200], position, rule),) if rule else ())


def evaluate(setup: Setup) -> Iterator[Service]:
    """The listeners of the policy, and who may relay at each."""
    source = setup.read_main()
    if source is None:
        return
    policy = _Policy(setup, source, _LEXICAL.sub(_blanked, source.text))
    text = policy.text
    found = list(_LISTENER.finditer(text))
    if not found:
        setup.note(Gap(GapKind.NOT_EVALUATED, "no start_esmtp_listener"))
    by_domain = list(_by_domain(policy))
    for one in found:
        where = policy.at(one.start())
        table = _table(text, one.end() - 1) if one["open"] else None
        if table is None:
            yield _service("esmtp", where, [policy.unknown(one[0], where)])
            continue
        listen = re.search(r"""\blisten\s*=\s*['"]([^'"]*)""", table)
        passing = [*_hosts(policy, one.end() - 1, table), *by_domain]
        yield _service(listen[1] if listen else "esmtp", where, passing)


def _service(name: str, position: Position, passing: list[Way]) -> Service:
    return Service(name=name, weakness=Weakness.OPEN_RELAY, position=position, passing=tuple(passing))


def _blanked(found: re.Match[str]) -> str:
    """A comment becomes blanks; what stands in quotes is kept, with all that looks like a comment in it."""
    return re.sub(r"[^\n]", " ", found[0]) if found["comment"] else found[0]


def _table(text: str, begin: int) -> str | None:
    """The table that opens there; nothing if it has no end."""
    depth, at = 0, begin
    while at < len(text):
        if found := _LEXICAL.match(text, at):
            at = found.end()
            continue
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        at += 1
        if depth == 0:
            return text[begin:at]
    return None


def _hosts(policy: _Policy, begin: int, table: str) -> Iterator[Way]:
    """Without relay_hosts it is 127.0.0.1 and ::1; where it stands twice, or not as a list, nobody knows."""
    found = list(_HOSTS.finditer(table))
    if not found and not re.search(r"[{,]\s*\[(?!\s*['\"])", table):
        return
    at = begin + (found[0].start() if found else 0)
    position = policy.at(at)
    text = " ".join(found[0][0].split()) if found else "a table with computed names"
    listed = found[0][1] if len(found) == 1 else None
    addresses = _literals(listed) if listed is not None and _is_outermost(table, found[0].start()) else None
    if addresses is None:
        yield policy.unknown(text, position)
        return
    cause = Cause(text[:200], position, "km-relay-hosts")
    for version in (4, 6):
        yield from policy.setup.strangers(addresses, version).because(cause).true


def _is_outermost(table: str, at: int) -> bool:
    before = _LEXICAL.sub("", table[:at])
    return before.count("{") - before.count("}") == 1


def _literals(listed: str) -> AddressSet | None:
    """The addresses of a list of nothing but texts."""
    if re.sub(r"[\s,{}]", "", _LITERAL.sub("", listed)):
        return None
    try:
        return AddressSet.of(literal for _, literal in _LITERAL.findall(listed))
    except ValueError:
        return None


# --- domains --------------------------------------------------------------------------------------


def _by_domain(policy: _Policy) -> Iterator[Way]:
    """Whom its domains let relay: by a file of the usual helper, by one answer for all, or by a program."""
    rest = policy.text
    if files := _FILES.search(rest):
        yield from _of_files(policy, files)
        rest = _without(rest, files)
        for pattern in (_HELPER, _HANDLER):
            if found := pattern.search(rest):
                rest = _without(rest, found)
    elif (handler := _HANDLER.search(rest)) and (answer := _RETURNED.match(rest, handler.end())):
        if found := _TO_ALL.search(answer["table"]):
            at = policy.at(answer.start("table") + found.start())
            yield Way(causes=(Cause(found[0], at, "km-relay-to"),))
        rest = _without(_without(rest, answer), handler)
    program = _PROGRAM.search(rest)
    if program is not None:
        to_all = _TO_ALL.search(rest)
        found = to_all or program
        yield policy.unknown(found[0], policy.at(found.start()), "km-relay-to" if to_all else "")


def _without(text: str, found: re.Match[str]) -> str:
    return text[: found.start()] + re.sub(r"[^\n]", " ", found[0]) + text[found.end() :]


def _of_files(policy: _Policy, found: re.Match[str]) -> Iterator[Way]:
    """The files are read one after the other; a later one's domain takes an earlier one's place."""
    position = policy.at(found.start())
    names = [name for _, name in _LITERAL.findall(found["files"])]
    if re.sub(r"[\s,{}]", "", _LITERAL.sub("", found["files"])):
        yield policy.unknown(found[0], position)
    for name in names:
        source = policy.setup.read(name, position)
        try:
            told = tomllib.loads(source.text) if source is not None and name.endswith(".toml") else None
        except tomllib.TOMLDecodeError:
            told = None
        if source is None or told is None:
            yield policy.unknown(name, position)
            continue
        listeners = told.pop("listener", {})
        for domains in (told, *(listeners.values() if isinstance(listeners, dict) else ())):
            for domain, said in domains.items() if isinstance(domains, dict) else ():
                yield from _of_domain(policy, source, domain, said)


def _of_domain(policy: _Policy, source: SourceFile, domain: str, said: Any) -> Iterator[Way]:
    told = said if isinstance(said, dict) else {}
    suffix = domain.lstrip("*.").lower()
    lines = enumerate(source.lines, 1)
    line = next((number for number, text in lines if text.lstrip().startswith("[") and domain in text), 1)
    cause = Cause(f"{domain} {told}"[:200], source.at(line), "km-relay-to")
    if told.get("relay_to") is True:
        claim = Claim(ClaimKind.FORWARD_PATH, f"someone@elsewhere.{suffix}")
        wide = claimed(claim) if suffix and "*" in domain and is_public_suffix(suffix) else NEVER
        yield from (ALWAYS if not suffix else wide).because(cause).true
    networks = told.get("relay_from", [])
    try:
        addresses = AddressSet.of(str(one) for one in networks) if isinstance(networks, list) else None
    except ValueError:
        addresses = None
    if addresses is None:
        yield policy.unknown(f"relay_from = {networks}", source.at(line))
        return
    sender: Condition = claimed(Claim(ClaimKind.REVERSE_PATH, f"postmaster@{suffix}")) if suffix else ALWAYS
    for version in (4, 6):
        yield from joined(policy.setup.strangers(addresses, version).because(cause).true, sender.true)


def mend(setup: Setup, finding: AuditFinding) -> Iterator[Edit]:
    """A list on one line becomes this machine's and the owner's."""
    source = setup.sources.get(setup.main)
    if source is None or finding.rule != "km-relay-hosts":
        return
    hosts = ", ".join(f"'{host}'" for host in ("127.0.0.1", "::1", *own_networks(setup)))
    line = source.lines[finding.line - 1]
    fresh = re.sub(r"\brelay_hosts\s*=\s*\{[^}]*\}", f"relay_hosts = {{ {hosts} }}", line)
    if fresh != line:
        yield Edit(setup.main, finding.line, finding.line, (fresh,))


SERVER = Server(
    name="kumomta",
    home="/opt/kumomta/etc/policy",
    marks=(Mark(name="init.lua", holds=re.compile(r"start_esmtp_listener")),),
    evaluate=evaluate,
    mend=mend,
    reload=("systemctl", "restart", "kumomta"),
)
