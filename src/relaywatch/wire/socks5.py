"""SOCKS5 on the wire: methods, requests, replies, datagrams (RFC 1928)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address

from relaywatch.model.errors import LocalProtocolError, RemoteProtocolError
from relaywatch.model.places import Address

VERSION = 5
NO_AUTHENTICATION_REQUIRED = 0
"""The method that probes offer, and no other (RFC 1928 section 3)."""
USERNAME_PASSWORD = 2
"""The method by which an owner signs in with credentials of his own, in a proof's sandbox alone (RFC 1929)."""
_DATAGRAM_HEAD = 4


class Command(IntEnum):
    """CMD (RFC 1928 section 4)."""

    CONNECT = 1
    BIND = 2
    UDP_ASSOCIATE = 3


class AddressType(IntEnum):
    """ATYP (RFC 1928 section 5)."""

    IPV4 = 1
    NAME = 3
    IPV6 = 4


class ReplyField(IntEnum):
    """REP (RFC 1928 section 6)."""

    SUCCEEDED = 0
    GENERAL_FAILURE = 1
    NOT_ALLOWED = 2
    NETWORK_UNREACHABLE = 3
    HOST_UNREACHABLE = 4
    CONNECTION_REFUSED = 5
    TTL_EXPIRED = 6
    COMMAND_NOT_SUPPORTED = 7
    ADDRESS_TYPE_NOT_SUPPORTED = 8


@dataclass(frozen=True, slots=True)
class BoundAddress:
    """BND.ADDR and BND.PORT: where the server is for us, or who has come to it."""

    host: Address | str
    port: int


def show_reply_field(field: int) -> str:
    """Write a reply field for a report: ``REP 0x05 connection refused``."""
    known = {reply_field.value: reply_field for reply_field in ReplyField}
    name = known[field].name.lower().replace("_", " ") if field in known else "unassigned"
    return f"REP 0x{field:02x} {name}"


def encode_greeting(method: int = NO_AUTHENTICATION_REQUIRED) -> bytes:
    """Write the version and the one method that is offered."""
    return bytes((VERSION, 1, method))


def encode_username_password(username: str, password: str) -> bytes:
    """Write a username and a password (RFC 1929 section 2).

    :raises LocalProtocolError: if one is empty, or longer than 255 octets; it isn't named.
    """
    octets = b"\x01"
    for word in (username.encode(), password.encode()):
        if not 1 <= len(word) <= 255:
            raise LocalProtocolError("a username or a password that can't be written")
        octets += bytes((len(word),)) + word
    return octets


def encode_request(command: Command, host: Address | str, port: int) -> bytes:
    """Write a request.

    :raises LocalProtocolError: if the name can't be written.
    """
    return bytes((VERSION, command, 0)) + _encode_address(host, port)


def encode_datagram(host: Address | str, port: int, data: bytes) -> bytes:
    """Write a datagram for the relay, not fragmented (RFC 1928 section 7).

    :raises LocalProtocolError: if the name can't be written.
    """
    return bytes(3) + _encode_address(host, port) + data


def _encode_address(host: Address | str, port: int) -> bytes:
    match host:
        case IPv4Address():
            octets = bytes((AddressType.IPV4,)) + host.packed
        case IPv6Address():
            octets = bytes((AddressType.IPV6,)) + host.packed
        case _:
            if not host.isascii() or not 0 < len(host) < 256:
                raise LocalProtocolError(f"no name for SOCKS5: {host!r}")
            octets = bytes((AddressType.NAME, len(host))) + host.encode("ascii")
    return octets + port.to_bytes(2, "big")


def address_size(address_type: int, first: int) -> int:
    """How many octets of an address and a port follow its type, told by the type and the octet behind it.

    An unassigned type is read as IPv4: servers that forget to set it leave that many zeros.
    """
    match address_type:
        case AddressType.IPV6:
            return 18
        case AddressType.NAME:
            return 1 + first + 2
        case _:
            return 6


def parse_address(address_type: int, octets: bytes) -> BoundAddress:
    """Read as many octets of an address and a port as `address_size` counts."""
    host, port = octets[:-2], int.from_bytes(octets[-2:], "big")
    match address_type:
        case AddressType.IPV6:
            address = IPv6Address(host)
            return BoundAddress(address.ipv4_mapped or address, port)
        case AddressType.NAME:
            return BoundAddress(host[1:].decode("utf-8", "surrogateescape"), port)
        case _:
            return BoundAddress(IPv4Address(host), port)


def parse_datagram(datagram: bytes) -> bytes:
    """Read what a relay's datagram carries.

    :raises RemoteProtocolError: if its head isn't whole, or it is a fragment.
    """
    head = datagram[: _DATAGRAM_HEAD + 1]
    if len(head) <= _DATAGRAM_HEAD or head[:3] != bytes(3):
        raise RemoteProtocolError("no datagram of a SOCKS5 relay", datagram)
    size = address_size(head[3], head[4])
    if len(datagram) < _DATAGRAM_HEAD + size:
        raise RemoteProtocolError("no datagram of a SOCKS5 relay", datagram)
    return datagram[_DATAGRAM_HEAD + size :]
