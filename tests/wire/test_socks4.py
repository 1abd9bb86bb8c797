"""SOCKS4 and SOCKS4a: requests as the memos draw them, and replies."""

import contextlib
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relaywatch.model.errors import LocalProtocolError, RemoteProtocolError
from relaywatch.wire.socks4 import REPLY_OCTETS, ReplyCode, encode_connect, parse_reply_code


class TestRequests:
    def test_by_address(self):
        assert bytes.fromhex("04 01 01bb cb007119 00") == encode_connect(IPv4Address("203.0.113.25"), 443)

    def test_by_name(self):
        """The first three octets of the address are zero and the last is not; the name follows the user id."""
        assert bytes.fromhex("04 01 0019 00000001 00") + b"canary.example\0" == encode_connect(
            "canary.example", 25
        )

    @pytest.mark.parametrize("name", ["", "a\0b", "카나리.example"])
    def test_names_that_would_be_another_request(self, name):
        with pytest.raises(LocalProtocolError, match="no name for SOCKS4a"):
            encode_connect(name, 443)


class TestReplies:
    @pytest.mark.parametrize("version", [0, 4])
    @pytest.mark.parametrize("code", ReplyCode)
    def test_codes(self, version, code):
        assert code is parse_reply_code(bytes((version, code)))

    @pytest.mark.parametrize(
        "head", [b"\x05\x00", b"\x05\xff", b"HT", b"\x00\x00", b"\x00\x59", b"\x04\x5e", b"\x04\x01"]
    )
    def test_what_is_none(self, head):
        with pytest.raises(RemoteProtocolError, match="no SOCKS4 reply") as raised:
            parse_reply_code(head)

        assert head == raised.value.data

    @given(head=st.binary(min_size=2, max_size=2))
    def test_rubbish_raises_only_ours(self, head):
        with contextlib.suppress(RemoteProtocolError):
            assert head[1] == parse_reply_code(head)

    def test_a_reply_is_as_long_as_a_request_by_address_without_its_end(self):
        assert REPLY_OCTETS == len(encode_connect(IPv4Address("192.0.2.7"), 1)) - 1
