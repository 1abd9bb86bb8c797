import contextlib

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from relaywatch.model.errors import LocalProtocolError, RemoteProtocolError
from relaywatch.model.smtp import EnhancedStatusCode, Reply
from relaywatch.wire.smtp import (
    REPLY_LINE_LIMIT,
    REPLY_LINES_LIMIT,
    Extensions,
    ReplyLine,
    decode_text,
    encode_command,
    encode_message,
    join_reply,
    parse_enhanced_status_code,
    parse_extensions,
    parse_reply_line,
)

TEXTS = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\r\n"))


class TestReplyLines:
    @pytest.mark.parametrize(
        ("line", "read"),
        [
            (b"250 Ok", ReplyLine(250, True, "Ok")),
            (b"250-first", ReplyLine(250, False, "first")),
            (b"250", ReplyLine(250, True, "")),
            (b"250 ", ReplyLine(250, True, "")),
            (b"250-", ReplyLine(250, False, "")),
            (b"554  two spaces", ReplyLine(554, True, " two spaces")),
            (b"299 x", ReplyLine(299, True, "x")),
            (b"220 \x1b[2J\x00", ReplyLine(220, True, "\x1b[2J\x00")),
            (b"220 caf\xc3\xa9", ReplyLine(220, True, "café")),
            (b"220 caf\xe9", ReplyLine(220, True, "caf\udce9")),
            (b"250 with \r inside", ReplyLine(250, True, "with \r inside")),
        ],
    )
    def test_lines(self, line, read):
        assert read == parse_reply_line(line)

    @pytest.mark.parametrize(
        "line",
        [b"", b"25", b"2500 x", b"250x", b"250\tx", b" 250 x", b"150 x", b"650 x", b"25O x", b"\xff\xfe", b"+OK", "٢٥٠ x".encode()],
    )  # fmt: skip
    def test_what_is_none(self, line):
        with pytest.raises(RemoteProtocolError, match="not an SMTP reply line") as raised:
            parse_reply_line(line)

        assert line == raised.value.data

    @given(line=st.binary(max_size=100))
    def test_rubbish_raises_only_ours(self, line):
        with contextlib.suppress(RemoteProtocolError):
            parse_reply_line(line)

    @given(code=st.integers(200, 599), is_last=st.booleans(), text=TEXTS)
    def test_what_is_written_is_read(self, code, is_last, text):
        line = f"{code}{' ' if is_last else '-'}{text}".encode()

        assert ReplyLine(code, is_last, text) == parse_reply_line(line)

    def test_the_limits_leave_room_for_real_servers(self):
        """RFC 5321 section 4.5.3.1.5: 512 octets at least."""
        assert REPLY_LINE_LIMIT >= 512
        assert REPLY_LINES_LIMIT >= 50


class TestReplies:
    def test_one_line(self):
        reply = join_reply([ReplyLine(250, True, "2.1.5 Ok")])

        assert Reply(250, ("2.1.5 Ok",), EnhancedStatusCode(2, 1, 5)) == reply

    def test_several_lines(self):
        reply = join_reply([ReplyLine(250, False, "mail.example.test"), ReplyLine(250, True, "PIPELINING")])

        assert Reply(250, ("mail.example.test", "PIPELINING")) == reply

    def test_codes_that_differ_are_read_by_the_last(self):
        """RFC 5321 section 4.2.1."""
        reply = join_reply([ReplyLine(250, False, "yes"), ReplyLine(550, True, "5.7.1 no")])

        assert (550, EnhancedStatusCode(5, 7, 1)) == (reply.code, reply.enhanced)


class TestEnhancedStatusCodes:
    @pytest.mark.parametrize(
        ("code", "text", "read"),
        [
            (250, "2.0.0 Ok", EnhancedStatusCode(2, 0, 0)),
            (550, "5.7.1", EnhancedStatusCode(5, 7, 1)),
            (454, "4.7.1\tRelay access denied", EnhancedStatusCode(4, 7, 1)),
            (554, "5.123.999 x", EnhancedStatusCode(5, 123, 999)),
        ],
    )
    def test_codes(self, code, text, read):
        assert read == parse_enhanced_status_code(code, text)

    @pytest.mark.parametrize(
        ("code", "text"),
        [
            (550, "4.7.1 the class must agree"),
            (354, "3.0.0 there is no such class"),
            (550, "5.7.1x"),
            (550, "5.7"),
            (550, "5.7.1234 x"),
            (550, " 5.7.1 x"),
            (550, "relaying denied (#5.7.1)"),
            (550, ""),
        ],
    )
    def test_no_codes(self, code, text):
        """RFC 2034 section 4: at the beginning of the text, and of the reply code's class."""
        assert parse_enhanced_status_code(code, text) is None

    @given(
        klass=st.sampled_from([2, 4, 5]), subject=st.integers(0, 999), detail=st.integers(0, 999), text=TEXTS
    )
    def test_what_is_written_is_read(self, klass, subject, detail, text):
        code = EnhancedStatusCode(klass, subject, detail)

        assert code == parse_enhanced_status_code(klass * 100 + 50, f"{code} {text}")


class TestExtensions:
    @staticmethod
    def read(*lines):
        return parse_extensions(Reply(250, lines))

    def test_name_keywords_and_parameters(self):
        read = self.read(
            "mail.example.test Hello [203.0.113.9]", "PIPELINING", "SIZE 1000", "AUTH PLAIN LOGIN"
        )

        assert "mail.example.test" == read.name
        assert {"PIPELINING": "", "SIZE": "1000", "AUTH": "PLAIN LOGIN"} == read.keywords

    def test_keywords_are_folded(self):
        """RFC 5321 section 2.4: in any case of letters."""
        assert "STARTTLS" in self.read("mail", "StartTLS")

    def test_the_old_way_to_write_auth(self):
        assert {"AUTH": "LOGIN PLAIN"} == self.read("mail", "AUTH=LOGIN PLAIN").keywords

    def test_empty_lines_and_stray_blanks(self):
        assert {"8BITMIME": ""} == self.read("mail", "", "   ", " 8BITMIME ").keywords

    def test_a_keyword_that_comes_twice_counts_as_it_came_last(self):
        assert {"SIZE": "2"} == self.read("mail", "SIZE 1", "SIZE 2").keywords

    @pytest.mark.parametrize("line", ["", " "])
    def test_a_server_without_a_name(self, line):
        assert "" == self.read(line).name

    def test_one_line_offers_nothing(self):
        assert "PIPELINING" not in self.read("PIPELINING")

    def test_nothing_at_all(self):
        assert ("", {}) == (Extensions().name, Extensions().keywords)

    @given(lines=st.lists(st.text(max_size=40), min_size=1, max_size=20))
    def test_whatever_comes_is_read(self, lines):
        read = self.read(*lines)

        assert all(keyword and keyword == keyword.upper() for keyword in read.keywords)


class TestCommands:
    @pytest.mark.parametrize(
        ("verb", "argument", "line"),
        [
            ("QUIT", "", b"QUIT\r\n"),
            ("EHLO", "probe.test", b"EHLO probe.test\r\n"),
            ("MAIL", "FROM:<>", b"MAIL FROM:<>\r\n"),
            ("MAIL", "FROM: <a@b.test>", b"MAIL FROM: <a@b.test>\r\n"),
            ("EHLO", "메일.test", "EHLO 메일.test\r\n".encode()),
            ("RCPT", "TO:<\udcff>", b"RCPT TO:<\xff>\r\n"),
        ],
    )
    def test_lines(self, verb, argument, line):
        assert line == encode_command(verb, argument)

    @pytest.mark.parametrize("char", [*map(chr, range(32)), "\x7f"])
    def test_control_characters_are_refused(self, char):
        with pytest.raises(LocalProtocolError, match="control character"):
            encode_command("MAIL", f"FROM:<a{char}b>")
        with pytest.raises(LocalProtocolError):
            encode_command(f"NO{char}OP")

    @given(argument=st.text())
    def test_a_command_is_one_line_whatever_it_is_made_of(self, argument):
        try:
            line = encode_command("RCPT", argument)
        except (LocalProtocolError, UnicodeEncodeError):
            assume(False)
        body = line.removesuffix(b"\r\n")

        assert body != line
        assert not any(octet < 0x20 or octet == 0x7F for octet in body)


class TestMessages:
    @pytest.mark.parametrize(
        ("message", "encoded"),
        [
            (b"a\r\n", b"a\r\n.\r\n"),
            (b"a", b"a\r\n.\r\n"),
            (b"", b"\r\n.\r\n"),
            (b".\r\n", b"..\r\n.\r\n"),
            (b".a\r\n..b\r\nc.\r\n", b"..a\r\n...b\r\nc.\r\n.\r\n"),
        ],
    )
    def test_dots(self, message, encoded):
        """RFC 5321 section 4.5.2."""
        assert encoded == encode_message(message)

    @pytest.mark.parametrize(
        "message", [b"a\nb\r\n", b"a\rb\r\n", b"a\r\r\n", b"\n.\r\n", b"a\r", b"a\n\r\n"]
    )
    def test_bare_ends_of_lines_are_refused(self, message):
        """Smuggling is made of them."""
        with pytest.raises(LocalProtocolError, match="bare CR or LF"):
            encode_message(message)

    @given(
        lines=st.lists(st.binary(max_size=20).filter(lambda line: not set(line) & set(b"\r\n")), max_size=8)
    )
    def test_what_is_written_is_read(self, lines):
        message = b"".join(line + b"\r\n" for line in lines) or b"\r\n"
        encoded = encode_message(message)
        *body, end, rest = encoded.split(b"\r\n")

        assert (b".", b"") == (end, rest)
        assert b"." not in body
        assert message == b"".join(line.removeprefix(b".") + b"\r\n" for line in body)


@given(octets=st.binary())
def test_a_servers_text_is_kept_whatever_it_is(octets):
    assert octets == decode_text(octets).encode("utf-8", "surrogateescape")
