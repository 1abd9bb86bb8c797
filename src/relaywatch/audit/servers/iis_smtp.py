"""IIS SMTP: RelayIpList of the metabase (MetaBase.xml, or WMI's objects as JSON); its layout is known from examples only.

It is a structure of 32-bit numbers, lowest octet first: where the lists of denied and granted addresses and names
begin, then each list's number of parts with the place of its mask and addresses. Without any granted address it is
*all except the list below*. No value at all is Microsoft's default: nobody relays without logging in.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator
from html import unescape
from ipaddress import IPv4Address
from typing import Any

from relaywatch.audit.addresses import AddressSet
from relaywatch.audit.conditions import Way
from relaywatch.audit.domains import is_public_suffix
from relaywatch.audit.findings import Cause, Gap, GapKind, Position
from relaywatch.audit.server import Mark, Server, Service
from relaywatch.audit.setup import Setup
from relaywatch.audit.text import SourceFile
from relaywatch.model.evidence import Weakness

_ELEMENT = re.compile(r"<IIsSmtp(?P<kind>Server|Service|Domain)\b(?P<attributes>[^<>]*)>", re.IGNORECASE)
_ATTRIBUTE = re.compile(r'(\w+)\s*=\s*"([^"]*)"')
_HEADER = 24
_OFFSET = 0x7FFFFFFF
_IPV4 = 2
_MOST_PARTS = 4096


def evaluate(setup: Setup) -> Iterator[Service]:
    """Every virtual server; one without a list of its own has the service's."""
    source = setup.read_main()
    if source is None:
        return
    found = list(_of_json(setup, source) if setup.main.suffix == ".json" else _of_xml(source))
    servers = [one for one in found if one[0] == "server"]
    inherited = next((listed for kind, _, listed, _ in found if kind == "service"), None)
    if not servers:
        setup.note(Gap(GapKind.MISSING, "IIsSmtpServer", source.at(1)))
    domains = [
        _unread(setup, f"IIsSmtpDomain {place}", position)
        for kind, place, _, position in found
        if kind == "domain" and _is_wide(place)
    ]
    for _, place, listed, position in servers:
        yield Service(
            name=place or "SmtpSvc",
            weakness=Weakness.OPEN_RELAY,
            position=position,
            passing=(*_ways(setup, inherited if listed is None else listed, position), *domains),
        )


Found = tuple[str, str, bytes | None, Position]
"""What kind it is, its place in the metabase, its list, and where it stands."""


def _of_xml(source: SourceFile) -> Iterator[Found]:
    for part in _ELEMENT.finditer(source.text):
        said = {name.lower(): unescape(value) for name, value in _ATTRIBUTE.findall(part["attributes"])}
        position = source.at(source.text.count("\n", 0, part.start()) + 1)
        listed = said.get("relayiplist")
        try:
            octets = None if listed is None else bytes.fromhex(listed)
        except ValueError:
            octets = b"?"
        yield part["kind"].lower(), said.get("location", ""), octets, position


def _of_json(setup: Setup, source: SourceFile) -> Iterator[Found]:
    """``IIsSmtpServerSetting`` as ConvertTo-Json writes it: the list as numbers, or null."""
    try:
        told: Any = json.loads(source.text)
    except (ValueError, RecursionError) as error:
        setup.note(Gap(GapKind.SYNTAX, str(error)[:80], source.at(1)))
        return
    lines = [number for number, line in enumerate(source.lines, 1) if '"RelayIpList"' in line]
    objects = [one for one in (told if isinstance(told, list) else [told]) if isinstance(one, dict)]
    for number, one in enumerate(one for one in objects if "RelayIpList" in one):
        listed = one["RelayIpList"]
        try:
            octets = bytes(listed) if isinstance(listed, list) else None if listed is None else b"?"
        except (TypeError, ValueError):
            octets = b"?"
        position = source.at(lines[number] if number < len(lines) else 1)
        yield "server", str(one.get("Name", "")), octets, position


def _is_wide(place: str) -> bool:
    """A remote domain that others' domains are in; what may be sent there stands in flags that aren't evaluated."""
    name = place.rpartition("/")[2]
    return name.startswith("*") and (name == "*" or is_public_suffix(name.lstrip("*.")))


def _ways(setup: Setup, listed: bytes | None, position: Position) -> Iterator[Way]:
    if listed is None:
        return
    text = f"RelayIpList {listed[:40].hex()}".strip()
    try:
        denied, granted = _lists(listed)
    except (ValueError, struct.error):
        yield _unread(setup, text, position)
        return
    only_listed = bool(listed) and _count(listed, 4) > 0
    meant = granted if only_listed else AddressSet.everything() - denied
    cause = Cause(text, position, "iis-relay-all")
    for version in (4, 6) if only_listed else (4,):
        yield from setup.strangers(meant, version).because(cause).true


def _lists(listed: bytes) -> tuple[AddressSet, AddressSet]:
    """Denied and granted addresses; an empty value has none of either.

    :raises ValueError: if hosts are named by domain, too, or if it is made otherwise than the examples.
    """
    if not listed:
        return AddressSet(), AddressSet()
    if any(_count(listed, place) for place in (8, 12)):
        raise ValueError("names")
    return _addresses(listed, 0), _addresses(listed, 4)


def _unread(setup: Setup, text: str, position: Position) -> Way:
    gap = setup.note(Gap(GapKind.NOT_EVALUATED, text, position))
    return Way(gaps=frozenset((gap,)), causes=(Cause(text, position, "iis-relay-list"),))


def _count(listed: bytes, place: int) -> int:
    """How many parts the list has whose place stands there."""
    (offset,) = struct.unpack_from("<I", listed, place)
    (parts,) = struct.unpack_from("<I", listed, offset & _OFFSET)
    return int(parts)


def _addresses(listed: bytes, place: int) -> AddressSet:
    """One list's addresses: parts of a family, a count, a size, and where a mask and its addresses stand.

    :raises ValueError: if it is made otherwise than the examples.
    """
    (begin,) = struct.unpack_from("<I", listed, place)
    begin &= _OFFSET
    if begin < _HEADER:
        raise ValueError(begin)
    found = AddressSet()
    parts = _count(listed, place)
    if parts > _MOST_PARTS:
        raise ValueError(parts)
    for part in range(parts):
        family, count, size, _, at = struct.unpack_from("<5I", listed, begin + 8 + 20 * part)
        if family != _IPV4 or size != 4 or count > _MOST_PARTS:
            raise ValueError(family)
        mask, *hosts = struct.unpack_from(f">{count}I", listed, at & _OFFSET)
        found |= AddressSet.of(f"{IPv4Address(host)}/{IPv4Address(mask)}" for host in hosts)
    return found


SERVER = Server(
    name="iis-smtp",
    home="/inetsrv",
    marks=(
        Mark(name="MetaBase.xml", holds=re.compile("<IIsSmtpServer\\b", re.IGNORECASE)),
        Mark(name="metabase.xml", holds=re.compile("<IIsSmtpServer\\b", re.IGNORECASE)),
        Mark(name="*.json", holds=re.compile('"RelayIpList"')),
    ),
    evaluate=evaluate,
)
