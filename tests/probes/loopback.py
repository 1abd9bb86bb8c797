"""Probes against real servers on loopback: the engine, and our own sink with all its canaries."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace

from tests.engine.conftest import Run
from tests.playbook import KEY, PROXY_BRIEF

from relaywatch.engine.arrivals import ArrivalBoard
from relaywatch.engine.driver import Engine, Limits
from relaywatch.model.evidence import Fact, Weakness
from relaywatch.model.places import Door, Endpoint, Family, Transport, parse_address
from relaywatch.rules.judge import judge
from relaywatch.script.brief import Brief, Patience, SinkNames
from relaywatch.sink.server import Sink
from relaywatch.sink.settings import SinkSettings

HERE = parse_address("127.0.0.1")
NAME = "canary.sink.test"
PATIENCE = Patience(tunnel=5.0, canary=1.0, reply=5.0)


class SinkRun(Run):
    """The surroundings of an attempt whose sink is in this process."""

    sink: Sink

    def open_port(self, token, family):
        assert family is Family.IPV4
        return asyncio.ensure_future(self.sink.open_port(token, HERE))

    def close_port(self, token):
        self.sink.close_port(token)


class World:
    """A sink on loopback, and probes that are led to it through whatever stands at a port."""

    def __init__(self, sink: Sink, board: ArrivalBoard) -> None:
        self.sink, self.board = sink, board
        sink.reserve_dead_port(HERE)
        self.places = sink.canary_places(HERE, name=NAME)
        self.attempts = []
        self.arrivals = []

    async def ask(self, probe, port, transport=Transport.PLAIN, **places):
        """Run the probe against the port; the facts of its cases, by name."""
        run = SinkRun(board=self.board)
        run.sink = self.sink
        brief = Brief(
            endpoint=Endpoint(HERE, port),
            door=Door(port, transport, Family.IPV4),
            mint=PROXY_BRIEF.mint,
            sink=SinkNames(domain="sink.test"),
            canaries=replace(self.places, **places),
            patience=PATIENCE,
        )
        engine = Engine(Limits(attempt_seconds=30))
        attempt = await engine.attempt(probe, brief, run)
        self.attempts.append(attempt)
        tokens = [seen.token for seen in attempt.observations if seen.token]
        self.arrivals += self.board.arrivals(dict.fromkeys(tokens))
        assert "completed" == attempt.status, attempt.error
        return {
            seen.case: seen.fact for seen in attempt.observations if seen.case and seen.fact is not Fact.NOTE
        }

    @property
    def verdict(self):
        """What all attempts together come to."""
        return judge(Weakness.OPEN_PROXY, self.attempts, self.arrivals).verdict


@asynccontextmanager
async def world(*canaries):
    """The world; canaries wait at these endpoints too."""
    board = ArrivalBoard()
    settings = SinkSettings(
        domain="sink.test", listen=(Endpoint(HERE, 0),), canary_listen=(Endpoint(HERE, 0), *canaries)
    )
    async with asyncio.timeout(60), Sink(settings, KEY, on_arrival=board.note) as sink:
        yield World(sink, board)


@asynccontextmanager
async def serving(talk, *, port=0, context=None):
    """A server that talks so to everybody; its port. Whatever breaks off a conversation is nobody's business."""
    conversations = set()

    async def accept(reader, writer):
        conversations.add(asyncio.current_task())
        try:
            await talk(reader, writer)
        except (OSError, EOFError):
            pass
        finally:
            writer.close()
            conversations.discard(asyncio.current_task())

    server = await asyncio.start_server(accept, "127.0.0.1", port, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for conversation in tuple(conversations):
            conversation.cancel()
        await asyncio.gather(*conversations, return_exceptions=True)


async def carry(reader, writer):
    """Carry octets one way until they end."""
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
