"""Whom to try: what Sendmail's tables and classes know, as claims."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from relaywatch.audit.addresses import AddressSet
from relaywatch.audit.claims import Claim, ClaimKind
from relaywatch.audit.domains import is_public_suffix
from relaywatch.audit.findings import Cause
from relaywatch.audit.setup import FrontEnd, Setup
from relaywatch.audit.strangers import Client, Said, claiming, typical, wide_clients

from .tables import Entry, addresses_of

POINTING = "points-here.example"
_SUFFIXES = ("example", "test", "invalid")
_MOST = 12
_MOST_NETWORKS = 4


@dataclass(frozen=True, slots=True)
class Known:
    """What a configuration knows by name."""

    own: tuple[str, ...]
    relayed: tuple[str, ...]
    """Class R, and class m: domains and addresses' beginnings."""
    entries: tuple[Entry, ...]
    asks_for_mx: bool
    trusts_senders: bool

    @property
    def outside(self) -> str:
        """A suffix that no line means: just anybody is under it."""
        named = {one.name.strip(".") for one in self.entries} | {one.strip(".") for one in self.relayed}
        return next((suffix for suffix in _SUFFIXES if suffix not in named), _SUFFIXES[0])

    @property
    def named(self) -> str:
        """The name of just anybody's address."""
        return f"client.anywhere.{self.outside}"

    def _relaying(self, *tags: str) -> list[str]:
        return [one.name for one in self.entries if one.tag in {"", *tags} and one.value.upper() == "RELAY"]

    def address_sets(self) -> list[AddressSet]:
        """The addresses that it trusts: each entry's, and all together."""
        sets = [addresses_of(text) for text in (*self.relayed, *self._relaying("connect"))]
        found = [one for one in sets if one]
        everything = AddressSet()
        for one in found:
            everything |= one
        return [everything, *found] if found else []

    def clients(self, version: int, setup: Setup, fronts: Iterable[FrontEnd]) -> Iterator[Client]:
        """Clients of a family that aren't just anybody."""
        exceptions = [addresses_of(one.name) for one in self.entries if one.value.upper() != "RELAY"]
        for one in self.address_sets()[1 : _MOST * 2]:
            left = one
            for exception in exceptions:
                left -= exception if one - exception else AddressSet()
            for client in wide_clients(version, left, setup.allowed, _MOST_NETWORKS):
                yield Client(client.address, self.named, client.claims)
        anywhere = typical(version, self.address_sets(), setup.allowed)
        for suffix in self._suffixes("connect"):
            name = f"client.elsewhere.{suffix}"
            yield Client(anywhere, name, frozenset({Claim(ClaimKind.CLIENT_NAME, name)}))
        for front in fronts:
            for network in front.addresses.networks(version)[:_MOST_NETWORKS]:
                claims = frozenset({Claim(ClaimKind.FRONT_END, front.name)})
                cause = Cause(front.name, front.position, "sm-front-end")
                yield Client(network[0], self.named, claims, (cause,), ClaimKind.FRONT_END)

    def senders(self) -> Iterator[Said]:
        """No reverse-path; own mailboxes; and those that the table knows."""
        yield claiming(ClaimKind.REVERSE_PATH, "")
        texts = [f"postmaster@{one}" for one in self.own if "." in one and not one.startswith("[")][:3]
        if self.trusts_senders:
            for name in self._relaying("from"):
                if addresses_of(name):
                    continue
                texts.append(name if "@" in name.strip("@") else f"postmaster@{name.strip('.@')}")
        for text in list(dict.fromkeys(texts))[: _MOST * 2]:
            yield claiming(ClaimKind.REVERSE_PATH, text)

    def recipients(self) -> Iterator[Said]:
        """Domains elsewhere that an entry means too, a domain that points here, and routes."""
        for suffix in self._suffixes("to"):
            yield claiming(ClaimKind.FORWARD_PATH, f"someone@elsewhere.{suffix}")
        if self.asks_for_mx:
            claim = Claim(ClaimKind.DNS, f"{POINTING} MX this server")
            path = Claim(ClaimKind.FORWARD_PATH, f"someone@{POINTING}")
            yield Said(path.value, frozenset({claim, path}))
        relayed = (*self.relayed, *self._relaying("to"))
        domains = [one for one in relayed if "." in one and "@" not in one and not addresses_of(one)][:3]
        own = [one for one in self.own if "." in one and not one.startswith("[")][:1]
        for domain in dict.fromkeys((*domains, *own)):
            there = f"elsewhere.{self.outside}"
            for local in (f"someone%{there}", f"{there}!someone", f'"someone@{there}"'):
                yield claiming(ClaimKind.FORWARD_PATH, f"{local}@{domain}")

    def _suffixes(self, tag: str) -> list[str]:
        """Entries under which anybody may have a domain."""
        names = dict.fromkeys(one.strip(".") for one in (*self.relayed, *self._relaying(tag)))
        return [
            one for one in names if one and not addresses_of(one) and "@" not in one and is_public_suffix(one)
        ][:_MOST]
