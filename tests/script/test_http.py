"""What an HTTP answer says of a tunnel; the dialogues stand in tests/transcripts/http-connect."""

from dataclasses import replace

import pytest
from tests.playbook import PROXY_BRIEF
from tests.scripted import OctetServer, Partner, play

from relaywatch.model.errors import PeerClosedError, ReadTimeoutError, RemoteProtocolError
from relaywatch.model.places import Endpoint, Transport, parse_address
from relaywatch.script.asking import CanaryKind, Destination
from relaywatch.script.brief import Identity
from relaywatch.script.http import (
    MAX_BODY,
    classify,
    connect_exchange,
    exchange_with,
    own_authority,
    own_fields,
    read_body,
    read_head,
    read_tunnel,
)
from relaywatch.script.page import Page
from relaywatch.script.tunnels import Answer
from relaywatch.wire.http1 import Exchange, ResponseHead

V4 = Destination(address=parse_address("203.0.113.25"), port=443, kind=CanaryKind.WORDS)
V6 = Destination(address=parse_address("2001:db8:113::25"), port=25, kind=CanaryKind.SMTP)


def run(script, said):
    """Run the script against a server that says these pieces, and give what it comes to."""
    came = []

    async def noted(link, brief):
        await link.connect()
        came.append(await script(link, brief))

    pieces = list(said)
    server = OctetServer(lambda _op: lambda _written: b"")
    server.receive = lambda _channel: pieces.pop(0) if pieces else b""
    _, error = play(noted, PROXY_BRIEF, server)
    return came[0] if came else error, server.writes


class TestRequests:
    def test_they_say_who_checks(self):
        assert own_fields(PROXY_BRIEF) == [("User-Agent", "relaywatch (lab@probe.test)")]

    @pytest.mark.parametrize(
        ("contact", "field"),
        [("", "relaywatch"), ("관리자\r\nX: y", "relaywatch (?????X: y)"), ("a b", "relaywatch (a b)")],
    )
    def test_whatever_the_user_is_called(self, contact, field):
        brief = replace(PROXY_BRIEF, identity=Identity(contact=contact))

        assert own_fields(brief) == [("User-Agent", field)]
        assert connect_exchange(V4, brief).request

    @pytest.mark.parametrize(
        ("destination", "authority"),
        [
            (V4, "203.0.113.25:443"),
            (V6, "[2001:db8:113::25]:25"),
            (replace(V6, name="canary.sink.example"), "canary.sink.example:25"),
        ],
    )
    def test_connect_names_host_and_port_twice(self, destination, authority):
        request = connect_exchange(destination, PROXY_BRIEF).request.decode()

        assert request.startswith(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n")

    @pytest.mark.parametrize(
        ("address", "port", "transport", "names", "authority"),
        [
            ("192.0.2.7", 80, "plain", (), "192.0.2.7"),
            ("192.0.2.7", 3128, "plain", (), "192.0.2.7:3128"),
            ("192.0.2.7", 443, "plain", (), "192.0.2.7:443"),
            ("192.0.2.7", 443, "tls", (), "192.0.2.7"),
            ("2001:db8::7", 443, "tls", (), "[2001:db8::7]"),
            ("2001:db8::7", 80, "tls", ("a.example", "b.example"), "a.example:80"),
        ],
    )
    def test_the_targets_own_name(self, address, port, transport, names, authority):
        door = replace(PROXY_BRIEF.door, port=port, transport=Transport(transport))
        endpoint = Endpoint(parse_address(address), port)

        assert authority == own_authority(
            replace(PROXY_BRIEF, door=door, endpoint=endpoint, target_names=names)
        )


class TestHeads:
    @staticmethod
    def read(*said):
        return run(lambda link, brief: exchange_with(link, connect_exchange(V4, brief), brief), said)

    def test_in_pieces(self):
        head, writes = self.read(b"HTTP/1.1 2", b"00 OK\r\n\r", b"\n")

        assert "HTTP/1.1 200 OK" == str(head)
        assert [connect_exchange(V4, PROXY_BRIEF).request] == writes

    def test_what_stands_behind_the_request(self):
        def ask(link, brief):
            return exchange_with(link, connect_exchange(V4, brief), brief, after=b"!")

        _, writes = run(ask, [b"HTTP/1.1 200 OK\r\n\r\n"])

        assert [connect_exchange(V4, PROXY_BRIEF).request + b"!"] == writes

    @pytest.mark.parametrize(
        ("said", "error"),
        [((), PeerClosedError), ((b"HTTP/1.1 200",), PeerClosedError), ((b"220 ",), RemoteProtocolError)],
    )
    def test_none(self, said, error):
        assert isinstance(self.read(*said)[0], error)


class Trickle(Partner):
    """Says an octet at a time, each just before our patience ends; a wait of its own makes that time pass."""

    is_heard_out = False

    def __init__(self, said):
        self.said = [bytes([octet]) for octet in said]
        self.seconds = 0.0

    def connect(self, op):
        pass

    def send(self, data, channel):
        pass

    def receive(self, channel):
        return self.said.pop(0)

    def pause(self, seconds):
        self.seconds += seconds


def slowly(link, seconds):
    """The link, behind which so much time passes before each piece."""

    class Slow(type(link)):
        __slots__ = ()

        async def read_some(self, *, within=None):
            await self.pause(min(seconds, within))
            return await super().read_some(within=within)

    return Slow()


@pytest.mark.parametrize(
    ("said", "read"),
    [
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000, read_head),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + b"x" * 5000, read_body),
    ],
)
def test_whoever_trickles_is_given_up(said, read):
    head_length = said.find(b"\r\n\r\n") + 4 if read is read_body else 0

    async def script(link, _brief):
        exchange = Exchange("GET", "/", [("Host", "a")])
        if head_length:
            exchange.feed(said[:head_length])
        await link.connect()
        await read(slowly(link, 7), exchange, within=8)

    partner = Trickle(said[head_length:])
    _, error = play(script, PROXY_BRIEF, partner)

    assert isinstance(error, ReadTimeoutError)
    assert 16 <= partner.seconds <= 24


class TestBodies:
    @staticmethod
    def read(*said):
        async def script(link, brief):
            exchange = Exchange("GET", "/", [("Host", "a")])
            await exchange_with(link, exchange, brief)
            return await read_body(link, exchange, within=1)

        return run(script, said)[0]

    def test_to_its_end(self):
        assert "ab\udcff" == self.read(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\na", b"b\xff", b"more")

    def test_to_the_end_of_the_connection(self):
        assert "ab" == self.read(b"HTTP/1.0 200 OK\r\n\r\n", b"a", b"b")

    def test_no_further_than_is_of_interest(self):
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n"

        assert "x" * MAX_BODY == self.read(head, *[b"x" * 1000] * 20)

    def test_broken(self):
        assert isinstance(self.read(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab"), RemoteProtocolError)


@pytest.mark.parametrize(
    ("status_code", "answer"),
    [
        *((code, Answer.YES) for code in (200, 201, 204, 299)),
        *((code, Answer.CREDENTIALS) for code in (401, 407)),
        *((code, Answer.FAILED) for code in (500, 502, 503, 504)),
        (429, Answer.TOO_MANY),
        *((code, Answer.NO) for code in (300, 302, 400, 403, 404, 405, 501, 505, 511, 999)),
    ],
)
def test_status_codes(status_code, answer):
    head = ResponseHead(status_code=status_code, reason="", fields=(), http_version="1.1")

    assert answer is classify(head)


class TestTunnels:
    @staticmethod
    def ask(said):
        async def script(link, brief):
            exchange = connect_exchange(V4, brief)
            head = await exchange_with(link, exchange, brief)
            opening = await read_tunnel(link, exchange, brief, head, "CONNECT")
            return opening, opening.stream is link, link.taken()

        return run(script, [said])[0]

    @pytest.mark.parametrize(
        ("fields", "answer"),
        [
            (b"", Answer.YES),
            (b"Content-Length: 0\r\n", Answer.YES),
            (b"Content-Length: 5\r\n", Answer.PAGE),
            (b"Transfer-Encoding: chunked\r\n", Answer.PAGE),
        ],
    )
    def test_the_link_is_the_tunnel_with_what_came_behind_the_head(self, fields, answer):
        opening, is_link, rest = self.ask(b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n220 mail")

        assert (answer, "HTTP/1.1 200 OK", "CONNECT") == (opening.answer, opening.reply, opening.command)
        assert (True, b"220 mail") == (is_link, rest)

    def test_a_no_is_none(self):
        opening, _, _ = self.ask(b"HTTP/1.1 403 No\r\nContent-Length: 5\r\n\r\n")

        assert (Answer.NO, None, None) == (opening.answer, opening.stream, opening.page)

    @pytest.mark.parametrize("body", [b"Content-Length: 5\r\n\r\n<b>No", b"\r\n<b>No"])
    def test_what_failed_has_its_page_however_that_breaks_off(self, body):
        opening, _, _ = self.ask(b"HTTP/1.1 502 Bad Gateway\r\n" + body)

        assert (Answer.FAILED, Page(502, "<b>No")) == (opening.answer, opening.page)
