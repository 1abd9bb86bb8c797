"""Which paces a target's connections keep: the run's in all, and what its permission leaves of the rest."""

from __future__ import annotations

from math import inf

from relaywatch.engine.pace import Buckets, Pace, Rates
from relaywatch.targets.permissions import Permission
from relaywatch.targets.scope import LOOPBACK


class Pacing:
    """All paces of one run.

    Every connection keeps the run's overall rate. Beyond that, a permission that sets a ``rate`` speaks for
    the networks that it covers, so that this rate takes the place of our caution towards a network; our
    caution towards each single address stays. Loopback is the user's own machine, and is spared nothing.

    All processes of a run that have the same ``buckets`` keep to the rates together.
    """

    def __init__(self, rates: Rates, buckets: Buckets | None = None) -> None:
        self.buckets = buckets if buckets is not None else Buckets()
        overall = Rates(overall=rates.overall, overall_burst=rates.overall_burst, **_UNBOUND)
        address = Rates(overall=inf, per_address=rates.per_address, per_network=inf, burst=rates.burst)
        network = Rates(overall=inf, per_address=inf, per_network=rates.per_network, burst=rates.burst)
        self._overall = Pace(overall, self.buckets, name="run")
        self._address = Pace(address, self.buckets, name="address")
        self._network = Pace(network, self.buckets, name="network")
        self._permissions: dict[Permission, Pace] = {}

    def for_permission(self, permission: Permission) -> tuple[Pace, ...]:
        """The paces that connections under this permission keep, all of them."""
        if permission is LOOPBACK:
            return (self._overall,)
        if permission.rate is None:
            return (self._overall, self._address, self._network)
        if permission not in self._permissions:
            rates = Rates(overall=permission.rate, overall_burst=1, **_UNBOUND)
            self._permissions[permission] = Pace(rates, self.buckets, name=f"permission {permission!r}")
        return (self._overall, self._address, self._permissions[permission])


_UNBOUND = {"per_address": inf, "per_network": inf}
