"""Who agrees: the audit's verdict of each configuration beside what the server did, counted and told."""

import contextlib
import multiprocessing
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path

from tests.interop.lab import cases, roots

from relaywatch.audit.findings import AuditVerdict

from .drafts import drafts
from .kit import Kit
from .running import MOST_SECONDS, Behaviour, Doing, Draft, observed

AT_ONCE = 3
"""Configurations that a process runs at most before it tells."""


class Outcome(StrEnum):
    """How the two go together. Only where both say the same of the same way is it agreement."""

    AGREES = "agree"
    UNKNOWN = "unknown"  # the audit says that it doesn't know
    UNTESTED = "untested"  # what the audit says has to be claimed, our check doesn't claim
    EXPLAINED = "explained"
    DISAGREES = "disagree"


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One configuration, twice judged."""

    server: str
    number: int
    draft: Draft
    seen: Behaviour
    why: str = ""
    """The explanation of a disagreement."""

    @cached_property
    def outcome(self) -> Outcome:
        """Which of them it is."""
        told, seen = self.draft.told.verdict, self.seen.doing
        if told is AuditVerdict.UNKNOWN:
            return Outcome.UNKNOWN
        if told is AuditVerdict.OPEN_IF:
            # Our stranger may be what is asked for as he is: from one half of all addresses, say.
            if seen in {Doing.OPEN, Doing.OPEN_IF} and self.is_as_named:
                return Outcome.AGREES
        elif told == seen:
            return Outcome.AGREES
        if told in {AuditVerdict.OPEN, AuditVerdict.OPEN_IF} and not self.seen.is_all_tried:
            return Outcome.UNTESTED if seen is not Doing.DOWN else Outcome.DISAGREES
        return Outcome.EXPLAINED if self.why else Outcome.DISAGREES

    @property
    def is_as_named(self) -> bool:
        """Whether somebody got through who claimed what the audit says has to be claimed."""
        ways = [one.claims for one in self.draft.told.findings if one.verdict is AuditVerdict.OPEN_IF]
        return any(
            all(asked.claimant.makes(claim, asked.by_form) for claim in claims)
            for asked in self.seen.asked
            if asked.doing in {Doing.OPEN, Doing.OPEN_IF}
            for claims in ways
        )

    def __str__(self) -> str:
        told = self.draft.told
        lines = [
            f"=== {self.server} {self.number}: {self.outcome}: audit {told.verdict}, server {self.seen.doing}",
            *(f"    {self.seen.said}".splitlines() if self.seen.said else ()),
            *(f"    the audit: {one.rule} at {one.file}:{one.line}; {one.witness}" for one in told.findings),
            *(f"    gap: {gap.kind} {gap.subject}" for gap in told.gaps),
            *(f"    {one.claimant.name}: {one.doing} ({one.said})" for one in self.seen.asked),
            *([f"    {self.why}"] if self.why else []),
            *(f"--- {path}\n{text}" for path, text in self.draft.files.items()),
        ]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table."""

    server: str
    trials: tuple[Trial, ...]

    def count(self, outcome: Outcome) -> int:
        """How many came out so."""
        return sum(trial.outcome is outcome for trial in self.trials)

    @property
    def unexplained(self) -> tuple[Trial, ...]:
        """The disagreements that nobody has explained."""
        return tuple(trial for trial in self.trials if trial.outcome is Outcome.DISAGREES)


def layers(kit: Kit) -> tuple[Path, ...]:
    """The roots in which the server is installed, built if need be."""
    return tuple(map(Path, roots.stack(cases.load(kit.case, 11)).split(":")))


def compared(kit: Kit, count: int, seed: int, jobs: int) -> Row:
    """Generate configurations, run each, and put both judgements side by side; it ends in time, whatever hangs."""
    chosen = drafts(kit, count, seed)
    each = min(AT_ONCE, -(-len(chosen) // jobs))
    shares = [chosen[first : first + each] for first in range(0, len(chosen), each)]
    installed = layers(kit)
    behaviours: list[Behaviour] = []
    with multiprocessing.get_context("spawn").Pool(min(jobs, len(shares))) as pool:
        under_way = [pool.apply_async(_observed, (kit.server, installed, share)) for share in shares]
        for share, coming in zip(shares, under_way, strict=True):
            try:
                behaviours += coming.get(AT_ONCE * MOST_SECONDS)
            except multiprocessing.TimeoutError:
                behaviours += [Behaviour(Doing.HUNG, said="its process gave no answer")] * len(share)
    trials = []
    for number, (draft, seen) in enumerate(zip(chosen, behaviours, strict=True)):
        why = kit.why(draft.files, f"{draft.told.verdict}/{seen.doing}")
        trials.append(Trial(server=kit.server, number=number, draft=draft, seen=seen, why=why))
    return Row(kit.server, tuple(trials))


def _observed(name: str, installed: Sequence[Path], share: Sequence[Draft]) -> list[Behaviour]:
    """In a process of its own, which has its kits by itself: strategies don't travel."""
    from .kit import load_kits  # noqa: PLC0415

    return observed(load_kits()[name], installed, share)


def table(rows: Iterable[Row]) -> Iterator[str]:
    """The figures, a line for each server and one for all, and then how far both agree."""
    each = list(rows)
    whole = Row("all", tuple(trial for one in each for trial in one.trials))
    told, came = [str(one) for one in AuditVerdict], [one for one in Outcome if one is not Outcome.UNKNOWN]
    heads = ["server", "made", *told, *came, "refused to start"]
    yield f"| {' | '.join(heads)} |"
    yield "|---|" + "--:|" * (len(heads) - 1)
    for row in [*each, whole]:
        verdicts = Counter(str(trial.draft.told.verdict) for trial in row.trials)
        down = [trial for trial in row.trials if trial.seen.doing is Doing.DOWN]
        foretold = sum(trial.draft.told.verdict is AuditVerdict.DOWN for trial in down)
        cells = [
            row.server,
            len(row.trials),
            *(verdicts[one] for one in told),
            *(row.count(outcome) for outcome in came),
            f"{len(down)} ({foretold} foretold)" if down else "0",
        ]
        yield f"| {' | '.join(map(str, cells))} |"
    judged = len(whole.trials) - whole.count(Outcome.UNKNOWN) - whole.count(Outcome.UNTESTED)
    agreeing = whole.count(Outcome.AGREES)
    yield (
        f"agreement: {agreeing} of {judged} ({agreeing / judged:.1%})" if judged else "agreement: none judged"
    )


def jobs_here() -> int:
    """How many configurations to run at once: most of their time they wait."""
    with contextlib.suppress(KeyError, ValueError):
        return int(os.environ["RELAYWATCH_JOBS"])
    return 6 * (os.cpu_count() or 1)
