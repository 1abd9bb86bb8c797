"""Stalwart: whether a stranger may relay, as far as expressions say so in so many words.

Up to 0.15 that is session.rcpt.relay of config.toml (stalw.art/docs/0.15), which may stand in the database as well;
from 0.16 on it is MtaStageRcpt's allowRelaying, in the database alone: what ``stalwart-cli snapshot`` or the API
writes out is read (stalw.art/docs/ref/object/mta-stage-rcpt).
"""

from __future__ import annotations

import json
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
_STAGE = "MtaStageRcpt"
_FIELD = "allowRelaying"
_MOST_DEEP = 12
_MOST_LINES = 100_000


def evaluate(setup: Setup) -> Iterator[Service]:
    """One service: the setting is the same for all listeners."""
    source = setup.read_main()
    if source is None:
        return
    ways, position = _of_json(setup, source) if setup.main.suffix != ".toml" else _of_toml(setup, source)
    yield Service(name="smtp", weakness=Weakness.OPEN_RELAY, position=position, passing=ways)


def _of_toml(setup: Setup, source: SourceFile) -> tuple[tuple[Way, ...], Position]:
    lines = enumerate(source.lines, 1)
    position = source.at(next((number for number, line in lines if _SETTING.match(line)), 1))
    try:
        told: Any = tomllib.loads(source.text)
    except tomllib.TOMLDecodeError as error:
        return (_gap(setup, GapKind.SYNTAX, str(error), source.at(1)),), position
    for name in ("session", "rcpt", "relay"):
        told = told.get(name) if isinstance(told, dict) else None
    if told is None:
        return (_gap(setup, GapKind.EXTERNAL, "session.rcpt.relay, in the database", position),), position
    return _ways(setup, "session.rcpt.relay", told, position), position


def _of_json(setup: Setup, source: SourceFile) -> tuple[tuple[Way, ...], Position]:
    """A whole document, or one a line (a plan); where the stage is exported without the field, it has its default."""
    documents = list(_documents(setup, source))
    stages = [(one, line) for document, line in documents for one in _stages(document)]
    if not stages:
        missing = _gap(setup, GapKind.EXTERNAL, f"{_STAGE} {_FIELD}, in the database", source.at(1))
        return (missing,), source.at(1)
    ways: list[Way] = []
    at = source.at(1)
    for stage, line in stages:
        if _FIELD in stage:
            near = next(
                (number for number, text in enumerate(source.lines, 1) if number >= line and _FIELD in text),
                line,
            )
            at = source.at(near)
            ways += _ways(setup, _FIELD, stage[_FIELD], at)
    return tuple(ways), at


def _documents(setup: Setup, source: SourceFile) -> Iterator[tuple[Any, int]]:
    try:
        yield json.loads(source.text), 1
    except (ValueError, RecursionError):
        pass
    else:
        return
    for number, line in enumerate(source.lines[:_MOST_LINES], 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            yield json.loads(line), number
        except (ValueError, RecursionError):
            setup.note(Gap(GapKind.SYNTAX, line.strip()[:80], source.at(number)))


def _stages(told: Any, depth: int = 0, *, named: bool = False) -> Iterator[dict[str, Any]]:
    """Objects that have the field, and those that an operation or an answer names so."""
    if depth > _MOST_DEEP:
        return
    if isinstance(told, dict):
        is_stage = named or _STAGE in {str(told.get("object")), str(told.get("@type"))}
        if _FIELD in told:
            yield told
            return
        inner = [value for value in told.values() if isinstance(value, (dict, list))]
        if is_stage and not any(isinstance(value, dict) for value in inner):
            yield told
        for value in inner:
            yield from _stages(value, depth + 1, named=is_stage)
    elif isinstance(told, list):
        is_stage = named or (bool(told) and isinstance(told[0], str) and _STAGE in told[0])
        for value in told:
            if isinstance(value, (dict, list)):
                yield from _stages(value, depth + 1, named=is_stage)


# --- expressions ----------------------------------------------------------------------------------


def _ways(setup: Setup, name: str, said: Any, position: Position) -> tuple[Way, ...]:
    """Branches are tried in order; what only refuses, or asks for a log-in, lets no stranger through."""
    cause = Cause(f"{name} = {said}"[:200], position, "st-relay")
    may_refuse = False
    for condition, answer in _branches(said):
        if condition is not None and (_refuses(answer) or _asks_who(condition)):
            may_refuse = may_refuse or not _asks_who(condition)
            continue
        if condition is None and (_refuses(answer) or _asks_who(answer)):
            return ()
        if condition is None and _is(answer, "true") and not may_refuse:
            return (Way(causes=(cause,)),)
        break
    return (_gap(setup, GapKind.NOT_EVALUATED, cause.text, position),)


def _branches(said: Any) -> Iterator[tuple[Any, Any]]:
    """Each condition with its answer, and nothing with the last one's."""
    if isinstance(said, dict) and not {"if", "then"} & set(said):
        listed = said.get("match", [])
        for one in listed.values() if isinstance(listed, dict) else listed:
            yield from _branches(one)
        if "else" in said:
            yield None, said["else"]
    elif isinstance(said, dict):
        yield said.get("if", ""), said.get("then", "")
    elif isinstance(said, list):
        for one in said:
            yield from _branches(one) if isinstance(one, dict) else [("", "")]
    else:
        yield None, said


def _refuses(said: Any) -> bool:
    return _is(said, "false")


def _asks_who(said: Any) -> bool:
    """Whether it can only hold for whoever authenticated: alone, or beside other things that must hold too."""
    text = str(said).strip()
    return "||" not in text and any(_ONLY_KNOWN.fullmatch(part.strip()) for part in text.split("&&"))


def _is(said: Any, word: str) -> bool:
    return str(said).strip().lower() == word


def _gap(setup: Setup, kind: GapKind, text: str, position: Position) -> Way:
    return Way(gaps=frozenset((setup.note(Gap(kind, text[:200], position)),)))


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
        Mark(name="stalwart/config.json", holds=re.compile(r'"@type"')),
        Mark(name="stalwart/etc/config.json", holds=re.compile(r'"@type"')),
        Mark(name="*.ndjson", holds=re.compile(_STAGE)),
        Mark(name="*.json", holds=re.compile(rf'"{_FIELD}"|"x?:?{_STAGE}')),
    ),
    evaluate=evaluate,
    mend=mend,
    reload=("systemctl", "restart", "stalwart"),
)
