"""The smallest edits that close httpd to strangers and keep it open to the owner's networks."""

from __future__ import annotations

import re
from collections.abc import Iterator

from relaywatch.audit.findings import AuditFinding
from relaywatch.audit.proxies import own_networks, path_of
from relaywatch.audit.server import Edit
from relaywatch.audit.setup import Setup

_INDENT = re.compile(r"\s*")


def mend(setup: Setup, finding: AuditFinding) -> Iterator[Edit]:
    """Switch forwarding off, or let the owner's networks alone use it; rules keep strangers out before they send on."""
    path = path_of(setup, finding.file)
    if path is None or not 0 < finding.line <= len(setup.sources[path].lines):
        return
    lines = setup.sources[path].lines
    last = finding.line
    while lines[last - 1].endswith("\\") and last < len(lines):
        last += 1
    line = lines[finding.line - 1]
    indent = _INDENT.match(line)[0]  # type: ignore[index]
    own = own_networks(setup)
    if finding.rule == "ap-require-wide":
        yield Edit(path, finding.line, last, (_narrowed(line, indent, own),))
    elif finding.rule in {"ap-forward", "ap-connect"}:
        yield Edit(path, finding.line, last, _forwarding(line, indent, own))
    elif finding.rule == "ap-rewrite" and last == finding.line:
        yield from _kept_out(setup, finding, indent, own)
    elif finding.rule == "ap-passmatch" and last == finding.line:
        pattern = line.split()[1] if len(line.split()) > 2 else ""
        yield Edit(path, finding.line, last, (f"{indent}{line.split()[0]} {pattern} !",) if pattern else ())


def _narrowed(line: str, indent: str, own: tuple[str, ...]) -> str:
    if line.split(maxsplit=1)[0].lower() == "require":
        return f"{indent}Require ip {' '.join(own)}" if own else f"{indent}Require local"
    return f"{indent}Allow from {' '.join(own or ('127.0.0.1', '::1'))}"


def _forwarding(line: str, indent: str, own: tuple[str, ...]) -> tuple[str, ...]:
    if not own:
        return (f"{indent}ProxyRequests Off",)
    inside = f"{indent}    Require ip {' '.join(own)}"
    return (line, f'{indent}<Proxy "*">', inside, f"{indent}</Proxy>")


def _kept_out(setup: Setup, finding: AuditFinding, indent: str, own: tuple[str, ...]) -> Iterator[Edit]:
    """Strangers are refused before the first condition of the rule; without networks of his own, everybody is."""
    path = path_of(setup, finding.file)
    if path is None:
        return
    lines = setup.sources[path].lines
    at = finding.line
    if not own:
        words = re.findall(r'"[^"]*"|\S+', lines[at - 1])
        yield Edit(path, at, at, (f"{indent}{words[0]} {words[1]} - [F]",))
        return
    while at > 1 and re.match(r"\s*RewriteCond\s", lines[at - 2], re.IGNORECASE):
        at -= 1
    outside = " && ".join(f"! -R '{network}'" for network in own)
    yield Edit(path, at, at - 1, (f'{indent}RewriteCond expr "{outside}"', f"{indent}RewriteRule ^ - [F]"))
