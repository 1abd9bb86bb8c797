"""What a door speaks; the dialogues stand in tests/transcripts/recognition."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.playbook import PROXY_BRIEF
from tests.scripted import OctetServer, Partner, play, tls_session

from relaywatch.model.canary import canary_words
from relaywatch.model.errors import ConnectTimeoutError, PeerClosedError, ReadTimeoutError, TLSFailedError
from relaywatch.model.evidence import Fact
from relaywatch.model.places import Service
from relaywatch.script.recognition import PRESENCE, RECOGNITION, classify_greeting, look_again, recognise


@pytest.mark.parametrize(
    ("greeting", "port", "service"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", 22, Service.SSH),
        (b"ssh-1.99-old\n", 2222, Service.SSH),
        (b"\xff\xfd\x18", 23, Service.TELNET),
        (b"220 ProFTPD FTP ready\r\n", 2121, Service.FTP),
        (b"220-FileZilla\r\n220 ftp.example.test\r\n", 21, Service.FTP),
        (b"220 ready\r\n", 21, Service.FTP),
        (b"421 Too many connections\r\n", 21, Service.FTP),
        (b"220 mail.example.test ESMTP\r\n", 21, Service.SMTP),
        (b"220 mail.example.test ESMTP\r\n", 25, Service.SMTP),
        (b"554-No\r\n554 No\r\n", 2525, Service.SMTP),
        (b"421 later\r\n", 25, Service.SMTP),
        (b"HTTP/1.0 400 Bad Request\r\n", 80, Service.HTTP),
        (b"WinGate>", 23, Service.TELNET),
        (b"Wingate Telnet proxy ready\r\n", 23, Service.TELNET),
        (b"host:port? ", 23, Service.TELNET),
        (b"login: ", 23, Service.TELNET),
        (b"CCProxy Telnet>CCProxy Telnet Service Ready.\r\n", 2323, Service.TELNET),
        (b"* OK IMAP4rev1\r\n", 143, Service.OTHER),
        (b"+OK POP3\r\n", 110, Service.OTHER),
        (b"2200 things\r\n", 99, Service.OTHER),
        (b"\x4a\x00\x00\x00\x0a8.0\x00", 3306, Service.OTHER),
    ],
)
def test_greetings(greeting, port, service):
    assert service is classify_greeting(greeting, port)


@given(st.binary(min_size=1, max_size=400), st.integers(1, 65535))
def test_any_greeting_is_of_some_service_that_greets(greeting, port):
    greeters = {Service.SSH, Service.TELNET, Service.FTP, Service.SMTP, Service.HTTP, Service.OTHER}

    assert classify_greeting(greeting, port) in greeters


class Deaf(Partner):
    """Takes connections, and breaks them when it is talked to."""

    is_heard_out = False

    def __init__(self):
        self.connections = 0

    def connect(self, op):
        self.connections += 1

    def send(self, data, channel):
        raise PeerClosedError("reset")

    def receive(self, channel):
        raise ReadTimeoutError("silence")

    def start_tls(self, op):
        raise TLSFailedError("reset")


def test_whoever_breaks_off_is_mute():
    partner = Deaf()
    observations, error = play(recognise, PROXY_BRIEF, partner)

    assert error is None
    assert [(Fact.SPEAKS, "mute", "")] == [(seen.fact, seen.detail, seen.reply) for seen in observations]
    assert partner.connections == 3


class HangsUpWithinTLS(Deaf):
    """Takes a hello, and breaks the connection when it is talked to."""

    def start_tls(self, op):
        return tls_session(alpn=next(iter(op.alpn), ""))


def test_whoever_breaks_off_at_our_canarys_words_speaks_tls_all_the_same():
    observations, error = play(recognise, PROXY_BRIEF, HangsUpWithinTLS())

    assert error is None
    assert [(Fact.SPEAKS, "tls", "h2")] == [(seen.fact, seen.detail, seen.reply) for seen in observations]


def test_no_more_words_than_a_page_request_a_greeting_and_our_canarys():
    server = OctetServer(lambda _op: lambda _said: b"")
    play(recognise, PROXY_BRIEF, server)

    nobody = PROXY_BRIEF.mint.random_local_part("page").encode() + b".invalid"
    assert [
        b"GET / HTTP/1.1\r\nHost: " + nobody + b"\r\nConnection: close\r\n\r\n",
        b"\x05\x01\x00",
        canary_words(PROXY_BRIEF.token("hello")) + b"\r\n",
    ] == server.writes


class Trickle(Partner):
    """Says an octet each time it is asked, for ever."""

    is_heard_out = False

    def __init__(self, octet):
        self.octet = octet
        self.count = 0

    def connect(self, op):
        pass

    def send(self, data, channel):
        pass

    def receive(self, channel):
        self.count += 1
        return self.octet

    def start_tls(self, op):
        return tls_session(alpn="h2")


@pytest.mark.parametrize("octet", [b"2", b"\xff", b"a"])
def test_words_without_an_end_are_cut(octet):
    partner = Trickle(octet)
    observations, error = play(recognise, PROXY_BRIEF, partner)

    assert error is None
    assert len(observations[0].reply) == 300
    assert partner.count == 2048


def test_it_is_no_probe_of_a_weakness():
    assert RECOGNITION.default_doors == ()
    assert RECOGNITION.script is recognise


class Calling(Partner):
    """Takes one connection, or none, and hears every operation."""

    def __init__(self, failure=None):
        self.connections, self.failure = 0, failure

    def connect(self, op):
        self.connections += 1
        if self.failure:
            raise self.failure


@pytest.mark.parametrize("failure", [None, ConnectTimeoutError("nothing answered")])
def test_to_look_again_is_one_connection_and_no_question(failure):
    partner = Calling(failure)

    observations, error = play(look_again, PROXY_BRIEF, partner)

    assert (1, failure) == (partner.connections, error)
    assert [(Fact.PLANNED, 0)] == [(seen.fact, seen.count) for seen in observations]
    assert PRESENCE.default_doors == ()
