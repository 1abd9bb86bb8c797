"""What an audit found, for a person at a terminal: the offending lines, what a stranger does with them, what to set."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from rich.console import Console, RenderableType
from rich.text import Text

from relaywatch.advice.catalogue import Catalogue
from relaywatch.audit.catalogue import AuditRule, load_rules
from relaywatch.audit.findings import AuditFinding, Cause, OracleOutcome, ServerReport
from relaywatch.audit.text import SourceFile
from relaywatch.cli.language import Words
from relaywatch.cli.untrusted import neutralise

from .advising import language
from .auditing_phrases import (
    HEADLINES,
    MARKS,
    ORACLE_STYLES,
    ORACLES,
    STANDINGS,
    STYLES,
    VERDICTS,
    said_of_claim,
    said_of_gap,
)
from .layout import Prose, Verbatim, print_parts, prose

Sources = Mapping[str, SourceFile]
"""The files that were read, by the names that reports give them."""
_CONTEXT = 2
_MOST_GAPS = 12
_MOST_CLAIMS = 6
_WIDE_LINE = 160
_SECRET = re.compile(
    r"(\w*(?:passw(?:or)?d|passphrase|secret|token|api_?key|credentials?|basicauth|requirepass)\w*[\s=:]+).+",
    re.IGNORECASE,
)
"""What a line round the offending one must not tell to whoever reads the log."""


def print_audit(
    console: Console, report: ServerReport, sources: Sources, catalogue: Catalogue, words: Words
) -> None:
    """Print the report of one server."""
    print_parts(console, *audit_report(report, sources, catalogue, words))


def audit_report(
    report: ServerReport, sources: Sources, catalogue: Catalogue, words: Words
) -> Iterator[RenderableType]:
    """The parts of the report, in the order in which they are read."""
    mark = f"{MARKS[report.verdict]} {words(VERDICTS[report.verdict]).upper()}"
    headline = words(HEADLINES[report.verdict], server=report.server)
    yield Text.assemble((mark, STYLES[report.verdict]), "  ", (headline, "bold"))
    yield prose(neutralise(report.path, _WIDE_LINE * 4), 2, "dim")
    if len(report.services) > 1:
        for service in report.services:
            told = f"{MARKS[service.verdict]} {words(VERDICTS[service.verdict])}"
            yield Prose(Text.assemble((told, STYLES[service.verdict]), f"  {neutralise(service.name)}"), 2)
    yield prose("")
    if report.error:
        yield prose(words("A fault of ours; please report it: {error}", error=neutralise(report.error)), 2)
    for finding in report.findings:
        yield from _finding(report, finding, sources, catalogue, words)
    yield from _gaps(report, words)
    yield from _oracles(report, words)


def _finding(
    report: ServerReport, finding: AuditFinding, sources: Sources, catalogue: Catalogue, words: Words
) -> Iterator[RenderableType]:
    rule = load_rules().get(finding.rule)
    title = rule.title_in(language(words)) if rule else finding.rule
    yield Text.assemble(
        (f"{words(VERDICTS[finding.verdict])}", STYLES[finding.verdict]),
        "  ",
        (f"{finding.advisory or finding.rule}  {title}", "bold"),
    )
    yield from _place(finding, sources)
    for label, value in _rows(report, finding, words):
        yield Prose(Text.assemble((f"{label}: ", "bold"), neutralise(value, 2000)), 2)
    if rule:
        yield from _meaning(report, finding, rule, catalogue, words)
    yield prose("")


def _place(finding: AuditFinding, sources: Sources) -> Iterator[RenderableType]:
    yield prose(neutralise(str(finding.position), 1000), 2, "cyan")
    source = sources.get(finding.file)
    if source is None or not 1 <= finding.line <= len(source.lines):
        return
    first = max(1, finding.line - _CONTEXT)
    width = len(str(finding.line + _CONTEXT))
    for number, line in enumerate(source.lines[first - 1 : finding.line + _CONTEXT], first):
        is_it = number == finding.line
        said = line if is_it else _SECRET.sub(r"\1…", line)
        shown = neutralise(said.replace("\t", "    "), _WIDE_LINE)
        yield Verbatim(
            f"{'>' if is_it else ' '} {number:>{width}} | {shown}".rstrip(), 2, "bold" if is_it else "dim"
        )
        if is_it and (marked := shown.strip()):
            indent = len(shown) - len(shown.lstrip())
            yield Verbatim(f"  {'':>{width}} | {' ' * indent}{'^' * min(len(marked), _WIDE_LINE)}", 2, "red")


def _rows(report: ServerReport, finding: AuditFinding, words: Words) -> Iterator[tuple[str, str]]:
    if finding.service and len(report.services) > 1:
        yield words("Listener"), finding.service
    if len(finding.causes) > 1 or any(cause.position is None for cause in finding.causes):
        yield words("Because"), " → ".join(_said_of_cause(cause) for cause in finding.causes)
    if finding.witness:
        yield words("A stranger"), finding.witness
    needed = [claim for claim in finding.claims if not claim.is_free]
    if needed:
        more = " …" * (len(needed) > _MOST_CLAIMS)
        yield words("He needs"), "; ".join(said_of_claim(one, words) for one in needed[:_MOST_CLAIMS]) + more
    for gap in finding.gaps:
        yield words("Not known"), said_of_gap(gap, words)


def _said_of_cause(cause: Cause) -> str:
    return f"{cause.text} ({cause.position})" if cause.position else cause.text


def _meaning(
    report: ServerReport, finding: AuditFinding, rule: AuditRule, catalogue: Catalogue, words: Words
) -> Iterator[RenderableType]:
    spoken = language(words)
    told = ((words("Why"), rule.why), (words("What to set"), rule.mend))
    for label, text in told:
        yield Prose(Text.assemble((f"{label}: ", "bold"), text.text(spoken)), 2)
    yield prose(f"{words('Standing')}: {words(STANDINGS[rule.standing])} ({rule.source})", 2, "dim")
    if finding.advisory:
        guide = f" --software {report.server}" if catalogue.guide(report.server) else ""
        yield prose(words("More: relaywatch advice {id}", id=f"{finding.advisory}{guide}"), 2, "dim")


def _gaps(report: ServerReport, words: Words) -> Iterator[RenderableType]:
    deciding = report.gaps[: len(report.gaps) - len(report.harmless)]
    for heading, gaps in (
        (words("Not evaluated: {count}", count=len(deciding)), deciding),
        (words("Not evaluated, and can't decide it: {count}", count=len(report.harmless)), report.harmless),
    ):
        if not gaps:
            continue
        yield prose(heading, style="bold")
        for gap in gaps[:_MOST_GAPS]:
            yield prose(f"- {neutralise(said_of_gap(gap, words), 1000)}", 2)
        if len(gaps) > _MOST_GAPS:
            yield prose("- …", 2)
        yield prose("")


def _oracles(report: ServerReport, words: Words) -> Iterator[RenderableType]:
    """What the server's own tools say; whether they agree comes first."""
    for answer in report.oracles:
        said = words(ORACLES[answer.outcome], tool=neutralise(answer.tool, 200))
        yield Prose(Text.assemble((said, ORACLE_STYLES[answer.outcome]), f"  {neutralise(answer.subject)}"))
        if answer.outcome is OracleOutcome.DISAGREES:
            if answer.position:
                yield prose(neutralise(str(answer.position), 1000), 2, "cyan")
            yield prose(words("It says: {said}", said=neutralise(answer.theirs, 1000)), 2)
            yield prose(words("We say: {said}", said=neutralise(answer.ours, 1000)), 2)
        elif answer.theirs:
            yield prose(neutralise(answer.theirs, 1000), 2, "dim")
    if report.oracles:
        yield prose("")
