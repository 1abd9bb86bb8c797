"""Where configurations are read from: a live system, a copied folder, one file, or an archive.

Nothing outside is read, whatever a configuration or a link in a copy says: a copy's absolute paths mean places
in the copy.
"""

from __future__ import annotations

import io
import os
import stat
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Protocol

from relaywatch.model.errors import UsageError

MOST_FILES = 200_000
MOST_OCTETS = 32 * 1024 * 1024
"""Of one file: more than any table that somebody wrote by hand."""
_MOST_UNPACKED = 512 * 1024 * 1024
_ROOT = PurePosixPath("/")
_MOST_LINKS = 16
_OF_THE_SYSTEM = tuple(
    map(Path, ("/etc", "/usr/local/etc", "/usr/local/psa", "/var/lib", "/var/qmail", "/opt"))
)
"""Where this machine keeps configurations: what they name elsewhere on it may be read as well."""
_ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2", ".zip")


class NotReadError(Exception):
    """A file can't be read; the message says why."""


class Tree(Protocol):
    """Files by their absolute POSIX paths; the root is the system's, or the copy's."""

    @property
    def label(self) -> str:
        """What reports put before a path: the folder or archive, nothing for a live system."""

    def files(self) -> Iterator[PurePosixPath]:
        """Every regular file, sorted."""

    def read(self, path: PurePosixPath) -> bytes:
        """The file's octets.

        :raises FileNotFoundError: if there is none.
        :raises NotReadError: if it can't be read.
        """

    def folder(self, path: PurePosixPath) -> list[PurePosixPath]:
        """The files right in this folder, sorted; none if there is no such folder."""


class FolderTree:
    """A folder, or a part of it; with ``/`` as its root, a live system."""

    def __init__(self, root: Path, within: PurePosixPath = _ROOT) -> None:
        """``within``: the folder or file to look for servers in; what those name may be anywhere below the root."""
        self._root, self._within = root.resolve(), within
        self.label = "" if self._root == Path("/") else str(root)

    def files(self) -> Iterator[PurePosixPath]:
        """Every regular file, sorted; links to folders aren't followed, so that there is no loop."""
        top = self._root / _relative(self._within)
        if not top.is_dir():
            yield self._within
            return
        count = 0
        for folder, folders, names in os.walk(top):
            folders.sort()
            for name in sorted(names):
                count += 1
                if count > MOST_FILES:
                    raise UsageError(f"{top}: more than {MOST_FILES} files; name a part of it")
                yield PurePosixPath("/") / (Path(folder) / name).relative_to(self._root).as_posix()

    def read(self, path: PurePosixPath) -> bytes:
        """The file's octets; of regular files below the root only."""
        place = self.place(path)
        try:
            if not stat.S_ISREG(place.stat().st_mode):
                raise NotReadError("not a regular file")
            with place.open("rb") as file:
                octets = file.read(MOST_OCTETS + 1)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise NotReadError(error.strerror or str(error)) from None
        if len(octets) > MOST_OCTETS:
            raise NotReadError(f"more than {MOST_OCTETS // 1024 // 1024} MiB")
        return octets

    def folder(self, path: PurePosixPath) -> list[PurePosixPath]:
        """The files right in this folder, sorted."""
        try:
            entries = sorted(self.place(path).iterdir())
        except (OSError, NotReadError):
            return []
        return [path / entry.name for entry in entries if not entry.is_dir()]

    def place(self, path: PurePosixPath) -> Path:
        """Where it is on this machine, links followed within the root: an absolute one means a place in the copy."""
        named = _relative(path)
        for _ in range(_MOST_LINKS):
            place = self._root / named
            if not place.is_symlink() or not (target := place.readlink()).is_absolute():
                break
            named = _relative(PurePosixPath(target.as_posix()))
        place = (self._root / named).resolve()
        if place != self._root and self._root not in place.parents:
            raise NotReadError("a link that leads out of the folder")
        return place


class ArchiveTree:
    """An archive, unpacked in memory within limits; links in it are followed by name."""

    def __init__(self, path: Path) -> None:
        """Read it.

        :raises UsageError: if it is none, or too large.
        """
        self.label = str(path)
        try:
            octets = path.read_bytes()
            self._members = _unzipped(octets) if path.suffix == ".zip" else _untarred(octets)
        except (OSError, tarfile.TarError, zipfile.BadZipFile, EOFError, RuntimeError, ValueError) as error:
            raise UsageError(f"{path}: {error}") from None
        except _TooLargeError:
            raise UsageError(f"{path}: more than {_MOST_UNPACKED // 1024 // 1024} MiB unpacked") from None

    def files(self) -> Iterator[PurePosixPath]:
        """Every regular file, sorted."""
        yield from sorted(self._members)

    def read(self, path: PurePosixPath) -> bytes:
        """The file's octets."""
        try:
            return self._members[_normal(path)]
        except KeyError:
            raise FileNotFoundError(str(path)) from None

    def folder(self, path: PurePosixPath) -> list[PurePosixPath]:
        """The files right in this folder, sorted."""
        return sorted(member for member in self._members if member.parent == _normal(path))


class TextTree:
    """Files given as text, by path: for tests, and for what an edit would make of another tree."""

    def __init__(self, files: Mapping[str, str], under: Tree | None = None) -> None:
        """``under``: the tree whose other files are there as well."""
        self._files = {
            PurePosixPath(path): text.encode("utf-8", "surrogateescape") for path, text in files.items()
        }
        self._under = under
        self.label = under.label if under else ""

    def files(self) -> Iterator[PurePosixPath]:
        """Every file, sorted."""
        yield from sorted({*self._files, *(self._under.files() if self._under else ())})

    def read(self, path: PurePosixPath) -> bytes:
        """The file's octets."""
        own = self._files.get(_normal(path))
        if own is not None:
            return own
        if self._under is not None:
            return self._under.read(path)
        raise FileNotFoundError(str(path))

    def folder(self, path: PurePosixPath) -> list[PurePosixPath]:
        """The files right in this folder, sorted."""
        beside = self._under.folder(path) if self._under else []
        return sorted({*beside, *(own for own in self._files if own.parent == _normal(path))})


def open_tree(path: Path) -> Tree:
    """The tree of a path that somebody named: a folder, an archive or a single file.

    :raises UsageError: if there is nothing, or it can't be read.
    """
    if not path.exists():
        raise UsageError(f"{path}: there is nothing")
    if path.is_file() and path.name.endswith(_ARCHIVES):
        return ArchiveTree(path)
    place = path.resolve()
    if any(place.is_relative_to(folder) for folder in _OF_THE_SYSTEM):
        return FolderTree(Path("/"), PurePosixPath(place.as_posix()))
    if path.is_dir():
        return FolderTree(path)
    return FolderTree(path.parent, PurePosixPath("/") / path.name)


class _TooLargeError(Exception):
    """More is in the archive than is unpacked."""


def _untarred(octets: bytes) -> dict[PurePosixPath, bytes]:
    members: dict[PurePosixPath, bytes] = {}
    links: dict[PurePosixPath, PurePosixPath] = {}
    total = 0
    with tarfile.open(fileobj=io.BytesIO(octets)) as archive:
        for member in archive:
            path = _normal(PurePosixPath("/") / member.name)
            if member.issym():
                links[path] = _normal(path.parent / member.linkname)
            elif member.islnk():
                links[path] = _normal(PurePosixPath("/") / member.linkname)
            elif member.isreg():
                total += member.size
                if total > _MOST_UNPACKED or len(members) > MOST_FILES:
                    raise _TooLargeError
                file = archive.extractfile(member)
                members[path] = file.read() if file else b""
    for path, leads_to in links.items():
        if leads_to in members:
            members[path] = members[leads_to]
    return members


def _unzipped(octets: bytes) -> dict[PurePosixPath, bytes]:
    members: dict[PurePosixPath, bytes] = {}
    left = _MOST_UNPACKED
    with zipfile.ZipFile(io.BytesIO(octets)) as archive:
        for entry in archive.infolist():
            if entry.is_dir():
                continue
            with archive.open(entry) as file:
                content = file.read(left + 1)  # whatever size the archive claims
            left -= len(content)
            if left < 0 or len(members) > MOST_FILES:
                raise _TooLargeError
            members[_normal(PurePosixPath("/") / entry.filename)] = content
    return members


def _relative(path: PurePosixPath) -> str:
    return str(_normal(path)).lstrip("/")


def _normal(path: PurePosixPath) -> PurePosixPath:
    """The path without ``.`` and ``..``, absolute."""
    return PurePosixPath("/") / os.path.normpath("/" + str(path)).lstrip("/")
