"""Who the stranger of a proof is: somebody whom the configuration has no reason to know, or whom it trusts by mistake."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from ipaddress import ip_address, ip_network

from relaywatch.audit.addresses import AddressSet
from relaywatch.audit.auditing import report
from relaywatch.audit.claims import Claim, ClaimKind
from relaywatch.audit.findings import AuditVerdict
from relaywatch.audit.server import Server
from relaywatch.audit.setup import Setup
from relaywatch.model.places import Address

from .sandbox_network import DNS, SINK, STRANGER

_INSTEAD = {
    4: (STRANGER[0], *map(ip_address, ("192.0.2.10", "198.18.113.10", "130.1.2.10"))),
    6: (STRANGER[1], *map(ip_address, ("3fff:113::10", "2a00:db8:113::10"))),
}
"""The usual one; others for configurations that have documentation's addresses for their owner's networks."""
_OWNERS = {4: 16, 6: 29}
"""A public network as narrow as that, or narrower, is taken to be the owner's, as the audit does."""
_WRITTEN = re.compile(r"(?<![\w.:])[0-9A-Fa-f:.]{3,39}(?:/\d{1,3})?(?![\w.:])")
_THROUGH = frozenset({AuditVerdict.OPEN, AuditVerdict.OPEN_IF})


def strangers_for(server: Server, setup: Setup) -> tuple[Address, Address]:
    """His addresses, IPv4 and IPv6: outside of every network of the owner's.

    Where somebody gets through who comes from a certain wide network alone, he comes from there.
    """
    here = setup.afresh()
    told = report(server, here)
    written = list(_written(source.text for source in here.sources.values()))
    claims = [one.claims for one in told.findings if one.verdict in _THROUGH]
    four, six = (_stranger(version, written, claims, setup.allowed) for version in (4, 6))
    return four, six


def _stranger(
    version: int, written: Iterable[AddressSet], claims: Iterable[tuple[Claim, ...]], allowed: AddressSet
) -> Address:
    taken = [*written, allowed]
    usual = next((one for one in _INSTEAD[version] if not any(one in known for known in taken)), None)
    places = [[one for one in each if one.kind is ClaimKind.CLIENT_ADDRESS] for each in claims]
    if usual and (not places or any(_meets(usual, each) for each in places)):
        return usual
    for each in places:
        for claim in (one for one in each if not one.negated):
            for network in (AddressSet.of(claim.value.split(", ")) - allowed).networks(version):
                client = network[min(9, network.num_addresses - 1)]
                if client not in {*SINK, DNS} and _meets(client, each):
                    return client
    return usual or STRANGER[version == 6]


def _meets(client: Address, claims: Iterable[Claim]) -> bool:
    """Whether he comes from where they all say."""
    return all((client in AddressSet.of(one.value.split(", "))) is not one.negated for one in claims)


def _written(texts: Iterable[str]) -> Iterator[AddressSet]:
    """The networks of an owner's size that stand in the configuration."""
    for found in {one[0] for text in texts for one in _WRITTEN.finditer(text)}:
        try:
            network = ip_network(found.strip("."), strict=False)
        except ValueError:
            continue
        if network.prefixlen >= _OWNERS[network.version]:
            yield AddressSet.of([str(network)])
