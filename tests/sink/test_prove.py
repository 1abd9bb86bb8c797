import asyncio
from ipaddress import ip_address

import pytest
from tests.ports import free_port
from tests.sink.loopback import ANOTHER_KEY, IPV4, IPV6, make_sink, settings, token

from relaywatch.sink.prove import ProofFailure, ProofRequest, prove_sink
from relaywatch.sink.server import Sink


class Board:
    """Notes arrivals and lets one wait for a token."""

    def __init__(self):
        self._futures = {}

    def note(self, arrival):
        self._future(arrival.token).set_result(arrival)

    async def wait(self, wanted):
        return await self._future(wanted)

    def _future(self, wanted):
        loop = asyncio.get_running_loop()
        return self._futures.setdefault(wanted, loop.create_future())


def resolver(*exchangers):
    asked = []

    async def resolve(domain):
        asked.append(domain)
        return [(host, [ip_address(text) for text in addresses]) for host, addresses in exchangers]

    resolve.asked = asked
    return resolve


def request(port, **changes):
    return ProofRequest(
        **{"domain": "sink.test", "token": token(), "port": port, "arrive_within": 5.0} | changes
    )


def test_a_sink_is_proven_by_its_public_name(run):
    resolve = resolver(("mx.sink.test", ["127.0.0.1"]))

    async def scene():
        board = Board()
        async with Sink(settings(), b"k" * 32, on_arrival=board.note) as sink:
            return await prove_sink(request(sink.addresses[0].port), resolve, board.wait)

    proof = run(scene())

    assert proof.is_proven
    assert None is proof.failure
    assert (token(), "") == (proof.arrival.token, proof.arrival.reverse_path)
    assert "relaywatch proves its own sink" == proof.arrival.subject
    assert ("mx.sink.test", "127.0.0.1") == (proof.host, str(proof.endpoint.address))
    assert ["sink.test"] == resolve.asked


@pytest.mark.parametrize(("endpoint", "literal"), [(IPV4, "[127.0.0.1]"), (IPV6, "[IPv6:::1]")])
def test_an_address_literal_asks_no_resolver(run, endpoint, literal):
    resolve = resolver()

    async def scene():
        board = Board()
        async with Sink(settings(listen=(endpoint,)), b"k" * 32, on_arrival=board.note) as sink:
            return await prove_sink(request(sink.addresses[0].port, domain=literal), resolve, board.wait)

    assert run(scene()).is_proven
    assert [] == resolve.asked


def test_the_next_address_is_tried_as_a_relay_would(run):
    resolve = resolver(("mx1.sink.test", ["127.0.0.9"]), ("mx2.sink.test", ["::1", "127.0.0.1"]))

    async def scene():
        board = Board()
        async with Sink(settings(), b"k" * 32, on_arrival=board.note) as sink:
            return await prove_sink(request(sink.addresses[0].port), resolve, board.wait)

    proof = run(scene())

    assert ("mx2.sink.test", "127.0.0.1") == (proof.host, str(proof.endpoint.address))


def test_a_domain_without_exchanger_is_unresolved(run):
    proof = run(prove_sink(request(25), resolver(), Board().wait))

    assert ProofFailure.UNRESOLVED == proof.failure
    assert "sink.test has no mail exchanger" in proof.detail
    assert not proof.is_proven


def test_a_closed_port_is_no_connection(run):
    port = free_port()

    proof = run(prove_sink(request(port), resolver(("mx.sink.test", ["127.0.0.1"])), Board().wait))

    assert ProofFailure.NO_CONNECTION == proof.failure
    assert f"can't connect to mx.sink.test at 127.0.0.1:{port}" in proof.detail


def test_a_sink_with_another_key_refuses(run):
    async def scene():
        async with Sink(settings(), ANOTHER_KEY) as sink:
            return await prove_sink(
                request(sink.addresses[0].port), resolver(("mx.sink.test", ["127.0.0.1"])), Board().wait
            )

    proof = run(scene())

    assert ProofFailure.REFUSED == proof.failure
    assert "550 5.1.1" in proof.detail
    assert "has it our key?" in proof.detail


def test_another_sink_with_our_key_took_the_message(run):
    async def scene():
        async with make_sink() as elsewhere:
            return await prove_sink(
                request(elsewhere.addresses[0].port, arrive_within=0.1),
                resolver(("mx.sink.test", ["127.0.0.1"])),
                Board().wait,
            )

    proof = run(scene())

    assert ProofFailure.NOT_ARRIVED == proof.failure
    assert "didn't arrive within 0.1 s" in proof.detail


STRANGERS = {
    "silence": b"",
    "garbage": b"SSH-2.0-OpenSSH_9.2\r\n",
    "refusal": b"554 5.7.1 go away\r\n",
    "endless-reply": b"220-x\r\n" * 1000,
    "endless-line": b"220 " + b"x" * 1_000_000,
    "half-a-line": b"220 mx",
}


@pytest.mark.parametrize("name", STRANGERS)
def test_whoever_answers_in_our_stead_ends_in_words_and_in_time(run, name):
    async def answer(reader, writer):
        writer.write(STRANGERS[name])
        await reader.read()
        writer.close()

    async def scene():
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        proof = await prove_sink(
            request(port, send_within=0.3), resolver(("mx.sink.test", ["127.0.0.1"])), Board().wait
        )
        server.close()
        await asyncio.sleep(0.05)
        return proof

    proof = run(scene())

    assert ProofFailure.REFUSED == proof.failure
    assert "is that host our sink" in proof.detail


def test_the_message_says_who_sent_it_and_that_it_is_automatic(run, tmp_path):
    async def scene():
        board = Board()
        async with Sink(settings(journal=tmp_path), b"k" * 32, on_arrival=board.note) as sink:
            await prove_sink(
                request(
                    sink.addresses[0].port,
                    contact="abuse@sink.test",
                    date="Tue, 24 Nov 2026 02:10:00 +0000",
                    ehlo_name="checker.test",
                    source_address="127.0.0.3",
                ),
                resolver(("mx.sink.test", ["127.0.0.1"])),
                board.wait,
            )
            return next(sink.journal.read_all())

    record = run(scene())

    fields = dict(record.fields)
    assert "auto-generated" == fields["Auto-Submitted"]
    assert "Tue, 24 Nov 2026 02:10:00 +0000" == fields["Date"]
    assert token() == record.header_token
    assert ("checker.test", "127.0.0.3") == (record.helo, record.source_address)
