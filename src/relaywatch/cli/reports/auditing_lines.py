"""An audit as JSON lines: one a server, its field names a contract (``relaywatch.audit/1``)."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from relaywatch.audit.findings import ServerReport

from .lines import escaped

AUDIT_SCHEMA = "relaywatch.audit/1"


def audit_line(report: ServerReport) -> bytes:
    """One server's line, with its LF; what a terminal would obey is escaped as JSON escapes it."""
    return escaped({"schema": AUDIT_SCHEMA, **msgspec.to_builtins(report)}) + b"\n"


def audit_schema() -> dict[str, Any]:
    """The JSON Schema of a line, made from the type itself."""
    schema = json.loads(json.dumps(msgspec.json.schema(ServerReport)))
    line = schema["$defs"]["ServerReport"]
    line["properties"] = {"schema": {"const": AUDIT_SCHEMA}, **line["properties"]}
    line["required"] = ["schema", *line["properties"].keys() - {"schema"}]
    line["required"].sort()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": AUDIT_SCHEMA, **schema}
