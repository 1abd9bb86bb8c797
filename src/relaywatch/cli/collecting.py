"""What a scan keeps of each finished target: its line in the file or on standard output, its dialogue."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Self, TextIO

from relaywatch.advice.catalogue import load_catalogue
from relaywatch.model.evidence import Weakness
from relaywatch.model.results import ResultLine
from relaywatch.model.verdicts import Verdict
from relaywatch.runs.reporting import TargetReport

from .exit_codes import Tally
from .language import Words
from .opening import open_to_write
from .reports.entry import Entry
from .reports.lines import format_line
from .reports.page import write_page
from .reports.spreadsheet import SpreadsheetWriter
from .reports.transcript import transcript_lines
from .results import Done, ResultsFile, read_lines

_EVIDENCE_KEPT = 200
"""Targets whose transcripts go into the page; more would make it unreadable, and memory finite."""


class Collector:
    """Takes reports as they come, and writes the files that are made of all of them; a context manager."""

    def __init__(self, output: Path | None, log: Path | None, done: Done, *, keeps_lines: bool) -> None:
        self._output, self._log_path, self._done, self._keeps_lines = output, log, done, keeps_lines
        self._stack = ExitStack()
        self._write: Callable[[ResultLine], None] = _print_line
        self._log: TextIO | None = None
        self._lines: list[ResultLine] = []
        self._evidence: dict[tuple[str, Weakness], Entry] = {}

    def __enter__(self) -> Self:
        if self._output:
            self._write = self._stack.enter_context(ResultsFile(self._output)).write
        if self._log_path:
            self._log = self._stack.enter_context(open_to_write(self._log_path, "a"))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def take(self, report: TargetReport) -> bool:
        """Keep a report; False if the file has a line for it already, since names are resolved by the run."""
        line = report.line
        if self._is_known(line):
            return False
        self._write(line)
        if self._keeps_lines and not self._output:
            self._lines.append(line)
        if line.verdict in {Verdict.OPEN, Verdict.ACCEPTING} and len(self._evidence) < _EVIDENCE_KEPT:
            self._evidence[line.target, line.weakness] = Entry.of(report)
        if self._log:
            self._log.writelines(f"{text}\n" for a in report.attempts for text in transcript_lines(a))
            self._log.flush()
        return True

    def write_csv(self, path: Path) -> None:
        """Write all lines, those of earlier runs into the same file among them, as a table."""
        with open_to_write(path) as file:
            writer = SpreadsheetWriter(file)
            for line in self._all():
                writer.write(line)

    def write_html(self, path: Path, words: Words) -> None:
        """Write all lines as a page, with the evidence of this run."""
        tally = Tally()
        entries = []
        for line in self._all():
            tally.add(line)
            entries.append(self._evidence.get((line.target, line.weakness), Entry(line)))
        with open_to_write(path) as file:
            write_page(file, entries, load_catalogue(), words, made_at=datetime.now(UTC), tally=tally)

    def _is_known(self, line: ResultLine) -> bool:
        ports: Iterable[int | None] = [door.port for door in line.doors] or [None]
        return all(self._done.has(line.target, port, (line.weakness,)) for port in ports)

    def _all(self) -> Iterator[ResultLine]:
        return read_lines(self._output) if self._output else iter(self._lines)


def _print_line(line: ResultLine) -> None:
    sys.stdout.buffer.write(format_line(line))
    sys.stdout.buffer.flush()
