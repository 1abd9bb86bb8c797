"""SOCKS5's octets, as RFC 1928 draws them."""

import contextlib
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relaywatch.model.errors import LocalProtocolError, RemoteProtocolError
from relaywatch.wire.socks5 import (
    AddressType,
    BoundAddress,
    Command,
    ReplyField,
    address_size,
    encode_datagram,
    encode_greeting,
    encode_request,
    encode_username_password,
    parse_address,
    parse_datagram,
    show_reply_field,
)

NAMES = st.from_regex(r"[a-z0-9.-]{1,255}", fullmatch=True)
HOSTS = st.one_of(st.ip_addresses(), NAMES)
PORTS = st.integers(0, 65535)


def test_the_greeting_offers_one_method():
    assert bytes.fromhex("05 01 00") == encode_greeting()


class TestRequests:
    """RFC 1928 section 4: VER, CMD, RSV, ATYP, DST.ADDR, DST.PORT."""

    @pytest.mark.parametrize(
        ("command", "host", "written"),
        [
            (Command.CONNECT, ip_address("203.0.113.25"), "05 01 00 01 cb007119 01bb"),
            (Command.BIND, ip_address("2001:db8::7"), "05 02 00 04 20010db8000000000000000000000007 01bb"),
            (Command.UDP_ASSOCIATE, "a.example", "05 03 00 03 09 612e6578616d706c65 01bb"),
        ],
    )
    def test_as_drawn(self, command, host, written):
        assert bytes.fromhex(written) == encode_request(command, host, 443)

    @pytest.mark.parametrize("name", ["", "a" * 256, "카나리.example"])
    def test_names_that_cannot_be_written(self, name):
        with pytest.raises(LocalProtocolError, match="no name for SOCKS5"):
            encode_request(Command.CONNECT, name, 443)


class TestAddresses:
    @given(host=HOSTS, port=PORTS)
    def test_what_is_written_is_read(self, host, port):
        octets = encode_request(Command.CONNECT, host, port)[3:]
        address_type, first = octets[0], octets[1]
        expected = getattr(host, "ipv4_mapped", None) or host

        assert len(octets) - 1 == address_size(address_type, first)
        assert BoundAddress(expected, port) == parse_address(address_type, octets[1:])

    def test_an_ipv4_mapped_address_is_the_ipv4_address(self):
        octets = ip_address("::ffff:192.0.2.7").packed + b"\x00\x50"

        assert BoundAddress(ip_address("192.0.2.7"), 80) == parse_address(AddressType.IPV6, octets)

    def test_an_unassigned_type_is_read_as_ipv4(self):
        assert address_size(0, 0) == 6
        assert BoundAddress(ip_address("0.0.0.0"), 0) == parse_address(0, bytes(6))

    def test_a_name_may_be_empty_or_no_text(self):
        assert BoundAddress("", 80) == parse_address(AddressType.NAME, b"\x00\x00\x50")
        assert BoundAddress("\udcff", 80) == parse_address(AddressType.NAME, b"\x01\xff\x00\x50")


class TestDatagrams:
    """RFC 1928 section 7: RSV, FRAG, ATYP, DST.ADDR, DST.PORT, DATA."""

    @given(host=HOSTS, port=PORTS, data=st.binary(max_size=50))
    def test_what_is_written_is_read(self, host, port, data):
        assert data == parse_datagram(encode_datagram(host, port, data))

    @pytest.mark.parametrize(
        "datagram",
        [
            "",
            "00 00 00 01",
            "00 00 00 01 c0000207 00",  # the port isn't whole
            "00 00 00 03 05 61 0050",
            "00 00 00 04 c0000207 0050",
            "00 00 01 01 c0000207 0050 78",  # a fragment, which whoever doesn't join them must drop
            "00 01 00 01 c0000207 0050 78",
        ],
    )
    def test_what_is_none(self, datagram):
        with pytest.raises(RemoteProtocolError, match="no datagram of a SOCKS5 relay"):
            parse_datagram(bytes.fromhex(datagram))

    @given(datagram=st.binary(max_size=300))
    def test_rubbish_raises_only_ours(self, datagram):
        with contextlib.suppress(RemoteProtocolError):
            assert datagram.endswith(parse_datagram(datagram))


class TestReplyFields:
    @pytest.mark.parametrize("field", ReplyField)
    def test_each_is_named(self, field):
        assert f"REP 0x0{field.value} {field.name.lower().replace('_', ' ')}" == show_reply_field(field)

    def test_unassigned(self):
        assert show_reply_field(0xF0) == "REP 0xf0 unassigned"


def test_a_username_and_a_password():
    assert bytes.fromhex("01 01 75 02 70 77") == encode_username_password("u", "pw")
    assert bytes.fromhex("05 01 02") == encode_greeting(2)


@pytest.mark.parametrize(("user", "password"), [("", "pw"), ("u", ""), ("u", "secret" * 43)])
def test_a_password_that_can_t_be_written_is_not_named(user, password):
    with pytest.raises(LocalProtocolError) as error:
        encode_username_password(user, password)
    assert "secret" not in str(error.value)
