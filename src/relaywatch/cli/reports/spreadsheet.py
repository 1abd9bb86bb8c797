"""Result lines as CSV: a row each, times in UTC, for people with a spreadsheet."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from datetime import UTC
from typing import TextIO

from relaywatch.cli.untrusted import neutralise
from relaywatch.model.results import ResultLine

COLUMNS = (
    *("target", "name", "weakness", "verdict", "reasons", "software", "advisories", "proofs", "doors"),
    *("exit_addresses", "destination_ports", "reply", "vantage", "attempts", "began", "seconds", "error"),
)
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


class SpreadsheetWriter:
    """Writes the heading, then a row at a time."""

    def __init__(self, file: TextIO, *, with_heading: bool = True) -> None:
        self._writer = csv.writer(file)
        if with_heading:
            self._writer.writerow(COLUMNS)

    def write(self, line: ResultLine) -> None:
        """Write the line's row."""
        self._writer.writerow([_cell(value) for value in _values(line)])


def _values(line: ResultLine) -> Iterable[object]:
    findings = line.findings
    software = line.software
    yield from (line.target, line.name, line.weakness, line.verdict, " ".join(line.reasons))
    yield " ".join(filter(None, (software.name, software.version))) if software else None
    yield " ".join(dict.fromkeys([*(finding.advisory for finding in findings), *line.advisories]))
    yield " ".join(dict.fromkeys(finding.proof for finding in findings))
    yield " ".join(f"{door.port}/{door.transport}/{door.family}={door.verdict}" for door in line.doors)
    yield " ".join(dict.fromkeys(finding.exit_address for finding in findings if finding.exit_address))
    yield " ".join(str(port) for port in sorted({port for f in findings for port in f.destination_ports}))
    yield findings[0].reply if findings else None
    yield from (line.vantage, line.attempts, line.began.astimezone(UTC).isoformat(), line.seconds, line.error)


def _cell(value: object) -> object:
    """Text made safe for a spreadsheet, which takes what begins with these for a formula to compute."""
    if value is None or isinstance(value, int | float):
        return value
    text = neutralise(str(value))
    return f"'{text}" if text.startswith(_FORMULA_STARTS) or str(value).startswith(_FORMULA_STARTS) else text
