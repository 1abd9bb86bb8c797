import asyncio
import threading
from ipaddress import ip_address
from itertools import pairwise

import pytest

from relaywatch.engine.driver import Engine
from relaywatch.model import errors
from relaywatch.model.evidence import AttemptStatus, Direction, Fact, Observation
from relaywatch.script import ops

from .conftest import Run, brief_for, probe_of
from .hostile import deaf, nobody, saying, serving, silent
from .scripts import greet


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
