"""Late arrivals: what came to the sink after a run, and which result lines it proves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from relaywatch.model.evidence import Arrival, ArrivalKind, Weakness
from relaywatch.model.results import DoorLine, FindingLine, ResultLine
from relaywatch.model.verdicts import Proof, Verdict
from relaywatch.rules.cases import PROVES_A_TUNNEL
from relaywatch.rules.judge import ACCEPT_THEN_DROP

IsProof = Callable[[Arrival], bool]


def awaited(line: ResultLine) -> dict[str, IsProof]:
    """The canaries whose arrival would turn this line's *accepting* into *open*, and what arrival counts for each."""
    if line.verdict is not Verdict.ACCEPTING:
        return {}
    return {finding.token: _proof_for(line) for finding in line.findings if finding.token}


def _proof_for(line: ResultLine) -> IsProof:
    """Mail, for a relay; for a proxy what comes from the target itself: anybody can follow our words by now."""
    if line.weakness is Weakness.OPEN_RELAY:
        return _is_mail
    return lambda arrival: (
        arrival.kind in PROVES_A_TUNNEL
        and arrival.came_from is not None
        and str(arrival.came_from.address) == line.target
    )


def _is_mail(arrival: Arrival) -> bool:
    return arrival.kind is ArrivalKind.MAIL


def settle(line: ResultLine, arrivals: Mapping[str, Arrival]) -> ResultLine:
    """The line as it would be had these arrivals, by token, come in time; itself if none is for it.

    Only findings can be proven: of a case that was void by a catch-all the line has none.
    """
    counts = awaited(line)
    proven = tuple(
        _proven(finding, arrivals[finding.token])
        for finding in line.findings
        if finding.token in counts
        and finding.token in arrivals
        and counts[finding.token](arrivals[finding.token])
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


def _proven(finding: FindingLine, arrival: Arrival) -> FindingLine:
    exit_address = str(arrival.came_from.address) if arrival.came_from else finding.exit_address
    proof = Proof.DELIVERED if arrival.kind is ArrivalKind.MAIL else Proof.CANARY_REACHED
    return replace(finding, proof=proof, exit_address=exit_address)


def _settled_door(door: DoorLine, proven: tuple[FindingLine, ...]) -> DoorLine:
    if _place(door) not in map(_place, proven):
        return door
    return replace(door, verdict=Verdict.OPEN, reasons=())


def _place(of: DoorLine | FindingLine) -> tuple[object, ...]:
    return of.port, of.transport, of.family, of.via, of.through
