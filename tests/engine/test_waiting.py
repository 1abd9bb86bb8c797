import asyncio

from relaywatch.engine.driver import Engine, Limits
from relaywatch.model.evidence import Arrival, ArrivalKind, AttemptStatus, Fact, Observation
from relaywatch.model.tokens import Token
from relaywatch.script import ops

from .conftest import Run, brief_for, probe_of
from .hostile import deaf, nobody, reset, serving, silent
from .scripts import greet, wait_for_octets


async def until_observed(surroundings, count):
    for _ in range(500):
        if len(surroundings.observed_so_far) >= count:
            return
        await asyncio.sleep(0.01)


def late(connection, over):
    """Greets after a while, as those do that let talkers wait."""
    over.wait(0.15)
    connection.sendall(b"220 patient.test\r\n")
    connection.recv(1)


async def come_again(link, _brief):
    for _ in range(4):
        await link.connect()
        await ops.Receive()
        await link.close()


class TestGreetings:
    def test_waiting_for_them_does_not_use_up_the_attempt(self, attempt):
        with serving(late) as endpoint:
            outcome = attempt(come_again, endpoint, attempt_seconds=0.4)

        assert (AttemptStatus.COMPLETED, "") == (outcome.status, outcome.error)
        assert 0.6 <= outcome.seconds < 4

    def test_but_only_up_to_a_limit(self, attempt):
        """Whoever lets everybody wait at every connection is a tarpit in the end."""
        with serving(late) as endpoint:
            outcome = attempt(come_again, endpoint, attempt_seconds=0.2, greeting_seconds=0.1)

        assert AttemptStatus.TARPIT == outcome.status
        assert outcome.seconds < 0.6

    def test_what_drips_after_the_greeting_is_the_attempt_s_own_time(self, attempt):
        async def script(link, _brief):
            await link.connect()
            while await ops.Receive():
                pass

        with serving(dripping) as endpoint:
            outcome = attempt(script, endpoint, attempt_seconds=0.3)

        assert AttemptStatus.TARPIT == outcome.status
        assert outcome.seconds < 2


def dripping(connection, over):
    while not over.wait(0.02):
        connection.sendall(b"2")


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
