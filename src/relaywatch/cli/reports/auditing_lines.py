"""An audit as JSON lines: one a server, its field names a contract (``relaywatch.audit/1``)."""

from __future__ import annotations

from typing import Any

from relaywatch.audit.findings import ServerReport

from .lines import named_line, named_schema_of

AUDIT_SCHEMA = "relaywatch.audit/1"


def audit_line(report: ServerReport) -> bytes:
    """One server's line, with its LF; what a terminal would obey is escaped as JSON escapes it."""
    return named_line(report, AUDIT_SCHEMA)


def audit_schema() -> dict[str, Any]:
    """The JSON Schema of a line, made from the type itself."""
    return named_schema_of(ServerReport, AUDIT_SCHEMA)
