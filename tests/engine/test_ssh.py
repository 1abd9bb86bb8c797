"""SSH forwarding against asyncssh's own server, and against peers that only pretend to be one."""

import asyncio
import logging
import socket
import struct
import subprocess
import sys
import threading
from contextlib import suppress
from ipaddress import ip_address

import asyncssh
import pytest

from relaywatch.engine.driver import Engine
from relaywatch.model.evidence import AttemptStatus, Direction
from relaywatch.model.places import Endpoint
from relaywatch.script import ops

from .conftest import Run, brief_for, probe_of
from .hostile import nobody, reset, serving, silent
from .ssh_servers import ssh_server

ANSWER = b"relaywatch abcdefgh 192.0.2.7\r\n"
WORDS = b"relaywatch thetoken"


def canary(connection, over):
    """Answer the words as our sink does, and go."""
    if connection.recv(100) == WORDS + b"\r\n":
        connection.sendall(ANSWER)


def asking(answers, to, within=8.0):
    """A script that asks for one forwarding."""

    async def script(link, brief):
        answers.append(await ops.ForwardBySSH(username="anonymous", to=to, words=WORDS, within=within))

    return script


@pytest.fixture
def ask(attempt):
    """Asks an endpoint to forward to a canary: the answer and the attempt."""

    def ask(endpoint, to=None, within=8.0, **options):
        answers = []
        place = to or Endpoint(ip_address("127.0.0.1"), 9)
        outcome = attempt(asking(answers, place, within), endpoint, Run(canaries=(place,)), **options)
        return (answers[0] if answers else None), outcome

    return ask


class TestForwarding:
    def test_who_is_admitted_reaches_the_canary(self, ask):
        with serving(canary) as to, ssh_server() as (endpoint, seen):
            answer, outcome = ask(endpoint, to)

        assert (AttemptStatus.COMPLETED, "") == (outcome.status, outcome.error)
        assert (True, True, ANSWER, "", ()) == (
            answer.is_admitted,
            answer.is_opened,
            answer.heard,
            answer.error,
            answer.methods,
        )
        assert answer.identification.startswith("SSH-2.0-AsyncSSH")
        assert [("127.0.0.1", to.port)] == seen.forwardings
        assert (["anonymous"], [], ["SSH-2.0-relaywatch"]) == (
            seen.usernames,
            seen.credentials,
            seen.versions,
        )
        assert "127.0.0.1" == outcome.source

    def test_all_of_it_is_on_the_transcript(self, ask):
        with serving(canary) as to, ssh_server() as (endpoint, _):
            answer, outcome = ask(endpoint, to)

        spoken = [(entry.direction, entry.data.decode()) for entry in outcome.transcript]
        assert spoken[0][1].startswith("SSH: connected from 127.0.0.1:")
        assert spoken[0][1].endswith(f" to {endpoint}")
        assert [
            (Direction.NOTE, f"SSH: the server says {answer.identification}"),
            (Direction.NOTE, "SSH: admitted without credentials"),
            (Direction.NOTE, f"SSH: forwards to {to}"),
            (Direction.CLIENT, WORDS.decode() + "\r\n"),
            (Direction.SERVER, ANSWER.decode()),
        ] == spoken[1:]

    def test_a_refused_forwarding_is_told(self, ask):
        with ssh_server(forward=False) as (endpoint, seen):
            answer, outcome = ask(endpoint)

        assert AttemptStatus.COMPLETED == outcome.status
        assert (True, False, b"") == (answer.is_admitted, answer.is_opened, answer.heard)
        assert "refused" in answer.error.lower()
        assert f"SSH: {answer.error}".encode() == outcome.transcript[-1].data
        assert 1 == len(seen.forwardings)

    def test_a_forwarding_that_finds_nobody_is_told(self, ask):
        with nobody() as to, ssh_server() as (endpoint, _):
            answer, _ = ask(endpoint, to)

        assert (True, False) == (answer.is_admitted, answer.is_opened)
        assert answer.error

    @pytest.mark.parametrize(
        "methods", [("publickey",), ("password",), ("publickey", "password", "keyboard-interactive")]
    )
    def test_who_is_not_admitted_offers_nothing(self, ask, methods):
        with ssh_server(admits=False, methods=methods) as (endpoint, seen):
            answer, outcome = ask(endpoint)

        assert AttemptStatus.COMPLETED == outcome.status
        assert (False, False, set(methods)) == (answer.is_admitted, answer.is_opened, set(answer.methods))
        assert "Permission denied" in answer.error
        assert ([], []) == (seen.credentials, seen.forwardings)

    def test_a_silent_canary_ends_with_the_time(self, ask):
        with serving(silent) as to, ssh_server() as (endpoint, _):
            answer, outcome = ask(endpoint, to, within=1.0)

        assert (True, b"", "not done in 1 s") == (answer.is_opened, answer.heard, answer.error)
        assert 1 <= outcome.seconds < 5

    def test_a_canary_that_hangs_up_ends_at_once(self, ask):
        with serving(lambda peer, over: peer.recv(100)) as to, ssh_server() as (endpoint, _):
            answer, outcome = ask(endpoint, to, within=20)

        assert (True, b"", "") == (answer.is_opened, answer.heard, answer.error)
        assert outcome.seconds < 5

    def test_an_echo_is_no_answer(self, ask):
        async def echo(reader, writer):
            writer.write(await reader.read(1000))
            await asyncio.sleep(0.1)
            writer.write(ANSWER)

        with ssh_server(forward=echo) as (endpoint, _):
            answer, _ = ask(endpoint)

        assert WORDS + b"\r\n" + ANSWER == answer.heard

    def test_nothing_is_decompressed(self, ask):
        offers = ["zlib@openssh.com", "zlib", "none"]
        with serving(canary) as to, ssh_server(compression_algs=offers) as (endpoint, seen):
            answer, _ = ask(endpoint, to)

        assert (ANSWER, ["none"]) == (answer.heard, seen.compression)

    @pytest.mark.parametrize(
        "options",
        [
            {"kex_algs": ["diffie-hellman-group14-sha1"]},
            {
                "kex_algs": ["diffie-hellman-group1-sha1"],
                "encryption_algs": ["3des-cbc"],
                "mac_algs": ["hmac-md5"],
            },
            {"encryption_algs": ["aes128-ctr"], "mac_algs": ["hmac-sha1"]},
        ],
    )
    @pytest.mark.filterwarnings("ignore:Diffie-Hellman over finite fields")  # pytest sets its own aside
    def test_old_servers_are_spoken_to(self, ask, options):
        with serving(canary) as to, ssh_server(**options) as (endpoint, _):
            answer, _ = ask(endpoint, to)

        assert (ANSWER, "") == (answer.heard, answer.error)

    @pytest.mark.parametrize("kex", ["diffie-hellman-group-exchange-sha256", "rsa2048-sha256"])
    def test_numbers_of_the_servers_choice_are_not_reckoned_with(self, ask, kex):
        with ssh_server(kex_algs=[kex]) as (endpoint, _):
            answer, _ = ask(endpoint)

        assert not answer.is_admitted
        assert answer.error  # whose words they are depends on who is faster to find nothing in common


class TestPermission:
    def test_what_is_no_canary_of_ours_is_never_asked_for(self, attempt):
        surroundings, answers = Run(), []
        other = Endpoint(ip_address("192.0.2.9"), 25)

        with ssh_server() as (endpoint, seen):
            outcome = attempt(asking(answers, other), endpoint, surroundings)

        assert AttemptStatus.LIMIT == outcome.status
        assert f"SSH is to lead to {other}, which is no canary of ours" == outcome.error
        assert ([], [], []) == (answers, seen.usernames, surroundings.admitted)

    def test_the_connection_is_paced(self, attempt):
        answers = []
        with serving(canary) as to, ssh_server() as (endpoint, _):
            surroundings = Run(delay=0.3, canaries=(to,))
            outcome = attempt(asking(answers, to), endpoint, surroundings)

        assert ([endpoint.address], ANSWER) == (surroundings.admitted, answers[0].heard)
        assert outcome.transcript[0].at >= 0.3

    def test_it_comes_from_where_the_rest_comes_from(self, ask):
        with serving(canary) as to, ssh_server() as (endpoint, _):
            answer, outcome = ask(endpoint, to, sources=[ip_address("127.0.0.9")])

        assert (ANSWER, "127.0.0.9") == (answer.heard, outcome.source)

    def test_nothing_of_whoever_runs_the_check_is_used(self, ask, tmp_path, monkeypatch):
        """Neither keys, nor agent, nor settings, nor known hosts."""
        ours = tmp_path / ".ssh"
        ours.mkdir()
        key = asyncssh.generate_private_key("ssh-ed25519")
        key.write_private_key(str(ours / "id_ed25519"))
        (ours / "config").write_text("Host *\n  User someone\n  ProxyCommand false\n  Compression yes\n")
        (ours / "known_hosts").write_text(f"* {key.export_public_key().decode()}")
        agent = socket.socket(socket.AF_UNIX)
        agent.bind(str(tmp_path / "agent"))
        agent.listen()
        agent.setblocking(False)
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))

        with agent, ssh_server(admits=False) as (endpoint, seen):
            answer, _ = ask(endpoint)
            with pytest.raises(BlockingIOError):
                agent.accept()

        assert ("publickey", "password") == answer.methods
        assert (["anonymous"], []) == (seen.usernames, seen.credentials)


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
    def test_whatever_they_say_becomes_an_error(self, ask, behave, error, caplog, capfd):
        with serving(behave) as endpoint:
            answer, outcome = ask(endpoint, within=5.0)

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
    def test_a_reset_straight_after_the_handshake_may_look_like_no_connection(self, ask, behave):
        with serving(behave) as endpoint:
            answer, outcome = ask(endpoint, within=5.0)

        assert outcome.status is AttemptStatus.CUT_SHORT or answer.error
        assert outcome.seconds < 4.5

    @pytest.mark.parametrize("behave", [silent, once(b"SSH-2.0-x\r\n"), once(b"220 mail.test ESMTP\r\n")])
    def test_who_says_no_more_ends_with_the_time(self, ask, behave):
        with serving(behave) as endpoint:
            answer, outcome = ask(endpoint, within=0.5)

        assert (AttemptStatus.COMPLETED, "not done in 0.5 s") == (outcome.status, answer.error)
        assert 0.5 <= outcome.seconds < 4

    def test_a_port_that_does_not_exist(self, ask):
        answer, _ = ask(Endpoint(ip_address("127.0.0.1"), 70_000))

        assert "no such port: 70000" == answer.error

    def test_lines_before_the_identification_are_passed_over(self, ask):
        with serving(once(b"welcome\r\nto us\r\nSSH-2.0-dropbear_0.51 \x1b\r\n")) as endpoint:
            answer, _ = ask(endpoint, within=0.5)

        assert "SSH-2.0-dropbear_0.51" == answer.identification

    def test_a_long_identification_is_cut(self, ask):
        with serving(once(b"SSH-2.0-" + b"x" * 240 + b"\r\n")) as endpoint:
            answer, _ = ask(endpoint, within=0.5)

        assert 200 == len(answer.identification)

    def test_a_flood_through_the_channel_is_not_read(self, ask):
        async def flood(reader, writer):
            with suppress(OSError, asyncssh.Error):
                while True:
                    writer.write(bytes(1000))
                    await writer.drain()

        with ssh_server(forward=flood) as (endpoint, _):
            answer, outcome = ask(endpoint)

        assert AttemptStatus.COMPLETED == outcome.status
        assert (True, bytes(4096)) == (answer.is_opened, answer.heard)

    def test_a_banner_that_fills_memory_meets_the_limit(self, ask):
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
            answer, outcome = ask(endpoint)

        assert ("more than 65536 octets came", False) == (answer.error, answer.is_admitted)
        assert b"buy this" not in b"".join(entry.data for entry in outcome.transcript)

    def test_the_attempts_own_limit_holds_too(self, ask):
        with serving(endlessly(IGNORE * 100, b"SSH-2.0-x\r\n")) as endpoint:
            answer, outcome = ask(endpoint, max_octets_in=10_000)

        assert (AttemptStatus.LIMIT, "more than 10000 octets came") == (outcome.status, outcome.error)
        assert answer is None


class TestStopping:
    @pytest.mark.parametrize("way", ["interrupt", "cancel"])
    @pytest.mark.parametrize("seconds", [0, 0.02, 0.3])
    def test_an_attempt_that_is_stopped_leaves_nothing(self, run, way, seconds):
        to = Endpoint(ip_address("127.0.0.1"), 9)
        ends = threading.Event()

        def behave(connection, over):
            connection.sendall(b"SSH-2.0-x\r\n")
            with suppress(ConnectionError):
                while connection.recv(9999):
                    pass
            ends.set()

        async def main(endpoint):
            engine = Engine()
            surroundings = Run(canaries=(to,))
            outcome = engine.attempt(probe_of(asking([], to)), brief_for(endpoint), surroundings)
            await asyncio.sleep(seconds)
            if way == "cancel":
                outcome.cancel()
            else:
                engine.interrupt()
            await asyncio.sleep(0.1)
            assert outcome.cancelled() or outcome.result().status is AttemptStatus.INTERRUPTED
            assert 0 == engine.live

        with serving(behave) as endpoint:
            run(main(endpoint))
            assert seconds < 0.3 or ends.wait(5)

    def test_the_time_of_the_attempt_is_a_bound(self, ask):
        with serving(silent) as endpoint:
            answer, outcome = ask(endpoint, within=30, attempt_seconds=0.3)

        assert (None, AttemptStatus.TIMEOUT) == (answer, outcome.status)
        assert outcome.seconds < 3


def test_the_library_is_not_imported_before_it_is_needed():
    code = "import sys, relaywatch.engine.driver; sys.exit('asyncssh' in sys.modules)"
    assert 0 == subprocess.run([sys.executable, "-c", code], check=False, timeout=30).returncode


def test_an_old_key_exchange_warns_nobody():
    code = "import relaywatch.engine.ssh; from asyncssh.crypto.dh import DH; DH(2, (1 << 1279) - 1)"
    done = subprocess.run([sys.executable, "-c", code], check=False, timeout=30, capture_output=True)
    assert b"deprecat" not in done.stderr.lower()


def test_the_library_logs_nothing():
    import relaywatch.engine.ssh  # noqa: F401, PLC0415

    assert not logging.getLogger("asyncssh").isEnabledFor(logging.CRITICAL)


def test_a_library_that_never_comes_back_is_not_waited_for(ask, monkeypatch):
    async def stuck(self):
        await asyncio.sleep(60)

    monkeypatch.setattr("relaywatch.engine.operations._SSH_GRACE_SECONDS", 0.1)
    monkeypatch.setattr("relaywatch.engine.ssh.Forwarding.run", stuck)
    with nobody() as endpoint:
        answer, outcome = ask(endpoint, within=0.1)

    assert (AttemptStatus.COMPLETED, "no end after 0.1 s") == (outcome.status, answer.error)
    assert b"SSH: no end after 0.1 s" == outcome.transcript[-1].data
