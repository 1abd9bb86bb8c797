"""WinGate (an export of its registry keys, ``*.reg``): what it serves is named, and whom it serves is unknown.

Bindings and policies are kept in binary values of which no documentation is known, so that nothing is told *closed*.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from relaywatch.audit.conditions import unknown
from relaywatch.audit.findings import Cause, Gap, GapKind, Position
from relaywatch.audit.proxies import headed
from relaywatch.audit.server import Mark, Server, Service
from relaywatch.audit.setup import Setup
from relaywatch.audit.text import SourceFile
from relaywatch.audit.witness import OUTSIDE_HOST
from relaywatch.model.evidence import Weakness

_KEY = re.compile(
    r"\[-?HKEY_[^\]]*\\WinGate\\(?:[^\]\\]+\\)*Services\\(?P<name>[^\]\\]+)\]\s*", re.IGNORECASE
)
_VALUE = re.compile(
    r'"(?P<name>[^"]+)"=(?:dword:(?P<number>[0-9a-f]{1,8})|"(?P<text>[^"]*)")\s*', re.IGNORECASE
)
_RULES = (
    (re.compile(r"telnet", re.IGNORECASE), "wg-telnet"),
    (re.compile(r"socks", re.IGNORECASE), "wg-socks"),
    (re.compile(r"www|http|web", re.IGNORECASE), "wg-proxy"),
)


@dataclass(slots=True)
class _Named:
    """A service's key."""

    name: str
    position: Position
    port: str = ""


def evaluate(setup: Setup) -> Iterator[Service]:
    """Every service that the export names: nobody knows what its policies come to."""
    source = setup.read_main()
    if source is None:
        return
    setup.note(Gap(GapKind.NOT_EVALUATED, "bindings and policies of WinGate", source.at(1)))
    for one in _services(source):
        rule = next((rule for pattern, rule in _RULES if pattern.search(one.name)), "")
        if not rule:
            continue
        gap = Gap(GapKind.NOT_EVALUATED, f"bindings and policies of {one.name}", one.position)
        known = Cause(f"service {one.name}", one.position, rule)
        yield Service(
            name=f"{one.name} *:{one.port}" if one.port else one.name,
            weakness=Weakness.OPEN_PROXY,
            position=one.position,
            passing=tuple(
                headed(way.because(known), f"{OUTSIDE_HOST}:25") for way in unknown(setup.note(gap)).true
            ),
        )


def _services(source: SourceFile) -> Iterator[_Named]:
    here: _Named | None = None
    for number, line in enumerate(source.lines, 1):
        if line.startswith("["):
            if here is not None:
                yield here
            key = _KEY.fullmatch(line)
            here = _Named(key["name"], source.at(number)) if key else None
        elif here is not None and (value := _VALUE.fullmatch(line)) and value["name"].lower() == "port":
            here.port = str(int(value["number"], 16)) if value["number"] else value["text"]
    if here is not None:
        yield here


SERVER = Server(
    name="wingate",
    home="/wingate",  # an export lies anywhere, and not on the machine itself
    marks=(
        Mark(name="*.reg", holds=re.compile(r"^\[-?HKEY_[^\]]*\\WinGate\b", re.MULTILINE | re.IGNORECASE)),
    ),
    evaluate=evaluate,
)
