import socket

import pytest

from relaywatch.model import errors
from relaywatch.model.evidence import AttemptStatus
from relaywatch.script import ops

from .hostile import reset, saying, serving, silent
from .scripts import greet, receive_all


class TestBadPeers:
    def test_garbage_with_nuls_is_a_protocol_error_and_never_a_crash(self, attempt):
        async def script(link, brief):
            await link.connect()
            raise errors.RemoteProtocolError("not SMTP", await link.read_line(limit=512))

        with serving(saying(b"\x00\xff\x1b[2J\x00\n")) as endpoint:
            outcome = attempt(script, endpoint)

        assert (AttemptStatus.PROTOCOL_ERROR, "not SMTP") == (outcome.status, outcome.error)
        assert b"\x00\xff\x1b[2J\x00\n" == outcome.transcript[1].data

    def test_ten_megabytes_without_a_line_end_are_not_read(self, attempt):
        sent = []

        def behave(connection, over):
            for _ in range(10):
                connection.sendall(b"2" * 1_000_000)
                sent.append(1_000_000)

        with serving(behave) as endpoint:
            outcome = attempt(greet, endpoint)

        assert AttemptStatus.PROTOCOL_ERROR == outcome.status
        assert "line longer than 512 octets" == outcome.error

    def test_an_endless_banner_meets_the_limit_of_octets(self, attempt):
        def behave(connection, over):
            while not over.is_set():
                connection.sendall(b"220-and on\r\n" * 1000)

        with serving(behave) as endpoint:
            outcome = attempt(receive_all, endpoint, max_octets_in=200_000)

        assert (AttemptStatus.LIMIT, "more than 200000 octets came") == (outcome.status, outcome.error)
        assert sum(len(entry.data) for entry in outcome.transcript) < 70_000
        assert b"the rest of the transcript was cut" == outcome.transcript[-1].data

    def test_what_nobody_reads_stays_with_the_peer(self, attempt):
        sent = 0

        def behave(connection, over):
            nonlocal sent
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
            connection.settimeout(0.2)
            for _ in range(256):
                connection.sendall(bytes(1 << 18))
                sent += 1 << 18

        async def script(link, brief):
            await link.connect()
            await link.pause(0.5)
            while await ops.Receive():
                pass

        with serving(behave) as endpoint:
            outcome = attempt(script, endpoint, max_octets_in=1 << 30)

        assert outcome.status in {AttemptStatus.COMPLETED, AttemptStatus.CUT_SHORT}
        assert sent < 32 << 20  # the kernels' buffers, and no more

    def test_a_slow_drip_is_a_tarpit(self, attempt):
        def behave(connection, over):
            while not over.wait(0.02):
                connection.sendall(b"2")

        with serving(behave) as endpoint:
            outcome = attempt(greet, endpoint, attempt_seconds=0.3)

        assert (AttemptStatus.TARPIT, "not done in 0.3 s") == (outcome.status, outcome.error)
        assert outcome.seconds < 4
        assert set(outcome.transcript[1].data) == set(b"2")

    def test_silence_is_a_timeout(self, attempt):
        with serving(silent) as endpoint:
            outcome = attempt(greet, endpoint, receive_seconds=0.2)

        assert (AttemptStatus.TIMEOUT, "the peer was silent for 0.2 s") == (outcome.status, outcome.error)
        assert 0.2 <= outcome.seconds < 4

    def test_silence_to_the_end_of_the_attempt_is_a_timeout_too(self, attempt):
        with serving(silent) as endpoint:
            outcome = attempt(greet, endpoint, attempt_seconds=0.2)

        assert AttemptStatus.TIMEOUT == outcome.status

    def test_a_peer_that_reads_nothing_holds_up_the_sender(self, attempt):
        sent = []

        async def script(link, brief):
            await link.connect()
            for _ in range(64):
                await link.send(bytes(1 << 20))
                sent.append(1)

        with serving(silent) as endpoint:
            outcome = attempt(script, endpoint, send_seconds=0.3)

        assert AttemptStatus.TIMEOUT == outcome.status
        assert "the peer took no more octets for 0.3 s" == outcome.error
        assert len(sent) < 32

    def test_a_peer_that_reads_late_is_waited_for(self, attempt):
        heard = []

        def behave(connection, over):
            over.wait(0.2)
            count = 0
            while data := connection.recv(1 << 20):
                count += len(data)
            heard.append(count)

        async def script(link, brief):
            await link.connect()
            await link.send(bytes(32 << 20))

        with serving(behave) as endpoint:
            outcome = attempt(script, endpoint)

        assert (AttemptStatus.COMPLETED, "") == (outcome.status, outcome.error)
        assert [32 << 20] == heard
        assert outcome.seconds >= 0.2

    def test_a_half_closed_peer_is_still_spoken_to(self, attempt):
        heard = []

        def behave(connection, over):
            connection.sendall(b"220 hello\r\n")
            connection.shutdown(socket.SHUT_WR)
            heard.append(connection.recv(100))

        async def script(link, brief):
            await link.connect()
            await link.read_line(limit=512)
            assert b"" == await ops.Receive()
            assert b"" == await ops.Receive()
            await link.send(b"QUIT\r\n")

        with serving(behave) as endpoint:
            outcome = attempt(script, endpoint)

        assert (AttemptStatus.COMPLETED, "") == (outcome.status, outcome.error)
        assert [b"QUIT\r\n"] == heard

    def test_a_close_in_mid_reply_is_cut_short(self, attempt):
        def behave(connection, over):
            connection.sendall(b"220-hel")

        with serving(behave) as endpoint:
            outcome = attempt(greet, endpoint)

        assert (AttemptStatus.CUT_SHORT, "the peer closed the connection") == (outcome.status, outcome.error)
        assert b"closed by the peer" in [entry.data for entry in outcome.transcript]

    @pytest.mark.parametrize("steps", range(3))
    def test_a_reset_at_every_step_is_cut_short(self, attempt, steps):
        def behave(connection, over):
            if steps > 0:
                connection.sendall(b"220 hello\r\n")
                connection.recv(100)
            if steps > 1:
                connection.sendall(b"221-by")
            reset(connection)

        with serving(behave) as endpoint:
            outcome = attempt(greet, endpoint)

        assert AttemptStatus.CUT_SHORT == outcome.status
        assert "reset" in outcome.error

    def test_what_came_before_a_reset_is_received_first(self, attempt):
        received = []

        def behave(connection, over):
            connection.sendall(b"554 go away\r\n")
            connection.recv(100)
            reset(connection)

        async def script(link, brief):
            await link.connect()
            await link.send(b"x")
            await link.pause(0.2)
            received.append(await link.read_line(limit=512))
            await ops.Receive()

        with serving(behave) as endpoint:
            outcome = attempt(script, endpoint)

        assert [b"554 go away"] == received
        assert AttemptStatus.CUT_SHORT == outcome.status

    def test_sending_into_a_reset_connection_is_cut_short(self, attempt):
        async def script(link, brief):
            await link.connect()
            await link.pause(0.1)
            for _ in range(3):
                await link.send(b"NOOP\r\n")

        with serving(lambda connection, over: reset(connection)) as endpoint:
            outcome = attempt(script, endpoint)

        assert AttemptStatus.CUT_SHORT == outcome.status
