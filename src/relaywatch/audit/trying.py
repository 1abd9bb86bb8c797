"""Trying strangers one after the other: those who claim least first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import combinations, product

from .conditions import Way, shortest
from .strangers import Client, Said, Stranger

_MOST_TRAITS = 4


class TooManyError(Exception):
    """More strangers than are tried; the ways found so far are its argument."""

    def __init__(self, found: tuple[Way, ...]) -> None:
        super().__init__("too many")
        self.found = found


def tried(
    anybody: Iterable[tuple[Stranger, Mapping[str, list[Client | Said]]]],
    through: Callable[[Stranger], Iterable[Way]],
    *,
    most: int,
    needs: frozenset[str] = frozenset(),
) -> tuple[Way, ...]:
    """The shortest ways through of strangers who differ from just anybody in none, one, or more traits.

    ``anybody`` is one of each family with what others may be or say instead; ``needs`` are traits in which all
    must differ.

    :raises TooManyError: if there are more than ``most`` of them.
    """
    families = list(anybody)
    found: tuple[Way, ...] = ()
    count = 0
    for traits in range(_MOST_TRAITS + 1):
        fresh: list[Way] = []
        for stranger in (one for base, choices in families for one in _varied(base, choices, traits, needs)):
            if any(way.claims <= stranger.claims and not way.gaps for way in found):
                continue
            count += 1
            if count > most:
                raise TooManyError(shortest((*found, *fresh)))
            fresh.extend(through(stranger))
        found = shortest((*found, *fresh))
    return found


def _varied(
    base: Stranger, choices: Mapping[str, list[Client | Said]], traits: int, needs: frozenset[str]
) -> Iterable[Stranger]:
    for names in combinations(choices, traits):
        if not needs <= set(names):
            continue
        for chosen in product(*(choices[name] for name in names)):
            stranger = base
            for name, one in zip(names, chosen, strict=True):
                stranger = stranger.varied(one, name)
            yield stranger
