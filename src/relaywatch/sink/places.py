"""Which of our listeners a proxy finds at an address of ours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from relaywatch.model.places import Address, Endpoint
from relaywatch.script.brief import CanaryPlaces


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """Where a sink listens, for what; and where it makes sure that nobody does."""

    canaries: tuple[Endpoint, ...]
    smtp: tuple[Endpoint, ...]
    datagrams: tuple[Endpoint, ...]
    dead: tuple[Endpoint, ...]

    def places(self, addresses: Sequence[Address], *, translated: Iterable[Address] = ()) -> CanaryPlaces:
        """What is to be had at every one of those addresses at which a canary waits.

        ``translated`` are addresses that lead here by a router's translation, whatever address of that
        family is listened on. Where no port waits at all of the addresses, it is the first of them.
        """
        anywhere = frozenset(translated)
        reached = tuple(one for one in addresses if _ports([one], self.canaries, anywhere))
        if not _ports(reached, self.canaries, anywhere):
            reached = reached[:1]
        return CanaryPlaces(
            addresses=reached,
            ports=_ports(reached, self.canaries, anywhere),
            smtp_ports=_ports(reached, self.smtp, anywhere),
            udp_port=next(iter(_ports(reached, self.datagrams, anywhere)), None),
            dead_port=next(iter(_ports(reached, self.dead, anywhere)), None),
        )


def _ports(
    addresses: Sequence[Address], listening: Sequence[Endpoint], anywhere: frozenset[Address]
) -> tuple[int, ...]:
    """The ports that are listened on at every one of the addresses, each once, in the order given."""
    ports = dict.fromkeys(endpoint.port for endpoint in listening)
    return tuple(
        port
        for port in ports
        if addresses
        and all(
            any(one.port == port and _is_at(one, address, anywhere) for one in listening)
            for address in addresses
        )
    )


def _is_at(endpoint: Endpoint, address: Address, anywhere: frozenset[Address]) -> bool:
    if endpoint.address.version != address.version:
        return False
    return endpoint.address == address or endpoint.address.is_unspecified or address in anywhere
