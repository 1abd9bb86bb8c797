"""IIS SMTP (MetaBase.xml): recognised; its relay list is an octet string whose layout isn't documented, so nobody knows."""

from __future__ import annotations

import re
from collections.abc import Iterator

from relaywatch.audit.conditions import Way
from relaywatch.audit.findings import Cause, Gap, GapKind
from relaywatch.audit.server import Mark, Server, Service
from relaywatch.audit.setup import Setup
from relaywatch.model.evidence import Weakness

_SERVER = re.compile(r"<IIsSmtpServer\b([^<>]*)>", re.IGNORECASE)
_LIST = re.compile(r'RelayIpList\s*=\s*"([^"]*)"', re.IGNORECASE)
_PLACE = re.compile(r'Location\s*=\s*"([^"]*)"', re.IGNORECASE)


def evaluate(setup: Setup) -> Iterator[Service]:
    """Every virtual server, each unknown: what is to be looked at stands in the gap."""
    source = setup.read_main()
    if source is None:
        return
    found = list(_SERVER.finditer(source.text))
    if not found:
        setup.note(Gap(GapKind.MISSING, "IIsSmtpServer", source.at(1)))
    for part in found:
        position = source.at(source.text.count("\n", 0, part.start()) + 1)
        listed, place = _LIST.search(part[1]), _PLACE.search(part[1])
        text = f"RelayIpList {listed[1][:80] if listed else 'by default'}".strip()
        gap = setup.note(Gap(GapKind.NOT_EVALUATED, text, position))
        cause = Cause(text, position, "iis-relay-list")
        way = Way(gaps=frozenset((gap,)), causes=(cause,))
        yield Service(
            name=place[1] if place else "SmtpSvc",
            weakness=Weakness.OPEN_RELAY,
            position=position,
            passing=(way,),
        )


SERVER = Server(
    name="iis-smtp",
    home="/inetsrv",
    marks=(
        Mark(name="MetaBase.xml", holds=re.compile("<IIsSmtpServer\\b", re.IGNORECASE)),
        Mark(name="metabase.xml", holds=re.compile("<IIsSmtpServer\\b", re.IGNORECASE)),
    ),
    evaluate=evaluate,
)
