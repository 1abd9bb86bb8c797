"""Where: endpoints and doors."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address


class Service(StrEnum):
    """What a door speaks, as told by its first words."""

    HTTP = "http"
    SOCKS4 = "socks4"
    SOCKS5 = "socks5"
    TLS = "tls"
    SMTP = "smtp"
    FTP = "ftp"
    SSH = "ssh"
    TELNET = "telnet"
    QUIC = "quic"
    TURN = "turn"
    MUTE = "mute"
    """It takes connections and answers nothing that we say."""
    OTHER = "other"
    """It speaks first, in words that no probe knows."""


class Family(StrEnum):
    """The address family of a door."""

    IPV4 = "ipv4"
    IPV6 = "ipv6"


class Transport(StrEnum):
    """How octets travel through a door."""

    PLAIN = "plain"
    STARTTLS = "starttls"
    TLS = "tls"
    UDP = "udp"
    QUIC = "quic"


DATAGRAMS = frozenset({Transport.UDP, Transport.QUIC})
"""Transports without a connection that the engine could open beforehand: who asks there opens a channel."""


@dataclass(frozen=True, slots=True, order=True)
class Door:
    """One way into a target: port × transport × family; of a chain, the way through an open proxy."""

    port: int
    transport: Transport
    family: Family
    via: str = ""
    """The proxy probe that opened the way, of a chain."""
    through: str = ""
    """Of a chain: the proxy's port, and the address behind it that was asked, as ``3128 to 127.0.0.1``."""

    def __str__(self) -> str:
        chain = f" via {self.via} at {self.through}" if self.via else ""
        return f"{self.port}/{self.transport}/{self.family}{chain}"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address and a port; never a name, since resolving is the engine's."""

    address: Address
    port: int

    def __str__(self) -> str:
        host = f"[{self.address}]" if self.address.version == 6 else str(self.address)
        return f"{host}:{self.port}"

    @property
    def family(self) -> Family:
        """The family of the address."""
        return Family.IPV6 if self.address.version == 6 else Family.IPV4


def parse_address(text: str) -> Address:
    """Read an address, taking an IPv4-mapped IPv6 address for the IPv4 address that it is.

    :raises ValueError: if it is none, or has a zone id (an interface of ours is nobody's target).
    """
    address = ip_address(text)
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            raise ValueError(f"{text!r} has a zone id")
        return address.ipv4_mapped or address
    return address


_NAT64 = IPv6Network("64:ff9b::/96")
_COMPATIBLE = IPv6Network("::/96")
EMBEDDING_NETWORKS = (_NAT64, _COMPATIBLE, IPv6Network("2002::/16"), IPv6Network("2001::/32"))
"""Where `embedded_ipv4` finds one."""


def embedded_ipv4(address: Address) -> IPv4Address | None:
    """The IPv4 address that an IPv6 address leads to by translation or tunnel, if it does.

    NAT64 (RFC 6052), 6to4 (RFC 3056), Teredo (RFC 4380), and the IPv4-compatible form (RFC 4291).
    """
    if not isinstance(address, IPv6Address):
        return None
    if address.teredo is not None:
        return address.teredo[1]
    if address in _NAT64 or (address in _COMPATIBLE and int(address) > 1):
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.sixtofour


def address_literal(address: Address) -> str:
    """Write the address as a mailbox's domain (RFC 5321 section 4.1.3)."""
    return f"[IPv6:{address}]" if address.version == 6 else f"[{address}]"


SUBMISSION_PORTS = frozenset({465, 587})
"""Where the server must refuse those who don't log in, whatever they ask (RFC 6409, RFC 8314)."""
