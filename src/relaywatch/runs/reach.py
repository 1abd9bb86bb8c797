"""How far an address means the same host: on this machine, within a network, everywhere."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum

from relaywatch.model.places import Address
from relaywatch.targets.reserved import is_private


class Reach(IntEnum):
    """Where an address is known by its own."""

    MACHINE = 0
    NETWORK = 1
    EVERYWHERE = 2


def reach_of(address: Address) -> Reach:
    """Where the address means this host and no other."""
    if address.is_loopback:
        return Reach.MACHINE
    return Reach.NETWORK if is_private(address) or address.is_link_local else Reach.EVERYWHERE


def can_reach(targets: Iterable[Address], ours: Address) -> bool:
    """Whether at each of the targets the address means our host.

    What is known here by a private address may be as well what is reached by one. To whoever is further
    away it means another host, or the target itself.
    """
    return reach_of(ours) >= max(map(reach_of, targets))
