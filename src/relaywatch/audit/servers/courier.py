"""Courier (makesmtpaccess(8), makeacceptmailfor(8); 1.0): smtpaccess and the domains that it accepts mail for."""

from __future__ import annotations

from collections.abc import Iterator

from relaywatch.audit.claims import Claim, ClaimKind
from relaywatch.audit.conditions import Way
from relaywatch.audit.domains import is_public_suffix
from relaywatch.audit.findings import AuditFinding, Cause, Gap, GapKind
from relaywatch.audit.prefixes import Prefixed, of_prefix, relaying
from relaywatch.audit.proxies import path_of
from relaywatch.audit.server import Edit, Mark, Server, Service
from relaywatch.audit.setup import Setup
from relaywatch.model.evidence import Weakness

_DOMAINS = ("esmtpacceptmailfor", "hosteddomains")


def evaluate(setup: Setup) -> Iterator[Service]:
    """The listeners have these files in common."""
    main = setup.read_main()
    if main is None:
        return
    yield Service(
        name="esmtpd",
        weakness=Weakness.OPEN_RELAY,
        passing=(*relaying(setup, list(_access(setup)), "co-net-all"), *_domains(setup)),
    )


def _access(setup: Setup) -> Iterator[Prefixed]:
    for name in setup.glob(f"{setup.home}/*"):
        source = setup.read(name)
        for number, line in enumerate(source.lines if source else (), 1):
            if source is None or not line.strip() or line.startswith("#"):
                continue
            who, _, what = line.strip().partition("\t")
            words = {word.strip().partition("=")[0] for word in what.split(",")}
            try:
                addresses = of_prefix("" if who == "*" else who)
            except ValueError:
                setup.note(Gap(GapKind.SYNTAX, line.strip()[:80], source.at(number)))
                continue
            yield Prefixed(
                addresses, "allow" in words and "RELAYCLIENT" in words, line.strip(), source.at(number)
            )


def _domains(setup: Setup) -> Iterator[Way]:
    above = setup.main.parent.parent if setup.system is None else setup.home.parent
    named = [f"{above}/{name}" for name in _DOMAINS]
    folders = [one for name in named for one in (name, *setup.glob(f"{name}.dir/*"))]
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
        networks = [one for one in setup.allowed.networks(4) if one.prefixlen % 8 == 0 and one.prefixlen]
        prefixes = (".".join(str(one.network_address).split(".")[: one.prefixlen // 8]) for one in networks)
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
