"""Files that a command was told to write."""

from __future__ import annotations

from pathlib import Path
from typing import TextIO

from relaywatch.model.errors import UsageError


def open_to_write(path: Path, mode: str = "w") -> TextIO:
    """Open a text file to write or to append to; a CSV file's ends of line are left to its writer.

    :raises UsageError: naming the file, if that can't be done.
    """
    try:
        return path.open(mode, encoding="utf-8", newline="" if path.suffix == ".csv" else None)  # type: ignore[return-value]
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
