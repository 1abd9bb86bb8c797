"""What an attempt needs from the run that it is part of."""

from __future__ import annotations

import asyncio
from typing import Protocol

from relaywatch.model.evidence import Arrival, Observation
from relaywatch.model.places import Address
from relaywatch.model.tokens import Token


class Surroundings(Protocol):
    """The run, as one attempt sees it; called from the event loop, so none of it may block."""

    def may_send(self) -> bool:
        """Whether the target may be handed one more message."""

    def await_arrival(self, tokens: tuple[Token, ...]) -> asyncio.Future[Arrival | None]:
        """Give the first arrival of one of the canaries, or nothing once the waiting time is over."""

    def observed(self, observation: Observation) -> None:
        """Take note of an observation, as soon as it is made."""

    def admit(self, address: Address) -> float:
        """Reserve a place for a connection, and say in how many seconds it may be opened."""
