"""What to take out of a table or a sendmail.mc; a sendmail.cf's rules are made from it and are left alone."""

from __future__ import annotations

import re
from collections.abc import Iterator

from relaywatch.audit.findings import AuditFinding
from relaywatch.audit.proxies import path_of
from relaywatch.audit.server import Edit
from relaywatch.audit.setup import Setup

_FEATURES = {
    "sm-promiscuous": "promiscuous_relay",
    "sm-local-from": "relay_local_from",
    "sm-loose": "loose_relay_check",
    "sm-entire": "relay_entire_domain",
    "sm-mx": "relay_based_on_MX",
    "sm-defer": "confDELIVERY_MODE",
}
_LINES = frozenset({"sm-relay-domains", "sm-access-relay", "sm-access-untagged", "sm-mail-from"})


def mend(setup: Setup, finding: AuditFinding) -> Iterator[Edit]:
    """Take out the entry or the feature, and let in the networks that the owner allows."""
    feature = _FEATURES.get(finding.rule)
    if feature is not None:
        yield from _without_feature(setup, feature)
        return
    path = path_of(setup, finding.file)
    if path is None or finding.rule not in _LINES or finding.line < 1:
        return
    line = setup.sources[path].lines[finding.line - 1]
    if path.suffix in {".mc", ".cf"}:
        fresh = re.sub(r"^(\s*(?:C\{?R\}?|RELAY_DOMAIN\(`))[^')]*", r"\1", line)
        if path.suffix == ".mc" and fresh != line:
            yield Edit(path, finding.line, finding.line, (f"dnl {line}",))
        return
    networks = [_prefix(one) for version in (4, 6) for one in setup.allowed.networks(version)]
    names = [one for names in networks for one in names]
    made = (
        tuple(names)
        if finding.rule == "sm-relay-domains"
        else tuple(f"Connect:{one}\tRELAY" for one in names)
    )
    keeps = "\t" in line or " " in line.strip()
    fresh_lines = made if keeps or finding.rule == "sm-relay-domains" else ()
    there = set(setup.sources[path].lines)
    yield Edit(path, finding.line, finding.line, tuple(one for one in fresh_lines if one not in there))


def _without_feature(setup: Setup, feature: str) -> Iterator[Edit]:
    source = setup.sources.get(setup.main)
    if source is None or setup.main.suffix != ".mc":
        return
    pattern = re.compile(rf"^\s*(?:FEATURE|define)\(`?{feature}\b[^()]*\)(?:dnl)?\s*(?:#.*)?$", re.IGNORECASE)
    for number, line in enumerate(source.lines, 1):
        if pattern.match(line):
            yield Edit(setup.main, number, number, (f"dnl {line}",))


def _prefix(network: object) -> list[str]:
    """A network as keys of whole octets or groups; none if that makes too many."""
    text, _, length = str(network).partition("/")
    bits = int(length)
    if ":" in text:
        if bits % 16:
            return []
        groups = text.partition("::")[0].split(":")
        return ["IPv6:" + ":".join((groups + ["0"] * 8)[: bits // 16])]
    octets = text.split(".")
    whole, more = divmod(bits, 8)
    if not more:
        return [".".join(octets[:whole])] if whole else []
    begin = int(octets[whole])
    return [".".join((*octets[:whole], str(begin + index))) for index in range(1 << (8 - more))][:64]
