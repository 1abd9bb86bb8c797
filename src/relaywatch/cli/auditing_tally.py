"""What an audit comes to, as the shell sees it."""

from __future__ import annotations

from collections import Counter

from relaywatch.audit.findings import AuditVerdict

from .exit_codes import ExitCode
from .language import N_, Words

_COUNTED = (
    (AuditVerdict.OPEN, N_("open: {count}")),
    (AuditVerdict.OPEN_IF, N_("open if: {count}")),
    (AuditVerdict.DOWN, N_("down: {count}")),
    (AuditVerdict.UNKNOWN, N_("unknown: {count}")),
    (AuditVerdict.CLOSED, N_("closed: {count}")),
)


class AuditTally:
    """Counts servers by verdict."""

    def __init__(self) -> None:
        self._counts: Counter[AuditVerdict] = Counter()
        self._unread = 0

    def add(self, verdict: AuditVerdict) -> None:
        """Count a server."""
        self._counts[verdict] += 1

    def add_unread(self) -> None:
        """Something where a server may be could not be read."""
        self._unread += 1

    @property
    def servers(self) -> int:
        """How many there were."""
        return self._counts.total()

    @property
    def exit_code(self) -> ExitCode:
        """Open or open-if, then what is down or unknown: alone it was no test, beside others one in part."""
        if self._counts[AuditVerdict.OPEN] or self._counts[AuditVerdict.OPEN_IF]:
            return ExitCode.OPEN
        untold = self._counts[AuditVerdict.DOWN] + self._counts[AuditVerdict.UNKNOWN] + self._unread
        if not self._counts[AuditVerdict.CLOSED]:
            return ExitCode.COULD_NOT_TEST
        return ExitCode.IN_PART if untold else ExitCode.NOTHING_OPEN

    def said(self, words: Words) -> str:
        """How many servers there were, and what each came to."""
        told = ", ".join(words(text, count=self._counts[one]) for one, text in _COUNTED if self._counts[one])
        return words("Servers: {count} ({told})", count=self.servers, told=told)
