"""The transcript in C:/S: notation, with the seconds since the attempt began."""

from __future__ import annotations

from collections.abc import Iterator

from relaywatch.cli.untrusted import neutralise
from relaywatch.model.evidence import Attempt, TranscriptEntry

from .doors import chain_of

LINES_SHOWN = 60
"""Lines of one entry: a server's endless banner is no reading matter."""


def transcript_lines(attempt: Attempt) -> Iterator[str]:
    """The attempt's dialogue, a line each, neutralised."""
    yield f"--- {attempt.probe} {attempt.endpoint} {attempt.door.transport}{chain_of(attempt.door)}, {attempt.status}"
    for entry in attempt.transcript:
        yield from _entry_lines(entry)
    if attempt.error:
        yield f"    {neutralise(attempt.error)}"


def _entry_lines(entry: TranscriptEntry) -> Iterator[str]:
    lines = entry.data.decode("utf-8", "surrogateescape").removesuffix("\n").split("\n")
    for line in lines[:LINES_SHOWN]:
        yield f"{entry.at:8.3f} {entry.direction}: {neutralise(line.removesuffix(chr(13)))}"
    if len(lines) > LINES_SHOWN:
        yield f"{entry.at:8.3f} {entry.direction}: … {len(lines) - LINES_SHOWN} lines more"
