"""The sink's journal: every arrival, on disk before the sender hears 250.

A directory. In it:

``identity``
    32 hexadecimal digits, drawn when the journal is made. A reader that sees another one starts anew.
``arrivals-NNNNNNNNNNNNNNNN.jsonl``
    A segment: one JSON object a line (`Record`), ended by LF. NNNN is the sequence number of its first
    line; line n (from 0) has sequence number NNNN + n. Only the last segment is appended to; it is closed
    when it is larger than ``segment_octets``, and the oldest is deleted when there are more than
    ``segments``.
``lock``
    Held by the process that writes.

A line is whole if it ends in LF and is JSON; a torn one at the end, which a crash leaves, is cut off at
opening: its sender never heard 250. A damaged line in the middle is skipped and counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import sys
import threading
from array import array
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

import msgspec

from relaywatch.model.evidence import Arrival, ArrivalKind
from relaywatch.model.places import Endpoint, parse_address
from relaywatch.model.tokens import Token

from .errors import JournalError

if sys.platform != "win32":
    import fcntl

_READ_LIMIT = 1000


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One arrival as it is written down and handed on: facts, no judgement."""

    sequence: int = 0
    """From 1, without gaps; 0 until it is written."""
    at: datetime
    token: Token
    """The first one in the forward-path, or the one that was said to a canary."""
    kind: ArrivalKind
    source_address: str
    source_port: int
    port: int = 0
    """The port of ours that was reached; 0 in journals of before there were canaries."""
    tls: str = ""
    """The version, if the relay used STARTTLS, or the canary was reached by TLS."""
    helo: str = ""
    reverse_path: str = ""
    """Empty for the null reverse-path."""
    forward_path: str = ""
    subject: str = ""
    received: tuple[str, ...] = ()
    """Outermost first."""
    fields: tuple[tuple[str, str], ...] = ()
    """Other header fields, the first ones; of an HTTP request behind ``:method`` and ``:path``."""
    is_report: bool = False
    """It is a multipart/report or an automatic answer."""
    header_token: Token | None = None
    """The token in the field ``X-Relaywatch-Token``. Never an arrival of its own: whoever returns a
    whole message to its reverse-path would prove a relay that isn't there."""
    octets: int = 0
    """The size of the message."""

    def arrival(self) -> Arrival:
        """The arrival, for the judge.

        :raises ValueError: if the source address is none.
        """
        return Arrival(
            token=self.token,
            kind=self.kind,
            at=self.at,
            came_from=Endpoint(parse_address(self.source_address), self.source_port),
            port=self.port,
            reverse_path=self.reverse_path,
            forward_path=self.forward_path,
            helo=self.helo,
            received=self.received,
            subject=self.subject,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A piece of the journal; ``last`` is the newest sequence number, ``first`` the oldest that is kept."""

    records: tuple[Record, ...]
    first: int
    last: int
    next_after: int
    """What to ask for next; damaged lines are behind it too."""


@dataclass(slots=True)
class _Segment:
    """A segment and where each of its lines begins."""

    path: Path
    first: int
    size: int = 0
    offsets: array[int] = field(default_factory=lambda: array("Q"))

    @property
    def last(self) -> int:
        return self.first + len(self.offsets) - 1


class Journal:
    """The journal's files. Blocking, and safe to be called from several threads."""

    def __init__(self, directory: Path, *, segment_octets: int = 16 * 1024 * 1024, segments: int = 8) -> None:
        """Open the journal, making it if it isn't there.

        :raises JournalError: if it can't be opened, or another process has it.
        """
        self._directory = directory
        self._segment_octets = segment_octets
        self._segment_count = segments
        self._mutex = threading.Lock()
        self._is_broken = False
        self._encoder = msgspec.json.Encoder()
        self._decoder = msgspec.json.Decoder(Record)
        self.damaged = 0
        """Lines that were skipped."""
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock_file = self._lock()
            self.identity = self._read_identity()
            self._segments = [_scan(path) for path in sorted(directory.glob("arrivals-*.jsonl"))]
            self._file = self._open_last()
        except OSError as error:
            raise JournalError(f"journal {directory}: {error.strerror or error}") from error

    @property
    def first(self) -> int:
        """The oldest sequence number that is kept."""
        return self._segments[0].first

    @property
    def last(self) -> int:
        """The newest sequence number; ``first - 1`` if there is none."""
        return self._segments[-1].last

    def append(self, records: Sequence[Record]) -> list[Record]:
        """Write the records, numbered, and have them on disk when this returns.

        :raises JournalError: if the disk won't take them; nothing of them is then left.
        """
        with self._mutex:
            numbered = [
                msgspec.structs.replace(record, sequence=self.last + 1 + index)
                for index, record in enumerate(records)
            ]
            lines = [self._encoder.encode(record) + b"\n" for record in numbered]
            self._write(lines)
            if self._segments[-1].size > self._segment_octets:
                self._rotate()
            return numbered

    def read(self, *, after: int = 0, limit: int = 100) -> Page:
        """Read up to ``limit`` records (at most 1,000) whose sequence number is above ``after``."""
        with self._mutex:
            first, last = self.first, self.last
            begin = max(after + 1, first)
            end = min(begin + min(limit, _READ_LIMIT), last + 1)
            lines = [line for segment in self._segments for line in _read_lines(segment, begin, end)]
        return Page(
            records=tuple(self._decode(lines)), first=first, last=last, next_after=max(end - 1, after)
        )

    def read_all(self) -> Iterator[Record]:
        """Read everything that is kept, oldest first."""
        after = 0
        while (page := self.read(after=after, limit=_READ_LIMIT)).next_after < page.last:
            yield from page.records
            after = page.next_after
        yield from page.records

    def close(self) -> None:
        """Close the files."""
        self._file.close()
        self._lock_file.close()

    def _lock(self) -> BinaryIO:
        file = (self._directory / "lock").open("ab")
        if sys.platform != "win32":
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                file.close()
                raise JournalError(
                    f"journal {self._directory} is in use by another process; stop it or name another directory"
                ) from error
        return file

    def _read_identity(self) -> str:
        path = self._directory / "identity"
        if not path.exists():
            fresh = path.with_suffix(".new")
            fresh.write_text(secrets.token_hex(16) + "\n", "ascii")
            fresh.replace(path)
            _sync_directory(self._directory)
        return path.read_text("ascii").strip()

    def _open_last(self) -> BinaryIO:
        if not self._segments:
            return self._new_segment(1)
        segment = self._segments[-1]
        file = segment.path.open("r+b", buffering=0)
        file.truncate(segment.size)  # cuts the torn line
        file.seek(segment.size)
        os.fsync(file.fileno())
        return file

    def _new_segment(self, first: int) -> BinaryIO:
        path = self._directory / f"arrivals-{first:016d}.jsonl"
        file = path.open("xb", buffering=0)
        _sync_directory(self._directory)
        self._segments.append(_Segment(path, first))
        return file

    def _cut_back(self, segment: _Segment) -> None:
        """Take back what was half written; where even that fails, nothing more may follow it."""
        try:
            self._file.truncate(segment.size)
            self._file.seek(segment.size)
        except OSError:  # opening it anew cuts what is left
            self._is_broken = True

    def _write(self, lines: Sequence[bytes]) -> None:
        segment = self._segments[-1]
        if self._is_broken:
            raise JournalError(
                f"journal {segment.path}: a failed write could not be taken back; restart the sink"
            )
        try:
            _write_all(self._file, b"".join(lines))
            os.fsync(self._file.fileno())
        except OSError as error:
            self._cut_back(segment)
            raise JournalError(f"journal {segment.path}: {error.strerror or error}") from error
        for line in lines:
            segment.offsets.append(segment.size)
            segment.size += len(line)

    def _rotate(self) -> None:
        full = self._file
        try:
            self._file = self._new_segment(self.last + 1)
        except OSError:  # what was to be written is; the next one tries again
            return
        full.close()
        while len(self._segments) > self._segment_count:
            self._segments.pop(0).path.unlink(missing_ok=True)

    def _decode(self, lines: Sequence[bytes]) -> Iterator[Record]:
        for line in lines:
            try:
                yield self._decoder.decode(line)
            except msgspec.DecodeError:
                self.damaged += 1


def read_journal(directory: Path) -> Iterator[Record]:
    """Read a journal's records, oldest first, whether a sink is writing to it or not.

    Lines that are damaged, or not whole yet, are passed over.

    :raises JournalError: if it is no journal, or can't be read.
    """
    if not (directory / "identity").exists():
        raise JournalError(f"{directory} is no sink's journal")
    decoder = msgspec.json.Decoder(Record)
    try:
        for path in sorted(directory.glob("arrivals-*.jsonl")):
            with contextlib.suppress(FileNotFoundError), path.open("rb") as file:  # the eldest is deleted
                for line in file:
                    with contextlib.suppress(msgspec.DecodeError):
                        yield decoder.decode(line)
    except OSError as error:
        raise JournalError(f"journal {directory}: {error.strerror or error}") from error


class GroupCommit:
    """Writes from the event loop: what comes while the disk is busy goes in one go after it."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="relaywatch-journal")
        self._waiting: list[tuple[Sequence[Record], asyncio.Future[list[Record]]]] = []
        self._worker: asyncio.Task[None] | None = None

    async def append(self, records: Sequence[Record]) -> list[Record]:
        """Have the records on disk, numbered.

        :raises JournalError: if the disk won't take them.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[Record]] = loop.create_future()
        self._waiting.append((records, future))
        if self._worker is None:
            self._worker = loop.create_task(self._work())
        return await future

    def close(self) -> None:
        """Let go of the thread."""
        self._executor.shutdown()

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch, self._waiting = self._waiting, []
            flat = [record for records, _ in batch for record in records]
            try:
                written = iter(await loop.run_in_executor(self._executor, self._journal.append, flat))
            except Exception as error:  # noqa: BLE001  whatever it is, the senders must not wait for ever
                for _, future in batch:
                    _settle(future, error)
                continue
            for records, future in batch:
                _settle(future, [next(written) for _ in records])
        self._worker = None


def _settle(future: asyncio.Future[list[Record]], outcome: list[Record] | Exception) -> None:
    if future.done():  # its caller was cancelled
        return
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)


def _scan(path: Path) -> _Segment:
    """Find where a segment's lines begin; torn ones at its end aren't counted."""
    segment = _Segment(path, int(path.stem.removeprefix("arrivals-")))
    whole = position = 0
    with path.open("rb") as file:
        for line in file:
            segment.offsets.append(position)
            position += len(line)
            if line.endswith(b"\n") and _is_json(line):
                whole, segment.size = len(segment.offsets), position
    del segment.offsets[whole:]
    return segment


def _is_json(line: bytes) -> bool:
    try:
        msgspec.json.decode(line)
    except msgspec.DecodeError:
        return False
    return True


def _read_lines(segment: _Segment, begin: int, end: int) -> list[bytes]:
    low, high = max(begin, segment.first), min(end, segment.last + 1)
    if low >= high:
        return []
    with segment.path.open("rb") as file:
        file.seek(segment.offsets[low - segment.first])
        return [file.readline() for _ in range(high - low)]


def _write_all(file: BinaryIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
