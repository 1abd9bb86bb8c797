"""Where we look from: a server may well relay for its own network and for nobody else."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network

from relaywatch.model.places import Address, parse_address
from relaywatch.model.verdicts import Vantage

_ANY_PORT = 9


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

    Inside: loopback, the target itself, or within the ``networks`` of its permission. Outside: a global
    address that is none of these. Anything else is unknown, since a private address may be translated.
    """
    if target.is_loopback or source == target:
        return Vantage.INSIDE
    if source is None:
        return Vantage.UNKNOWN
    if any(source in network for network in networks):
        return Vantage.INSIDE
    return Vantage.OUTSIDE if source.is_global else Vantage.UNKNOWN
