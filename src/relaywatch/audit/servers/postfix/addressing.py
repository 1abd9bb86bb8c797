"""What rows and keys of access tables mean as addresses (access(5))."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import ip_network

from relaywatch.audit.addresses import AddressSet
from relaywatch.targets.reserved import Network

from .tables import Row, Table


def addresses_of_all(rows: Iterable[Row]) -> AddressSet:
    """The addresses that rows of an access table mean: networks, or keys of leading octets or groups."""
    return AddressSet.of(network for row in rows if (network := _network_of(row)) is not None)


def _network_of(row: Row) -> Network | None:
    if row.network is not None:
        return row.network
    key = row.key
    try:
        if ":" in key or _is_group(key):
            groups = key.split(":")
            whole = "::" in key or len(groups) == 8
            return ip_network(key if whole else f"{key}::/{16 * len(groups)}", strict=False)
        octets = key.split(".")
        if all(octet.isdecimal() for octet in octets) and len(octets) <= 4:
            return ip_network(
                ".".join([*octets, *["0"] * (4 - len(octets))]) + f"/{8 * len(octets)}", strict=False
            )
    except ValueError:
        pass
    return None


def _is_group(key: str) -> bool:
    """Whether a key is the first group of IPv6 addresses: a number that is no octet."""
    return 0 < len(key) <= 4 and set(key.lower()) <= set("0123456789abcdef") and int(key, 16) > 255


def address_keys(address: str, table: Table) -> Iterator[str]:
    """What a table is asked about an address: itself, then its leading octets or groups."""
    yield address
    sign = ":" if ":" in address else "."
    rest = address
    while table.is_keyed and sign in rest:
        rest = rest.rpartition(sign)[0]
        if rest:
            yield rest
