"""HAProxy (2.6 and later): a destination out of the request (``set-dst``), and servers without an address of their own."""

from __future__ import annotations

import re
from collections.abc import Iterator

from relaywatch.audit.findings import AuditFinding
from relaywatch.audit.proxies import own_networks, path_of
from relaywatch.audit.server import Edit, Mark, Server
from relaywatch.audit.setup import Setup

from .evaluating import evaluate

_INDENT = re.compile(r"\s*")


def mend(setup: Setup, finding: AuditFinding) -> Iterator[Edit]:
    """Refuse whoever isn't the owner's, before the line that takes the destination from him."""
    path = path_of(setup, finding.file)
    if path is None or finding.line < 1:
        return
    line = setup.sources[path].lines[finding.line - 1]
    indent = _INDENT.match(line)[0]  # type: ignore[index]
    words = line.split()
    own = own_networks(setup)
    if finding.rule == "ha-set-dst" and words[0] in {"http-request", "tcp-request"}:
        refusing = "http-request deny" if words[0] == "http-request" else f"tcp-request {words[1]} reject"
        condition = f" unless {{ src {' '.join(own)} }}" if own else ""
        yield Edit(path, finding.line, finding.line - 1, (f"{indent}{refusing}{condition}",))
    elif finding.rule == "ha-accept-proxy" and "accept-proxy" in words:
        yield Edit(path, finding.line, finding.line, (line.replace(" accept-proxy", ""),))


SERVER = Server(
    name="haproxy",
    home="/etc/haproxy",
    marks=(
        Mark(name="haproxy.cfg"),
        Mark(name="*.cfg", holds=re.compile(r"^(?:frontend|listen|backend)\s+\S", re.MULTILINE)),
    ),
    evaluate=evaluate,
    mend=mend,
    check=("haproxy", "-c", "-f", "{main}"),
    reload=("systemctl", "reload", "haproxy"),
)
