"""How fast connections may be opened: in all, to one address, and into one network."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from relaywatch.model.places import Address

_HOST_BITS = {4: 32 - 24, 6: 128 - 48}
_MAX_FACTOR = 64.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Connections a second, and how many may come at once after a rest."""

    overall: float = 200.0
    per_address: float = 4.0
    per_network: float = 20.0
    """A network is an IPv4 /24 or an IPv6 /48: usually one organisation's."""
    burst: float = 4.0
    overall_burst: float = 50.0


@dataclass(slots=True)
class _Bucket:
    """A token bucket as one number: when it is full again (the generic cell rate algorithm)."""

    full_at: float = 0.0

    def delay(self, now: float, interval: float, burst: float) -> float:
        return max(0.0, self.full_at - (burst - 1) * interval - now)

    def charge(self, now: float, interval: float) -> None:
        self.full_at = max(self.full_at, now) + interval


class Pace:
    """Token buckets for all addresses; the clock is the caller's, in seconds, and never goes back.

    A place is paid for when it is asked for, so that a slow address holds up nobody else. Memory is
    bounded: beyond ``max_addresses`` the buckets are forgotten that come nearest to being full.
    """

    def __init__(self, rates: Rates | None = None, *, max_addresses: int = 100_000) -> None:
        self._rates = rates or Rates()
        self._max_addresses = max_addresses
        self._overall = _Bucket()
        self._buckets: dict[object, _Bucket] = {}
        self._factors: OrderedDict[Address, float] = OrderedDict()

    def admit(self, address: Address, now: float) -> float:
        """Reserve a place for a connection, and say in how many seconds it may be opened."""
        rates = self._rates
        factor = self._factors.get(address, 1.0)
        # Slowed down, an address has no burst either.
        own_burst = rates.burst if factor == 1.0 else 1.0
        asked = (
            (self._overall, 1 / rates.overall, rates.overall_burst),
            (self._bucket(_network_of(address), now), 1 / rates.per_network, rates.burst),
            (self._bucket(address, now), factor / rates.per_address, own_burst),
        )
        delay = max(bucket.delay(now, interval, burst) for bucket, interval, burst in asked)
        for bucket, interval, _burst in asked:
            bucket.charge(now, interval)
        return delay

    def back_off(self, address: Address, factor: float = 2.0) -> None:
        """Make the address's connections rarer by the factor, on top of what was asked before."""
        self._factors[address] = min(self._factors.pop(address, 1.0) * factor, _MAX_FACTOR)
        if len(self._factors) > self._max_addresses:
            self._factors.popitem(last=False)

    def _bucket(self, key: object, now: float) -> _Bucket:
        bucket = self._buckets.get(key)
        if bucket is None:
            if len(self._buckets) >= 2 * self._max_addresses:
                self._forget(now)
            bucket = self._buckets[key] = _Bucket()
        return bucket

    def _forget(self, now: float) -> None:
        """Drop the full buckets, which are as good as new, and at least a quarter of all."""
        ranked = sorted(self._buckets, key=lambda key: self._buckets[key].full_at)
        for number, key in enumerate(ranked):
            if number > len(ranked) // 4 and self._buckets[key].full_at > now:
                break
            del self._buckets[key]


def _network_of(address: Address) -> object:
    return address.version, int(address) >> _HOST_BITS[address.version]
