"""Where we look from: a server may well relay for its own network and for nobody else."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_network

from relaywatch.model.places import Address, parse_address
from relaywatch.model.verdicts import Vantage

_ANY_PORT = 9
_TRANSLATED = tuple(
    ip_network(text)
    for text in (
        *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"),  # RFC 1918
        *("100.64.0.0/10", "fc00::/7"),  # RFC 6598, RFC 4193
        *("127.0.0.0/8", "::1/128", "169.254.0.0/16", "fe80::/10"),
    )
)
"""Addresses that nobody far away sees as they are."""


def source_for(address: Address) -> Address | None:
    """Ask the kernel which local address it would connect from; no packet leaves. None: there is no way."""
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect((str(address), _ANY_PORT))
            return parse_address(sock.getsockname()[0])
        except (OSError, ValueError):
            return None


def judge_vantage(
    target: Address, source: Address | None, networks: Iterable[IPv4Network | IPv6Network]
) -> Vantage:
    """Tell whether the target sees us as one of its own.

    Inside: loopback, the target itself, or within the ``networks`` of its permission. Outside: any other
    address that the target sees as it is. Unknown: a private one, which is translated on the way.
    """
    if target.is_loopback or source == target:
        return Vantage.INSIDE
    if source is None:
        return Vantage.UNKNOWN
    if any(source in network for network in networks):
        return Vantage.INSIDE
    return Vantage.UNKNOWN if any(source in network for network in _TRANSLATED) else Vantage.OUTSIDE
