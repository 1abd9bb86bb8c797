"""Late arrivals: what came to the sink after a run, and which result lines it proves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from relaywatch.model.evidence import Arrival, ArrivalKind
from relaywatch.model.results import DoorLine, FindingLine, ResultLine
from relaywatch.model.verdicts import Proof, Verdict
from relaywatch.rules.judge import ACCEPT_THEN_DROP


def awaited_tokens(line: ResultLine) -> frozenset[str]:
    """The canaries whose arrival would turn this line's *accepting* into *open*."""
    if line.verdict is not Verdict.ACCEPTING:
        return frozenset()
    return frozenset(finding.token for finding in line.findings if finding.token)


def is_proof(arrival: Arrival) -> bool:
    """Whether it came by relaying: what a bounce brings back proves nothing."""
    return arrival.kind is not ArrivalKind.BOUNCE


def settle(line: ResultLine, arrivals: Mapping[str, Arrival]) -> ResultLine:
    """The line as it would be had these arrivals, by token, come in time; itself if none is for it.

    Only findings can be proven: of a case that was void by a catch-all the line has none.
    """
    awaited = awaited_tokens(line)
    proven = tuple(
        _delivered(finding, arrivals[finding.token])
        for finding in line.findings
        if finding.token in awaited and finding.token in arrivals
    )
    if not proven:
        return line
    return replace(
        line,
        verdict=Verdict.OPEN,
        reasons=(),
        findings=proven,
        doors=tuple(_settled_door(door, proven) for door in line.doors),
        advisories=tuple(advisory for advisory in line.advisories if advisory != ACCEPT_THEN_DROP),
    )


def _delivered(finding: FindingLine, arrival: Arrival) -> FindingLine:
    exit_address = str(arrival.came_from.address) if arrival.came_from else finding.exit_address
    return replace(finding, proof=Proof.DELIVERED, exit_address=exit_address)


def _settled_door(door: DoorLine, proven: tuple[FindingLine, ...]) -> DoorLine:
    here = (door.port, door.transport, door.family)
    if here not in {(finding.port, finding.transport, finding.family) for finding in proven}:
        return door
    return replace(door, verdict=Verdict.OPEN, reasons=())
