"""Telnet dialogues: options that are refused, prompts, and what counts as a yes."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.playbook import KEY, PROXY_BRIEF
from tests.scripted import OctetServer, play

from relaywatch.model.canary import canary_answer
from relaywatch.model.errors import PeerClosedError, ReadTimeoutError
from relaywatch.model.evidence import Fact
from relaywatch.model.places import parse_address
from relaywatch.probes.telnet_gateway import PROBE
from relaywatch.script import telnet
from relaywatch.script.telnet import Prompt, TelnetStream, read_answer, read_prompt
from relaywatch.script.tunnels import Answer, CanaryKind, Destination

CANARY = Destination(address=parse_address("203.0.113.25"), port=443, kind=CanaryKind.WORDS)
TOKEN = PROXY_BRIEF.token("case")
LINE = "203.0.113.25:443"


class Speaker(OctetServer):
    """Says its pieces one by one, whatever is said to it; then it is silent, or closes.

    An error among them is what the reading, or ``sends`` further on the writing, ends with.
    """

    def __init__(self, *pieces, closes=False, broken_after=None):
        super().__init__(lambda _op: lambda _data: b"")
        self.pieces, self.closes, self.broken_after = list(pieces), closes, broken_after

    def receive(self, channel):
        if self.pieces:
            return self.pieces.pop(0)
        if self.closes:
            return b""
        raise ReadTimeoutError("silence")

    def send(self, data, channel):
        if self.broken_after is not None and len(self.writes) >= self.broken_after:
            raise PeerClosedError("reset")
        self.writes.append(data)


def talk(dialogue, server):
    returned = []

    async def script(link, brief):
        await link.connect()
        returned.append(await dialogue(link, brief))

    _, error = play(script, PROXY_BRIEF, server)
    if error is not None:
        raise error
    return returned[0]


class TestStream:
    def read(self, server, times=1):
        async def dialogue(link, _brief):
            stream = TelnetStream(link)
            return [await stream.read_some(within=1) for _ in range(times)], stream.is_over

        return talk(dialogue, server)

    def test_options_are_refused_in_one_write(self):
        server = Speaker(b"\xff\xfb\x01\xff\xfd\x18login:")

        assert ([b"login:"], False) == self.read(server)
        assert [b"\xff\xfe\x01\xff\xfc\x18"] == server.writes

    def test_whoever_insists_is_not_answered_for_ever(self):
        server = Speaker(b"\xff\xfb\x01" * 50, b"\xff\xfd\x01" * 50, b"x")

        assert ([b"x"], False) == self.read(server)
        assert 32 * 3 == sum(map(len, server.writes))

    def test_whoever_says_nothing_but_commands_says_nothing(self):
        server = Speaker(*[b"\xff\xf1"] * 300)

        assert ([b""], True) == self.read(server)
        assert 300 - 256 == len(server.pieces)

    def test_a_subnegotiation_without_an_end_is_no_text_and_is_not_kept(self):
        server = Speaker(b"\xff\xfa", *[b"x" * 1000] * 20)

        with pytest.raises(ReadTimeoutError):
            self.read(server)

        assert [] == server.pieces

    def test_closed(self):
        assert ([b"a", b""], True) == self.read(Speaker(b"a", closes=True), times=2)

    def test_what_is_put_back_comes_first(self):
        async def dialogue(link, _brief):
            stream = TelnetStream(link)
            stream.unread("first\udcff")
            return [await stream.read_some(within=1), await stream.read_some(within=1)]

        assert [b"first\xff", b"second"] == talk(dialogue, Speaker(b"second"))

    @given(pieces=st.lists(st.binary(max_size=3000), max_size=10))
    def test_no_more_is_read_than_needs_be(self, pieces):
        text = talk(
            lambda link, _brief: TelnetStream(link).read_until_quiet(within=1, quiet=1),
            Speaker(b"x", *pieces),
        )

        assert len(text) <= telnet.MAX_TEXT + 3000


class TestPrompts:
    @pytest.mark.parametrize(
        ("shown", "expected"),
        [
            ("WinGate>", Prompt.COMMAND),
            ("\r\nrouter# ", Prompt.COMMAND),
            ("tn-gw-> ", Prompt.COMMAND),
            ("$ ", Prompt.COMMAND),
            ("[host]", Prompt.COMMAND),
            ("Host name: ", Prompt.COMMAND),
            ("host?", Prompt.COMMAND),
            ("login: ", Prompt.LOGIN),
            ("host.example LOGIN:", Prompt.LOGIN),
            ("Username:", Prompt.LOGIN),
            ("User Name : ", Prompt.LOGIN),
            ("Enter password: ", Prompt.LOGIN),
            ("Passcode> ", Prompt.LOGIN),
            ("Password (for guests): ", Prompt.LOGIN),
            ("PIN?", Prompt.LOGIN),
            ("Account:", Prompt.LOGIN),
            ("User: ", Prompt.LOGIN),
            ("Last login: yesterday\r\n$ ", Prompt.COMMAND),
            ("Password accepted.\r\nrouter>", Prompt.COMMAND),
            ("Welcome.\r\n", Prompt.NONE),
            ("220 mail.example ESMTP\r\n", Prompt.NONE),
            ("\x00\x01", Prompt.NONE),
        ],
    )
    def test_what_is_shown(self, shown, expected):
        prompt, text = talk(
            lambda link, brief: read_prompt(TelnetStream(link), brief), Speaker(shown.encode())
        )

        assert (expected, shown) == (prompt, text)

    def test_of_a_flood_no_more_is_read_than_fits(self):
        flood = b"Welcome. " * 500
        for last, expected in (b"gateway> ", Prompt.COMMAND), (b"login: ", Prompt.LOGIN):
            prompt, _ = talk(
                lambda link, brief: read_prompt(TelnetStream(link), brief), Speaker(flood + last, b"more")
            )

            assert expected is prompt

    def test_whoever_asks_for_a_name_and_closes_has_asked(self):
        prompt, _ = talk(
            lambda link, brief: read_prompt(TelnetStream(link), brief), Speaker(b"login: ", closes=True)
        )

        assert prompt is Prompt.LOGIN

    def test_whoever_closes_shows_no_prompt(self):
        prompt, _ = talk(
            lambda link, brief: read_prompt(TelnetStream(link), brief), Speaker(b"bye>", closes=True)
        )

        assert prompt is Prompt.NONE


class TestAnswers:
    @pytest.mark.parametrize(
        ("said", "expected"),
        [
            ("203.0.113.25:443\r\nConnecting to host 203.0.113.25...Connected\r\n", Answer.YES),
            ("Trying 203.0.113.25, 443 ... Open\r\n", Answer.YES),
            ("Connected to 203.0.113.25.\r\nEscape character is '^]'.", Answer.YES),
            ("You are connected to the castle.", None),
            ("203.0.113.25:443 connected", None),  # our line's own echo names the host
            ("203.0.113.25:443", None),
            ("", None),
            ("What?", None),
            ("Connecting to host 203.0.113.25...Connection refused", Answer.FAILED),
            ("203.0.113.25: Connection timed out", Answer.FAILED),
            ("Unable to connect to remote host: No route to host", Answer.FAILED),
            ("Can't open connection to 203.0.113.25", Answer.FAILED),
            ("% Unknown command or computer name", Answer.NO),
            ("Access denied.", Answer.NO),
            ("sh: 203.0.113.25:443: not found", Answer.NO),
            ("Usage: c HOST", Answer.NO),
        ],
    )
    def test_what_is_said(self, said, expected):
        assert expected is read_answer(said, LINE, "203.0.113.25")


class TestLines:
    def ask(self, server, destination=CANARY):
        return talk(lambda link, brief: telnet.ask_by_line(link, brief, destination, TOKEN, LINE), server)

    def test_words_are_said_to_whoever_says_neither_yes_nor_no(self):
        class Silent(Speaker):
            def send(self, data, channel):
                super().send(data, channel)
                if data.startswith(b"relaywatch"):
                    answer = canary_answer(KEY, TOKEN, parse_address("192.0.2.7"))
                    self.pieces.append(b"\xff\xfd\x01" + answer.encode())

        server = Silent(b"gateway>")
        opening = self.ask(server)

        assert (opening.answer, opening.reply, opening.command) == (Answer.YES, "", LINE)
        assert "192.0.2.7" in opening.heard

    def test_a_flood_before_and_behind_our_line(self):
        flood = b"Welcome. " * 500
        server = Speaker(flood + b"gateway>", flood, canary_answer(KEY, TOKEN, CANARY.address).encode())
        opening = self.ask(server)

        assert opening.answer is Answer.YES
        assert [LINE.encode() + b"\r\n", f"relaywatch {TOKEN}\r\n".encode()] == server.writes

    def test_a_mail_servers_greeting_amid_a_flood_is_its_own_to_read(self):
        flood = b"Welcome. " * 500
        answer = b"252 2.0.0 " + canary_answer(KEY, TOKEN, CANARY.address).encode()
        server = Speaker(flood + b"gateway>", flood + b"\r\n220 sink.test ESMTP\r\n", answer)
        opening = self.ask(server, replace(CANARY, port=25, kind=CanaryKind.SMTP))

        assert opening.answer is Answer.YES
        assert f"VRFY {TOKEN}\r\n".encode() == server.writes[-1]

    def test_whoever_breaks_off_at_our_words_has_refused(self):
        assert self.ask(Speaker(b"gateway>", broken_after=1)).answer is Answer.NO

    def test_no_words_are_said_to_whoever_refuses(self):
        server = Speaker(b"gateway>")
        server.receive = iter_of([b"gateway>", ReadTimeoutError("silence"), b"Access denied", b""])
        opening = self.ask(server)

        assert (opening.answer, opening.reply) == (Answer.NO, "Access denied")
        assert [LINE.encode() + b"\r\n"] == server.writes


class TestEntry:
    @pytest.mark.parametrize(
        ("shown", "expected", "facts"),
        [
            (b"Welcome. " * 500 + b"gateway>", True, []),
            (b"Welcome. " * 500, False, [Fact.NOT_THIS_PROTOCOL]),
            (b"login: ", False, [Fact.PLANNED, Fact.TALKS, Fact.REFUSED, Fact.AUTH_REQUIRED]),
        ],
    )
    def test_what_is_reported(self, shown, expected, facts):
        returned = []

        async def script(link, brief):
            returned.append(await telnet.awaits_command(link, brief, "RW-2012"))

        observations, error = play(script, PROXY_BRIEF, Speaker(shown, closes=True))

        assert error is None
        assert [expected] == returned
        assert facts == [seen.fact for seen in observations]
        assert all(len(seen.reply) <= 300 for seen in observations)

    def test_the_probe_goes_on_only_where_a_command_is_awaited(self):
        flood = b"Welcome. " * 500
        observations, _ = play(
            PROBE.script, PROXY_BRIEF, Speaker(flood + b">", flood + b">", b"Access denied")
        )

        assert [Fact.PLANNED, Fact.TALKS, Fact.REFUSED] == [seen.fact for seen in observations[:3]]


def iter_of(pieces):
    """A reading that gives the pieces, and raises the errors among them."""
    rest = iter(pieces)

    def receive(_channel):
        piece = next(rest, b"")
        if isinstance(piece, Exception):
            raise piece
        return piece

    return receive
