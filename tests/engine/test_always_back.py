"""An attempt always comes back, and leaves nothing: whatever its script asks for and its peers do."""

import asyncio
import random
import socket
import threading
from contextlib import contextmanager, suppress
from ipaddress import ip_address

import pytest

from relaywatch.engine.driver import Engine, Limits
from relaywatch.model import errors
from relaywatch.model.evidence import Attempt, AttemptStatus
from relaywatch.model.places import Endpoint
from relaywatch.model.tokens import Token
from relaywatch.script import ops

from .conftest import Run, brief_for, probe_of
from .hostile import reset, serving_each

LOOPBACK = ip_address("127.0.0.1")
CANARY = Endpoint(LOOPBACK, 9)
PERMITTED = ip_address("127.0.0.2")


def connected(seed):
    """A behaviour that speaks, floods, garbles, hangs up and resets as chance has it."""

    def behave(connection, over):
        chance = random.Random(f"{seed} {connection.getpeername()}")
        moods = [
            lambda: connection.sendall(chance.randbytes(chance.choice([1, 100, 300_000]))),
            lambda: connection.sendall(b"SSH-2.0-x\r\n"),
            lambda: (connection.settimeout(0.1), connection.recv(1000)),
            lambda: connection.shutdown(socket.SHUT_WR),
            lambda: reset(connection),
            lambda: over.wait(0.05),
        ]
        for _ in range(chance.randrange(6)):
            chance.choice(moods)()

    return behave


def answer(sock, over, chance):
    """Answer datagrams with none, one or far too many."""
    sock.settimeout(0.05)
    while not over.is_set():
        with suppress(OSError):
            _, sender = sock.recvfrom(65536)
            for _ in range(chance.choice([0, 1, 1, 200])):
                sock.sendto(chance.randbytes(chance.choice([0, 10, 9000])), sender)


@contextmanager
def moody(seed):
    """A TCP and a UDP server at one port; where the seed says so, ICMP says that nobody listens at the second."""
    over = threading.Event()
    with (
        serving_each(connected(seed)) as endpoint,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
    ):
        if seed % 4:
            sock.bind((str(endpoint.address), endpoint.port))
        thread = threading.Thread(target=answer, args=(sock, over, random.Random(seed)))
        thread.start()
        yield endpoint
        over.set()
        thread.join(10)


def any_operation(chance, endpoint):
    channel = chance.randrange(3)
    at = chance.choice([None, None, endpoint, Endpoint(PERMITTED, 9), Endpoint(ip_address("0.0.0.0"), 25)])
    within = chance.choice([0, 0.01, 0.05])
    return chance.choice(
        [
            lambda: ops.Connect(channel=channel, at=at, carrier=ops.Carrier.TCP, within=0.2),
            lambda: ops.Connect(channel=channel, at=at, carrier=ops.Carrier.UDP),
            lambda: ops.Connect(channel=channel, source=ip_address("127.0.0.7")),
            lambda: ops.Send(chance.randbytes(chance.choice([0, 10, 70_000])), channel),
            lambda: ops.Send(b"hello", channel),
            lambda: ops.Receive(within=within, channel=channel),
            lambda: ops.ReceiveDatagram(within, channel),
            lambda: ops.Peek(channel),
            lambda: ops.StartTLS("a.test", ("h2",), channel),
            lambda: ops.Close(channel),
            lambda: ops.Pause(within),
            ops.Now,
            ops.MaySend,
            lambda: ops.OpenPort(Token(f"t{channel}")),
            lambda: ops.AwaitArrival((Token("t0"),)),
            lambda: ops.ForwardBySSH(username="x", to=CANARY, words=b"w", within=within),
        ]
    )()


@pytest.mark.parametrize("seed", range(20))
def test_an_attempt_always_comes_back(run, seed):
    chance = random.Random(seed)

    async def script(link, brief):
        for _ in range(chance.randrange(60)):
            operation = any_operation(chance, brief.endpoint)
            if chance.random() < 0.02:
                await operation
            with suppress(errors.RelaywatchError):
                await operation

    async def main(endpoint):
        limits = Limits(tls_seconds=0.1, send_seconds=0.1, port_seconds=0.05, attempt_seconds=5)
        engine = Engine(limits)
        surroundings = Run(wait=0.01, permitted=(PERMITTED,), canaries=(CANARY,))
        outcome = engine.attempt(probe_of(script), brief_for(endpoint), surroundings)
        if seed % 7 == 0:
            asyncio.get_running_loop().call_later(0.2, engine.interrupt)
        attempt = await asyncio.wait_for(outcome, 10)
        await asyncio.sleep(0.05)  # what was cancelled goes in its own turn
        opened = {token for what, token, *_ in surroundings.port_calls if what == "open"}
        closed = [token for what, token, *_ in surroundings.port_calls if what == "close"]
        assert opened == set(closed)
        assert len(opened) == len(closed)
        return attempt, engine.live

    with moody(seed) as endpoint:
        attempt, live = run(main(endpoint))

    assert isinstance(attempt, Attempt)
    assert 0 == live
    assert attempt.seconds < 8
    # A script that lets a fault of its own pass is the only one to end as a fault.
    assert attempt.status is not AttemptStatus.BUG or "LocalProtocolError" in attempt.error
