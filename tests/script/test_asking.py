"""Saying the words through a tunnel, and hearing what comes back."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.playbook import PROXY_BRIEF
from tests.scripted import OctetServer, Partner, play

from relaywatch.model.canary import MAX_ANSWER, canary_answer, canary_words
from relaywatch.model.errors import ConnectRefusedError, PeerClosedError, ReadTimeoutError
from relaywatch.model.places import parse_address
from relaywatch.script.asking import CanaryKind, Destination, as_text, ask_canary, listen

WORDS = Destination(address=parse_address("203.0.113.25"), port=443, kind=CanaryKind.WORDS)
SMTP = replace(WORDS, port=25, kind=CanaryKind.SMTP)
DATAGRAMS = replace(WORDS, port=40026, kind=CanaryKind.DATAGRAMS)
TOKEN = PROXY_BRIEF.token("a")
EXIT = parse_address("192.0.2.8")
ANSWER = canary_answer(PROXY_BRIEF.mint.key, TOKEN, EXIT).encode() + b"\r\n"


def ask(destination, answer, chop=None):
    """What comes of asking, where the other side answers so; and what was said to it."""
    came = []

    async def script(link, brief):
        await link.connect()
        came.append(await ask_canary(link, brief, destination, TOKEN))

    server = OctetServer(lambda _op: answer)
    _, error = play(script, PROXY_BRIEF, server, chop=chop)
    return (came[0] if came else error), server.writes


class TestWords:
    def test_our_canarys_answer_tells_from_where_it_was_reached(self):
        came, said = ask(WORDS, lambda words: ANSWER if words else b"")

        assert ((EXIT, ANSWER), [canary_words(TOKEN) + b"\r\n"]) == (came, said)

    @given(st.lists(st.integers(1, 20), min_size=1))
    def test_in_whatever_pieces(self, sizes):
        came, _ = ask(WORDS, lambda words: b"hello " + ANSWER if words else b"", chop=iter(sizes * 100))

        assert EXIT == came[0]

    @pytest.mark.parametrize(
        ("answer", "heard"),
        [
            (b"", b""),
            (None, b""),
            (b"other words", b"other words"),
            (canary_words(TOKEN), canary_words(TOKEN)),
        ],
    )
    def test_whatever_else_comes_is_shown(self, answer, heard):
        assert (None, heard) == ask(WORDS, lambda words: answer if words else b"")[0]

    def test_no_more_is_heard_than_an_answer_may_have(self):
        came, _ = ask(WORDS, lambda words: b"x" * 9999 + ANSWER if words else b"", chop=iter([1000] * 99))

        assert (None, b"x" * 5000) == came


class TestMail:
    @staticmethod
    def server(greeting=b"220 sink.test ESMTP\r\n", answer=b"252 2.0.0 " + ANSWER):
        return lambda words: answer if words.startswith(b"VRFY") else greeting

    def test_it_is_asked_in_its_own_words_once_it_has_greeted(self):
        came, said = ask(SMTP, self.server())

        assert ((EXIT, b"252 2.0.0 " + ANSWER), [b"VRFY " + TOKEN.encode() + b"\r\n"]) == (came, said)

    @pytest.mark.parametrize("greeting", [b"", b"554 no\r\n", b"* OK IMAP\r\n"])
    def test_whoever_greets_otherwise_is_not_asked(self, greeting):
        assert ((None, greeting), []) == ask(SMTP, self.server(greeting))

    def test_half_a_greeting(self):
        came, said = ask(SMTP, self.server(b"220 sink.test"))

        assert [b"VRFY " + TOKEN.encode() + b"\r\n"] == said
        assert EXIT == came[0]

    def test_another_mail_server(self):
        assert (None, b"550 no such user\r\n") == ask(SMTP, self.server(answer=b"550 no such user\r\n"))[0]


class Lossy(Partner):
    """A stream of datagrams that are lost, or not."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.said = []

    async def send(self, data):
        self.said.append(data)

    async def read_some(self, *, within):
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def ask_lossy(*answers):
    stream, came = Lossy(*answers), []

    async def script(_link, brief):
        came.append(await ask_canary(stream, brief, DATAGRAMS, TOKEN))

    _, error = play(script, PROXY_BRIEF, Partner())
    assert set(stream.said) == {canary_words(TOKEN)}
    return (came[0] if came else error), len(stream.said)


class TestDatagrams:
    SILENCE = ReadTimeoutError("silence")

    def test_the_first_arrives(self):
        assert ((EXIT, ANSWER), 1) == ask_lossy(ANSWER)

    def test_words_that_get_lost_are_said_again(self):
        assert ((EXIT, ANSWER), 3) == ask_lossy(self.SILENCE, self.SILENCE, ANSWER)

    def test_a_stranger_datagram_is_no_answer(self):
        assert ((EXIT, ANSWER), 2) == ask_lossy(b"stranger", ANSWER)

    def test_three_times_and_no_more(self):
        assert ((None, b"other"), 3) == ask_lossy(b"what", b"other", self.SILENCE)

    def test_failures_are_told(self):
        came, _ = ask_lossy(ConnectRefusedError("refused"))

        assert isinstance(came, ConnectRefusedError)


class TestListening:
    @staticmethod
    def hear(*answers, within=4.0, seconds=0.0):
        stream, came, waits = Lossy(*answers), [], []
        read = stream.read_some

        async def script(link, _brief):
            async def read_some(*, within):
                waits.append(within)
                await link.pause(seconds)
                return await read(within=within)

            stream.read_some = read_some
            came.append(await listen(stream, lambda said: b"." in said, within=within))

        class Idle(Partner):
            def pause(self, seconds):
                pass

        _, error = play(script, PROXY_BRIEF, Idle())
        assert error is None
        return came[0], waits

    def test_until_it_is_enough(self):
        assert (b"ab.", [4.0, 4.0]) == self.hear(b"a", b"b.", b"more")

    @pytest.mark.parametrize("end", [b"", ReadTimeoutError("silence"), PeerClosedError("reset")])
    def test_until_nothing_more_comes(self, end):
        assert b"a" == self.hear(b"a", end)[0]

    def test_until_it_is_too_much(self):
        heard, _ = self.hear(*[b"x" * 1000] * 9)

        assert MAX_ANSWER < len(heard) <= MAX_ANSWER + 1000

    def test_whoever_trickles_is_heard_for_twice_the_time(self):
        assert (b"xxx", [4.0, 4.0, 2.0]) == self.hear(*[b"x"] * 99, seconds=3.0)


def test_octets_that_are_no_text_are_kept():
    assert "a\udcff" == as_text(b"a\xff")


@pytest.mark.parametrize(
    ("destination", "host", "text"),
    [
        (WORDS, "203.0.113.25", "203.0.113.25:443"),
        (replace(WORDS, address=parse_address("2001:db8::25")), "[2001:db8::25]", "[2001:db8::25]:443"),
        (replace(WORDS, name="canary.sink.example"), "canary.sink.example", "canary.sink.example:443"),
    ],
)
def test_destinations_are_written_as_uris_write_them(destination, host, text):
    assert (host, text) == (destination.host, str(destination))
