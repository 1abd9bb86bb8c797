"""Exchange 2013 to SE: receive connectors, rights and accepted domains as PowerShell exports them (CSV, JSON)."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from io import StringIO
from ipaddress import ip_address
from typing import Any

from relaywatch.audit.addresses import AddressSet
from relaywatch.audit.conditions import Way
from relaywatch.audit.findings import Cause, Gap, GapKind, Position
from relaywatch.audit.server import Mark, Server, Service
from relaywatch.audit.setup import Setup
from relaywatch.audit.text import SourceFile
from relaywatch.model.evidence import Weakness

_RIGHT = "accept-any-recipient"
_SPLIT = re.compile(r"[,;{}\s]+")
_MOST = 10_000
_ANYWHERE = ("0.0.0.0", "::")  # noqa: S104 -- as bindings say it
_ANONYMOUS = re.compile(r"anonym|anónim|anonim|匿名|익명|аноним|\bS-1-5-7\b", re.IGNORECASE)
"""ANONYMOUS LOGON, which Windows translates, and its identifier."""
_EVERYONE = re.compile(
    r"everyone|jeder|tout le monde|todos|tutti|iedereen|すべての|모든 사용자|\bS-1-1-0\b", re.IGNORECASE
)
_NO_TEXT = re.compile(r"System\.|Microsoft\.Exchange|\[\]|(?:\.\.\.|…)\}?$")
"""What PowerShell writes for a list that it was not asked to write out, or cuts off."""


@dataclass(frozen=True, slots=True)
class _Row:
    """One exported object: its properties in lower case, each as words."""

    values: dict[str, tuple[str, ...]]
    position: Position

    def get(self, name: str) -> str:
        return " ".join(self.values.get(name, ()))


def evaluate(setup: Setup) -> Iterator[Service]:
    """Every receive connector; the more exact range of two at one place decides whose client it is."""
    rows = list(_rows(setup))
    connectors = [row for row in rows if "remoteipranges" in row.values]
    rights = [row for row in rows if "extendedrights" in row.values]
    everything = [
        Cause(f"{row.get('domainname')} {row.get('domaintype')}", row.position, "exc-accepted-domain")
        for row in rows
        if row.get("domainname") == "*" and "relay" in row.get("domaintype").lower()
    ]
    for row in connectors:
        addresses = _addresses(row, setup)
        for other in connectors:
            their = _addresses(other, setup)
            if _covers(other, row) and their and not their - addresses and addresses - their:
                addresses -= their
        yield Service(
            name=row.get("identity"),
            weakness=Weakness.OPEN_RELAY,
            position=row.position,
            passing=tuple(_passing(row, addresses, rights, everything, setup)) if _is_on(row) else (),
        )


def _is_on(row: _Row) -> bool:
    return row.get("enabled").lower() not in {"false", "0"}


def _covers(other: _Row, row: _Row) -> bool:
    """Whether the other takes clients of this one: on the same server, and wherever this one listens."""
    if other is row or not _is_on(other) or _server(other) != _server(row):
        return False
    theirs = _bindings(other)
    return all(
        (address, port) in theirs or (_ANYWHERE[":" in address], port) in theirs
        for address, port in _bindings(row)
    )


def _server(row: _Row) -> str:
    return row.get("identity").rpartition("\\")[0].lower() or row.get("server").lower()


def _bindings(row: _Row) -> set[tuple[str, str]]:
    parted = (word.rpartition(":") for word in row.values.get("bindings", ()))
    return {(address.strip("[]"), port) for address, _, port in parted} or {(one, "25") for one in _ANYWHERE}


def _passing(
    row: _Row, addresses: AddressSet, rights: list[_Row], everything: list[Cause], setup: Setup
) -> Iterator[Way]:
    groups, mechanism = row.get("permissiongroups").lower(), row.get("authmechanism").lower()
    ways = [way for version in (4, 6) for way in setup.strangers(addresses, version).true]
    text = f"{row.get('identity')} RemoteIPRanges {row.get('remoteipranges')}"[:200]
    if "externalauthoritative" in mechanism and "exchangeservers" in groups:
        yield from (way.because(Cause(text, row.position, "exc-ext-secured")) for way in ways)
    if "anonymoususers" in groups or "custom" in groups:
        yield from (way.because(cause) for way in ways for cause in everything)
    granted = [one for one in rights if _is_of(one, row) and one.get("deny").lower() not in {"true", "1"}]
    held = [one for one in granted if _RIGHT in one.get("extendedrights").lower()]
    if any(_is_anonymous(one) for one in held):
        yield from (way.because(Cause(text, row.position, "exc-anon-relay")) for way in ways)
        return
    for gap in _gaps(row, granted, held, rights):
        yield from (way.joined(Way(gaps=frozenset((setup.note(gap),)))) for way in ways)


def _gaps(row: _Row, granted: list[_Row], held: list[_Row], rights: list[_Row]) -> Iterator[Gap]:
    """What the export doesn't say: rights, properties as text, and who everybody is."""
    if not rights and "anonymoususers" in row.get("permissiongroups").lower():
        yield Gap(GapKind.MISSING, "Get-ADPermission of the connectors", row.position)
    for name in ("PermissionGroups", "AuthMechanism"):
        said = row.get(name.lower())
        if not said or said.isdigit() or _NO_TEXT.search(said):
            yield Gap(GapKind.NOT_EVALUATED, f"{name} isn't there as text: {said}"[:200], row.position)
    for one in granted:
        if _NO_TEXT.search(one.get("extendedrights")):
            yield Gap(
                GapKind.NOT_EVALUATED, f"ExtendedRights {one.get('extendedrights')}"[:200], one.position
            )
    for one in held:
        if _is_everybody(one):
            yield Gap(GapKind.NOT_EVALUATED, f"{one.get('user')} {_RIGHT}"[:200], one.position)


def _is_anonymous(right: _Row) -> bool:
    return _ANONYMOUS.search(right.get("user")) is not None


def _is_everybody(right: _Row) -> bool:
    """Who may be anonymous too: everyone, or a name that was not exported as text."""
    user = right.get("user")
    return not user or _EVERYONE.search(user) is not None or _NO_TEXT.search(user) is not None


def _is_of(right: _Row, row: _Row) -> bool:
    """Rights name the connector with its server before a backslash, or by its name alone."""
    server, _, name = right.get("identity").rpartition("\\")
    whose = row.get("identity").rpartition("\\")
    return name.lower() == whose[2].lower() and (
        not server or not whose[0] or server.lower() == whose[0].lower()
    )


def _addresses(row: _Row, setup: Setup) -> AddressSet:
    found = AddressSet()
    for word in row.values["remoteipranges"]:
        first, dash, last = word.partition("-")
        try:
            begin, end = ip_address(first), ip_address(last if dash else first)
            found |= AddressSet.span(begin, end) if dash else AddressSet.of([word])
        except ValueError:
            try:
                found |= AddressSet.of([word])
            except ValueError:
                setup.note(Gap(GapKind.SYNTAX, word[:80], row.position))
    return found


# --- reading --------------------------------------------------------------------------------------


def _rows(setup: Setup) -> Iterator[_Row]:
    """The main export's, and those of the others beside it."""
    main = setup.read_main()
    if main is None:
        return
    yield from _parsed(main, setup)
    for ending in ("csv", "json"):
        for name in setup.glob(f"{setup.home}/*.{ending}"):
            source = setup.read(name)
            if (
                source is not None
                and source is not main
                and ("ExtendedRights" in source.text or "DomainType" in source.text)
            ):
                yield from _parsed(source, setup)


def _parsed(source: SourceFile, setup: Setup) -> Iterator[_Row]:
    text = source.text.lstrip()
    try:
        if text[:1] in {"[", "{"}:
            found = json.loads(text)
            objects = found if isinstance(found, list) else [found]
            for one in objects[:_MOST]:
                yield _Row(_properties(one), source.at(_line_of(source, one)))
            return
        lines = [line for line in source.lines if not line.startswith("#TYPE")]
        offset = len(source.lines) - len(lines)
        reader = csv.DictReader(StringIO("\n".join(lines)))
        for one in reader:
            yield _Row(_properties(one), source.at(offset + reader.line_num))
    except (ValueError, csv.Error, RecursionError) as error:
        setup.note(Gap(GapKind.SYNTAX, str(error)[:80], source.at(1)))


def _properties(one: Any) -> dict[str, tuple[str, ...]]:
    if not isinstance(one, dict):
        return {}
    return {str(name).lower(): _words(str(name).lower(), value) for name, value in one.items()}


def _words(name: str, value: Any) -> tuple[str, ...]:
    """An export has lists as lists, as objects with a name or an expression, or as text between commas."""
    if isinstance(value, list):
        return tuple(word for part in value for word in _words(name, part))
    if isinstance(value, dict):
        return _words(name, value.get("Expression") or value.get("value") or value.get("Name") or "")
    if name in {"remoteipranges", "bindings"}:
        return tuple(word for word in _SPLIT.split(str(value)) if word)
    return (str(value),)


def _line_of(source: SourceFile, one: Any) -> int:
    """Where an object's name stands; it is told from others' by its property."""
    for name in ("Identity", "DomainName") if isinstance(one, dict) else ():
        if said := one.get(name):
            quoted = f'"{name}"', json.dumps(str(said))
            lines = enumerate(source.lines, 1)
            return next((number for number, line in lines if all(part in line for part in quoted)), 1)
    return 1


SERVER = Server(
    name="exchange",
    home="/exchange",
    marks=(
        Mark(name="*.csv", holds=re.compile(r"RemoteIPRanges")),
        Mark(name="*.json", holds=re.compile(r'"RemoteIPRanges"')),
    ),
    evaluate=evaluate,
)
