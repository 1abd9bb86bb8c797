"""The link, resumed by hand: each operation that it asks for is answered here."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relaywatch.model.errors import PeerClosedError, RemoteProtocolError
from relaywatch.model.evidence import Fact, Observation
from relaywatch.model.tokens import Mint
from relaywatch.script import ops
from relaywatch.script.link import Link
from relaywatch.script.ops import TLSSession

SESSION = TLSSession(version="TLSv1.3", cipher="X", certificate=b"c")


def perform(coroutine, *answers):
    """Run the coroutine, answer its operations in order: those that it asked for, and what it returned."""
    asked, remaining, answer = [], list(answers), None
    while True:
        try:
            op = coroutine.throw(answer) if isinstance(answer, Exception) else coroutine.send(answer)
        except StopIteration as end:
            assert remaining == []
            return asked, end.value
        asked.append(op)
        answer = remaining.pop(0)


class TestLines:
    @pytest.mark.parametrize("end", [b"\n", b"\r\n"])
    def test_a_line_comes_without_its_end(self, end):
        _, line = perform(Link().read_line(limit=100), b"220 mail" + end)

        assert b"220 mail" == line

    def test_only_one_carriage_return_belongs_to_the_end(self):
        assert b"a\r" == perform(Link().read_line(limit=100), b"a\r\r\n")[1]

    def test_what_came_too_much_is_kept_for_the_next_read(self):
        link = Link()

        assert b"one" == perform(link.read_line(limit=9), b"one\r\ntwo\r\nth")[1]
        assert b"two" == perform(link.read_line(limit=9))[1]
        assert b"three" == perform(link.read_line(limit=9), b"ree\n")[1]

    def test_it_reads_within_the_time_that_it_is_given(self):
        asked, _ = perform(Link().read_line(limit=9, within=7.5), b"a\n")

        assert [ops.Receive(within=7.5)] == asked

    @given(
        st.lists(st.binary(max_size=30).filter(lambda line: not set(line) & set(b"\r\n")), max_size=5),
        st.data(),
    )
    def test_in_whatever_pieces_they_come(self, lines, data):
        octets = b"".join(line + b"\r\n" for line in lines)
        link, read, place = Link(), [], 0
        while len(read) < len(lines):
            coroutine = link.read_line(limit=31)  # the carriage return counts
            answer = None
            while True:
                try:
                    coroutine.send(answer)
                except StopIteration as end:
                    read.append(end.value)
                    break
                size = data.draw(st.integers(1, len(octets) - place))
                answer, place = octets[place : place + size], place + size

        assert lines == read

    @pytest.mark.parametrize("octets", [b"x" * 11, b"x" * 11 + b"\n", b"x" * 10 + b"\r\n"])
    def test_a_line_that_is_too_long(self, octets):
        with pytest.raises(RemoteProtocolError, match="longer than 10 octets") as raised:
            perform(Link().read_line(limit=10), octets, b"x")

        assert raised.value.data.startswith(b"x" * 10)

    def test_a_line_as_long_as_it_may_be(self):
        assert b"x" * 10 == perform(Link().read_line(limit=10), b"x" * 10, b"\n")[1]

    def test_the_end_of_the_connection(self):
        with pytest.raises(PeerClosedError, match="the peer closed the connection"):
            perform(Link().read_line(limit=10), b"half", b"")


class TestOctets:
    def test_so_many_and_no_more(self):
        link = Link()

        assert b"abc" == perform(link.read_exactly(3), b"a", b"bcd")[1]
        assert b"de" == perform(link.read_exactly(2), b"e")[1]

    def test_none(self):
        assert ([], b"") == perform(Link().read_exactly(0))

    def test_the_end_of_the_connection(self):
        with pytest.raises(PeerClosedError):
            perform(Link().read_exactly(3, within=1.0), b"ab", b"")


class TestEarlyOctets:
    def test_those_that_the_link_holds(self):
        link = Link()
        perform(link.read_line(limit=9), b"a\nb")

        assert ([], True) == perform(link.has_early_octets())

    @pytest.mark.parametrize(("octets", "early"), [(b"", False), (b"x", True)])
    def test_those_that_nobody_has_received(self, octets, early):
        assert ([ops.Peek()], early) == perform(Link().has_early_octets(), octets)


class TestConnections:
    @pytest.mark.parametrize(("method", "op"), [("connect", ops.Connect()), ("close", ops.Close())])
    def test_what_lay_unread_is_gone(self, method, op):
        link = Link()
        perform(link.read_line(limit=9), b"a\nrest")

        assert ([op], None) == perform(getattr(link, method)(), None)
        assert b"new" == perform(link.read_line(limit=9), b"new\n")[1]

    def test_sending(self):
        assert ([ops.Send(b"x")], None) == perform(Link().send(b"x"), None)

    def test_pausing(self):
        assert ([ops.Pause(5)], None) == perform(Link().pause(5), None)

    @pytest.mark.parametrize("leave", [True, False])
    def test_leave_to_send(self, leave):
        assert ([ops.MaySend()], leave) == perform(Link().may_send(), leave)

    def test_arrivals(self):
        tokens = Mint(b"k", b"s").token("a"), Mint(b"k", b"s").token("b")

        assert ([ops.AwaitArrival(tokens)], None) == perform(Link().await_arrival(*tokens), None)

    def test_reports(self):
        seen = Observation(fact=Fact.TALKS)

        assert ([ops.Report(seen)], None) == perform(Link().report(seen), None)


class TestTLS:
    """RFC 3207 section 6: what came in the clear is thrown away."""

    def test_nothing_came_in_the_clear(self):
        asked, session = perform(Link().start_tls("mail.example.test"), SESSION)

        assert [ops.StartTLS("mail.example.test")] == asked
        assert session is SESSION

    def test_what_came_is_dropped_and_counted(self):
        link = Link()
        perform(link.read_line(limit=99), b"220 go\r\n250 injected\r\n")
        dropped = TLSSession(version="TLSv1.3", cipher="X", certificate=b"c", dropped=3)
        _, session = perform(link.start_tls(), dropped)

        assert 14 + 3 == session.dropped
        assert ("TLSv1.3", "X", b"c") == (session.version, session.cipher, session.certificate)
        assert b"250 ok" == perform(link.read_line(limit=99), b"250 ok\r\n")[1]
