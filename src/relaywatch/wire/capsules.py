"""Capsules and HTTP datagrams (RFC 9297), and those of IP proxying (RFC 9484), between octets and values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from aioquic.buffer import (  # type: ignore[attr-defined]  # it exports them all the same
    Buffer,
    BufferReadError,
    encode_uint_var,
)

from relaywatch.model.errors import RemoteProtocolError
from relaywatch.model.places import Address

DATAGRAM: Final = 0x00
"""RFC 9297 section 3.5."""
ADDRESS_ASSIGN: Final = 0x01
"""RFC 9484 section 4.7.1."""
ADDRESS_REQUEST: Final = 0x02
MAX_CAPSULE = 64 << 10
"""Octets of a capsule's value; more is an error."""
_MAX_HEAD = 16
"""Octets of a capsule's type and length."""


@dataclass(frozen=True, slots=True)
class Capsule:
    """A type and its value (RFC 9297 section 3.2)."""

    kind: int
    value: bytes


def encode_capsule(kind: int, value: bytes) -> bytes:
    """Write a capsule."""
    return encode_uint_var(kind) + encode_uint_var(len(value)) + value


class CapsuleReader:
    """Finds capsules in a stream's octets, however they come."""

    def __init__(self) -> None:
        self._octets = bytearray()

    def feed(self, octets: bytes) -> list[Capsule]:
        """The capsules that are complete now.

        :raises RemoteProtocolError: if one is longer than any that is of use to us.
        """
        self._octets += octets
        capsules: list[Capsule] = []
        position = 0
        while (found := self._capsule_at(position)) is not None:
            capsule, position = found
            capsules.append(capsule)
        del self._octets[:position]
        return capsules

    def _capsule_at(self, position: int) -> tuple[Capsule, int] | None:
        """The capsule that begins there, and where it ends; nothing if it isn't whole."""
        head = Buffer(data=bytes(self._octets[position : position + _MAX_HEAD]))
        try:
            kind, length = head.pull_uint_var(), head.pull_uint_var()
        except BufferReadError:
            return None
        if length > MAX_CAPSULE:
            raise RemoteProtocolError(f"a capsule of {length} octets", bytes(self._octets[position:]))
        start = position + head.tell()
        end = start + length
        if len(self._octets) < end:
            return None
        return Capsule(kind, bytes(self._octets[start:end])), end


def encode_datagram(data: bytes) -> bytes:
    """Write an HTTP datagram with context 0: a UDP datagram's data (RFC 9298 section 5), or an IP packet."""
    return b"\0" + data


def read_datagram(datagram: bytes) -> bytes | None:
    """The data of an HTTP datagram; nothing if it has another context, or none."""
    buffer = Buffer(data=datagram)
    try:
        context = buffer.pull_uint_var()
    except BufferReadError:
        return None
    return datagram[buffer.tell() :] if context == 0 else None


def encode_address_request(version: int) -> bytes:
    """Ask for any one address of that IP version (RFC 9484 section 4.7.2)."""
    octets, bits = (4, 32) if version == 4 else (16, 128)
    value = encode_uint_var(1) + bytes([version]) + bytes(octets) + bytes([bits])
    return encode_capsule(ADDRESS_REQUEST, value)


def read_assigned_addresses(value: bytes) -> list[Address]:
    """The addresses of an ADDRESS_ASSIGN capsule, the first of each prefix; a request denied has none.

    :raises RemoteProtocolError: if it is none.
    """
    addresses: list[Address] = []
    buffer = Buffer(data=value)
    try:
        while not buffer.eof():
            addresses.extend(_pull_assigned(buffer))
    except BufferReadError as error:
        raise RemoteProtocolError("no ADDRESS_ASSIGN capsule", value) from error
    return addresses


def _pull_assigned(buffer: Buffer) -> Iterator[Address]:
    buffer.pull_uint_var()
    version = buffer.pull_uint8()
    address: Address
    address = IPv4Address(buffer.pull_bytes(4)) if version == 4 else IPv6Address(buffer.pull_bytes(16))
    buffer.pull_uint8()
    if version not in {4, 6}:
        raise RemoteProtocolError(f"IP version {version} in an ADDRESS_ASSIGN capsule")
    if int(address):  # all zeros is a no
        yield address
