"""``relaywatch schema NAME``: the JSON Schema of an output."""

from __future__ import annotations

import json

import click

from relaywatch.cli.language import N_
from relaywatch.cli.reports.auditing_lines import audit_schema
from relaywatch.cli.reports.auditing_proof_lines import proof_schema
from relaywatch.cli.reports.lines import result_schema
from relaywatch.cli.reports.overview_json import overview_schema
from relaywatch.cli.speaking import command

SCHEMAS = {
    "audit": audit_schema,
    "audit-proof": proof_schema,
    "result": result_schema,
    "summary": overview_schema,
}


@command(
    "schema",
    N_(
        "Print the JSON Schema of an output: `result` is a line of scan --output, `audit` one of audit --format json, "
        "`audit-proof` the line that --prove adds to it, `summary` that of summary --format json."
    ),
)
@click.argument("name", type=click.Choice(sorted(SCHEMAS)))
def schema(name: str) -> None:
    """Print the schema."""
    click.echo(json.dumps(SCHEMAS[name](), indent=2, ensure_ascii=False))


COMMAND = schema
