"""What a run comes to, as the shell sees it."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum

from relaywatch.model.evidence import Weakness
from relaywatch.model.results import ResultLine
from relaywatch.model.verdicts import Verdict


class ExitCode(IntEnum):
    """Contract."""

    NOTHING_OPEN = 0
    """Tested, and nothing is open."""
    OPEN = 1
    """Something is open or accepting."""
    USAGE = 2
    COULD_NOT_TEST = 3
    IN_PART = 4
    """Tested in part, or interrupted."""


class Tally:
    """Counts result lines as they come, and says what they come to."""

    def __init__(self) -> None:
        self.lines = 0
        self.open = 0
        """Hosts' lines that prove relaying."""
        self.accepting = 0
        self.closed = 0
        self.absent = 0
        self.inconclusive = 0
        self.skipped = 0
        """Targets that were refused or unreadable: nothing was sent."""
        self.is_interrupted = False
        self.by_weakness: dict[Weakness, tuple[int, int]] = {}
        """For each weakness that was looked for: hosts that have it, and hosts."""
        self._tested_in_part = False

    def add(self, line: ResultLine) -> None:
        """Count a line."""
        self.lines += 1
        having, hosts = self.by_weakness.get(line.weakness, (0, 0))
        self.by_weakness[line.weakness] = having + (line.verdict is Verdict.OPEN), hosts + 1
        setattr(self, line.verdict, getattr(self, line.verdict) + 1)
        if line.verdict is Verdict.INCONCLUSIVE:
            self._tested_in_part |= any(door.verdict is Verdict.CLOSED for door in line.doors)

    @property
    def hosts(self) -> int:
        """Hosts with a line or two."""
        return max((hosts for _, hosts in self.by_weakness.values()), default=0)

    @property
    def exit_code(self) -> ExitCode:
        """Wrong usage, then open, then in part, then not at all; what is absent beside what was tested is moot."""
        if self.open or self.accepting:
            return ExitCode.OPEN
        if self.is_interrupted:
            return ExitCode.IN_PART
        if not self.lines:
            return ExitCode.USAGE if self.skipped else ExitCode.COULD_NOT_TEST
        if not self.closed and not self._tested_in_part:
            return ExitCode.COULD_NOT_TEST
        return ExitCode.IN_PART if self.inconclusive or self.skipped else ExitCode.NOTHING_OPEN


def exit_code(lines: Iterable[ResultLine], *, skipped: int = 0, is_interrupted: bool = False) -> ExitCode:
    """The exit code of a run that gave these lines, left out so many targets, and was or wasn't interrupted."""
    tally = Tally()
    for line in lines:
        tally.add(line)
    tally.skipped = skipped
    tally.is_interrupted = is_interrupted
    return tally.exit_code
