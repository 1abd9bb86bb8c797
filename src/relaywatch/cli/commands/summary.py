"""``relaywatch summary RESULTS``: what many results come to."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import click

from relaywatch.advice.catalogue import load_catalogue
from relaywatch.cli.language import N_, Words
from relaywatch.cli.options import FILE, NEW_FILE
from relaywatch.cli.overview import Overview, survey, tally_of
from relaywatch.cli.reports.layout import console_for
from relaywatch.cli.reports.overview_json import overview_line
from relaywatch.cli.reports.overview_page import write_overview_page
from relaywatch.cli.reports.overview_text import print_overview
from relaywatch.cli.speaking import command, option, words_of
from relaywatch.cli.untrusted import neutralise
from relaywatch.model.errors import UsageError
from relaywatch.targets.organisations import Organisations, read_organisations

_JUNK_NAMED = 5


@command(
    "summary",
    N_(
        "Count what RESULTS of scans hold, by verdict, advisory, organisation, network, software, door and reason. "
        "Of a target that was checked again the last line counts. Files may be compressed with zstd."
    ),
)
@click.argument("results", type=FILE, nargs=-1, required=True)
@option(
    "--networks",
    type=FILE,
    metavar="FILE",
    help=N_("Whose networks they are: a line CIDR,ORGANISATION for each; the longest prefix counts."),
)
@option(
    "--format",
    "output_format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help=N_("Tables for people, or one line of JSON with all rows."),
)
@option("--html", type=NEW_FILE, metavar="FILE", help=N_("Write a page with plots too."))
@option(
    "--top",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    metavar="N",
    help=N_("Show so many rows of each table, in text and page."),
)
@click.pass_context
def summary(
    ctx: click.Context,
    /,
    results: tuple[Path, ...],
    *,
    networks: Path | None,
    output_format: Literal["text", "json"],
    html: Path | None,
    top: int,
) -> None:
    """Count them, and leave with the contract's exit code for what they hold."""
    words = words_of(ctx)
    overview = survey(results, _organisations(networks, words))
    for place in overview.torn:
        told = words("{place}: a line that was torn by a crash is passed over", place=place)
        click.echo(neutralise(told), err=True)
    if html:
        _write_page(html, overview, words, top)
    if output_format == "json":
        sys.stdout.buffer.write(overview_line(overview))
        sys.stdout.buffer.flush()
    else:
        print_overview(console_for(sys.stdout), overview, load_catalogue(), words, top)
    ctx.exit(tally_of(overview).exit_code)


def _organisations(path: Path | None, words: Words) -> Organisations | None:
    """Read the map, and name the lines in it that say nothing."""
    if path is None:
        return None
    organisations = read_organisations(path)
    junk = organisations.junk
    for line in junk[:_JUNK_NAMED]:
        click.echo(neutralise(f"{line.origin}: {line.why}"), err=True)
    if junk:
        told = words(
            "{path}: passed over {count} lines that say no network and organisation; networks: {networks}",
            path=path,
            count=len(junk),
            networks=organisations.networks,
        )
        click.echo(neutralise(told), err=True)
    return organisations


def _write_page(path: Path, overview: Overview, words: Words, top: int) -> None:
    try:
        with path.open("w", encoding="utf-8") as file:
            write_overview_page(file, overview, load_catalogue(), words, made_at=datetime.now(UTC), top=top)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error


COMMAND = summary
