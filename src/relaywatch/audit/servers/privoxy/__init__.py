"""Privoxy (config, 3.0): without a permit- or deny-access line everybody is let in; else the last that fits decides."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from relaywatch.audit.conditions import ALWAYS, NEVER, Condition, Way, joined, unknown
from relaywatch.audit.deciding import Rule, first_match
from relaywatch.audit.findings import AuditFinding, Cause, Gap, GapKind
from relaywatch.audit.proxies import (
    AS_HE_LIKES,
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

from .access import Meant, meant
from .actions import Actions, Directive, read_actions

_USUAL = "127.0.0.1:8118"
_ASKED = (("CONNECT", 25), ("CONNECT", 443), ("GET", 25), ("GET", 80))
_ACCESS = frozenset({"permit-access", "deny-access"})
_TOGGLES = frozenset({"enable-remote-toggle", "enable-remote-http-toggle", "enable-edit-actions"})
"""They let clients switch filters off: that leads nowhere, unless a block of everything is switched off with them."""


@dataclass(frozen=True, slots=True)
class _Access:
    """An access line: clients, and destinations if it has any."""

    line: Directive
    source: Meant
    target: Meant | None

    @property
    def is_sure(self) -> bool:
        """Whether it is there whatever the DNS says: Privoxy passes over a line with a name that it can't resolve."""
        return not (self.source.is_name or (self.target is not None and self.target.is_name))


def evaluate(setup: Setup) -> Iterator[Service]:
    """A listener for each ``listen-address``."""
    source = setup.read_main()
    if source is None:
        return
    said = []
    for line in logical_lines(source, Joins.BY_BACKSLASH):
        words = line.text.split("#", 1)[0].split()
        if words:
            said.append(Directive(words[0].lower(), tuple(words[1:]), line.position))
    heard = [one for one in said if one.name == "listen-address" and one.words]
    actions = read_actions(setup, said)
    for one in said:
        if one.name in _TOGGLES and _is_on(said, one.name):
            setup.set_aside(Gap(GapKind.NOT_EVALUATED, one.cause().text, one.position))
    for listen in heard or [Directive("listen-address", (_USUAL,), source.at(0))]:
        yield Service(
            name=listen.words[0],
            weakness=Weakness.OPEN_PROXY,
            position=listen.position,
            passing=first_of_each(_passing(setup, said, listen, actions)),
            is_out_of_reach=is_loopback(host_and_port(listen.words[0])[0]),
        )


def _passing(setup: Setup, said: Sequence[Directive], listen: Directive, actions: Actions) -> Iterator[Way]:
    trusted: tuple[Way, ...] = (Way(),)
    for one in said:
        if one.name == "trustfile":
            trusted = joined(trusted, _unknown(setup, one.cause()).true)
    let_in = {
        (version, port): joined(_let_in(setup, said, listen, version, port), trusted)
        for version in (4, 6)
        for port in (25, 80, 443)
    }
    for host, methods, known in _known(setup, said, actions):
        for method, port in _ASKED:
            if method not in methods or (method == "CONNECT" and not _is_in(port, actions.ports)):
                continue
            for way in joined((*let_in[4, port], *let_in[6, port]), (known,)):
                told = way
                if method == "CONNECT" and port != 443:
                    told = told.because(actions.limit or Cause("no limit-connect", rule="pv-connect"))
                yield headed(told, f"{host}:{port} by {method}")
        if _is_on(said, "accept-intercepted-requests"):
            line = next(one for one in said if one.name == "accept-intercepted-requests")
            for way in joined((*let_in[4, 80], *let_in[6, 80]), (known,)):
                yield headed(Way(causes=(line.cause("pv-intercepted"),)).joined(way), f"{host}:80 by Host")


def _known(
    setup: Setup, said: Sequence[Directive], actions: Actions
) -> Iterator[tuple[str, tuple[str, ...], Way]]:
    """A host that isn't blocked, by which methods, and why: the client may ask to go there unless that is forbidden."""
    both = ("CONNECT", "GET")
    if actions.block is None or any(one.name == "toggle" and one.words[:1] == ("0",) for one in said):
        yield OUTSIDE_HOST, both, Way()
        return
    if not _is_on(said, "enforce-blocks"):
        yield (
            OUTSIDE_HOST,
            both,
            Way(causes=(actions.block, Cause("enforce-blocks 0", rule="pv-not-enforced"))),
        )
        return
    for toggle in said:
        if toggle.name == "enable-remote-toggle" and _is_on(said, toggle.name):
            yield OUTSIDE_HOST, both, Way(causes=(toggle.cause("pv-toggle"), actions.block))
        elif toggle.name == "enable-edit-actions" and _is_on(said, toggle.name):
            yield OUTSIDE_HOST, both, _unknown(setup, toggle.cause()).true[0]
    for pattern, cause in actions.opened:
        host = _unblocked(pattern)
        if host is None:
            yield OUTSIDE_HOST, both, _unknown(setup, cause).true[0].because(cause)
        elif host:
            yield host, both if "/" not in pattern else ("GET",), Way(causes=(cause,))


def _unblocked(pattern: str) -> str | None:
    """An outside host that a URL's pattern means; empty if it means the owner's choice, nothing if nobody knows."""
    host = re.split(r"[/:]", pattern, maxsplit=1)[0]
    if pattern.startswith("TAG:") or re.search(r"[*?\[]", host):
        return None
    if not host.strip("."):
        return OUTSIDE_HOST
    if host.endswith("."):
        return f"{host.lstrip('.')}{OUTSIDE_HOST}"
    return f"elsewhere{host}" if host.startswith(".") and host.count(".") == 1 else ""


def _let_in(
    setup: Setup, said: Sequence[Directive], listen: Directive, version: int, port: int
) -> tuple[Way, ...]:
    """Of the clients' lines the last that fits decides, whatever destination it names; then of all the last for it."""
    lines = [one for one in said if one.name in _ACCESS]
    read = [one for one in map(_access, lines) if one is not None]
    if not any(one.is_sure for one in read):
        ignored = next((one.cause("pv-unread-access") for one in lines if _access(one) is None), None)
        way = Way(causes=(ignored or listen.cause("pv-no-access"),))
        return joined((way,), _unknown(setup, read[0].line.cause()).true) if read else (way,)
    clients, all_of_it = [], []
    for one in reversed(read):
        fits = _from(setup, one, version)
        is_permit = one.line.name == "permit-access"
        causes = (one.line.cause("pv-permit-wide"),) if is_permit else ()
        clients.append(Rule(fits, answer=is_permit, causes=causes))
        all_of_it.append(Rule(fits & _to(setup, said, one, port), answer=is_permit, causes=causes))
    return joined(
        first_match(clients, default=False).get(True, ()), first_match(all_of_it, default=False).get(True, ())
    )


def _access(line: Directive) -> _Access | None:
    """What a line means; nothing if it can't be read, for then Privoxy passes it over."""
    read = [meant(word) for word in line.words]
    if not 1 <= len(read) <= 2 or read[0] is None or read[-1] is None:
        return None
    return _Access(line, read[0], read[1] if len(read) == 2 else None)


def _from(setup: Setup, one: _Access, version: int) -> Condition:
    if not one.source.is_known:
        return _unknown(setup, one.line.cause())
    fits = setup.strangers(one.source.addresses, version)
    return fits & AS_HE_LIKES if one.source.port else fits


def _to(setup: Setup, said: Sequence[Directive], one: _Access, port: int) -> Condition:
    """Where it leads: behind ``forward`` that is the next proxy."""
    if one.target is None:
        return ALWAYS
    if not one.target.is_known or any(_is_forwarding(other) for other in said):
        return _unknown(setup, one.line.cause())
    return is_destination(one.target.addresses) if one.target.port in {0, port} else NEVER


def _is_forwarding(line: Directive) -> bool:
    return line.name.startswith("forward-socks") or (line.name == "forward" and line.words[1:2] != (".",))


def _unknown(setup: Setup, cause: Cause) -> Condition:
    return unknown(setup.note(Gap(GapKind.NOT_EVALUATED, cause.text, cause.position)))


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


def _is_on(said: Sequence[Directive], name: str) -> bool:
    found = next((one for one in reversed(said) if one.name == name), None)
    return found is not None and found.words[:1] not in {(), ("0",)}


def mend(setup: Setup, finding: AuditFinding) -> Iterator[Edit]:
    """Let in this machine and the owner's networks, or answer only this machine."""
    source = setup.read_main()
    if source is None or finding.file != source.name:
        return
    own = [f"permit-access  {_written(network)}" for network in own_networks(setup)]
    if finding.rule == "pv-no-access" and finding.line:
        line = source.lines[finding.line - 1]
        if own:
            yield Edit(setup.main, finding.line, finding.line, (line, "permit-access  127.0.0.1", *own))
        else:
            port = host_and_port(line.split()[1])[1] or "8118"
            yield Edit(setup.main, finding.line, finding.line, (f"listen-address  127.0.0.1:{port}",))
    elif finding.rule in {"pv-permit-wide", "pv-unread-access"}:
        yield Edit(setup.main, finding.line, finding.line, tuple(own or ["permit-access  127.0.0.1"]))


def _written(network: str) -> str:
    """Without brackets round an IPv6 address Privoxy passes over the line."""
    address, _, length = network.partition("/")
    return f"[{address}]/{length}" if ":" in address else network


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
