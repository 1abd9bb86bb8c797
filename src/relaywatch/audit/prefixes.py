"""Tables of address prefixes in which the longest that fits decides: tcprules(1), Courier's smtpaccess."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from relaywatch.targets.reserved import Network

from .addresses import AddressSet
from .conditions import ALWAYS, Condition, Way, unknown
from .findings import Cause, Gap, GapKind, Position
from .setup import Setup


@dataclass(frozen=True, slots=True)
class Prefixed:
    """One line: whom it means, and whether they may relay."""

    addresses: AddressSet
    relays: bool
    text: str
    position: Position


def relaying(setup: Setup, lines: Sequence[Prefixed], rule: str) -> Iterable[Way]:
    """The ways in which a stranger is meant by a line that lets him relay, and by none that is more exact."""
    for line in lines:
        if not line.relays:
            continue
        twins = [other for other in lines if not other.relays and other.addresses == line.addresses]
        for version in (4, 6):
            left = line.addresses.only(version)
            for other in lines:
                if (
                    not other.relays
                    and other not in twins
                    and other.addresses
                    and not other.addresses - line.addresses
                ):
                    left -= other.addresses
            if left:
                cause = Cause(line.text, line.position, rule)
                meant = setup.strangers(left, version).because(cause)
                yield from (meant & _one_of_two(setup, twins)).true


def _one_of_two(setup: Setup, twins: Sequence[Prefixed]) -> Condition:
    """Which of two lines for one prefix counts is the table's own to say."""
    if not twins:
        return ALWAYS
    first = twins[0]
    return unknown(setup.note(Gap(GapKind.NOT_EVALUATED, f"said twice: {first.text}", first.position)))


def of_prefix(text: str) -> AddressSet:
    """What ``10.``, ``10``, ``192.0.2.1-9``, ``:2001:0db8`` or nothing at all stands for.

    :raises ValueError: if it is no address's beginning.
    """
    if not text:
        return AddressSet.everything()
    if ":" in text:
        groups = [group for group in text.strip(":").split(":") if group]
        if len(groups) > 8:
            raise ValueError(text)
        filled = ":".join((groups + ["0"] * 8)[:8])
        return AddressSet.of([f"{filled}/{16 * len(groups)}"])
    octets = text.removesuffix(".").split(".")
    if len(octets) > 4:
        raise ValueError(text)
    first, dash, last = octets[-1].partition("-")
    found = AddressSet()
    for octet in range(int(first), min(int(last if dash else first), 255) + 1):
        whole = [*octets[:-1], str(octet)] + ["0"] * (4 - len(octets))
        found |= AddressSet.of([f"{'.'.join(whole)}/{8 * len(octets)}"])
    return found


def prefixes_of(network: Network) -> list[str]:
    """The prefixes of whole octets, or of whole groups of IPv6, that make up a network: ``10.1``, ``:2001:0db8``."""
    size = 8 if network.version == 4 else 16
    length = -(-network.prefixlen // size) * size
    return [_prefix(part, length // size) for part in network.subnets(new_prefix=length)] if length else []


def _prefix(network: Network, count: int) -> str:
    if network.version == 4:
        return ".".join(str(network.network_address).split(".")[:count])
    return "".join(f":{group}" for group in network.network_address.exploded.split(":")[:count])
