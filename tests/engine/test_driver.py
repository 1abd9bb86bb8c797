import asyncio
import socket
import threading
from contextlib import suppress
from ipaddress import ip_address
from itertools import pairwise

import pytest

from relaywatch.engine.driver import Engine, Limits
from relaywatch.model import errors
from relaywatch.model.evidence import Arrival, ArrivalKind, AttemptStatus, Direction, Fact, Observation
from relaywatch.model.places import Endpoint
from relaywatch.model.tokens import Token
from relaywatch.script import ops

from .conftest import Run, brief_for, probe_of
from .hostile import deaf, nobody, reset, saying, serving, silent


async def greet(link, brief):
    """Reads a greeting, says QUIT, and reads the answer."""
    await link.connect()
    await link.report(Observation(fact=Fact.NOTE, reply=(await link.read_line(limit=512)).decode("latin-1")))
    await link.send(b"QUIT\r\n")
    await link.read_line(limit=512)
    await link.close()


async def receive_all(link, brief):
    await link.connect()
    while await ops.Receive():
        pass


async def wait_for_octets(link, brief):
    await link.connect()
    await link.report(Observation(fact=Fact.NOTE))
    await ops.Receive()


async def until_observed(surroundings, count):
    for _ in range(500):
        if len(surroundings.observed_so_far) >= count:
            return
        await asyncio.sleep(0.01)


class TestDialogue:
    def test_a_whole_dialogue_completes_and_is_written_down(self, attempt):
        with serving(saying(b"220 hello\r\n", b"221 bye\r\n")) as endpoint:
            outcome = attempt(greet, endpoint)

        spoken = [(entry.direction, entry.data) for entry in outcome.transcript]
        assert AttemptStatus.COMPLETED == outcome.status
        assert "" == outcome.error
        assert [
            (Direction.SERVER, b"220 hello\r\n"),
            (Direction.CLIENT, b"QUIT\r\n"),
            (Direction.SERVER, b"221 bye\r\n"),
            (Direction.NOTE, b"closed by us"),
        ] == spoken[1:]
        assert spoken[0][1].startswith(b"connected from 127.0.0.1:")
        assert spoken[0][1].endswith(f" to {endpoint}".encode())

    def test_the_attempt_says_who_where_and_when(self, attempt):
        with serving(saying(b"220 hello\r\n", b"221 bye\r\n")) as endpoint:
            outcome = attempt(greet, endpoint)

        times = [entry.at for entry in outcome.transcript]
        assert ("trial", endpoint, "127.0.0.1") == (outcome.probe, outcome.endpoint, outcome.source)
        assert all(earlier <= later for earlier, later in pairwise(times))
        assert 0 < times[-1] <= outcome.seconds < 5
        assert outcome.began.tzinfo is not None

    def test_observations_are_told_at_once_and_kept(self, attempt):
        surroundings = Run()
        with serving(saying(b"220 hello\r\n", b"221 bye\r\n")) as endpoint:
            outcome = attempt(greet, endpoint, surroundings)

        assert ["220 hello"] == [observation.reply for observation in outcome.observations]
        assert surroundings.observed_so_far == list(outcome.observations)

    def test_ipv6(self, attempt):
        try:
            with serving(saying(b"220 hello\r\n", b"221 bye\r\n"), "::1") as endpoint:
                outcome = attempt(greet, endpoint)
        except OSError:
            pytest.skip("no IPv6 loopback here")

        assert (AttemptStatus.COMPLETED, "::1") == (outcome.status, outcome.source)
        assert outcome.transcript[0].data.endswith(f"[::1]:{endpoint.port}".encode())

    def test_the_source_address_is_ours_to_choose(self, attempt):
        callers = []

        def behave(connection, over):
            callers.append(connection.getpeername()[0])
            saying(b"220 hello\r\n", b"221 bye\r\n")(connection, over)

        with serving(behave) as endpoint:
            outcome = attempt(greet, endpoint, sources=[ip_address("127.0.0.9"), ip_address("::1")])

        assert AttemptStatus.COMPLETED == outcome.status
        assert ["127.0.0.9"] == callers
        assert "127.0.0.9" == outcome.source

    def test_a_source_address_that_is_not_ours_leaves_no_way(self, attempt):
        with serving(silent) as endpoint:
            outcome = attempt(greet, endpoint, sources=[ip_address("192.0.2.1")])

        assert (AttemptStatus.UNREACHABLE, "EADDRNOTAVAIL") == (outcome.status, outcome.error)

    def test_a_second_connect_closes_the_first(self, attempt):
        ends = []

        def behave(connection, over):
            connection.sendall(b"220 hello\r\n")
            ends.append(connection.recv(100))

        async def twice(link, brief):
            for _ in range(2):
                await link.connect()
                await link.read_line(limit=512)

        with serving(behave) as endpoint:
            outcome = attempt(twice, endpoint)

        assert AttemptStatus.COMPLETED == outcome.status
        assert [b"", b""] == ends

    def test_early_octets_are_seen_even_while_the_kernel_still_holds_them(self, attempt):
        has_spoken = threading.Event()
        seen = []

        def behave(connection, over):
            connection.sendall(b"220 hello\r\n")
            has_spoken.set()
            over.wait(5)

        async def script(link, brief):
            await link.connect()
            has_spoken.wait(5)  # the loop stands still meanwhile, so it can't have read
            seen.append(await link.has_early_octets())
            seen.append(await link.read_line(limit=512))
            seen.append(await link.has_early_octets())

        with serving(behave) as endpoint:
            attempt(script, endpoint)

        assert [True, b"220 hello", False] == seen

    def test_receive_takes_no_more_than_it_is_told(self, attempt):
        taken = []

        async def script(link, brief):
            await link.connect()
            taken.extend([await ops.Receive(max_bytes=3) for _ in range(4)])

        with serving(saying(b"220 hello\n")) as endpoint:
            attempt(script, endpoint)

        assert [b"220", b" he", b"llo", b"\n"] == taken


class TestNoConnection:
    def test_nobody_listens(self, attempt):
        with nobody() as endpoint:
            outcome = attempt(greet, endpoint)

        assert (AttemptStatus.NO_LISTENER, "nobody listens there") == (outcome.status, outcome.error)

    def test_nobody_listens_on_ipv6(self, attempt):
        try:
            with nobody("::1") as endpoint:
                outcome = attempt(greet, endpoint)
        except OSError:
            pytest.skip("no IPv6 loopback here")

        assert AttemptStatus.NO_LISTENER == outcome.status

    def test_nothing_answers(self, attempt):
        with deaf() as endpoint:
            outcome = attempt(greet, endpoint, connect_seconds=0.2)

        assert AttemptStatus.NO_ANSWER == outcome.status
        assert b"nothing answered in 0.2 s" == outcome.transcript[-1].data
        assert 0.2 <= outcome.seconds < 4

    def test_the_script_hears_of_it_and_may_go_on(self, attempt):
        async def script(link, brief):
            with pytest.raises(errors.ConnectRefusedError):
                await link.connect()
            await link.report(Observation(fact=Fact.NOTE, detail="went on"))

        with nobody() as endpoint:
            outcome = attempt(script, endpoint)

        assert AttemptStatus.COMPLETED == outcome.status
        assert ["went on"] == [observation.detail for observation in outcome.observations]

    def test_a_place_is_waited_for(self, attempt):
        surroundings = Run(delay=0.6)
        with serving(saying(b"220 hello\r\n", b"221 bye\r\n")) as endpoint:
            outcome = attempt(greet, endpoint, surroundings, attempt_seconds=0.5)

        assert AttemptStatus.COMPLETED == outcome.status  # for that time is not the target's doing
        assert [ip_address("127.0.0.1")] == surroundings.admitted
        assert outcome.transcript[0].at >= 0.6


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


class TestBadScripts:
    @pytest.mark.parametrize(
        ("error", "status"),
        [
            (errors.RemoteProtocolError("x"), AttemptStatus.PROTOCOL_ERROR),
            (errors.PeerClosedError("x"), AttemptStatus.CUT_SHORT),
            (errors.LocalProtocolError("x"), AttemptStatus.BUG),
            (asyncio.CancelledError("x"), AttemptStatus.BUG),
            (ValueError("x"), AttemptStatus.BUG),
        ],
    )
    def test_an_error_ends_the_attempt_with_its_status(self, attempt, error, status):
        async def script(link, brief):
            await link.report(Observation(fact=Fact.NOTE))
            raise error

        with nobody() as endpoint:
            outcome = attempt(script, endpoint)

        assert (status, 1) == (outcome.status, len(outcome.observations))
        assert outcome.error

    def test_a_bug_says_where_it_is(self, attempt):
        async def script(link, brief):
            raise ValueError("oops")

        with nobody() as endpoint:
            outcome = attempt(script, endpoint)

        assert outcome.error.startswith("ValueError: oops (")
        assert "test_driver.py:" in outcome.error

    @pytest.mark.parametrize("seconds", [0, 5])
    def test_a_foreign_awaitable_is_a_bug(self, attempt, seconds):
        async def script(link, brief):
            await asyncio.sleep(seconds)

        with nobody() as endpoint:
            outcome = attempt(script, endpoint)

        assert AttemptStatus.BUG == outcome.status
        assert "which is no operation" in outcome.error

    def test_talking_without_a_connection_is_a_bug(self, attempt):
        async def script(link, brief):
            await link.send(b"HELO\r\n")

        with nobody() as endpoint:
            outcome = attempt(script, endpoint)

        assert AttemptStatus.BUG == outcome.status
        assert "there is no connection" in outcome.error

    def test_too_many_operations_meet_the_limit(self, attempt):
        async def script(link, brief):
            while True:
                await link.may_send()

        with nobody() as endpoint:
            outcome = attempt(script, endpoint, max_operations=50)

        assert (AttemptStatus.LIMIT, "more than 50 operations") == (outcome.status, outcome.error)

    def test_a_script_that_swallows_every_error_ends_all_the_same(self, attempt):
        async def script(link, brief):
            while True:
                try:
                    await link.connect()
                except errors.RelaywatchError:
                    await link.close()

        with nobody() as endpoint:
            outcome = attempt(script, endpoint, max_operations=50)

        assert AttemptStatus.LIMIT == outcome.status

    def test_a_script_that_ends_quietly_after_its_time_is_not_complete(self, attempt):
        async def script(link, brief):
            await link.connect()
            try:
                await link.read_line(limit=512)
            except errors.NetworkError:
                await link.report(Observation(fact=Fact.NOTE, detail="tidied up"))

        with serving(silent) as endpoint:
            outcome = attempt(script, endpoint, attempt_seconds=0.1)

        assert (AttemptStatus.TIMEOUT, "not done in 0.1 s") == (outcome.status, outcome.error)
        assert ["tidied up"] == [observation.detail for observation in outcome.observations]

    def test_a_script_that_will_not_be_closed_is_a_bug(self, attempt):
        async def script(link, brief):
            with suppress(GeneratorExit):
                while True:
                    with suppress(errors.LimitError):
                        await link.may_send()
            await link.may_send()

        with nobody() as endpoint:
            outcome = attempt(script, endpoint, max_operations=5)

        assert AttemptStatus.BUG == outcome.status
        assert "ignored GeneratorExit" in outcome.error

    def test_a_fault_of_the_surroundings_is_a_bug(self, attempt):
        class Broken(Run):
            def observed(self, observation):
                raise OSError("disk full")

        async def script(link, brief):
            await link.report(Observation(fact=Fact.NOTE))

        with nobody() as endpoint:
            outcome = attempt(script, endpoint, Broken())

        assert (AttemptStatus.BUG, 1) == (outcome.status, len(outcome.observations))
        assert outcome.error.startswith("OSError: disk full (")

    def test_so_is_a_fault_that_comes_late(self, attempt):
        class Broken(Run):
            def await_arrival(self, tokens):
                future = asyncio.get_running_loop().create_future()
                asyncio.get_running_loop().call_later(0.01, future.set_exception, OSError("sink gone"))
                return future

        async def script(link, brief):
            await link.await_arrival(Token("t0"))

        with nobody() as endpoint:
            outcome = attempt(script, endpoint, Broken())

        assert AttemptStatus.BUG == outcome.status
        assert outcome.error.startswith("OSError: sink gone (")

    @pytest.mark.parametrize("port", [0, 65_536, 70_000])
    def test_a_port_that_does_not_exist_is_a_bug(self, attempt, port):
        outcome = attempt(greet, Endpoint(ip_address("127.0.0.1"), port))

        assert AttemptStatus.BUG == outcome.status
        assert outcome.error.startswith(f"ValueError: no such port: {port} (")


class TestWaiting:
    def test_a_pause_does_not_use_up_the_attempt(self, attempt):
        async def script(link, brief):
            await link.pause(0.3)
            await link.pause(0)

        with nobody() as endpoint:
            outcome = attempt(script, endpoint, attempt_seconds=0.2)

        assert AttemptStatus.COMPLETED == outcome.status
        assert 0.3 <= outcome.seconds < 4

    def test_time_runs_on_after_a_pause(self, attempt):
        async def script(link, brief):
            await link.connect()
            await link.pause(0.2)
            await ops.Receive()

        with serving(silent) as endpoint:
            outcome = attempt(script, endpoint, attempt_seconds=0.2)

        assert AttemptStatus.TIMEOUT == outcome.status
        assert 0.4 <= outcome.seconds < 4

    def test_an_arrival_is_given_to_whoever_awaits_it(self, run):
        arrival = Arrival(token=Token("t1"), kind=ArrivalKind.MAIL, at=None)
        seen = []

        async def script(link, brief):
            seen.append(await link.await_arrival(Token("t0"), Token("t1")))
            seen.append(await link.await_arrival(Token("t1")))

        async def main():
            surroundings = Run(wait=5)
            with nobody() as endpoint:
                outcome = Engine(Limits(attempt_seconds=0.1)).attempt(
                    probe_of(script), brief_for(endpoint), surroundings
                )
            await asyncio.sleep(0.2)
            surroundings.board.note(arrival)
            return await outcome

        assert AttemptStatus.COMPLETED == run(main()).status
        assert [arrival, arrival] == seen

    def test_no_arrival_is_nothing(self, attempt):
        seen = []

        async def script(link, brief):
            seen.append(await link.await_arrival(Token("t0")))

        with nobody() as endpoint:
            outcome = attempt(script, endpoint, Run(wait=0.05))

        assert (AttemptStatus.COMPLETED, [None]) == (outcome.status, seen)

    def test_a_connection_that_ends_meanwhile_disturbs_no_wait(self, attempt):
        seen = []

        async def script(link, brief):
            await link.connect()
            await link.send(b"x")
            seen.append(await link.await_arrival(Token("t0")))

        def behave(connection, over):
            connection.recv(1)
            reset(connection)

        with serving(behave) as endpoint:
            outcome = attempt(script, endpoint)

        assert (AttemptStatus.COMPLETED, [None]) == (outcome.status, seen)
        assert outcome.seconds >= 0.2

    def test_leave_to_send_is_the_runs(self, attempt):
        answers = []

        async def script(link, brief):
            answers.extend([await link.may_send() for _ in range(3)])

        with nobody() as endpoint:
            attempt(script, endpoint, Run(allowance=2))

        assert [True, True, False] == answers


class TestInterruption:
    def test_what_was_observed_is_kept(self, run):
        async def main(endpoint):
            engine, surroundings = Engine(), Run()
            attempts = [
                engine.attempt(probe_of(wait_for_octets), brief_for(endpoint), surroundings) for _ in range(2)
            ]
            await until_observed(surroundings, 2)
            engine.interrupt()
            late = await engine.attempt(probe_of(wait_for_octets), brief_for(endpoint), Run())
            return [await attempts[0], late]

        with serving(silent) as endpoint:
            early, late = run(main(endpoint))

        assert (AttemptStatus.INTERRUPTED, 1) == (early.status, len(early.observations))
        assert (AttemptStatus.INTERRUPTED, 0) == (late.status, len(late.observations))
        assert "the run was told to stop" == early.error

    def test_an_interruption_from_within_waits_for_the_scripts_next_wish(self, run):
        async def script(link, brief):
            await link.report(Observation(fact=Fact.NOTE))
            await link.report(Observation(fact=Fact.NOTE))
            await link.connect()

        async def main():
            engine = Engine()
            surroundings = Run()
            surroundings.observed = lambda observation: engine.interrupt()
            with nobody() as endpoint:
                return await engine.attempt(probe_of(script), brief_for(endpoint), surroundings)

        outcome = run(main())
        assert (AttemptStatus.INTERRUPTED, 2) == (outcome.status, len(outcome.observations))

    def test_while_connecting(self, run):
        async def main(endpoint):
            engine = Engine()
            outcome = engine.attempt(probe_of(greet), brief_for(endpoint), Run())
            await asyncio.sleep(0.05)
            engine.interrupt()
            return await outcome

        with deaf() as endpoint:
            assert AttemptStatus.INTERRUPTED == run(main(endpoint)).status

    def test_a_cancelled_attempt_leaves_nothing_behind(self, run):
        ends = []

        def behave(connection, over):
            ends.append(connection.recv(100))

        async def main(endpoint):
            engine, surroundings = Engine(), Run()
            outcome = engine.attempt(probe_of(wait_for_octets), brief_for(endpoint), surroundings)
            await until_observed(surroundings, 1)
            outcome.cancel()
            await asyncio.sleep(0)
            return engine.live

        with serving(behave) as endpoint:
            assert 0 == run(main(endpoint))
        assert [b""] == ends


def test_many_attempts_at_once_end_each_in_its_own_way(run):
    def behave(connection, over):
        connection.sendall(b"220 hello\r\n")
        connection.recv(100)
        connection.sendall(b"221 bye\r\n")

    async def main(endpoint, nowhere):
        engine = Engine()
        places = [endpoint, nowhere] * 100
        return await asyncio.gather(
            *(engine.attempt(probe_of(greet), brief_for(place), Run()) for place in places)
        )

    with serving(behave) as endpoint, nobody() as nowhere:
        statuses = [outcome.status for outcome in run(main(endpoint, nowhere))]

    assert [AttemptStatus.COMPLETED, AttemptStatus.NO_LISTENER] * 100 == statuses
