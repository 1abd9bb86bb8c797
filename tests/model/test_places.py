from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relaywatch.model.places import (
    SUBMISSION_PORTS,
    Door,
    Endpoint,
    Family,
    Transport,
    address_literal,
    parse_address,
)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.7", IPv4Address("192.0.2.7")),
        ("2001:db8::7", IPv6Address("2001:db8::7")),
        ("2001:DB8:0:0::7", IPv6Address("2001:db8::7")),
        ("::ffff:192.0.2.7", IPv4Address("192.0.2.7")),
        ("::1", IPv6Address("::1")),
    ],
)
def test_addresses(text, address):
    assert address == parse_address(text)


@pytest.mark.parametrize(
    "text", ["", "mail.example.test", "192.0.2", "192.0.2.256", "010.0.2.1", "fe80::1%eth0", "[::1]", "1"]
)
def test_no_addresses(text):
    with pytest.raises(ValueError, match=r"."):
        parse_address(text)


def test_a_zone_id_is_named():
    with pytest.raises(ValueError, match="'fe80::1%eth0' has a zone id"):
        parse_address("fe80::1%eth0")


@given(address=st.ip_addresses())
def test_what_is_written_is_read(address):
    assert getattr(address, "ipv4_mapped", None) or address == parse_address(str(address))


def test_literals_carry_the_tag_of_ipv6():
    """RFC 5321 section 4.1.3."""
    assert "[192.0.2.7]" == address_literal(IPv4Address("192.0.2.7"))
    assert "[IPv6:2001:db8::7]" == address_literal(IPv6Address("2001:db8::7"))


def test_endpoints_are_written_as_in_a_url():
    assert "192.0.2.7:25" == str(Endpoint(IPv4Address("192.0.2.7"), 25))
    assert "[2001:db8::7]:587" == str(Endpoint(IPv6Address("2001:db8::7"), 587))


def test_the_family_of_an_endpoint():
    assert Family.IPV4 is Endpoint(IPv4Address("192.0.2.7"), 25).family
    assert Family.IPV6 is Endpoint(IPv6Address("2001:db8::7"), 25).family


def test_doors_are_written_and_put_in_order():
    doors = [
        Door(587, Transport.PLAIN, Family.IPV4),
        Door(25, Transport.STARTTLS, Family.IPV4),
        Door(25, Transport.PLAIN, Family.IPV6),
        Door(25, Transport.PLAIN, Family.IPV4),
    ]

    assert ["25/plain/ipv4", "25/plain/ipv6", "25/starttls/ipv4", "587/plain/ipv4"] == [
        str(door) for door in sorted(doors)
    ]


def test_submission_doors():
    """RFC 6409, RFC 8314: 25 and 2525 are none, since nobody says what 2525 is."""
    assert {465, 587} == SUBMISSION_PORTS
