"""What a run does, told as it goes: a bar on a terminal, plain lines otherwise; always to standard error."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import MappingProxyType, TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from relaywatch.model.evidence import Fact
from relaywatch.model.results import ResultLine
from relaywatch.model.verdicts import Verdict
from relaywatch.runs.reporting import EventKind, RunEvent
from relaywatch.script.recognition import PRESENCE, RECOGNITION
from relaywatch.targets.lists import BadTarget, Entry

from .exit_codes import Tally
from .language import N_, Words
from .reports.text import verdict_text
from .untrusted import neutralise

_WORDINGS = MappingProxyType(
    {
        EventKind.SKIPPED: N_("Not tested: {detail}"),
        EventKind.SINK_PROVED: N_("Our sink receives: {detail}"),
        EventKind.SINK_UNPROVED: N_("Our sink could not be shown to receive: {detail}"),
        EventKind.MAIL_WITHHELD: N_(
            "No test message is handed over, so nothing can be proven: say who checks. Missing: {detail}"
        ),
        EventKind.SECOND_SOURCE_UNUSED: N_(
            "--second-source {detail} isn't used: connections come from it anyway."
        ),
        EventKind.CANARIES_UNPROVED: N_("Proxies can be led to our canaries in part or not at all: {detail}"),
        EventKind.ATTEMPT_BEGAN: N_("{target} {door}: asking"),
    }
)


class Watcher:
    """Takes a run's events and reports, counts them, and tells; a context manager."""

    def __init__(self, console: Console, words: Words, tally: Tally) -> None:
        self._console, self._words, self._tally = console, words, tally
        self._known = 0

    def counting(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        """Pass the entries on, and know how many targets they are."""
        for entry in entries:
            self._known += 1 if isinstance(entry, BadTarget) else entry.count
            self.refresh("")
            yield entry

    def see(self, event: RunEvent) -> None:
        """Take an event."""
        if event.kind is EventKind.SKIPPED:
            self._tally.skipped += event.count
        if text := self.wording(event):
            self.tell(Text(text))

    def wording(self, event: RunEvent) -> str:
        """The event in words; nothing if it isn't worth a line."""
        if event.kind is EventKind.ATTEMPT_ENDED:
            return self._attempt_wording(event)
        if event.kind not in _WORDINGS:
            return ""
        detail = neutralise(event.detail)
        return self._words(_WORDINGS[event.kind], detail=detail, target=event.target, door=event.door)

    def took(self, line: ResultLine) -> None:
        """Take a finished target."""
        self._tally.add(line)

    def tell(self, text: Text) -> None:
        """Say a line."""
        self._console.print(text, soft_wrap=True)

    def refresh(self, doing: str) -> None:
        """Show how far the run is; plain lines have nothing to refresh."""

    def _attempt_wording(self, event: RunEvent) -> str:
        """The attempt in words; of the many ports that are only listened at, those that speak."""
        if event.attempt and event.attempt.probe in {RECOGNITION.name, PRESENCE.name}:
            spoken = [o.detail for o in event.attempt.observations if o.fact is Fact.SPEAKS]
            if not spoken:
                return ""
            return self._words(
                "{target} {door}: speaks {services}",
                target=event.target,
                door=event.door,
                services=", ".join(spoken),
            )
        seen = [observation.fact for observation in event.attempt.observations] if event.attempt else []
        return self._words(
            "{target} {door}: {status}; refused: {refused}, accepted: {accepted}",
            target=event.target,
            door=event.door,
            status=event.attempt.status if event.attempt else "",
            refused=seen.count(Fact.REFUSED),
            accepted=seen.count(Fact.ACCEPTED) + seen.count(Fact.QUEUED) + seen.count(Fact.CANARY_REACHED),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to put away."""


class HostLines(Watcher):
    """A line for each finished target: what `scan` says where there is no terminal."""

    def wording(self, event: RunEvent) -> str:
        """Doors of many targets at once would be noise."""
        is_noise = event.kind in {EventKind.ATTEMPT_BEGAN, EventKind.ATTEMPT_ENDED}
        return "" if is_noise else super().wording(event)

    def took(self, line: ResultLine) -> None:
        """Count it, and say it unless there was nothing there."""
        super().took(line)
        if line.verdict is not Verdict.ABSENT:
            self.tell(verdict_text(line, self._words))
        self.refresh("")


class Bar(HostLines):
    """A bar below the lines of finished targets."""

    def __init__(self, console: Console, words: Words, tally: Tally) -> None:
        super().__init__(console, words, tally)
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._task = self._progress.add_task("", total=None)

    def see(self, event: RunEvent) -> None:
        """Take an event, and show what is being done."""
        super().see(event)
        if event.kind is EventKind.ATTEMPT_BEGAN:
            self.refresh(f"{event.target} {event.door}")

    def refresh(self, doing: str) -> None:
        """Show how many of the targets that are known so far are done."""
        done = self._tally.hosts + self._tally.skipped
        self._progress.update(self._task, total=self._known or None, completed=done)
        if doing:
            self._progress.update(self._task, description=doing)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()


def watcher_for_check(console: Console, words: Words, tally: Tally) -> Watcher:
    """Door by door, since there is one target."""
    return Bar(console, words, tally) if console.is_terminal else Watcher(console, words, tally)


def watcher_for_scan(console: Console, words: Words, tally: Tally) -> Watcher:
    """Host by host."""
    return Bar(console, words, tally) if console.is_terminal else HostLines(console, words, tally)
