"""Which of the generated configurations are run: a fair share of each verdict, and of each way to come to it."""

from collections import defaultdict
from collections.abc import Iterator
from itertools import chain, zip_longest
from pathlib import PurePosixPath

from relaywatch.audit.auditing import report
from relaywatch.audit.findings import AuditVerdict, ServerReport
from relaywatch.audit.server import load_servers
from relaywatch.audit.setup import Setup
from relaywatch.audit.trees import TextTree

from .kit import Files, Kit, generated
from .running import Draft

POOL = 8
"""So many are generated for each that is run."""
SHARES = {
    AuditVerdict.OPEN: 0.3,
    AuditVerdict.OPEN_IF: 0.25,
    AuditVerdict.CLOSED: 0.3,
    AuditVerdict.DOWN: 0.1,
    AuditVerdict.UNKNOWN: 0.05,
}
"""By what the audit says; where there aren't so many, the others fill it up."""


def audited(kit: Kit, files: Files) -> ServerReport:
    """What the audit says of the files alone."""
    server = load_servers()[kit.server]
    setup = Setup(
        tree=TextTree(dict(files)), main=PurePosixPath(next(iter(files))), home=PurePosixPath(server.home)
    )
    return report(server, setup)


def drafts(kit: Kit, count: int, seed: int) -> list[Draft]:
    """Return so many, no two the same; the same ones for the same seed, as long as the audit says the same of them."""
    by_verdict: dict[AuditVerdict, list[Draft]] = defaultdict(list)
    for files in generated(kit, POOL * count, seed):
        told = audited(kit, files)
        by_verdict[told.verdict].append(Draft(files, told))
    turns = {verdict: _in_turns(found) for verdict, found in by_verdict.items()}
    first = {verdict: max(1, round(SHARES[verdict] * count)) for verdict in SHARES}
    chosen = [one for verdict in SHARES for one in turns.get(verdict, [])[: first[verdict]]]
    rest = [turns.get(verdict, [])[first[verdict] :] for verdict in SHARES]
    spare = (one for row in zip_longest(*rest) for one in row if one is not None)
    return [draft for draft, _ in zip(chain(chosen, spare), range(count), strict=False)]


def _in_turns(found: list[Draft]) -> list[Draft]:
    """One of each kind in turn, so that what is rare comes early."""
    kinds: dict[tuple[object, ...], list[Draft]] = defaultdict(list)
    for draft in found:
        kinds[tuple(_kind(draft.told))].append(draft)
    return [one for row in zip_longest(*kinds.values()) for one in row if one is not None]


def _kind(told: ServerReport) -> Iterator[object]:
    for finding in told.findings[:1]:
        yield finding.rule
        yield from sorted({(claim.kind, claim.negated) for claim in finding.claims})
