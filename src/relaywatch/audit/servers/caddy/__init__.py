"""Caddy 2 (Caddyfile and JSON): upstreams out of the request, and the module forward_proxy without a password."""

from __future__ import annotations

import re
from collections.abc import Iterator

from relaywatch.audit.findings import AuditFinding
from relaywatch.audit.proxies import own_networks, path_of
from relaywatch.audit.server import Edit, Mark, Server
from relaywatch.audit.setup import Setup

from .evaluating import evaluate

_INDENT = re.compile(r"\s*")
_APPS = re.compile(r"\"apps\"\s*:\s*\{[\s\S]*?\"(?:http|layer4)\"\s*:")


def mend(setup: Setup, finding: AuditFinding) -> Iterator[Edit]:
    """Refuse strangers at the directive that leads out, before it; where the owner has no networks, everybody. Of JSON nothing is mended."""
    path = path_of(setup, finding.file)
    if (
        path is None
        or setup.main.suffix == ".json"
        or finding.rule not in {"ca-upstream", "ca-forward"}
        or finding.line < 1
    ):
        return
    line = setup.sources[path].lines[finding.line - 1]
    indent = _INDENT.match(line)[0]  # type: ignore[index]
    own = own_networks(setup)
    if not own and not line.rstrip().endswith("{"):
        yield Edit(path, finding.line, finding.line, (f"{indent}respond 403",))
    elif own and finding.rule == "ca-upstream":
        matcher = f"{indent}@strangers not remote_ip {' '.join(own)}"
        yield Edit(path, finding.line, finding.line - 1, (matcher, f"{indent}respond @strangers 403"))


SERVER = Server(
    name="caddy",
    home="/etc/caddy",
    marks=(
        Mark(name="Caddyfile"),
        Mark(name="*.Caddyfile"),
        Mark(name="Caddyfile.*"),
        Mark(name="caddy.json"),
        Mark(name="*.json", holds=_APPS),
    ),
    evaluate=evaluate,
    mend=mend,
    check=("caddy", "validate", "--adapter", "caddyfile", "--config", "{main}"),
    reload=("systemctl", "reload", "caddy"),
)
