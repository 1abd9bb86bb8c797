"""HTTP/2's dialogues: against h2 as a server, and against one that does what no server should."""

from dataclasses import replace

import pytest
from tests.http2_peer import (
    DATA,
    HEADERS,
    PING,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Http2Peer,
    frame,
    goaway,
)
from tests.playbook import KEY, PROXY_BRIEF
from tests.scripted import OctetServer, play

from relaywatch.model.canary import canary_answer
from relaywatch.model.errors import PeerClosedError, ReadTimeoutError, RemoteProtocolError
from relaywatch.model.places import Door, Family, Transport, parse_address
from relaywatch.script import http2
from relaywatch.script.fetching import Question
from relaywatch.script.tunnels import Answer, CanaryKind, Destination
from relaywatch.wire.http2 import MAX_FRAMES, Http2Exchange

CANARY = Destination(address=parse_address("203.0.113.25"), port=443, kind=CanaryKind.WORDS)
TLS_BRIEF = replace(PROXY_BRIEF, door=Door(443, Transport.TLS, Family.IPV4))
FIELDS = http2.connect_fields(CANARY, PROXY_BRIEF)
HELLO = frame(SETTINGS)
YES = frame(HEADERS, b"\x88", flags=4, stream=1)
END_STREAM = 1


def talk(dialogue, answer, brief=PROXY_BRIEF, arrive=None):
    """Hold the dialogue with a server that answers each write by the function; what the dialogue returned."""
    returned = []

    async def script(link, brief):
        await http2.open_http2_link(link, brief)
        returned.append(await dialogue(link, brief))

    _, error = play(script, brief, OctetServer(lambda _op: answer))
    if error is not None:
        raise error
    return returned[0]


def saying(*pieces):
    """A server that says these pieces, one in answer to each write, and then nothing more."""
    said = iter(pieces)
    return lambda data: next(said, b"") if data else b""


async def ask(link, brief):
    return await http2.ask_for_tunnel(link, brief, Http2Exchange(FIELDS), "CONNECT")


def asking(answer):
    return talk(ask, answer)


def responding(status, *fields, **more):
    return Http2Peer(lambda peer, stream, _fields: peer.respond(stream, status, *fields, **more)).take


class TestAnswers:
    @pytest.mark.parametrize(
        ("status", "answer"),
        [
            (400, Answer.NO),
            (403, Answer.NO),
            (405, Answer.NO),
            (407, Answer.CREDENTIALS),
            (502, Answer.FAILED),
            (503, Answer.FAILED),
            (504, Answer.FAILED),
        ],
    )
    def test_by_status_code(self, status, answer):
        opening = asking(responding(status, ends=True))

        assert (answer, f"HTTP/2 {status}", None) == (opening.answer, opening.reply, opening.stream)

    @pytest.mark.parametrize("status", [200, 204, 299])
    def test_yes(self, status):
        opening = asking(responding(status))

        assert Answer.YES is opening.answer
        assert "CONNECT" == opening.command

    def test_a_page(self):
        assert Answer.PAGE is asking(responding(200, ("content-length", "5"), content=b"hello")).answer

    def test_a_yes_that_ends_at_once_is_no_tunnel(self):
        assert Answer.PAGE is asking(responding(200, ends=True)).answer

    @pytest.mark.parametrize(
        ("code", "answer", "reply"),
        [
            (13, Answer.FOREIGN, "HTTP/2 HTTP_1_1_REQUIRED"),
            (10, Answer.FAILED, "HTTP/2 CONNECT_ERROR"),
            (7, Answer.NO, "HTTP/2 REFUSED_STREAM"),
            (4711, Answer.NO, "HTTP/2 error 4711"),
        ],
    )
    def test_a_stream_that_is_broken_off(self, code, answer, reply):
        opening = asking(saying(HELLO + frame(RST_STREAM, code.to_bytes(4, "big"), stream=1)))

        assert (answer, reply) == (opening.answer, opening.reply)

    def test_a_farewell_with_a_reason(self):
        assert Answer.FOREIGN is asking(saying(HELLO + goaway(0, 13))).answer

    def test_the_request(self):
        peer = Http2Peer(lambda peer, stream, _fields: peer.respond(stream, 403, ends=True))
        asking(peer.take)

        assert [
            {
                ":method": "CONNECT",
                ":authority": "203.0.113.25:443",
                "user-agent": "relaywatch (lab@probe.test)",
            }
        ] == peer.requests


class TestStrangers:
    @pytest.mark.parametrize("said", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"220 mail\r\n", b""])
    def test_who_doesnt_begin_as_http2_begins(self, said):
        assert Answer.FOREIGN is asking(saying(said)).answer

    def test_who_hangs_up_at_once(self):
        assert Answer.FOREIGN is asking(lambda data: None if data else b"").answer

    def test_who_hangs_up_after_the_settings(self):
        opening = asking(lambda data: None if data else HELLO)

        assert (Answer.NO, "the peer closed the connection") == (opening.answer, opening.detail)

    def test_who_breaks_the_protocol_after_the_settings(self):
        opening = asking(saying(HELLO + frame(DATA, b"early", stream=1)))

        assert Answer.NO is opening.answer
        assert "broken HTTP/2" in opening.detail

    def test_who_floods(self):
        opening = asking(saying(HELLO + frame(PING, b"12345678") * MAX_FRAMES))

        assert (Answer.NO, f"more than {MAX_FRAMES} frames of HTTP/2") == (opening.answer, opening.detail)

    def test_who_floods_slowly(self):
        """Each ping that we answer calls forth the next."""
        opening = asking(lambda data: HELLO if not data else frame(PING, b"12345678"))

        assert (Answer.NO, f"more than {MAX_FRAMES} frames of HTTP/2") == (opening.answer, opening.detail)

    def test_silence_after_the_settings_is_silence(self):
        with pytest.raises(ReadTimeoutError):
            asking(saying(HELLO))


def through(answer, *, words=b"words", reads=1):
    """Say words through a tunnel, and read so often: what came, and the error that ended it."""

    async def dialogue(link, brief):
        opening = await ask(link, brief)
        heard = []
        try:
            await opening.stream.send(words)
            heard = [await opening.stream.read_some(within=1.0) for _ in range(reads)]
        except (PeerClosedError, ReadTimeoutError) as error:
            return heard, error
        return heard, None

    return talk(dialogue, answer)


class TestStreams:
    def echo(self, **settings):
        return Http2Peer(
            lambda peer, stream, _fields: peer.respond(stream, 200),
            lambda peer, stream, data: peer.say(stream, data.upper()),
            **settings,
        )

    def test_there_and_back(self):
        assert ([b"WORDS"], None) == through(self.echo().take)

    def test_more_than_a_frame(self):
        peer = self.echo()
        peer.on_data = None
        _, error = through(peer.take, words=bytes(40_000))

        assert isinstance(error, ReadTimeoutError)
        assert 40_000 == len(peer.heard)

    def test_more_than_the_window(self):
        """The peer opens it again when it has read."""
        peer = self.echo(settings={4: 100})
        peer.on_data = None
        through(peer.take, words=bytes(1000))

        assert 1000 == len(peer.heard)

    def test_a_window_that_stays_shut(self):
        shut = frame(SETTINGS, (4).to_bytes(2, "big") + bytes(4))
        _, error = through(saying(shut + YES))

        assert "silence" == str(error)

    def test_a_window_that_opens_by_an_octet_at_a_time(self):
        shut = frame(SETTINGS, (4).to_bytes(2, "big") + bytes(4))
        _, error = through(
            lambda data: (
                (shut + YES if data.startswith(b"PRI") else frame(WINDOW_UPDATE, b"\0\0\0\1", stream=1))
                if data
                else b""
            ),
            words=bytes(5000),
        )

        assert f"more than {MAX_FRAMES} frames of HTTP/2" == str(error)

    def test_what_came_with_the_yes(self):
        assert ([b"220 mail"], None) == through(saying(HELLO + YES + frame(DATA, b"220 mail", stream=1)))

    def test_a_stream_that_ends(self):
        heard, error = through(
            saying(HELLO + YES, b"", frame(DATA, b"bye", flags=END_STREAM, stream=1)), reads=2
        )

        assert ([b"bye", b""], None) == (heard, error)

    @pytest.mark.parametrize(
        "pieces", [(HELLO + YES, frame(SETTINGS, b"x")), (HELLO + YES + frame(SETTINGS, b"x"),)]
    )
    def test_what_breaks_behind_a_yes_leaves_it_a_yes(self, pieces):
        async def dialogue(link, brief):
            opening = await ask(link, brief)
            assert Answer.YES is opening.answer
            with pytest.raises(PeerClosedError):
                await opening.stream.read_some(within=1.0)
            with pytest.raises(PeerClosedError):
                await opening.stream.read_some(within=1.0)
            await opening.stream.send(b"words")

        with pytest.raises(PeerClosedError, match="ended the stream"):
            talk(dialogue, saying(*pieces))

    def test_a_stream_that_ended_before_we_spoke(self):
        end = frame(DATA, b"", flags=END_STREAM, stream=1)

        async def dialogue(link, brief):
            opening = await ask(link, brief)
            assert b"" == await opening.stream.read_some(within=1.0)
            await opening.stream.send(b"words")

        with pytest.raises(PeerClosedError, match="ended the stream"):
            talk(dialogue, saying(HELLO + YES, end))

    def test_a_connection_that_ends(self):
        _, error = through(lambda data: (HELLO + YES if data.startswith(b"PRI") else None) if data else b"")

        assert "the peer closed the connection" == str(error)

    def test_a_connection_that_breaks_the_protocol(self):
        _, error = through(saying(HELLO + YES, b"", frame(SETTINGS, b"x")))

        assert "broken HTTP/2" in str(error)


class TestUpgrades:
    @staticmethod
    def upgrading(link, brief):
        return http2.upgrade(link, brief, CANARY, FIELDS)

    def test_a_server_that_switches(self):
        peers = []

        def answer(data):
            if data.startswith(b"HEAD / HTTP/1.1\r\n"):
                fields = dict(line.split(b": ", 1) for line in data.split(b"\r\n")[1:-2])
                assert (b"h2c", b"Upgrade, HTTP2-Settings") == (fields[b"Upgrade"], fields[b"Connection"])
                assert b"203.0.113.25:443" == fields[b"Host"]
                peers.append(
                    Http2Peer(
                        lambda peer, stream, _fields: peer.respond(stream, 403, ends=True),
                        upgraded_by=fields[b"HTTP2-Settings"] + b"==",
                    )
                )
                said, peers[0].unsent = peers[0].unsent, b""
                return b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n" + said
            return peers[0].take(data) if data else b""

        async def dialogue(link, brief):
            exchange = await self.upgrading(link, brief)
            return await http2.ask_for_tunnel(link, brief, exchange, "CONNECT")

        assert "HTTP/2 403" == talk(dialogue, answer).reply

    def test_a_server_that_stays(self):
        assert None is talk(self.upgrading, saying(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"))

    def test_no_http_at_all(self):
        with pytest.raises(RemoteProtocolError):
            talk(self.upgrading, saying(b"220 mail\r\n\r\n"))


class TestPages:
    TOKEN = PROXY_BRIEF.token("authority-443")
    OURS = canary_answer(KEY, TOKEN, parse_address("192.0.2.7")).encode()
    GET = ((":method", "GET"), (":scheme", "https"), (":authority", "203.0.113.25:443"), (":path", "/c/x"))

    def fetch(self, answer):
        async def dialogue(link, brief):
            return await http2.fetch(link, brief, self.GET, Question(token=self.TOKEN, command="GET"))

        return talk(dialogue, answer, TLS_BRIEF)

    def test_our_canarys(self):
        opening = self.fetch(responding(200, content=self.OURS, ends=True))

        assert Answer.YES is opening.answer
        assert self.OURS.decode() in opening.heard

    def test_our_canarys_within_a_page_that_never_ends(self):
        assert Answer.YES is self.fetch(responding(200, content=self.OURS)).answer

    def test_too_far_down_in_a_page(self):
        assert Answer.PAGE is self.fetch(responding(200, content=bytes(9000) + self.OURS, ends=True)).answer

    def test_a_page_of_its_own(self):
        assert Answer.PAGE is self.fetch(responding(200, content=b"Welcome", ends=True)).answer

    def test_misdirected(self):
        assert Answer.NO is self.fetch(responding(421, ends=True)).answer

    def test_broken_off(self):
        opening = self.fetch(saying(HELLO + frame(RST_STREAM, (7).to_bytes(4, "big"), stream=1)))

        assert (Answer.NO, "HTTP/2 REFUSED_STREAM") == (opening.answer, opening.reply)

    @pytest.mark.parametrize("said", [b"HTTP/1.1 400 Bad Request\r\n\r\n", None, b""])
    def test_no_http2(self, said):
        assert Answer.FOREIGN is self.fetch(lambda data: said if data else b"").answer

    def test_silence(self):
        with pytest.raises(ReadTimeoutError):
            self.fetch(saying(HELLO))
