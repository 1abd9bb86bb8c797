"""SOCKS4 and SOCKS4a on the wire.

As the memos "SOCKS: A protocol for TCP proxy across firewalls" and "SOCKS 4A: A Simple Extension to SOCKS 4
Protocol" have it; no RFC does.
"""

from __future__ import annotations

from enum import IntEnum
from ipaddress import IPv4Address

from relaywatch.model.errors import LocalProtocolError, RemoteProtocolError

VERSION = 4
REPLY_OCTETS = 8
_CONNECT = 1
_NAME_FOLLOWS = IPv4Address("0.0.0.1")
"""SOCKS4a: an address that nobody has, behind whose request the name stands."""
_REPLY_VERSIONS = frozenset({0, VERSION})
"""A reply's version is 0; some servers put their own there."""


class ReplyCode(IntEnum):
    """CD of a reply."""

    GRANTED = 90
    REJECTED = 91
    NO_IDENTD = 92
    """It asks the client's identd, and that doesn't answer."""
    OTHER_USER = 93
    """The client's identd names another user."""


def encode_connect(host: IPv4Address | str, port: int) -> bytes:
    """Write a CONNECT request without a user id; a name makes it one of SOCKS4a.

    :raises LocalProtocolError: if the name can't be written.
    """
    address, name = (host, b"") if isinstance(host, IPv4Address) else (_NAME_FOLLOWS, _encode_name(host))
    return bytes((VERSION, _CONNECT)) + port.to_bytes(2, "big") + address.packed + b"\0" + name


def _encode_name(name: str) -> bytes:
    if not name.isascii() or not name or "\0" in name:
        raise LocalProtocolError(f"no name for SOCKS4a: {name!r}")
    return name.encode("ascii") + b"\0"


def parse_reply_code(head: bytes) -> ReplyCode:
    """Read the first two octets of a reply, which say all; an address and a port follow.

    :raises RemoteProtocolError: if it is no reply of SOCKS4.
    """
    version, code = head
    if version not in _REPLY_VERSIONS or code not in ReplyCode.__members__.values():
        raise RemoteProtocolError("no SOCKS4 reply", head)
    return ReplyCode(code)
