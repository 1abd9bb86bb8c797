"""A mail server behind an open proxy: the relay probe's own script, with both legs in one conversation."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import pytest
from tests.http2_peer import Http2Peer
from tests.notation import PROXY_BRIEF, RELAY
from tests.playbook import MismatchError, play_conversation, read_conversation
from tests.scripted import OctetServer, play

from relaywatch.model.canary import canary_answer
from relaywatch.model.errors import (
    ConnectRefusedError,
    ConnectTimeoutError,
    PeerClosedError,
    ReadTimeoutError,
    RemoteProtocolError,
    TLSFailedError,
)
from relaywatch.model.evidence import Arrival, ArrivalKind, Fact
from relaywatch.model.places import Door, Endpoint, Family, Transport, parse_address
from relaywatch.model.tokens import Token
from relaywatch.probes import http2_connect
from relaywatch.probes.http_connect import connect
from relaywatch.probes.smtp_relay import PROBE
from relaywatch.script.asking import CanaryKind, Destination
from relaywatch.script.chains import CALLS_ITSELF, OUR_SINK, ChainedLink, meet, past_our_sink
from relaywatch.script.http2 import open_http2_link
from relaywatch.script.tunnels import Answer, Opening

LOOPBACK = parse_address("127.0.0.1")
BEHIND = Destination(address=LOOPBACK, port=25, kind=CanaryKind.SMTP)
MAIL_BRIEF = replace(
    RELAY.brief,
    endpoint=Endpoint(LOOPBACK, 25),
    door=Door(25, Transport.PLAIN, Family.IPV4, via="http-connect", through="3128 to 127.0.0.1"),
)
TUNNEL = """\
* connect
C: CONNECT 127.0.0.1:25 HTTP/1.1
C: Host: 127.0.0.1:25
C: User-Agent: relaywatch (lab@probe.test)
C:
S: HTTP/1.1 200 Connection established
S:
S: 220 mail.example.test ESMTP Postfix (Debian/GNU)
C: EHLO probe.test
S: 250-mail.example.test
S: 250-PIPELINING
S: 250 8BITMIME
"""
RELAYS = f"""\
# The proxy leads to the mail server beside it, which trusts whoever comes from its own host.
{TUNNEL}\
C: MAIL FROM:<{{return:ours}}@sink.test>
C: RCPT TO:<{{token:plain}}@sink.test>
C: RCPT TO:<Postmaster>
S: 250 2.1.0 Ok
S: 250 2.1.5 Ok
S: 250 2.1.5 Ok
{TUNNEL}\
C: MAIL FROM:<{{return:ours}}@sink.test>
S: 250 2.1.0 Ok
C: RCPT TO:<{{token:plain}}@sink.test>
S: 250 2.1.5 Ok
C: DATA
S: 354 End data with <CR><LF>.<CR><LF>
C: X-Relaywatch-Token: {{token:plain}}
C: .
S: 250 2.0.0 Ok: queued as 4XyZ1
* arrival plain mail from 192.0.2.7
= offers
= software detail=postfix
= talks
= planned
= queued plain advisory=RW-1001 token={{token:plain}} reply~4XyZ1
"""


def chained(tunnel=connect, proxy=PROXY_BRIEF):
    async def script(_link, brief):
        await PROBE.script(ChainedLink(tunnel, proxy, BEHIND), brief)

    return script


@dataclass
class MailServer:
    """Relays for everybody, a command at a time; says what it is told to a verb, if it is."""

    says: dict = field(default_factory=dict)
    name: str = "mail.example.test"
    heard: list = field(default_factory=list)
    _lines: bytes = b""
    _is_data: bool = False

    @property
    def greeting(self):
        return f"220 {self.name} ESMTP\r\n".encode()

    def take(self, octets):
        self._lines += octets
        return b"".join(iter(self._answer, None))

    def _answer(self):
        end = b"\r\n.\r\n" if self._is_data else b"\r\n"
        said, found, rest = self._lines.partition(end)
        if not found:
            return None
        self._lines, was_data, self._is_data = rest, self._is_data, False
        if was_data:
            return b"250 2.0.0 queued\r\n"
        self.heard.append(said.decode())
        verb, _, argument = said.decode().partition(" ")
        self._is_data = verb == "DATA"
        usual = {
            "DATA": "354 Go on",
            "QUIT": "221 Bye",
            "VRFY": f"252 {argument}",
            "EHLO": f"250 {self.name}",
        }
        answer = self.says.get(verb, usual.get(verb, "250 Ok"))
        return f"{answer}\r\n".encode()


class Listening(OctetServer):
    """An octet server that lets messages go, and has time."""

    def may_send(self):
        return True

    def pause(self, seconds):
        pass


def on_streams(mail):
    """A proxy of HTTP/2 that grants every tunnel, and the mail server behind it."""

    def open_channel(_op):
        def talk(peer, stream, data):
            if said := mail.take(data):
                peer.say(stream, said)

        def grant(peer, stream, _fields):
            peer.respond(stream, 200)
            peer.say(stream, mail.greeting)

        peer = Http2Peer(grant, talk)
        return peer.take

    def arrive(tokens):
        return Arrival(token=tokens[0], kind=ArrivalKind.MAIL, at=datetime(2026, 11, 24, tzinfo=UTC))

    return Listening(open_channel, arrive=arrive)


def stream_link():
    return ChainedLink(http2_connect.connect, PROXY_BRIEF, BEHIND, opener=open_http2_link)


def read(text):
    return read_conversation(text, "chain.txt", replace(RELAY, brief=MAIL_BRIEF))


class TestTheClassicOfTheTalk:
    def test_mail_through_an_open_proxy(self):
        play_conversation(read(RELAYS), chained())

    @pytest.mark.parametrize("size", [1, 2, 50])
    def test_in_whatever_pieces_the_words_come(self, size):
        play_conversation(read(RELAYS), chained(), chop=iter([size] * 9999))

    def test_within_tls(self):
        proxy = replace(PROXY_BRIEF, door=replace(PROXY_BRIEF.door, transport=Transport.TLS))
        text = RELAYS.replace("* connect\n", "* connect\n* tls\n")

        play_conversation(read(text), chained(proxy=proxy))

    def test_every_connection_asks_for_a_tunnel_anew(self):
        second = RELAYS.index("* connect", RELAYS.index("Postmaster"))
        without = RELAYS[:second] + RELAYS[second:].replace("C: CONNECT 127.0.0.1:25 HTTP/1.1\n", "")

        with pytest.raises(MismatchError, match="the script sends"):
            play_conversation(read(without), chained())


class TestTunnelsThatLeadNowhere:
    @pytest.mark.parametrize(
        ("answer", "error"),
        [
            (b"HTTP/1.1 403 Forbidden\r\n\r\n", ConnectRefusedError),
            (b"HTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\nno", ConnectRefusedError),
            (b"220 what", RemoteProtocolError),
            (b"HTTP/1.1 429 Too Many Requests\r\n\r\n", ConnectRefusedError),
            (b"", ConnectTimeoutError),
            (None, ConnectRefusedError),
        ],
    )
    def test_they_end_the_script_as_if_it_had_no_connection(self, answer, error):
        server = OctetServer(lambda _op: lambda said: answer if said else b"")
        observations, failure = play(chained(), MAIL_BRIEF, server)

        assert [Fact.RATE_LIMITED] * (b"429" in (answer or b"")) == [seen.fact for seen in observations]
        assert isinstance(failure, error)

    def test_a_no_leads_nowhere_whatever_comes_with_it(self):
        async def no(link, _brief, _destination, _token):
            return Opening(answer=Answer.NO, reply="REP 0x02", stream=link)

        _, failure = play(chained(no), MAIL_BRIEF, OctetServer(lambda _op: lambda _said: b""))

        assert isinstance(failure, ConnectRefusedError)

    def test_who_refused_is_told(self):
        server = OctetServer(lambda _op: lambda said: b"HTTP/1.1 403 Forbidden\r\n\r\n" if said else b"")
        _, failure = play(chained(), MAIL_BRIEF, server)

        assert "the proxy doesn't lead to 127.0.0.1:25: HTTP/1.1 403 Forbidden" == str(failure)

    def test_what_lay_unread_of_an_earlier_tunnel_is_gone(self):
        tunnels = [b"HTTP/1.1 200 OK\r\n\r\n220 old words\r\n", b"HTTP/1.1 403 No\r\n\r\n"]

        async def script(_link, _brief):
            link = ChainedLink(connect, PROXY_BRIEF, BEHIND)
            await link.connect()
            with pytest.raises(ConnectRefusedError):
                await link.connect()
            assert link.taken() == b""

        server = OctetServer(lambda _op: lambda said: tunnels.pop(0) if said else b"")

        assert ([], None) == play(script, MAIL_BRIEF, server)


class TestTunnelsWithinHttp2:
    """The tunnel is a stream; the relay script hasn't got to know."""

    @pytest.mark.parametrize("chop", [None, 1, 7])
    @pytest.mark.parametrize("transport", [Transport.PLAIN, Transport.TLS])
    def test_mail_goes_through(self, chop, transport):
        proxy = replace(PROXY_BRIEF, door=replace(PROXY_BRIEF.door, transport=transport))

        async def script(_link, brief):
            link = ChainedLink(http2_connect.connect, proxy, BEHIND, opener=open_http2_link)
            await PROBE.script(link, brief)

        mail = MailServer({"RCPT": "250 Ok", "EHLO": "250-mail.example.test\r\n250 PIPELINING"})
        observations, failure = play(
            script, MAIL_BRIEF, on_streams(mail), chop=chop and iter([chop] * 99_999)
        )

        assert failure is None
        assert Fact.QUEUED in {seen.fact for seen in observations}
        assert "DATA" in mail.heard

    def test_starttls_is_left_alone(self):
        """A server that asks for TLS first is told of as such: TLS within a stream can't be had."""
        mail = MailServer({"MAIL": "530 5.7.0 Must issue a STARTTLS command first"})

        async def script(_link, brief):
            await PROBE.script(stream_link(), brief)

        observations, failure = play(script, MAIL_BRIEF, on_streams(mail))

        assert failure is None
        assert Fact.TLS_REQUIRED in {seen.fact for seen in observations}
        assert "STARTTLS" not in mail.heard

    def test_tls_within_a_stream_fails_at_once(self):
        async def script(_link, _brief):
            link = stream_link()
            await link.connect()
            await link.start_tls()

        _, failure = play(script, MAIL_BRIEF, on_streams(MailServer()))

        assert isinstance(failure, TLSFailedError)

    def test_within_the_connection_itself_it_can_be_had(self):
        async def script(_link, _brief):
            link = ChainedLink(connect, PROXY_BRIEF, BEHIND)
            await link.connect()
            assert await link.start_tls()
            with pytest.raises(ReadTimeoutError):
                await link.read_some(within=1)

        server = OctetServer(lambda _op: lambda said: b"HTTP/1.1 200 OK\r\n\r\n" if said else b"")

        assert ([], None) == play(script, MAIL_BRIEF, server)

    @pytest.mark.parametrize(
        ("comes", "is_early"),
        [
            pytest.param(lambda peer: peer.say(1, b"250 Ok\r\n"), True, id="words out of turn"),
            pytest.param(lambda peer: peer.connection.ping(bytes(8)), False, id="the proxy's own frame"),
            pytest.param(lambda peer: peer.connection.close_connection(), False, id="a goodbye"),
            pytest.param(lambda _peer: None, False, id="nothing"),
        ],
    )
    def test_what_nobody_has_read_is_seen(self, comes, is_early):
        """Replies out of turn would be taken for others' answers."""
        peers = []

        def open_channel(_op):
            peers.append(Http2Peer(lambda peer, stream, _fields: peer.respond(stream, 200)))
            return peers[-1].take

        server = OctetServer(open_channel)

        async def script(_link, _brief):
            link = stream_link()
            await link.connect()
            comes(peers[0])
            if unread := peers[0].take(b""):
                server._said[0].append(unread)
            assert is_early is await link.has_early_octets()
            assert is_early is await link.has_early_octets()
            if is_early:
                assert b"250 Ok\r\n" == await link.read_some()
                assert not await link.has_early_octets()

        assert ([], None) == play(script, MAIL_BRIEF, server)

    def test_what_comes_next_is_read_from_the_stream(self):
        async def script(_link, _brief):
            link = stream_link()
            await link.connect()
            assert mail.greeting == await link.read_some()

        mail = MailServer()

        assert ([], None) == play(script, MAIL_BRIEF, on_streams(mail))

    def test_the_end_of_the_stream_is_the_end_of_the_connection(self):
        def grant(peer, stream, _fields):
            peer.respond(stream, 200)
            peer.say(stream, b"220 mail")
            peer.connection.end_stream(stream)

        async def script(_link, _brief):
            link = stream_link()
            await link.connect()
            await link.read_line(limit=100)

        _, failure = play(script, MAIL_BRIEF, OctetServer(lambda _op: Http2Peer(grant).take))

        assert isinstance(failure, PeerClosedError)

    def test_whoever_holds_something_for_us_is_told_that_we_go(self):
        told = []

        async def held(link, _brief, _destination, _token):
            async def release():
                told.append("bye")
                raise PeerClosedError("gone")

            return Opening(answer=Answer.YES, stream=link.beside(1), release=release)

        async def script(_link, _brief):
            link = ChainedLink(held, PROXY_BRIEF, BEHIND)
            await link.connect()
            await link.connect()
            await link.close()
            await link.close()

        assert ([], None) == play(script, MAIL_BRIEF, OctetServer(lambda _op: lambda _said: b""))
        assert ["bye", "bye"] == told


class TestOurOwnSink:
    """What is asked first behind a proxy: whether it is ourselves who answer there."""

    def first_words(self, mail):
        """What the mail server hears, and what is reported."""
        asked = []

        async def relay(_link, _brief):
            asked.append("of mail")

        async def script(_link, brief):
            await past_our_sink(relay)(ChainedLink(connect, PROXY_BRIEF, BEHIND), brief)

        def open_channel(_op):
            is_open = []

            def talk(said):
                if said.startswith(b"CONNECT"):
                    is_open.append(said)
                    return b"HTTP/1.1 200 OK\r\n\r\n" + mail.greeting
                return mail.take(said) if said else b""

            return talk

        observations, failure = play(script, MAIL_BRIEF, OctetServer(open_channel))
        assert failure is None
        return [seen.detail for seen in observations], asked

    def test_it_is_told_by_an_answer_that_only_ours_can_give(self):
        class OurSink(MailServer):
            def take(self, octets):
                if octets.startswith(b"VRFY "):
                    token = Token(octets.decode().split()[1])
                    return f"252 2.0.0 {canary_answer(RELAY.brief.mint.key, token, LOOPBACK)}\r\n".encode()
                return super().take(octets)

        assert ([OUR_SINK], []) == self.first_words(OurSink())

    @pytest.mark.parametrize(
        "says",
        [
            {},
            {"VRFY": "502 5.5.1 VRFY command is disabled"},
            {"VRFY": "252 2.0.0 relaywatch aaaaaaaaaaaaaaaa 127.0.0.1"},
            {"VRFY": "no reply at all"},
        ],
    )
    def test_whoever_says_anything_else_is_asked_of_mail(self, says):
        mail = MailServer(says)

        assert ([], ["of mail"]) == self.first_words(mail)
        assert mail.heard[0].startswith("VRFY ")
        assert 1 == sum(line.startswith("VRFY") for line in mail.heard)

    def test_whoever_greets_otherwise_is_not_asked_twice(self):
        class Busy(MailServer):
            greeting = b"421 4.7.0 Too many connections\r\n"

        assert ([], ["of mail"]) == self.first_words(Busy())


class TestMeeting:
    """Who is there is found out without a question of mail."""

    def met(self, mail, **more):
        async def script(_link, brief):
            await meet(stream_link(), brief)

        observations, failure = play(script, MAIL_BRIEF, on_streams(mail))
        assert more.get("failure") == (failure and type(failure))
        assert {CALLS_ITSELF} >= {seen.detail for seen in observations}
        return [seen.reply for seen in observations], mail.heard

    def test_it_calls_itself_by_greeting_and_ehlo(self):
        names, heard = self.met(MailServer({"EHLO": "250 Other.example.test."}))

        assert ["mail.example.test", "other.example.test"] == names
        assert ["EHLO probe.test", "QUIT"] == heard

    @pytest.mark.parametrize(
        "name",
        ["localhost", "127.0.0.1", "ESMTP", "_", "localhost.localdomain", "Mail.LOCALDOMAIN.", "a.localhost"],
    )
    def test_what_is_no_name_of_a_host_is_none(self, name):
        assert [] == self.met(MailServer(name=name))[0]

    def test_who_turns_us_away_is_not_greeted(self):
        class Shut(MailServer):
            greeting = b"554 mail.example.test no\r\n"

        assert (["mail.example.test"], ["QUIT"]) == self.met(Shut())
