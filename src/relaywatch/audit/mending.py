"""Mending: the smallest edits that close what was found, tried on a copy and evaluated again before they are told.

Nothing is written here but by `write`, which keeps a backup and puts everything back if the server's own check
says no.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from difflib import unified_diff
from pathlib import Path, PurePosixPath

from relaywatch.model.errors import UsageError

from .auditing import report
from .findings import AuditFinding, AuditVerdict, GapKind, ServerReport
from .server import Edit, Server
from .setup import Setup
from .text import SourceFile
from .trees import FolderTree, TextTree

_MENDABLE = frozenset({AuditVerdict.OPEN, AuditVerdict.OPEN_IF, AuditVerdict.DOWN})
_NOT_PARSED = frozenset({GapKind.SYNTAX, GapKind.BINARY, GapKind.TOO_LONG, GapKind.UNREADABLE})
_MOST_EDITS = 50
_CHECK_SECONDS = 60


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
    given_up: set[tuple[str, str, int, str]] = set()
    now = _fresh(setup, texts)
    told = report(server, now)
    for _ in range(_MOST_EDITS):
        finding = next(
            (one for one in told.findings if one.verdict in _MENDABLE and _key(one) not in given_up), None
        )
        if finding is None:
            break
        tried = _edited(now, tuple(server.mend(now, finding)), texts)
        then = _fresh(setup, tried) if tried is not None else now
        outcome = report(server, then) if tried is not None else told
        if tried is None or _key(finding) in map(_key, outcome.findings) or outcome.error:
            given_up.add(_key(finding))
            continue
        texts, now, told = tried, then, outcome
    first = _fresh(setup, {})
    report(server, first)
    before = {path: first.sources[path] for path in texts}
    left = tuple(finding for finding in told.findings if finding.verdict is not AuditVerdict.CLOSED)
    return Mended(report=told, before=before, after=texts, left=left)


def write(outcome: Mended, setup: Setup, server: Server, now: datetime) -> tuple[Path, ...]:
    """Put the mended files in place, each beside a backup; the backups' paths.

    The server's own syntax check decides: if it says no, everything is put back.

    :raises UsageError: if the files aren't in a folder, can't be written, or the check fails.
    """
    if not isinstance(setup.tree, FolderTree):
        raise UsageError(f"{setup.tree.label}: only files in a folder can be written")
    places = {path: setup.tree.place(path) for path in outcome.after}
    backups: dict[Path, Path] = {}
    try:
        for path, place in places.items():
            backups[place] = _backed_up(place, now)
            _replace(place, outcome.after[path])
        complaint = _checked(server, setup.tree.place(setup.main))
    except OSError as error:
        _put_back(backups)
        raise UsageError(
            f"{error.filename or setup.main}: {error.strerror}; everything is as it was"
        ) from error
    if complaint:
        _put_back(backups)
        raise UsageError(f"{' '.join(server.check)} says: {complaint}; everything is as it was")
    return tuple(backups.values())


def _edited(
    setup: Setup, edits: Sequence[Edit], texts: dict[PurePosixPath, SourceFile]
) -> dict[PurePosixPath, SourceFile] | None:
    """The changed files with these edits made too; nothing if there are none, or a file must be left alone."""
    if not edits:
        return None
    changed = dict(texts)
    for path in dict.fromkeys(edit.file for edit in edits):
        source = setup.sources.get(path)
        if source is None or any(
            gap.kind in _NOT_PARSED and gap.position and gap.position.file == source.name
            for gap in setup.gaps
        ):
            return None
        lines = list(source.lines)
        of_file = sorted((edit for edit in edits if edit.file == path), key=lambda edit: -edit.first)
        for edit in of_file:
            lines[edit.first - 1 : edit.last] = edit.lines
        changed[path] = replace(source, lines=tuple(lines))
    return changed


def _fresh(setup: Setup, texts: dict[PurePosixPath, SourceFile]) -> Setup:
    tree = TextTree({str(path): source.text for path, source in texts.items()}, under=setup.tree)
    return Setup(
        tree=tree if texts else setup.tree,
        main=setup.main,
        home=setup.home,
        allowed=setup.allowed,
        front_ends=setup.front_ends,
    )


def _key(finding: AuditFinding) -> tuple[str, str, int, str]:
    return finding.rule, finding.file, finding.line, finding.service


def _diff(before: SourceFile, after: SourceFile) -> str:
    parts = unified_diff(
        [f"{line}\n" for line in before.lines], [f"{line}\n" for line in after.lines], before.name, after.name
    )
    return "".join(parts)


def _backed_up(place: Path, now: datetime) -> Path:
    backup = place.with_name(f"{place.name}.relaywatch-{now:%Y%m%dT%H%M%S}")
    shutil.copy2(place, backup)
    return backup


def _replace(place: Path, source: SourceFile) -> None:
    """Write beside it and rename, with its owner and mode, so that nobody ever reads half a file."""
    octets = source.text.replace("\n", source.line_end).encode("utf-8", "surrogateescape")
    handle, name = tempfile.mkstemp(dir=place.parent, prefix=f".{place.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(octets)
            file.flush()
            os.fsync(file.fileno())
        shutil.copystat(place, name)
        status = place.stat()
        os.chown(name, status.st_uid, status.st_gid)
        Path(name).replace(place)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _put_back(backups: dict[Path, Path]) -> None:
    for place, backup in backups.items():
        backup.replace(place)


def _checked(server: Server, main: Path) -> str:
    """What the server's own check complains of, if it is installed and complains."""
    if not server.check or shutil.which(server.check[0]) is None:
        return ""
    command = [part.format(main=main, home=main.parent) for part in server.check]
    try:
        done = subprocess.run(  # noqa: S603 -- the server's own program, by its name in the catalogue
            command, capture_output=True, text=True, errors="replace", timeout=_CHECK_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return f"nothing within {_CHECK_SECONDS} s"
    return "" if done.returncode == 0 else (done.stderr or done.stdout).strip() or f"exit {done.returncode}"
