"""TLS within TLS, as through a proxy that is itself spoken to in TLS; and what both sides agree to speak."""

import socket
import ssl
from contextlib import contextmanager, suppress

import pytest
import trustme

from relaywatch.engine.tls import TLSStack, lenient_context, shared_context
from relaywatch.model import errors
from relaywatch.model.evidence import AttemptStatus
from relaywatch.script import ops
from relaywatch.wire.x509 import read_certificate

from .hostile import reset, serving

AUTHORITY = trustme.CA(key_type=trustme.KeyType.ECDSA)


def server_context(name, *alpn):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert(name, key_type=trustme.KeyType.ECDSA).configure_cert(context)
    if alpn:
        context.set_alpn_protocols(alpn)
    return context


PROXY = server_context("proxy.test", "http/1.1")
MAIL = server_context("mail.test")


class Inner:
    """The server's side of TLS through a stream that is TLS already."""

    def __init__(self, outer: ssl.SSLSocket, context: ssl.SSLContext) -> None:
        self._outer = outer
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self.run(self._tls.do_handshake)

    def run(self, step, *arguments):
        while True:
            try:
                result = step(*arguments)
            except ssl.SSLWantReadError:
                self._flush()
                data = self._outer.recv(65536)
                if not data:
                    raise ConnectionError from None
                self._incoming.write(data)
            else:
                self._flush()
                return result

    def recv(self) -> bytes:
        return self.run(self._tls.read, 65536)

    def sendall(self, data: bytes) -> None:
        while data:
            data = data[self.run(self._tls.write, data) :]

    def unwrap(self) -> None:
        self.run(self._tls.unwrap)

    def _flush(self) -> None:
        while data := self._outgoing.read(16384):
            self._outer.sendall(data)


@contextmanager
def tunnelling(behave_within):
    """A proxy in TLS that says yes to whatever it is asked, and behaves within."""

    def behave(connection, over):
        with PROXY.wrap_socket(connection, server_side=True) as outer, suppress(ssl.SSLError):
            outer.recv(100)
            outer.sendall(b"200 go ahead\n")
            behave_within(outer)

    with serving(behave) as endpoint:
        yield endpoint


async def tunnel(link):
    await link.connect()
    session = await link.start_tls("proxy.test", alpn=("h2", "http/1.1"))
    await link.send(b"CONNECT\n")
    assert b"200 go ahead" == await link.read_line(limit=100)
    return session


class TestWithin:
    def test_each_layer_has_its_own_peer(self, attempt):
        sessions, heard, ends = [], [], []

        def behave(outer):
            inner = Inner(outer, MAIL)
            inner.sendall(b"220 mail.test\r\n")
            heard.append(inner.recv())
            with suppress(ssl.SSLZeroReturnError):
                ends.append(inner.recv())  # close_notify of the inner layer ...
            ends.append(outer.recv(100))  # ... and of the outer one

        async def script(link, brief):
            sessions.append(await tunnel(link))
            sessions.append(await link.start_tls("mail.test"))
            heard.append(await link.read_line(limit=100))
            await link.send(b"QUIT\r\n")

        with tunnelling(behave) as endpoint:
            outcome = attempt(script, endpoint)

        spoken = [entry.data for entry in outcome.transcript]
        assert (AttemptStatus.COMPLETED, "") == (outcome.status, outcome.error)
        names = [read_certificate(session.certificate).names for session in sessions]
        assert [("proxy.test",), ("mail.test",)] == names
        assert ["http/1.1", ""] == [session.alpn for session in sessions]
        assert [b"220 mail.test", b"QUIT\r\n"] == heard
        assert b"220 mail.test\r\n" in spoken
        assert b"QUIT\r\n" in spoken
        assert f"TLSv1.3, {sessions[0].cipher}, http/1.1".encode() in spoken
        assert [b"", b""] == ends

    def test_a_megabyte_passes_both_ways(self, attempt):
        heard = []

        def behave(outer):
            inner = Inner(outer, MAIL)
            count = 0
            while count < 1 << 20:
                count += len(inner.recv())
            inner.sendall(bytes(count))
            inner.recv()

        async def script(link, brief):
            await tunnel(link)
            await link.start_tls()
            for _ in range(16):
                await link.send(bytes(1 << 16))
            heard.append(await link.read_exactly(1 << 20))

        with tunnelling(behave) as endpoint:
            outcome = attempt(script, endpoint, max_octets_in=2 << 20)

        assert (AttemptStatus.COMPLETED, "") == (outcome.status, outcome.error)
        assert bytes(1 << 20) == heard[0]

    def test_what_came_before_the_inner_handshake_is_dropped(self, attempt):
        sessions = []

        def behave(outer):
            outer.sendall(b"too early")
            outer.recv(100)
            Inner(outer, MAIL).recv()

        async def script(link, brief):
            await tunnel(link)
            while not await link.has_early_octets():
                await link.pause(0.01)
            await link.send(b"x")
            sessions.append(await link.start_tls())

        with tunnelling(behave) as endpoint:
            outcome = attempt(script, endpoint)

        assert (AttemptStatus.COMPLETED, "") == (outcome.status, outcome.error)
        assert 9 == sessions[0].dropped

    def test_an_outer_end_ends_the_inner_too(self, attempt):
        heard = []

        def behave(outer):
            inner = Inner(outer, MAIL)
            inner.sendall(b"last words\n")
            outer.unwrap()

        async def script(link, brief):
            await tunnel(link)
            await link.start_tls()
            heard.append(await link.read_line(limit=100))
            heard.append(await ops.Receive())

        with tunnelling(behave) as endpoint:
            outcome = attempt(script, endpoint)

        assert (AttemptStatus.COMPLETED, [b"last words", b""]) == (outcome.status, heard)

    @pytest.mark.parametrize(
        ("behave", "text"),
        [
            (lambda outer: outer.sendall(b"HTTP/1.1 502 no TLS here\r\n\r\n"), ""),
            (
                lambda outer: outer.recv(1) and outer.unwrap(),
                "the peer closed the connection during the handshake",
            ),
            (lambda outer: outer.recv(1) and reset(outer), "reset"),
        ],
    )
    def test_an_inner_handshake_that_fails(self, attempt, behave, text):
        async def script(link, brief):
            await tunnel(link)
            await link.start_tls()

        with tunnelling(behave) as endpoint:
            outcome = attempt(script, endpoint)

        assert AttemptStatus.TLS_FAILED == outcome.status
        assert text in outcome.error

    def test_an_outer_layer_that_breaks_beneath_the_inner(self, attempt):
        def behave(outer):
            Inner(outer, MAIL)
            with socket.socket(fileno=socket.dup(outer.fileno())) as raw:
                raw.sendall(b"250 not a record\r\n" * 100)
            outer.recv(100)

        async def script(link, brief):
            await tunnel(link)
            await link.start_tls()
            await ops.Receive()

        with tunnelling(behave) as endpoint:
            outcome = attempt(script, endpoint)

        assert AttemptStatus.TLS_FAILED == outcome.status

    def test_a_handshake_after_one_that_never_ended_is_a_bug(self, attempt):
        async def script(link, brief):
            await tunnel(link)
            with pytest.raises(errors.TLSFailedError, match="no end of the handshake"):
                await link.start_tls()
            await link.start_tls()

        def behave(outer):
            while outer.recv(1000):
                pass

        with tunnelling(behave) as endpoint:
            outcome = attempt(script, endpoint, tls_seconds=0.2)

        assert AttemptStatus.BUG == outcome.status
        assert "TLS inside TLS" in outcome.error

    def test_there_is_an_end_to_it(self):
        stack = TLSStack()
        context = shared_context(())
        for _ in range(3):
            stack.begin(context, None)
            stack.is_done = True

        with pytest.raises(errors.LocalProtocolError):
            stack.begin(context, None)


class TestALPN:
    @pytest.mark.parametrize(
        ("offered", "agreed"),
        [(("h2", "http/1.1"), "http/1.1"), (("h2",), ""), ((), ""), (("http/1.1",), "http/1.1")],
    )
    def test_what_is_agreed_on_is_told(self, attempt, offered, agreed):
        sessions = []

        def behave(connection, over):
            with PROXY.wrap_socket(connection, server_side=True) as inside:
                inside.recv(1)

        async def script(link, brief):
            await link.connect()
            sessions.append(await link.start_tls(alpn=offered))

        with serving(behave) as endpoint:
            outcome = attempt(script, endpoint)

        assert (AttemptStatus.COMPLETED, agreed) == (outcome.status, sessions[0].alpn)

    def test_each_offer_has_one_context_that_no_other_offer_touches(self):
        assert shared_context(("h2",)) is shared_context(("h2",))
        assert shared_context(("h2",)) is not shared_context(())

    @pytest.mark.parametrize("name", ["", "x" * 256])
    def test_a_name_that_can_not_be_is_a_fault(self, name):
        with pytest.raises(ssl.SSLError):
            lenient_context((name,))
