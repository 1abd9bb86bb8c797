"""Mending: the smallest edits that close what was found, tried on a copy and evaluated again before they are told.

Nothing is written here; `relaywatch.audit.writing` does that.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import unified_diff
from pathlib import PurePosixPath
from typing import TypeAlias

from .auditing import RANK, report
from .findings import AuditFinding, AuditVerdict, GapKind, ServerReport
from .server import Edit, Server
from .setup import Setup
from .text import SourceFile
from .trees import TextTree

_MENDABLE = frozenset({AuditVerdict.OPEN, AuditVerdict.OPEN_IF, AuditVerdict.DOWN})
_MOST_EDITS = 50
_TO_QUOTE = re.compile(r'[\x00-\x1f"\\\x7f]')
_Key: TypeAlias = tuple[str, str, int, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mended:
    """What a mend would come to."""

    report: ServerReport
    """Of the mended configuration."""
    before: dict[PurePosixPath, SourceFile]
    """The files that it changes, as they are."""
    after: dict[PurePosixPath, SourceFile]
    left: tuple[AuditFinding, ...]
    """Findings that no program can mend."""

    @property
    def diff(self) -> str:
        """A unified diff over all files, empty if nothing changes."""
        return "".join(_diff(self.before[path], after) for path, after in self.after.items())


def mended(server: Server, setup: Setup) -> Mended:
    """Close what can be closed, one finding after the other, and evaluate the outcome.

    An edit that doesn't make its finding go away is taken back. A file that couldn't be parsed wholly is left alone.
    """
    texts: dict[PurePosixPath, SourceFile] = {}
    given_up: set[_Key] = set()
    now = setup.afresh()
    told = report(server, now)
    before = dict(now.sources)
    for _ in range(_MOST_EDITS):
        finding = next(
            (one for one in told.findings if one.verdict in _MENDABLE and _key(one) not in given_up), None
        )
        if finding is None:
            break
        edits = _sorted(server.mend(now, finding))
        tried = _edited(now, edits, texts)
        if tried is None:
            given_up.add(_key(finding))
            continue
        then = setup.afresh(
            TextTree({str(path): source.octets for path, source in tried.items()}, setup.tree)
        )
        outcome = report(server, then)
        if _is_worse(outcome, told) or _is_there(finding, edits, now, outcome):
            given_up.add(_key(finding))
            continue
        given_up = {_moved(key, edits, now) for key in given_up}
        texts, now, told = tried, then, outcome
    left = tuple(finding for finding in told.findings if finding.verdict is not AuditVerdict.CLOSED)
    return Mended(report=told, before={path: before[path] for path in texts}, after=texts, left=left)


def _sorted(edits: Iterable[Edit]) -> tuple[Edit, ...]:
    """From the files' ends to their beginnings, so that none moves another's lines."""
    numbered = enumerate(edits)
    by_place = sorted(numbered, key=lambda one: (str(one[1].file), one[1].first, one[1].last, one[0]))
    return tuple(edit for _, edit in reversed(by_place))


def _edited(
    setup: Setup, edits: Sequence[Edit], texts: dict[PurePosixPath, SourceFile]
) -> dict[PurePosixPath, SourceFile] | None:
    """The changed files with these edits made too; nothing if there are none, or a file must be left alone.

    That is one that wasn't read, or has a line that couldn't be parsed; and edits that overlap are a fault of ours.
    """
    changed = dict(texts)
    for edit, before in zip(edits, (None, *edits), strict=False):
        source = setup.sources.get(edit.file)
        if source is None or _is_unparsed(source, setup):
            return None
        end = before.first if before and before.file == edit.file else len(source.lines) + 1
        if not 1 <= edit.first <= edit.last + 1 <= end:
            return None
        now = changed[edit.file] if before and before.file == edit.file else source
        lines = (*now.lines[: edit.first - 1], *edit.lines, *now.lines[edit.last :])
        changed[edit.file] = replace(now, lines=lines)
    return changed if edits else None


def _is_unparsed(source: SourceFile, setup: Setup) -> bool:
    return any(
        gap.kind is GapKind.SYNTAX and gap.position is not None and gap.position.file == source.name
        for gap in setup.gaps
    )


def _is_worse(outcome: ServerReport, told: ServerReport) -> bool:
    """Whether the server would no longer start, would let more strangers in, or we go wrong."""
    return bool(outcome.error) or (
        outcome.verdict is AuditVerdict.DOWN is not told.verdict
        or RANK.index(outcome.verdict) < RANK.index(told.verdict)
        or sum(one.verdict is AuditVerdict.DOWN for one in outcome.findings)
        > sum(one.verdict is AuditVerdict.DOWN for one in told.findings)
    )


def _is_there(finding: AuditFinding, edits: Sequence[Edit], setup: Setup, outcome: ServerReport) -> bool:
    """Whether the finding is still there: where its line has gone, or among the lines in its place."""
    places = _lines_now(finding.file, finding.line, edits, setup)
    return any(
        (one.rule, one.file, one.service) == (finding.rule, finding.file, finding.service)
        and one.line in places
        for one in outcome.findings
    )


def _moved(key: _Key, edits: Sequence[Edit], setup: Setup) -> _Key:
    """The key of a finding behind the edits."""
    rule, file, line, service = key
    return rule, file, _lines_now(file, line, edits, setup).start, service


def _lines_now(file: str, line: int, edits: Sequence[Edit], setup: Setup) -> range:
    """Where a line of a file is once the edits are made: the lines that took its place if it was replaced."""
    moved, found = line, None
    for edit in edits:
        source = setup.sources.get(edit.file)
        if not line or source is None or source.name != file:
            continue
        if edit.first <= line <= edit.last:
            found = edit
        elif edit.last < line:
            moved += len(edit.lines) - (edit.last - edit.first + 1)
    if found is None:
        return range(moved, moved + 1)
    begin = moved - (line - found.first)
    return range(begin, begin + len(found.lines))


def _key(finding: AuditFinding) -> _Key:
    return finding.rule, finding.file, finding.line, finding.service


def _diff(before: SourceFile, after: SourceFile) -> str:
    return "".join(unified_diff(_lines(before), _lines(after), _named(before.name), _named(after.name)))


def _named(name: str) -> str:
    """A file's name as ``patch`` and ``git apply`` take it whole: one of several lines would name other files.

    Behind white space in it a tab says where it ends; control characters, quotes and backslashes are quoted as in C.
    """
    if _TO_QUOTE.search(name):
        return f'"{_TO_QUOTE.sub(lambda found: f"{chr(92)}{ord(found[0]):03o}", name)}"'
    return f"{name}\t" if " " in name else name


def _lines(source: SourceFile) -> list[str]:
    """With their ends; a last line without one has the remark that ``patch`` knows."""
    lines = [f"{line}{source.line_end}" for line in source.lines]
    if lines and not source.is_ended:
        lines[-1] = f"{source.lines[-1]}\n\\ No newline at end of file\n"
    return lines
