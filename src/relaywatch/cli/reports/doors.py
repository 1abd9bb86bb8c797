"""Doors in a report: which of them tell something, and what they are called."""

from __future__ import annotations

from collections.abc import Iterator

from relaywatch.cli.language import Words
from relaywatch.model.evidence import Weakness
from relaywatch.model.places import Door, Transport
from relaywatch.model.results import DoorLine, FindingLine, ResultLine
from relaywatch.model.verdicts import Verdict
from relaywatch.rules.doors import is_silent

from .phrases import NOBODY_THERE, SILENT_THERE

_DATAGRAMS = {Transport.UDP: "/udp", Transport.QUIC: "/quic"}


def door_name(door: DoorLine | FindingLine) -> str:
    """Port, transport and family; of a chain the way through the proxy too."""
    return f"{door.port}/{door.transport}/{door.family}{chain_of(door)}"


def chain_of(door: Door | DoorLine | FindingLine) -> str:
    """Of a chain, the way through the proxy, with a space before it."""
    return f" via {door.via} {door.through}" if door.via else ""


def telling_doors(line: ResultLine) -> tuple[DoorLine, ...]:
    """The doors that are worth a line of their own: for proxies, where many ports are tried, those that spoke."""
    if line.weakness is not Weakness.OPEN_PROXY:
        return line.doors
    return tuple(door for door in line.doors if not (_is_absent(door) or is_silent(door)))


def other_doors(line: ResultLine, words: Words) -> Iterator[str]:
    """The others, in a line for each kind."""
    if line.weakness is not Weakness.OPEN_PROXY:
        return
    if absent := [door for door in line.doors if _is_absent(door)]:
        yield words(NOBODY_THERE, ports=_ports(absent))
    if silent := [door for door in line.doors if is_silent(door)]:
        yield words(SILENT_THERE, ports=_ports(silent))


def told_ports(line: ResultLine) -> str:
    """The ports of the doors that tell something, each once."""
    return ", ".join(dict.fromkeys(str(door.port) for door in telling_doors(line)))


def exit_of(line: ResultLine, finding: FindingLine, words: Words) -> str:
    """The exit address, and whether it is another than the entry."""
    if finding.exit_address in {None, line.target}:
        return finding.exit_address or ""
    return words("{address}, another address than its own", address=finding.exit_address)


def _is_absent(door: DoorLine) -> bool:
    return door.verdict is Verdict.ABSENT and not door.notes


def _ports(doors: list[DoorLine]) -> str:
    named = (f"{door.port}{_DATAGRAMS.get(door.transport, '')}" for door in doors)
    return ", ".join(dict.fromkeys(named))
