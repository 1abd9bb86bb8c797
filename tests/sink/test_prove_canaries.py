"""The proof of the canaries, against sinks and against whatever else may listen there."""

import asyncio
import contextlib
from dataclasses import replace

import pytest
from tests.sink.canaries import make_canaries
from tests.sink.loopback import ANOTHER_KEY, IPV4, IPV6, KEY, make_sink, settings, token

from relaywatch.model.canary import canary_answer
from relaywatch.model.places import Endpoint, parse_address
from relaywatch.script.brief import CanaryPlaces
from relaywatch.sink.prove_canaries import CanaryPatience, prove_canaries
from relaywatch.sink.server import Sink

HERE, HERE_6 = IPV4.address, IPV6.address
SHORT = CanaryPatience(connect=2, answer=0.3, arrive=0.3)


class Board:
    """Waits for arrivals."""

    def __init__(self):
        self.arrivals = {}
        self.came = asyncio.Event()

    def note(self, arrival):
        self.arrivals[arrival.token] = arrival
        self.came.set()

    async def await_token(self, wanted):
        while wanted not in self.arrivals:
            self.came.clear()
            await self.came.wait()
        return self.arrivals[wanted]


async def prove(places, board=None, patience=SHORT):
    return await prove_canaries(places, KEY, token(), (board or Board()).await_token, patience=patience)


def sink_on(board, **changes):
    return Sink(settings(canary_listen=(IPV4,), **changes), KEY, on_arrival=board.note)


@pytest.mark.parametrize("listen", [(IPV4,), (IPV6,)], ids=["ipv4", "ipv6"])
def test_a_canary_that_answers_is_proven(run, listen):
    async def scene():
        board = Board()
        async with sink_on(board) as sink:
            await sink.listen_canaries_at(listen)
            where = sink.canary_endpoints[-1]
            places = sink.canary_places(where.address, name="sink.test")
            return await prove(places, board), places, where

    proof, places, where = run(scene())

    assert proof.is_proven
    assert (places.addresses, "sink.test", "") == (proof.places.addresses, proof.places.name, proof.detail)
    assert where.address == proof.endpoint.address
    assert (where.address,) == proof.places.seen_from


def test_an_address_counts_by_any_of_its_ports(run):
    async def scene():
        board = Board()
        async with sink_on(board) as sink:
            port = sink.canary_endpoints[0].port
            dead = sink.reserve_dead_port(HERE)
            places = CanaryPlaces(addresses=(HERE,), ports=(dead, port))
            return await prove(places, board), places, port

    proof, places, port = run(scene())

    assert replace(places, seen_from=(HERE,)) == proof.places
    assert Endpoint(HERE, port) == proof.endpoint


@pytest.mark.parametrize("catches", ["relaywatch", "GET"])
def test_what_catches_our_connections_gives_itself_away_by_its_address(run, catches):
    """A transparent proxy at one port, for one protocol: whatever else comes there it lets pass as it is."""

    async def scene():
        board = Board()
        async with sink_on(board) as sink:
            canary = sink.canary_endpoints[0]

            async def pass_on(reader, writer):
                said = await reader.read(4096)
                source = "127.0.0.2" if said.startswith(catches.encode()) else str(HERE)
                there = await asyncio.open_connection(str(HERE), canary.port, local_addr=(source, 0))
                there[1].write(said)
                writer.write(await there[0].read(4096))
                writer.close()
                there[1].close()

            async with await asyncio.start_server(pass_on, str(HERE), 0) as interceptor:
                caught = interceptor.sockets[0].getsockname()[1]
                proof = await prove(CanaryPlaces(addresses=(HERE,), ports=(canary.port, caught)), board)
                return proof.places.seen_from

    assert (HERE, parse_address("127.0.0.2")) == run(scene())


def test_an_address_without_an_answer_is_left_out_and_told(run):
    async def scene():
        board = Board()
        async with sink_on(board) as sink:
            port = sink.canary_endpoints[0].port
            return await prove(
                CanaryPlaces(addresses=(HERE_6, HERE), ports=(port,), name="sink.test"), board
            ), port

    proof, port = run(scene())

    assert proof.is_proven
    assert ((HERE,), None) == (proof.places.addresses, proof.places.name)
    assert f"can't connect to our canary at [::1]:{port}: " in proof.detail


@pytest.mark.parametrize(
    ("places", "detail"),
    [
        (CanaryPlaces(), "no address of our canaries is known"),
        (CanaryPlaces(addresses=(HERE,)), "no port of our canaries at 127.0.0.1 is known"),
    ],
)
def test_nothing_to_ask_is_no_proof(run, places, detail):
    proof = run(prove_in_loop(places))

    assert not proof.is_proven
    assert (CanaryPlaces(), detail) == (proof.places, proof.detail)


async def prove_in_loop(places):
    return await prove(places)


def test_a_refused_connection_is_told_with_how_many_more(run):
    async def scene():
        async with make_sink() as sink:
            ports = tuple(sink.reserve_dead_port(HERE, *more) for more in ((), (HERE_6,)))
            return await prove(CanaryPlaces(addresses=(HERE,), ports=ports)), ports

    proof, ports = run(scene())

    assert not proof.is_proven
    assert f"can't connect to our canary at 127.0.0.1:{ports[0]}: " in proof.detail
    assert proof.detail.endswith("and at 1 more of its ports no better")


def test_an_address_that_answers_nothing_is_told(run, monkeypatch):
    async def never(*arguments, **options):
        await asyncio.sleep(60)

    monkeypatch.setattr(asyncio, "open_connection", never)
    places = CanaryPlaces(addresses=(parse_address("192.0.2.1"),), ports=(443,))

    proof = run(prove_in_loop_quickly(places))

    assert "can't connect to our canary at 192.0.2.1:443: no answer" == proof.detail


async def prove_in_loop_quickly(places):
    return await prove(places, patience=CanaryPatience(connect=0.1))


def test_a_sink_with_another_key_is_told(run):
    async def scene():
        async with Sink(settings(canary_listen=(IPV4,)), ANOTHER_KEY) as sink:
            return await prove(sink.canary_places(HERE))

    proof = run(scene())

    assert not proof.is_proven
    assert "doesn't answer as our canary does; has it our key?" in proof.detail


@pytest.mark.parametrize(
    ("says", "detail"),
    [
        (b"220 mail.test ESMTP\r\n", "something else answers ('220 mail.test ESMTP\\r\\n')"),
        (b"\xff\x1b[2J", "something else answers ('\\\\xff\\x1b[2J')"),
        (canary_answer(KEY, token(1), HERE).encode(), "something else answers"),
        (b"x" * 100_000, "something else answers"),
        (b"", "doesn't answer as our canary does"),
    ],
)
@pytest.mark.parametrize("stays", [False, True])
def test_something_else_is_told_and_not_believed(run, says, detail, stays):
    async def scene():
        has_ended = asyncio.Event()

        async def answer(reader, writer):
            writer.write(says)
            with contextlib.suppress(ConnectionError):
                await writer.drain()
                if stays:
                    await reader.read()  # until whoever asks has enough
            writer.close()
            has_ended.set()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        async with server:
            proof = await prove(CanaryPlaces(addresses=(HERE,), ports=(server.sockets[0].getsockname()[1],)))
            await has_ended.wait()
            return proof

    proof = run(scene())

    assert not proof.is_proven
    assert detail in proof.detail


def test_an_answer_of_which_we_hear_nothing_is_no_proof(run):
    async def scene():
        async with make_canaries() as sink:  # it tells another
            return await prove(sink.canary_places(HERE))

    proof = run(scene())

    assert not proof.is_proven
    assert "answered, but we didn't hear of it within 0.3 s" in proof.detail
