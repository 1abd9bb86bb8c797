"""chasquid (chasquid.conf, 1.11): it relays for authenticated users only, and no setting changes that."""

from __future__ import annotations

import re
from collections.abc import Iterator

from relaywatch.audit.conditions import Way
from relaywatch.audit.findings import Cause, Gap, GapKind, Position
from relaywatch.audit.proxies import host_and_port, is_loopback
from relaywatch.audit.server import Mark, Server, Service
from relaywatch.audit.setup import Setup
from relaywatch.model.evidence import Weakness

_LINE = re.compile(r'\s*(\w+)\s*:\s*(?:"([^"]*)"|(\S+))\s*(?:#.*)?')
_LISTENS = frozenset({"smtp_address", "submission_address", "submission_over_tls_address"})


def evaluate(setup: Setup) -> Iterator[Service]:
    """Every listener; there are no networks to trust. Those that aren't named are systemd's sockets."""
    source = setup.read_main()
    if source is None:
        return
    named: set[str] = set()
    gaps: list[Gap] = []
    listeners: list[tuple[str, Position]] = []
    for number, line in enumerate(source.lines, 1):
        said = _LINE.fullmatch(line)
        if said is None and line.strip() and not line.lstrip().startswith("#"):
            gaps.append(setup.note(Gap(GapKind.SYNTAX, line.strip()[:80], source.at(number))))
        if said is not None and said[1] in _LISTENS:
            listeners.append((said[2] if said[2] is not None else said[3], source.at(number)))
            named.add(said[1])
    listeners += [(f"systemd ({name})", source.at(1)) for name in sorted(_LISTENS - named)]
    way = Way(gaps=frozenset(gaps), causes=(Cause("chasquid.conf", source.at(1)),))
    for where, position in listeners:
        yield Service(
            name=where,
            weakness=Weakness.OPEN_RELAY,
            position=position,
            is_out_of_reach=is_loopback(host_and_port(where)[0]),
            passing=(way,) if gaps else (),
        )


SERVER = Server(
    name="chasquid",
    home="/etc/chasquid",
    marks=(Mark(name="chasquid.conf"),),
    evaluate=evaluate,
    reload=("systemctl", "restart", "chasquid"),
)
