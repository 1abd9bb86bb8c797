"""What to write instead of a match that relays for strangers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from relaywatch.audit.findings import AuditFinding
from relaywatch.audit.proxies import own_networks, path_of
from relaywatch.audit.server import Edit
from relaywatch.audit.setup import Setup


def mend(setup: Setup, finding: AuditFinding) -> Iterator[Edit]:
    """From this machine, from whoever authenticates and from the owner's own networks, instead of from anybody."""
    path = path_of(setup, finding.file)
    if path is None or finding.line < 1 or not finding.rule.startswith("os-"):
        return
    lines = setup.sources[path].lines
    last = finding.line
    while last < len(lines) and lines[last - 1].rstrip().endswith("\\"):
        last += 1
    text = " ".join(line.rstrip().removesuffix("\\").strip() for line in lines[finding.line - 1 : last])
    action = text.rpartition(" action ")[2].strip()
    networks = own_networks(setup)
    if (
        finding.rule == "os-proxy"
        or "{" in text.partition("#")[0]
        or not action
        or action.startswith("match")
    ):
        return
    there = {" ".join(line.split()) for line in lines}
    made = [f"match from auth for any action {action}"]
    # This machine's own mail goes on; behind a front end of its own, only what comes by the socket is that.
    here = "socket" if finding.rule == "os-front-end" else "local"
    if f"match for any action {action}" not in there:
        made.insert(0, f"match from {here} for any action {action}")
    if networks:
        made.append(f"match from src {{ {', '.join(networks)} }} for any action {action}")
    yield Edit(PurePosixPath(path), finding.line, last, tuple(line for line in made if line not in there))
