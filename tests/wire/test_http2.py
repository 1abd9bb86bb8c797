"""HTTP/2 between octets and values: against h2 as a server, and against frames that no server sends."""

import base64

import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from hypothesis import given
from hypothesis import strategies as st
from tests.http2_peer import (
    CONTINUATION,
    DATA,
    GOAWAY,
    HEADERS,
    PING,
    PREFACE,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Http2Peer,
    frame,
    goaway,
)

from relaywatch.model.errors import LocalProtocolError, RelaywatchError, RemoteProtocolError
from relaywatch.wire.http2 import MAX_FRAMES, Http2Exchange, upgrade_settings

CONNECT = [(":method", "CONNECT"), (":authority", "203.0.113.25:443")]
GET = [(":method", "GET"), (":scheme", "https"), (":authority", "www.example"), (":path", "/")]
OK = b"\x88"
"""``:status: 200`` (RFC 7541 appendix A)."""
END_STREAM, END_HEADERS, ACK = 1, 4, 1
EMPTY_SETTINGS = frame(SETTINGS)


def answered(*frames):
    exchange = Http2Exchange(CONNECT)
    exchange.feed(EMPTY_SETTINGS + b"".join(frames))
    return exchange


def opened():
    return answered(frame(HEADERS, OK, flags=END_HEADERS, stream=1))


class TestRequests:
    def test_connect(self):
        peer = Http2Peer()
        octets = Http2Exchange([*CONNECT, ("user-agent", "relaywatch")]).outgoing()
        peer.take(octets)

        assert octets.startswith(PREFACE)
        assert [
            {":method": "CONNECT", ":authority": "203.0.113.25:443", "user-agent": "relaywatch"}
        ] == peer.requests

    def test_we_want_no_pushes_and_no_long_fields(self):
        peer = Http2Peer()
        peer.take(Http2Exchange(CONNECT).outgoing())
        settings = peer.connection.remote_settings

        assert (0, 16384) == (settings.enable_push, settings.max_header_list_size)
        assert b"\x00\x08\x00\x00\x00\x00" not in Http2Exchange(CONNECT).outgoing()[:80]

    def test_a_request_without_content_ends_at_once(self):
        peer = Http2Peer(lambda peer, stream, _fields: peer.respond(stream, 204, ends=True))
        exchange = Http2Exchange(GET, ends=True)
        exchange.feed(peer.take(exchange.outgoing()))

        assert (204, True) == (exchange.head.status_code, exchange.is_ended)
        assert "HTTP/2 204" == str(exchange.head)

    def test_what_is_no_request_is_our_own_fault(self):
        with pytest.raises(LocalProtocolError, match="scheme"):
            Http2Exchange([(":method", "GET"), (":authority", "www.example")])

    def test_after_an_upgrade_the_first_stream_is_taken(self):
        """RFC 7540 section 3.2: the request that was upgraded is stream 1."""
        peer = Http2Peer(
            lambda peer, stream, _fields: peer.respond(stream, 200), upgraded_by=upgrade_settings() + "=="
        )
        peer.respond(1, 200, ("content-length", "5"), content=b"hello", ends=True)
        exchange = Http2Exchange(CONNECT, is_upgraded=True)
        exchange.feed(peer.take(exchange.outgoing()))

        assert ("200", b"", False) == (
            str(exchange.head.status_code),
            bytes(exchange.body),
            exchange.is_ended,
        )
        assert 0 == peer.connection.remote_settings.enable_push

    def test_the_offer_of_an_upgrade_is_written_without_padding(self):
        """RFC 7540 section 3.2.1."""
        offer = upgrade_settings()

        assert "=" not in offer
        assert 0 == len(base64.urlsafe_b64decode(offer + "=" * (-len(offer) % 4))) % 6


class TestAnswers:
    @pytest.mark.parametrize("size", [1, 7, 10_000])
    def test_in_pieces(self, size):
        peer = Http2Peer(
            lambda peer, stream, _fields: peer.respond(stream, 200, ("server", "x"), content=b"hello")
        )
        exchange = Http2Exchange(CONNECT)
        octets = peer.take(exchange.outgoing())
        for start in range(0, len(octets), size):
            exchange.feed(octets[start : start + size])

        assert (200, "x", b"hello") == (
            exchange.head.status_code,
            exchange.head.field("Server"),
            exchange.body,
        )
        assert not exchange.is_ended

    def test_nothing_yet(self):
        exchange = Http2Exchange(CONNECT)
        exchange.feed(EMPTY_SETTINGS[:-1])

        assert not exchange.has_spoken
        exchange.feed(EMPTY_SETTINGS[-1:])
        assert exchange.has_spoken
        assert exchange.head is None

    def test_settings_and_pings_are_answered(self):
        exchange = answered()
        exchange.outgoing()
        exchange.feed(EMPTY_SETTINGS + frame(PING, b"12345678"))

        assert frame(SETTINGS, flags=ACK) + frame(PING, b"12345678", flags=ACK) == exchange.outgoing()

    def test_interim_responses_are_passed_over(self):
        """RFC 9113 section 8.1."""
        exchange = answered(
            frame(HEADERS, b"\x08\x03103", flags=END_HEADERS, stream=1),
            frame(HEADERS, b"\x08\x03200", flags=END_HEADERS, stream=1),
        )

        assert 200 == exchange.head.status_code

    def test_fields_beyond_ascii_stay_what_they_are(self):
        exchange = answered(frame(HEADERS, OK + b"\x00\x01x\x02\xff\xfe", flags=END_HEADERS, stream=1))

        assert "\udcff\udcfe" == exchange.head.field("x")

    @pytest.mark.parametrize("status", [b"abc", b"20", b"\xb2\xb2\xb2", b"2000"])
    def test_what_is_no_status_code(self, status):
        with pytest.raises(RemoteProtocolError, match="no status code"):
            answered(frame(HEADERS, b"\x08" + bytes([len(status)]) + status, flags=END_HEADERS, stream=1))

    @pytest.mark.parametrize(
        ("code", "name"), [(7, ErrorCodes.REFUSED_STREAM), (13, ErrorCodes.HTTP_1_1_REQUIRED), (4711, 4711)]
    )
    def test_broken_off(self, code, name):
        exchange = answered(frame(RST_STREAM, code.to_bytes(4, "big"), stream=1))

        assert (name, True, None) == (exchange.error, exchange.is_ended, exchange.head)

    def test_what_came_before_a_break_counts(self):
        exchange = answered(
            frame(HEADERS, OK, flags=END_HEADERS, stream=1),
            frame(DATA, b"hello", stream=1),
            frame(RST_STREAM, bytes(4), stream=1),
        )

        assert (200, b"hello", True) == (exchange.head.status_code, exchange.body, exchange.is_ended)


class TestFarewells:
    """RFC 9113 section 6.8: streams up to the last that GOAWAY names go on."""

    def test_one_that_lets_our_stream_go_on(self):
        exchange = answered(goaway(1, 0), frame(HEADERS, OK, flags=END_HEADERS, stream=1))

        assert (200, False) == (exchange.head.status_code, exchange.is_ended)

    def test_the_highest_stream_of_all(self):
        exchange = answered(goaway(2**31 - 1, 0), frame(HEADERS, OK, flags=END_HEADERS, stream=1))

        assert 200 == exchange.head.status_code

    @pytest.mark.parametrize(
        ("last", "code", "error"), [(0, 0, ErrorCodes.NO_ERROR), (1, 13, ErrorCodes.HTTP_1_1_REQUIRED)]
    )
    def test_one_that_ends_it(self, last, code, error):
        exchange = answered(goaway(last, code))

        assert (error, True) == (exchange.error, exchange.is_ended)

    def test_one_that_is_cut_short(self):
        with pytest.raises(RemoteProtocolError, match="broken HTTP/2"):
            answered(frame(GOAWAY, b"\x00\x00"))


class TestSending:
    def test_what_the_window_lets_through(self):
        exchange = opened()
        exchange.outgoing()

        assert 5 == exchange.send(b"hello")
        assert frame(DATA, b"hello", stream=1) == exchange.outgoing()

    def test_no_more_than_a_frame_holds(self):
        """RFC 9113 section 4.2: 16,384 octets unless the peer allows more."""
        assert 16384 == opened().send(bytes(20_000))

    def test_no_more_than_the_window_holds(self):
        setting = (4).to_bytes(2, "big") + (3).to_bytes(4, "big")  # SETTINGS_INITIAL_WINDOW_SIZE
        exchange = opened()
        exchange.feed(frame(SETTINGS, setting))

        assert [3, 0] == [exchange.send(b"hello"), exchange.send(b"lo")]
        exchange.feed(frame(WINDOW_UPDATE, (9).to_bytes(4, "big"), stream=1))
        assert 2 == exchange.send(b"lo")

    def test_a_window_below_nothing(self):
        """RFC 9113 section 6.9.2: a setting may make it so."""
        exchange = opened()
        exchange.send(b"hello")
        exchange.feed(frame(SETTINGS, (4).to_bytes(2, "big") + bytes(4)))

        assert 0 == exchange.send(b"more")

    def test_nothing_on_a_stream_that_has_ended(self):
        exchange = answered(frame(HEADERS, OK, flags=END_HEADERS | END_STREAM, stream=1))

        assert 0 == exchange.send(b"hello")

    @pytest.mark.parametrize(
        "broken", [frame(SETTINGS, b"x"), frame(DATA, b"nobody's"), frame(SETTINGS, length=16385)]
    )
    def test_nothing_after_the_peer_has_broken_the_protocol(self, broken):
        exchange = answered(frame(HEADERS, OK, flags=END_HEADERS, stream=1))
        for _ in range(2):
            with pytest.raises(RemoteProtocolError):
                exchange.feed(broken)

        assert (0, True, False) == (exchange.send(b"hello"), exchange.is_broken, exchange.is_ended)

    def test_what_comes_is_acknowledged(self):
        peer = Http2Peer(lambda peer, stream, _fields: peer.respond(stream, 200))
        exchange = Http2Exchange(CONNECT)
        exchange.feed(peer.take(exchange.outgoing()))
        for _ in range(40):
            peer.say(1, bytes(8000))
            exchange.feed(peer.take(exchange.outgoing()))

        assert 320_000 == len(exchange.body)


class TestStrangers:
    @pytest.mark.parametrize(
        "said",
        [
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            b"220 mail.example.test ESMTP\r\n",
            frame(PING, b"12345678"),
            frame(SETTINGS, length=16385),
            b"\x15\x03\x01\x00\x02\x02\x50\x00\x00",
        ],
    )
    def test_no_http2(self, said):
        exchange = Http2Exchange(CONNECT)
        with pytest.raises(RemoteProtocolError, match="no HTTP/2"):
            exchange.feed(said)

        assert not exchange.has_spoken

    @pytest.mark.parametrize(
        "broken",
        [
            frame(SETTINGS, b"\x00"),
            frame(SETTINGS, (5).to_bytes(2, "big") + bytes(4)),
            frame(DATA, b"early", stream=1),
            frame(DATA, b"nobody's"),
            frame(HEADERS, OK, flags=END_HEADERS, stream=2),
            frame(HEADERS, b"\xff\xff\xff\xff", flags=END_HEADERS, stream=1),
            frame(PUSH_PROMISE, bytes(4) + OK, flags=END_HEADERS, stream=1),
            frame(CONTINUATION, OK, flags=END_HEADERS, stream=1),
            frame(HEADERS, OK, stream=1) + frame(PING, b"12345678"),
            frame(WINDOW_UPDATE, bytes(4)),
            frame(WINDOW_UPDATE, (2**31 - 1).to_bytes(4, "big")) * 2,
            frame(PING, b"short"),
            frame(DATA, b"\x09x", flags=8, stream=1),
            frame(HEADERS, b"\x00\x01X\x01y", flags=END_HEADERS, stream=1),
        ],
    )
    def test_broken_frames(self, broken):
        with pytest.raises(RemoteProtocolError, match="broken HTTP/2"):
            answered(broken)

    def test_a_bomb_of_fields(self):
        """A field of 4,000 octets, and two thousand references of one octet to it (CVE-2016-6581)."""
        long = b"\x40\x01x\x7f\x81\x1e" + bytes([97]) * 4000
        with pytest.raises(RemoteProtocolError, match="broken HTTP/2"):
            answered(frame(HEADERS, OK + long + b"\xbe" * 2000, flags=END_HEADERS, stream=1))

    def test_an_endless_head(self):
        exchange = answered(frame(HEADERS, OK, stream=1))
        with pytest.raises(RemoteProtocolError, match="broken HTTP/2"):
            exchange.feed(frame(CONTINUATION, b"", stream=1) * MAX_FRAMES)

    @pytest.mark.parametrize(
        "endless",
        [
            EMPTY_SETTINGS,
            frame(PING, b"12345678"),
            frame(250),
            frame(WINDOW_UPDATE, b"\0\0\0\1"),
            goaway(1, 0),
        ],
    )
    def test_a_flood(self, endless):
        exchange = answered()
        with pytest.raises(RemoteProtocolError, match=f"more than {MAX_FRAMES} frames"):
            exchange.feed(endless * MAX_FRAMES)


KINDS = st.integers(0, 12)
FRAMES = st.builds(
    frame,
    KINDS,
    st.one_of(st.binary(max_size=40), st.just(OK), st.just(bytes(4)), st.just(bytes(8))),
    flags=st.integers(0, 255),
    stream=st.sampled_from([0, 1, 2, 3, 2**31]),
)


@given(frames=st.lists(st.one_of(FRAMES, st.binary(max_size=30)), max_size=30), is_upgraded=st.booleans())
def test_whatever_comes_raises_only_ours(frames, is_upgraded):
    exchange = Http2Exchange(CONNECT, is_upgraded=is_upgraded)
    try:
        exchange.feed(EMPTY_SETTINGS)
        for piece in frames:
            exchange.feed(piece)
            exchange.send(b"words")
            exchange.outgoing()
    except RelaywatchError:
        exchange.send(b"more words")
        exchange.outgoing()


@given(status=st.sampled_from([b"\x88", b"\x8d", b"\x08\x03403"]), rest=st.lists(FRAMES, max_size=10))
def test_whatever_comes_behind_a_head_leaves_it_as_it_was(status, rest):
    exchange = answered(frame(HEADERS, status, flags=END_HEADERS, stream=1))
    head = exchange.head
    try:
        for piece in rest:
            exchange.feed(piece)
    except RelaywatchError:
        pass

    assert head == exchange.head


def test_settings_of_every_kind_are_taken():
    peer = Http2Peer(settings={SettingCodes.MAX_FRAME_SIZE: 32768, SettingCodes.ENABLE_CONNECT_PROTOCOL: 1})
    exchange = Http2Exchange(CONNECT)
    exchange.feed(peer.take(exchange.outgoing()))
    peer.respond(1, 200)
    exchange.feed(peer.take(exchange.outgoing()))

    assert 32768 == exchange.send(bytes(40_000))
