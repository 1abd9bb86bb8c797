"""Ports of our own sink that a script has opened, and that never outlive its attempt."""

import asyncio
from ipaddress import ip_address

import pytest

from relaywatch.engine.driver import Engine
from relaywatch.model.evidence import AttemptStatus
from relaywatch.model.places import Endpoint, Family
from relaywatch.model.tokens import Token
from relaywatch.script import ops

from .conftest import Run, brief_for, probe_of
from .hostile import nobody

PORT = Endpoint(ip_address("192.0.2.9"), 40_000)
ONE, TWO = Token("one"), Token("two")


def opening(heard, *tokens):
    async def script(link, brief):
        heard.extend([await ops.OpenPort(token) for token in tokens])

    return script


class TestPorts:
    @pytest.mark.parametrize("port", [PORT, None])
    def test_what_the_sink_opens_is_told_and_closed_at_the_end(self, attempt, port):
        surroundings, heard = Run(ports={ONE: port}), []

        with nobody() as endpoint:
            outcome = attempt(opening(heard, ONE, ONE), endpoint, surroundings)

        assert (AttemptStatus.COMPLETED, [port, port]) == (outcome.status, heard)
        assert [("open", ONE, Family.IPV4)] * 2 + [("close", ONE)] == surroundings.port_calls

    def test_the_family_is_the_targets(self, attempt):
        surroundings = Run(ports={ONE: PORT})

        attempt(opening([], ONE), Endpoint(ip_address("::1"), 21), surroundings)

        assert ("open", ONE, Family.IPV6) == surroundings.port_calls[0]

    def test_a_sink_that_takes_its_time_is_waited_for(self, attempt):
        class Slow(Run):
            def open_port(self, token, family):
                future = super().open_port(token, family)
                asyncio.get_running_loop().call_later(0.1, future.set_result, PORT)
                return future

        heard = []
        with nobody() as endpoint:
            outcome = attempt(opening(heard, ONE), endpoint, Slow())

        assert (AttemptStatus.COMPLETED, [PORT]) == (outcome.status, heard)

    def test_but_not_for_ever(self, attempt):
        surroundings, heard = Run(), []

        with nobody() as endpoint:
            outcome = attempt(opening(heard, ONE), endpoint, surroundings, port_seconds=0.1)

        assert (AttemptStatus.COMPLETED, [None]) == (outcome.status, heard)
        assert b"our sink opened no port in 0.1 s" == outcome.transcript[-1].data
        assert ("close", ONE) == surroundings.port_calls[-1]

    def test_too_many_meet_a_limit_and_all_are_closed(self, attempt):
        tokens = [Token(f"t{number}") for number in range(20)]
        surroundings, heard = Run(ports=dict.fromkeys(tokens, PORT)), []

        with nobody() as endpoint:
            outcome = attempt(opening(heard, *tokens), endpoint, surroundings, max_ports=3)

        assert (AttemptStatus.LIMIT, "more than 3 ports of our sink") == (outcome.status, outcome.error)
        closed = {token for what, token, *_ in surroundings.port_calls if what == "close"}
        assert set(tokens[:3]) == closed

    @pytest.mark.parametrize("way", ["interrupt", "cancel"])
    def test_an_attempt_that_is_stopped_closes_its_ports(self, run, way):
        surroundings = Run(ports={ONE: PORT})

        async def main(endpoint):
            engine = Engine()
            outcome = engine.attempt(probe_of(opening([], ONE, TWO)), brief_for(endpoint), surroundings)
            engine.interrupt() if way == "interrupt" else outcome.cancel()
            await asyncio.sleep(0.05)
            assert outcome.cancelled() or outcome.result().status is AttemptStatus.INTERRUPTED
            assert 0 == engine.live

        with nobody() as endpoint:
            run(main(endpoint))

        assert {("close", ONE), ("close", TWO)} == set(surroundings.port_calls[2:])

    def test_a_fault_in_closing_is_a_bug_and_the_attempt_comes_back(self, attempt):
        class Broken(Run):
            def close_port(self, token):
                raise OSError("no such port")

        with nobody() as endpoint:
            outcome = attempt(opening([], ONE), endpoint, Broken(ports={ONE: PORT}))

        assert AttemptStatus.BUG == outcome.status
        assert outcome.error.startswith("OSError: no such port (")

    def test_a_fault_in_opening_is_a_bug(self, attempt):
        class Broken(Run):
            def open_port(self, token, family):
                future = super().open_port(token, family)
                asyncio.get_running_loop().call_later(0.01, future.set_exception, OSError("sink gone"))
                return future

        with nobody() as endpoint:
            outcome = attempt(opening([], ONE), endpoint, Broken())

        assert AttemptStatus.BUG == outcome.status
        assert outcome.error.startswith("OSError: sink gone (")
