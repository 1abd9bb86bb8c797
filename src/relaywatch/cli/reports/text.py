"""One checked target for a person at a terminal: verdict, doors, proof, remedy, and what to do next."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from relaywatch.advice.catalogue import Catalogue
from relaywatch.cli.language import Words
from relaywatch.cli.untrusted import neutralise
from relaywatch.model.evidence import Arrival, ArrivalKind, Weakness
from relaywatch.model.results import DoorLine, FindingLine, ResultLine
from relaywatch.model.verdicts import Vantage, Verdict
from relaywatch.rules.explain import PROXY_REFERENCES, REFERENCES

from . import advising, byhand, doors
from .byhand_proxies import proxy_command
from .entry import Entry
from .layout import Prose, Verbatim, print_parts, prose
from .phrases import FROM_OUTSIDE, MARKS, PROOFS, REASONS, TRANSPORTS, VERDICTS, headline
from .transcript import transcript_lines

STYLES = {
    Verdict.OPEN: "bold red",
    Verdict.ACCEPTING: "yellow",
    Verdict.CLOSED: "green",
    Verdict.ABSENT: "dim",
    Verdict.INCONCLUSIVE: "magenta",
}
_RECEIVED_SHOWN = 6


def print_text(
    console: Console, entry: Entry, catalogue: Catalogue, words: Words, *, with_transcript: bool = False
) -> None:
    """Print the report, and the transcripts of all attempts below it if they are wished for."""
    print_parts(console, *text_report(entry, catalogue, words))
    for attempt in entry.attempts if with_transcript else ():
        print_parts(console, *(Verbatim(text, 0, "") for text in transcript_lines(attempt)), prose(""))


def text_report(entry: Entry, catalogue: Catalogue, words: Words) -> Iterator[RenderableType]:
    """The parts of the report, in the order in which they are read."""
    line = entry.line
    yield verdict_text(line, words)
    if line.error:
        yield prose(neutralise(line.error))
    if line.verdict is Verdict.OPEN and line.vantage is Vantage.INSIDE:
        yield prose(words(FROM_OUTSIDE))
    yield prose("")
    if line.software:
        recognised = " ".join(filter(None, (line.software.name, line.software.version)))
        hint = words("Recognised by its words as {software}: a hint, no proof.", software=recognised)
        yield prose(neutralise(hint))
    if line.doors:
        if any(doors.telling_doors(line)):
            yield doors_table(line, words)
        yield from (prose(text, style="dim") for text in doors.other_doors(line, words))
        yield prose("")
    for finding in line.findings:
        yield from _finding(entry, finding, catalogue, words)
    yield from _advisories_beside(line, catalogue, words)
    yield from _reasons(line, words)
    yield from _next_steps(line, words)


def verdict_text(line: ResultLine, words: Words) -> Text:
    """The headline, with the verdict's mark and word before it."""
    mark = f"{MARKS[line.verdict]} {words(VERDICTS[line.verdict]).upper()}"
    return Text.assemble((mark, STYLES[line.verdict]), "  ", (neutralise(headline(line, words)), "bold"))


def doors_table(line: ResultLine, words: Words) -> Table:
    """Every door with its verdict, and how many of the planned cases were answered."""
    table = Table(box=None, pad_edge=False)
    for title in (words("Door"), words("Verdict"), words("Cases"), words("Notes")):
        table.add_column(title, overflow="fold")
    for door in doors.telling_doors(line):
        word = Text(f"{MARKS[door.verdict]} {words(VERDICTS[door.verdict])}", STYLES[door.verdict])
        name = Text(doors.door_name(door))
        table.add_row(name, word, Text(f"{door.asked}/{door.planned}"), Text(_notes(door)))
    return table


def _notes(door: DoorLine) -> str:
    return "; ".join([*door.reasons, *map(neutralise, door.notes)])


def _finding(
    entry: Entry, finding: FindingLine, catalogue: Catalogue, words: Words
) -> Iterator[RenderableType]:
    advisory = catalogue.advisories.get(finding.advisory)
    title = advisory.text(advising.language(words)).title if advisory else finding.case
    yield prose(f"{finding.advisory}  {title}", style="bold")
    is_new = not entry.is_told_before(finding)
    if advisory and is_new:
        yield prose(advisory.text(advising.language(words)).summary, 2)
        yield prose(advising.rating(advisory, words), 2, "dim")
    for label, value in _proof_rows(entry, finding, words):
        yield Prose(Text.assemble((f"{label}: ", "bold"), neutralise(value)), 2)
    yield from _by_hand(entry.line, finding, words)
    yield prose("")
    if is_new:
        yield from _remedies(entry.line, finding, catalogue, words)


def _remedies(
    line: ResultLine, finding: FindingLine, catalogue: Catalogue, words: Words
) -> Iterator[RenderableType]:
    software = line.software.name if line.software else None
    if remedies := list(advising.remedies_for(catalogue, finding.advisory, software, words)):
        yield prose(words("How to mend it"), style="bold")
        yield from remedies


def _proof_rows(entry: Entry, finding: FindingLine, words: Words) -> Iterator[tuple[str, str]]:
    """What we sent, what it said, what arrived, when, from where."""
    yield words("Proof"), words(PROOFS[finding.proof])
    where = f"{doors.door_name(finding)} ({words(TRANSPORTS[finding.transport])})"
    yield words("Asked at"), f"{where}, {words('case')} {finding.case}"
    yield words("We sent"), finding.command or "–"
    if sent := entry.sent_at(finding):
        yield words("Sent at"), sent.isoformat(timespec="seconds")
    yield words("It replied"), finding.reply
    if finding.destination_ports:
        yield words("It led to our ports"), ", ".join(map(str, finding.destination_ports))
    if finding.exit_address:
        yield words("It came out from"), doors.exit_of(entry.line, finding, words)
    if arrival := entry.arrival_of(finding):
        yield from _arrival_rows(arrival, words)


def _arrival_rows(arrival: Arrival, words: Words) -> Iterator[tuple[str, str]]:
    came_from = str(arrival.came_from) if arrival.came_from else words("an unknown address")
    yield words("Arrived at"), f"{arrival.at.isoformat(timespec='seconds')}, {words('from')} {came_from}"
    if arrival.kind is not ArrivalKind.MAIL:
        return
    yield words("Arrived with"), f"HELO {arrival.helo}, <{arrival.reverse_path}> → <{arrival.forward_path}>"
    for received in arrival.received[:_RECEIVED_SHOWN]:
        yield "Received", " ".join(received.split())


def _by_hand(line: ResultLine, finding: FindingLine, words: Words) -> Iterator[RenderableType]:
    if line.weakness is Weakness.OPEN_PROXY:
        if asked := proxy_command(line, finding):
            yield prose(words("By hand, with a host of yours for YOUR-HOST:"), 2)
            yield _command(asked)
    elif finding.via:
        yield prose(words("By hand: through the proxy, and behind it the dialogue of the transcript."), 2)
    elif command := byhand.swaks_command(line, finding):
        yield prose(words("By hand, stopping before DATA:"), 2)
        yield _command(command)
    elif typed := byhand.dialogue_by_hand(line, finding):
        yield prose(words("By hand, line by line, since swaks cannot send this form:"), 2)
        yield from map(_command, typed)


def _advisories_beside(line: ResultLine, catalogue: Catalogue, words: Words) -> Iterator[RenderableType]:
    for advisory_id in line.advisories:
        if advisory := catalogue.advisories.get(advisory_id):
            texts = advisory.text(advising.language(words))
            yield prose(f"{advisory_id}  {texts.title}", style="bold")
            yield prose(texts.summary, 2)
            yield prose(words("More: relaywatch advice {id}", id=advisory_id), 2, "dim")
            yield prose("")


def _reasons(line: ResultLine, words: Words) -> Iterator[RenderableType]:
    told = doors.telling_doors(line)
    reasons = dict.fromkeys([*line.reasons, *(reason for door in told for reason in door.reasons)])
    if not reasons:
        return
    references = PROXY_REFERENCES if line.weakness is Weakness.OPEN_PROXY else REFERENCES
    yield prose(words("What could not be told, and why"), style="bold")
    for reason in reasons:
        source = f" ({references[reason]})" if reason in references else ""
        yield Prose(Text.assemble((reason, "bold"), f": {words(REASONS[reason])}", (source, "dim")), 2)
    yield prose("")


def _next_steps(line: ResultLine, words: Words) -> Iterator[RenderableType]:
    if line.verdict is Verdict.ABSENT:
        return  # nobody is there who could change anything
    yield prose(words("Check again after a change:"))
    yield _command(byhand.recheck_command(line))
    if line.source_address:
        yield Text(
            words("We asked from {address}. To have fail2ban leave it alone:", address=line.source_address)
        )
        yield _command(byhand.exempt_command(line.source_address))
    yield prose("")


def _command(command: str) -> Verbatim:
    return Verbatim(neutralise(command, limit=2000))
