"""HTTP/3 CONNECT against a server of aioquic's, both without I/O."""

import re
from dataclasses import replace

import pytest
from aioquic import tls
from aioquic.quic import connection
from aioquic.quic.packet import QuicPreferredAddress
from hypothesis import given
from hypothesis import strategies as st
from tests.http3_server import MASQUE, PLAIN, V1, V2, App, QuicServer
from tests.playbook import KEY, PROXY_BRIEF
from tests.scripted import Partner, play

from relaywatch.model.canary import canary_answer
from relaywatch.model.errors import ConnectRefusedError, ConnectTimeoutError, RelaywatchError, TLSFailedError
from relaywatch.model.evidence import Fact
from relaywatch.model.places import Door, Endpoint, Family, Transport, parse_address
from relaywatch.probes.http3_connect import PROBE
from relaywatch.script.http3 import Http3Tunnel

EXIT = parse_address("192.0.2.7")
BRIEF = replace(
    PROXY_BRIEF,
    endpoint=Endpoint(EXIT, 443),
    door=Door(443, Transport.QUIC, Family.IPV4),
    canaries=replace(
        PROXY_BRIEF.canaries,
        addresses=PROXY_BRIEF.canaries.addresses[:1],
        ports=(40025,),
        smtp_ports=(),
        name=None,
        zone=None,
    ),
)


class OpenProxy(App):
    """Carries octets to our canary, which answers at once."""

    settings = PLAIN

    def __init__(self):
        self.requests = []

    def request(self, session, stream, fields):
        self.requests.append(fields)
        if fields[":authority"].endswith(":25"):
            session.answer(stream, 200)
            session.send(stream, b"220 sink.example ESMTP\r\n")
        elif fields[":authority"].endswith(":9"):
            session.quic.reset_stream(stream, 0x10F)
        else:
            session.answer(stream, 200)

    def octets(self, session, stream, data):
        token = re.search(rb"[a-z2-7]{32}", data)[0].decode()
        prefix = b"252 2.0.0 " if data.startswith(b"VRFY") else b""
        session.send(stream, prefix + canary_answer(KEY, token, EXIT).encode() + b"\r\n")


class Answering(App):
    """Answers every request with what a function does."""

    settings = PLAIN

    def __init__(self, act):
        self.act = act

    def request(self, session, stream, fields):
        self.act(session, stream)


def facts(server, brief=BRIEF, script=PROBE.script):
    observations, error = play(script, brief, server)
    assert error is None, repr(error)
    return [(seen.fact, seen.case) for seen in observations], observations


def test_an_open_proxy_is_reached():
    app = OpenProxy()
    server = QuicServer(app)

    seen, observations = facts(server)

    assert [(Fact.PLANNED, ""), (Fact.TALKS, ""), (Fact.CANARY_REACHED, "address-40025")] == seen
    assert "192.0.2.7" == observations[-1].exit_address
    assert "HTTP/3 200" == observations[-1].reply
    assert "CONNECT 203.0.113.25:40025 HTTP/3" == observations[-1].command
    expected = {
        ":method": "CONNECT",
        ":authority": "203.0.113.25:40025",
        "user-agent": "relaywatch (lab@probe.test)",
    }
    assert [expected] == app.requests
    assert all(session.is_over or session.quic._close_event for session in server.sessions)


def test_every_way_is_asked_of_a_proxy_that_refuses():
    server = QuicServer(App())

    seen, _ = facts(server, replace(BRIEF, canaries=PROXY_BRIEF.canaries))

    expected = ["address-40025", "address-443", "address-80", "address-25", "name-40025", "name-443"]
    assert [*expected, "address-ipv6-40025"] == [case for fact, case in seen if fact is Fact.REFUSED]
    assert 7 == len(server.sessions)


def test_mail_ports_are_found_to_be_let_through():
    canaries = replace(BRIEF.canaries, smtp_ports=(25,))

    seen, _ = facts(QuicServer(OpenProxy()), replace(BRIEF, canaries=canaries))

    assert (Fact.CANARY_REACHED, "address-25") in seen


@pytest.mark.parametrize(
    ("status", "fact"),
    [
        (403, Fact.REFUSED),
        (405, Fact.REFUSED),
        (407, Fact.REFUSED),
        (429, Fact.DEFERRED),
        (502, Fact.FAILED),
        (504, Fact.FAILED),
    ],
)
def test_status_codes(status, fact):
    seen, observations = facts(QuicServer(Answering(lambda session, stream: session.answer(stream, status))))

    assert (fact, "address-40025") in seen
    assert (Fact.AUTH_REQUIRED in {seen.fact for seen in observations}) == (status == 407)


def page_with_length(session, stream):
    session.answer(stream, 200, ("content-length", "4"))
    session.send(stream, b"page")


def page_with_an_end(session, stream):
    """As Caddy answers CONNECT where it is told to respond to everything."""
    session.answer(stream, 200)
    session.send(stream, b"page", end=True)


@pytest.mark.parametrize("page", [page_with_length, page_with_an_end])
def test_a_page_is_no_tunnel(page):
    seen, observations = facts(QuicServer(Answering(page)))

    assert (Fact.REFUSED, "address-40025") in seen
    assert "page" in {seen.detail for seen in observations}


@pytest.mark.parametrize(("code", "fact"), [(0x10F, Fact.FAILED), (0x10B, Fact.REFUSED)])
def test_a_stream_that_is_reset(code, fact):
    def reset(session, stream):
        session.quic.reset_stream(stream, code)

    seen, observations = facts(QuicServer(Answering(reset)))

    assert (fact, "address-40025") in seen
    assert f"stream reset, error {code:#x}" == observations[-1].reply


def test_a_stream_that_ends_without_an_answer():
    def end(session, stream):
        session.quic.send_stream_data(stream, b"", end_stream=True)

    seen, _ = facts(QuicServer(Answering(end)))

    assert (Fact.REFUSED, "address-40025") in seen


def test_a_connection_that_is_closed_for_asking():
    def close(session, stream):
        session.quic.close(error_code=0x101, reason_phrase="go away")

    seen, observations = facts(QuicServer(Answering(close)))

    assert (Fact.REFUSED, "address-40025") in seen
    assert "QUIC error 0x101 go away" == observations[-1].detail


def test_a_yes_that_leads_nowhere_and_a_dead_canary_that_gets_one_too():
    server = QuicServer(Answering(lambda session, stream: session.answer(stream, 200)))

    seen, _ = facts(server)

    expected = [(Fact.ACCEPTED, "address-40025"), (Fact.DECEPTIVE, "")]
    assert expected == seen[-2:]
    assert [] == server.arrivals  # nothing that such a proxy sends on is worth a wait


def test_a_yes_and_then_the_end():
    class Ending(OpenProxy):
        def octets(self, session, stream, data):
            session.send(stream, b"", end=True)

        def request(self, session, stream, fields):
            if fields[":authority"].endswith(":9"):
                session.answer(stream, 502)
            else:
                session.answer(stream, 200)

    seen, _ = facts(QuicServer(Ending()))

    assert (Fact.ACCEPTED, "address-40025") == seen[-1]


@pytest.mark.parametrize("ending", ["stop", "reset", "connection"])
def test_a_tunnel_that_closes_before_we_speak(ending):
    def act(session, stream):
        session.answer(stream, 200)
        if ending == "stop":
            session.quic.stop_stream(stream, 0x10C)
        elif ending == "reset":
            session.quic.reset_stream(stream, 0x10C)
        else:
            session.quic.close(error_code=0x100)

    canaries = replace(BRIEF.canaries, dead_port=None)
    seen, _ = facts(QuicServer(Answering(act)), replace(BRIEF, canaries=canaries))

    assert seen[-1][0] in {Fact.ACCEPTED, Fact.REFUSED}


def test_interim_answers_and_trailers_are_no_answers():
    class Interim(OpenProxy):
        def request(self, session, stream, fields):
            session.answer(stream, 103)
            super().request(session, stream, fields)

        def octets(self, session, stream, data):
            super().octets(session, stream, data)
            session.h3.send_headers(stream, [(b"trailer", b"1")], True)

    seen, _ = facts(QuicServer(Interim()))

    assert (Fact.CANARY_REACHED, "address-40025") == seen[-1]


def test_silence_after_the_request_is_no_answer():
    observations, error = play(PROBE.script, BRIEF, QuicServer(Answering(lambda _session, _stream: None)))

    assert "silence" == str(error)
    assert [Fact.PLANNED] == [seen.fact for seen in observations]


# --- below HTTP -----------------------------------------------------------------------------------


def test_an_address_that_has_to_prove_itself():
    seen, _ = facts(QuicServer(OpenProxy(), retries=True))

    assert (Fact.CANARY_REACHED, "address-40025") == seen[-1]


@pytest.mark.parametrize("versions", [(V1,), (V2,), (V2, V1)])
def test_versions(versions):
    seen, _ = facts(QuicServer(OpenProxy(), versions=versions))

    assert (Fact.CANARY_REACHED, "address-40025") == seen[-1]


@pytest.mark.parametrize("field", [{"versions": (0x0A0A0A0A,)}, {"alpn": "doq"}])
def test_another_protocol(field):
    seen, _ = facts(QuicServer(OpenProxy(), **field))

    assert [(Fact.PLANNED, ""), (Fact.NOT_THIS_PROTOCOL, "")] == seen


@pytest.mark.parametrize(
    ("code", "error"),
    [(0x150, TLSFailedError), (0x170, TLSFailedError), (0x2, ConnectTimeoutError)],
    ids=["internal error", "unrecognised name", "connection refused"],
)
def test_a_handshake_that_is_broken_off_says_nothing_of_proxies(code, error):
    class Alerting(QuicServer):
        def send(self, data, channel):
            super().send(data, channel)
            for session in self.sessions:
                self._outgoing.clear()
                session.quic.close(error_code=code, frame_type=6)
                self._flush()

    observations, failure = play(PROBE.script, BRIEF, Alerting())

    assert type(failure) is error
    assert f"{code:#x}" in str(failure)
    assert [Fact.PLANNED] == [seen.fact for seen in observations]


@pytest.mark.parametrize(
    ("names", "expected"),
    [((), []), (("proxy.example.test", "b.test"), ["proxy.example.test"]), (("메일.example",), [])],
)
def test_server_name(monkeypatch, names, expected):
    heard = []
    pull = tls.pull_server_name
    monkeypatch.setattr(tls, "pull_server_name", lambda buf: heard.append(pull(buf)) or heard[-1])
    facts(QuicServer(OpenProxy()), replace(BRIEF, target_names=names))

    assert expected == heard


def test_an_invitation_to_another_address_is_not_followed(monkeypatch):
    """RFC 9000 section 9.6: a client that doesn't migrate stays with the address that it knows."""
    elsewhere = QuicPreferredAddress(
        ipv4_address=("198.51.100.77", 443),
        ipv6_address=None,
        connection_id=b"elsewher",
        stateless_reset_token=bytes(16),
    )
    push = connection.push_quic_transport_parameters
    asked = []

    def invite(buf, parameters):
        if parameters.original_destination_connection_id is not None:  # the server's
            parameters.preferred_address = elsewhere
        push(buf, parameters)

    def probe(self):
        asked.append(self._remote_preferred_address)
        original(self)

    original = connection.QuicConnection._probe_preferred_address
    monkeypatch.setattr(connection, "push_quic_transport_parameters", invite)
    monkeypatch.setattr(connection.QuicConnection, "_probe_preferred_address", probe)
    server = QuicServer(OpenProxy())
    seen, _ = facts(server)

    assert asked
    assert (Fact.CANARY_REACHED, "address-40025") == seen[-1]
    assert {1} == {len(session.quic._network_paths) for session in server.sessions}


def test_whatever_aioquic_stumbles_over_is_the_peers_fault(monkeypatch):
    def stumble(*_arguments):
        raise AssertionError("cannot happen")

    monkeypatch.setattr(connection.QuicConnection, "receive_datagram", stumble)
    seen, _ = facts(Peer(lambda data: data))

    assert [(Fact.PLANNED, ""), (Fact.NOT_THIS_PROTOCOL, "")] == seen


@pytest.mark.parametrize("every", [2, 3, 5])
def test_lost_datagrams_are_sent_again(every):
    server = QuicServer(OpenProxy(), loses=lambda number: number % every == 0)
    brief = replace(BRIEF, patience=replace(BRIEF.patience, connect=60.0))

    seen, _ = facts(server, brief)

    assert (Fact.CANARY_REACHED, "address-40025") == seen[-1]


def test_a_server_that_goes_silent_within_the_handshake():
    observations, error = play(
        PROBE.script, BRIEF, QuicServer(OpenProxy(), retries=True, goes_silent_after=1)
    )

    assert isinstance(error, ConnectTimeoutError)
    assert "QUIC was answered, HTTP/3 was not" == str(error)
    assert [Fact.PLANNED] == [seen.fact for seen in observations]


class Peer(Partner):
    """Answers every datagram with what a function makes of it."""

    is_heard_out = False

    def __init__(self, make):
        self.make, self.pieces, self.sent = make, [], 0

    def connect(self, op):
        pass

    def send(self, data, channel):
        self.sent += 1
        self.pieces = [piece for piece in (self.make(data),) if piece is not None]

    def receive_datagram(self, channel, within):
        return self.pieces.pop(0) if self.pieces else None


def test_an_echo_is_not_quic():
    seen, _ = facts(Peer(lambda data: data))

    assert [(Fact.PLANNED, ""), (Fact.NOT_THIS_PROTOCOL, "")] == seen


def test_silence_ends_without_an_answer_and_without_many_datagrams():
    peer = Peer(lambda _data: None)
    _, error = play(PROBE.script, BRIEF, peer)

    assert isinstance(error, ConnectTimeoutError)
    assert 3 <= peer.sent <= 8


def test_a_flood_ends():
    class Flood(Peer):
        def receive_datagram(self, channel, within):
            return b"\x80" + bytes(30)

    seen, _ = facts(Flood(lambda _data: None))

    assert [(Fact.PLANNED, ""), (Fact.NOT_THIS_PROTOCOL, "")] == seen


@pytest.mark.parametrize("served", [App(), Answering(lambda _session, _stream: None)])
def test_a_goodbye_that_nobody_hears_changes_nothing(served):
    class Gone(QuicServer):
        """Nobody listens any more once the request has come."""

        def send(self, data, channel):
            if self.sessions and self.sessions[-1].app is None:
                raise ConnectRefusedError("nobody listens there")
            super().send(data, channel)

        def receive_datagram(self, channel, within):
            datagram = super().receive_datagram(channel, within)
            session = self.sessions[-1]
            if session.h3 is not None and session.h3._stream.get(0) is not None and datagram is None:
                session.app = None
            return datagram

    observations, error = play(PROBE.script, BRIEF, Gone(served))

    assert error is None or "silence" == str(error)
    assert Fact.CANARY_REACHED not in {seen.fact for seen in observations}


@given(st.lists(st.binary(min_size=1, max_size=1500), max_size=20))
def test_rubbish_raises_only_ours(pieces):
    class Rubbish(Peer):
        def receive_datagram(self, channel, within):
            return pieces.pop() if pieces else None

    observations, error = play(PROBE.script, BRIEF, Rubbish(lambda _data: None))

    assert error is None or isinstance(error, RelaywatchError)
    assert Fact.CANARY_REACHED not in {seen.fact for seen in observations}


@given(
    before=st.binary(max_size=60),
    after=st.binary(max_size=60),
    stream=st.sampled_from([0, 3, 7, 11, 15, 1]),
    dropped=st.booleans(),
)
def test_rubbish_within_http3_raises_only_ours(before, after, stream, dropped):
    class Hostile(App):
        settings = MASQUE

        def request(self, session, number, fields):
            if before:
                session.quic.send_stream_data(stream, before)
            session.h3.send_datagram(0, before)
            session.quic.send_datagram_frame(after)
            if not dropped:
                session.answer(number, 200)
            if after:
                session.quic.send_stream_data(number, after)

    observations, error = play(PROBE.script, BRIEF, QuicServer(Hostile()))

    assert error is None or isinstance(error, RelaywatchError)
    assert Fact.CANARY_REACHED not in {seen.fact for seen in observations}


class _Beside(Http3Tunnel):
    """A tunnel on which this comes, one after the other."""

    def __init__(self, news):
        self.news = list(news)

    async def read_more(self, *, within):
        assert within > 0
        return self.news.pop(0)

    def read(self, times):
        heard = []

        async def script(_link, _brief):
            heard.extend([await self.read_some(within=1.0) for _ in range(times)])

        play(script, BRIEF, Partner())
        return heard


def test_datagrams_beside_a_tunnel_of_octets_are_passed_over():
    connection = _Beside([(b"", [b"stray"]), (b"", [b"stray", b"again"]), (b"words", []), (b"", [])])

    assert ([b"words", b""], []) == (connection.read(2), connection.news)
