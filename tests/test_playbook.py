"""The playbook itself: a small script, and every way in which it may differ from what is written."""

import pytest
from tests.playbook import BRIEF, MismatchError, play_conversation, read_conversation
from tests.scripted import ScriptedServer, play, verify_message

from relaywatch.model.errors import LocalProtocolError, RemoteProtocolError
from relaywatch.model.evidence import Fact, Observation
from relaywatch.script import ops
from relaywatch.script.smtp import command, commands, read_reply
from relaywatch.wire.smtp import encode_message


async def small(link, brief):
    """Greets, asks one thing, reports the answer."""
    await link.connect()
    await read_reply(link)
    reply = await command(link, "RCPT", f"TO:<{brief.token('forward plain')}@sink.test>")
    fact = Fact.ACCEPTED if reply.is_positive else Fact.REFUSED
    await link.report(Observation(fact=fact, case="plain", reply=str(reply), count=1))
    await link.close()


SMALL = """\
# A small one.
* connect
S: 220 mail.example.test ESMTP
C: RCPT TO:<{token:plain}@sink.test>
S: 550 5.7.1 <{token:plain}@sink.test>: Relay access denied
= refused plain reply~"access denied" count=1
"""


def perform(text, script=small, **options):
    play_conversation(read_conversation(text, "small.txt"), script, **options)


def test_as_written():
    perform(SMALL)


def test_title_is_the_first_comment():
    assert "A small one." == read_conversation(SMALL + "# Another.\n").title


@pytest.mark.parametrize(
    ("instead_of", "written", "says"),
    [
        ("RCPT TO", "RCPT to", r"small.txt:4: the script sends\nRCPT TO"),
        ("C: RCPT", "C: MAIL\nC: RCPT", r"small.txt:4: the script sends"),
        ("{token:plain}@sink.test>\nS", "{token:other}@sink.test>\nS", "small.txt:4: the script sends"),
        ("C: RCPT", "S: 250 more\nC: RCPT", "small.txt:0: ends protocol-error"),
        ("S: 550", "* server closes\nS: 550", "small.txt:0: ends cut-short"),
        ("S: 550", "* silence\nS: 550", "small.txt:0: ends timeout"),
        ("* connect", "* connect refused", "small.txt:0: ends no-listener"),
        ("* connect\n", "", "small.txt:2: the script connects"),
        ("= refused", "* connect\n= refused", "small.txt:6: the script ended before this"),
        ("refused plain", "accepted plain", "small.txt:6: instead came fact refused"),
        ("refused plain", "refused other", "small.txt:6: instead came case 'plain'"),
        ("refused plain", "refused", "small.txt:6: instead came case 'plain'"),
        ("access denied", "excess denied", "small.txt:6: instead came reply"),
        ("count=1", "count=2", "small.txt:6: instead came count '1'"),
        ("= refused", "= note\n= refused", "small.txt:6: instead came fact refused"),
        ("count=1", "count=1\n= note", "small.txt:7: instead came nothing more"),
        ('= refused plain reply~"access denied" count=1\n', "", "small.txt:1: expects no observation"),
        ("S: 220", "S: Hello", "small.txt:0: ends protocol-error"),
        ("# A", "* ends timeout\n# A", "small.txt:0: ends completed"),
        ("# A", "unwritten\n# A", "small.txt:1: not understood"),
        ("# A", "% no-such-setting 1\n# A", "small.txt:1: not understood"),
        ("# A", "% door 25 carrier-pigeon\n# A", "small.txt:1: not understood"),
        ("# A", "* applause\n# A", "small.txt:1: not understood"),
        ("# A", "*: applause\n# A", "small.txt:1: not understood"),
        ("# A", "S< 0g\n# A", "small.txt:1: not understood"),
        ("# A", "~ RCPT 550\n# A", "small.txt:1: not understood"),
        ("# A", '= refused "\n# A', "small.txt:1: not understood"),
    ],
)  # fmt: skip
def test_every_difference_names_its_line(instead_of, written, says):
    assert instead_of in SMALL

    with pytest.raises(MismatchError, match=says):
        perform(SMALL.replace(instead_of, written, 1))


def test_an_observation_that_is_not_written():
    async def talkative(link, brief):
        await small(link, brief)
        await link.report(Observation(fact=Fact.NOTE, detail="more"))

    with pytest.raises(MismatchError, match="not expected: note  more"):
        perform(SMALL, talkative)


def test_a_script_that_skips_what_it_should_read():
    async def hasty(link, _brief):
        await link.connect()
        await link.close()

    with pytest.raises(MismatchError, match=r"small.txt:3: the script hung up before it read this"):
        perform(SMALL, hasty)


def test_lines_that_came_with_the_last_one_and_are_never_read():
    text = SMALL.replace("= refused", "S: 250 too much\n= refused")

    with pytest.raises(AssertionError, match="hung up before b'250 too much"):
        perform(text, chop=iter([1] * 200))


def test_a_script_that_waits_in_vain():
    async def patient(link, _brief):
        await link.connect()
        await read_reply(link)
        await read_reply(link)

    with pytest.raises(MismatchError, match=r"small.txt:4: the script waits for the server"):
        perform(SMALL, patient)


def test_a_fault_of_ours_is_no_ending():
    async def faulty(_link, _brief):
        raise LocalProtocolError("ours")

    with pytest.raises(MismatchError, match="ends as a bug"):
        perform(SMALL, faulty)


def test_client_lines_in_a_row_are_one_write():
    async def grouped(link, _brief):
        await link.connect()
        await commands(link, [("RSET", ""), ("NOOP", "")], pipelined=True, replies=[])
        await link.report(Observation(fact=Fact.NOTE))

    text = "* connect\nC: RSET\nC: NOOP\nS: 250 a\nS: 250 b\n= note\n"
    perform(text, grouped)
    with pytest.raises(MismatchError, match="the script sends\nRSET"):
        perform(text.replace("C: NOOP\nS: 250 a\n", "S: 250 a\nC: NOOP\n"), grouped)


def test_octets():
    async def binary(link, _brief):
        await link.connect()
        await link.send(bytes.fromhex("05 01 00"))
        reply = await link.read_exactly(2)
        await link.report(Observation(fact=Fact.NOTE, detail=reply.hex()))

    perform("* connect\nC< 05 01 00\nS< 05 00\n= note detail=0500\n", binary)


def test_marks():
    async def eventful(link, brief):
        await link.connect()
        session = await link.start_tls()
        await link.pause(7.5)
        leave = [await link.may_send(), await link.may_send()]
        wanted = brief.token("forward plain"), brief.token("return ours ")
        arrivals = [await link.await_arrival(*wanted) for _ in range(3)]
        kinds = " ".join(str(arrival and arrival.kind) for arrival in arrivals)
        await link.report(Observation(fact=Fact.NOTE, detail=f"{session.version} {leave} {kinds}"))

    text = (
        "* connect\n* tls TLSv1.2\n* pause 7.5\n* may not send\n* arrival plain\n* bounce ours\n* no arrival\n"
        '= note detail="TLSv1.2 [False, True] mail bounce None"\n'
    )
    perform(text, eventful)
    for mark in "pause 7.5", "arrival plain", "bounce ours", "no arrival", "tls TLSv1.2":
        with pytest.raises(MismatchError, match="written is"):
            perform(text.replace(f"* {mark}\n", ""), eventful)
    with pytest.raises(MismatchError, match=r":3: the script pauses 7.5 s"):
        perform(text.replace("pause 7.5", "pause 8"), eventful)
    with pytest.raises(MismatchError, match="doesn't wait for percent-hack"):
        perform(text.replace("arrival plain", "arrival percent-hack"), eventful)


def test_standing_answers_hold_until_the_mark_behind_them():
    async def returning(link, brief):
        for number in range(3):
            await small(link, brief)
            if number == 1:
                await link.pause(60)

    text = (
        "~ greeting -> 220 a / 220 b\n~ RCPT -> 550 No\n~ RCPT TO:<{token:plain} -> 554 No\n* pause 60\n"
        "* connect\nS: 220 c\nC: RCPT TO:<{token:plain}@sink.test>\nS: 250 Ok\n"
        '= refused * reply="554 No"\n= accepted plain\n'
    )
    with pytest.raises(MismatchError, match=r"the script sends|standing"):
        perform(text.replace("220 a / 220 b", "220 a"), _first_half)
    perform(text.replace("220 a / 220 b", "220-a / 220 b"), returning)


async def _first_half(link, _brief):
    await link.connect()
    await read_reply(link)
    await command(link, "VRFY", "x")


def test_pasted_canaries_stand_for_ours_and_keep_their_places():
    theirs, others = "a" * 32, "b" * 32
    pasted = SMALL.replace("{token:plain}", theirs)
    perform(pasted.replace('reply~"access denied"', 'reply~"<{token:plain}@sink.test>: Relay"'))

    async def twice(link, brief):
        await small(link, brief)
        await small(link, brief)

    rest = pasted.split("\n", 1)[1]
    perform(pasted + rest, twice)
    perform(pasted + rest.replace(theirs, others), twice)
    with pytest.raises(MismatchError, match="the script sends"):
        perform(pasted + rest.replace(theirs, "{token:other}"), twice)


def test_pasted_lines_with_times_and_notes():
    perform(
        "--- smtp-relay 192.0.2.7:25 plain, completed\n"
        "   0.000 *: connected from 203.0.113.9:40000 to 192.0.2.7:25\n"
        "   0.061 S: 220 mail.example.test ESMTP\n"
        "   0.061 C: RCPT TO:<{token:plain}@sink.test>\n"
        "  12.004 S: 550 no\n"
        "  12.004 *: closed by us\n"
        "= refused *\n"
    )


class TestMessageData:
    def test_only_lines_with_tokens_are_compared(self):
        perform(self.TEXT, self.mailer)

    def test_a_token_that_is_missing(self):
        with pytest.raises(MismatchError, match="the message has no line"):
            perform(self.TEXT.replace("X-T:", "X-U:"), self.mailer)

    def test_another_token(self):
        with pytest.raises(MismatchError, match="the script sends"):
            perform(self.TEXT.replace("{token:plain}", "{token:other}"), self.mailer)

    TEXT = "* connect\nS: 354 go\nC: X-T: {token:plain}\nC: whatever\nC: .\nS: 250 ok\n= note\n"

    @staticmethod
    async def mailer(link, brief):
        await link.connect()
        await read_reply(link)
        message = f"Date: now\r\nX-T: {brief.token('forward plain')}\r\n\r\n.dot\r\n"
        await link.send(encode_message(message.encode()))
        await read_reply(link)
        await link.report(Observation(fact=Fact.NOTE))

    def test_verified_and_unstuffed(self):
        assert b"a\r\n.b\r\n" == verify_message(b"a\r\n..b\r\n.\r\n", chunked=False)
        assert b"a\r\n" == verify_message(b"BDAT 3 LAST\r\na\r\n", chunked=True)

    @pytest.mark.parametrize(
        ("data", "chunked"),
        [
            (b"a\r\n", False),
            (b"a\n.\r\n", False),
            (b"a\r\n.\r\nb\r\n.\r\n", False),
            (b"a\rb\r\n.\r\n", False),
            (b"BDAT 4 LAST\r\na\r\n", True),
        ],
    )
    def test_malformed(self, data, chunked):
        with pytest.raises(AssertionError):
            verify_message(data, chunked=chunked)


class TestScriptedServer:
    """A server made of a function holds the script to what a strict server would."""

    @staticmethod
    def server(**answers):
        def respond(text):
            return answers.get(text.split(" ")[0] or "greeting", "250 Ok")

        return ScriptedServer(lambda: respond)

    def run(self, script, **answers):
        server = self.server(greeting="220 mail", **answers)
        observations, error = play(script, BRIEF, server)
        return server, observations, error

    def test_it_remembers_what_was_said(self):
        server, observations, error = self.run(small, RCPT="550 No")

        assert error is None
        assert [Fact.REFUSED] == [seen.fact for seen in observations]
        assert [["220 mail", "550 No"]] == [[e.reply for e in said] for said in server.connections]

    def test_early_talkers(self):
        async def early(link, _brief):
            await link.connect()
            await link.send(b"EHLO probe.test\r\n")

        with pytest.raises(AssertionError, match="out of turn"):
            self.run(early)

    def test_groups_without_pipelining(self):
        async def grouped(link, _brief):
            await link.connect()
            await read_reply(link)
            await link.send(b"RSET\r\nNOOP\r\n")

        with pytest.raises(AssertionError, match="a group without PIPELINING"):
            self.run(grouped)

    def test_a_group_ends_with_what_must_be_last(self):
        async def grouped(link, _brief):
            await link.connect()
            await read_reply(link)
            await command(link, "EHLO", "probe.test")
            await link.send(b"EHLO other.test\r\nMAIL FROM:<>\r\n")

        with pytest.raises(AssertionError, match="out of turn"):
            self.run(grouped, EHLO="250-mail\n250 PIPELINING")

    def test_half_a_command(self):
        async def half(link, _brief):
            await link.connect()
            await read_reply(link)
            await link.send(b"RSET")

        with pytest.raises(AssertionError, match="without an end"):
            self.run(half)

    def test_hanging_up(self):
        _, _, error = self.run(small, RCPT=None)

        assert "the peer closed the connection" == str(error)

    def test_silence(self):
        _, _, error = self.run(small, RCPT="")

        assert "silence" == str(error)

    def test_rubbish(self):
        _, _, error = self.run(small, RCPT="\x00\udcff")

        assert isinstance(error, RemoteProtocolError)

    def test_a_script_without_an_end(self):
        async def endless(link, _brief):
            while True:
                await link.pause(1)

        with pytest.raises(AssertionError, match="more than 10000 operations"):
            self.run(endless)

    def test_what_is_no_operation(self):
        async def foreign(_link, _brief):
            await ops.Op()

        with pytest.raises(AssertionError, match="no operation"):
            self.run(foreign)

    def test_without_a_connection_there_is_nothing_to_read(self):
        async def unconnected(link, _brief):
            await read_reply(link)

        _, _, error = self.run(unconnected)

        assert "there is no connection" == str(error)
