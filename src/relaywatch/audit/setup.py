"""One server's configuration as its evaluation sees it: files by the names that the configuration uses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from .addresses import AddressSet
from .claims import Claim, ClaimKind
from .conditions import Condition, claimed, shortest
from .findings import Gap, GapKind, Position
from .text import SourceFile
from .trees import NotReadError, Tree

_MOST_LINE = 1024 * 1024
_HEAD = 65536
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
"""What no text has in it."""
_LOCAL = re.compile(r"/usr/(?:local|pkg)$")
"""What stands before ``/etc`` on the BSDs: no machine's root."""
_WILD = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontEnd:
    """Something in front of the server through which strangers come with its address."""

    addresses: AddressSet
    """The address that the server sees: where it is one of several, all of these."""
    name: str
    position: Position | None = None
    reaches_loopback: bool = False
    """Whether it is on the same machine, so that it leads to listeners on loopback too."""
    ports: frozenset[int] = frozenset()
    """The ports that it leads to; empty where nobody knows."""

    def leads_to(self, port: str) -> bool:
        """Whether it leads to this port, a number or a name of mail's."""
        number = {"smtp": 25, "smtps": 465, "submissions": 465, "submission": 587}.get(port)
        return not self.ports or (number or (int(port) if port.isdigit() else 0)) in {0, *self.ports}


@dataclass(slots=True, kw_only=True)
class Setup:
    """The main file, the tree round it, and what the owner says; notes what is read and what isn't.

    ``home`` is the folder in which the server usually has its main file: what the configuration names below it
    is looked for beside the main file, so that a copied ``/etc/postfix`` is as good as the place itself.
    """

    tree: Tree
    main: PurePosixPath
    home: PurePosixPath
    allowed: AddressSet = field(default_factory=AddressSet)
    """Whoever comes from there is the owner's, and no stranger."""
    front_ends: tuple[FrontEnd, ...] = ()
    gaps: dict[Gap, None] = field(default_factory=dict)
    """In the order in which they were first met."""
    latest_gap: Gap = field(init=False, repr=False, compare=False)
    """The one that was noted last, which needn't be a new one: that of a file that couldn't be read just now."""
    harmless: set[Gap] = field(default_factory=set)
    """Those that can't decide anything."""
    sources: dict[PurePosixPath, SourceFile] = field(default_factory=dict)
    _octets: dict[PurePosixPath, bytes] = field(default_factory=dict, init=False, repr=False)
    """What was looked for and not read yet."""

    @property
    def system(self) -> str | None:
        """The folder in which a copy of a whole machine lies: what is before the home in the main file's path.

        Empty where that is the tree's own root; nothing where the main file isn't in its home.
        """
        before, home, _ = str(self.main).rpartition(f"{self.home}/")
        return _LOCAL.sub("", before) if home else None

    @property
    def above(self) -> PurePosixPath:
        """The folder above the home, as the configuration names it; of a home without its place, the one that it lies in."""
        return self.main.parent.parent if self.system is None else self.home.parent

    @property
    def is_live(self) -> bool:
        """Whether it is this machine's own, and no copy."""
        return not self.tree.label and not self.system

    def afresh(self, tree: Tree | None = None) -> Setup:
        """The same before anything was read, in another tree if one is given."""
        return Setup(
            tree=tree or self.tree,
            main=self.main,
            home=self.home,
            allowed=self.allowed,
            front_ends=self.front_ends,
        )

    def read_main(self) -> SourceFile | None:
        """The main file; nothing, and a gap, if it can't be read."""
        return self._read(self.main, str(self.main), None)

    def read(self, name: str, position: Position | None = None) -> SourceFile | None:
        """A file by the name that the configuration gives it; nothing, and a gap, if it can't be read.

        Relative names are the main file's neighbours. ``position`` is where it is named.
        """
        for path in self.places(name):
            if path in self.sources or self._is_there(path):
                return self._read(path, name, position)
        self.note(Gap(GapKind.MISSING, name, position))
        return None

    def has(self, name: str) -> bool:
        """Whether there is such a file; no gap if there is none."""
        return any(self._is_there(path) for path in self.places(name))

    def glob(self, pattern: str, position: Position | None = None) -> list[str]:
        """The names of the files that an include with ``*``, ``?`` or ``[`` means, sorted; none is no gap.

        They are such as `read` takes: in a copy of a whole machine as they are there.
        As in the shell, none of these stands for a dot at a name's beginning.
        """
        found: set[str] = set()
        for place in self.places(pattern):
            try:
                found.update(str(path).removeprefix(self.system or "") for path in self._matching(place))
            except NotReadError as error:
                self.note(Gap(GapKind.UNREADABLE, f"{pattern}: {error}", position))
        return sorted(found)

    def included(self, name: str, position: Position | None = None) -> list[str]:
        """The names of the files that an include means: those that fit where it is a pattern, itself otherwise.

        Itself too where a copy hasn't the pattern's folder at all: reading it tells that it is missing.
        """
        if not _WILD.search(name):
            return [name]
        found = self.glob(name, position)
        return [name] if not found and self._is_left_out(name) else found

    def _is_left_out(self, pattern: str) -> bool:
        """Whether this is a copy without the folder in which such files would lie."""
        folder = PurePosixPath(pattern[: _WILD.search(pattern).start()] + "x").parent  # type: ignore[union-attr]
        return not self.is_live and not any(self.tree.is_folder(place) for place in self.places(str(folder)))

    def note(self, gap: Gap) -> Gap:
        """Keep a gap in mind; it is returned, for the condition that it makes unknown."""
        self.gaps.setdefault(gap)
        self.latest_gap = gap
        return gap

    def gaps_that_decide(self) -> tuple[Gap, ...]:
        """The gaps without those that the evaluation has set aside."""
        return tuple(gap for gap in self.gaps if gap not in self.harmless)

    def set_aside(self, gap: Gap) -> None:
        """Keep a gap in mind that can't decide anything: a directive that has nothing to do with relaying."""
        self.harmless.add(self.note(gap))

    def strangers(self, addresses: AddressSet, version: int) -> Condition:
        """Whether a stranger of this family is seen as one of these addresses: every trusted list asks this.

        Straight from his own, or by that of something in front through which he comes (``front_ends``). Evaluate
        a list of rules for each family by itself.
        """
        straight = addresses.has_strangers(version, self.allowed)
        for front in self.front_ends:
            here = front.addresses.only(version)
            if not here:
                continue
            through = claimed(Claim(ClaimKind.FRONT_END, front.name))
            if not here & addresses:
                straight &= ~through
            elif here - addresses:  # it may be one of those that are in it, or one of the others
                straight = Condition((straight | through).true, shortest((*straight.false, *through.true)))
            else:
                straight |= through
        return straight

    def has_strangers(self, addresses: AddressSet) -> bool:
        """Whether strangers, of whichever family, may be seen as one of these addresses."""
        return any(self.strangers(addresses, version).true for version in (4, 6))

    def places(self, name: str) -> tuple[PurePosixPath, ...]:
        """Where a file of that name may be, likeliest first."""
        named = PurePosixPath(name)
        if not named.is_absolute():
            return (self.main.parent / named,)
        system = self.system
        if system is not None:
            within = PurePosixPath(system + str(named))
            return (named, within) if system and named.is_relative_to(system) else (within,)
        beside = tuple(self._beside(named))
        return (*beside, named) if self.tree.label else (named, *beside)

    def _beside(self, named: PurePosixPath) -> Iterator[PurePosixPath]:
        """Where a part of a machine was copied without its place: the main file's folder stands for its home.

        And the folder above it for what is above the home, as long as both have one name: ``/etc`` under another.
        """
        there, here = self.home, self.main.parent
        while there.name and there.name == here.name:
            there, here = there.parent, here.parent
        if named.is_relative_to(there):
            yield here / named.relative_to(there)
        above, etc, _ = str(self.main).rpartition("/etc/")
        if etc and above:
            yield PurePosixPath(above + str(named))

    def shown(self, path: PurePosixPath) -> str:
        """The path as reports give it."""
        return f"{self.tree.label.rstrip('/')}{path}"

    def _matching(self, place: PurePosixPath) -> Iterator[PurePosixPath]:
        folders = [PurePosixPath("/")]
        for part in place.parent.parts[1:]:
            if not _WILD.search(part):
                folders = [folder / part for folder in folders]
                continue
            folders = [one for folder in folders for one in self.tree.folders(folder) if _fits(one, part)]
        for folder in folders:
            yield from (path for path in self.tree.folder(folder) if _fits(path, place.name))

    def _is_there(self, path: PurePosixPath) -> bool:
        try:
            self._octets[path] = self.tree.read(path)
        except FileNotFoundError:
            return False
        except NotReadError:
            pass
        return True

    def _read(self, path: PurePosixPath, name: str, position: Position | None) -> SourceFile | None:
        if path in self.sources:
            return self.sources[path]
        try:
            octets = self._octets.pop(path, None) or self.tree.read(path)
        except FileNotFoundError:
            self.note(Gap(GapKind.MISSING, name, position))
            return None
        except NotReadError as error:
            self.note(Gap(GapKind.UNREADABLE, f"{name}: {error}", position))
            return None
        if _is_binary(octets):
            self.note(Gap(GapKind.BINARY, name, position))
            return None
        source = SourceFile.of(self.shown(path), octets)
        too_long = next((n for n, line in enumerate(source.lines, 1) if len(line) > _MOST_LINE), None)
        if too_long is not None:
            self.note(Gap(GapKind.TOO_LONG, name, source.at(too_long)))
            return None
        self.sources[path] = source
        return source


def _fits(path: PurePosixPath, pattern: str) -> bool:
    return fnmatchcase(path.name, pattern) and (pattern[0] == "." or path.name[0] != ".")


def _is_binary(octets: bytes) -> bool:
    return _CONTROL.search(octets, 0, _HEAD) is not None and not octets.startswith((b"\xff\xfe", b"\xfe\xff"))
