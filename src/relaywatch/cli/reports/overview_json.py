"""The summary as a line of JSON, its field names a contract (``relaywatch.summary/1``)."""

from __future__ import annotations

from typing import Any

import msgspec

from relaywatch.cli.overview import SUMMARY_SCHEMA, Overview

from .lines import escaped, schema_of


def overview_line(overview: Overview) -> bytes:
    """The line, with its LF; what a terminal would obey is escaped as JSON escapes it."""
    return escaped(msgspec.to_builtins(overview)) + b"\n"


def overview_schema() -> dict[str, Any]:
    """The JSON Schema of the line, made from the type itself."""
    return schema_of(Overview, SUMMARY_SCHEMA)
