"""Result lines as a Parquet file, its columns those of the result line itself."""

from __future__ import annotations

import typing
from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from datetime import datetime
from importlib import import_module
from itertools import islice
from pathlib import Path
from types import UnionType
from typing import Any

import msgspec

from relaywatch.model.errors import UsageError
from relaywatch.model.results import ResultLine

from .held import INSTALL, MissingLibraryError

_ROWS = 10_000
"""Rows of a group, which is what is in memory at a time."""


def write_parquet(path: Path, lines: Iterable[ResultLine]) -> int:
    """Write the lines, and tell how many; a file of that name is replaced once all are written.

    :raises MissingLibraryError: if pyarrow isn't there.
    :raises UsageError: if the file can't be written.
    """
    try:
        pa, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError as error:
        raise MissingLibraryError(f"Parquet needs pyarrow, which isn't installed: {INSTALL}") from error
    draft = path.with_name(f"{path.name}.writing")
    try:
        with parquet.ParquetWriter(draft, arrow_schema(pa), compression="zstd") as writer:
            count = _write(pa, writer, iter(lines))
        draft.replace(path)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from error
    finally:
        draft.unlink(missing_ok=True)
    return count


def _write(pa: Any, writer: Any, lines: Iterator[ResultLine]) -> int:
    count = 0
    while rows := [msgspec.to_builtins(line, builtin_types=(datetime,)) for line in islice(lines, _ROWS)]:
        writer.write_batch(pa.RecordBatch.from_pylist(rows, schema=writer.schema))
        count += len(rows)
    return count


def arrow_schema(pa: Any) -> Any:
    """The columns, made from the type of the result line, so that a new field is a new column."""
    return pa.schema(_fields(pa, ResultLine))


def _fields(pa: Any, kind: type) -> list[Any]:
    hints = typing.get_type_hints(kind)
    return [pa.field(field.name, _type(pa, hints[field.name])) for field in fields(kind)]


def _type(pa: Any, hint: Any) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        return pa.list_(_type(pa, arguments[0]))
    if origin is UnionType:
        return _type(pa, next(argument for argument in arguments if argument is not type(None)))
    if is_dataclass(hint):
        return pa.struct(_fields(pa, hint))  # type: ignore[arg-type]
    plain = {int: pa.int64(), float: pa.float64(), datetime: pa.timestamp("us", "UTC")}
    return plain.get(hint, pa.string())
