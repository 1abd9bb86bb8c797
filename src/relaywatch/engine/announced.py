"""Addresses that the target has announced, and that a script wants to go to (SOCKS5 BIND, TURN, FTP)."""

from __future__ import annotations

from relaywatch.model.errors import NotPermittedError
from relaywatch.model.places import Address, Endpoint, embedded_ipv4, parse_address

from .surroundings import Surroundings


def permitted(announced: Endpoint, own: Address, surroundings: Surroundings) -> Endpoint:
    """The endpoint in the one form of its address, if it is the target's own or the run permits it.

    Linux takes an unspecified address for its own loopback; so neither such nor groups of hosts are anybody's
    announcement, also where they are written in an IPv6 address.

    :raises NotPermittedError: if not.
    """
    try:
        address = parse_address(str(announced.address))
    except ValueError as failure:  # a zone id names an interface of ours
        raise NotPermittedError(f"the target led us to {announced}: {failure}") from None
    if not 0 < announced.port < 1 << 16:
        raise NotPermittedError(f"the target led us to {announced}: no such port")
    for leads_to in (address, embedded_ipv4(address)):
        if leads_to is not None and not _is_one_host(leads_to):
            raise NotPermittedError(f"the target led us to {announced}: not the address of one host")
    if address != parse_address(str(own)) and not surroundings.permits(address):
        raise NotPermittedError(f"the target led us to {announced}, which no permission covers")
    return Endpoint(address, announced.port)


def _is_one_host(address: Address) -> bool:
    is_broadcast = address.version == 4 and int(address) == 0xFFFF_FFFF
    return not (address.is_unspecified or address.is_multicast or is_broadcast)
