"""Who agrees: the audit's verdict of each configuration beside what the server did, counted and told."""

import contextlib
import multiprocessing
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tests.interop.lab import cases, roots

from relaywatch.audit.addresses import AddressSet
from relaywatch.audit.auditing import report
from relaywatch.audit.claims import Claim, ClaimKind
from relaywatch.audit.findings import AuditVerdict, ServerReport
from relaywatch.audit.server import load_servers
from relaywatch.audit.setup import Setup
from relaywatch.audit.trees import TextTree
from relaywatch.runs.sandbox_network import STRANGER

from .kit import Files, Kit, generated
from .running import ELSEWHERE_ADDRESSES, OWN, PARTNER, STRANGER_NAME, Behaviour, Doing, observed

AT_ONCE = 3  # configurations that a process runs before it tells


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One configuration, twice judged."""

    server: str
    number: int
    files: Files
    told: ServerReport
    seen: Behaviour
    why: str = ""  # the explanation of a disagreement

    @property
    def pair(self) -> str:
        """Both in a word: *audit/server*."""
        return f"{self.told.verdict}/{self.seen.doing}"

    @property
    def is_unknown(self) -> bool:
        """Whether the audit says that it doesn't know."""
        return self.told.verdict is AuditVerdict.UNKNOWN

    @property
    def agrees(self) -> bool:
        """Whether both say the same; what is asked of strangers may be what ours are anyway."""
        if self.told.verdict is AuditVerdict.OPEN_IF and self.seen.doing is Doing.OPEN:
            return any(all(map(_is_met, finding.claims)) for finding in self.told.findings)
        return self.told.verdict == self.seen.doing

    def __str__(self) -> str:
        rules = ", ".join(f"{one.rule} at {one.file}:{one.line}" for one in self.told.findings)
        texts = "\n".join(f"--- {path}\n{text}" for path, text in self.files.items())
        return (
            f"=== {self.server} {self.number}: audit {self.told.verdict}, server {self.seen.doing}"
            f" ({self.seen.by}: {self.seen.said})\n    {rules}\n    {self.why}\n{texts}"
        )


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table."""

    server: str
    trials: tuple[Trial, ...]

    @property
    def agreeing(self) -> int:
        return sum(trial.agrees for trial in self.trials)

    @property
    def unknown(self) -> int:
        return sum(trial.is_unknown for trial in self.trials)

    @property
    def disagreeing(self) -> tuple[Trial, ...]:
        return tuple(trial for trial in self.trials if not trial.agrees and not trial.is_unknown)

    @property
    def unexplained(self) -> tuple[Trial, ...]:
        return tuple(trial for trial in self.disagreeing if not trial.why)


def _is_met(claim: Claim) -> bool:
    """Whether our strangers meet it without claiming anything: by their address, or by what they ask for."""
    if claim.is_free or claim.kind is ClaimKind.FORWARD_PATH:
        return True
    if claim.kind is ClaimKind.CLIENT_ADDRESS:
        inside = AddressSet.of(part.strip() for part in claim.value.split(","))
        return any(address in inside for address in (*STRANGER, *ELSEWHERE_ADDRESSES))
    if claim.kind is ClaimKind.CLIENT_NAME:  # a name made up below the suffix that is trusted
        return STRANGER_NAME.endswith("." + claim.value.rpartition(".")[2])
    if claim.kind is ClaimKind.HELO:
        return claim.value == STRANGER_NAME
    # The check tries the server's own names in reverse-paths, but no domain that it isn't told of.
    return claim.kind is ClaimKind.REVERSE_PATH and not claim.value.endswith((PARTNER, OWN))


def audited(kit: Kit, files: Files) -> ServerReport:
    """What the audit says of the files alone."""
    server = load_servers()[kit.server]
    setup = Setup(
        tree=TextTree(dict(files)), main=PurePosixPath(next(iter(files))), home=PurePosixPath(server.home)
    )
    return report(server, setup)


def layers(kit: Kit) -> tuple[Path, ...]:
    """The roots in which the server is installed, built if need be."""
    return tuple(map(Path, roots.stack(cases.load(kit.case, 11)).split(":")))


def compared(kit: Kit, count: int, seed: int, jobs: int) -> Row:
    """Generate configurations, run each, and put both judgements side by side."""
    drafts = generated(kit, count, seed)
    shares = [drafts[first : first + AT_ONCE] for first in range(0, len(drafts), AT_ONCE)]
    context = multiprocessing.get_context("spawn")
    installed = layers(kit)
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        futures = [pool.submit(_observed, kit.server, installed, share) for share in shares]
        behaviours = [behaviour for future in futures for behaviour in future.result()]
    trials = [
        _trial(kit, number, files, seen)
        for number, (files, seen) in enumerate(zip(drafts, behaviours, strict=True))
    ]
    return Row(kit.server, tuple(trials))


def _trial(kit: Kit, number: int, files: Files, seen: Behaviour) -> Trial:
    told = audited(kit, files)
    why = kit.why(files, f"{told.verdict}/{seen.doing}")
    return Trial(server=kit.server, number=number, files=files, told=told, seen=seen, why=why)


def _observed(name: str, installed: Sequence[Path], share: Sequence[Files]) -> list[Behaviour]:
    """In a process of its own, which has its kits by itself: strategies don't travel."""
    from .kit import load_kits  # noqa: PLC0415

    return observed(load_kits()[name], installed, share)


def table(rows: Iterable[Row]) -> Iterator[str]:
    """The figures, a line for each server and one for all."""
    each = list(rows)
    yield f"{'server':<12} {'made':>5} {'agree':>6} {'unknown':>8} {'explained':>10} {'unexplained':>12}  verdicts"
    for row in [*each, Row("all", tuple(trial for one in each for trial in one.trials))]:
        explained = len(row.disagreeing) - len(row.unexplained)
        verdicts = Counter(str(trial.seen.doing) for trial in row.trials if trial.agrees)
        yield (
            f"{row.server:<12} {len(row.trials):>5} {row.agreeing:>6} {row.unknown:>8} {explained:>10}"
            f" {len(row.unexplained):>12}  {', '.join(f'{n} {what}' for what, n in sorted(verdicts.items()))}"
        )


def jobs_here() -> int:
    """How many configurations to run at once: most of their time they wait."""
    with contextlib.suppress(KeyError, ValueError):
        return int(os.environ["RELAYWATCH_JOBS"])
    return 4 * (os.cpu_count() or 1)


__all__ = ["Doing", "Row", "Trial", "audited", "compared", "jobs_here", "table"]
