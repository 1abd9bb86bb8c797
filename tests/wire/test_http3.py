"""The client's side of HTTP/3, against aioquic's server: datagrams handed from one to the other, time as told."""

import logging

import pytest
from tests.http3_server import CLIENT, MASQUE, PLAIN, App, Session, capsule, configure

from relaywatch.model.errors import PeerClosedError, RemoteProtocolError
from relaywatch.model.places import Endpoint, parse_address
from relaywatch.wire.http3 import Http3Client

SERVER = Endpoint(parse_address("192.0.2.7"), 443)
FIELDS = [(":method", "CONNECT"), (":authority", "203.0.113.25:443")]


class Quiet(App):
    """Answers nothing of itself; keeps what came."""

    def __init__(self, settings=MASQUE):
        self.settings = settings
        self.came = []

    def request(self, session, stream, fields):
        self.came.append(fields)

    def octets(self, session, stream, data):
        self.came.append(data)

    def datagram(self, session, stream, data):
        self.came.append(("datagram", data))


class Wire:
    """A client and a server, and a clock."""

    def __init__(self, app=None, **options):
        self.now = 0.0
        self.app = app or Quiet()
        self.client = Http3Client(SERVER, "proxy.example.test", self.now)
        first = self.client.datagrams_to_send(self.now)
        (self.first,) = first
        self.server = Session(
            self.app,
            configure(**options),
            original_destination_connection_id=self.first[6 : 6 + self.first[5]],
        )
        self.server.receive(self.first, CLIENT, self.now)
        self.run()

    def run(self):
        """Hand datagrams over until neither side has any."""
        for _ in range(50):
            self.now += 0.01
            back = [data for data, _ in self.server.quic.datagrams_to_send(self.now)]
            for datagram in back:
                self.client.receive(datagram, self.now)
            there = self.client.datagrams_to_send(self.now)
            for datagram in there:
                self.server.receive(datagram, CLIENT, self.now)
            if not back and not there:
                return
        raise AssertionError("they talk without end")

    def wait(self, seconds):
        self.now += seconds
        self.client.pass_time(self.now)
        self.server.pass_time(self.now)
        self.run()


@pytest.fixture
def wire():
    return Wire()


@pytest.fixture
def asked(wire):
    stream = wire.client.ask(FIELDS)
    wire.run()
    return wire, stream


def test_the_handshake_brings_settings(wire):
    assert wire.client.has_heard
    assert wire.client.settings is not None
    assert wire.client.takes_extended_connect
    assert wire.client.takes_datagrams
    assert 1 == wire.server.h3.received_settings[0x33]  # RFC 9297 section 2.1.1


def test_settings_that_offer_nothing():
    wire = Wire(Quiet(PLAIN))
    stream = wire.client.ask(FIELDS)

    assert not wire.client.takes_extended_connect
    assert not wire.client.send_datagram(stream, b"\0words")


def test_before_the_handshake_there_is_nothing():
    client = Http3Client(SERVER, None, 0.0)

    assert client.settings is None
    assert not client.takes_datagrams
    assert client.next_due() is not None
    with pytest.raises(PeerClosedError):
        client.ask(FIELDS)


def test_an_answer_and_octets_both_ways(asked):
    wire, stream = asked
    assert [dict(FIELDS)] == wire.app.came
    assert not stream.has_news

    wire.server.answer(stream.number, 100)
    wire.server.answer(stream.number, 200, ("proxy-status", "caf\xe9"))
    wire.server.send(stream.number, b"welcome")
    wire.run()
    wire.client.send(stream, b"words")
    wire.run()

    assert "HTTP/3 200" == str(stream.head)
    assert "caf\xe9" == stream.head.field("Proxy-Status")
    assert b"welcome" == bytes(stream.octets)
    assert stream.has_news
    assert not stream.is_ended
    assert b"words" == wire.app.came[-1]


def test_datagrams_both_ways(asked):
    wire, stream = asked
    wire.server.answer(stream.number, 200)
    wire.server.send_datagram(stream.number, b"\0back")
    wire.server.send_datagram(400, b"of a stream that never was")

    assert wire.client.send_datagram(stream, b"\0words")
    wire.run()

    assert [b"\0back"] == stream.datagrams
    assert ("datagram", b"\0words") == wire.app.came[-1]


def test_the_end_of_a_stream(asked):
    wire, stream = asked
    wire.server.answer(stream.number, 200, end=True)
    wire.run()

    assert stream.is_ended
    assert stream.reset_code is None
    with pytest.raises(PeerClosedError, match="ended the stream"):
        wire.client.send(stream, b"words")


def test_a_reset(asked):
    wire, stream = asked
    wire.server.quic.reset_stream(stream.number, 0x10F)
    wire.run()

    assert stream.is_ended
    assert 0x10F == stream.reset_code


def test_a_reset_of_a_stream_that_we_know_nothing_of(wire):
    pushed = wire.server.quic.get_next_available_stream_id(is_unidirectional=True)
    wire.server.quic.send_stream_data(pushed, b"\x21")
    wire.server.quic.reset_stream(pushed, 0x100)
    wire.run()

    assert wire.client.closed_because is None


def test_a_promise_of_a_push_says_nothing(asked):
    wire, stream = asked
    promised = [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"a.test"), (b":path", b"/")]
    pushed = wire.server.h3.send_push_promise(stream.number, promised)
    wire.server.h3.send_headers(pushed, [(b":status", b"200")], True)
    wire.run()

    assert wire.client.closed_because is None
    assert stream.head is None
    assert not stream.has_news


def test_a_server_that_takes_no_more(asked):
    wire, stream = asked
    wire.server.answer(stream.number, 200)
    wire.server.quic.stop_stream(stream.number, 0x10C)
    wire.run()

    with pytest.raises(PeerClosedError, match="takes no more"):
        wire.client.send(stream, b"words")


def test_the_end_of_the_connection(asked):
    wire, stream = asked
    wire.server.quic.close(error_code=0x107, reason_phrase="too much")
    wire.run()
    wire.wait(5)

    assert "QUIC error 0x107 too much" == wire.client.closed_because
    assert stream.is_ended
    with pytest.raises(PeerClosedError, match="too much"):
        wire.client.send(stream, b"words")


def test_another_protocol_by_alpn():
    wire = Wire(alpn="doq")
    wire.wait(5)

    assert "No common ALPN" in wire.client.closed_because or "0x178" in wire.client.closed_because
    assert wire.client.settings is None


def test_our_own_goodbye_is_heard(wire):
    wire.client.close()
    wire.run()
    wire.wait(5)

    assert wire.server.is_over


def test_frames_that_http3_forbids_end_the_connection(asked):
    wire, stream = asked
    wire.server.quic.send_stream_data(stream.number, b"\x04\x00")  # SETTINGS on a request's stream
    wire.run()
    wire.wait(5)

    assert "QUIC error 0x105" in wire.client.closed_because


def test_lost_datagrams_are_sent_again():
    client = Http3Client(SERVER, None, 0.0)
    first = client.datagrams_to_send(0.0)

    client.pass_time(client.next_due())
    again = client.datagrams_to_send(client.next_due() or 1.0)

    assert [1200] == [len(datagram) for datagram in first]
    assert again
    assert all(len(datagram) >= 1200 for datagram in again)


@pytest.mark.parametrize("datagram", [b"", b"\x80", b"SIP/2.0 400 Bad Request\r\n\r\n", bytes(1200)])
def test_what_is_no_quic_is_not_heard(datagram):
    client = Http3Client(SERVER, None, 0.0)

    client.receive(datagram, 0.1)

    assert not client.has_heard


def test_an_echo_is_not_heard():
    client = Http3Client(SERVER, None, 0.0)
    (first,) = client.datagrams_to_send(0.0)

    client.receive(first, 0.1)

    assert not client.has_heard


def test_what_aioquic_stumbles_over_is_the_peers_fault(wire, monkeypatch):
    def stumble(*_arguments):
        raise AssertionError("cannot happen")

    monkeypatch.setattr(wire.client._quic, "receive_datagram", stumble)

    with pytest.raises(RemoteProtocolError, match="QUIC: AssertionError cannot happen"):
        wire.client.receive(b"\x40", 1.0)


def test_a_peers_faults_are_no_warnings_of_ours(caplog):
    caplog.set_level(logging.DEBUG)
    Wire(alpn="doq").wait(5)

    assert [] == [
        record for record in caplog.records if record.name == "quic" and record.levelno < logging.CRITICAL
    ]


def test_capsules_of_the_tests_are_written_apart():
    assert b"\x01\x02ab" == capsule(1, b"ab")


def test_what_the_library_stumbles_over_when_time_passes_is_the_peers_fault(monkeypatch):
    def stumble(_now):
        raise AssertionError("an invariant")

    client = Http3Client(SERVER, None, 0.0)
    monkeypatch.setattr(client._quic, "handle_timer", stumble)

    with pytest.raises(RemoteProtocolError, match="QUIC: AssertionError an invariant"):
        client.pass_time(1.0)
