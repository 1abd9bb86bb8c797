"""STUN and TURN messages between octets and values (RFC 8489, RFC 8656, RFC 6062).

The attributes' own forms are aioice's; its messages don't know the methods of RFC 6062 or attributes beyond
a table of its own, so that the frame around them is written here.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from relaywatch.model.errors import RemoteProtocolError
from relaywatch.model.places import Endpoint, parse_address

HEAD = 20
MAX_MESSAGE = 4096
"""Octets of a message; more is an error."""
_COOKIE = 0x2112A442
_HEAD = struct.Struct("!HHI12s")
_METHOD_BITS, _CLASS_BITS = 0x3EEF, 0x0110


class Method(IntEnum):
    """What is asked (RFC 8656 section 17, RFC 6062 section 6.1)."""

    ALLOCATE = 0x003
    REFRESH = 0x004
    SEND = 0x006
    DATA = 0x007
    CREATE_PERMISSION = 0x008
    CONNECT = 0x00A
    CONNECTION_BIND = 0x00B


class MessageClass(IntEnum):
    """The kind of a message (RFC 8489 section 5)."""

    REQUEST = 0x000
    INDICATION = 0x010
    SUCCESS = 0x100
    ERROR = 0x110


class Attribute(IntEnum):
    """Attributes that we write or read."""

    ERROR_CODE = 0x0009
    LIFETIME = 0x000D
    XOR_PEER_ADDRESS = 0x0012
    DATA = 0x0013
    XOR_RELAYED_ADDRESS = 0x0016
    REQUESTED_ADDRESS_FAMILY = 0x0017
    REQUESTED_TRANSPORT = 0x0019
    CONNECTION_ID = 0x002A
    SOFTWARE = 0x8022


@dataclass(frozen=True, slots=True)
class Message:
    """A message; of an attribute that comes twice, the first counts (RFC 8489 section 14)."""

    method: int
    kind: MessageClass
    transaction: bytes
    attributes: dict[int, bytes]

    @property
    def is_error(self) -> bool:
        """Whether it is an error response."""
        return self.kind is MessageClass.ERROR

    def text(self, attribute: Attribute) -> str:
        """An attribute's text, empty if it isn't there."""
        return self.attributes.get(attribute, b"").decode("utf-8", "surrogateescape")

    def address(self, attribute: Attribute) -> Endpoint | None:
        """An attribute that is an address, if it is there.

        :raises RemoteProtocolError: if it is none.
        """
        from aioice import stun  # noqa: PLC0415 -- brings a lot along: only when there is an answer to read

        value = self.attributes.get(attribute)
        if value is None:
            return None
        try:
            host, port = stun.unpack_xor_address(value, self.transaction)
        except ValueError as error:
            raise RemoteProtocolError(str(error), value) from error
        return Endpoint(parse_address(host), port)

    def error(self) -> tuple[int, str]:
        """The error code and the reason (RFC 8489 section 14.8).

        :raises RemoteProtocolError: if there is none.
        """
        value = self.attributes.get(Attribute.ERROR_CODE, b"")
        if len(value) < 4:
            raise RemoteProtocolError("no STUN error code", value)
        return (value[2] & 7) * 100 + value[3], value[4:].decode("utf-8", "surrogateescape")


def encode_message(
    method: Method, kind: MessageClass, transaction: bytes, attributes: Iterable[tuple[Attribute, bytes]]
) -> bytes:
    """Write a message, each attribute filled up to four octets (RFC 8489 section 14)."""
    body = b"".join(
        struct.pack("!HH", attribute, len(value)) + value + bytes(-len(value) % 4)
        for attribute, value in attributes
    )
    return _HEAD.pack(method | kind, len(body), _COOKIE, transaction) + body


def encode_address(endpoint: Endpoint, transaction: bytes) -> bytes:
    """Write an address in its XOR form (RFC 8489 section 14.2)."""
    from aioice import stun  # noqa: PLC0415 -- as above

    return stun.pack_xor_address((str(endpoint.address), endpoint.port), transaction)


def read_length(head: bytes) -> int:
    """The length of the whole message that begins so (RFC 8489 section 5).

    :raises RemoteProtocolError: if no message does.
    """
    kind, length, cookie, _ = _HEAD.unpack_from(head)
    if kind >> 14 or cookie != _COOKIE or length % 4:
        raise RemoteProtocolError("no STUN", head)
    if length > MAX_MESSAGE - HEAD:
        raise RemoteProtocolError(f"a STUN message of {length} octets", head)
    return HEAD + int(length)


def parse_message(octets: bytes) -> Message:
    """Read a message.

    :raises RemoteProtocolError: if it is none.
    """
    if len(octets) < HEAD or len(octets) != read_length(octets):
        raise RemoteProtocolError("no STUN", octets)
    kind, _, _, transaction = _HEAD.unpack_from(octets)
    return Message(
        kind & _METHOD_BITS, MessageClass(kind & _CLASS_BITS), transaction, _read_attributes(octets)
    )


def _read_attributes(octets: bytes) -> dict[int, bytes]:
    attributes: dict[int, bytes] = {}
    position = HEAD
    while position < len(octets):
        attribute, length = struct.unpack_from("!HH", octets, position)
        value = octets[position + 4 : position + 4 + length]
        if len(value) < length:
            raise RemoteProtocolError("a STUN attribute runs over the end", octets)
        attributes.setdefault(attribute, value)
        position += 4 + length + (-length % 4)
    return attributes
