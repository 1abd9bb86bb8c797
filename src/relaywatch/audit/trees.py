"""Where configurations are read from: a live system, a copied folder, one file, or an archive.

Nothing outside is read, whatever a configuration or a link in a copy says: a copy's absolute paths mean places
in the copy.
"""

from __future__ import annotations

import os
import stat
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from copy import copy
from pathlib import Path, PurePosixPath
from typing import Protocol, TypeAlias

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


Lead: TypeAlias = Callable[[PurePosixPath], PurePosixPath]
"""Where in a tree an absolute link of a copied machine leads."""


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

    def is_folder(self, path: PurePosixPath) -> bool:
        """Whether there is such a folder, be it empty."""

    def led(self, lead: Lead, floor: PurePosixPath) -> Tree:
        """The same tree, whose absolute links lead where ``lead`` says; with ``..`` none leads out of ``floor``."""


class FolderTree:
    """A folder, or a part of it; with ``/`` as its root, a live system."""

    def __init__(self, root: Path, within: PurePosixPath = _ROOT) -> None:
        """``within``: the folder or file to look for servers in; what those name may be anywhere below the root."""
        self._root, self._within = root.resolve(), within
        self._is_live = self._root == Path("/")
        self._known: dict[PurePosixPath, PurePosixPath] = {}
        self._given: dict[PurePosixPath, Path] = {}
        self._lead: Lead | None = None
        self._floor = _ROOT
        self.label = "" if self._is_live else str(root)
        self.left_out: dict[str, None] = {}
        """Folders that can't be listed."""

    @classmethod
    def of_file(cls, file: Path) -> FolderTree:
        """The folder of a file that somebody named: where that is a link, it is followed wherever it leads."""
        tree = cls(file.parent, _ROOT / file.name)
        tree._given[_ROOT / file.name] = file.resolve()
        return tree

    def files(self) -> Iterator[PurePosixPath]:
        """Every file, sorted folder by folder; links to folders aren't followed, so that there is no loop."""
        top = self.place(self._within)
        if not _is_dir(top):
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
        if self._is_live and self._lead is None:
            return Path(path)
        if path in self._given:
            return self._given[path]
        parent = path.parent
        if parent not in self._known:
            self._known[parent] = self._resolved(parent, _ROOT)
        return self._at(self._resolved(PurePosixPath(path.name), self._known[parent]))

    def led(self, lead: Lead, floor: PurePosixPath) -> FolderTree:
        """The same, with other absolute links."""
        tree = copy(self)
        tree._known, tree._lead, tree._floor = {}, lead, floor  # noqa: SLF001 -- another self
        return tree

    def _resolved(self, path: PurePosixPath, begin: PurePosixPath) -> PurePosixPath:
        return resolved(path, self._link, begin, lead=self._lead, floor=self._floor)

    def _entries(self, path: PurePosixPath) -> list[tuple[PurePosixPath, bool]]:
        try:
            names = sorted(os.listdir(self.place(path)))  # noqa: PTH208 -- names, not a Path for each
        except (FileNotFoundError, NotADirectoryError):
            return []
        except (OSError, ValueError) as error:
            raise NotReadError(getattr(error, "strerror", None) or str(error)) from None
        return [(path / name, self.is_folder(path / name)) for name in names]

    def is_folder(self, path: PurePosixPath) -> bool:
        """Whether there is such a folder; one that can't be looked at is none, and reading it tells why."""
        try:
            return _is_dir(self.place(path))
        except NotReadError:
            return False

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
        self._lead: Lead | None = None
        self._floor = _ROOT
        for member in sorted({*self._members, *self._links, *self._too_large}):
            self._files[member.parent].append(member)
            self._note(member.parent)
        for name in content.folders:
            self._note(_normal(PurePosixPath(name)))

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

    def is_folder(self, path: PurePosixPath) -> bool:
        """Whether there is such a folder, or a link to one."""
        try:
            place = self._place(path)
        except NotReadError:
            return False
        return place == _ROOT or place in self._folders.get(place.parent, ())

    def led(self, lead: Lead, floor: PurePosixPath) -> ArchiveTree:
        """The same, with other absolute links."""
        tree = copy(self)
        tree._lead, tree._floor = lead, floor  # noqa: SLF001 -- another self
        return tree

    def _note(self, folder: PurePosixPath) -> None:
        while folder != _ROOT and folder not in self._folders[folder.parent]:
            self._folders[folder.parent].add(folder)
            folder = folder.parent

    def _is_file(self, path: PurePosixPath) -> bool:
        try:
            place = self._place(path)
        except NotReadError:
            return True
        return place in self._members or place in self._too_large

    def _place(self, path: PurePosixPath) -> PurePosixPath:
        return resolved(path, self._links.get, lead=self._lead, floor=self._floor)


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

    def is_folder(self, path: PurePosixPath) -> bool:
        """Whether one of the files lies below it."""
        here = _normal(path)
        return any(here in file.parents for file in self._files) or bool(
            self._under and self._under.is_folder(path)
        )

    def led(self, lead: Lead, floor: PurePosixPath) -> TextTree:
        """The same: there are no links in it, but in the tree below."""
        tree = copy(self)
        if self._under:
            tree._under = self._under.led(lead, floor)  # noqa: SLF001 -- another self
        return tree


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
    return FolderTree.of_file(path)


def _is_dir(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False  # what is above it may not be searched


def resolved(
    path: PurePosixPath,
    link: Callable[[PurePosixPath], str | None],
    begin: PurePosixPath = _ROOT,
    *,
    lead: Lead | None = None,
    floor: PurePosixPath = _ROOT,
) -> PurePosixPath:
    """Where a path leads, links followed step by step as the kernel does below a changed root.

    ``link`` tells where a link leads, nothing for what is none; ``lead`` where an absolute one does in a copy.
    ``floor`` is the copied machine's root, out of which no ``..`` leads.

    :raises NotReadError: if there are too many links, or a loop of them.
    """
    left, here, followed = list(reversed(path.parts)), begin, 0
    while left:
        part = left.pop()
        if part == "/":
            here = _ROOT
        elif part == "..":
            here = here if here == floor else here.parent
        elif (leads_to := link(here / part)) is None:
            here /= part
        else:
            followed += 1
            if followed > _MOST_LINKS:
                raise NotReadError("a loop of links")
            target = PurePosixPath(leads_to)
            left.extend(reversed((lead(target) if lead and target.is_absolute() else target).parts))
    return here


def _normal(path: PurePosixPath) -> PurePosixPath:
    """The path without ``.`` and ``..``, absolute."""
    return _ROOT / os.path.normpath("/" + str(path)).lstrip("/")


_TOO_LARGE = f"more than {MOST_OCTETS // 1024 // 1024} MiB"
