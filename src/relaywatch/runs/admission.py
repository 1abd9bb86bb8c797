"""Ports of our sink that are opened for one host, and who may come to them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol

from relaywatch.model.places import Address, Endpoint
from relaywatch.model.tokens import Token
from relaywatch.targets.exclusions import Exclusions
from relaywatch.targets.permissions import Permission
from relaywatch.targets.scope import LOOPBACK

from .hosts import Host


def covers(host: Host, permission: Permission, exclusions: Exclusions, address: Address) -> bool:
    """Whether a host's permission covers an address, and nobody excluded it; its own is covered anyway."""
    if address in host.addresses:
        return True
    if address in exclusions:
        return False
    if permission is LOOPBACK:
        return address.is_loopback
    return permission.prefix_length(address) is not None


@dataclass(frozen=True, slots=True)
class Admission:
    """Says of a peer whether it may be the host, or one of its permission's, and not whoever scans our ports."""

    host: Host
    permission: Permission
    exclusions: Exclusions
    ours: Address
    """Where our port is: on this machine a peer has our own address."""

    def __call__(self, peer: Address) -> bool:
        """Whether the peer's connection counts."""
        is_here = self.permission is LOOPBACK and peer == self.ours
        return is_here or covers(self.host, self.permission, self.exclusions, peer)


class Ports(Protocol):
    """Whoever opens ports of our sink's for single tokens."""

    def open_port(self, token: Token, address: Address, admits: Admission) -> asyncio.Future[Endpoint | None]:
        """Have our sink listen there on a port of the token's own, for these peers; nothing if it can't."""

    def close_port(self, token: Token) -> None:
        """Close that port."""
