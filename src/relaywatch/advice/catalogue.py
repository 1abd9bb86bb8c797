"""The catalogue: what to tell about a finding, and how to mend it on which software."""

from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from types import MappingProxyType
from typing import Final

import msgspec

from relaywatch.advice.reading import read_advisories, read_guides
from relaywatch.advice.records import Advisory, Guide, NotApplicable, Record, Remedy
from relaywatch.advice.vocabulary import Role

GENERIC: Final = "generic"


class Catalogue(Record, frozen=True, kw_only=True):
    """All advisories by id, and all guides by software name."""

    advisories: Mapping[str, Advisory]
    guides: Mapping[str, Guide]

    def advisory(self, advisory_id: str) -> Advisory:
        """Return the advisory; raises KeyError where there is none of that id."""
        return self.advisories[advisory_id]

    def guide(self, software: str) -> Guide | None:
        """Return the guide that serves `software`, under its own or another name, or None."""
        serving = (g for g in self.guides.values() if software in (g.software, *g.also))
        return next(serving, None)

    def remedies(self, advisory_id: str, software: str | None = None) -> tuple[Remedy, ...]:
        """Return what mends the advisory on `software`, then what may be wrong around any server.

        Where the software is unknown, or its guide has nothing for this advisory, generic advice comes first.
        """
        own = _mending(self.guide(software or GENERIC), advisory_id)
        first = own or _mending(self.guide(GENERIC), advisory_id)
        around = (g for g in self.guides.values() if g.role is Role.SURROUNDINGS)
        return first + tuple(r for g in around for r in _mending(g, advisory_id) if r not in first)

    def software_with(self, advisory_id: str) -> tuple[str, ...]:
        """Return the names of the software whose guides have a remedy for the advisory, sorted."""
        mending = (g.software for g in self.guides.values() if _mending(g, advisory_id))
        return tuple(sorted(name for name in mending if name != GENERIC))

    def not_applicable(self, advisory_id: str, software: str) -> NotApplicable | None:
        """Return why `software` can't have the weakness of the advisory, or None where it can."""
        guide = self.guide(software)
        exempt = guide.not_applicable if guide else ()
        return next((entry for entry in exempt if advisory_id in entry.advisories), None)

    def search(self, text: str) -> tuple[Advisory, ...]:
        """Return the advisories that hold every word of `text` in either language, by title first.

        Case is ignored; a text without words finds nothing.
        """
        words = text.casefold().split()
        found = (a for a in self.advisories.values() if words and _holds(_strings(a), words))
        return tuple(sorted(found, key=lambda a: not _holds((a.id, a.slug, a.en.title, a.ko.title), words)))


@cache
def load_catalogue() -> Catalogue:
    """Return the catalogue of this package, read once; raises CatalogueError where a data file is wrong."""
    return read_catalogue(files("relaywatch.advice"))


def read_catalogue(root: Traversable) -> Catalogue:
    """Read `advisories/*.toml` and `remedies/*.toml` under `root`; raises CatalogueError."""
    advisories = read_advisories(root / "advisories")
    guides = read_guides(root / "remedies", advisories)
    return Catalogue(advisories=MappingProxyType(advisories), guides=MappingProxyType(guides))


def _mending(guide: Guide | None, advisory_id: str) -> tuple[Remedy, ...]:
    remedies = guide.remedy if guide else ()
    return tuple(remedy for remedy in remedies if advisory_id in remedy.advisories)


def _holds(texts: Iterable[str], words: Iterable[str]) -> bool:
    whole = "\n".join(texts).casefold()
    return all(word in whole for word in words)


def _strings(value: object) -> list[str]:
    """Return every string inside a record, in its order."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, (list, tuple)):
        return [text for item in value for text in _strings(item)]
    if isinstance(value, dict):
        return [text for item in value.values() for text in _strings(item)]
    return _strings(msgspec.to_builtins(value)) if isinstance(value, Record) else []
