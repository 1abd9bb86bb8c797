"""Times the driver alone: trivial attempts against a trivial server on loopback.

    python bench/driver.py [--attempts 2000] [--at-once 512] [--repeats 3] [--loop uvloop|asyncio]

The server is a process of its own. One attempt: connect, greeting, QUIT, reply. Prints targets a second,
the client's CPU seconds, and how they ended.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import time
from collections import Counter
from ipaddress import ip_address
from multiprocessing.connection import Connection

from relaywatch.engine.driver import Engine
from relaywatch.engine.loop import new_event_loop
from relaywatch.model.evidence import Arrival, Observation, Weakness
from relaywatch.model.places import Address, Door, Endpoint, Family, Transport
from relaywatch.model.tokens import Mint, Token
from relaywatch.script.brief import Brief, SinkNames
from relaywatch.script.link import Link
from relaywatch.script.probe import Probe


class _Server(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        transport.write(b"220 bench.test ESMTP\r\n")  # type: ignore[attr-defined]

    def data_received(self, _data: bytes) -> None:
        self._transport.write(b"221 2.0.0 Bye\r\n")  # type: ignore[attr-defined]


def serve(ready: Connection) -> None:
    """Greet whoever comes, and answer whatever is said with 221."""

    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(_Server, "127.0.0.1", 0, backlog=4096)
        ready.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(main())


class Free:
    """Surroundings that hold nothing up."""

    def may_send(self) -> bool:
        """Never asked here."""
        return True

    def await_arrival(self, tokens: tuple[Token, ...]) -> asyncio.Future[Arrival | None]:  # noqa: ARG002
        """Nothing arrives here."""
        future: asyncio.Future[Arrival | None] = asyncio.get_running_loop().create_future()
        future.set_result(None)
        return future

    def observed(self, observation: Observation) -> None:
        """Nobody watches."""

    def admit(self, address: Address) -> float:  # noqa: ARG002
        """At once."""
        return 0.0

    def permits(self, address: Address) -> bool:  # noqa: ARG002
        """Nothing is announced here."""
        return False

    def is_canary(self, endpoint: Endpoint) -> bool:  # noqa: ARG002
        """There is no sink here."""
        return False

    def open_port(self, token: Token, family: Family) -> asyncio.Future[Endpoint | None]:  # noqa: ARG002
        """There is no sink here."""
        future: asyncio.Future[Endpoint | None] = asyncio.get_running_loop().create_future()
        future.set_result(None)
        return future

    def close_port(self, token: Token) -> None:
        """Nothing is open here."""


async def script(link: Link, brief: Brief) -> None:  # noqa: ARG001
    """The least that is a dialogue."""
    await link.connect()
    await link.read_line(limit=512, within=10)
    await link.send(b"QUIT\r\n")
    await link.read_line(limit=512, within=10)
    await link.close()


PROBE = Probe(name="bench", weakness=Weakness.OPEN_RELAY, default_doors=(), references=(), script=script)


async def measure(port: int, attempts: int, at_once: int) -> Counter[str]:
    """Run the attempts, so many at once, without a task for any of them."""
    engine, free = Engine(), Free()
    statuses: Counter[str] = Counter()
    done = asyncio.get_running_loop().create_future()
    left = iter(range(attempts))
    endpoint = Endpoint(ip_address("127.0.0.1"), port)

    def start_one() -> None:
        if next(left, None) is None:
            return
        brief = Brief(
            endpoint=endpoint,
            door=Door(port, Transport.PLAIN, Family.IPV4),
            mint=Mint(b"key", b"seed"),
            sink=SinkNames(domain="sink.test"),
        )
        engine.attempt(PROBE, brief, free).add_done_callback(ended)

    def ended(outcome: asyncio.Future) -> None:  # type: ignore[type-arg]
        statuses[outcome.result().status] += 1
        start_one()
        if statuses.total() == attempts:
            done.set_result(None)

    for _ in range(min(at_once, attempts)):
        start_one()
    await done
    return statuses


def main() -> None:
    """Start the server, run the attempts, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--attempts", type=int, default=2000)
    parser.add_argument("--at-once", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--loop", choices=["uvloop", "asyncio"], default="uvloop")
    options = parser.parse_args()
    factory = new_event_loop if options.loop == "uvloop" else asyncio.new_event_loop
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,), daemon=True)
    server.start()
    port = ours.recv()
    for _ in range(options.repeats):
        with asyncio.Runner(loop_factory=factory) as runner:
            wall, cpu = time.perf_counter(), time.process_time()
            statuses = runner.run(measure(port, options.attempts, options.at_once))
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        rate, each = options.attempts / wall, cpu / options.attempts * 1000
        print(f"{options.loop}: {rate:,.0f} targets/s, {each:.3f} CPU s/1,000, {dict(statuses)}")
    server.terminate()


if __name__ == "__main__":
    main()
