"""What a renderer is given: a result line, and as much of the evidence behind it as is at hand."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from relaywatch.model.evidence import Arrival, ArrivalKind, Attempt, AttemptStatus, Direction
from relaywatch.model.results import FindingLine, ResultLine
from relaywatch.runs.reporting import TargetReport

_NOT_CONNECTED = frozenset({AttemptStatus.NO_LISTENER, AttemptStatus.NO_ANSWER, AttemptStatus.UNREACHABLE})


@dataclass(frozen=True, slots=True)
class Entry:
    """A line read from a file has no attempts and no arrivals; one from a run has both."""

    line: ResultLine
    attempts: tuple[Attempt, ...] = ()
    arrivals: tuple[Arrival, ...] = ()

    @classmethod
    def of(cls, report: TargetReport) -> Entry:
        """The entry of a finished target."""
        return cls(report.line, report.attempts, report.arrivals)

    def arrival_of(self, finding: FindingLine) -> Arrival | None:
        """What proved the finding: the canary of its forward-path or tunnel, and no bounce."""
        proving = (
            arrival
            for arrival in self.arrivals
            if arrival.token == finding.token and arrival.kind is not ArrivalKind.BOUNCE
        )
        return next(proving, None)

    def is_told_before(self, finding: FindingLine) -> bool:
        """Whether an earlier finding is of the same advisory, so that its text and remedies stand there already."""
        earlier = self.line.findings[: self.line.findings.index(finding)]
        return any(one.advisory == finding.advisory for one in earlier)

    def dialogues(self) -> tuple[Attempt, ...]:
        """The attempts with something to read: at many ports nobody takes the connection, and the doors tell that."""
        return tuple(filter(_has_dialogue, self.attempts))

    def sent_at(self, finding: FindingLine) -> datetime | None:
        """When the finding's last command went out, as far as the transcript tells."""
        for attempt in self.attempts:
            if not finding.token or attempt.began is None:
                continue
            token = finding.token.encode()
            sent = [entry.at for entry in attempt.transcript if token in entry.data.lower()]
            if sent:
                return attempt.began + timedelta(seconds=sent[0])
        return None


def _has_dialogue(attempt: Attempt) -> bool:
    if attempt.status not in _NOT_CONNECTED:
        return bool(attempt.transcript)
    return any(entry.direction is not Direction.NOTE for entry in attempt.transcript)
