"""``relaywatch check TARGET``: one server, every door, with proof, remedy and transcript."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import click

from relaywatch.advice.catalogue import load_catalogue
from relaywatch.cli.exit_codes import Tally
from relaywatch.cli.language import N_, Words
from relaywatch.cli.opening import open_to_write
from relaywatch.cli.options import NEW_FILE, Choices, run_options
from relaywatch.cli.reports.entry import Entry
from relaywatch.cli.reports.layout import console_for
from relaywatch.cli.reports.lines import format_line
from relaywatch.cli.reports.page import write_page
from relaywatch.cli.reports.summary import summary_line
from relaywatch.cli.reports.text import print_text
from relaywatch.cli.running import run_to_the_end
from relaywatch.cli.settings import settings_from
from relaywatch.cli.speaking import command, option, words_of
from relaywatch.cli.watching import watcher_for_check
from relaywatch.model.errors import UsageError
from relaywatch.runs.reporting import TargetReport
from relaywatch.runs.run import Run
from relaywatch.targets.parse import parse_target

Format = Literal["text", "json"]


@command(
    "check",
    N_(
        "Check TARGET: an address, a name, mx:DOMAIN, a network, a range, each with :PORT if need be. "
        "Loopback needs no permission; anything else needs one, see `relaywatch scope`."
    ),
)
@click.argument("target")
@run_options
@option(
    "--format",
    "format_",
    type=click.Choice(["text", "json"]),
    default="text",
    help=N_("What to print: a report to read, or a result line."),
)
@option("--transcript", "with_transcript", is_flag=True, help=N_("Print the whole dialogue too."))
@option("--html", type=NEW_FILE, metavar="FILE", help=N_("Write the report as an HTML page too."))
@click.pass_context
def check(
    ctx: click.Context,
    /,
    target: str,
    choices: Choices,
    *,
    format_: Format,
    with_transcript: bool,
    html: Path | None,
) -> None:
    """Check one target and leave with the contract's exit code."""
    words, tally = words_of(ctx), Tally()
    try:
        entry = parse_target(target)
    except ValueError as error:
        raise UsageError(f"{target!r}: {error}") from None
    reports: list[TargetReport] = []
    with watcher_for_check(console_for(sys.stderr), words, tally) as watcher:
        run = Run(settings_from(choices), watcher.see)

        def take(report: TargetReport) -> None:
            reports.append(report)
            tally.add(report.line)

        run_to_the_end(run, watcher.counting([entry]), take)
    tally.is_interrupted = run.is_interrupted
    _print(reports, words, tally, format_, with_transcript=with_transcript)
    if html:
        _write_html(html, reports, words, tally)
    ctx.exit(tally.exit_code)


def _print(
    reports: list[TargetReport], words: Words, tally: Tally, format_: Format, *, with_transcript: bool
) -> None:
    """Print the data to standard output; beside JSON the summary is no data."""
    console = console_for(sys.stdout)
    for report in reports:
        if format_ == "json":
            click.echo(format_line(report.line), nl=False)
        else:
            entry = Entry.of(report)
            print_text(console, entry, load_catalogue(), words, with_transcript=with_transcript)
    click.echo(summary_line(tally, words), err=format_ == "json")


def _write_html(path: Path, reports: list[TargetReport], words: Words, tally: Tally) -> None:
    with open_to_write(path) as file:
        entries = map(Entry.of, reports)
        write_page(file, entries, load_catalogue(), words, made_at=datetime.now(UTC), tally=tally)


COMMAND = check
