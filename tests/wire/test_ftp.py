"""FTP's reply lines, and data ports as PORT and EPRT write them."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relaywatch.model.errors import LocalProtocolError, RemoteProtocolError
from relaywatch.model.places import Endpoint, parse_address
from relaywatch.wire.ftp import eprt_argument, is_first_of_many, is_last, parse_reply_code, port_argument


class TestReplyLines:
    @pytest.mark.parametrize(
        ("line", "code"),
        [(b"220 ready", 220), (b"220-first", 220), (b"150", 150), (b"500 ", 500), (b"227 \xff", 227)],
    )
    def test_codes(self, line, code):
        assert code == parse_reply_code(line)

    @pytest.mark.parametrize(
        "line", [b"", b"22", b"2200", b"220x", b"620 x", b"SSH-2.0-x", b" 220 x", "٢٢٠ x".encode()]
    )
    def test_what_is_none(self, line):
        with pytest.raises(RemoteProtocolError, match="not an FTP reply line") as raised:
            parse_reply_code(line)

        assert line == raised.value.data

    @given(line=st.binary(max_size=100))
    def test_rubbish_raises_only_ours(self, line):
        with contextlib.suppress(RemoteProtocolError):
            assert 100 <= parse_reply_code(line) < 600

    def test_a_hyphen_says_that_more_follows(self):
        assert is_first_of_many(b"220-first")
        assert not is_first_of_many(b"220 only - one")
        assert not is_first_of_many(b"220")

    @pytest.mark.parametrize(
        ("line", "expected"),
        [
            (b"220 ready", True),
            (b"220", True),
            (b"220-still", False),
            (b" 220 indented", False),
            (b"221 another code", False),
            (b"2200", False),
            (b"", False),
        ],
    )
    def test_the_same_code_and_a_space_end_it(self, line, expected):
        """RFC 959 section 4.2: the same code, immediately followed by Space, optionally some text."""
        assert expected is is_last(line, 220)


class TestPorts:
    def test_port(self):
        """RFC 959 section 5.3.2: h1,h2,h3,h4,p1,p2."""
        assert port_argument(Endpoint(parse_address("203.0.113.25"), 40123)) == "203,0,113,25,156,187"

    def test_port_has_no_ipv6(self):
        with pytest.raises(LocalProtocolError, match="no IPv6"):
            port_argument(Endpoint(parse_address("2001:db8::7"), 40123))

    @pytest.mark.parametrize(
        ("address", "written"),
        [
            ("132.235.1.2", "|1|132.235.1.2|6275|"),
            ("1080::8:800:200c:417a", "|2|1080::8:800:200c:417a|6275|"),
        ],
    )
    def test_eprt(self, address, written):
        """RFC 2428 section 2: the two examples there."""
        assert written == eprt_argument(Endpoint(parse_address(address), 6275))
