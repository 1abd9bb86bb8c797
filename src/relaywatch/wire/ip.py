"""UDP in IPv4 and IPv6 packets: the little that is needed to say one thing to one canary of ours."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from relaywatch.model.places import Endpoint

UDP = 17
_HOP_LIMIT = 64
_UDP_HEAD = 8
_IPV4_HEAD = struct.Struct("!BBHHHBBH4s4s")
_IPV6_HEAD = struct.Struct("!IHBB16s16s")


@dataclass(frozen=True, slots=True)
class UDPPacket:
    """A UDP datagram and where it goes."""

    source: Endpoint
    destination: Endpoint
    data: bytes


def encode_packet(packet: UDPPacket) -> bytes:
    """Write the packet with its IP head and both checksums (RFC 791, RFC 8200, RFC 768).

    :raises ValueError: if its addresses are of different families.
    """
    source, destination = packet.source.address, packet.destination.address
    if source.version != destination.version:
        raise ValueError(f"from {source} to {destination}")
    udp = _encode_udp(packet)
    if source.version == 6:
        head = _IPV6_HEAD.pack(6 << 28, len(udp), UDP, _HOP_LIMIT, source.packed, destination.packed)
        return head + udp
    fields = (0x45, 0, _IPV4_HEAD.size + len(udp), 0, 0, _HOP_LIMIT, UDP)
    unsummed = _IPV4_HEAD.pack(*fields, 0, source.packed, destination.packed)
    return _IPV4_HEAD.pack(*fields, checksum(unsummed), source.packed, destination.packed) + udp


def read_packet(octets: bytes) -> UDPPacket | None:
    """The UDP datagram in an IP packet; nothing if it is anything else, or a fragment.

    Checksums aren't looked at: what the canary answers carries a MAC of its own.
    """
    version = octets[0] >> 4 if octets else 0
    if version == 4 and len(octets) >= _IPV4_HEAD.size:
        first, _, total, _, fragment, _, protocol, _, source, destination = _IPV4_HEAD.unpack_from(octets)
        if protocol != UDP or fragment & 0x3FFF:
            return None
        udp = octets[(first & 0xF) * 4 : total]
        return _read_udp(udp, IPv4Address(source), IPv4Address(destination))
    if version == 6 and len(octets) >= _IPV6_HEAD.size:
        _, length, protocol, _, source, destination = _IPV6_HEAD.unpack_from(octets)
        if protocol != UDP:
            return None
        udp = octets[_IPV6_HEAD.size : _IPV6_HEAD.size + length]
        return _read_udp(udp, IPv6Address(source), IPv6Address(destination))
    return None


def checksum(octets: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    if len(octets) % 2:
        octets += b"\0"
    total: int = sum(struct.unpack(f"!{len(octets) // 2}H", octets))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _encode_udp(packet: UDPPacket) -> bytes:
    source, destination = packet.source, packet.destination
    length = _UDP_HEAD + len(packet.data)
    pseudo = source.address.packed + destination.address.packed + struct.pack("!II", length, UDP)
    ports = struct.pack("!HH", source.port, destination.port)
    unsummed = ports + struct.pack("!HH", length, 0) + packet.data
    # A sum of zero is sent as all ones, since zero says that there is none (RFC 768).
    udp_checksum = checksum(pseudo + unsummed) or 0xFFFF
    return ports + struct.pack("!HH", length, udp_checksum) + packet.data


def _read_udp(
    udp: bytes, source: IPv4Address | IPv6Address, destination: IPv4Address | IPv6Address
) -> UDPPacket | None:
    if len(udp) < _UDP_HEAD:
        return None
    source_port, destination_port, length, _ = struct.unpack_from("!HHHH", udp)
    return UDPPacket(
        Endpoint(source, source_port), Endpoint(destination, destination_port), udp[_UDP_HEAD:length]
    )
