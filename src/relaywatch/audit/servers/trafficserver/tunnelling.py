"""sni.yaml: TLS connections that are passed on by the name in their hello, without being asked for a mapping."""

from __future__ import annotations

import re
from collections.abc import Iterator

from relaywatch.audit.conditions import Way, unknown
from relaywatch.audit.findings import Cause, Gap, GapKind
from relaywatch.audit.proxies import headed
from relaywatch.audit.setup import Setup
from relaywatch.audit.text import SourceFile
from relaywatch.audit.witness import OUTSIDE_HOST
from relaywatch.audit.yaml_nodes import Node

from .leading import leads_out, without_port
from .records import Record, document_of, may_be_connected_to

_NAME = "proxy.config.ssl.servername.filename"
_USUAL = ("sni.yaml", "ssl_server_name.yaml")
"""Since version 9, and before."""
_ROUTES = ("tunnel_route", "forward_route", "partial_blind_route")


def tunnelled(setup: Setup, records: dict[str, Record]) -> Iterator[Way]:
    """The ways by a name of the client's; what a route that TLS ends at makes of it isn't known."""
    named = records[_NAME].value if _NAME in records else ""
    name = next((one for one in (named, *_USUAL) if one and setup.has(one)), None)
    source = setup.read(name) if name else None
    document = document_of(setup, source) if source else None
    if source is None or document is None:
        return
    listed = document.at("sni")
    if listed is None:
        setup.note(Gap(GapKind.SYNTAX, f"{name} without sni", source.at(document.line)))
        return
    for item in listed.items:
        yield from _by_item(setup, records, source, item)


def _by_item(setup: Setup, records: dict[str, Record], source: SourceFile, item: Node) -> Iterator[Way]:
    """``*`` in a name is what the route calls ``$1``, dots and all."""
    pairs = item.pairs
    fqdn = (pairs["fqdn"].text or "") if "fqdn" in pairs else ""
    pattern = f"^{re.escape(fqdn).replace(re.escape('*'), '(.*)')}$"
    for key in _ROUTES:
        route = (pairs[key].text or "") if key in pairs else ""
        is_out = leads_out(pattern, without_port(route))
        if is_out is False:
            continue
        told = f"fqdn: {fqdn}; {key}: {route}"[:200]
        position = source.at(pairs[key].line)
        port = route.rpartition(":")[2] if ":" in route else ""
        if is_out and key == "tunnel_route" and port.isdigit():
            ways: tuple[Way, ...] = (Way(),) if may_be_connected_to(records, int(port)) else ()
        else:
            ways = unknown(setup.note(Gap(GapKind.NOT_EVALUATED, told[:80], position))).true
        for way in ways:
            yield headed(
                way.because(Cause(told, position, "ts-sni")), f"{OUTSIDE_HOST}:{port or 443} by TLS SNI"
            )
