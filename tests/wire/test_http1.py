"""HTTP/1.x between octets and values: strict by h11, and by white space where heads are written by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relaywatch.model.errors import LocalProtocolError, RemoteProtocolError
from relaywatch.wire.http1 import MAX_HEAD, Exchange

WHERE = "192.0.2.9:443"


def connect():
    return Exchange("CONNECT", WHERE, [("Host", WHERE)])


def get(method="GET"):
    return Exchange(method, "http://192.0.2.9/", [("Host", "192.0.2.9")])


def fed(exchange, *pieces):
    for piece in pieces:
        exchange.feed(piece)
    return exchange


def state(exchange):
    return exchange.head, exchange.is_tunnel, exchange.is_complete, exchange.body, exchange.rest()


class TestRequests:
    def test_connect(self):
        assert f"CONNECT {WHERE} HTTP/1.1\r\nHost: {WHERE}\r\n\r\n".encode() == connect().request

    def test_with_a_body(self):
        exchange = Exchange("POST", "/", [("Host", "a"), ("Content-Length", "3")], b"abc")

        assert b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc" == exchange.request

    @pytest.mark.parametrize(
        ("method", "target", "fields"),
        [
            ("GET", "/ HTTP/1.1\r\nX: y", [("Host", "a")]),
            ("GET", "/", []),
            ("GET", "/", [("Host", "a\r\nX: y")]),
            ("GE T", "/", [("Host", "a")]),
        ],
    )
    def test_what_is_none(self, method, target, fields):
        with pytest.raises(LocalProtocolError):
            Exchange(method, target, fields)


class TestHeads:
    def test_status_line_and_fields(self):
        head = fed(
            get(), b"HTTP/1.1 200 Very  well\r\nVia: 1.1 a\r\nvia: 1.1 b\r\nContent-Length: 9\r\n\r\n"
        ).head

        assert ("1.1", 200, "Very  well") == (head.http_version, head.status_code, head.reason)
        assert (("via", "1.1 a"), ("via", "1.1 b"), ("content-length", "9")) == head.fields
        assert ("1.1 a", None) == (head.field("Via"), head.field("Server"))
        assert "HTTP/1.1 200 Very  well" == str(head)
        assert "HTTP/1.1 200" == str(fed(get(), b"HTTP/1.1 200\r\n\r\n").head)

    @pytest.mark.parametrize(
        ("status_code", "successful", "interim"),
        [
            (100, False, True),
            (101, False, False),
            (199, False, True),
            (200, True, False),
            (299, True, False),
            (300, False, False),
        ],
    )
    def test_classes(self, status_code, successful, interim):
        head = fed(connect(), f"HTTP/1.1  {status_code} x\r\n\r\n".encode()).head  # two spaces: read by us
        if interim:
            assert head is None
        else:
            assert (successful, interim) == (head.is_successful, head.is_interim)

    def test_octets_beyond_ascii_stay_as_they_are(self):
        head = fed(get(), b"HTTP/1.1 200 \xff\r\nServer: \xc3\xb6\r\n\r\n").head

        assert ("\udcff", "ö") == (head.reason, head.field("server"))

    def test_interim_responses_are_skipped(self):
        head = fed(get(), b"HTTP/1.1 100 Go\r\n\r\nHTTP/1.1 103 Hint\r\n\r\nHTTP/1.1 403 No\r\n\r\n").head

        assert 403 == head.status_code

    @pytest.mark.parametrize(
        "octets",
        [b"220 mail", b"SSH-2.0-x", b"<html>", b"\x05\x00", b"HTTQ", b"\r\n\r\nH\x00", b"ICY 200 OK"],
    )
    def test_what_is_no_http_is_told_at_its_first_octets(self, octets):
        with pytest.raises(RemoteProtocolError, match="no HTTP") as raised:
            fed(get(), octets)

        assert raised.value.data == octets

    @pytest.mark.parametrize("filler", [b"X: y\r\n", b"HTTP/1.1 100 Go on\r\n\r\n"])
    @pytest.mark.parametrize("size", [100, 4096, 1 << 20])
    def test_a_head_has_its_limit_and_so_have_interim_responses(self, filler, size):
        start = b"" if filler.startswith(b"HTTP") else b"HTTP/1.1 200 OK\r\n"
        octets = start + filler * (MAX_HEAD // len(filler) + 1) + b"HTTP/1.1 200 OK\r\n\r\n"
        exchange = get()
        with pytest.raises(RemoteProtocolError):
            fed(exchange, *(octets[begin : begin + size] for begin in range(0, len(octets), size)))

        assert exchange.head is None

    def test_empty_lines_without_end(self):
        exchange = get()
        with pytest.raises(RemoteProtocolError, match="a head of more than"):
            fed(exchange, *[b"\r\n"] * MAX_HEAD)


class TestBodies:
    @pytest.mark.parametrize(
        ("octets", "body"),
        [
            (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcde", b"abcde"),
            (
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n3;x=y\r\ncde\r\n0\r\nT: x\r\n\r\n",
                b"abcde",
            ),
            (b"HTTP/1.1 204 No\r\n\r\n", b""),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcdeHTTP/1.1 200 more", b"abcde"),
        ],
    )
    def test_framed(self, octets, body):
        exchange = fed(get(), octets)

        assert (True, body, False) == (exchange.is_complete, exchange.body, exchange.is_tunnel)

    def test_until_the_connection_closes(self):
        exchange = fed(get(), b"HTTP/1.0 200 OK\r\n\r\nabc", b"de")

        assert (False, b"abcde") == (exchange.is_complete, exchange.body)
        assert fed(exchange, b"").is_complete

    def test_of_head_there_is_none(self):
        assert fed(get("HEAD"), b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n").is_complete

    @pytest.mark.parametrize(
        "pieces",
        [
            [b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc", b""],
            [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"],
            [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc", b""],
        ],
    )
    def test_broken_framing(self, pieces):
        with pytest.raises(RemoteProtocolError, match="no HTTP"):
            fed(get(), *pieces)


class TestTunnels:
    def test_what_stands_behind_the_head_is_the_tunnels(self):
        exchange = fed(connect(), b"HTTP/1.1 200 OK\r\n\r\n220 mail\r\n")

        assert (True, True, b"220 mail\r\n") == (exchange.is_tunnel, exchange.is_complete, exchange.rest())

    @pytest.mark.parametrize("field", [b"Content-Length: 5", b"Transfer-Encoding: chunked"])
    def test_framing_is_ignored(self, field):
        """RFC 9110 section 9.3.6: a client must ignore them in a successful answer to CONNECT."""
        exchange = fed(connect(), b"HTTP/1.1 200 OK\r\n" + field + b"\r\n\r\n5\r\nabc")

        assert (True, b"", b"5\r\nabc") == (exchange.is_tunnel, exchange.body, exchange.rest())

    def test_a_refusal_is_none(self):
        exchange = fed(connect(), b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno")

        assert (False, b"no") == (exchange.is_tunnel, exchange.body)

    def test_an_upgrade_is_one(self):
        exchange = Exchange("GET", "/", [("Host", "a"), ("Upgrade", "x"), ("Connection", "upgrade")])
        fed(exchange, b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\nabc")

        assert (101, True, b"abc") == (exchange.head.status_code, exchange.is_tunnel, exchange.rest())


class TestHeadsWrittenByHand:
    """RFC 9112 section 4: a recipient may parse on white space instead."""

    @pytest.mark.parametrize(
        ("octets", "shown", "fields"),
        [
            (
                b"HTTP/1.0  200 Connection established\r\nProxy-agent\r\n\r\n",
                "HTTP/1.0 200 Connection established",
                (),
            ),
            (b"HTTP/1.1 200 OK\nName : x\n: y\n\n", "HTTP/1.1 200 OK", (("name", "x"), ("", "y"))),
            (b"HTTP/1 200\r\n\r\n", "HTTP/1 200", ()),
            (b"\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK", ()),
            (b"http/1.1 200 ok\r\n\r\n", "HTTP/1.1 200 ok", ()),
            (
                b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
                "HTTP/1.1 200 OK",
                (("content-length", "-1"),),
            ),
            (
                b"HTTP/1.1 100 Go\r\n\r\nHTTP/1.1  100 Go\r\n\r\nHTTP/1.1  200 OK\r\n\r\n",
                "HTTP/1.1 200 OK",
                (),
            ),
        ],
    )
    @pytest.mark.parametrize("size", [1, 7, 1000])
    def test_they_are_read(self, octets, shown, fields, size):
        octets += b"rest"
        exchange = connect()
        for begin in range(0, len(octets), size):
            exchange.feed(octets[begin : begin + size])

        assert (shown, fields) == (str(exchange.head), exchange.head.fields)
        assert (True, True, b"rest") == (exchange.is_tunnel, exchange.is_complete, exchange.rest())

    def test_their_body_ends_with_the_connection(self):
        exchange = fed(get(), b"HTTP/1.1  200 OK\r\n\r\nab", b"c")

        assert (False, b"abc", False) == (exchange.is_complete, exchange.body, exchange.is_tunnel)
        assert fed(exchange, b"").is_complete
        assert b"" == exchange.rest()

    def test_of_head_there_is_none(self):
        assert fed(get("HEAD"), b"HTTP/1.1  200 OK\r\n\r\n").is_complete

    @pytest.mark.parametrize(
        "pieces",
        [
            [b"HTTP/1.1 1000 OK\r\n\r\n"],
            [b"HTTP/1.1 OK\r\n\r\n"],
            [b"HTTP/1.1\r\n\r\n"],
            [b"\r\nHTTP/1.1 200", b""],
            [b"\r\n", b""],
        ],
    )
    def test_what_is_none(self, pieces):
        with pytest.raises(RemoteProtocolError, match="no HTTP"):
            fed(get(), *pieces)


WORDS = st.lists(
    st.one_of(
        st.binary(max_size=20),
        st.sampled_from(
            [b"HTTP/1.1 200 OK", b"HTTP/1.0  403 No", b"HTTP/1.1 100 Go", b"\r\n", b"\r\n\r\n", b"\n", b"X: y\r\n",
             b"X y\r\n", b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"3\r\nabc\r\n", b"0\r\n\r\n"]
        ),
    ),
    max_size=12,
).map(b"".join)  # fmt: skip


@given(octets=WORDS, sizes=st.lists(st.integers(1, 30), min_size=1), make=st.sampled_from([connect, get]))
def test_chopping_changes_nothing_and_rubbish_raises_only_ours(octets, sizes, make):
    def outcome(pieces):
        exchange = make()
        try:
            fed(exchange, *pieces)
        except RemoteProtocolError:
            return exchange.head, "no HTTP"
        return state(exchange)

    pieces, begin, number = [], 0, 0
    while begin < len(octets):
        size = sizes[number % len(sizes)]
        pieces.append(octets[begin : begin + size])
        begin, number = begin + size, number + 1

    assert outcome([octets] if octets else []) == outcome(pieces)
