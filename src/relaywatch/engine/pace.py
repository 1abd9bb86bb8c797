"""How fast connections may be opened: in all, to one address, and into one network."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from relaywatch.model.places import Address

from .slate import Slate, key_of

_HOST_BITS = {4: 32 - 24, 6: 128 - 48}
_MAX_FACTOR = 64.0
_REMEMBERED = 600.0
"""Seconds for which an address that was backed off from is remembered, once nothing more is asked of it."""
_ROWS = 1 << 18
"""Buckets that are in use at once: of the addresses and networks that a connection went to a moment ago."""
_FACTOR = 1
"""Behind when it is full, which comes first."""
_KEYS = (1 << 64) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Connections a second, and how many may come at once after a rest."""

    overall: float = 200.0
    per_address: float = 4.0
    per_network: float = 20.0
    """A network is an IPv4 /24 or an IPv6 /48: usually one organisation's."""
    burst: float = 4.0
    overall_burst: float = 50.0


class Buckets(Slate):
    """Token buckets, for any number of paces and processes.

    Each is two numbers: when it is full again (the generic cell rate algorithm), and the factor by which it is
    slowed down.
    """

    def __init__(self, rows: int = _ROWS, *, fd: int | None = None) -> None:
        super().__init__(2, rows, fd=fd)


class Pace:
    """Keeps connections to the rates; the clock is the caller's, in seconds, never goes back, and is the machine's.

    A place is paid for when it is asked for, so that a slow address holds up nobody else. The buckets may be those
    of other paces and processes as well: all together keep to the rates then, by paces of the same ``name``.
    """

    def __init__(self, rates: Rates | None = None, buckets: Buckets | None = None, *, name: str = "") -> None:
        self._rates = rates or Rates()
        self._buckets = buckets if buckets is not None else Buckets()
        self._overall = key_of(name, "overall")
        self._salt = key_of(name)

    def admit(self, address: Address, now: float) -> float:
        """Reserve a place for a connection, and say in how many seconds it may be opened."""
        rates = self._rates
        with self._buckets.held():
            delay = 0.0
            if rates.per_address != inf:
                row = self._row(self._key_of_address(address), now)
                factor = self._buckets.cells[row + _FACTOR] or 1.0
                burst = rates.burst if factor == 1.0 else 1.0  # slowed down, an address has no burst either
                delay = self._charge(row, now, factor / rates.per_address, burst)
            if rates.per_network != inf:
                row = self._row(self._key_of_network(address), now)
                delay = max(delay, self._charge(row, now, 1 / rates.per_network, rates.burst))
            if rates.overall != inf:
                row = self._row(self._overall, now)
                delay = max(delay, self._charge(row, now, 1 / rates.overall, rates.overall_burst))
        return delay

    def back_off(self, address: Address, now: float, factor: float = 2.0) -> None:
        """Make the address's connections rarer by the factor, on top of what was asked before."""
        if self._rates.per_address == inf:
            return
        with self._buckets.held():
            row = self._row(self._key_of_address(address), now)
            before = self._buckets.cells[row + _FACTOR] or 1.0
            self._buckets.cells[row + _FACTOR] = min(before * factor, _MAX_FACTOR)
            self._buckets.cells[row] = max(self._buckets.cells[row], now)

    def _charge(self, row: int, now: float, interval: float, burst: float) -> float:
        cells = self._buckets.cells
        full_at = cells[row]
        cells[row] = max(full_at, now) + interval
        return max(0.0, full_at - (burst - 1) * interval - now)

    def _row(self, key: int, now: float) -> int:
        cells = self._buckets.cells

        def is_spent(row: int) -> bool:
            """Whether the bucket is full by now, and so as good as a new one."""
            return cells[row] + (_REMEMBERED if cells[row + _FACTOR] else 0.0) <= now

        return self._buckets.row(key, is_spent)

    def _key_of_address(self, address: Address) -> int:
        return hash((self._salt, address.version, int(address))) & _KEYS or 1

    def _key_of_network(self, address: Address) -> int:
        return hash((self._salt, -address.version, int(address) >> _HOST_BITS[address.version])) & _KEYS or 1
