"""Sets of addresses, as servers write them: unions of networks and ranges, less what is taken out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_network, summarize_address_range
from typing import TypeAlias

from relaywatch.model.places import Address
from relaywatch.targets.reserved import Network

from .claims import Claim, ClaimKind
from .conditions import ALWAYS, Condition, any_of, claimed

_Piece: TypeAlias = tuple[int, int]
_BITS = {4: 32, 6: 128}
_CLASSES = {4: IPv4Address, 6: IPv6Address}
_PUBLIC_6 = IPv6Network("2000::/3")
_WIDE = {4: 1 << (32 - 16), 6: 1 << (128 - 29)}
"""Public addresses beyond which a network is no single owner's: a /16, and the /29 that a registry gives."""
_NEARLY_ALL = 0.5


@dataclass(frozen=True)
class AddressSet:
    """Addresses of both families; empty by default."""

    pieces_4: tuple[_Piece, ...] = ()
    pieces_6: tuple[_Piece, ...] = ()

    @classmethod
    def of(cls, networks: Iterable[Network | str]) -> AddressSet:
        """The union of networks.

        :raises ValueError: if one is no network.
        """
        read = [ip_network(network, strict=False) for network in networks]
        return cls(
            *(
                _merged(
                    (int(n.network_address), int(n.broadcast_address)) for n in read if n.version == version
                )
                for version in (4, 6)
            )
        )

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
            _merged((*self.pieces_4, *other.pieces_4)), _merged((*self.pieces_6, *other.pieces_6))
        )

    def __sub__(self, other: AddressSet) -> AddressSet:
        return AddressSet(_without(self.pieces_4, other.pieces_4), _without(self.pieces_6, other.pieces_6))

    def __and__(self, other: AddressSet) -> AddressSet:
        return self - (self - other)

    def __contains__(self, address: Address) -> bool:
        pieces = self.pieces_4 if address.version == 4 else self.pieces_6
        return any(first <= int(address) <= last for first, last in pieces)

    def __bool__(self) -> bool:
        return bool(self.pieces_4 or self.pieces_6)

    def networks(self, version: int) -> tuple[Network, ...]:
        """The networks that make up this family's part, fewest possible."""
        pieces, kind = (self.pieces_4 if version == 4 else self.pieces_6), _CLASSES[version]
        return tuple(
            network
            for first, last in pieces
            for network in summarize_address_range(kind(first), kind(last))  # type: ignore[call-overload]
        )

    def size(self, version: int) -> int:
        """How many addresses of the family there are in it."""
        return sum(last - first + 1 for first, last in (self.pieces_4 if version == 4 else self.pieces_6))

    @cached_property
    def public(self) -> AddressSet:
        """Those that may be anybody's on the Internet."""
        return self & PUBLIC

    def has_strangers(self, version: int, allowed: AddressSet) -> Condition:
        """Whether a stranger of this family is in it: surely, if he comes from a wide network in it, or never.

        What the owner allows, and what may well be the owner's own, is no stranger's.
        """
        strangers = self.public - allowed
        if strangers.size(version) >= _NEARLY_ALL * PUBLIC.size(version):
            return ALWAYS
        wide = [
            AddressSet.of([network])
            for network in strangers.networks(version)
            if network.num_addresses >= _WIDE[version]
        ]
        return any_of(claimed(Claim(ClaimKind.CLIENT_ADDRESS, str(one.networks(version)[0]))) for one in wide)


def _merged(pieces: Iterable[_Piece]) -> tuple[_Piece, ...]:
    merged: list[_Piece] = []
    for first, last in sorted(pieces):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = merged[-1][0], max(last, merged[-1][1])
        else:
            merged.append((first, last))
    return tuple(merged)


def _without(pieces: tuple[_Piece, ...], others: tuple[_Piece, ...]) -> tuple[_Piece, ...]:
    left = list(pieces)
    for out_first, out_last in others:
        left = [
            part
            for first, last in left
            for part in ((first, min(last, out_first - 1)), (max(first, out_last + 1), last))
            if part[0] <= part[1]
        ]
    return tuple(left)


NOBODYS = AddressSet.of(
    [
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "224.0.0.0/3",
    ]
)
"""IPv4 that no stranger comes from, unless something in front hides him."""
PUBLIC = AddressSet.of(["0.0.0.0/0", _PUBLIC_6]) - NOBODYS
PRIVATE = AddressSet.of(["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"])
LOOPBACK = AddressSet.of(["127.0.0.0/8", "::1/128"])
NOBODY = AddressSet()
"""The empty set."""
