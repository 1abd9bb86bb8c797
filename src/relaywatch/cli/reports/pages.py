"""How every HTML page is made: a template that escapes, and a style that the page's own policy lets in by its hash."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any, TextIO

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from relaywatch import __version__
from relaywatch.cli.untrusted import neutralise
from relaywatch.model.verdicts import Verdict

from . import phrases


def template_of(
    name: str, names: Mapping[str, Any], filters: Mapping[str, Callable[..., Any]] | None = None
) -> Template:
    """Load a template of this folder, which escapes all that it is given; these names and filters are known in it."""
    environment = Environment(
        loader=PackageLoader(__package__, "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"remote": neutralise, **(filters or {})}
    environment.globals |= {"phrases": phrases, "Verdict": Verdict, **names}
    return environment.get_template(name)


def write_parts(
    file: TextIO, template: Template, sheets: Sequence[str], made_at: datetime, **parts: Any
) -> None:
    """Write the page of a template with these sheets of style, and nothing that comes from elsewhere."""
    folder = files(__package__)
    style = "".join(folder.joinpath(sheet).read_text("utf-8") for sheet in sheets)
    file.writelines(
        template.generate(
            style=style,
            style_hash=b64encode(hashlib.sha256(style.encode()).digest()).decode(),
            made_at=made_at.astimezone(UTC),
            version=__version__,
            **parts,
        )
    )
