"""The report as one HTML page that needs nothing else: no script, no font, no picture, no network."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import TextIO

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from relaywatch import __version__
from relaywatch.advice.catalogue import Catalogue
from relaywatch.advice.references import link_of
from relaywatch.cli.exit_codes import Tally
from relaywatch.cli.language import Words
from relaywatch.cli.untrusted import neutralise
from relaywatch.model.evidence import ArrivalKind, Weakness
from relaywatch.model.verdicts import Vantage, Verdict

from . import advising, byhand, doors, phrases
from .byhand_proxies import proxy_command
from .entry import Entry
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
    style = files(__package__).joinpath("page.css").read_text("utf-8")
    parts = _template().generate(
        words=words,
        entries=known,
        full=None if len(known) <= _FEW else _TOLD_IN_FULL,
        catalogue=catalogue,
        language=advising.language(words),
        style=style,
        style_hash=b64encode(hashlib.sha256(style.encode()).digest()).decode(),
        made_at=made_at.astimezone(UTC),
        summary=summary_line(tally, words),
        details=summary_details(tally, words),
        version=__version__,
    )
    file.writelines(parts)


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader(__package__, "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"remote": neutralise, "link": link_of, "transcript": transcript_lines}
    environment.globals |= {
        "phrases": phrases,
        "advising": advising,
        "byhand": byhand,
        "Verdict": Verdict,
        "Vantage": Vantage,
        "doors": doors,
        "proxy_command": proxy_command,
        "ArrivalKind": ArrivalKind,
        "Weakness": Weakness,
    }
    return environment.get_template("page.html.j2")
