"""UDP in IP packets (RFC 791, RFC 8200, RFC 768)."""

import socket
import struct
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relaywatch.model.places import Endpoint
from relaywatch.wire.ip import UDPPacket, checksum, encode_packet, read_packet

V4 = Endpoint(ip_address("192.0.2.200"), 49200), Endpoint(ip_address("203.0.113.25"), 40026)
V6 = Endpoint(ip_address("2001:db8::c8"), 49200), Endpoint(ip_address("2001:db8:113::25"), 40026)
ENDS = st.sampled_from([V4, V6])


def pseudo_header(octets):
    """RFC 768 and RFC 8200 section 8.1, from the packet itself."""
    if octets[0] >> 4 == 4:
        return octets[12:20] + struct.pack("!BBH", 0, 17, len(octets) - 20), octets[20:]
    return octets[8:40] + struct.pack("!IHBB", len(octets) - 40, 0, 0, 17), octets[40:]


@given(ends=ENDS, data=st.binary(max_size=300))
def test_checksums_add_up(ends, data):
    """RFC 1071: over data with its checksum in place, the checksum is zero."""
    octets = encode_packet(UDPPacket(*ends, data))
    pseudo, udp = pseudo_header(octets)

    assert 0 == checksum(pseudo + udp)
    assert octets[0] >> 4 == 6 or 0 == checksum(octets[:20])
    assert b"\0\0" != udp[6:8]


@given(ends=ENDS, data=st.binary(max_size=300))
def test_what_is_written_is_read(ends, data):
    assert UDPPacket(*ends, data) == read_packet(encode_packet(UDPPacket(*ends, data)))


def test_a_known_checksum():
    # The example of RFC 1071 section 3.
    assert ~0xDDF2 & 0xFFFF == checksum(bytes.fromhex("0001f203f4f5f6f7"))


def test_a_checksum_of_zero_is_sent_as_all_ones():
    packets = (encode_packet(UDPPacket(*V4, number.to_bytes(2))) for number in range(1 << 16))

    assert any(octets[26:28] == b"\xff\xff" for octets in packets)


def test_the_kernel_takes_it_for_udp():
    """Our packet over loopback, by a raw socket: the kernel checks both checksums before it hands it on."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as heard:
        heard.bind(("127.0.0.1", 0))
        heard.settimeout(5)
        port = heard.getsockname()[1]
        here = ip_address("127.0.0.1")
        octets = encode_packet(UDPPacket(Endpoint(here, 49200), Endpoint(here, port), b"words"))
        try:
            raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        except PermissionError:
            pytest.skip("needs root")
        with raw:
            raw.sendto(octets, ("127.0.0.1", 0))

        assert (b"words", ("127.0.0.1", 49200)) == heard.recvfrom(100)


def test_two_families_make_no_packet():
    with pytest.raises(ValueError, match="from"):
        encode_packet(UDPPacket(V4[0], V6[1], b""))


def changed(octets, position, value):
    return octets[:position] + bytes([value]) + octets[position + 1 :]


P4, P6 = encode_packet(UDPPacket(*V4, b"words")), encode_packet(UDPPacket(*V6, b"words"))


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"\x55",
        P4[:19],
        P6[:39],
        P4[:27],
        P6[:47],
        changed(P4, 9, 1),
        changed(P6, 6, 58),
        changed(P4, 6, 0x20),
        changed(P4, 7, 1),
    ],
    ids=[
        "nothing", "version 5", "IPv4 cut", "IPv6 cut", "UDP cut", "UDP cut in IPv6",
        "ICMP", "ICMPv6", "first fragment", "later fragment",
    ],
)  # fmt: skip
def test_no_udp(octets):
    assert read_packet(octets) is None


@given(st.binary(max_size=100))
def test_rubbish_is_nothing_or_a_packet(octets):
    packet = read_packet(octets)

    assert packet is None or isinstance(packet, UDPPacket)
