"""Conditions under which a setting applies to a stranger, in three values and with what he must claim.

A condition is the ways in which he can make it true and those in which he can make it false. A way is a set of
claims, and of gaps: with gaps it may be a way, and nobody knows. So *never* has no way to be true, *always* has
one without claims, and what only the DNS knows has a way with a gap to either.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product

from .claims import Claim, ClaimKind
from .findings import Cause, Gap, GapKind
from .origins import is_anybodys

_MOST_WAYS = 64
_EXCLUSIVE = frozenset({ClaimKind.CLIENT_ADDRESS, ClaimKind.FRONT_END})
"""Of which not every two can be claimed at once."""


@dataclass(frozen=True, slots=True)
class Way:
    """One way: what has to be claimed, what isn't known, and the settings that make it one, in order."""

    claims: frozenset[Claim] = frozenset()
    gaps: frozenset[Gap] = frozenset()
    causes: tuple[Cause, ...] = ()

    @property
    def is_consistent(self) -> bool:
        """Whether no claim contradicts another: its opposite, an address elsewhere, or another front end."""
        if len(self.claims) == 1:
            (only,) = self.claims
            return only.kind is not ClaimKind.CLIENT_ADDRESS or is_anybodys((only,))
        if any(claim.opposite() in self.claims for claim in self.claims if claim.negated):
            return False
        if sum(claim.kind is ClaimKind.FRONT_END and not claim.negated for claim in self.claims) > 1:
            return False
        origins = [claim for claim in self.claims if claim.kind is ClaimKind.CLIENT_ADDRESS]
        return not origins or is_anybodys(origins)

    def agrees_with(self, other: Way) -> bool:
        """Whether both can be gone at once, each being consistent in itself."""
        few, many = sorted((self.claims, other.claims), key=len)
        if any(claim.opposite() in many for claim in few):
            return False
        kinds = {claim.kind for claim in few}
        return not kinds & _EXCLUSIVE or Way(self.claims | other.claims).is_consistent

    @property
    def is_free(self) -> bool:
        """Whether it asks for nothing that not everybody has."""
        return all(claim.is_free for claim in self.claims)

    def joined(self, other: Way) -> Way:
        """Both at once."""
        fresh = tuple(cause for cause in other.causes if cause not in self.causes)
        return Way(self.claims | other.claims, self.gaps | other.gaps, self.causes + fresh)

    def because(self, *causes: Cause) -> Way:
        """The same way, with more causes."""
        return self.joined(Way(causes=causes))


@dataclass(frozen=True, slots=True)
class Condition:
    """The ways to make it true, and those to make it false."""

    true: tuple[Way, ...]
    false: tuple[Way, ...]

    def __invert__(self) -> Condition:
        return Condition(self.false, self.true)

    def __and__(self, other: Condition) -> Condition:
        return Condition(joined(self.true, other.true), shortest((*self.false, *other.false)))

    def __or__(self, other: Condition) -> Condition:
        return Condition(shortest((*self.true, *other.true)), joined(self.false, other.false))

    def because(self, *causes: Cause) -> Condition:
        """The same condition, which is true by these settings."""
        return Condition(tuple(way.because(*causes) for way in self.true), self.false)


_FREE = (Way(),)
ALWAYS = Condition(_FREE, ())
NEVER = Condition((), _FREE)


def claimed(*claims: Claim) -> Condition:
    """True if the stranger claims all of it, false if he leaves out any."""
    return Condition(
        shortest((Way(frozenset(claims)),)), tuple(Way(frozenset((claim.opposite(),))) for claim in claims)
    )


def unknown(*gaps: Gap) -> Condition:
    """Nobody knows; taken to hold or not to hold independently wherever it stands."""
    way = Way(gaps=frozenset(gaps))
    return Condition((way,), (way,))


def all_of(conditions: Iterable[Condition]) -> Condition:
    """True if each is; of none: always."""
    result = ALWAYS
    for condition in conditions:
        result &= condition
    return result


def any_of(conditions: Iterable[Condition]) -> Condition:
    """True if one is; of none: never."""
    result = NEVER
    for condition in conditions:
        result |= condition
    return result


def joined(first: Iterable[Way], second: Iterable[Way]) -> tuple[Way, ...]:
    """The ways to go one of the first and then one of the second."""
    first, second = tuple(first), tuple(second)
    if _FREE in {first, second}:
        return shortest(second if first == _FREE else first)
    return fewest([one.joined(other) for one, other in product(first, second) if one.agrees_with(other)])


def shortest(ways: Iterable[Way]) -> tuple[Way, ...]:
    """Those that can be gone, without any that asks for more than another; bounded in number.

    Where there are too many, that is a gap: what was left out may be the way through.
    """
    return fewest([way for way in ways if way.is_consistent])


def fewest(ways: list[Way]) -> tuple[Way, ...]:
    """The shortest of ways that are consistent each."""
    if len(ways) < 2:
        return tuple(ways)
    kept: list[Way] = []
    for way in sorted(ways, key=_length):
        if not any(other.claims <= way.claims and other.gaps <= way.gaps for other in kept):
            kept.append(way)
    if len(kept) <= _MOST_WAYS:
        return tuple(kept)
    more = Way(gaps=frozenset((Gap(GapKind.TOO_MANY, "ways through the rules"),)))
    return (*kept[: _MOST_WAYS - 1], more)


def _length(way: Way) -> tuple[int, int, int]:
    return len(way.gaps), sum(not claim.is_free for claim in way.claims), len(way.claims)
