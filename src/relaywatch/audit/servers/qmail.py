"""qmail and notqmail (qmail-smtpd(8), qmail-control(5), tcprules(1)): control/rcpthosts, RELAYCLIENT, percenthack."""

from __future__ import annotations

import re
from collections.abc import Iterator

from relaywatch.audit.claims import Claim, ClaimKind
from relaywatch.audit.conditions import Way
from relaywatch.audit.domains import is_public_suffix
from relaywatch.audit.findings import AuditFinding, Cause, Gap, GapKind, Position
from relaywatch.audit.prefixes import Prefixed, of_prefix, relaying
from relaywatch.audit.proxies import path_of
from relaywatch.audit.server import Edit, Mark, Server, Service
from relaywatch.audit.setup import Setup
from relaywatch.model.evidence import Weakness

_RULES = (
    "/etc/tcp.smtp",
    "/etc/tcprules.d/tcp.qmail-smtp",
    "/etc/tcpserver/smtp.rules",
    "/home/vpopmail/etc/tcp.smtp",
    "/var/qmail/control/tcp.smtp",
)
_SCRIPTS = (
    "/service/qmail-smtpd/run",
    "/var/qmail/supervise/qmail-smtpd/run",
    "/etc/qmail/supervise/qmail-smtpd/run",
    "/etc/init.d/qmail",
    "/var/qmail/rc",
)
_SETS = re.compile(r"^\s*(?:export\s+|env\s+.*)?RELAYCLIENT=", re.MULTILINE)


def evaluate(setup: Setup) -> Iterator[Service]:
    """One listener: which forward-paths are accepted, and for whom all are."""
    main = setup.read_main()
    if main is None:
        return
    yield Service(
        name="qmail-smtpd",
        weakness=Weakness.OPEN_RELAY,
        passing=(*_by_recipient(setup), *_by_client(setup)),
        own=main.lines[0].strip() if main.lines else "",
    )


def _words(setup: Setup, name: str) -> list[tuple[str, Position]]:
    source = setup.read(name) if setup.has(name) else None
    if source is None:
        return []
    said = ((line.strip().lower(), source.at(number)) for number, line in enumerate(source.lines, 1))
    return [(text, position) for text, position in said if text and not text.startswith("#")]


def _by_recipient(setup: Setup) -> Iterator[Way]:
    hosts = _words(setup, "rcpthosts")
    more = _words(setup, "morercpthosts")
    if setup.has("morercpthosts.cdb") and not more:
        yield Way(gaps=frozenset((setup.note(Gap(GapKind.BINARY, "morercpthosts.cdb")),)))
    if not setup.has("rcpthosts"):
        yield Way(causes=(Cause("no control/rcpthosts", rule="qm-no-rcpthosts"),))
        return
    for text, position in (*hosts, *more):
        suffix = text.lstrip(".")
        if text.startswith(".") and suffix and is_public_suffix(suffix):
            claim = Claim(ClaimKind.FORWARD_PATH, f"someone@elsewhere.{suffix}")
            yield Way(frozenset((claim,)), causes=(Cause(text, position, "qm-rcpthosts-wide"),))
    accepted = {text for text, _ in (*hosts, *more)}
    for domain, position in _words(setup, "percenthack"):
        if domain in accepted or any(one.startswith(".") and domain.endswith(one) for one in accepted):
            claim = Claim(ClaimKind.FORWARD_PATH, f"someone%elsewhere.example@{domain}")
            yield Way(frozenset((claim,)), causes=(Cause(domain, position, "qm-percenthack"),))


def _by_client(setup: Setup) -> Iterator[Way]:
    scripts = [source for name in _SCRIPTS if setup.has(name) and (source := setup.read(name)) is not None]
    for source in scripts:
        for number, line in enumerate(source.lines, 1):
            if _SETS.match(line):
                yield Way(causes=(Cause(line.strip(), source.at(number), "qm-relayclient"),))
    found = [name for name in _RULES if setup.has(name)]
    for name in found:
        yield from _of_rules(setup, name)
    binary = next((f"{name}.cdb" for name in _RULES if setup.has(f"{name}.cdb") and name not in found), None)
    if binary is not None:
        yield Way(gaps=frozenset((setup.note(Gap(GapKind.BINARY, binary)),)))
    elif not found and not scripts:
        yield Way(gaps=frozenset((setup.note(Gap(GapKind.MISSING, "tcprules of the listener")),)))


def _of_rules(setup: Setup, name: str) -> Iterator[Way]:
    source = setup.read(name)
    lines: list[Prefixed] = []
    for number, text in enumerate(source.lines if source else (), 1):
        if source is None or not text.strip() or text.lstrip().startswith("#"):
            continue
        who, _, what = (
            text.strip().rpartition(":") if "allow" not in text else text.strip().partition(":allow")
        )
        relays = "RELAYCLIENT" in what and "deny" not in what
        position = source.at(number)
        if who.startswith("=") or "@" in who:
            if relays:
                kind = ClaimKind.CLIENT_NAME if who.startswith("=") else ClaimKind.CLIENT_ADDRESS
                gap = setup.note(Gap(GapKind.NOT_EVALUATED, text.strip()[:80], position))
                claims = (
                    frozenset((Claim(kind, who.lstrip("=") or "any"),))
                    if who.startswith("=")
                    else frozenset()
                )
                yield Way(claims, frozenset((gap,)))
            continue
        try:
            lines.append(Prefixed(of_prefix(who), relays, text.strip(), position))
        except ValueError:
            gap = setup.note(Gap(GapKind.SYNTAX, text.strip()[:80], position))
            if relays:
                yield Way(gaps=frozenset((gap,)))
    yield from relaying(setup, lines, "qm-relayclient")


def mend(setup: Setup, finding: AuditFinding) -> Iterator[Edit]:
    """Take RELAYCLIENT from strangers, and out what means others' domains."""
    path = path_of(setup, finding.file)
    if path is None or finding.line < 1:
        return
    line = setup.sources[path].lines[finding.line - 1]
    if finding.rule in {"qm-rcpthosts-wide", "qm-percenthack"}:
        yield Edit(path, finding.line, finding.line, ())
    elif finding.rule == "qm-relayclient" and _SETS.match(line):
        yield Edit(path, finding.line, finding.line, (f"# {line}",))
    elif finding.rule == "qm-relayclient":
        who = line.strip().partition(":")[0]
        own = [
            f"{'.'.join(str(network.network_address).split('.')[: network.prefixlen // 8])}"
            + ("." if network.prefixlen < 32 else "")
            + ':allow,RELAYCLIENT=""'
            for network in setup.allowed.networks(4)
            if network.prefixlen % 8 == 0 and network.prefixlen
        ]
        yield Edit(path, finding.line, finding.line, (*own, f"{who}:allow"))


SERVER = Server(
    name="qmail",
    home="/var/qmail/control",
    marks=(Mark(name="control/me"),),
    evaluate=evaluate,
    mend=mend,
    reload=("qmailctl", "cdb"),
)
