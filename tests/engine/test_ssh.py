"""SSH forwarding against asyncssh's own server, to our canary and to nowhere else."""

import asyncio
import logging
import socket
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

from .conftest import Run, brief_for, probe_of
from .hostile import nobody, serving, silent
from .ssh_servers import WORDS, asking, ssh_server

ANSWER = b"relaywatch abcdefghijklmnop 192.0.2.7\r\n"


def canary(connection, over):
    """Answer the words as our sink does, and go."""
    if connection.recv(100) == WORDS + b"\r\n":
        connection.sendall(ANSWER)


class TestForwarding:
    def test_who_is_admitted_reaches_the_canary(self, ask_ssh):
        with serving(canary) as to, ssh_server() as (endpoint, seen):
            answer, outcome = ask_ssh(endpoint, to)

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

    def test_a_greeting_of_our_mail_server_is_no_answer_yet(self, ask_ssh):
        greeting = b"220 sink.example ESMTP relaywatch sink. Ask 192.0.2.9\r\n"

        def mail(connection, over):
            connection.sendall(greeting)
            connection.recv(100)
            over.wait(0.2)
            connection.sendall(b"252 2.0.0 " + ANSWER)
            over.wait(30)

        with serving(mail) as to, ssh_server() as (endpoint, _):
            answer, _ = ask_ssh(endpoint, to)

        assert (greeting + b"252 2.0.0 " + ANSWER, "") == (answer.heard, answer.error)

    def test_all_of_it_is_on_the_transcript(self, ask_ssh):
        with serving(canary) as to, ssh_server() as (endpoint, _):
            answer, outcome = ask_ssh(endpoint, to)

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

    def test_a_refused_forwarding_is_told(self, ask_ssh):
        with ssh_server(forward=False) as (endpoint, seen):
            answer, outcome = ask_ssh(endpoint)

        assert AttemptStatus.COMPLETED == outcome.status
        assert (True, False, b"") == (answer.is_admitted, answer.is_opened, answer.heard)
        assert "refused" in answer.error.lower()
        assert f"SSH: {answer.error}".encode() == outcome.transcript[-1].data
        assert 1 == len(seen.forwardings)

    def test_a_forwarding_that_finds_nobody_is_told(self, ask_ssh):
        with nobody() as to, ssh_server() as (endpoint, _):
            answer, _ = ask_ssh(endpoint, to)

        assert (True, False) == (answer.is_admitted, answer.is_opened)
        assert answer.error

    @pytest.mark.parametrize(
        "methods", [("publickey",), ("password",), ("publickey", "password", "keyboard-interactive")]
    )
    def test_who_is_not_admitted_offers_nothing(self, ask_ssh, methods):
        with ssh_server(admits=False, methods=methods) as (endpoint, seen):
            answer, outcome = ask_ssh(endpoint)

        assert AttemptStatus.COMPLETED == outcome.status
        assert (False, False, set(methods)) == (answer.is_admitted, answer.is_opened, set(answer.methods))
        assert "Permission denied" in answer.error
        assert ([], []) == (seen.credentials, seen.forwardings)

    def test_a_silent_canary_ends_with_the_time(self, ask_ssh):
        with serving(silent) as to, ssh_server() as (endpoint, _):
            answer, outcome = ask_ssh(endpoint, to, within=1.0)

        assert (True, b"", "not done in 1 s") == (answer.is_opened, answer.heard, answer.error)
        assert 1 <= outcome.seconds < 5

    def test_a_canary_that_hangs_up_ends_at_once(self, ask_ssh):
        with serving(lambda peer, over: peer.recv(100)) as to, ssh_server() as (endpoint, _):
            answer, outcome = ask_ssh(endpoint, to, within=20)

        assert (True, b"", "") == (answer.is_opened, answer.heard, answer.error)
        assert outcome.seconds < 5

    def test_an_echo_is_no_answer(self, ask_ssh):
        async def echo(reader, writer):
            writer.write(await reader.read(1000))
            await asyncio.sleep(0.1)
            writer.write(ANSWER)

        with ssh_server(forward=echo) as (endpoint, _):
            answer, _ = ask_ssh(endpoint)

        assert WORDS + b"\r\n" + ANSWER == answer.heard

    def test_nothing_is_decompressed(self, ask_ssh):
        offers = ["zlib@openssh.com", "zlib", "none"]
        with serving(canary) as to, ssh_server(compression_algs=offers) as (endpoint, seen):
            answer, _ = ask_ssh(endpoint, to)

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
    def test_old_servers_are_spoken_to(self, ask_ssh, options):
        with serving(canary) as to, ssh_server(**options) as (endpoint, _):
            answer, _ = ask_ssh(endpoint, to)

        assert (ANSWER, "") == (answer.heard, answer.error)

    @pytest.mark.parametrize("kex", ["diffie-hellman-group-exchange-sha256", "rsa2048-sha256"])
    def test_numbers_of_the_servers_choice_are_not_reckoned_with(self, ask_ssh, kex):
        with ssh_server(kex_algs=[kex]) as (endpoint, _):
            answer, _ = ask_ssh(endpoint)

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

    def test_it_comes_from_where_the_rest_comes_from(self, ask_ssh):
        with serving(canary) as to, ssh_server() as (endpoint, _):
            answer, outcome = ask_ssh(endpoint, to, sources=[ip_address("127.0.0.9")])

        assert (ANSWER, "127.0.0.9") == (answer.heard, outcome.source)

    def test_nothing_of_whoever_runs_the_check_is_used(self, ask_ssh, tmp_path, monkeypatch):
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
            answer, _ = ask_ssh(endpoint)
            with pytest.raises(BlockingIOError):
                agent.accept()

        assert ("publickey", "password") == answer.methods
        assert (["anonymous"], []) == (seen.usernames, seen.credentials)


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

    def test_the_time_of_the_attempt_is_a_bound(self, ask_ssh):
        with serving(silent) as endpoint:
            answer, outcome = ask_ssh(endpoint, within=30, attempt_seconds=0.3)

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


def test_a_library_that_never_comes_back_is_not_waited_for(ask_ssh, monkeypatch):
    async def stuck(self):
        await asyncio.sleep(60)

    monkeypatch.setattr("relaywatch.engine.operations._SSH_GRACE_SECONDS", 0.1)
    monkeypatch.setattr("relaywatch.engine.ssh.Forwarding.run", stuck)
    with nobody() as endpoint:
        answer, outcome = ask_ssh(endpoint, within=0.1)

    assert (AttemptStatus.COMPLETED, "no end after 0.1 s") == (outcome.status, answer.error)
    assert b"SSH: no end after 0.1 s" == outcome.transcript[-1].data
