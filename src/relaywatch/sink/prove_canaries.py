"""The proof of the canaries: we connect to one ourselves, at its public address, and it must answer us."""

from __future__ import annotations

from dataclasses import dataclass

from relaywatch.model.places import Address, Endpoint
from relaywatch.model.tokens import Token
from relaywatch.script.brief import CanaryPlaces

from .prove import AwaitToken


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryProof:
    """The outcome: ``places`` are those that are proven, empty if none; ``detail`` is for people."""

    places: CanaryPlaces
    detail: str = ""
    """Why an address was left out; a stranger's words may stand in it."""
    endpoint: Endpoint | None = None
    """The canary that answered first."""
    seen_from: Address | None = None
    """The address of ours from which it was reached."""

    @property
    def is_proven(self) -> bool:
        """Whether a canary answered us."""
        return self.endpoint is not None


async def prove_canaries(
    places: CanaryPlaces, key: bytes, token: Token, await_token: AwaitToken
) -> CanaryProof:
    """Say a fresh token to one canary of each address, and wait until it has arrived; never raises for the network."""
    raise NotImplementedError
