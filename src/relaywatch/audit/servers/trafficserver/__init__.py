"""Apache Traffic Server 7 to 10: what remap.config doesn't map is fetched only where no mapping is required.

Then ``ip_allow`` alone keeps strangers out; as it is shipped, it denies them a few methods.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from relaywatch.audit.addresses import AddressSet
from relaywatch.audit.findings import AuditFinding
from relaywatch.audit.proxies import own_networks, path_of
from relaywatch.audit.server import Edit, Mark, Server
from relaywatch.audit.setup import Setup

from .evaluating import evaluate


def mend(setup: Setup, finding: AuditFinding) -> Iterator[Edit]:
    """Ask for a mapping; where the owner has networks that use it, deny all others in ``ip_allow`` instead."""
    path = path_of(setup, finding.file)
    own = own_networks(setup)
    if path is None or finding.rule not in {"ts-connect", "ts-forward"} or not finding.line:
        return
    access = next((one for one in finding.causes if one.rule == "ts-ip-allow" and one.position), None)
    if own and access is not None and access.position is not None:
        there = path_of(setup, access.position.file)
        if there is not None:
            line = setup.sources[there].lines[access.position.line - 1]
            at = access.position.line
            yield Edit(there, at, at - 1, tuple(_denied(line, own, access.position.file)))
        return
    line = setup.sources[path].lines[finding.line - 1]
    yield Edit(path, finding.line, finding.line, (re.sub(r"(\s)(?:0|false|off|no)\s*$", r"\g<1>1", line),))


def _denied(line: str, own: tuple[str, ...], name: str) -> Iterator[str]:
    """Rules for the owner's networks, and one for the rest of each family."""
    meant = [*((network, "allow") for network in own), ("0.0.0.0/0", "deny"), ("::/0", "deny")]
    indent = line[: len(line) - len(line.lstrip())]
    for network, action in meant:
        if name.endswith(".config"):
            yield f"src_ip={_spanned(network)} action=ip_{action} method=ALL"
        else:
            yield f'{indent}- {{apply: in, ip_addrs: "{network}", action: {action}, methods: ALL}}'


def _spanned(network: str) -> str:
    (meant,) = (AddressSet.of([network]).networks(6 if ":" in network else 4),)
    return f"{meant[0][0]}-{meant[-1][-1]}"


SERVER = Server(
    name="trafficserver",
    home="/etc/trafficserver",
    marks=(
        Mark(name="records.config", holds=re.compile(r"^\s*(?:CONFIG|LOCAL)\s+proxy\.", re.MULTILINE)),
        Mark(name="records.yaml", holds=re.compile(r"^\s*[\"']?records[\"']?\s*:", re.MULTILINE)),
    ),
    evaluate=evaluate,
    mend=mend,
    check=("traffic_server", "-C", "verify_config"),
    reload=("systemctl", "restart", "trafficserver"),
)
