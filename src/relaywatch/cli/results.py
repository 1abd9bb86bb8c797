"""The file of result lines: appended to, flushed at every line, mended after a crash, gone on with."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Self

from relaywatch.model.errors import UsageError
from relaywatch.model.evidence import Weakness
from relaywatch.model.places import Address, parse_address
from relaywatch.model.results import ResultLine
from relaywatch.model.verdicts import Reason
from relaywatch.runs.lines import decode_line
from relaywatch.targets.lists import Entry
from relaywatch.targets.parse import Target, TargetKind
from relaywatch.targets.remembered import Remembered

from .reports.lines import format_line

_LINE_START = b'{"schema":"relaywatch.result/'


class Done:
    """What a file already has a line for: a few bits for each, so that the file may have millions of them."""

    def __init__(self) -> None:
        self._addresses: defaultdict[tuple[int | None, Weakness], Remembered] = defaultdict(Remembered)
        """By a port that was asked there or nothing for the target as such, and weakness."""
        self._names: defaultdict[tuple[int | None, Weakness], set[str]] = defaultdict(set)
        """Names that led nowhere."""

    def __len__(self) -> int:
        """For how many targets and weaknesses there is a line."""
        by_address = sum(len(store) for (port, _), store in self._addresses.items() if port is None)
        return by_address + sum(len(store) for (port, _), store in self._names.items() if port is None)

    def add(self, line: ResultLine) -> None:
        """Note a line."""
        address = _address(line.target)
        for port in {None, *(door.port for door in line.doors)}:
            if address is not None:
                self._addresses[port, line.weakness].add(address)
            else:
                self._names[port, line.weakness].add(line.target)

    def has(self, target: str, port: int | None, weaknesses: Iterable[Weakness]) -> bool:
        """Whether there is a line for the target, which may be a name, as for `has_address`."""
        address = _address(target)
        if address is not None:
            return self.has_address(address, port, weaknesses)
        return all(target in self._names[port, weakness] for weakness in weaknesses)

    def has_address(self, address: Address, port: int | None, weaknesses: Iterable[Weakness]) -> bool:
        """Whether there is a line for the address for each weakness, or, at a port, for one that it speaks for.

        A port that was named is asked for mail or for proxies as it speaks (docs/adr/0012).
        """
        enough = all if port is None else any
        return enough(address in self._addresses[port, weakness] for weakness in weaknesses)

    def left(self, entries: Iterable[Entry], weaknesses: tuple[Weakness, ...]) -> Iterator[Entry]:
        """The entries but for names that led nowhere: where others lead, and which address of a network is done, is seen later."""
        for entry in entries:
            is_named = isinstance(entry, Target) and entry.kind in {TargetKind.NAME, TargetKind.MX}
            if not (is_named and self.has(entry.text, None, weaknesses)):
                yield entry


def _address(text: str) -> Address | None:
    try:
        return parse_address(text)
    except ValueError:
        return None


class ResultsFile:
    """Appends result lines to a file, each in one write; a context manager."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None

    def __enter__(self) -> Self:
        try:
            self._file = self._path.open("ab", buffering=0)
        except OSError as error:
            raise UsageError(f"{self._path}: {error.strerror}") from error
        return self

    def __exit__(self, *_: object) -> None:
        if self._file:
            self._file.close()

    def write(self, line: ResultLine) -> None:
        """Append a line: it is with the system when this returns, whatever becomes of us."""
        assert self._file is not None  # noqa: S101 -- entered
        self._file.write(format_line(line))


def mend(path: Path, *, drop_interrupted: bool = False) -> Done:
    """Cut off a last line that a crash left torn, and tell what the file has.

    With ``drop_interrupted`` the lines of targets that a signal ended go too, since they are asked again.

    :raises UsageError: naming the line, if one that isn't the last is no result line: the file isn't ours; or if it
        is meant to be compressed, which would keep lines from the system until more of them have come.
    """
    if path.suffix == ".zst":
        raise UsageError(
            f"{path}: results are written plainly, a line at a time; compress them when all is done"
        )
    done = Done()
    kept = 0
    interrupted = False
    for line, end in _lines(path):
        interrupted |= Reason.INTERRUPTED in line.reasons
        if not (drop_interrupted and Reason.INTERRUPTED in line.reasons):
            done.add(line)
        kept = end
    if path.exists() and kept < path.stat().st_size:
        os.truncate(path, kept)
    if interrupted and drop_interrupted:
        rewrite(path, (line for line in read_lines(path) if Reason.INTERRUPTED not in line.reasons))
    return done


def read_lines(path: Path) -> Iterator[ResultLine]:
    """The result lines of a file, one at a time."""
    return (line for line, _ in _lines(path))


def _lines(path: Path) -> Iterator[tuple[ResultLine, int]]:
    """Each line, and the offset behind it; one that was torn at the end is left out."""
    if not path.exists():
        return
    end = 0
    with path.open("rb") as file:
        for number, octets in enumerate(file, 1):
            end += len(octets)
            try:
                line = decode_line(octets)
            except ValueError as error:
                if is_torn(octets) and not file.read(1):
                    return
                raise UsageError(f"{path}:{number}: not a result line: {error}") from error
            if not octets.endswith(b"\n"):
                return
            yield line, end


def is_torn(octets: bytes) -> bool:
    """Whether this is how a result line begins, so that it may be cut off: no other file is ever touched."""
    start = octets.rstrip(b"\n")[: len(_LINE_START)]
    return _LINE_START.startswith(start)


def rewrite(path: Path, lines: Iterable[ResultLine]) -> None:
    """Replace the file by one of these lines, at once: there is never less than the one or the other."""
    draft = path.with_name(f"{path.name}.mending")
    with draft.open("wb") as file:
        file.writelines(map(format_line, lines))
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
