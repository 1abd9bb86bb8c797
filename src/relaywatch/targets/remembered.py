"""Which addresses have been met, of however many, in little memory."""

from __future__ import annotations

from pyroaring import BitMap

from relaywatch.model.places import Address


class Remembered:
    """A set of addresses: a few bits for each of IPv4, a number for each of IPv6, of which nobody lists ranges."""

    __slots__ = ("_four", "_six")

    def __init__(self) -> None:
        self._four = BitMap()
        self._six: set[int] = set()

    def __contains__(self, address: Address) -> bool:
        return int(address) in (self._four if address.version == 4 else self._six)

    def __len__(self) -> int:
        return len(self._four) + len(self._six)

    def add(self, address: Address) -> None:
        """Remember one more."""
        (self._four if address.version == 4 else self._six).add(int(address))
