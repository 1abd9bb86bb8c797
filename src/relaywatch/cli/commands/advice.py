"""``relaywatch advice [ID|WORD...]``: the advisories, and the remedies for one software."""

from __future__ import annotations

import sys

import click

from relaywatch.advice.catalogue import Catalogue, load_catalogue
from relaywatch.advice.records import Advisory
from relaywatch.cli.language import N_, Words
from relaywatch.cli.reports.advising import advisory_lines, language, remedies_for
from relaywatch.cli.reports.layout import console_for, print_parts, prose
from relaywatch.cli.speaking import command, option, words_of
from relaywatch.model.errors import UsageError


@command("advice", N_("Without arguments list all advisories; with an id tell one; with words search."))
@click.argument("terms", nargs=-1, metavar="[ID|WORD]...")
@option(
    "--software", metavar="NAME", help=N_("Show the remedies for this software: postfix, exim, sendmail ...")
)
@click.pass_context
def advice(ctx: click.Context, terms: tuple[str, ...], software: str | None) -> None:
    """List, tell or search."""
    words = words_of(ctx)
    catalogue = load_catalogue()
    _require_known(catalogue, software)
    wanted = catalogue.advisories.get(terms[0].upper()) if len(terms) == 1 else None
    if wanted:
        _tell(catalogue, wanted, software, words)
    else:
        _list(catalogue, terms, words)


def _require_known(catalogue: Catalogue, software: str | None) -> None:
    if software and catalogue.guide(software) is None:
        raise UsageError(f"no guide to {software!r}; there are: {', '.join(sorted(catalogue.guides))}")


def _list(catalogue: Catalogue, terms: tuple[str, ...], words: Words) -> None:
    found = catalogue.search(" ".join(terms)) if terms else tuple(catalogue.advisories.values())
    if not found:
        raise UsageError(words("No advisory has all of these words."))
    for advisory in found:
        click.echo(f"{advisory.id}  {advisory.text(language(words)).title}")


def _tell(catalogue: Catalogue, advisory: Advisory, software: str | None, words: Words) -> None:
    console = console_for(sys.stdout)
    print_parts(console, *advisory_lines(advisory, words))
    if software:
        print_parts(console, *remedies_for(catalogue, advisory.id, software, words))
        return
    known = ", ".join(catalogue.software_with(advisory.id))
    if known:
        hint = words(
            "Remedies: relaywatch advice {id} --software NAME, for {software}", id=advisory.id, software=known
        )
        print_parts(console, prose(hint))


COMMAND = advice
