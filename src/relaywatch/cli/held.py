"""Files of result lines, read twice and in little memory: of a target and weakness that comes again the last line holds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO, Literal, Protocol, TypeVar

import msgspec

from relaywatch.model.errors import RelaywatchError, UsageError
from relaywatch.model.evidence import Weakness
from relaywatch.model.verdicts import Verdict
from relaywatch.targets.numbers import number_of
from relaywatch.targets.repeats import Repeats

from .results import is_torn

LINE_LIMIT = 1 << 24
"""Octets of one line; a file that has more in one is none of ours."""
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"  # RFC 8878 section 3.1.1
INSTALL = "pip install 'relaywatch[large]'"


class MissingLibraryError(RelaywatchError):
    """A library for large files isn't installed."""


class Heading(msgspec.Struct, frozen=True, gc=False):
    """As much of a line as the first reading needs."""

    schema: Literal["relaywatch.result/1"]
    target: str
    weakness: Weakness
    verdict: Verdict


class Held(Protocol):
    """What any decoded line has."""

    @property
    def target(self) -> str:
        """Address, or a name that led nowhere."""

    @property
    def weakness(self) -> Weakness:
        """What was looked for."""


T = TypeVar("T", bound=Held)
S = TypeVar("S")


@dataclass(slots=True)
class Source:
    """A file, and what the first reading found it to be."""

    path: Path
    last: int = 0
    """The number of its last line; what a scan appends meanwhile isn't read."""
    torn: int = 0
    """The number of the line at the end that a crash left torn, if it did."""


class HeldLines:
    """The lines of these files that hold, in their order."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self.sources = [Source(path) for path in paths]
        self.revised = 0
        """Lines in whose place a later one holds."""
        self._repeats: defaultdict[Weakness, Repeats] = defaultdict(Repeats)

    def read_headings(self) -> Iterator[tuple[int | str, Heading]]:
        """Read everything a first time, as `read` wants it: the number of each target's address, or its name.

        :raises UsageError: naming file and line, if one is no result line, or a file can't be read.
        """
        decode = msgspec.json.Decoder(Heading).decode
        for source in self.sources:
            for heading in _lines(source, decode):
                target = number_of(heading.target)
                self.revised += self._repeats[heading.weakness].add(target)
                yield target, heading

    @property
    def torn(self) -> tuple[str, ...]:
        """File and number of each line that a crash left torn, as far as they have been read."""
        return tuple(f"{source.path}:{source.torn}" for source in self.sources if source.torn)

    def read(self, decode: Callable[[bytes], T]) -> Iterator[T]:
        """Read everything again, and give the lines that hold, decoded so; once, after `read_headings`.

        :raises UsageError: as `read_headings` does.
        """
        for source in self.sources:
            for line in _lines(source, decode, source.last):
                if not self.revised or self._repeats[line.weakness].is_last(number_of(line.target)):
                    yield line


def _lines(source: Source, decode: Callable[[bytes], S], last: int | None = None) -> Iterator[S]:
    """Each line decoded, up to the one of this number."""
    with _opened(source.path) as file:
        octets_of = partial(_read_line, file, source)
        for number, octets in enumerate(iter(octets_of, b""), 1):
            if last is not None and number > last:
                return
            if octets == b"\n":
                continue
            try:
                line = decode(octets)
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                # What is whole, and says something else, isn't torn.
                is_whole = isinstance(error, msgspec.ValidationError)
                if not is_whole and is_torn(octets) and not _read_line(file, source):
                    source.torn = number
                    return
                raise UsageError(f"{source.path}:{number}: not a result line: {error}") from error
            source.last = number
            yield line


def _read_line(file: BinaryIO, source: Source) -> bytes:
    """One line, nothing at the end; that of a compressed file may come too early, within a line."""
    path = source.path
    try:
        octets = file.readline(LINE_LIMIT)
    except EOFError:
        source.torn = source.last + 1
        return b""
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from error
    except Exception as error:
        if type(error).__name__ != "ZstdError":
            raise
        raise UsageError(f"{path}: damaged: {error}") from error
    if len(octets) == LINE_LIMIT:
        raise UsageError(f"{path}: a line of more than {LINE_LIMIT:,} octets")
    return octets


def _opened(path: Path) -> BinaryIO:
    """The file, unpacked as it is read if it is compressed, whatever its name."""
    try:
        if not path.is_file():
            raise UsageError(f"{path}: is read twice, so that it must be a file, and no pipe")
        file = path.open("rb", buffering=1 << 18)
        is_packed = file.read(len(_ZSTD_MAGIC)) == _ZSTD_MAGIC
        file.seek(0)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    if not is_packed:
        return file
    file.close()
    unpacked: BinaryIO = _zstd(path).open(path, "rb")
    return unpacked


def _zstd(path: Path) -> Any:
    for name in ("compression.zstd", "backports.zstd"):
        try:
            return import_module(name)
        except ImportError:
            continue
    raise MissingLibraryError(f"{path} is compressed with zstd, which this Python can't read: {INSTALL}")
