import asyncio
from contextlib import suppress
from ipaddress import ip_address

import pytest

from relaywatch.model import errors
from relaywatch.model.evidence import AttemptStatus, Fact, Observation
from relaywatch.model.places import Endpoint
from relaywatch.model.tokens import Token

from .conftest import Run
from .hostile import nobody, serving, silent
from .scripts import greet


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
        assert "test_bad_scripts.py:" in outcome.error

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
