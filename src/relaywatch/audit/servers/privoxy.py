"""Privoxy (config, 3.0): without a permit- or deny-access line everybody is let in; else the last that fits decides."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from relaywatch.audit.addresses import AddressSet
from relaywatch.audit.conditions import NEVER, Condition, Way, joined, unknown
from relaywatch.audit.deciding import Rule, first_match
from relaywatch.audit.findings import AuditFinding, Cause, Gap, GapKind, Position
from relaywatch.audit.proxies import (
    first_of_each,
    headed,
    host_and_port,
    is_destination,
    is_loopback,
    own_networks,
)
from relaywatch.audit.server import Edit, Mark, Server, Service
from relaywatch.audit.setup import Setup
from relaywatch.audit.text import Joins, logical_lines
from relaywatch.audit.witness import OUTSIDE_HOST
from relaywatch.model.evidence import Weakness

_USUAL = "127.0.0.1:8118"
_ASKED = (("CONNECT", 25), ("CONNECT", 443), ("GET", 25), ("GET", 80))
_ACCESS = frozenset({"permit-access", "deny-access"})
_TOGGLES = frozenset({"enable-remote-toggle", "enable-remote-http-toggle", "enable-edit-actions"})
"""They let clients switch filters off, and lead nowhere."""
_EVERYTHING = frozenset({"/", "/.*", ".", "*", "*/"})


@dataclass(frozen=True, slots=True)
class _Directive:
    name: str
    words: tuple[str, ...]
    position: Position

    def cause(self, rule: str = "") -> Cause:
        return Cause(" ".join((self.name, *self.words)), self.position, rule)


@dataclass(frozen=True, slots=True)
class _Actions:
    """What the action files say of every URL."""

    ports: str | None = None
    """Of ``limit-connect``; none, and CONNECT leads to any."""
    limit: Cause | None = None
    block: Cause | None = None


def evaluate(setup: Setup) -> Iterator[Service]:
    """A listener for each ``listen-address``."""
    source = setup.read_main()
    if source is None:
        return
    said = []
    for line in logical_lines(source, Joins.BY_BACKSLASH):
        words = line.text.split("#", 1)[0].split()
        if words:
            said.append(_Directive(words[0].lower(), tuple(words[1:]), line.position))
    heard = [one for one in said if one.name == "listen-address" and one.words]
    actions = _actions(setup, said)
    for one in said:
        if one.name in _TOGGLES and _is_on(said, one.name):
            setup.set_aside(Gap(GapKind.NOT_EVALUATED, one.cause().text, one.position))
    for listen in heard or [_Directive("listen-address", (_USUAL,), source.at(0))]:
        yield Service(
            name=listen.words[0],
            weakness=Weakness.OPEN_PROXY,
            position=listen.position,
            passing=first_of_each(_passing(setup, said, listen, actions)),
            is_out_of_reach=is_loopback(host_and_port(listen.words[0])[0]),
        )


def _passing(
    setup: Setup, said: Sequence[_Directive], listen: _Directive, actions: _Actions
) -> Iterator[Way]:
    known = _known(said, actions)
    for one in said:
        if one.name == "trustfile":
            known = joined(
                known, unknown(setup.note(Gap(GapKind.NOT_EVALUATED, one.cause().text, one.position))).true
            )
    for method, port in _ASKED:
        if method == "CONNECT" and not _is_in(port, actions.ports):
            continue
        for version in (4, 6):
            for way in joined(_let_in(setup, said, listen, version), known):
                told = way
                if method == "CONNECT" and port != 443:
                    told = told.because(actions.limit or Cause("no limit-connect", rule="pv-connect"))
                yield headed(told, f"{OUTSIDE_HOST}:{port} by {method}")
    if _is_on(said, "accept-intercepted-requests"):
        line = next(one for one in said if one.name == "accept-intercepted-requests")
        for way in joined(_let_in(setup, said, listen, 4), known):
            yield headed(
                Way(causes=(line.cause("pv-intercepted"),)).joined(way), f"{OUTSIDE_HOST}:80 by Host"
            )


def _known(said: Sequence[_Directive], actions: _Actions) -> tuple[Way, ...]:
    """Whether what is asked for is blocked: the client may ask to go there all the same unless that is forbidden."""
    if actions.block is None:
        return (Way(),)
    if _is_on(said, "enforce-blocks"):
        return ()
    return (Way(causes=(actions.block, Cause("enforce-blocks 0", rule="pv-not-enforced"))),)


def _let_in(setup: Setup, said: Sequence[_Directive], listen: _Directive, version: int) -> tuple[Way, ...]:
    lines = [one for one in said if one.name in _ACCESS and one.words]
    if not lines:
        return (Way(causes=(listen.cause("pv-no-access"),)),)
    rules = [
        Rule(
            _fits(setup, one, version),
            answer=one.name == "permit-access",
            causes=(one.cause("pv-permit-wide"),) if one.name == "permit-access" else (),
        )
        for one in reversed(lines)
    ]
    return first_match(rules, default=False).get(True, ())


def _fits(setup: Setup, line: _Directive, version: int) -> Condition:
    """Source, and destination if there is one. The names of hosts mean their addresses, nobody's from outside."""
    meant = networks(line.words[0])
    source = setup.strangers(meant, version) if meant is not None else NEVER
    if len(line.words) == 1:
        return source
    target = networks(line.words[1])
    return source & (is_destination(target) if target is not None else NEVER)


def networks(text: str) -> AddressSet | None:
    """An address with its mask and port; nothing for a host's name."""
    address, slash, mask = text.rpartition("/") if "/" in text else (text, "", "")
    mask = mask.partition(":")[0]
    host = address.partition("]")[0].strip("[]") if address.startswith("[") else address
    if (not slash and host.count(":") == 1) or host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        return AddressSet.of([f"{host}/{mask}" if mask else host])
    except ValueError:
        return None


def _actions(setup: Setup, said: Sequence[_Directive]) -> _Actions:
    """Sections that mean every URL, later ones over earlier ones."""
    ports: str | None = None
    limit: Cause | None = None
    block: Cause | None = None
    for file in said:
        if file.name != "actionsfile" or not file.words:
            continue
        source = setup.read(f"{_folder(said)}{file.words[0]}", file.position)
        if source is None:
            continue
        header = ""
        for line in logical_lines(source, Joins.BY_BACKSLASH):
            if line.text.startswith("{"):
                header = "" if line.text.startswith("{{") else line.text
            elif header and line.text in _EVERYTHING:
                cause = Cause(header[:80], line.position)
                ports, limit = _limited(header, ports, limit, cause)
                block = cause if "+block" in header else None if "-block" in header else block
    return _Actions(ports, limit, block)


def _limited(
    header: str, ports: str | None, limit: Cause | None, cause: Cause
) -> tuple[str | None, Cause | None]:
    if "-limit-connect" in header:
        return None, None
    found = header.partition("+limit-connect{")[2].partition("}")
    return (found[0], cause) if found[1] else (ports, limit)


def _folder(said: Sequence[_Directive]) -> str:
    """``confdir``, in which action files are."""
    found = next((one.words[0] for one in reversed(said) if one.name == "confdir" and one.words), "")
    return f"{found.rstrip('/')}/" if found and found != "." else ""


def _is_in(port: int, ports: str | None) -> bool:
    """Whether ``limit-connect`` lets a port through: ``443,1024-``, ``-`` for all."""
    if ports is None:
        return True
    for part in ports.replace(" ", "").split(","):
        first, dash, last = part.partition("-")
        if not first and not dash:
            continue
        low = int(first) if first.isdigit() else 0
        high = int(last) if last.isdigit() else 65535 if dash else low
        if low <= port <= high:
            return True
    return False


def _is_on(said: Sequence[_Directive], name: str) -> bool:
    found = next((one for one in reversed(said) if one.name == name), None)
    return found is not None and found.words[:1] not in {(), ("0",)}


def mend(setup: Setup, finding: AuditFinding) -> Iterator[Edit]:
    """Let in this machine and the owner's networks, or answer only this machine."""
    source = setup.read_main()
    if source is None or finding.file != source.name:
        return
    own = [f"permit-access  {network}" for network in own_networks(setup)]
    if finding.rule == "pv-no-access" and finding.line:
        line = source.lines[finding.line - 1]
        if own:
            yield Edit(setup.main, finding.line, finding.line, (line, "permit-access  127.0.0.1", *own))
        else:
            port = host_and_port(line.split()[1])[1] or "8118"
            yield Edit(setup.main, finding.line, finding.line, (f"listen-address  127.0.0.1:{port}",))
    elif finding.rule == "pv-permit-wide":
        yield Edit(setup.main, finding.line, finding.line, tuple(own or ["permit-access  127.0.0.1"]))


_OWN = re.compile(r"^(?:listen-address|permit-access|actionsfile)\s", re.MULTILINE)
SERVER = Server(
    name="privoxy",
    home="/etc/privoxy",
    marks=(Mark(name="privoxy/config"), Mark(name="privoxy.conf"), Mark(name="config", holds=_OWN)),
    evaluate=evaluate,
    mend=mend,
    check=("privoxy", "--config-test", "{main}"),
    reload=("systemctl", "restart", "privoxy"),
)
