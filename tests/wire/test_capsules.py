"""Capsules (RFC 9297 section 3.2), HTTP datagrams and addresses of IP proxying (RFC 9484 section 4.7)."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relaywatch.model.errors import RemoteProtocolError
from relaywatch.wire.capsules import (
    MAX_CAPSULE,
    Capsule,
    CapsuleReader,
    encode_address_request,
    encode_capsule,
    encode_datagram,
    read_assigned_addresses,
    read_datagram,
)

CAPSULES = st.lists(st.tuples(st.integers(0, 2**62 - 1), st.binary(max_size=300)), max_size=5)


@given(capsules=CAPSULES, sizes=st.lists(st.integers(1, 50), min_size=1))
def test_what_is_written_is_read_however_it_is_chopped(capsules, sizes):
    octets = b"".join(encode_capsule(kind, value) for kind, value in capsules)
    reader, read, position, turn = CapsuleReader(), [], 0, 0
    while position < len(octets):
        size = sizes[turn % len(sizes)]
        read += reader.feed(octets[position : position + size])
        position, turn = position + size, turn + 1

    assert [Capsule(kind, value) for kind, value in capsules] == read


def test_the_form():
    assert bytes.fromhex("0002ffee") == encode_capsule(0, b"\xff\xee")
    assert bytes.fromhex("4040 4041".replace(" ", "")) == encode_capsule(64, bytes(65))[:4]


def test_a_capsule_may_be_as_long_as_the_limit_and_no_longer():
    limit = encode_capsule(1, bytes(MAX_CAPSULE))

    assert [Capsule(1, bytes(MAX_CAPSULE))] == CapsuleReader().feed(limit)
    with pytest.raises(RemoteProtocolError):
        CapsuleReader().feed(encode_capsule(1, bytes(MAX_CAPSULE + 1))[:9])


def test_datagrams_have_a_context():
    assert b"\0words" == encode_datagram(b"words")
    assert b"words" == read_datagram(b"\0words")
    assert b"words" == read_datagram(b"\x40\0words")  # zero written in two octets
    assert read_datagram(b"\x02words") is None
    assert read_datagram(b"") is None


def test_an_address_is_asked_for_by_version():
    assert bytes.fromhex("02070104 00000000 20".replace(" ", "")) == encode_address_request(4)
    assert bytes.fromhex("02130106") + bytes(16) + b"\x80" == encode_address_request(6)


def test_addresses_that_are_assigned():
    value = bytes.fromhex("0104c00002c820" + "0006" + "20010db8" + "00" * 11 + "c8" + "80")
    expected = [ip_address("192.0.2.200"), ip_address("2001:db8::c8")]

    assert expected == read_assigned_addresses(value)
    assert [] == read_assigned_addresses(b"")
    assert [] == read_assigned_addresses(bytes.fromhex("01040000000020"))


@pytest.mark.parametrize("value", ["01", "0104c0", "0105" + "00" * 17, "0104c00002c8"])
def test_no_assignment(value):
    with pytest.raises(RemoteProtocolError):
        read_assigned_addresses(bytes.fromhex(value))


@given(st.binary(max_size=100))
def test_rubbish_raises_only_ours(octets):
    for read in (read_assigned_addresses, read_datagram, CapsuleReader().feed):
        try:
            read(octets)
        except RemoteProtocolError:
            continue
