"""Haraka (docs of the modules relay, rcpt_to.in_host_list; 3.1): the modules that let a connection relay."""

from __future__ import annotations

import re
from collections.abc import Iterator

from relaywatch.audit.addresses import AddressSet
from relaywatch.audit.claims import Claim, ClaimKind
from relaywatch.audit.conditions import Way
from relaywatch.audit.domains import outsiders
from relaywatch.audit.findings import AuditFinding, Cause, Gap, GapKind, Position
from relaywatch.audit.patterns import NotEvaluatedError, pattern
from relaywatch.audit.proxies import own_networks, path_of
from relaywatch.audit.server import Edit, Mark, Server, Service
from relaywatch.audit.setup import Setup
from relaywatch.model.evidence import Weakness

_SETTING = re.compile(r"\s*([\w.]+)\s*=\s*(.*?)\s*")
_HARMLESS = re.compile(
    r"(?:queue/|auth/|data\.|helo\.|rcpt_to\.(?:in_host_list|host_list_base|ldap|routes|qmail_deliverable)$|mail_from\.|"
    r"dkim|spf|dnsbl|dns-list|dnswl|tls$|access$|toobusy$|headers$|bounce$|limit$|karma$|geoip|asn$|fcrdns$|p0f$|"
    r"spamassassin$|clamd$|avg$|rspamd$|greylist$|early_talker$|earlytalker$|process_title$|log\.|syslog$|status$|"
    r"uribl$|attachment$|messagesniffer$|redis$|watch$|tarpit$|delay_deny$|record_envelope|aliases$|backscatterer$|"
    r"block_me$|graph$|reseed_rng$|test_queue$|xclient$|relay|known-senders$|elasticsearch$|dovecot$|ldap$)"
)
_ON = frozenset({"true", "yes", "on", "1", "enabled", "ok"})


def evaluate(setup: Setup) -> Iterator[Service]:
    """One service: what its modules let through."""
    source = setup.read_main()
    if source is None:
        return
    said = [(line.split("#")[0].strip(), source.at(number)) for number, line in enumerate(source.lines, 1)]
    modules = {name.removeprefix("haraka-plugin-"): position for name, position in said if name}
    passing = [*_relay(setup, modules), *_host_list(setup, modules)]
    for name, position in modules.items():
        if not _HARMLESS.match(name):
            gap = setup.note(Gap(GapKind.EXTERNAL, f"module {name}", position))
            passing.append(Way(gaps=frozenset((gap,))))
    listen = _settings(setup, "smtp.ini").get("listen", ("[::0]:25", None))
    yield Service(name=listen[0], weakness=Weakness.OPEN_RELAY, position=listen[1], passing=tuple(passing))


def _settings(setup: Setup, name: str) -> dict[str, tuple[str, Position | None]]:
    source = setup.read(name) if setup.has(name) else None
    found: dict[str, tuple[str, Position | None]] = {}
    for number, line in enumerate(source.lines if source else (), 1):
        setting = _SETTING.fullmatch(line)
        if source is not None and setting is not None and line.lstrip()[:1] not in ";#":
            found[setting[1].lower()] = setting[2], source.at(number)
    return found


def _relay(setup: Setup, modules: dict[str, Position]) -> Iterator[Way]:
    if "relay_all" in modules:
        yield Way(causes=(Cause("relay_all", modules["relay_all"], "hk-all"),))
    told = _settings(setup, "relay.ini")
    is_on = {name: value[0].lower() in _ON for name, value in told.items()}
    if "relay" in modules and is_on.get("all"):
        yield Way(causes=(Cause(f"all={told['all'][0]}", told["all"][1], "hk-all"),))
    if "relay_acl" in modules or ("relay" in modules and is_on.get("acl")):
        yield from _listed(setup)
    if "relay_dest_domains" in modules or ("relay" in modules and is_on.get("dest_domains")):
        for name in ("relay_dest_domains.ini",):
            if setup.has(name):
                setup.set_aside(Gap(GapKind.NOT_EVALUATED, f"{name}: domains that the owner names"))


def _listed(setup: Setup) -> Iterator[Way]:
    source = setup.read("relay_acl_allow") if setup.has("relay_acl_allow") else None
    everything = AddressSet()
    causes: list[tuple[AddressSet, Cause]] = []
    for number, line in enumerate(source.lines if source else (), 1):
        text = line.split("#")[0].strip()
        if source is None or not text:
            continue
        try:
            addresses = AddressSet.of([text])
        except ValueError:
            setup.note(Gap(GapKind.SYNTAX, text[:80], source.at(number)))
            continue
        causes.append((addresses, Cause(text, source.at(number), "hk-acl")))
        everything |= addresses
    for version in (4, 6):
        for addresses, cause in causes:
            if setup.strangers(addresses, version).true:
                wanted = everything if setup.strangers(everything, version).true[0].is_free else addresses
                yield from setup.strangers(wanted, version).because(cause).true


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
    if finding.rule == "hk-all" and "=" in line:
        yield Edit(path, finding.line, finding.line, (re.sub(r"=.*", "=false", line),))
    elif finding.rule in {"hk-all", "hk-regex"}:
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
