"""SMTP's dialogues, against a server that is a function."""

from dataclasses import replace

import pytest
from tests.playbook import BRIEF
from tests.scripted import ScriptedServer, play

from relaywatch.model.errors import PeerClosedError, ReadTimeoutError, RemoteProtocolError
from relaywatch.model.places import Door, Family, Transport
from relaywatch.model.smtp import EnhancedStatusCode, Reply
from relaywatch.script.smtp import Helo, command, commands, open_session, read_reply
from relaywatch.wire.smtp import REPLY_LINE_LIMIT, REPLY_LINES_LIMIT

OWN = Helo("EHLO", "probe.test")
PIPELINING = "250-mail\n250 PIPELINING"


def talk(dialogue, answers, brief=BRIEF):
    """Hold the dialogue with a server that has these answers; what it returned, and the server."""
    returned = []

    async def script(link, brief):
        returned.append(await dialogue(link, brief))

    def respond(text):
        fitting = [begin for begin in answers if text.startswith(begin)] if text else ["greeting"]
        return answers[max(fitting, key=len)] if fitting else "502 What?"

    server = ScriptedServer(lambda: respond)
    _, error = play(script, brief, server)
    if error is not None:
        raise error
    return returned[0], server


def after_greeting(*arguments, **options):
    async def dialogue(link, _brief):
        await link.connect()
        await read_reply(link)
        return await command(link, *arguments, **options)

    return dialogue


class TestReplies:
    @pytest.mark.parametrize(
        ("said", "reply"),
        [
            ("250 Ok", Reply(250, ("Ok",))),
            ("250-a\n250-b\n250 c", Reply(250, ("a", "b", "c"))),
            ("250", Reply(250, ("",))),
            ("550-no\n550 5.7.1 never", Reply(550, ("no", "5.7.1 never"), EnhancedStatusCode(5, 7, 1))),
        ],
    )
    def test_replies(self, said, reply):
        assert reply == talk(after_greeting("NOOP"), {"greeting": "220 mail", "NOOP": said})[0]

    def test_as_many_lines_as_there_may_be(self):
        said = "\n".join(["250-x"] * (REPLY_LINES_LIMIT - 1) + ["250 x"])

        assert REPLY_LINES_LIMIT == len(
            talk(after_greeting("NOOP"), {"greeting": "220 a", "NOOP": said})[0].lines
        )

    def test_an_endless_reply(self):
        with pytest.raises(RemoteProtocolError, match=f"more than {REPLY_LINES_LIMIT} lines"):
            talk(after_greeting("NOOP"), {"greeting": "220 a", "NOOP": "\n".join(["250-x"] * 200)})

    def test_a_line_without_an_end(self):
        with pytest.raises(RemoteProtocolError, match=f"longer than {REPLY_LINE_LIMIT} octets"):
            talk(after_greeting("NOOP"), {"greeting": "220 a", "NOOP": "250 " + "x" * REPLY_LINE_LIMIT})

    def test_no_reply(self):
        with pytest.raises(RemoteProtocolError, match="not an SMTP reply line"):
            talk(after_greeting("NOOP"), {"greeting": "220 a", "NOOP": "Bitte?"})

    def test_silence(self):
        with pytest.raises(ReadTimeoutError):
            talk(after_greeting("NOOP", within=1.0), {"greeting": "220 a", "NOOP": ""})


class TestGroups:
    LINES = (("RSET", ""), ("MAIL", "FROM:<>"), ("RCPT", "TO:<a@b.test>"))

    def ask(self, lines, *, pipelined, replies, **answers):
        async def dialogue(link, _brief):
            await link.connect()
            await read_reply(link)
            await command(link, "EHLO", "probe.test")
            await commands(link, lines, pipelined=pipelined, replies=replies)

        return talk(dialogue, {"greeting": "220 a", "EHLO": PIPELINING, "": "250 Ok", **answers})[1]

    def test_one_write_where_the_server_takes_that(self):
        replies = []
        server = self.ask(self.LINES, pipelined=True, replies=replies)

        assert [b"RSET\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.test>\r\n"] == server.writes[1:]
        assert [250, 250, 250] == [reply.code for reply in replies]

    def test_one_by_one_where_it_doesnt(self):
        replies = []
        server = self.ask(self.LINES, pipelined=False, replies=replies)

        assert [b"RSET\r\n", b"MAIL FROM:<>\r\n", b"RCPT TO:<a@b.test>\r\n"] == server.writes[1:]
        assert 3 == len(replies)

    @pytest.mark.parametrize("verb", ["EHLO", "HELO"])
    def test_a_group_ends_with_ehlo(self, verb):
        """RFC 2920 section 3.1: its reply must be waited for."""
        replies = []
        server = self.ask((*self.LINES, (verb, "other.test"), *self.LINES), pipelined=True, replies=replies)

        group = b"RSET\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.test>\r\n"
        assert [group + f"{verb} other.test\r\n".encode(), group] == server.writes[1:]
        assert 7 == len(replies)

    @pytest.mark.parametrize("pipelined", [True, False])
    def test_421_ends_it(self, pipelined):
        """RFC 5321 section 3.8: the server is closing."""
        replies = []
        self.ask(self.LINES, pipelined=pipelined, replies=replies, MAIL="421 closing")

        assert [250, 421] == [reply.code for reply in replies]

    @pytest.mark.parametrize("pipelined", [True, False])
    def test_the_replies_before_a_hang_up_are_kept(self, pipelined):
        replies = []
        with pytest.raises(PeerClosedError):
            self.ask(self.LINES, pipelined=pipelined, replies=replies, RCPT=None)

        assert [250, 250] == [reply.code for reply in replies]

    def test_nothing_to_ask(self):
        replies = []

        assert 1 == len(self.ask((), pipelined=True, replies=replies).writes)


def behind(transport, port=25, **changes):
    return replace(BRIEF, door=Door(port, transport, Family.IPV4), **changes)


async def opening(link, brief):
    return await open_session(link, brief, OWN)


class TestSessions:
    def test_ehlo(self):
        session, server = talk(opening, {"greeting": "220 mail ESMTP", "EHLO": "250-mail hi\n250 PIPELINING"})

        assert (True, True, None) == (session.is_ready, session.pipelines, session.tls)
        assert "mail" == session.extensions.name
        assert session.last_reply is session.ehlo
        assert [b"EHLO probe.test\r\n"] == server.writes

    @pytest.mark.parametrize("code", [500, 501, 502, 504])
    def test_helo_where_ehlo_isnt_known(self, code):
        """RFC 5321 section 3.2."""
        answers = {"greeting": "220 mail SMTP", "EHLO": f"{code} what?", "HELO": "250 mail.example.test hi"}
        session, server = talk(opening, answers)

        assert [b"EHLO probe.test\r\n", b"HELO probe.test\r\n"] == server.writes
        assert (True, False) == (session.is_ready, session.pipelines)
        assert "mail.example.test" == session.extensions.name

    @pytest.mark.parametrize("code", [421, 450, 503, 550, 554])
    def test_a_refusal_of_ehlo_is_one(self, code):
        session, server = talk(opening, {"greeting": "220 mail", "EHLO": f"{code} no"})

        assert not session.is_ready
        assert code == session.last_reply.code
        assert 1 == len(server.writes)

    def test_asked_with_helo(self):
        async def dialogue(link, brief):
            return await open_session(link, brief, Helo("HELO", "probe.test"))

        session, server = talk(dialogue, {"greeting": "220 mail", "HELO": "250 mail\n250 PIPELINING"})

        assert [b"HELO probe.test\r\n"] == server.writes
        assert not session.pipelines

    @pytest.mark.parametrize("greeting", ["421 busy", "554 no"])
    def test_a_greeting_that_turns_us_away(self, greeting):
        session, server = talk(opening, {"greeting": greeting})

        assert [] == server.writes
        assert not session.is_ready
        assert greeting == str(session.last_reply)

    def test_a_greeting_of_many_lines_is_read_to_its_end(self):
        session, _ = talk(opening, {"greeting": "220-wait\n220-for\n220 it", "EHLO": "250 mail"})

        assert ("wait", "for", "it") == session.greeting.lines


class TestDoors:
    OFFER = "250-mail\n250 STARTTLS"

    @staticmethod
    def secured(answers_behind):
        """Answers in the clear that change once STARTTLS was said."""
        state = {"tls": False}

        def respond(text):
            if text == "STARTTLS":
                state["tls"] = True
                return "220 go"
            return answers_behind(text) if state["tls"] else "220 mail" if not text else TestDoors.OFFER

        return respond

    @staticmethod
    def run(respond, brief, helo=OWN):
        sessions = []

        async def script(link, brief):
            sessions.append(await open_session(link, brief, helo))

        server = ScriptedServer(lambda: respond)
        _, error = play(script, brief, server)
        assert error is None
        return sessions[0], server

    def test_starttls(self):
        session, server = self.run(self.secured(lambda _text: PIPELINING), behind(Transport.STARTTLS))

        assert [b"EHLO probe.test\r\n", b"STARTTLS\r\n", b"EHLO probe.test\r\n"] == server.writes
        assert session.tls is not None
        assert session.pipelines

    def test_what_was_offered_in_the_clear_is_forgotten(self):
        """RFC 3207 section 4.2."""
        session, _ = self.run(self.secured(lambda _text: "250 mail"), behind(Transport.STARTTLS))

        assert {} == session.extensions.keywords

    def test_helo_behind_starttls_still_takes_ehlo_before_it(self):
        helo = Helo("HELO", "localhost")
        session, server = self.run(self.secured(lambda _text: "250 mail"), behind(Transport.STARTTLS), helo)

        assert [b"EHLO localhost\r\n", b"STARTTLS\r\n", b"HELO localhost\r\n"] == server.writes
        assert session.has_tls_for(Transport.STARTTLS)

    def test_not_offered(self):
        session, _ = talk(opening, {"greeting": "220 a", "EHLO": "250 mail"}, behind(Transport.STARTTLS))

        assert (True, None) == (session.is_ready, session.tls)
        assert not session.has_tls_for(Transport.STARTTLS)

    def test_refused(self):
        answers = {"greeting": "220 a", "EHLO": self.OFFER, "STARTTLS": "454 not now"}
        session, server = talk(opening, answers, behind(Transport.STARTTLS))

        assert 2 == len(server.writes)
        assert "454 not now" == str(session.last_reply)
        assert "STARTTLS" in session.extensions

    def test_ehlo_refused_before_starttls(self):
        session, server = talk(opening, {"greeting": "220 a", "EHLO": "550 no"}, behind(Transport.STARTTLS))

        assert [b"EHLO probe.test\r\n"] == server.writes
        assert not session.is_ready

    def test_starttls_isnt_taken_at_a_plain_door(self):
        session, _ = talk(opening, {"greeting": "220 a", "EHLO": self.OFFER})

        assert session.tls is None
        assert session.has_tls_for(Transport.PLAIN)

    @pytest.mark.parametrize(
        ("names", "asked"), [((), None), (("mail.example.test", "b.test"), "mail.example.test")]
    )
    def test_implicit_tls_comes_before_the_greeting(self, names, asked):
        order = []

        class Server(ScriptedServer):
            def start_tls(self, op):
                order.append(("tls", op.server_name))
                return super().start_tls(op)

            def receive(self, channel=0):
                order.append("read")
                return super().receive(channel)

        async def script(link, brief):
            assert (await open_session(link, brief, OWN)).has_tls_for(Transport.TLS)

        server = Server(lambda: lambda text: "250 mail" if text else "220 mail")
        _, error = play(script, behind(Transport.TLS, 465, target_names=names), server)

        assert error is None
        assert [("tls", asked), "read", "read"] == order
