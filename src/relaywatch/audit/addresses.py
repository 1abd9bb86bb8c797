"""Sets of addresses, as servers write them: unions of networks and ranges, less what is taken out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from ipaddress import IPv4Address, IPv6Address, summarize_address_range

from relaywatch.model.places import Address
from relaywatch.targets.reserved import Network

from .claims import Claim, ClaimKind
from .conditions import ALWAYS, NEVER, Condition, Way, claimed, joined
from .intervals import Pieces, common, count, holds, merged, pieces_of, without
from .origins import PUBLIC_4, PUBLIC_6

_CLASSES = {4: IPv4Address, 6: IPv6Address}
_WIDE = {4: 1 << (32 - 16), 6: 1 << (128 - 29)}
"""Public addresses beyond which a network is no single owner's: a /16, and the /29 that a registry gives."""


@dataclass(frozen=True)
class AddressSet:
    """Addresses of both families; empty by default."""

    pieces_4: Pieces = ()
    pieces_6: Pieces = ()

    @classmethod
    def of(cls, networks: Iterable[Network | str]) -> AddressSet:
        """The union of networks.

        :raises ValueError: if one is no network.
        """
        return cls(*pieces_of(networks))

    @classmethod
    def span(cls, first: Address, last: Address) -> AddressSet:
        """All from the first to the last, which are of one family."""
        piece = ((int(first), int(last)),) if int(first) <= int(last) else ()
        return cls(pieces_4=piece) if first.version == 4 else cls(pieces_6=piece)

    @classmethod
    def everything(cls) -> AddressSet:
        """Every address."""
        return cls.of(["0.0.0.0/0", "::/0"])

    def __or__(self, other: AddressSet) -> AddressSet:
        return AddressSet(
            merged((*self.pieces_4, *other.pieces_4)), merged((*self.pieces_6, *other.pieces_6))
        )

    def __sub__(self, other: AddressSet) -> AddressSet:
        return AddressSet(without(self.pieces_4, other.pieces_4), without(self.pieces_6, other.pieces_6))

    def __and__(self, other: AddressSet) -> AddressSet:
        return AddressSet(common(self.pieces_4, other.pieces_4), common(self.pieces_6, other.pieces_6))

    def __contains__(self, address: Address) -> bool:
        return holds(self.pieces(address.version), int(address))

    def __bool__(self) -> bool:
        return bool(self.pieces_4 or self.pieces_6)

    def pieces(self, version: int) -> Pieces:
        """One family's, as intervals of numbers."""
        return self.pieces_4 if version == 4 else self.pieces_6

    def only(self, version: int) -> AddressSet:
        """Those of one family."""
        return AddressSet(pieces_4=self.pieces_4) if version == 4 else AddressSet(pieces_6=self.pieces_6)

    def networks(self, version: int) -> tuple[Network, ...]:
        """The networks that make up this family's part, fewest possible."""
        kind = _CLASSES[version]
        return tuple(
            network
            for first, last in self.pieces(version)
            for network in summarize_address_range(kind(first), kind(last))  # type: ignore[call-overload]
        )

    def size(self, version: int) -> int:
        """How many addresses of the family there are in it."""
        return count(self.pieces(version))

    @cached_property
    def public(self) -> AddressSet:
        """Those that may be anybody's on the Internet."""
        return self & PUBLIC

    def has_strangers(self, version: int, allowed: AddressSet) -> Condition:
        """Whether a stranger of this family, who comes straight, is in it: whoever he is, from some networks, or never.

        What the owner allows, and what is narrow enough to be the owner's own, is no stranger's. Claims of one
        family say nothing of the other: evaluate a list of rules for each family by itself. `Setup.strangers`
        asks the same of those too who come through something in front.
        """
        if all(last - first + 1 < _WIDE[version] for first, last in self.pieces(version)):
            return NEVER  # at once: such are most of a list's
        return _has_strangers(self, version, allowed)


@lru_cache(maxsize=256)
def _has_strangers(addresses: AddressSet, version: int, allowed: AddressSet) -> Condition:
    inside = (addresses & PUBLIC) - allowed
    if all(last - first + 1 < _WIDE[version] for first, last in inside.pieces(version)):
        return NEVER
    outside = PUBLIC - addresses - allowed
    within = _stated(addresses, inside, version)
    elsewhere = _stated(AddressSet.everything() - addresses, outside, version)
    if not within or not elsewhere:
        return ALWAYS if within else NEVER
    if inside.size(version) >= outside.size(version):
        condition = ~claimed(Claim(ClaimKind.CLIENT_ADDRESS, elsewhere))
    else:
        condition = claimed(Claim(ClaimKind.CLIENT_ADDRESS, within))
    owners = _stated(allowed, allowed & PUBLIC, version)
    if not owners:
        return condition
    # A stranger is none of the owner's, whether it is true or false: else a way might be left to the owner alone.
    stranger = Way(frozenset({Claim(ClaimKind.CLIENT_ADDRESS, owners, negated=True)}))
    return Condition(joined(condition.true, (stranger,)), joined(condition.false, (stranger,)))


def _stated(addresses: AddressSet, strangers: AddressSet, version: int) -> str:
    """Those of its networks that have wide ones of strangers in them, as a claim states them: any of these."""
    wide = merged(
        (int(network.network_address), int(network.broadcast_address))
        for network in strangers.networks(version)
        if network.num_addresses >= _WIDE[version]
    )
    return ", ".join(str(network) for network in addresses.networks(version) if _overlaps(network, wide))


def _overlaps(network: Network, pieces: Pieces) -> bool:
    return bool(common(((int(network.network_address), int(network.broadcast_address)),), pieces))


PUBLIC = AddressSet(PUBLIC_4, PUBLIC_6)
"""Addresses that may be anybody's on the Internet."""
PRIVATE = AddressSet.of(["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"])
LOOPBACK = AddressSet.of(["127.0.0.0/8", "::1/128"])
NOBODY = AddressSet()
"""The empty set."""
