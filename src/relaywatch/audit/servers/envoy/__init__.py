"""Envoy (v3 bootstrap, YAML or JSON): clusters that go where the client says, and the filters before them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from relaywatch.audit.findings import AuditFinding
from relaywatch.audit.proxies import own_networks, path_of
from relaywatch.audit.server import Edit, Mark, Server
from relaywatch.audit.setup import Setup

from .evaluating import FILTERS, evaluate

_ITEM = re.compile(r"(?P<indent>\s*)- ")
_TYPE = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC"


def mend(setup: Setup, finding: AuditFinding) -> Iterator[Edit]:
    """An RBAC filter before all others, which lets the owner's networks through and nobody else.

    It holds for every name that the listener serves, so that nothing is done where it has names of its own too.
    """
    path = path_of(setup, finding.file)
    first = next((one.position for one in finding.causes if one.text.startswith(FILTERS)), None)
    if path is None or first is None:
        return
    item = _ITEM.match(setup.sources[path].lines[first.line - 1])
    if item is None:
        return
    networks = (one.partition("/") for one in own_networks(setup) or ("127.0.0.0/8",))
    ids = ", ".join(
        f'{{direct_remote_ip: {{address_prefix: "{address}", prefix_len: {length}}}}}'
        for address, _, length in networks
    )
    lines = (
        "- name: envoy.filters.http.rbac",
        "  typed_config:",
        f'    "@type": {_TYPE}',
        "    rules:",
        "      action: ALLOW",
        "      policies:",
        f"        own-clients: {{permissions: [{{any: true}}], principals: [{ids}]}}",
    )
    yield Edit(path, first.line, first.line - 1, tuple(item["indent"] + line for line in lines))


_BOOTSTRAP = re.compile(r"^\s*[\"']?static_resources[\"']?\s*:|[{,]\s*\"static_resources\"\s*:", re.MULTILINE)
SERVER = Server(
    name="envoy",
    home="/etc/envoy",
    marks=(
        Mark(name="envoy.yaml"),
        *(Mark(name=f"*.{end}", holds=_BOOTSTRAP) for end in ("yaml", "yml", "json")),
    ),
    evaluate=evaluate,
    mend=mend,
    check=("envoy", "--mode", "validate", "-c", "{main}"),
    reload=("systemctl", "restart", "envoy"),
)
