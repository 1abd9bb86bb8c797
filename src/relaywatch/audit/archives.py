"""Archives unpacked in memory within limits: what a stranger packed must not fill it, whatever its headers claim."""

from __future__ import annotations

import bz2
import gzip
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISLNK
from typing import Protocol

MOST_UNPACKED = 512 * 1024 * 1024
"""Of all octets, with those of headers and of files that are left out."""
_MOST_MEMBERS = 200_000
_MOST_NAME = 4096
_MOST_FOLDERS = 64
_TOO_MANY = f"more than {MOST_UNPACKED // 1024 // 1024} MiB unpacked"
_UNPACKERS = ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ\x00", lzma.open))


class ArchiveError(Exception):
    """It can't be unpacked; the message says why."""


@dataclass(slots=True)
class Unpacked:
    """What is in an archive, by the names that stand in it."""

    members: dict[str, bytes] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    """Symbolic ones, as they are written; of hard ones a path from the root."""
    too_large: set[str] = field(default_factory=set)
    folders: set[str] = field(default_factory=set)
    """Those that stand in it themselves: an empty one isn't a missing one."""
    left: int = field(default_factory=lambda: MOST_UNPACKED)
    """How many octets more are kept: a sparse file is nothing in the archive, and as large as it claims."""

    def __len__(self) -> int:
        return len(self.members) + len(self.links) + len(self.too_large) + len(self.folders)

    def begin(self, name: str) -> None:
        """Another file of this name: as where an archive is unpacked, it takes the place of an earlier one."""
        self.members.pop(name, None)
        self.links.pop(name, None)
        self.too_large.discard(name)

    def count(self, octets: int) -> None:
        """Count octets before they are kept.

        :raises ArchiveError: if they are too many.
        """
        self.left -= octets
        if self.left < 0:
            raise ArchiveError(_TOO_MANY)


def unpacked(path: Path, most_of_one: int) -> Unpacked:
    """Unpack a ``.zip`` or a ``.tar``, plain or compressed; files of more than ``most_of_one`` octets are left out.

    :raises ArchiveError: if it is none, is broken, or holds more than is unpacked.
    """
    try:
        return _unzipped(path, most_of_one) if path.suffix == ".zip" else _untarred(path, most_of_one)
    except (
        OSError,
        tarfile.TarError,
        zipfile.BadZipFile,
        zlib.error,
        lzma.LZMAError,
        EOFError,
        RuntimeError,
        ValueError,
        MemoryError,
    ) as error:
        raise ArchiveError(str(error) or type(error).__name__) from None


class _Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


class _Limited:
    """The octets of a file, up to a number of them."""

    def __init__(self, file: _Readable) -> None:
        self._file, self._left = file, MOST_UNPACKED

    def read(self, size: int = -1) -> bytes:
        """The next octets."""
        octets = self._file.read(min(size, self._left + 1) if size >= 0 else self._left + 1)
        self._left -= len(octets)
        if self._left < 0:
            raise ArchiveError(_TOO_MANY)
        return octets


def _untarred(path: Path, most_of_one: int) -> Unpacked:
    """As a stream, front to back: nothing is sought in what is compressed."""
    found = Unpacked()
    with path.open("rb") as packed:
        head = packed.read(8)
        packed.seek(0)
        opened = next((opener for magic, opener in _UNPACKERS if head.startswith(magic)), None)
        stream = _Limited(opened(packed) if opened else packed)
        with tarfile.open(fileobj=stream, mode="r|") as archive:  # type: ignore[call-overload]
            for member in _counted(archive):
                _take(found, archive, member, most_of_one)
    return found


def _counted(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    for number, member in enumerate(archive):
        if number >= _MOST_MEMBERS:
            raise ArchiveError(f"more than {_MOST_MEMBERS} files")
        archive.members = []  # type: ignore[attr-defined] # it would keep every header
        yield member


def _take(found: Unpacked, archive: tarfile.TarFile, member: tarfile.TarInfo, most_of_one: int) -> None:
    name = member.name
    if _is_odd(name):
        return
    found.begin(name)
    if member.issym():
        found.links[name] = member.linkname[:_MOST_NAME]
    elif member.islnk():
        found.links[name] = "/" + member.linkname[:_MOST_NAME]
    elif member.isdir():
        found.folders.add(name)
    elif member.isreg() and member.size > most_of_one:
        found.too_large.add(name)
    elif member.isreg() and (file := archive.extractfile(member)):
        found.count(member.size)
        found.members[name] = file.read()


def _unzipped(path: Path, most_of_one: int) -> Unpacked:
    found = Unpacked()
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if _is_odd(entry.filename):
                continue
            if len(found) >= _MOST_MEMBERS:
                raise ArchiveError(f"more than {_MOST_MEMBERS} files")
            if entry.is_dir():
                found.folders.add(entry.filename)
                continue
            with archive.open(entry) as file:
                content = file.read(most_of_one + 1)  # whatever size the archive claims
            found.count(len(content))
            name = entry.filename
            found.begin(name)
            if len(content) > most_of_one:
                found.too_large.add(name)
            elif S_ISLNK(entry.external_attr >> 16):
                found.links[name] = content[:_MOST_NAME].decode("utf-8", "surrogateescape")
            else:
                found.members[name] = content
    return found


def _is_odd(name: str) -> bool:
    """Whether no configuration lies there."""
    return len(name) > _MOST_NAME or name.count("/") > _MOST_FOLDERS
