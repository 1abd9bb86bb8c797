"""Where a configuration's files are laid in the sandbox."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from os.path import normpath
from pathlib import Path, PurePosixPath

from relaywatch.audit.server import Server
from relaywatch.audit.setup import Setup
from relaywatch.audit.trees import FolderTree, NotReadError, Tree

_MOST_FILES = 2000
_MOST_OCTETS = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Placing:
    """Where a configuration's files are laid in the sandbox: as they would be on the server's own machine."""

    setup: Setup
    server: Server
    given: Tree
    """As it lies there, with the files' modes."""

    def of(self, path: PurePosixPath) -> PurePosixPath:
        """The place of a file of the tree."""
        home, folder, system = self.setup.home, self.setup.main.parent, self.setup.system
        if system is not None:
            return _plain(PurePosixPath(str(path).removeprefix(system)))
        return _plain(home / path.relative_to(folder) if path.is_relative_to(folder) else path)

    def files(self, *, is_installed: bool) -> dict[PurePosixPath, tuple[bytes, int]]:
        """The files to lay over the root; of the machine's own, only those that the mend has changed."""
        list(self.server.evaluate(self.setup))
        read = {path: source.octets for path, source in self.setup.sources.items()}
        tree = self.setup.tree
        if not tree.label and is_installed:
            return {
                path: (octets, _mode(self.given, path))
                for path, octets in read.items()
                if _differs(path, octets)
            }
        beside = {path: octets for path, octets in self._beside() if path not in read}
        return {
            self.of(path): (octets, _mode(self.given, path)) for path, octets in {**beside, **read}.items()
        }

    def _beside(self) -> Iterator[tuple[PurePosixPath, bytes]]:
        """What else lies in the main file's folder: tables, certificates; nothing if it is a store of many."""
        folder, total = self.setup.main.parent, 0
        if self.setup.home == PurePosixPath("/etc"):
            return
        waiting = [folder]
        found: list[PurePosixPath] = []
        with contextlib.suppress(NotReadError):
            while waiting and len(found) <= _MOST_FILES:
                one = waiting.pop()
                found += self.setup.tree.folder(one)
                waiting += self.setup.tree.folders(one)
        for path in found if len(found) <= _MOST_FILES else ():
            with contextlib.suppress(NotReadError, FileNotFoundError):
                octets = self.setup.tree.read(path)
                total += len(octets)
                if total > _MOST_OCTETS:
                    return
                yield path, octets


def _plain(path: PurePosixPath) -> PurePosixPath:
    """Absolute, and without ``..``: an include may name any number of them."""
    return PurePosixPath("/" + normpath(f"/{path}").lstrip("/"))


def _differs(path: PurePosixPath, octets: bytes) -> bool:
    try:
        return Path(path).read_bytes() != octets
    except OSError:
        return True


def _mode(tree: Tree, path: PurePosixPath) -> int:
    """The file's own mode where it has one, but not writable for others."""
    if not isinstance(tree, FolderTree):
        return 0o644
    try:
        return tree.place(path).stat().st_mode & 0o755
    except (OSError, NotReadError):
        return 0o644
