"""Haraka (docs of the modules relay, rcpt_to.in_host_list; 3.1): the modules that let a connection relay."""

from __future__ import annotations

import re
from collections.abc import Iterator

from relaywatch.audit.addresses import AddressSet
from relaywatch.audit.claims import Claim, ClaimKind
from relaywatch.audit.conditions import Way, claimed
from relaywatch.audit.domains import outsiders
from relaywatch.audit.findings import AuditFinding, Cause, Gap, GapKind, Position
from relaywatch.audit.patterns import NotEvaluatedError, pattern
from relaywatch.audit.proxies import host_and_port, is_loopback, own_networks, path_of
from relaywatch.audit.server import Edit, Mark, Server, Service
from relaywatch.audit.setup import Setup
from relaywatch.audit.witness import OUTSIDE_MAILBOX
from relaywatch.model.evidence import Weakness

_SETTING = re.compile(r"\s*([\w.]+(?:\[\])?)\s*=\s*(.*?)\s*")
_SECTION = re.compile(r"\s*\[\s*([^\]]*?)\s*\]\s*")
_HARMLESS = re.compile(
    r"(?:queue/[\w.-]+|auth/(?:flat_file|auth_(?:base|bridge|ldap|proxy|vpopmaild))|data\.(?:headers|signatures|uribl)"
    r"|helo\.checks|mail_from\.(?:access|blocklist|is_resolvable|nobounces)|dkim(?:_sign|_verify|\.[a-z]+)?|log\.[a-z.]+"
    r"|rcpt_to\.(?:access|blocklist|in_host_list|host_list_base|ldap|max_count|qmail_deliverable|routes)|geoip(?:-lite)?"
    r"|relay(?:_all|_acl|_dest_domains|_force_routing)?|spf|dnsbl|dns-list|dnswl|tls|access|toobusy|headers|bounce|limit"
    r"|karma|asn|fcrdns|p0f|spamassassin|clamd|avg|esets|rspamd|greylist|early_?talker|process_title|profile|syslog|status"
    r"|uribl|attachment|messagesniffer|redis|watch|tarpit|delay_deny|record_envelope_addresses|aliases|backscatterer"
    r"|block_me|graph|reseed_rng|test_queue|xclient|known-senders|elasticsearch|dovecot|ldap|qmail-deliverable"
    r"|recipient-routes|prevent_credential_leaks)"
)
_ON = frozenset({"true", "yes", "on", "1", "enabled", "ok"})
_RELAYING = frozenset({"accept", "continue"})
Settings = dict[tuple[str, str], list[tuple[str, Position]]]
"""By section and name: each value with its line."""


def evaluate(setup: Setup) -> Iterator[Service]:
    """One service: what its modules let through."""
    source = setup.read_main()
    if source is None:
        return
    lines = [(line.split("#")[0].strip(), source.at(number)) for number, line in enumerate(source.lines, 1)]
    modules = {name.removeprefix("haraka-plugin-"): position for name, position in lines if name}
    passing = [*_relay(setup, modules), *_believing(setup, modules), *_host_list(setup, modules)]
    for name, position in modules.items():
        if not _HARMLESS.fullmatch(name) or _is_overruled(setup, name):
            gap = setup.note(Gap(GapKind.EXTERNAL, f"module {name}", position))
            passing.append(Way(gaps=frozenset((gap,))))
    said = _settings(setup, "smtp.ini").get(("main", "listen"), [("[::0]:25", None)])[-1]
    for where in (one.strip() for one in said[0].split(",") if one.strip()):
        yield Service(
            name=where,
            weakness=Weakness.OPEN_RELAY,
            position=said[1],
            passing=tuple(passing),
            is_out_of_reach=is_loopback(host_and_port(where)[0]),
        )


def _is_overruled(setup: Setup, name: str) -> bool:
    """Whether a module of the owner's, beside the configuration, is loaded instead of Haraka's of that name."""
    return any(setup.has(f"{setup.above}/plugins/{name}{end}") for end in (".js", "/package.json"))


def _settings(setup: Setup, name: str) -> Settings:
    source = setup.read(name) if setup.has(name) else None
    found: Settings = {}
    section = "main"
    for number, line in enumerate(source.lines if source else (), 1):
        setting = _SETTING.fullmatch(line)
        if source is None or line.lstrip()[:1] in {";", "#"}:
            continue
        if begin := _SECTION.fullmatch(line):
            section = begin[1].lower()
        elif setting is not None:
            found.setdefault((section, setting[1].lower()), []).append((setting[2], source.at(number)))
    return found


def _relay(setup: Setup, modules: dict[str, Position]) -> Iterator[Way]:
    if "relay_all" in modules:
        yield Way(causes=(Cause("relay_all", modules["relay_all"], "hk-all"),))
    told = _settings(setup, "relay.ini")
    if "relay" in modules and (said := _on(told, "all")) is not None:
        yield Way(causes=(Cause(f"all={said[0]}", said[1], "hk-all"),))
    yield from _ways_of(setup, _acl(setup, modules))
    said = _on(told, "dest_domains") if "relay" in modules else None
    if said is not None or "relay_dest_domains" in modules:
        yield from _dest_domains(setup, said or ("relay_dest_domains", modules.get("relay_dest_domains")))


def _on(told: Settings, name: str) -> tuple[str, Position | None] | None:
    """What turns a switch of relay.ini on, if anything does."""
    value = told.get(("relay", name), [("", None)])[-1]
    return value if value[0].lower() in _ON else None


def _dest_domains(setup: Setup, said: tuple[str, Position | None]) -> Iterator[Way]:
    """One recipient in a listed domain sets the whole transaction to relaying (`connection.relaying`): the next may be anybody."""
    text, position = said
    for (section, domain), values in _settings(setup, "relay_dest_domains.ini").items():
        value, at = values[-1]
        action = re.search(r'"action"\s*:\s*"(\w+)"', value)
        if section != "domains":
            continue
        if action is None:
            yield Way(gaps=frozenset((setup.note(Gap(GapKind.SYNTAX, value[:80], at)),)))
        elif action[1].lower() in _RELAYING:
            first = Claim(ClaimKind.FORWARD_PATH, f"postmaster@{domain}>; RCPT TO:<{OUTSIDE_MAILBOX}")
            causes = Cause(text, position, "hk-dest-domains"), Cause(value, at)
            yield Way(frozenset((first,)), causes=causes)
            return


def _acl(setup: Setup, modules: dict[str, Position]) -> list[tuple[AddressSet, Cause]]:
    """Whom relay_acl_allow lists, where it is asked: which is what the module relay does if relay.ini doesn't say no."""
    said = _settings(setup, "relay.ini").get(("relay", "acl"), [("true", None)])[-1][0]
    if "relay_acl" in modules or ("relay" in modules and said.lower() in _ON):
        return list(_listed(setup))
    return []


def _believing(setup: Setup, modules: dict[str, Position]) -> Iterator[Way]:
    """Who may say in a PROXY header or by XCLIENT that he has an address that relay_acl_allow lists."""
    trusted = [(network, cause) for addresses, cause in _acl(setup, modules) for network in _first(addresses)]
    hosts = [(text, modules["xclient"]) for text in ("127.0.0.1", "::1")] if "xclient" in modules else []
    if hosts:
        hosts += _lines(setup, "xclient.hosts")
    balancers = _settings(setup, "connection.ini").get(("haproxy", "hosts[]"), [])
    balancers += _lines(setup, "haproxy_hosts")
    said = ((ClaimKind.XCLIENT, "ADDR={}", hosts), (ClaimKind.PROXY_HEADER, "TCP4 {}", balancers))
    for kind, form, believed in said if trusted else ():
        claim = claimed(Claim(kind, form.format(trusted[0][0])))
        for text, position in believed:
            cause = Cause(text, position, "hk-proxy")
            for version in (4, 6):
                meant = setup.strangers(_host(setup, text, position), version).because(cause)
                yield from (meant & claim).true


def _host(setup: Setup, text: str, position: Position | None) -> AddressSet:
    """One address or network; Haraka takes an IPv6 address without a prefix length for a /64."""
    bare = text.strip("[]")
    try:
        return AddressSet.of([f"{bare}/64" if ":" in bare and "/" not in bare and bare != "::1" else bare])
    except ValueError:
        if bare:
            setup.note(Gap(GapKind.SYNTAX, text[:80], position))
        return AddressSet()


def _first(addresses: AddressSet) -> list[str]:
    return [str(one.network_address) for version in (4, 6) for one in addresses.networks(version)[:1]]


def _lines(setup: Setup, name: str) -> list[tuple[str, Position]]:
    source = setup.read(name) if setup.has(name) else None
    said = (
        (line.split("#")[0].strip(), number) for number, line in enumerate(source.lines if source else (), 1)
    )
    return [(text, source.at(number)) for text, number in said if text and source is not None]


def _ways_of(setup: Setup, causes: list[tuple[AddressSet, Cause]]) -> Iterator[Way]:
    everything = AddressSet()
    for addresses, _ in causes:
        everything |= addresses
    for version in (4, 6):
        for addresses, cause in causes:
            if setup.strangers(addresses, version).true:
                wanted = everything if setup.strangers(everything, version).true[0].is_free else addresses
                yield from setup.strangers(wanted, version).because(cause).true


def _listed(setup: Setup) -> Iterator[tuple[AddressSet, Cause]]:
    """The lines of relay_acl_allow; an address without a prefix length, of either family, gets /32."""
    for text, position in _lines(setup, "relay_acl_allow"):
        try:
            addresses = AddressSet.of([text if "/" in text else f"{text}/32"])
        except ValueError:
            setup.note(Gap(GapKind.SYNTAX, text[:80], position))
            continue
        yield addresses, Cause(text, position, "hk-acl")


def _host_list(setup: Setup, modules: dict[str, Position]) -> Iterator[Way]:
    """The expressions of ``host_list_regex`` are anchored by the module."""
    source = setup.read("host_list_regex") if setup.has("host_list_regex") else None
    if source is None or "rcpt_to.in_host_list" not in modules:
        return
    for number, line in enumerate(source.lines, 1):
        text = line.split("#")[0].strip()
        if not text:
            continue
        cause = Cause(text, source.at(number), "hk-regex")
        try:
            found = outsiders(pattern(f"^(?:{text})$", "", is_pcre=True))
        except NotEvaluatedError:
            gap = setup.note(Gap(GapKind.NOT_EVALUATED, text[:80], source.at(number)))
            yield Way(gaps=frozenset((gap,)), causes=(cause,))
            continue
        for domain in found[:1]:
            claim = Claim(ClaimKind.FORWARD_PATH, f"someone@{domain}")
            yield Way(frozenset((claim,)), causes=(cause,))


def mend(setup: Setup, finding: AuditFinding) -> Iterator[Edit]:
    """Nobody relays but who is listed, or who authenticates."""
    path = path_of(setup, finding.file)
    if path is None or finding.line < 1:
        return
    line = setup.sources[path].lines[finding.line - 1]
    if finding.rule in {"hk-all", "hk-dest-domains"} and "=" in line:
        yield Edit(path, finding.line, finding.line, (re.sub(r"=.*", "=false", line),))
    elif finding.rule in {"hk-all", "hk-dest-domains", "hk-regex"}:
        yield Edit(path, finding.line, finding.line, ())
    elif finding.rule == "hk-acl":
        there = set(setup.sources[path].lines)
        own = tuple(network for network in own_networks(setup) if network not in there)
        yield Edit(path, finding.line, finding.line, own)


SERVER = Server(
    name="haraka",
    home="/etc/haraka/config",
    marks=(
        Mark(
            name="config/plugins",
            holds=re.compile(r"^(?:rcpt_to|queue/|relay|haraka-plugin|test_queue)", re.MULTILINE),
        ),
    ),
    evaluate=evaluate,
    mend=mend,
    reload=("systemctl", "restart", "haraka"),
)
