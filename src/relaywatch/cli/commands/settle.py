"""``relaywatch settle RESULTS``: look again at the sink, and turn *accepting* into *open* where mail has come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from pathlib import Path

import click

from relaywatch.cli.exit_codes import Tally
from relaywatch.cli.language import N_
from relaywatch.cli.options import FILE, NEW_FILE
from relaywatch.cli.reports.summary import summary_details, summary_line
from relaywatch.cli.results import read_lines, rewrite
from relaywatch.cli.speaking import command, option, words_of
from relaywatch.model.errors import UsageError
from relaywatch.model.evidence import Arrival
from relaywatch.model.results import ResultLine
from relaywatch.model.verdicts import Verdict
from relaywatch.runs.settling import IsProof, awaited, settle
from relaywatch.sink.client import RemoteSink
from relaywatch.sink.journal import read_journal
from relaywatch.sink.keys import read_keys


@command(
    "settle",
    N_(
        "Look at the sink again for mail that came after a scan: what was accepting in RESULTS and has arrived "
        "meanwhile is open. Not while a scan writes to RESULTS."
    ),
)
@click.argument("results", type=FILE)
@option("--sink", metavar="URL", help=N_("Ask this `relaywatch sink`."))
@option("--sink-key-file", type=FILE, help=N_("Key file of that sink."))
@option(
    "--sink-journal",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help=N_("Read this directory, where the sink wrote arrivals down."),
)
@option(
    "--output",
    type=NEW_FILE,
    metavar="FILE",
    help=N_("Write all lines to this file; by default to RESULTS itself."),
)
@click.pass_context
def settle_results(
    ctx: click.Context,
    /,
    results: Path,
    *,
    sink: str | None,
    sink_key_file: Path | None,
    sink_journal: Path | None,
    output: Path | None,
) -> None:
    """Rewrite the file at once, and leave with the contract's exit code for what it holds."""
    words, tally = words_of(ctx), Tally()
    wanted = {token: counts for line in read_lines(results) for token, counts in awaited(line).items()}
    came = asyncio.run(_first_of_each(wanted, _arrivals(sink, sink_key_file, sink_journal)))
    settled = 0

    def lines() -> Iterator[ResultLine]:
        nonlocal settled
        for line in read_lines(results):
            now = settle(line, came)
            settled += now.verdict is Verdict.OPEN and line.verdict is not Verdict.OPEN
            tally.add(now)
            yield now

    rewrite(output or results, lines())
    click.echo(words("{count} lines are open by what came late.", count=settled), err=True)
    if details := summary_details(tally, words):
        click.echo(details, err=True)
    click.echo(summary_line(tally, words), err=True)
    ctx.exit(tally.exit_code)


def _arrivals(sink: str | None, key_file: Path | None, journal: Path | None) -> AsyncIterator[Arrival]:
    if (sink is None) == (journal is None):
        raise UsageError("name the sink: either --sink with --sink-key-file, or --sink-journal")
    if (sink is None) != (key_file is None):
        raise UsageError("--sink and --sink-key-file go together")
    if sink is not None and key_file is not None:
        return RemoteSink(sink, read_keys(key_file)).everything()
    assert journal is not None  # noqa: S101 -- one of the two
    return _each(record.arrival() for record in read_journal(journal))


async def _each(arrivals: Iterable[Arrival]) -> AsyncIterator[Arrival]:
    for arrival in arrivals:
        yield arrival


async def _first_of_each(
    wanted: Mapping[str, IsProof], arrivals: AsyncIterator[Arrival]
) -> dict[str, Arrival]:
    came: dict[str, Arrival] = {}
    async for arrival in arrivals:
        if arrival.token in wanted and wanted[arrival.token](arrival):
            came.setdefault(arrival.token, arrival)
    return came


COMMAND = settle_results
