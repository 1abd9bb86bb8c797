"""Addresses of both families as numbers in one order, for tables of millions: IPv4 first, IPv6 far behind."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from relaywatch.model.places import Address

IPV4_END = 1 << 32
_IPV6 = 1 << 128


def number_of(text: str) -> int | str:
    """The number of an address as text; the text itself if it is none, as of a name.

    Several times as fast as `ipaddress`, since a summary asks it for every line.
    """
    try:
        if ":" in text:
            return _IPV6 | int.from_bytes(socket.inet_pton(socket.AF_INET6, text), "big")
        return int.from_bytes(socket.inet_pton(socket.AF_INET, text), "big")
    except (OSError, ValueError):
        return text


def number_in(address: Address) -> int:
    """The number of an address."""
    return int(address) if address.version == 4 else _IPV6 | int(address)


def network_around(number: int) -> int:
    """The number of the network in which rates and neighbours are counted: a /24, or a /48 of IPv6."""
    return number >> 8 if number < IPV4_END else number >> 80


def network_text(network: int) -> str:
    """Such a network, written as a CIDR block."""
    if network < IPV4_END >> 8:
        return str(IPv4Network((IPv4Address(network << 8), 24)))
    return str(IPv6Network((IPv6Address((network << 80) & (_IPV6 - 1)), 48)))
