"""What an attempt needs from the run that it is part of."""

from __future__ import annotations

import asyncio
from typing import Protocol

from relaywatch.model.evidence import Arrival, Observation
from relaywatch.model.places import Address, Endpoint, Family
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

    def permits(self, address: Address) -> bool:
        """Whether a connection may go to another address, which the target has announced.

        Never asked of the attempt's own address; the address is no IPv4-mapped one, but may embed an IPv4
        address in other ways (`relaywatch.model.places.embedded_ipv4`).
        """

    def is_canary(self, endpoint: Endpoint) -> bool:
        """Whether a canary of our own sink is there, so that the target may be asked to connect to it."""

    def open_port(self, token: Token, family: Family) -> asyncio.Future[Endpoint | None]:
        """Have our sink listen on a port of the token's own; nothing if it can't.

        Cancelling the future gives up on it.
        """

    def close_port(self, token: Token) -> None:
        """Close the token's port, or give up on opening it; asked once of each port that was asked for."""
