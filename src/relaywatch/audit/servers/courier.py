"""Courier (makesmtpaccess(8), makeacceptmailfor(8); 1.0): smtpaccess and the domains that it accepts mail for."""

from __future__ import annotations

import re
from collections.abc import Iterator

from relaywatch.audit.addresses import AddressSet
from relaywatch.audit.claims import Claim, ClaimKind
from relaywatch.audit.conditions import Way
from relaywatch.audit.domains import is_public_suffix
from relaywatch.audit.findings import AuditFinding, Cause, Gap, GapKind
from relaywatch.audit.prefixes import Prefixed, of_prefix, prefixes_of, relaying
from relaywatch.audit.proxies import path_of
from relaywatch.audit.server import Edit, Mark, Server, Service
from relaywatch.audit.setup import Setup
from relaywatch.model.evidence import Weakness

_DOMAINS = ("esmtpacceptmailfor", "esmtpacceptmailfor.dir", "hosteddomains", "hosteddomains.dir")
"""Each a file, or a folder of files, in the folder above."""
_ACCESSFILE = re.compile(r"\s*(?:export\s+)?ACCESSFILE=(['\"]?)(?P<path>[^'\"#]*?)\1\s*(?:#.*)?")


def evaluate(setup: Setup) -> Iterator[Service]:
    """The listeners have these files in common."""
    main = setup.read_main()
    if main is None:
        return
    yield Service(
        name="esmtpd",
        weakness=Weakness.OPEN_RELAY,
        passing=(*relaying(setup, list(_access(setup)), "co-net-all"), *_elsewhere(setup), *_domains(setup)),
    )


def _access(setup: Setup) -> Iterator[Prefixed]:
    for name in setup.glob(f"{setup.home}/*"):
        yield from _table(setup, name)


def _elsewhere(setup: Setup) -> Iterator[Way]:
    """Another table that ``ACCESSFILE`` names, for esmtpd or for esmtpd-msa alone."""
    above = setup.above
    for name in ("esmtpd", "esmtpd-msa"):
        source = setup.read(f"{above}/{name}") if setup.has(f"{above}/{name}") else None
        for number, line in enumerate(source.lines if source else (), 1):
            said = _ACCESSFILE.fullmatch(line)
            path = re.sub(r"\$\{?sysconfdir\}?", str(above), said["path"]) if said else ""
            if source is None or not path or path == f"{above}/smtpaccess":
                continue
            named = [path] if setup.has(path) else setup.glob(f"{path}/*", source.at(number))
            if "$" in path or not named:
                gap = setup.note(Gap(GapKind.MISSING, path, source.at(number)))
                yield Way(gaps=frozenset((gap,)))
            yield from relaying(setup, [line for one in named for line in _table(setup, one)], "co-net-all")


def _table(setup: Setup, name: str) -> Iterator[Prefixed]:
    source = setup.read(name)
    for number, line in enumerate(source.lines if source else (), 1):
        if source is None or not line.strip() or line.startswith("#"):
            continue
        who, _, what = line.strip().replace("\t", " ").partition(" ")
        words = {word.strip().partition("=")[0] for word in what.split(",")}
        try:
            addresses = AddressSet.of([who]) if "/" in who else of_prefix("" if who == "*" else who)
        except ValueError:
            setup.note(Gap(GapKind.SYNTAX, line.strip()[:80], source.at(number)))
            continue
        yield Prefixed(
            addresses, "allow" in words and "RELAYCLIENT" in words, line.strip(), source.at(number)
        )


def _domains(setup: Setup) -> Iterator[Way]:
    named = [f"{setup.above}/{name}" for name in _DOMAINS]
    folders = [one for name in named for one in (name, *setup.glob(f"{name}/*"))]
    for name in folders:
        source = setup.read(name) if setup.has(name) else None
        for number, line in enumerate(source.lines if source else (), 1):
            domain = line.split("#")[0].split("\t")[0].strip().lower()
            suffix = domain.lstrip(".")
            if source is not None and domain.startswith(".") and suffix and is_public_suffix(suffix):
                claim = Claim(ClaimKind.FORWARD_PATH, f"someone@elsewhere.{suffix}")
                yield Way(frozenset((claim,)), causes=(Cause(domain, source.at(number), "co-dom-wide"),))


def mend(setup: Setup, finding: AuditFinding) -> Iterator[Edit]:
    """Take out the line; the owner's own networks get lines of their own."""
    path = path_of(setup, finding.file)
    if path is None or finding.line < 1 or not finding.rule.startswith("co-"):
        return
    own: tuple[str, ...] = ()
    if finding.rule == "co-net-all":
        networks = [one for version in (4, 6) for one in setup.allowed.networks(version)]
        prefixes = (prefix for one in networks for prefix in prefixes_of(one))
        own = tuple(f"{prefix}\tallow,RELAYCLIENT" for prefix in prefixes)
    yield Edit(path, finding.line, finding.line, own)


SERVER = Server(
    name="courier",
    home="/etc/courier/smtpaccess",
    marks=(Mark(name="smtpaccess/default"),),
    evaluate=evaluate,
    mend=mend,
    reload=("makesmtpaccess",),
)
