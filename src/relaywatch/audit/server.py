"""What the audit knows of one server software: how to find it, evaluate it, and mend it; a module each."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fnmatch import translate
from functools import cache, lru_cache
from pathlib import PurePosixPath
from types import MappingProxyType

from relaywatch.model.evidence import Weakness

from .conditions import Way
from .findings import AuditFinding, Cause, Position
from .setup import Setup
from .text import SourceFile

_NOT_IN_NAMES = re.compile(r"[-.]|^(?=\d)")
"""What modules' names can't have: ``3proxy`` is in ``_3proxy``."""


@lru_cache(maxsize=1024)
def _last_part(name: str) -> re.Pattern[str]:
    """Told at once: most files are nobody's, and there are many of them."""
    return re.compile(translate(PurePosixPath(name).name))


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """How a main configuration file is told: by its name, and what stands in it where the name isn't enough."""

    name: str
    """As `PurePosixPath.match` has it: ``postfix/main.cf``, ``*.conf``."""
    holds: re.Pattern[str] | None = None
    """Searched in the text, lines apart (``re.MULTILINE``)."""

    def fits(self, path: PurePosixPath) -> bool:
        """Whether the path is named so."""
        return _last_part(self.name).match(path.name) is not None and path.match(self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One listener, and what it comes to for strangers.

    ``passing`` are the shortest ways in which one gets through: none, and it is closed. Each names in its causes
    the rule of the catalogue that it breaks.
    """

    name: str
    weakness: Weakness
    passing: tuple[Way, ...] = ()
    position: Position | None = None
    down: Cause | None = None
    """Why the server refuses to start with it, if it does."""
    is_out_of_reach: bool = False
    """Whether no stranger reaches it, since it listens on loopback only, say."""
    own: str = ""
    """A domain, or an address, of the server's own, for the witness."""


@dataclass(frozen=True, slots=True)
class Edit:
    """Lines that take the place of others in a file, both counted from 1; ``first`` = ``last`` + 1 inserts."""

    file: PurePosixPath
    first: int
    last: int
    lines: tuple[str, ...]


Evaluate = Callable[[Setup], Iterable[Service]]
Mend = Callable[[Setup, AuditFinding], Iterable[Edit]]


def no_mend(_setup: Setup, _finding: AuditFinding) -> tuple[Edit, ...]:
    """The hole can't be mended by a program."""
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One server software.

    ``evaluate`` yields every listener. What it can't read or doesn't evaluate is a gap (`Setup.note`), and an
    unknown condition where it decides. ``mend`` gives the smallest edits that close one finding; they are made
    on a copy first and evaluated again, so that a wrong one does no harm.
    """

    name: str
    """As in the advice: ``postfix``; its module is called the same, ``-`` as ``_``, and a digit stands behind one."""
    home: str
    """The folder in which its main file usually is."""
    other_homes: tuple[str, ...] = ()
    """Where other systems have it."""
    marks: tuple[Mark, ...]
    evaluate: Evaluate
    mend: Mend = no_mend
    check: tuple[str, ...] = ()
    """The server's own syntax check, as a command; ``{main}`` is the main file, ``{home}`` its folder."""
    reload: tuple[str, ...] = ()
    """What makes it take up a changed configuration."""

    @property
    def homes(self) -> tuple[str, ...]:
        """All of them, the usual one first; those of the BSDs last."""
        own = (self.home, *self.other_homes)
        return (*own, *(f"/usr/local{home}" for home in own if home.startswith("/etc")))


@cache
def load_servers(package: str = "relaywatch.audit.servers") -> MappingProxyType[str, Server]:
    """Find every module of the package that has a ``SERVER``, by name: nothing is registered.

    :raises LookupError: if a server isn't named for its module.
    """
    servers: dict[str, Server] = {}
    for found in pkgutil.iter_modules(importlib.import_module(package).__path__):
        module = importlib.import_module(f"{package}.{found.name}")
        server: Server | None = getattr(module, "SERVER", None)
        if server is None:
            continue
        if _NOT_IN_NAMES.sub("_", server.name) != found.name:
            raise LookupError(f"server {server.name!r} in module {found.name!r}")
        servers[server.name] = server
    return MappingProxyType(servers)


def recognised(
    servers: Iterable[Server], path: PurePosixPath, read: Callable[[], SourceFile | None]
) -> Iterator[Server]:
    """The servers whose main file this is; it is read only if its name may be one's."""
    texts: list[str] = []
    for server in servers:
        fitting = [mark for mark in server.marks if mark.fits(path)]
        if fitting and all(mark.holds for mark in fitting):
            if not texts:
                source = read()
                texts.append(source.text if source else "")
            fitting = [mark for mark in fitting if mark.holds and mark.holds.search(texts[0])]
        if fitting:
            yield server
