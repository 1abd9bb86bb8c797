"""The file of result lines: appended to, flushed at every line, mended after a crash, gone on with."""

from __future__ import annotations

import os
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, Self

from relaywatch.model.errors import UsageError
from relaywatch.model.evidence import Weakness
from relaywatch.model.places import Address, parse_address
from relaywatch.model.results import ResultLine
from relaywatch.model.verdicts import Reason
from relaywatch.runs.lines import decode_line
from relaywatch.targets.lists import BadTarget, Entry
from relaywatch.targets.parse import Span, Target, TargetKind

from .reports.lines import format_line

_LINE_START = b'{"schema":"relaywatch.result/'


@dataclass(slots=True)
class Done:
    """What a file already has a line for."""

    lines: set[tuple[str, int | None, Weakness]] = field(default_factory=set)
    """Target, a port that was asked there or nothing for the target as such, and weakness."""

    def add(self, line: ResultLine) -> None:
        """Note a line."""
        ports = (None, *(door.port for door in line.doors))
        self.lines.update((line.target, port, line.weakness) for port in ports)

    def has(self, target: str, port: int | None, weaknesses: Iterable[Weakness]) -> bool:
        """Whether there is a line for the target for each weakness, or, at a port, for one that it speaks for.

        A port that was named is asked for mail or for proxies as it speaks (docs/adr/0012).
        """
        enough = all if port is None else any
        return enough((target, port, weakness) in self.lines for weakness in weaknesses)

    def left(self, entries: Iterable[Entry], weaknesses: tuple[Weakness, ...]) -> Iterator[Entry]:
        """The entries that are still to be checked; a network without what is done of it.

        A name stays unless it led nowhere: only the run learns which addresses it leads to.
        """
        addresses = sorted({text: _address(text) for text, *_ in self.lines}.values(), key=_by_number)
        for entry in entries:
            if isinstance(entry, BadTarget):
                yield entry
            elif entry.span is not None:
                begin = bisect_left(addresses, _by_number(entry.span.first), key=_by_number)
                end = bisect_right(addresses, _by_number(entry.span.last), key=_by_number)
                yield from self._left_of(entry, entry.span, addresses[begin:end], weaknesses)
            elif not self._has_target(entry, weaknesses):
                yield entry

    def _left_of(
        self, target: Target, span: Span, known: list[Address | None], weaknesses: tuple[Weakness, ...]
    ) -> Iterator[Target]:
        done = {int(a) for a in known if a is not None and self.has(str(a), target.port, weaknesses)}
        for piece in span.cut_at(edge for number in done for edge in (number, number + 1)):
            if int(piece.first) not in done:
                yield replace(target, span=piece, text=str(piece))

    def _has_target(self, target: Target, weaknesses: tuple[Weakness, ...]) -> bool:
        named = target.kind in {TargetKind.NAME, TargetKind.MX}
        text = target.text if named else str(target.address)
        return self.has(text, None if named else target.port, weaknesses)


def _address(text: str) -> Address | None:
    try:
        return parse_address(text)
    except ValueError:
        return None


def _by_number(address: Address | None) -> tuple[int, int]:
    return (0, 0) if address is None else (address.version, int(address))


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

    :raises UsageError: naming the line, if one that isn't the last is no result line: the file isn't ours.
    """
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
                if _is_torn(octets) and not file.read(1):
                    return
                raise UsageError(f"{path}:{number}: not a result line: {error}") from error
            if not octets.endswith(b"\n"):
                return
            yield line, end


def _is_torn(octets: bytes) -> bool:
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
