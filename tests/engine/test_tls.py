import socket
import ssl
import warnings
from contextlib import suppress

import pytest
import trustme

from relaywatch.model import errors
from relaywatch.model.evidence import AttemptStatus, Direction
from relaywatch.script import ops
from relaywatch.wire.x509 import read_certificate

from .hostile import reset, saying, serving

AUTHORITY = trustme.CA(key_type=trustme.KeyType.ECDSA)
CERTIFICATE = AUTHORITY.issue_cert("mail.example.test", key_type=trustme.KeyType.ECDSA)


def server_context(version: str | None = None, ciphers: str = "DEFAULT:@SECLEVEL=0") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    CERTIFICATE.configure_cert(context)
    context.set_ciphers(ciphers)
    if version is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # that it is old is the point
            context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    return context


def speaking_starttls(context=None, go_ahead=b"220 go ahead\r\n", said=b"250 inside\r\n"):
    """Greets, gives the go-ahead for STARTTLS, and speaks inside TLS."""

    def behave(connection, over):
        connection.sendall(b"220 hello\r\n")
        connection.recv(100)
        connection.sendall(go_ahead)
        with (context or server_context()).wrap_socket(connection, server_side=True) as inside:
            inside.recv(100)
            inside.sendall(said)
            with suppress(ssl.SSLError):
                inside.recv(100)
                inside.unwrap()

    return behave


async def upgrade(link):
    await link.connect()
    await link.read_line(limit=512)
    await link.send(b"STARTTLS\r\n")
    await link.read_line(limit=512)
    return await link.start_tls("mail.example.test")


def keeping(heard):
    """A script that speaks STARTTLS and keeps the session and what is said inside."""

    async def script(link, brief):
        heard.append(await upgrade(link))
        await link.send(b"EHLO x\r\n")
        heard.append(await link.read_line(limit=512))
        await link.close()

    return script


class TestSession:
    def test_starttls_is_spoken_reported_and_written_down_in_the_clear(self, attempt):
        heard = []
        with serving(speaking_starttls()) as endpoint:
            outcome = attempt(keeping(heard), endpoint)

        session, line = heard
        assert (AttemptStatus.COMPLETED, "") == (outcome.status, outcome.error)
        assert b"250 inside" == line
        assert ("TLSv1.3", 0) == (session.version, session.dropped)
        assert ("mail.example.test",) == read_certificate(session.certificate).names
        assert (Direction.NOTE, f"TLSv1.3, {session.cipher}".encode()) in [
            (entry.direction, entry.data) for entry in outcome.transcript
        ]
        assert b"EHLO x\r\n" in [entry.data for entry in outcome.transcript]
        assert b"250 inside\r\n" in [entry.data for entry in outcome.transcript]

    @pytest.mark.parametrize("version", ["TLSv1", "TLSv1_1", "TLSv1_2", "TLSv1_3"])
    def test_every_version_that_openssl_still_has(self, attempt, version):
        heard = []
        with serving(speaking_starttls(server_context(version))) as endpoint:
            outcome = attempt(keeping(heard), endpoint)

        assert (AttemptStatus.COMPLETED, "") == (outcome.status, outcome.error)
        assert version.replace("_", ".") == heard[0].version

    def test_an_old_cipher_without_forward_secrecy(self, attempt):
        certificate = AUTHORITY.issue_cert("old.example.test", key_type=trustme.KeyType.RSA)
        context = server_context("TLSv1", "AES128-SHA:@SECLEVEL=0")
        certificate.configure_cert(context)
        heard = []
        with serving(speaking_starttls(context)) as endpoint:
            attempt(keeping(heard), endpoint)

        assert ("TLSv1", "AES128-SHA") == (heard[0].version, heard[0].cipher)

    def test_implicit_tls(self, attempt):
        heard = []

        def behave(connection, over):
            with server_context().wrap_socket(connection, server_side=True) as inside:
                inside.sendall(b"220 hello\r\n")
                inside.recv(100)

        async def script(link, brief):
            await link.connect()
            await link.start_tls()
            heard.append(await link.read_line(limit=512))

        with serving(behave) as endpoint:
            outcome = attempt(script, endpoint)

        assert (AttemptStatus.COMPLETED, [b"220 hello"]) == (outcome.status, heard)

    @pytest.mark.parametrize("name", ["", ".x", "x" * 300, "a..b", "mail\0.test", "192.0.2.1", "\ud800"])
    def test_whatever_the_target_calls_itself_it_can_be_spoken_to(self, attempt, name):
        async def script(link, brief):
            await link.connect()
            await link.start_tls(name)

        def behave(connection, over):
            with server_context().wrap_socket(connection, server_side=True) as inside:
                inside.recv(100)

        with serving(behave) as endpoint:
            outcome = attempt(script, endpoint)

        assert (AttemptStatus.COMPLETED, "") == (outcome.status, outcome.error)

    def test_a_megabyte_passes_both_ways(self, attempt):
        heard = []

        def behave(connection, over):
            with server_context().wrap_socket(connection, server_side=True) as inside:
                count = 0
                while count < 1 << 20:
                    count += len(inside.recv(1 << 16))
                inside.sendall(bytes(count))
                inside.recv(1)

        async def script(link, brief):
            await link.connect()
            await link.start_tls()
            await link.send(bytes(1 << 20))
            heard.append(len(await link.read_exactly(1 << 20)))

        with serving(behave) as endpoint:
            outcome = attempt(script, endpoint, max_octets_in=1 << 22)

        assert (AttemptStatus.COMPLETED, [1 << 20]) == (outcome.status, heard)

    def test_a_close_inside_tls_is_the_end_of_input(self, attempt):
        heard = []

        def behave(connection, over):
            inside = server_context().wrap_socket(connection, server_side=True)
            with inside, suppress(OSError):
                inside.unwrap()

        async def script(link, brief):
            await link.connect()
            await link.start_tls()
            heard.append(await ops.Receive())

        with serving(behave) as endpoint:
            outcome = attempt(script, endpoint)

        assert (AttemptStatus.COMPLETED, [b""]) == (outcome.status, heard)


class TestInjection:
    def test_clear_text_behind_the_go_ahead_is_dropped_and_counted(self, attempt):
        injected = b"250 injected\r\n"
        heard = []
        with serving(speaking_starttls(go_ahead=b"220 go ahead\r\n" + injected)) as endpoint:
            outcome = attempt(keeping(heard), endpoint)

        assert AttemptStatus.COMPLETED == outcome.status
        assert (len(injected), b"250 inside") == (heard[0].dropped, heard[1])

    def test_so_is_what_the_script_has_not_received_yet(self, attempt):
        heard = []

        async def script(link, brief):
            await link.connect()
            await link.read_line(limit=512)
            await link.send(b"STARTTLS\r\n")
            await ops.Receive(max_bytes=len(b"220 go ahead\r\n"))
            heard.append(await ops.StartTLS())
            await link.send(b"EHLO x\r\n")
            heard.append(await link.read_line(limit=512))

        with serving(speaking_starttls(go_ahead=b"220 go ahead\r\n250 injected\r\n")) as endpoint:
            outcome = attempt(script, endpoint)

        assert (14, b"250 inside") == (heard[0].dropped, heard[1])
        assert outcome.transcript[4].data.endswith(b", 14 octets in the clear dropped")

    def test_clear_text_after_the_handshake_began_breaks_it(self, attempt):
        def behave(connection, over):
            connection.sendall(b"220 hello\r\n")
            connection.recv(100)
            connection.sendall(b"220 go ahead\r\n")
            connection.recv(5)
            connection.sendall(b"250 injected\r\n")
            connection.recv(1000)

        async def script(link, brief):
            await upgrade(link)

        with serving(behave) as endpoint:
            outcome = attempt(script, endpoint)

        assert AttemptStatus.TLS_FAILED == outcome.status


class TestFailure:
    @pytest.mark.parametrize(
        ("end", "words"),
        [
            (lambda connection: connection.close(), "the peer closed the connection during the handshake"),
            (reset, "the peer reset the connection during the handshake (ECONNRESET)"),
        ],
    )
    def test_an_end_during_the_handshake(self, attempt, end, words):
        def behave(connection, over):
            connection.sendall(b"220 hello\r\n")
            connection.recv(100)
            connection.sendall(b"220 go ahead\r\n")
            while len(connection.recv(5)) == 5 and connection.recv(4096):
                break
            end(connection)

        async def script(link, brief):
            await upgrade(link)

        with serving(behave) as endpoint:
            outcome = attempt(script, endpoint)

        assert (AttemptStatus.TLS_FAILED, words) == (outcome.status, outcome.error)

    def test_a_server_that_never_finishes_the_handshake(self, attempt):
        def behave(connection, over):
            connection.recv(4096)
            over.wait(5)

        async def script(link, brief):
            await link.connect()
            await link.start_tls()

        with serving(behave) as endpoint:
            outcome = attempt(script, endpoint, tls_seconds=0.2)

        assert AttemptStatus.TLS_FAILED == outcome.status
        assert "no end of the handshake in 0.2 s" == outcome.error

    def test_a_server_without_tls(self, attempt):
        async def script(link, brief):
            await link.connect()
            await link.start_tls()

        with serving(saying(b"220 hello\r\n")) as endpoint:
            outcome = attempt(script, endpoint)

        assert (AttemptStatus.TLS_FAILED, "WRONG_VERSION_NUMBER") == (outcome.status, outcome.error)

    def test_a_server_that_has_closed_already(self, attempt):
        async def script(link, brief):
            await link.connect()
            assert b"" == await ops.Receive()
            await link.start_tls()

        def behave(connection, over):
            connection.shutdown(socket.SHUT_WR)
            connection.recv(100)

        with serving(behave) as endpoint:
            outcome = attempt(script, endpoint)

        assert AttemptStatus.TLS_FAILED == outcome.status
        assert "the peer closed the connection before the handshake" == outcome.error

    def test_rubbish_inside_tls(self, attempt):
        def behave(connection, over):
            inside = server_context().wrap_socket(connection, server_side=True)
            with inside:
                raw = socket.socket(fileno=socket.dup(inside.fileno()))
                with raw:
                    raw.sendall(b"250 not a record\r\n" * 100)
                inside.recv(100)

        async def script(link, brief):
            await link.connect()
            await link.start_tls()
            await ops.Receive()

        with serving(behave) as endpoint:
            outcome = attempt(script, endpoint)

        assert AttemptStatus.TLS_FAILED == outcome.status

    @pytest.mark.parametrize(
        ("says", "error"),
        [
            (b"\x15\x03\x03\x00\x02\x02\x70", errors.TLSRefusedError),  # unrecognized_name
            (b"250 not a record\r\n", errors.TLSRefusedError),
            (b"", errors.TLSFailedError),
        ],
        ids=["an alert", "no TLS", "hanging up"],
    )
    def test_who_answers_by_an_alert_is_told_from_who_hangs_up(self, attempt, says, error):
        raised = []

        async def script(link, brief):
            await link.connect()
            try:
                await link.start_tls("canary.test")
            except errors.TLSFailedError as failure:
                raised.append(type(failure))

        def behave(connection, _tls):
            connection.recv(4096)
            connection.sendall(says)

        with serving(behave) as endpoint:
            attempt(script, endpoint)

        assert [error] == raised

    def test_the_script_hears_of_a_failure_and_may_reconnect(self, attempt):
        async def script(link, brief):
            await link.connect()
            with pytest.raises(errors.TLSFailedError):
                await link.start_tls()
            await link.connect()
            await link.read_line(limit=512)

        with serving(saying(b"220 hello\r\n")) as endpoint:
            outcome = attempt(script, endpoint)

        assert (AttemptStatus.COMPLETED, "") == (outcome.status, outcome.error)
