"""The summary of many results for a person at a terminal: tables, those with the most open first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from relaywatch.advice.catalogue import Catalogue
from relaywatch.cli.language import N_, Words
from relaywatch.cli.overview import Overview, Row, tally_of
from relaywatch.cli.untrusted import neutralise
from relaywatch.model.evidence import Weakness
from relaywatch.model.verdicts import Reason, Vantage, Verdict

from . import advising
from .layout import print_parts, prose
from .phrases import REASONS, VERDICTS
from .summary import open_hosts

NOBODY = N_("no organisation of the map")
NOT_RECOGNISED = N_("not recognised")
WEAKNESSES = {Weakness.OPEN_RELAY: N_("mail relay"), Weakness.OPEN_PROXY: N_("proxy")}
VANTAGES = {
    Vantage.INSIDE: N_("from inside"),
    Vantage.OUTSIDE: N_("from outside"),
    Vantage.UNKNOWN: N_("from an unknown side"),
}
_STYLES = {Verdict.OPEN: "bold red", Verdict.ACCEPTING: "yellow"}


def sections(
    overview: Overview, catalogue: Catalogue, words: Words
) -> Iterator[tuple[str, tuple[Row, ...], Callable[[Row], str]]]:
    """The tables in the order in which they are read: title, rows, and how a row's name is said."""
    yield words("Weaknesses"), overview.weaknesses, lambda row: words(WEAKNESSES[Weakness(row.name)])
    yield words("Advisories"), overview.advisories, lambda row: advisory_name(row.name, catalogue, words)
    yield words("Organisations"), overview.organisations, lambda row: neutralise(row.name) or words(NOBODY)
    yield words("Networks with something open or accepting"), overview.networks, lambda row: row.name
    yield words("Software"), overview.software, lambda row: neutralise(row.name) or words(NOT_RECOGNISED)
    yield words("Versions"), overview.versions, lambda row: neutralise(row.name)
    yield words("Doors"), overview.doors, lambda row: row.name
    yield words("Reasons"), overview.reasons, lambda row: neutralise(row.name)
    yield words("Where we looked from"), overview.vantages, lambda row: words(VANTAGES[Vantage(row.name)])


def advisory_name(advisory_id: str, catalogue: Catalogue, words: Words) -> str:
    """The id with its title, if the catalogue has it."""
    advisory = catalogue.advisories.get(advisory_id)
    title = f"  {advisory.text(advising.language(words)).title}" if advisory else ""
    return f"{neutralise(advisory_id)}{title}"


def reason_text(name: str, words: Words) -> str:
    """What a reason means, if we know it."""
    return words(REASONS[Reason(name)]) if name in set(Reason) else ""


def scope_of(overview: Overview, words: Words) -> Iterator[str]:
    """What was counted, in a sentence or two."""
    yield words(
        "Results: {lines}. Files: {files}. Networks (/24, /48): {networks}.",
        lines=f"{overview.lines:,}",
        files=len(overview.files),
        networks=f"{overview.networks_seen:,}",
    )
    if overview.began and overview.ended:
        began, ended = (f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC" for at in (overview.began, overview.ended))
        yield words("Tested from {began} to {ended}.", began=began, ended=ended)
    if overview.revised:
        yield words(
            "Lines in whose place a later one of the same target counts: {count}.",
            count=f"{overview.revised:,}",
        )


def print_overview(
    console: Console, overview: Overview, catalogue: Catalogue, words: Words, top: int
) -> None:
    """Print the tables, each with so many rows at most."""
    print_parts(console, *(prose(text) for text in scope_of(overview, words)), prose(""))
    for title, rows, name_of in sections(overview, catalogue, words):
        if rows:
            print_parts(console, *_section(title, rows, name_of, words, top))
    print_parts(console, prose(closing_line(overview, words), style="bold"))


def closing_line(overview: Overview, words: Words) -> str:
    """How many hosts relay, and how many are open proxies."""
    return open_hosts(tally_of(overview), words)


def _section(
    title: str, rows: Iterable[Row], name_of: Callable[[Row], str], words: Words, top: int
) -> Iterator[RenderableType]:
    kept = tuple(rows)
    table = Table(box=None, pad_edge=False)
    table.add_column(title, overflow="fold")
    for heading in headings(words):
        table.add_column(heading, justify="right")
    for row in kept[:top]:
        cells = [
            Text(f"{count:,}" if count else "·", _STYLES.get(verdict, "") if count else "dim")
            for verdict, count in ((verdict, row.of(verdict)) for verdict in Verdict)
        ]
        table.add_row(Text(name_of(row)), Text(f"{row.count:,}"), *cells)
    yield table
    if len(kept) > top:
        yield prose(
            words("and {count} more; --top says how many are shown", count=f"{len(kept) - top:,}"), 2, "dim"
        )
    yield prose("")


def headings(words: Words) -> Iterator[str]:
    """The columns behind the name."""
    yield words("All")
    yield from (words(VERDICTS[verdict]) for verdict in Verdict)
