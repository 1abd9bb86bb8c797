"""FTP's dialogues: replies of any shape, and the way in for the public."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.playbook import PROXY_BRIEF
from tests.scripted import OctetServer, play

from relaywatch.model.errors import LocalProtocolError, PeerClosedError, RelaywatchError, RemoteProtocolError
from relaywatch.model.evidence import Fact
from relaywatch.model.places import parse_address
from relaywatch.model.smtp import Reply
from relaywatch.script import bounce, ftp


def talk(dialogue, *lines, brief=PROXY_BRIEF):
    """Hold the dialogue with a server that says one piece at once, and one in answer to each command."""
    returned, said = [], iter(lines)

    async def script(link, brief):
        await link.connect()
        returned.append(await dialogue(link, brief))

    server = OctetServer(lambda _op: lambda _data: next(said, None))
    _, error = play(script, brief, server)
    if error is not None:
        raise error
    return returned[0], server.writes


def read(*lines):
    return talk(lambda link, _brief: ftp.read_reply(link, within=1), *lines)[0]


class TestReplies:
    def test_of_one_line(self):
        assert Reply(220, ("ready",)) == read(b"220 ready\r\n")
        assert Reply(220, ("",)) == read(b"220\n")

    def test_of_many_lines_between_which_anything_stands(self):
        """RFC 959 section 4.2: the user-process then simply needs to search for the second occurrence."""
        reply = read(
            b"123-First line\r\nSecond line\r\n  234 A line beginning with numbers\r\n123 The last line\r\n"
        )

        assert reply.code == 123
        assert reply.lines[0] == "First line"
        assert reply.lines[-1] == "The last line"
        assert len(reply.lines) == 4

    def test_too_many_lines(self):
        with pytest.raises(RemoteProtocolError, match="more than 200 lines"):
            read(b"220-x\r\n" + b"220-y\r\n" * 200)

    def test_a_line_that_is_too_long(self):
        with pytest.raises(RemoteProtocolError, match="longer than 4096"):
            read(b"220 " + b"x" * 5000)

    def test_closed_in_the_middle(self):
        with pytest.raises(PeerClosedError):
            talk(lambda link, brief: ftp.command(link, brief, "NOOP"), b"", None)

    @given(octets=st.binary(max_size=300))
    def test_rubbish_raises_only_ours(self, octets):
        try:
            reply = read(octets + b"\r\n")
        except RelaywatchError:
            return
        assert 100 <= reply.code < 600


class TestEntry:
    def enter(self, *lines, contact="lab@probe.test"):
        brief = replace(PROXY_BRIEF, identity=replace(PROXY_BRIEF.identity, contact=contact))
        (kept_out_by, reply), writes = talk(ftp.enter, *lines, brief=brief)
        return kept_out_by, reply.code, writes

    @pytest.mark.parametrize(
        ("lines", "expected"),
        [
            ([b"220 x\r\n", b"230 in\r\n"], (None, 230)),
            ([b"220 x\r\n", b"331 x\r\n", b"202 in\r\n"], (None, 202)),
            ([b"220 x\r\n", b"331 x\r\n", b"332 account\r\n"], (Fact.AUTH_REQUIRED, 332)),
            ([b"220 x\r\n", b"530 no\r\n"], (Fact.AUTH_REQUIRED, 530)),
            ([b"220 x\r\n", b"331 x\r\n", b"421 full\r\n"], (Fact.RATE_LIMITED, 421)),
            ([b"220 x\r\n", b"500 what\r\n"], (Fact.NOT_THIS_PROTOCOL, 500)),
            ([b"421 full\r\n"], (Fact.RATE_LIMITED, 421)),
            ([b"120 soon\r\n"], (Fact.CLIENT_BLOCKED, 120)),
        ],
    )
    def test_what_keeps_us_out(self, lines, expected):
        assert expected == self.enter(*lines)[:2]

    def test_who_we_say_that_we_are(self):
        lines = b"220 x\r\n", b"331 x\r\n", b"230 in\r\n"

        assert [b"USER anonymous\r\n", b"PASS lab@probe.test\r\n"] == self.enter(*lines)[2]
        assert [b"USER anonymous\r\n", b"PASS guest\r\n"] == self.enter(*lines, contact="")[2]

    def test_a_contact_that_would_be_two_commands(self):
        with pytest.raises(LocalProtocolError):
            self.enter(b"220 x\r\n", b"331 x\r\n", contact="a\r\nDELE b")


class TestOutside:
    """A bounce needs two addresses of ours: the one to come from, and the sink's."""

    @pytest.mark.parametrize(
        ("second", "expected"),
        [
            (None, (None, False)),
            ("198.51.100.10", (parse_address("198.51.100.10"), True)),
            ("2001:db8::10", (None, False)),  # of no use at a door of IPv4
            ("203.0.113.25", (None, True)),  # the sink's own: the usual one is another, then
        ],
    )
    def test_the_source(self, second, expected):
        source = second and parse_address(second)
        brief = replace(
            PROXY_BRIEF, canaries=replace(PROXY_BRIEF.canaries, second_sources=(source,) if source else ())
        )

        assert expected == bounce.outside_source(brief)
