"""From judgement to result line, and from there to octets."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import msgspec

from relaywatch.model.evidence import Attempt
from relaywatch.model.places import Address
from relaywatch.model.results import DoorLine, FindingLine, ResultLine, SoftwareLine
from relaywatch.model.verdicts import DoorJudgement, Finding, Judgement, Vantage

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(ResultLine)


def encode_line(line: ResultLine) -> bytes:
    """Write a result line as one line of JSON, without its line end."""
    return _encoder.encode(line)


def decode_line(octets: bytes) -> ResultLine:
    """Read a result line.

    :raises ValueError: if it is none; the message says where.
    """
    return _decoder.decode(octets)


def make_line(  # noqa: PLR0913 -- a line is made of so many things
    judgement: Judgement,
    attempts: Iterable[Attempt],
    *,
    target: Address,
    name: str | None,
    vantage: Vantage,
    began: datetime,
    seconds: float,
) -> ResultLine:
    """Put the judgement of one target into its line."""
    made = tuple(attempts)
    return ResultLine(
        target=str(target),
        name=name,
        weakness=judgement.weakness,
        verdict=judgement.verdict,
        reasons=judgement.reasons,
        software=_software(judgement.software),
        findings=tuple(_finding(finding) for finding in judgement.findings),
        doors=tuple(_door(door) for door in judgement.doors),
        attempts=len(made),
        began=began,
        seconds=round(seconds, 3),
        vantage=vantage,
        advisories=judgement.advisories,
        source_address=next((attempt.source for attempt in made if attempt.source), None),
    )


def untested_line(
    judgement: Judgement, *, target: str, name: str | None, error: str, began: datetime
) -> ResultLine:
    """The line of a target for which nothing could be tried; the target is as its list had it."""
    return ResultLine(
        target=target,
        name=name,
        weakness=judgement.weakness,
        verdict=judgement.verdict,
        reasons=judgement.reasons,
        software=None,
        findings=(),
        doors=(),
        attempts=0,
        began=began,
        seconds=0.0,
        vantage=Vantage.UNKNOWN,
        error=error,
    )


def _software(detail: str | None) -> SoftwareLine | None:
    if not detail:
        return None
    name, _, version = detail.partition(" ")
    return SoftwareLine(name=name, version=_text(version) or None)


def _finding(finding: Finding) -> FindingLine:
    return FindingLine(
        advisory=finding.advisory,
        probe=finding.probe,
        case=finding.case,
        port=finding.door.port,
        transport=finding.door.transport,
        family=finding.door.family,
        via=finding.via,
        proof=finding.proof,
        exit_address=finding.exit_address,
        reply=_text(finding.reply),
        command=_text(finding.command),
        token=finding.token,
        destination_ports=finding.destination_ports,
        through=finding.door.through or None,
    )


def _door(door: DoorJudgement) -> DoorLine:
    return DoorLine(
        port=door.door.port,
        transport=door.door.transport,
        family=door.door.family,
        verdict=door.verdict,
        reasons=door.reasons,
        asked=door.asked,
        planned=door.planned,
        notes=tuple(_text(note) for note in door.notes),
        via=door.door.via or None,
        through=door.door.through or None,
    )


def _text(untrusted: str) -> str:
    """A server's text as JSON can hold it: octets that are no UTF-8 show as backslash escapes."""
    return untrusted.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
