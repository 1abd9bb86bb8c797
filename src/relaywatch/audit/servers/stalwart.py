"""Stalwart 0.15 (stalw.art/docs/0.15: session.rcpt.relay): whether a stranger may relay; expressions aren't evaluated."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from typing import Any

from relaywatch.audit.conditions import Way
from relaywatch.audit.findings import AuditFinding, Cause, Gap, GapKind, Position
from relaywatch.audit.server import Edit, Mark, Server, Service
from relaywatch.audit.setup import Setup
from relaywatch.audit.text import SourceFile
from relaywatch.model.evidence import Weakness

_ONLY_KNOWN = re.compile(r"""!\s*is_empty\(\s*authenticated_as\s*\)|authenticated_as\s*!=\s*(?:''|"")""")
_SETTING = re.compile(r"^\s*(?:session\.rcpt\.)?relay\s*=")


def evaluate(setup: Setup) -> Iterator[Service]:
    """One service: the setting is the same for all listeners."""
    source = setup.read_main()
    if source is None:
        return
    try:
        told = tomllib.loads(source.text)
    except tomllib.TOMLDecodeError as error:
        gap = setup.note(Gap(GapKind.SYNTAX, str(error)[:80], source.at(1)))
        yield Service(name="smtp", weakness=Weakness.OPEN_RELAY, passing=(Way(gaps=frozenset((gap,))),))
        return
    position = _position(source)
    way = _way(setup, _found(told), position)
    yield Service(name="smtp", weakness=Weakness.OPEN_RELAY, position=position, passing=way)


def _found(told: Any) -> Any:
    for name in ("session", "rcpt", "relay"):
        told = told.get(name) if isinstance(told, dict) else None
    return told


def _way(setup: Setup, said: Any, position: Position) -> tuple[Way, ...]:
    """Absent it relays for whoever authenticated."""
    cause = Cause(f"session.rcpt.relay = {said}"[:200], position, "st-relay")
    if said is None or _is(said, "false") or (isinstance(said, str) and _ONLY_KNOWN.fullmatch(said.strip())):
        return ()
    if _is(said, "true"):
        return (Way(causes=(cause,)),)
    branches = said if isinstance(said, list) else [said]
    for branch in branches:
        if not isinstance(branch, dict):
            break
        if "else" in branch:
            return (
                _way(setup, branch["else"], position)
                if _is(branch["else"], "true") or _is(branch["else"], "false")
                else (_unknown(setup, cause, position),)
            )
        if not _is(branch.get("then"), "false") and not _ONLY_KNOWN.fullmatch(
            str(branch.get("if", "")).strip()
        ):
            break
    return (_unknown(setup, cause, position),)


def _is(said: Any, word: str) -> bool:
    return str(said).strip().lower() == word


def _unknown(setup: Setup, cause: Cause, position: Position) -> Way:
    return Way(gaps=frozenset((setup.note(Gap(GapKind.NOT_EVALUATED, cause.text, position)),)))


def _position(source: SourceFile) -> Position:
    lines = enumerate(source.lines, 1)
    return source.at(next((number for number, line in lines if _SETTING.match(line)), 1))


def mend(setup: Setup, finding: AuditFinding) -> Iterator[Edit]:
    """Relay for whoever authenticated."""
    source = setup.sources.get(setup.main)
    if source is None or finding.rule != "st-relay" or not _SETTING.match(source.lines[finding.line - 1]):
        return
    name = source.lines[finding.line - 1].partition("=")[0].rstrip()
    fresh = f'{name} = [ {{ if = "!is_empty(authenticated_as)", then = true }}, {{ else = false }} ]'
    yield Edit(setup.main, finding.line, finding.line, (fresh,))


SERVER = Server(
    name="stalwart",
    home="/opt/stalwart/etc",
    marks=(
        Mark(
            name="config.toml",
            holds=re.compile(r"^\s*\[?(?:session\.|server\.listener|storage\.)", re.MULTILINE),
        ),
    ),
    evaluate=evaluate,
    mend=mend,
    reload=("systemctl", "restart", "stalwart"),
)
