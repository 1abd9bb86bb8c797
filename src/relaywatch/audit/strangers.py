"""Strangers made up one by one: who he is, what he says, and what he claims with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from ipaddress import ip_address
from itertools import permutations

from relaywatch.model.places import Address

from .addresses import AddressSet
from .claims import Claim, ClaimKind
from .findings import Cause
from .origins import EVERY_4

UNNAMED = "unknown"
"""The name of a client whose address has none."""
OUTSIDE_DOMAINS = ("elsewhere.example", "outside.test", "foreign.invalid", "elsewhere.zz")
"""The last is for who refuses every reserved name: nobody has ``zz`` (ISO 3166-1 leaves it to users)."""
_MOST_SETS = 8
ANYBODY = "anybody@anywhere.example"
GREETING = "client.anywhere.example"
ANYBODY_ELSE = "anybody@anywhere.zz"
GREETING_ELSE = "client.anywhere.zz"
TYPICAL = {
    4: (
        "198.51.100.7",
        "203.0.113.9",
        *(f"{octet}.{(octet * 7) % 250}.{(octet * 31) % 250}.77" for octet in range(3, 223, 6)),
    ),
    6: ("2001:db8::7", "2001:db8:ffff::7", "2a00:1450::7", "2400:cb00::7", "2600:1f00::7", "3fff::7"),
}


@dataclass(frozen=True, slots=True)
class Client:
    """Where he comes from."""

    address: Address
    name: str = UNNAMED
    """Verified: his address leads to it, and it to his address."""
    claims: frozenset[Claim] = frozenset()
    causes: tuple[Cause, ...] = ()
    how: ClaimKind | None = None
    """By a front end, a PROXY header, XCLIENT; otherwise he is simply there."""
    is_logged_in: bool = False
    """By XCLIENT LOGIN, which asks for no password."""
    is_neighbour: bool = False
    """In a network of one of the server's own interfaces, whatever that is."""


@dataclass(frozen=True, slots=True)
class Said:
    """What he says at one place of the dialogue; nothing where he leaves it out."""

    text: str | None
    claims: frozenset[Claim] = frozenset()


@dataclass(frozen=True, slots=True)
class Stranger:
    """One of them."""

    client: Client
    greeting: Said
    sender: Said
    recipient: Said

    @property
    def claims(self) -> frozenset[Claim]:
        """All that he claims."""
        return self.client.claims | self.greeting.claims | self.sender.claims | self.recipient.claims

    def varied(self, what: Client | Said, name: str) -> Stranger:
        """He, but for one thing."""
        if isinstance(what, Client):
            return replace(self, client=what)
        if name == "sender":
            return replace(self, sender=what)
        return replace(self, greeting=what) if name == "greeting" else replace(self, recipient=what)


def claiming(kind: ClaimKind, value: str, text: str | None = None) -> Said:
    """Something that has to be claimed; ``text`` if that isn't what is said."""
    return Said(value if text is None else text, frozenset({Claim(kind, value)}))


def typical(version: int, sets: Iterable[AddressSet], allowed: AddressSet) -> Address:
    """An address of just anybody: in those sets that hold nearly everybody, and in no others."""
    held = [
        (one, any(way.is_free for way in one.has_strangers(version, allowed).true))
        for one in sets
        if one.size(version)
    ]
    addresses = [ip_address(text) for text in TYPICAL[version]]
    for address in addresses:
        if address not in allowed and all((address in one) is nearly_all for one, nearly_all in held):
            return address
    return addresses[0]


def unless(
    version: int, address: Address, sets: Iterable[AddressSet], allowed: AddressSet
) -> Iterator[Claim]:
    """What somebody with a typical address claims: that he comes by IPv6, and not from where others are treated apart."""
    if version == 6:
        yield Claim(ClaimKind.CLIENT_ADDRESS, EVERY_4, negated=True)
    for one in sets:
        for way in one.has_strangers(version, allowed).true:
            if address in one and way.is_free:
                yield from way.claims
    passed_over = TYPICAL[version][: TYPICAL[version].index(str(address))]
    if passed_over:
        yield Claim(ClaimKind.CLIENT_ADDRESS, ", ".join(passed_over), negated=True)


def regions(sets: Iterable[AddressSet]) -> list[AddressSet]:
    """The sets, what is outside of each, and what two of them have together or one of them alone."""
    given = list(dict.fromkeys(sets))[:_MOST_SETS]
    everything = AddressSet.everything()
    found = [*given, *(everything - one for one in given)]
    for one, other in permutations(given, 2):
        found += [one & other, one - other]
    return [one for one in dict.fromkeys(found) if one]


def wide_clients(version: int, addresses: AddressSet, allowed: AddressSet, most: int) -> Iterable[Client]:
    """A client in each wide network of strangers."""
    for way in addresses.has_strangers(version, allowed).true:
        for claim in way.claims if not way.is_free else ():
            for network in AddressSet.of(claim.value.split(", ")).networks(version)[:most]:
                yield Client(network[7], claims=frozenset({Claim(claim.kind, str(network))}))
