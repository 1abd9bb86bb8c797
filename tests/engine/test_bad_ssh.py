"""SSH forwarding against peers that only pretend to be a server, or that flood."""

import socket
import struct
from contextlib import suppress
from ipaddress import ip_address

import asyncssh
import pytest

from relaywatch.model.evidence import AttemptStatus
from relaywatch.model.places import Endpoint

from .hostile import reset, serving, silent
from .ssh_servers import ssh_server


def packet(payload: bytes) -> bytes:
    """A packet as it is before keys are exchanged (RFC 4253 section 6)."""
    padding = 8 - (5 + len(payload)) % 8 + 4
    return struct.pack("!IB", 1 + len(payload) + padding, padding) + payload + bytes(padding)


IGNORE = packet(b"\x02" + struct.pack("!I", 3) + b"abc")


def endlessly(words, first=b""):
    def behave(connection, over):
        connection.sendall(first)
        while not over.is_set():
            connection.sendall(words)

    return behave


def once(words):
    """Say that, and no more."""

    def behave(connection, over):
        connection.sendall(words)
        while connection.recv(65536):
            pass

    return behave


class TestBadServers:
    @pytest.mark.parametrize(
        ("behave", "error"),
        [
            (endlessly(IGNORE * 100, b"SSH-2.0-x\r\n"), "more than 65536 octets came"),
            (endlessly(b"welcome\r\n" * 100), ""),
            (endlessly(b"x" * 10_000), ""),
            (endlessly(b"SSH-2.0-" + b"x" * 10_000), ""),
            (once(b"SSH-1.5-old\r\n"), "Unsupported SSH version"),
            (once(b"SSH-2.0-\xff\x00\x1b[2J\r\n"), ""),
            (once(b"SSH-2.0-x\r\n" + b"\xff" * 40), ""),
            (once(b"SSH-2.0-x\r\n" + packet(b"\x14" + bytes(16) + b"\xff" * 8)), ""),
            (once(b"SSH-2.0-x\r\n" + packet(b"\x15")), ""),
            (once(b"SSH-2.0-x\r\n" + packet(b"\x34")), ""),
            (
                once(
                    b"SSH-2.0-x\r\n"
                    + packet(b"\x01" + struct.pack("!II", 2, 11) + b"go\r\n\x1b[2Jyou" + bytes(4))
                ),
                "go [2Jyou",
            ),
            (lambda peer, over: None, ""),
            (lambda peer, over: (peer.sendall(b"SSH-2.0-x\r\n"), peer.recv(9999), reset(peer)), ""),
            (
                lambda peer, over: (
                    peer.sendall(b"SSH-2.0-x\r\n"),
                    peer.shutdown(socket.SHUT_WR),
                    peer.recv(99),
                ),
                "",
            ),
        ],
    )
    def test_whatever_they_say_becomes_an_error(self, ask_ssh, behave, error, caplog, capfd):
        with serving(behave) as endpoint:
            answer, outcome = ask_ssh(endpoint, within=5.0)

        assert AttemptStatus.COMPLETED == outcome.status
        assert answer.error
        assert error in answer.error
        assert answer.error.isprintable()
        assert answer.identification.isprintable()
        assert (False, False, b"") == (answer.is_admitted, answer.is_opened, answer.heard)
        assert outcome.seconds < 4.5
        assert [] == caplog.records
        assert "" == capfd.readouterr().err

    @pytest.mark.parametrize(
        "behave",
        [lambda peer, over: reset(peer), lambda peer, over: (peer.sendall(b"SSH-2.0-x\r\n"), reset(peer))],
    )
    def test_a_reset_straight_after_the_handshake_may_look_like_no_connection(self, ask_ssh, behave):
        with serving(behave) as endpoint:
            answer, outcome = ask_ssh(endpoint, within=5.0)

        assert outcome.status is AttemptStatus.CUT_SHORT or answer.error
        assert outcome.seconds < 4.5

    @pytest.mark.parametrize("behave", [silent, once(b"SSH-2.0-x\r\n"), once(b"220 mail.test ESMTP\r\n")])
    def test_who_says_no_more_ends_with_the_time(self, ask_ssh, behave):
        with serving(behave) as endpoint:
            answer, outcome = ask_ssh(endpoint, within=0.5)

        assert (AttemptStatus.COMPLETED, "not done in 0.5 s") == (outcome.status, answer.error)
        assert 0.5 <= outcome.seconds < 4

    def test_a_port_that_does_not_exist(self, ask_ssh):
        answer, _ = ask_ssh(Endpoint(ip_address("127.0.0.1"), 70_000))

        assert "no such port: 70000" == answer.error

    def test_lines_before_the_identification_are_passed_over(self, ask_ssh):
        with serving(once(b"welcome\r\nto us\r\nSSH-2.0-dropbear_0.51 \x1b\r\n")) as endpoint:
            answer, _ = ask_ssh(endpoint, within=0.5)

        assert "SSH-2.0-dropbear_0.51" == answer.identification

    def test_a_long_identification_is_cut(self, ask_ssh):
        with serving(once(b"SSH-2.0-" + b"x" * 240 + b"\r\n")) as endpoint:
            answer, _ = ask_ssh(endpoint, within=0.5)

        assert 200 == len(answer.identification)

    def test_a_flood_through_the_channel_is_not_read(self, ask_ssh):
        async def flood(reader, writer):
            with suppress(OSError, asyncssh.Error):
                while True:
                    writer.write(bytes(1000))
                    await writer.drain()

        with ssh_server(forward=flood) as (endpoint, _):
            answer, outcome = ask_ssh(endpoint)

        assert AttemptStatus.COMPLETED == outcome.status
        assert (True, bytes(4096)) == (answer.is_opened, answer.heard)

    def test_a_banner_that_fills_memory_meets_the_limit(self, ask_ssh):
        class Talkative(asyncssh.SSHServer):
            def connection_made(self, conn):
                self._connection = conn

            def begin_auth(self, username):
                for _ in range(100):
                    self._connection.send_auth_banner("buy this\r\n" * 100)
                return True

            def password_auth_supported(self):
                return True

        with ssh_server(server_factory=Talkative) as (endpoint, _):
            answer, outcome = ask_ssh(endpoint)

        assert ("more than 65536 octets came", False) == (answer.error, answer.is_admitted)
        assert b"buy this" not in b"".join(entry.data for entry in outcome.transcript)

    def test_the_attempts_own_limit_holds_too(self, ask_ssh):
        with serving(endlessly(IGNORE * 100, b"SSH-2.0-x\r\n")) as endpoint:
            answer, outcome = ask_ssh(endpoint, max_octets_in=10_000)

        assert (AttemptStatus.LIMIT, "more than 10000 octets came") == (outcome.status, outcome.error)
        assert answer is None
