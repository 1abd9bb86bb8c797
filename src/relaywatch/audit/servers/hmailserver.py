"""hMailServer 5 (SecurityRange.h, its documentation of IP ranges): the ranges in its backup (hMailServerBackup.xml)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from ipaddress import ip_address

from relaywatch.audit.addresses import AddressSet
from relaywatch.audit.claims import Claim, ClaimKind
from relaywatch.audit.conditions import Condition, Way, claimed, joined
from relaywatch.audit.findings import Cause, Gap, GapKind
from relaywatch.audit.server import Mark, Server, Service
from relaywatch.audit.setup import Setup
from relaywatch.model.evidence import Weakness

_RANGE = re.compile(r"<SecurityRange\b([^<>]*)>")
_ATTRIBUTE = re.compile(r'(\w+)="([^"]*)"')
_SMTP, _LOCAL_TO_REMOTE, _REMOTE_TO_REMOTE = 1, 128, 512
_AUTH_LOCAL, _AUTH_REMOTE = 16384, 65536


def evaluate(setup: Setup) -> Iterator[Service]:
    """The range of the highest priority that the client is in decides."""
    source = setup.read_main()
    if source is None:
        return
    found: list[tuple[int, AddressSet, int, bool, Cause]] = []
    gaps: list[Gap] = []
    for part in _RANGE.finditer(source.text):
        said = {name.lower(): unescape(value) for name, value in _ATTRIBUTE.findall(part[1])}
        position = source.at(source.text.count("\n", 0, part.start()) + 1)
        text = f"{said.get('name', '')} {said.get('lowerip', '')}-{said.get('upperip', '')}"
        try:
            span = AddressSet.span(ip_address(said["lowerip"]), ip_address(said["upperip"]))
            options = int(said["options"])
            is_kept = said.get("expires", "0") != "1"
            found.append((int(said.get("priority", "0")), span, options, is_kept, Cause(text, position)))
        except (KeyError, ValueError):
            gaps.append(setup.note(Gap(GapKind.SYNTAX, text[:80], position)))
    if not found:
        gaps.append(setup.note(Gap(GapKind.MISSING, "SecurityRange", source.at(1))))
    ways = [Way(gaps=frozenset((gap,))) for gap in gaps]
    taken = AddressSet()
    for _, span, options, is_kept, cause in sorted(found, key=lambda one: -one[0]):
        left = span - taken
        taken |= span if is_kept else AddressSet()  # a ban that expires hides nothing for long
        for version in (4, 6):
            ways += _ways(setup.strangers(left, version), options, cause)
    yield Service(name="SMTP", weakness=Weakness.OPEN_RELAY, passing=tuple(ways))


def _ways(meant: Condition, options: int, cause: Cause) -> tuple[Way, ...]:
    """Without authentication to others: for everybody, or for who claims a sender of the server's own."""
    if not options & _SMTP:
        return ()
    if options & _REMOTE_TO_REMOTE and not options & _AUTH_REMOTE:
        return meant.because(Cause(cause.text, cause.position, "hm-ext-to-ext")).true
    if options & _LOCAL_TO_REMOTE and not options & _AUTH_LOCAL:
        sender = claimed(Claim(ClaimKind.REVERSE_PATH, "postmaster of a local domain"))
        return joined(meant.because(Cause(cause.text, cause.position, "hm-local-to-ext")).true, sender.true)
    return ()


SERVER = Server(
    name="hmailserver",
    home="/hmailserver",
    marks=(Mark(name="hMailServerBackup.xml"), Mark(name="*.xml", holds=re.compile("<SecurityRange\\b"))),
    evaluate=evaluate,
)
