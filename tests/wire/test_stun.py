"""STUN messages (RFC 8489), with the test vectors of RFC 5769."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relaywatch.model.errors import RemoteProtocolError
from relaywatch.model.places import Endpoint
from relaywatch.wire.stun import (
    MAX_MESSAGE,
    Attribute,
    MessageClass,
    Method,
    encode_address,
    encode_message,
    parse_message,
    read_length,
)

TRANSACTION = bytes.fromhex("b7e7a701bc34d686fa87dfae")
IPV4_RESPONSE = bytes.fromhex(
    "0101003c2112a442b7e7a701bc34d686fa87dfae"
    "8022000b7465737420766563746f7220"
    "002000080001a147e112a643"
    "000800142b91f599fd9e90c38c7489f92af9ba53f06be7d780280004c07d4c96"
)
"""RFC 5769 section 2.2."""
XOR_IPV4 = bytes.fromhex("0001a147e112a643")
XOR_IPV6 = bytes.fromhex("0002a1470113a9faa5d3f179bc25f4b5bed2b9d9")
"""RFC 5769 sections 2.2 and 2.3: the addresses below."""
IPV4 = Endpoint(ip_address("192.0.2.1"), 32853)
IPV6 = Endpoint(ip_address("2001:db8:1234:5678:11:2233:4455:6677"), 32853)


def test_a_message_of_the_rfc():
    message = parse_message(IPV4_RESPONSE)

    assert (0x001, MessageClass.SUCCESS, TRANSACTION) == (message.method, message.kind, message.transaction)
    assert "test vector" == message.text(Attribute.SOFTWARE)
    assert XOR_IPV4 == message.attributes[0x0020]
    assert not message.is_error


@pytest.mark.parametrize(("octets", "endpoint"), [(XOR_IPV4, IPV4), (XOR_IPV6, IPV6)])
def test_addresses_of_the_rfc(octets, endpoint):
    attributes = ((Attribute.XOR_PEER_ADDRESS, octets),)
    message = parse_message(encode_message(Method.DATA, MessageClass.INDICATION, TRANSACTION, attributes))

    assert endpoint == message.address(Attribute.XOR_PEER_ADDRESS)
    assert octets == encode_address(endpoint, TRANSACTION)
    assert message.address(Attribute.XOR_RELAYED_ADDRESS) is None


@pytest.mark.parametrize("value", [b"", b"\0\1", b"\0\3" + bytes(6), b"\0\1" + bytes(7), b"\0\2" + bytes(6)])
def test_no_address(value):
    attributes = ((Attribute.XOR_PEER_ADDRESS, value),)
    message = parse_message(encode_message(Method.DATA, MessageClass.INDICATION, TRANSACTION, attributes))

    with pytest.raises(RemoteProtocolError):
        message.address(Attribute.XOR_PEER_ADDRESS)


def test_the_form():
    attributes = ((Attribute.CONNECTION_ID, b"\0\0\0\7"), (Attribute.DATA, b"words"))
    expected = "000b00142112a442b7e7a701bc34d686fa87dfae002a00040000000700130005776f726473000000"

    octets = encode_message(Method.CONNECTION_BIND, MessageClass.REQUEST, TRANSACTION, attributes)

    assert bytes.fromhex(expected) == octets


@given(
    method=st.sampled_from(Method),
    kind=st.sampled_from(MessageClass),
    values=st.dictionaries(st.sampled_from(Attribute), st.binary(max_size=40)),
)
def test_what_is_written_is_read(method, kind, values):
    message = parse_message(encode_message(method, kind, TRANSACTION, values.items()))

    assert (method, kind, TRANSACTION, values) == (
        message.method,
        message.kind,
        message.transaction,
        message.attributes,
    )


def test_the_first_of_two_counts():
    """RFC 8489 section 14: only the first occurrence needs to be processed."""
    twice = ((Attribute.DATA, b"first"), (Attribute.DATA, b"second"))
    message = parse_message(encode_message(Method.DATA, MessageClass.INDICATION, TRANSACTION, twice))

    assert b"first" == message.attributes[Attribute.DATA]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"\0\0\4\1Unauthorized", (401, "Unauthorized")),
        (b"\xff\xff\xfc\x26", (438, "")),
        (b"\0\0\3\0caf\xe9", (300, "caf\udce9")),
    ],
)
def test_errors(value, expected):
    attributes = ((Attribute.ERROR_CODE, value),)
    message = parse_message(encode_message(Method.ALLOCATE, MessageClass.ERROR, TRANSACTION, attributes))

    assert message.is_error
    assert expected == message.error()


def test_an_error_without_a_code():
    message = parse_message(encode_message(Method.ALLOCATE, MessageClass.ERROR, TRANSACTION, ()))

    with pytest.raises(RemoteProtocolError):
        message.error()


HEAD = encode_message(Method.DATA, MessageClass.INDICATION, TRANSACTION, ())


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        HEAD[:19],
        HEAD + b"\0",
        b"\x40" + HEAD[1:],
        HEAD[:4] + b"\0" + HEAD[5:],
        HEAD[:2] + b"\0\1" + HEAD[4:] + b"\0",
        HEAD[:2] + b"\0\4" + HEAD[4:] + b"\0\x13\0\4",
    ],
    ids=["nothing", "cut", "too long", "first bits", "cookie", "odd length", "attribute beyond the end"],
)
def test_no_stun(octets):
    with pytest.raises(RemoteProtocolError):
        parse_message(octets)


def test_a_message_has_a_limit():
    most = MAX_MESSAGE - 20

    assert MAX_MESSAGE == read_length(HEAD[:2] + most.to_bytes(2) + HEAD[4:])
    with pytest.raises(RemoteProtocolError):
        read_length(HEAD[:2] + (most + 4).to_bytes(2) + HEAD[4:])


@given(st.one_of(st.binary(max_size=80), st.binary(max_size=60).map(lambda tail: HEAD[:8] + tail)))
def test_rubbish_raises_only_ours(octets):
    try:
        message = parse_message(octets)
        message.address(Attribute.XOR_PEER_ADDRESS)
        message.error()
    except RemoteProtocolError:
        return
