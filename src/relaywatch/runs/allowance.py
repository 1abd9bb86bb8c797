"""How much mail one place may be handed in one run, however often the run is led there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from relaywatch.model.evidence import Fact, Observation

from .hosts import Place

BODIES_IN_VAIN = 150
"""Messages that one place may refuse after their last octet, and be sent more.

A server that decides so late can be asked in no other way, and refuses here as others do at RCPT; two
doors of a usual plan take about a hundred.
"""
_TAKEN = frozenset({Fact.QUEUED, Fact.HANDED_OVER})


class Allowance:
    """The run's counts: messages taken, or promised to attempts under way, and bodies sent in vain."""

    def __init__(self, messages: int, bodies_in_vain: int = BODIES_IN_VAIN) -> None:
        self._messages, self._bodies_in_vain = messages, bodies_in_vain
        self._taken: Counter[Place] = Counter()
        self._in_vain: Counter[Place] = Counter()

    def share(self, places: Iterable[Place]) -> Share:
        """The share of a target that lies at these places: what was spent at the worst of them counts."""
        return Share(self, tuple(places))

    def has_room(self, places: tuple[Place, ...]) -> bool:
        """Whether every one of the places may be handed one more message."""
        return (
            max(self._taken[place] for place in places) < self._messages
            and max(self._in_vain[place] for place in places) < self._bodies_in_vain
        )

    def take(self, places: tuple[Place, ...], messages: int) -> None:
        """Spend so many messages at each place, or give them back."""
        self._taken.update(dict.fromkeys(places, messages))

    def waste(self, places: tuple[Place, ...], bodies: int) -> None:
        """Note so many bodies that were refused after their last octet."""
        self._in_vain.update(dict.fromkeys(places, bodies))


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
        if not self._allowance.has_room(self._places):
            return False
        self._allowance.take(self._places, 1)
        self._is_reserved = True
        return True

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
