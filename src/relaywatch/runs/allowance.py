"""How much mail one place may be handed in one run, however often the run is led there."""

from __future__ import annotations

from collections.abc import Iterable

from relaywatch.engine.slate import Slate, key_of
from relaywatch.model.evidence import Fact, Observation

from .hosts import Place

BODIES_IN_VAIN = 150
"""Messages that one place may refuse after their last octet, and be sent more.

A server that decides so late can be asked in no other way, and refuses here as others do at RCPT; two
doors of a usual plan take about a hundred.
"""
_ROWS = 1 << 18
"""Places that may take mail, or refuse it after the last octet, in one run."""
_TAKEN_AT, _WASTED_AT = 0, 1
_TAKEN = frozenset({Fact.QUEUED, Fact.HANDED_OVER})


class Counts(Slate):
    """Of each place the messages taken and the bodies in vain; for all processes of a run. None is ever forgotten."""

    def __init__(self, rows: int = _ROWS, *, fd: int | None = None) -> None:
        super().__init__(2, rows, fd=fd)

    def of(self, place: Place) -> int:
        """Where the place's two numbers begin in ``cells``."""
        return self.row(key_of(str(place[0]), place[1]), _is_kept)


def _is_kept(_row: int) -> bool:
    return False


class Allowance:
    """The run's counts: messages taken, or promised to attempts under way, and bodies sent in vain."""

    def __init__(
        self, messages: int, bodies_in_vain: int = BODIES_IN_VAIN, counts: Counts | None = None
    ) -> None:
        self._messages, self._bodies_in_vain = messages, bodies_in_vain
        self.counts = counts if counts is not None else Counts()

    def share(self, places: Iterable[Place]) -> Share:
        """The share of a target that lies at these places: what was spent at the worst of them counts."""
        return Share(self, tuple(places))

    def take_one(self, places: tuple[Place, ...]) -> bool:
        """Spend a message at each place, if every one of them may be handed one more."""
        with self.counts.held():
            if not self._has_room(places):
                return False
            self._add(places, _TAKEN_AT, 1)
            return True

    def take(self, places: tuple[Place, ...], messages: int) -> None:
        """Spend so many messages at each place, or give them back."""
        with self.counts.held():
            self._add(places, _TAKEN_AT, messages)

    def waste(self, places: tuple[Place, ...], bodies: int) -> None:
        """Note so many bodies that were refused after their last octet."""
        with self.counts.held():
            self._add(places, _WASTED_AT, bodies)

    def _has_room(self, places: Iterable[Place]) -> bool:
        cells = self.counts.cells
        rows = [self.counts.of(place) for place in places]
        return all(
            cells[row + _TAKEN_AT] < self._messages and cells[row + _WASTED_AT] < self._bodies_in_vain
            for row in rows
        )

    def _add(self, places: Iterable[Place], column: int, count: int) -> None:
        for place in places:
            self.counts.cells[self.counts.of(place) + column] += count


class Share:
    """One target's dealings with the allowance.

    A message is spent when it is asked for, since from then on it may be on its way. It is given back only
    if the attempt goes on, or ends, in good order without having handed it over.
    """

    def __init__(self, allowance: Allowance, places: tuple[Place, ...]) -> None:
        self._allowance, self._places = allowance, places
        self._is_reserved = False

    def reserve(self) -> bool:
        """Spend one message, if there is one left; whatever was reserved before came to nothing."""
        self._give_back()
        self._is_reserved = self._allowance.take_one(self._places)
        return self._is_reserved

    def observed(self, observation: Observation) -> None:
        """Settle the reservation, if the observation is of a message that was handed over."""
        if not observation.count:
            return
        if observation.fact in _TAKEN:
            self._allowance.take(self._places, observation.count - self._is_reserved)
            self._is_reserved = False
        elif observation.case:
            self._allowance.waste(self._places, observation.count)

    def ended(self, *, in_good_order: bool) -> None:
        """The attempt is over; an attempt that broke off may have handed over what it never told."""
        if in_good_order:
            self._give_back()
        self._is_reserved = False

    def _give_back(self) -> None:
        if self._is_reserved:
            self._allowance.take(self._places, -1)
            self._is_reserved = False
