"""qmail and notqmail (qmail-smtpd(8), qmail-control(5), tcprules(1)): control/rcpthosts, RELAYCLIENT, percenthack."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from relaywatch.audit.claims import Claim, ClaimKind
from relaywatch.audit.conditions import Way
from relaywatch.audit.domains import is_public_suffix
from relaywatch.audit.findings import AuditFinding, Cause, Gap, GapKind, Position
from relaywatch.audit.prefixes import Prefixed, of_prefix, prefixes_of, relaying
from relaywatch.audit.proxies import path_of
from relaywatch.audit.server import Edit, Mark, Server, Service
from relaywatch.audit.setup import Setup
from relaywatch.audit.text import SourceFile
from relaywatch.model.evidence import Weakness

_RULES = (
    "/etc/tcp.smtp",
    "/etc/tcprules.d/tcp.qmail-smtp",
    "/etc/tcpserver/smtp.rules",
    "/home/vpopmail/etc/tcp.smtp",
    "/var/qmail/control/tcp.smtp",
)
_SCRIPTS = (
    "/service/*/run",
    "/etc/service/*/run",
    "/etc/sv/*/run",
    "/var/service/*/run",
    "/var/qmail/supervise/*/run",
    "/etc/qmail/supervise/*/run",
    "/var/lib/qmail/supervise/*/run",
    "/etc/init.d/qmail*",
    "/etc/qmail/qmail-smtpd*",
    "/var/qmail/rc",
)
_STARTS = "qmail-smtpd"
"""What a script must name to be looked at."""
_SETS = re.compile(r"^\s*(?:exec\s+|export\s+|(?:exec\s+)?env\s+.*)?RELAYCLIENT=", re.MULTILINE)
_TABLE = re.compile(r"\s-[A-Za-z]*x\s*(['\"]?)(?P<path>[^\s'\"]+)\1")
"""tcpserver's option for the table that tcprules made."""
_ENVIRONMENT = re.compile(r"\benvdir\s+(['\"]?)(?P<path>[^\s'\"]+)\1")


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
    """By the scripts that start it and the tables that they name; where none is named, by those of the usual places."""
    scripts = list(_scripts(setup))
    named: dict[str, Position | None] = {}
    for script, source in scripts:
        for number, line in enumerate(source.lines, 1):
            if line.lstrip().startswith("#"):
                continue
            at = source.at(number)
            if _SETS.match(line):
                yield Way(causes=(Cause(line.strip(), at, "qm-relayclient"),))
            named |= {table["path"]: at for table in _TABLE.finditer(line)}
            if environment := _ENVIRONMENT.search(line):
                yield from _of_environment(setup, f"{PurePosixPath(script).parent / environment['path']}", at)
    named = named or {name: None for name in _RULES if setup.has(name) or setup.has(f"{name}.cdb")}
    for name, position in named.items():
        text = name.removesuffix(".cdb")
        if setup.has(text):
            yield from _of_rules(setup, text)
        else:
            gap = Gap(GapKind.BINARY, f"{text}.cdb", position)
            yield Way(gaps=frozenset((setup.note(gap),)))
    if not named and not scripts:
        yield Way(gaps=frozenset((setup.note(Gap(GapKind.MISSING, "tcprules of the listener")),)))


def _scripts(setup: Setup) -> Iterator[tuple[str, SourceFile]]:
    """Those that start the listener; nothing that others do counts."""
    for pattern in _SCRIPTS:
        for name in setup.included(pattern):
            source = setup.read(name) if setup.has(name) else None
            if source is not None and _STARTS in source.text:
                yield name, source


def _of_environment(setup: Setup, folder: str, position: Position) -> Iterator[Way]:
    """envdir(8): a file of that name sets the variable, unless it is empty and so takes it away."""
    name = f"{folder}/RELAYCLIENT"
    if "$" in folder:
        yield Way(gaps=frozenset((setup.note(Gap(GapKind.NOT_EVALUATED, name, position)),)))
    source = setup.read(name, position) if setup.has(name) else None
    if source is not None and source.lines:
        yield Way(causes=(Cause("RELAYCLIENT", source.at(1), "qm-relayclient"),))


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
    elif finding.rule == "qm-relayclient" and path.name == "RELAYCLIENT":
        yield Edit(path, 1, len(setup.sources[path].lines), ())
    elif finding.rule == "qm-relayclient" and _SETS.match(line):
        rest = re.sub(r"\bRELAYCLIENT=(?:\"[^\"]*\"|'[^']*'|[^\s;]*)\s*", "", line)
        is_alone = re.fullmatch(r"\s*(?:export\s*)?;?\s*(?:export\s+RELAYCLIENT\s*)?", rest)
        yield Edit(path, finding.line, finding.line, (f"# {line}" if is_alone else rest,))
    elif finding.rule == "qm-relayclient":
        who = line.strip().partition(":")[0]
        prefixes = [prefix for network in setup.allowed.networks(4) for prefix in prefixes_of(network)]
        own = [f'{one}{"." if one.count(".") < 3 else ""}:allow,RELAYCLIENT=""' for one in prefixes]
        yield Edit(path, finding.line, finding.line, (*own, f"{who}:allow"))


SERVER = Server(
    name="qmail",
    home="/var/qmail/control",
    marks=(Mark(name="control/me"),),
    evaluate=evaluate,
    mend=mend,
    reload=("qmailctl", "cdb"),
)
