"""Addresses that are no single host's, or that a permission by name must not reach."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network

from relaywatch.model.places import EMBEDDING_NETWORKS, Address, embedded_ipv4

Network = IPv4Network | IPv6Network

_NO_HOST: tuple[tuple[Network, str], ...] = (
    (ip_network("0.0.0.0/8"), "unspecified"),  # RFC 1122 section 3.2.1.3
    (ip_network("224.0.0.0/4"), "multicast"),
    (ip_network("255.255.255.255/32"), "broadcast"),
    (ip_network("240.0.0.0/4"), "reserved"),  # RFC 1112 section 4
    (ip_network("::/128"), "unspecified"),
    (ip_network("fe80::/10"), "link-local"),  # without a zone it names no link
    (ip_network("ff00::/8"), "multicast"),
)
_NOBODYS_IN_PARTICULAR: tuple[Network, ...] = (
    ip_network("10.0.0.0/8"),
    ip_network("100.64.0.0/10"),
    ip_network("169.254.0.0/16"),
    ip_network("172.16.0.0/12"),
    ip_network("192.168.0.0/16"),
    ip_network("fc00::/7"),
)


def why_no_host(first: Address, last: Address | None = None) -> str | None:
    """Say what an address, or any within ``first`` to ``last``, is if not a host's; nothing if all may be.

    What leads to an IPv4 address by translation or tunnel is a host's only if that is, and never loopback:
    it would be the translator's.
    """
    end = last or first
    inner = embedded_ipv4(first) if end == first else None
    if inner is not None:
        return "loopback behind a translation" if inner.is_loopback else why_no_host(inner)
    for network, what in _NO_HOST:
        same_family = network.version == first.version
        if same_family and int(first) <= int(network[-1]) and int(network[0]) <= int(end):
            return what
    return None


def leads_elsewhere(first: Address, last: Address) -> bool:
    """Whether any within ``first`` to ``last`` leads to an IPv4 address by translation or tunnel."""
    return any(
        first.version == 6 and int(first) <= int(network[-1]) and int(network[0]) <= int(last)
        for network in EMBEDDING_NETWORKS
    )


def is_private(address: Address) -> bool:
    """Whether the address means another host in every network: RFC 1918, 6598, 3927 and 4193.

    So does one that leads to such an address by translation or tunnel, or to loopback.
    """
    inner = embedded_ipv4(address)
    if inner is not None:
        return inner.is_loopback or is_private(inner)
    return any(address in network for network in _NOBODYS_IN_PARTICULAR)
