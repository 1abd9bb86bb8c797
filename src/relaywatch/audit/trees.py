"""Where configurations are read from: a live system, a copied folder, one file, or an archive.

Nothing outside is read, whatever a configuration or a link in a copy says: a copy's absolute paths mean places
in the copy.
"""

from __future__ import annotations

import os
import stat
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Protocol

from relaywatch.model.errors import UsageError

from .archives import ArchiveError, unpacked

MOST_FILES = 200_000
MOST_OCTETS = 32 * 1024 * 1024
"""Of one file: more than any table that somebody wrote by hand."""
_ROOT = PurePosixPath("/")
_MOST_LINKS = 40
_OF_THE_SYSTEM = tuple(
    map(Path, ("/etc", "/usr/local/etc", "/usr/local/psa", "/var/lib", "/var/qmail", "/opt"))
)
"""Where this machine keeps configurations: what they name elsewhere on it may be read as well."""
_ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2", ".zip")


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
        """The files right in this folder, sorted; none if there is no such folder.

        :raises NotReadError: if it can't be listed.
        """

    def folders(self, path: PurePosixPath) -> list[PurePosixPath]:
        """The folders right in this folder, sorted.

        :raises NotReadError: if it can't be listed.
        """


class FolderTree:
    """A folder, or a part of it; with ``/`` as its root, a live system."""

    def __init__(self, root: Path, within: PurePosixPath = _ROOT) -> None:
        """``within``: the folder or file to look for servers in; what those name may be anywhere below the root."""
        self._root, self._within = root.resolve(), within
        self._is_live = self._root == Path("/")
        self._known: dict[PurePosixPath, PurePosixPath] = {}
        self.label = "" if self._is_live else str(root)
        self.left_out: dict[str, None] = {}
        """Folders that can't be listed."""

    def files(self) -> Iterator[PurePosixPath]:
        """Every file, sorted folder by folder; links to folders aren't followed, so that there is no loop."""
        top = self.place(self._within)
        if not top.is_dir():
            yield self._within
            return
        count, start = 0, len(str(self._root).rstrip("/"))
        for folder, folders, names in os.walk(top, onerror=self._leave_out):
            folders.sort()
            here = PurePosixPath(folder[start:] or "/")
            for name in sorted(names):
                count += 1
                if count > MOST_FILES:
                    raise UsageError(f"{top}: more than {MOST_FILES} files; name a part of it")
                yield here / name

    def read(self, path: PurePosixPath) -> bytes:
        """The file's octets; of regular files below the root only."""
        place = self.place(path)
        try:
            if not stat.S_ISREG(place.stat().st_mode):
                raise NotReadError("not a regular file")
            with place.open("rb") as file:
                octets = file.read(MOST_OCTETS + 1)
        except (FileNotFoundError, NotADirectoryError):
            raise FileNotFoundError(str(path)) from None
        except (OSError, ValueError) as error:
            raise NotReadError(getattr(error, "strerror", None) or str(error)) from None
        if len(octets) > MOST_OCTETS:
            raise NotReadError(_TOO_LARGE)
        return octets

    def folder(self, path: PurePosixPath) -> list[PurePosixPath]:
        """The files right in this folder, sorted."""
        return [entry for entry, is_folder in self._entries(path) if not is_folder]

    def folders(self, path: PurePosixPath) -> list[PurePosixPath]:
        """The folders right in this folder, sorted."""
        return [entry for entry, is_folder in self._entries(path) if is_folder]

    def place(self, path: PurePosixPath) -> Path:
        """Where it is on this machine; of a copy, an absolute link means a place in the copy, and none leads out."""
        if self._is_live:
            return Path(path)
        parent = path.parent
        if parent not in self._known:
            self._known[parent] = resolved(parent, self._link)
        return self._at(resolved(PurePosixPath(path.name), self._link, self._known[parent]))

    def _entries(self, path: PurePosixPath) -> list[tuple[PurePosixPath, bool]]:
        try:
            names = sorted(os.listdir(self.place(path)))  # noqa: PTH208 -- names, not a Path for each
        except (FileNotFoundError, NotADirectoryError):
            return []
        except (OSError, ValueError) as error:
            raise NotReadError(getattr(error, "strerror", None) or str(error)) from None
        return [(path / name, self._is_folder(path / name)) for name in names]

    def _is_folder(self, path: PurePosixPath) -> bool:
        try:
            return self.place(path).is_dir()
        except (OSError, NotReadError):
            return False  # reading it tells why

    def _at(self, path: PurePosixPath) -> Path:
        return self._root / str(path).lstrip("/")

    def _link(self, path: PurePosixPath) -> str | None:
        try:
            return str(self._at(path).readlink())
        except (OSError, ValueError):
            return None

    def _leave_out(self, error: OSError) -> None:
        self.left_out.setdefault(str(error.filename))


class ArchiveTree:
    """An archive, unpacked in memory within limits; links in it are followed by name."""

    def __init__(self, path: Path) -> None:
        """Read it.

        :raises UsageError: if it is none, or too large.
        """
        self.label = str(path)
        try:
            content = unpacked(path, MOST_OCTETS)
        except ArchiveError as error:
            raise UsageError(f"{path}: {error}") from None
        self._members = {_normal(PurePosixPath(name)): octets for name, octets in content.members.items()}
        self._links = {_normal(PurePosixPath(name)): leads_to for name, leads_to in content.links.items()}
        self._too_large = {_normal(PurePosixPath(name)) for name in content.too_large}
        self._files: dict[PurePosixPath, list[PurePosixPath]] = defaultdict(list)
        self._folders: dict[PurePosixPath, set[PurePosixPath]] = defaultdict(set)
        for member in sorted({*self._members, *self._links, *self._too_large}):
            self._files[member.parent].append(member)
            for folder in member.parents[:-1]:
                self._folders[folder.parent].add(folder)

    def files(self) -> Iterator[PurePosixPath]:
        """Every file, and every link to one, sorted."""
        every = sorted({*self._members, *self._too_large, *self._links})
        yield from (member for member in every if self._is_file(member))

    def read(self, path: PurePosixPath) -> bytes:
        """The file's octets."""
        place = self._place(path)
        if place in self._too_large:
            raise NotReadError(_TOO_LARGE)
        try:
            return self._members[place]
        except KeyError:
            raise FileNotFoundError(str(path)) from None

    def folder(self, path: PurePosixPath) -> list[PurePosixPath]:
        """The files right in this folder, sorted."""
        return [path / one.name for one in self._files.get(self._place(path), ()) if self._is_file(one)]

    def folders(self, path: PurePosixPath) -> list[PurePosixPath]:
        """The folders right in this folder, and links to some, sorted."""
        here = self._place(path)
        linked = (one for one in self._files.get(here, ()) if one in self._links and not self._is_file(one))
        return sorted(path / one.name for one in {*self._folders.get(here, ()), *linked})

    def _is_file(self, path: PurePosixPath) -> bool:
        try:
            place = self._place(path)
        except NotReadError:
            return True
        return place in self._members or place in self._too_large

    def _place(self, path: PurePosixPath) -> PurePosixPath:
        return resolved(path, self._links.get)


class TextTree:
    """Files given as text or octets, by path: for tests, and for what an edit would make of another tree."""

    def __init__(self, files: Mapping[str, str | bytes], under: Tree | None = None) -> None:
        """``under``: the tree whose other files are there as well."""
        self._files = {
            PurePosixPath(path): text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
            for path, text in files.items()
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

    def folders(self, path: PurePosixPath) -> list[PurePosixPath]:
        """The folders right in this folder, sorted."""
        here = _normal(path)
        own = (folder for file in self._files for folder in file.parents if folder.parent == here != folder)
        return sorted({*(self._under.folders(path) if self._under else ()), *own})


def open_tree(path: Path) -> Tree:
    """The tree of a path that somebody named: a folder, an archive or a single file.

    :raises UsageError: if there is nothing, or it can't be read.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    if stat.S_ISREG(mode) and path.name.endswith(_ARCHIVES):
        return ArchiveTree(path)
    place = path.resolve()
    if any(place.is_relative_to(folder) for folder in _OF_THE_SYSTEM):
        return FolderTree(Path("/"), PurePosixPath(place.as_posix()))
    if stat.S_ISDIR(mode):
        return FolderTree(path)
    return FolderTree(path.parent, _ROOT / path.name)


def resolved(
    path: PurePosixPath, link: Callable[[PurePosixPath], str | None], begin: PurePosixPath = _ROOT
) -> PurePosixPath:
    """Where a path leads, links followed step by step as the kernel does below a changed root.

    ``link`` tells where a link leads, nothing for what is none.

    :raises NotReadError: if there are too many links, or a loop of them.
    """
    left, here, followed = list(reversed(path.parts)), begin, 0
    while left:
        part = left.pop()
        if part == "/":
            here = _ROOT
        elif part == "..":
            here = here.parent
        elif (leads_to := link(here / part)) is None:
            here /= part
        else:
            followed += 1
            if followed > _MOST_LINKS:
                raise NotReadError("a loop of links")
            left.extend(reversed(PurePosixPath(leads_to).parts))
    return here


def _normal(path: PurePosixPath) -> PurePosixPath:
    """The path without ``.`` and ``..``, absolute."""
    return _ROOT / os.path.normpath("/" + str(path)).lstrip("/")


_TOO_LARGE = f"more than {MOST_OCTETS // 1024 // 1024} MiB"
