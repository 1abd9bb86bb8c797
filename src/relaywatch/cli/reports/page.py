"""The report as one HTML page that needs nothing else: no script, no font, no picture, no network."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from functools import cache
from typing import TextIO

from jinja2 import Template

from relaywatch.advice.catalogue import Catalogue
from relaywatch.advice.references import link_of
from relaywatch.cli.exit_codes import Tally
from relaywatch.cli.language import Words
from relaywatch.model.evidence import ArrivalKind, Weakness
from relaywatch.model.verdicts import Vantage, Verdict

from . import advising, byhand, doors
from .byhand_proxies import proxy_command
from .entry import Entry
from .pages import template_of, write_parts
from .summary import summary_details, summary_line
from .transcript import transcript_lines

_TOLD_IN_FULL = frozenset({Verdict.OPEN, Verdict.ACCEPTING, Verdict.INCONCLUSIVE})
_FEW = 20
"""So many targets are all told in full, whatever was found."""


def write_page(
    file: TextIO,
    entries: Iterable[Entry],
    catalogue: Catalogue,
    words: Words,
    *,
    made_at: datetime,
    tally: Tally,
) -> None:
    """Write the page: every target in a table, and each that needs work in full below it."""
    known = tuple(entries)
    write_parts(
        file,
        _template(),
        ("page.css",),
        made_at,
        words=words,
        entries=known,
        full=None if len(known) <= _FEW else _TOLD_IN_FULL,
        catalogue=catalogue,
        language=advising.language(words),
        summary=summary_line(tally, words),
        details=summary_details(tally, words),
    )


@cache
def _template() -> Template:
    names = {
        "advising": advising,
        "byhand": byhand,
        "Vantage": Vantage,
        "doors": doors,
        "proxy_command": proxy_command,
        "ArrivalKind": ArrivalKind,
        "Weakness": Weakness,
    }
    return template_of("page.html.j2", names, {"link": link_of, "transcript": transcript_lines})
