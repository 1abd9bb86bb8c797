"""An audit as SARIF 2.1.0, the form in which CI systems take findings (OASIS, errata 01)."""

from __future__ import annotations

import os
from collections.abc import Iterable
from hashlib import sha256
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

from relaywatch import __version__
from relaywatch.advice.catalogue import Catalogue
from relaywatch.audit.auditing import NOT_EVALUATED
from relaywatch.audit.catalogue import AuditRule, load_rules
from relaywatch.audit.findings import AuditFinding, AuditVerdict, Cause, OracleOutcome, Position, ServerReport
from relaywatch.cli.language import Words
from relaywatch.cli.untrusted import without_lone_surrogates

from .advising import language
from .auditing import Sources
from .auditing_phrases import HEADLINES, VERDICTS, said_of_answer, said_of_gap

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LEVELS = {
    AuditVerdict.OPEN: "error",
    AuditVerdict.OPEN_IF: "error",
    AuditVerdict.DOWN: "warning",
    AuditVerdict.UNKNOWN: "warning",
    AuditVerdict.CLOSED: "none",
}
_ORACLE_LEVELS = {
    OracleOutcome.AGREES: "none",
    OracleOutcome.DISAGREES: "warning",
    OracleOutcome.SILENT: "note",
}
_SEVERITY = {"critical": "9.5", "high": "8.0", "medium": "5.5", "low": "3.0"}
"""What GitHub sorts alerts by."""
_Json = dict[str, Any]


def sarif(told: Iterable[tuple[ServerReport, Sources]], catalogue: Catalogue, words: Words) -> _Json:
    """The log of one run, with the rules that it found broken."""
    pairs = list(told)
    results = [one for report, sources in pairs for one in _results(report, sources, words)]
    rules = sorted({result["ruleId"] for result in results})
    for result in results:
        result["ruleIndex"] = rules.index(result["ruleId"])
    driver = {
        "name": "relaywatch",
        "version": __version__,
        "rules": [_rule(name, load_rules().get(name), catalogue, words) for name in rules],
    }
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "invocations": [_invocation([report for report, _ in pairs], words)],
        "results": results,
    }
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [_encodable(run)]}


def _rule(name: str, rule: AuditRule | None, catalogue: Catalogue, words: Words) -> _Json:
    if rule is None:
        return {"id": name}
    spoken = language(words)
    why, mend = rule.why.text(spoken), rule.mend.text(spoken)
    more = f"relaywatch advice {rule.advisory}" if rule.advisory else ""
    advisory = catalogue.advisories.get(rule.advisory or "")
    told: _Json = {
        "id": name,
        "shortDescription": {"text": rule.title_in(spoken)},
        "fullDescription": {"text": why},
        "help": {
            "text": "\n\n".join(filter(None, (why, mend, more))),
            "markdown": "\n\n".join(filter(None, (why, f"**{mend}**", more and f"`{more}`"))),
        },
        "properties": {
            "tags": ["security", "configuration", *([rule.advisory] if rule.advisory else [])],
            "standing": rule.standing.value,
            "source": rule.source,
        },
    }
    if advisory:
        told["properties"]["security-severity"] = _SEVERITY[advisory.risk]
    return told


def _results(report: ServerReport, sources: Sources, words: Words) -> Iterable[_Json]:
    for finding in report.findings:
        yield _result(report, finding, sources, words)
    if not report.findings and report.verdict is not AuditVerdict.CLOSED:
        said = [words(HEADLINES[report.verdict], server=report.server)]
        said += [said_of_gap(gap, words) for gap in report.gaps[:20]]
        yield {
            "ruleId": NOT_EVALUATED,
            "level": _LEVELS[report.verdict],
            "message": {"text": _plain("\n".join(said))},
            "locations": [_location(Position(report.path), sources)],
            "properties": {"verdict": report.verdict.value, "server": report.server},
        }


def _result(report: ServerReport, finding: AuditFinding, sources: Sources, words: Words) -> _Json:
    rule = load_rules().get(finding.rule)
    title = rule.title_in(language(words)) if rule else finding.rule
    said = [f"{report.server}, {words(VERDICTS[finding.verdict])}: {title}", finding.witness]
    text = _line_at(finding.position, sources)
    mark = f"{report.server}|{finding.rule}|{finding.file}|{finding.service}|{text.strip()}"
    elsewhere = [cause for cause in finding.causes if cause.position not in {None, finding.position}]
    return {
        "ruleId": finding.rule,
        "level": _LEVELS[finding.verdict],
        "message": {"text": _plain("\n".join(filter(None, said)))},
        "locations": [_location(finding.position, sources)],
        "relatedLocations": [_related(number, cause, sources) for number, cause in enumerate(elsewhere, 1)],
        "partialFingerprints": {"relaywatch/1": sha256(os.fsencode(mark)).hexdigest()},
        "properties": {
            "verdict": finding.verdict.value,
            "server": report.server,
            "service": finding.service,
            "advisory": finding.advisory,
            "witness": finding.witness,
            "claims": [
                {"kind": claim.kind.value, "value": claim.value, "negated": claim.negated}
                for claim in finding.claims
            ],
            "causes": [cause.text for cause in finding.causes],
            "gaps": [said_of_gap(gap, words) for gap in finding.gaps],
        },
    }


def _related(number: int, cause: Cause, sources: Sources) -> _Json:
    assert cause.position is not None  # noqa: S101 -- chosen so
    return {"id": number, "message": {"text": _plain(cause.text)}, **_location(cause.position, sources)}


def _location(position: Position, sources: Sources) -> _Json:
    place: _Json = {"artifactLocation": {"uri": _uri(position.file)}}
    if position.line:
        place["region"] = {"startLine": position.line, "snippet": {"text": _line_at(position, sources)}}
    return {"physicalLocation": place}


def _line_at(position: Position, sources: Sources) -> str:
    source = sources.get(position.file)
    is_there = source is not None and 1 <= position.line <= len(source.lines)
    return source.lines[position.line - 1][:1000] if source is not None and is_there else ""


def _uri(file: str) -> str:
    """A reference relative to where it ran, or a ``file:`` one of an absolute path."""
    path = quote(os.fsencode(str(PurePosixPath(file))))
    return f"file://{path}" if path.startswith("/") else path


def _invocation(reports: list[ServerReport], words: Words) -> _Json:
    faults = [report for report in reports if report.error]
    notes = [
        _note("error", words("A fault of ours; please report it: {error}", error=report.error), report.path)
        for report in faults
    ]
    notes += [
        _note("note", said_of_gap(gap, words), gap.position.file if gap.position else report.path)
        for report in reports
        for gap in report.gaps
    ]
    notes += [
        _note(
            _ORACLE_LEVELS[answer.outcome],
            said_of_answer(answer, words),
            answer.position.file if answer.position else report.path,
        )
        for report in reports
        for answer in report.oracles
    ]
    return {"executionSuccessful": not faults, "toolExecutionNotifications": notes}


def _note(level: str, text: str, file: str) -> _Json:
    return {
        "level": level,
        "message": {"text": _plain(text)},
        "locations": [{"physicalLocation": {"artifactLocation": {"uri": _uri(file)}}}],
    }


def _plain(text: str) -> str:
    """A message that is no placeholder (SARIF 3.11.5) and no link (3.11.6), whatever a file's words look like."""
    return text.replace("{", "{{").replace("}", "}}").replace("](", "] (")


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return without_lone_surrogates(value)
    if isinstance(value, list):
        return [_encodable(item) for item in value]
    return {key: _encodable(item) for key, item in value.items()} if isinstance(value, dict) else value
