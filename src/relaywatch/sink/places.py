"""Which of our listeners a proxy finds at an address of ours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from relaywatch.model.places import Address, Endpoint


def at_each(
    addresses: Sequence[Address], listening: Iterable[Endpoint], *, translated: Iterable[Address] = ()
) -> tuple[int, ...]:
    """The ports that are listened on at every one of the addresses, each once, in the order given.

    ``translated`` are addresses that lead here by a router's translation, whatever address of that family
    is listened on.
    """
    everything = tuple(listening)
    anywhere = frozenset(translated)
    ports = dict.fromkeys(endpoint.port for endpoint in everything)
    return tuple(
        port
        for port in ports
        if addresses
        and all(
            any(one.port == port and _is_at(one, address, anywhere) for one in everything)
            for address in addresses
        )
    )


def _is_at(endpoint: Endpoint, address: Address, anywhere: frozenset[Address]) -> bool:
    if endpoint.address.version != address.version:
        return False
    return endpoint.address == address or endpoint.address.is_unspecified or address in anywhere
