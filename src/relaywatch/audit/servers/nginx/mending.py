"""The smallest edits that close nginx to strangers and keep it open to the owner's networks."""

from __future__ import annotations

import re
from collections.abc import Iterator

from relaywatch.audit.findings import AuditFinding
from relaywatch.audit.proxies import own_networks, path_of
from relaywatch.audit.server import Edit
from relaywatch.audit.setup import Setup

from .reading import Node, whole

_INDENT = re.compile(r"\s*")
_MENDED = frozenset({"ng-variable", "ng-connect", "ng-stream-name"})


def mend(setup: Setup, finding: AuditFinding) -> Iterator[Edit]:
    """``allow`` for the owner's networks and ``deny all``, before all else in the block that passes requests on."""
    top = whole(setup)
    path = path_of(setup, finding.file)
    if top is None or path is None:
        return
    lines = setup.sources[path].lines
    if finding.rule == "ng-real-ip":
        indent = _INDENT.match(lines[finding.line - 1])[0]  # type: ignore[index]
        if lines[finding.line - 1].strip().startswith("set_real_ip_from"):
            yield Edit(path, finding.line, finding.line, (f"{indent}set_real_ip_from 127.0.0.1;",))
        return
    block = _block(top, finding)
    if finding.rule not in _MENDED or block is None or block.position.file != finding.file:
        return
    opening = lines[block.opened - 1]
    own = [f"allow {network};" for network in own_networks(setup)]
    if opening.rstrip().endswith("{"):
        indent = _INDENT.match(lines[block.opened] if block.opened < len(lines) else opening)[0]  # type: ignore[index]
        fresh = tuple(f"{indent}{line}" for line in [*own, "deny all;"])
        yield Edit(path, block.opened + 1, block.opened, fresh)
    elif opening.count("{") == 1:
        inside = " ".join(["{", *own, "deny all;"])
        yield Edit(path, block.opened, block.opened, (opening.replace("{", inside, 1),))


def _block(top: Node, finding: AuditFinding) -> Node | None:
    """The innermost location or server round a directive: ``if`` takes no ``allow``."""
    stack: list[tuple[Node, Node | None]] = [(top, None)]
    while stack:
        node, around = stack.pop()
        for one in node.inside:
            if one.position == finding.position and not one.opened:
                return around
            stack.append((one, one if one.name in {"server", "location", "limit_except"} else around))
    return None
