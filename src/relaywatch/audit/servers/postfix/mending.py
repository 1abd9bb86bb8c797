"""The smallest edits of main.cf and master.cf that close a finding and keep what the owner allows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from relaywatch.audit.addresses import LOOPBACK, AddressSet
from relaywatch.audit.conditions import NEVER
from relaywatch.audit.findings import AuditFinding
from relaywatch.audit.placed import Placed
from relaywatch.audit.server import Edit
from relaywatch.audit.setup import Setup
from relaywatch.audit.text import SourceFile

from .lists import HostList, Item, is_name, items
from .parameters import Entry, Parameters, read_main_cf
from .tables import Tables

_TRUSTING = frozenset(
    {"pf-net-all", "pf-net-ipv6", "pf-net-style", "pf-net-gateway", "pf-submission", "pf-master-o"}
)
_MOST_EXCEPTIONS = 3
_LISTS = frozenset({"pf-relay-empty", "pf-relay-noreject", "pf-mxbackup", "pf-tls-cert"})
_LOOPBACK = ("127.0.0.0/8", "[::ffff:127.0.0.0]/104", "[::1]/128")
_PLAIN_PATTERN = re.compile(
    r"/(?P<lead>\^?(?:\.\*|\.)?)(?P<body>(?:[A-Za-z0-9_-]|\\\.|\.)+)(?P<tail>\$?)/(?P<rest>.*)"
)
_RELAY = "smtpd_relay_restrictions"
_RECIPIENT = "smtpd_recipient_restrictions"


def mend(setup: Setup, finding: AuditFinding) -> Iterator[Edit]:
    """Edits by rule; none where only the owner knows what he meant: his domains, or a balancer's address."""
    source = setup.read_main()
    if source is None:
        return
    entries, _ = read_main_cf(source, setup)
    files = {setup.shown(path): path for path in setup.sources}
    path = files.get(finding.file, setup.main)
    if path != setup.main:
        yield from _elsewhere(setup, finding, path, entries)
    elif finding.rule in _TRUSTING:
        yield _set(setup, source, entries, "mynetworks", " ".join(_networks(setup, entries, finding)))
    elif finding.rule.startswith("pf-relay-order") or finding.rule in _LISTS:
        yield from _proper_list(setup, source, entries)
    elif finding.rule == "pf-routing":
        yield _set(setup, source, entries, "allow_untrusted_routing", "no")
    elif finding.rule in {"pf-xclient", "pf-qmqp"}:
        name = (
            "smtpd_authorized_xclient_hosts" if finding.rule == "pf-xclient" else "qmqpd_authorized_clients"
        )
        yield _set(setup, source, entries, name, " ".join(_narrow(setup, entries, name)))


def _proper_list(setup: Setup, source: SourceFile, entries: dict[str, Entry]) -> Iterator[Edit]:
    """A relay list that decides before any table can say OK; the owner's networks go into mynetworks."""
    yield _set(setup, source, entries, _RELAY, _proper(entries))
    if not setup.allowed:
        return
    trusted = _list_of(setup, entries, "mynetworks").addresses()
    if setup.allowed - trusted:
        networks = [*_words(entries, "mynetworks"), *_as_words(setup.allowed - trusted)]
        yield _set(setup, source, entries, "mynetworks", " ".join(networks), beside=_RELAY not in entries)
    own = entries.get(_RECIPIENT)
    if own is not None and own.value.text and "permit_mynetworks" not in _words(entries, _RECIPIENT):
        name, _, rest = source.lines[own.first - 1].partition("=")
        line = f"{name}= permit_mynetworks, {rest.strip()}".rstrip()
        yield Edit(setup.main, own.first, own.first, (line,))


def _proper(entries: dict[str, Entry]) -> str:
    by_certificate = ["permit_tls_clientcerts"] if "permit_tls_clientcerts" in _words(entries, _RELAY) else []
    words = ["permit_mynetworks", "permit_sasl_authenticated", *by_certificate, "reject_unauth_destination"]
    return ", ".join(words)


def _elsewhere(
    setup: Setup, finding: AuditFinding, path: PurePosixPath, entries: dict[str, Entry]
) -> Iterator[Edit]:
    """In master.cf the override is changed; a table's plain expression is anchored."""
    source = setup.sources[path]
    line = source.lines[finding.line - 1] if 0 < finding.line <= len(source.lines) else ""
    if path.name != "master.cf":
        anchored = _anchored(line) if finding.rule == "pf-dom-wide" else None
        if anchored is not None:
            yield Edit(path, finding.line, finding.line, (anchored,))
        return
    changed = _override(line, setup, finding, entries)
    if changed is not None:
        yield Edit(path, finding.line, finding.line, (changed,))


def _override(line: str, setup: Setup, finding: AuditFinding, entries: dict[str, Entry]) -> str | None:
    """The line with another value of what it overrides."""
    name, value = "", ""
    if finding.rule in _TRUSTING:
        name, value = (
            "mynetworks",
            ",".join(("127.0.0.0/8", "[::1]/128", *_as_words(setup.allowed - LOOPBACK))),
        )
    elif finding.rule.startswith("pf-relay-order") or finding.rule in _LISTS:
        name, value = _RELAY, _proper(entries).replace(" ", "")
    elif finding.rule == "pf-xclient":
        name, value = "smtpd_authorized_xclient_hosts", ""
    elif finding.rule == "pf-routing":
        name, value = "allow_untrusted_routing", "no"
    if not name or name not in line:
        return None
    changed = re.sub(rf"\{{\s*{name}\s*=[^{{}}]*\}}", f"{name}={value}", line, count=1)
    if changed == line:
        changed = re.sub(rf"\b{name}=\S*", f"{name}={value}", line, count=1)
    return changed if changed != line else None


def _anchored(line: str) -> str | None:
    """A plain domain's expression, so that it means that domain and what is below it."""
    found = _PLAIN_PATTERN.fullmatch(line.strip())
    if found is None:
        return None
    body = found["body"].removeprefix("\\.").replace("\\.", ".").strip(".").replace(".", "\\.")
    return f"/^(.+\\.)?{body}$/{found['rest']}"


def _networks(setup: Setup, entries: dict[str, Entry], finding: AuditFinding) -> list[str]:
    """What is trusted so far and is nobody else's, without a front end's address, and what the owner allows."""
    if finding.rule == "pf-net-gateway":
        return _without_front_ends(setup, entries)
    kept = _narrow(setup, entries, "mynetworks") or list(_LOOPBACK)
    return [*kept, *_as_words(setup.allowed - _addresses_of(setup, entries, kept))]


def _without_front_ends(setup: Setup, entries: dict[str, Entry]) -> list[str]:
    """An exception for an address or two; where it may be one of many, the networks that they are in go."""
    words = _words(entries, "mynetworks") or list(_LOOPBACK)
    front = AddressSet()
    for one in setup.front_ends:
        front |= one.addresses
    within = _as_words(front & _addresses_of(setup, entries, words))
    if len(within) > _MOST_EXCEPTIONS:
        lists = [(word, _addresses_of(setup, entries, [word])) for word in words]
        words = [word for word, its in lists if word.startswith("!") or not its & front]
        words += _as_words(setup.allowed - _addresses_of(setup, entries, words))
        within = _as_words(front & _addresses_of(setup, entries, words))
    return [*(f"!{word}" for word in within if f"!{word}" not in words), *words]


def _addresses_of(setup: Setup, entries: dict[str, Entry], words: list[str]) -> AddressSet:
    found = tuple(_items(setup, entries, "mynetworks", words))
    return HostList(found, matches_subdomains=True).addresses()


def _narrow(setup: Setup, entries: dict[str, Entry], name: str) -> list[str]:
    """The patterns of a list in which there is no stranger; nothing is taken out of what isn't there."""
    kept: list[str] = []
    for word in _words(entries, name):
        one = HostList(tuple(_items(setup, entries, name, [word.lstrip("!")])), matches_subdomains=True)
        if any(is_name(name.strip(".")) for name in one.names()) or (word.startswith("!") and not kept):
            continue
        addresses = one.addresses()
        if all(addresses.has_strangers(version, setup.allowed) == NEVER for version in (4, 6)) and addresses:
            kept.append(word)
    strangers = HostList(tuple(_items(setup, entries, name, kept)), matches_subdomains=True).addresses()
    together = [strangers.has_strangers(version, setup.allowed) != NEVER for version in (4, 6)]
    return [] if any(together) else kept


def _items(setup: Setup, entries: dict[str, Entry], name: str, words: list[str]) -> Iterator[Item]:
    position = entries[name].value.position if name in entries else None
    return items(Placed(" ".join(words), ((0, position),)), Tables(setup))


def _list_of(setup: Setup, entries: dict[str, Entry], name: str) -> HostList:
    return HostList(tuple(items(Parameters(entries, {}).value(name), Tables(setup))), matches_subdomains=True)


def _words(entries: dict[str, Entry], name: str) -> list[str]:
    return [word.text for word in Parameters(entries, {}).value(name).words()]


def _as_words(addresses: AddressSet) -> list[str]:
    """As mynetworks writes networks."""
    return [
        str(network) if version == 4 else f"[{network.network_address}]/{network.prefixlen}"
        for version in (4, 6)
        for network in addresses.networks(version)
    ]


def _set(
    setup: Setup,
    source: SourceFile,
    entries: dict[str, Entry],
    name: str,
    value: str,
    *,
    beside: bool = False,
) -> Edit:
    """The parameter's lines, or a new one at the end; ``beside``: behind another new one."""
    line = f"{name} = {value}".rstrip()
    if name in entries:
        return Edit(setup.main, entries[name].first, entries[name].last, (line,))
    end = len(source.lines)
    return Edit(setup.main, end + 1 + beside, end + beside, (line,))
