"""The link, resumed by hand: each operation that it asks for is answered here."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relaywatch.model.errors import PeerClosedError, ReadTimeoutError, RemoteProtocolError
from relaywatch.model.evidence import Fact, Observation
from relaywatch.model.places import Endpoint, parse_address
from relaywatch.model.tokens import Mint
from relaywatch.script import ops
from relaywatch.script.link import DatagramLink, Deadline, Link
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


class TestSome:
    def test_whatever_comes(self):
        assert ([ops.Receive(within=2)], b"abc") == perform(Link().read_some(within=2), b"abc")
        assert perform(Link().read_some(within=2), b"")[1] == b""

    def test_what_lies_there_first(self):
        link = Link()
        perform(link.read_line(limit=9), b"a\nbc")

        assert ([], b"bc") == perform(link.read_some())
        assert b"d" == perform(link.read_some(), b"d")[1]

    def test_what_was_read_too_far_is_put_back_before_the_rest(self):
        link = Link()
        perform(link.read_line(limit=9), b"a\ncd")
        link.unread(b"b")

        assert ([], b"bc") == perform(link.read_exactly(2))
        assert (b"d", b"") == (link.taken(), link.taken())


class TestDeadlines:
    """Several reads share one patience."""

    def test_what_is_left(self):
        asked, deadline = perform(Deadline.after(5), 100.0)

        assert [ops.Now()] == asked
        assert 2.0 == perform(deadline.rest(), 103.0)[1]

    @pytest.mark.parametrize("now", [105.0, 106.0])
    def test_nothing_is_left(self, now):
        with pytest.raises(ReadTimeoutError, match="too slowly"):
            perform(Deadline(105.0).rest(), now)


class TestChannels:
    HERE = Endpoint(parse_address("192.0.2.7"), 1234)
    OURS = parse_address("198.51.100.9")

    def test_every_operation_names_its_own(self):
        link = Link().beside(2)

        for coroutine, op, answer in [
            (
                link.connect(at=self.HERE, source=self.OURS, within=3),
                ops.Connect(2, self.HERE, source=self.OURS, within=3),
                None,
            ),
            (link.send(b"x"), ops.Send(b"x", 2), None),
            (link.read_exactly(1), ops.Receive(channel=2), b"x"),
            (link.read_some(within=1), ops.Receive(within=1, channel=2), b"x"),
            (link.has_early_octets(), ops.Peek(2), b""),
            (link.start_tls("a", alpn=("h2",)), ops.StartTLS("a", ("h2",), 2), SESSION),
            (link.close(), ops.Close(2), None),
        ]:
            assert [op] == perform(coroutine, answer)[0]

    def test_datagrams(self):
        link = DatagramLink(3)

        for coroutine, op, answer in [
            (
                link.connect(at=self.HERE, source=self.OURS),
                ops.Connect(3, self.HERE, ops.Carrier.UDP, self.OURS),
                None,
            ),
            (link.connect(), ops.Connect(3, None, ops.Carrier.UDP), None),
            (link.send(b"x"), ops.Send(b"x", 3), None),
            (link.read(within=1.5), ops.ReceiveDatagram(1.5, 3), b"y"),
            (link.read(within=1.5), ops.ReceiveDatagram(1.5, 3), None),
            (link.close(), ops.Close(3), None),
        ]:
            assert ([op], answer) == perform(coroutine, answer)


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
        dropped = TLSSession(version="TLSv1.3", cipher="X", certificate=b"c", dropped=3, alpn="h2")
        _, session = perform(link.start_tls(), dropped)

        assert (14 + 3, "h2") == (session.dropped, session.alpn)
        assert ("TLSv1.3", "X", b"c") == (session.version, session.cipher, session.certificate)
        assert b"250 ok" == perform(link.read_line(limit=99), b"250 ok\r\n")[1]
