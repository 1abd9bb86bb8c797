"""Result lines as JSON: one a line, its field names a contract (``relaywatch.result/1``)."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from relaywatch.cli.untrusted import without_lone_surrogates
from relaywatch.model.results import RESULT_SCHEMA, ResultLine
from relaywatch.runs.lines import encode_line

_NOT_PRINTABLE = re.compile(r"[^ -~]")


def format_line(line: ResultLine) -> bytes:
    r"""Write a result line with its LF.

    What a terminal would obey or not show is escaped as JSON escapes it, so that a reader gets it back
    as it was; octets that were no UTF-8 are written ``\xNN``, since JSON has no way to say them.
    """
    try:
        return _visible(encode_line(line).decode()) + b"\n"
    except UnicodeEncodeError:
        return escaped(msgspec.to_builtins(line)) + b"\n"


def escaped(value: Any) -> bytes:
    """JSON of a value, of which the same holds."""
    return _visible(msgspec.json.encode(_without_lone_surrogates(value)).decode())


def result_schema() -> dict[str, Any]:
    """The JSON Schema of a result line, made from the type itself."""
    return schema_of(ResultLine, RESULT_SCHEMA)


def schema_of(kind: type, name: str) -> dict[str, Any]:
    """The JSON Schema of that name for a type of which ``schema`` is a field."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": name,
        **msgspec.json.schema(kind),
    }


def named_schema_of(kind: type, name: str) -> dict[str, Any]:
    """The same for a type of which it is none: a line begins with it, and has all other fields too."""
    schema: dict[str, Any] = json.loads(json.dumps(schema_of(kind, name)))
    line = schema["$defs"][kind.__name__]
    line["properties"] = {"schema": {"const": name}, **line["properties"]}
    line["required"] = sorted(line["properties"])
    return schema


def named_line(value: Any, name: str) -> bytes:
    """Write such a line, with its LF; what a terminal would obey is escaped as JSON escapes it."""
    return escaped({"schema": name, **msgspec.to_builtins(value)}) + b"\n"


def _visible(text: str) -> bytes:
    return (text if text.isascii() else _NOT_PRINTABLE.sub(_escape, text)).encode()


def _escape(match: re.Match[str]) -> str:
    # Inside JSON text such characters stand in strings only, where an escape means the same.
    return match[0] if match[0].isprintable() else json.dumps(match[0])[1:-1]


def _without_lone_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return without_lone_surrogates(value)
    if isinstance(value, list | tuple):
        return [_without_lone_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {key: _without_lone_surrogates(item) for key, item in value.items()}
    return value
