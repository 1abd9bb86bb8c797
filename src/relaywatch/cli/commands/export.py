"""``relaywatch export RESULTS --parquet FILE``: results for DuckDB, Polars, Spark and their like."""

from __future__ import annotations

from collections import deque
from pathlib import Path

import click

from relaywatch.cli.held import HeldLines
from relaywatch.cli.language import N_
from relaywatch.cli.options import FILE, NEW_FILE
from relaywatch.cli.parquet import write_parquet
from relaywatch.cli.speaking import command, option, words_of
from relaywatch.cli.untrusted import neutralise
from relaywatch.runs.lines import decode_line


@command(
    "export",
    N_(
        "Write RESULTS of scans as one Parquet file, for DuckDB, Polars and their like. Of a target that was checked "
        "again the last line is written. Files may be compressed with zstd."
    ),
)
@click.argument("results", type=FILE, nargs=-1, required=True)
@option(
    "--parquet",
    type=NEW_FILE,
    metavar="FILE",
    required=True,
    help=N_("Write to this file; a column for each field of a result line."),
)
@click.pass_context
def export(ctx: click.Context, /, results: tuple[Path, ...], *, parquet: Path) -> None:
    """Write the file, and say how many rows it has."""
    words = words_of(ctx)
    held = HeldLines(results)
    deque(held.read_headings(), maxlen=0)
    count = write_parquet(parquet, held.read(decode_line))
    for place in held.torn:
        told = words("{place}: a line that was torn by a crash is passed over", place=place)
        click.echo(neutralise(told), err=True)
    told = words("{path}: {count} results", path=parquet, count=f"{count:,}")
    click.echo(neutralise(told), err=True)


COMMAND = export
