import asyncio
import gc
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

import pytest

from relaywatch.engine.arrivals import ArrivalBoard
from relaywatch.engine.driver import Engine, Limits
from relaywatch.model.evidence import Attempt, Observation, Weakness
from relaywatch.model.places import Door, Endpoint, Transport
from relaywatch.model.tokens import Mint
from relaywatch.script.brief import Brief, SinkNames
from relaywatch.script.probe import Probe

from .ssh_servers import asking


@dataclass
class Run:
    """The surroundings of an attempt: a run that has a board, an allowance and a pace."""

    allowance: int = 1
    delay: float = 0.0
    wait: float = 0.2
    observed_so_far: list[Observation] = field(default_factory=list)
    admitted: list = field(default_factory=list)
    permitted: tuple = ()
    asked_for: list = field(default_factory=list)
    canaries: tuple = ()
    ports: dict = field(default_factory=dict)
    port_calls: list = field(default_factory=list)
    board: ArrivalBoard = field(default_factory=ArrivalBoard)

    def may_send(self):
        self.allowance -= 1
        return self.allowance >= 0

    def await_arrival(self, tokens):
        return self.board.expect(tokens, self.wait)

    def observed(self, observation):
        self.observed_so_far.append(observation)

    def admit(self, address):
        self.admitted.append(address)
        return self.delay

    def permits(self, address):
        self.asked_for.append(address)
        return address in self.permitted

    def is_canary(self, endpoint):
        return endpoint in self.canaries

    def open_port(self, token, family):
        self.port_calls.append(("open", token, family))
        future = asyncio.get_running_loop().create_future()
        if token in self.ports:
            future.set_result(self.ports[token])
        return future

    def close_port(self, token):
        self.port_calls.append(("close", token))


def probe_of(script) -> Probe:
    return Probe(name="trial", weakness=Weakness.OPEN_RELAY, default_doors=(), references=(), script=script)


def brief_for(endpoint: Endpoint) -> Brief:
    door = Door(endpoint.port, Transport.PLAIN, endpoint.family)
    mint = Mint(b"key", b"seed")
    return Brief(endpoint=endpoint, door=door, mint=mint, sink=SinkNames(domain="sink.test"))


def open_sockets() -> set[str]:
    """The sockets that this process holds, as Linux tells them."""
    held = set()
    for descriptor in Path("/proc/self/fd").glob("*"):
        with suppress(OSError):
            held.add(str(descriptor.readlink()))
    return {name for name in held if name.startswith("socket:")}


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request):
    """Runs a coroutine on either kind of loop; a socket that is left open fails the test."""
    factory = asyncio.new_event_loop
    if request.param == "uvloop":
        factory = pytest.importorskip("uvloop").new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(asyncio.sleep(0))
        before = open_sockets()
        yield runner.run
        runner.run(asyncio.sleep(0))
        after = open_sockets()
    gc.collect()
    assert after <= before


@pytest.fixture
def attempt(run):
    """Runs one script against an endpoint."""

    def attempt(script, endpoint, surroundings=None, *, sources=(), link=None, **limits) -> Attempt:
        async def main() -> Attempt:
            engine = Engine(Limits(**limits), sources=sources)
            running = engine.attempt(probe_of(script), brief_for(endpoint), surroundings or Run(), link=link)
            outcome = await running
            assert engine.live == 0
            return outcome

        return run(main())

    return attempt


@pytest.fixture
def ask_ssh(attempt):
    """Asks an endpoint to forward to a canary by SSH: the answer, if there was one, and the attempt."""

    def ask(endpoint, to=None, within=8.0, **options):
        answers = []
        place = to or Endpoint(ip_address("127.0.0.1"), 9)
        outcome = attempt(asking(answers, place, within), endpoint, Run(canaries=(place,)), **options)
        return (answers[0] if answers else None), outcome

    return ask
