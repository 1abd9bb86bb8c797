"""An audit as annotations for GitHub's workflows: one workflow command a finding, shown at its line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from relaywatch.audit.catalogue import load_rules
from relaywatch.audit.findings import AuditFinding, AuditVerdict, OracleOutcome, Position, ServerReport
from relaywatch.cli.language import Words
from relaywatch.cli.untrusted import neutralise

from .advising import language
from .auditing_phrases import HEADLINES, VERDICTS, said_of_answer, said_of_gap

_LEVELS = {
    AuditVerdict.OPEN: "error",
    AuditVerdict.OPEN_IF: "error",
    AuditVerdict.DOWN: "warning",
    AuditVerdict.UNKNOWN: "warning",
}


def workflow_commands(report: ServerReport, words: Words) -> Iterator[str]:
    """The workflow commands for one server; none if it is closed."""
    for finding in report.findings:
        rule = load_rules().get(finding.rule)
        title = rule.title_in(language(words)) if rule else finding.rule
        known = f"{finding.advisory or finding.rule}, {words(VERDICTS[finding.verdict])}"
        yield _command(
            finding.verdict,
            finding.file,
            finding.line,
            f"{report.server}: {known}",
            _said(finding, title, words),
        )
    if not report.findings and report.verdict is not AuditVerdict.CLOSED:
        said = [words(HEADLINES[report.verdict], server=report.server)]
        said += [said_of_gap(gap, words) for gap in report.gaps[:5]]
        yield _command(report.verdict, report.path, 0, report.server, "\n".join(said))
    for answer in report.oracles:
        if answer.outcome is OracleOutcome.DISAGREES:
            place = answer.position or Position(report.path)
            said_of_it = said_of_answer(answer, words)
            yield _command(AuditVerdict.UNKNOWN, place.file, place.line, report.server, said_of_it)


def _said(finding: AuditFinding, title: str, words: Words) -> str:
    rule = load_rules().get(finding.rule)
    mend = rule.mend.text(language(words)) if rule else ""
    return "\n".join(filter(None, (title, finding.witness, mend)))


def _command(verdict: AuditVerdict, file: str, line: int, title: str, said: str) -> str:
    place = f"file={_property(_relative(file))}" + (f",line={line}" if line else "")
    message = "%0A".join(_data(neutralise(part, 2000)) for part in said.split("\n"))
    return f"::{_LEVELS[verdict]} {place},title={_property(title)}::{message}"


def _relative(file: str) -> str:
    """Below the working directory as workflows name it: without ``./``."""
    return str(PurePosixPath(file))


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(neutralise(text, 2000)).replace(":", "%3A").replace(",", "%2C")
