"""The embedded server's dialogue: reply codes, pipelining, STARTTLS, limits."""

import asyncio
import socket
import ssl

import pytest
from tests.demo.envelopes import anything_goes

from relaywatch.demo.policy import Conduct
from relaywatch.demo.population import CLOSED, policy
from relaywatch.demo.server import MailServer


@pytest.mark.parametrize("module", ["asyncio", "uvloop"])
def test_what_came_in_the_clear_after_starttls_is_thrown_away(module):
    loops = pytest.importorskip(module)

    async def main():
        async with MailServer(policy("yucca", offers_starttls=True)) as server:
            return await asyncio.to_thread(_inject, server.port)

    assert b"250 2.0.0 Ok\r\n" == loops.run(main())


def test_commands_sent_in_one_write_are_answered_in_order():
    commands = b"EHLO a.example\r\nMAIL FROM:<>\r\nRCPT TO:<x@y.example>\r\nRSET\r\nQUIT\r\n"

    async def main():
        async with MailServer(CLOSED) as server:
            return await asyncio.to_thread(_all, server.port, commands)

    final = [line[:3] for line in asyncio.run(main()).splitlines() if line[3:4] == b" "]
    assert [b"220", b"250", b"250", b"550", b"250", b"221"] == final


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (b"MAIL FROM:<a@b.example>\r\n", b"503"),
        (b"EHLO\r\n", b"501"),
        (b"EHLO x\r\nRCPT TO:<a@b.example>\r\n", b"503"),
        (b"EHLO x\r\nDATA\r\n", b"503"),
        (b"EHLO x\r\nMAIL FROM:<>\r\nMAIL FROM:<>\r\n", b"503"),
        (b"EHLO x\r\nMAIL <>\r\n", b"501"),
        (b"EHLO x\r\nMAIL FROM:<\xff>\r\n", b"501"),
        (b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<<a@b.example>>\r\n", b"501"),
        (b"EHLO x\r\nSTARTTLS\r\n", b"502"),
        (b"EHLO x\r\nAUTH PLAIN x\r\n", b"503"),
        (b"EHLO x\r\nBDAT 10 LAST\r\n", b"421"),
        (b"\x00\xff\r\n", b"500"),
        (b"x" * 5000, b"421"),
    ],
)
def test_wrong_command_has_its_reply_code(said, code):
    async def main():
        async with MailServer(CLOSED) as server:
            return await asyncio.to_thread(_all, server.port, said)

    assert code == asyncio.run(main()).splitlines()[-1][:3]


CHUNKY = policy("alder", offers_chunking=True)
LOCAL = b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<postmaster@alder.example>\r\n"


@pytest.mark.parametrize(
    ("said", "codes"),
    [
        (b"HELO x\r\nNOOP\r\nVRFY a\r\nHELP\r\nQUIT\r\n", "220 250 250 252 502 221"),
        (b"EHLO x\r\nBDAT 2 LAST\r\nab", "220 250 503"),
        (b"EHLO x\r\nBDAT \xc2\xb2 LAST\r\n", "220 250 421"),
        (LOCAL + b"BDAT 2\r\nabBDAT 0 LAST\r\n", "220 250 250 250 250 250"),
        (LOCAL + b"BDAT 1048577 LAST\r\n", "220 250 250 250 421"),
        (LOCAL + b"DATA\r\n" + b"x" * 1000 + b"\r\n.\r\n", "220 250 250 250 354 250"),
        (LOCAL + b"DATA\r\n" + (b"x" * 1000 + b"\r\n") * 1100 + b".\r\n", "220 250 250 250 354 552"),
        (LOCAL + b"RCPT TO:<postmaster>\r\n" * 50, "220 250 250 250" + " 250" * 49 + " 452"),
    ],
)
def test_dialogue_has_these_reply_codes(said, codes):
    async def main():
        async with MailServer(CHUNKY) as server:
            return await asyncio.to_thread(_all, server.port, said)

    lines = asyncio.run(main()).splitlines()
    assert codes.encode() == b" ".join(line[:3] for line in lines if line[3:4] == b" ")


def test_errors_slow_a_server_down_that_says_so():
    slow = policy("alder", conduct=Conduct(sleeps_after_errors=1, error_sleep_seconds=0.3))

    async def main():
        async with MailServer(slow) as server:
            began = asyncio.get_running_loop().time()
            await asyncio.to_thread(_all, server.port, b"?\r\n?\r\n?\r\n")
            return asyncio.get_running_loop().time() - began

    assert 0.6 <= asyncio.run(main()) < 3


def _all(port, said):
    with socket.create_connection(("127.0.0.1", port), 5) as client:
        client.sendall(said)
        client.shutdown(socket.SHUT_WR)
        return client.makefile("rb").read()


def _inject(port):
    """Send a command behind STARTTLS in one write; give what the server says first inside TLS."""
    with socket.create_connection(("127.0.0.1", port), 5) as client:
        plain = client.makefile("rb")
        plain.readline()
        client.sendall(b"EHLO a.example\r\n")
        while plain.readline()[3:4] != b" ":
            pass
        client.sendall(b"STARTTLS\r\nHELP\r\n")
        assert plain.readline().startswith(b"220")
        with anything_goes().wrap_socket(client) as secret:
            assert isinstance(secret, ssl.SSLSocket)
            secret.sendall(b"NOOP\r\n")
            return secret.makefile("rb").readline()
