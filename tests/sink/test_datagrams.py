"""UDP canaries over real sockets."""

import asyncio
import errno
import os

import pytest
from tests.sink.canaries import STRANGE_WORDS, WORDS, make_canaries, seen_from
from tests.sink.loopback import IPV4, IPV6, token, until

from relaywatch.model.evidence import ArrivalKind
from relaywatch.model.places import Endpoint, parse_address
from relaywatch.sink.datagrams import Turnstile
from relaywatch.sink.settings import Limits


class Asker(asyncio.DatagramProtocol):
    """Sends datagrams and keeps what comes back."""

    def __init__(self):
        self.heard = []

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, addr):
        self.heard.append(data)

    def error_received(self, exc):
        pass


async def ask(endpoint, *said, wait=0.3, local=None):
    """Say each as a datagram; gives all that came back in the time, or as soon as there are as many."""
    loop = asyncio.get_running_loop()
    _, asker = await loop.create_datagram_endpoint(
        Asker, remote_addr=(str(endpoint.address), endpoint.port), local_addr=local
    )
    for data in said:
        asker.transport.sendto(data)
    until_when = loop.time() + wait
    while loop.time() < until_when and len(asker.heard) < len(said):  # noqa: ASYNC110  a clock bounds it
        await asyncio.sleep(0.01)
    asker.transport.close()
    return asker.heard


@pytest.mark.parametrize("endpoint", [IPV4, IPV6], ids=["ipv4", "ipv6"])
def test_a_token_of_ours_is_noted_and_answered(run, tmp_path, endpoint):
    arrivals = []

    async def scene():
        async with make_canaries(arrivals, canary_udp=(endpoint,), journal=tmp_path) as sink:
            (where,) = sink.datagram_endpoints
            return await ask(where, WORDS.strip(), wait=5), where.port

    (heard,), port = run(scene())

    assert str(endpoint.address) == seen_from(heard)
    (arrival,) = arrivals
    assert (token(), ArrivalKind.UDP, port) == (arrival.token, arrival.kind, arrival.port)
    assert endpoint.address == arrival.came_from.address


@pytest.mark.parametrize(
    "said",
    [STRANGE_WORDS, b"", b"\0" * 60_000, token().encode(), b"x" * 512 + WORDS, b"relaywatch \xff", b"hello"],
)
def test_a_datagram_without_a_token_of_ours_gets_no_answer_at_all(run, said):
    async def scene():
        async with make_canaries() as sink:
            heard = await ask(sink.datagram_endpoints[0], said)
            return heard, sink.counters.arrivals

    assert ([], 0) == run(scene())


def test_an_answer_is_hardly_longer_than_what_was_asked(run):
    async def scene():
        async with make_canaries(canary_udp=(IPV6,)) as sink:
            (heard,) = await ask(sink.datagram_endpoints[0], WORDS.strip(), wait=5)
            return heard

    assert len(run(scene())) <= len(WORDS)


def test_what_cannot_be_written_down_is_not_answered(run, tmp_path, monkeypatch):
    def full_disk(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    async def scene():
        async with make_canaries(journal=tmp_path) as sink:
            monkeypatch.setattr(os, "fsync", full_disk)
            return await ask(sink.datagram_endpoints[0], WORDS)

    assert [] == run(scene())


def test_one_source_gets_so_many_answers_a_second_and_others_theirs(run):
    async def scene():
        limits = Limits(datagrams_per_source=5)
        async with make_canaries(limits=limits) as sink:
            where = sink.datagram_endpoints[0]
            flood = await ask(where, *([WORDS] * 60), wait=0.2)
            another = await ask(where, WORDS, wait=5, local=("127.0.0.2", 0))
            return len(flood), len(another), sink.counters.arrivals

    flood, another, arrivals = run(scene())

    assert 1 <= flood <= 10  # two seconds at most
    assert 1 == another
    assert arrivals <= 10


def test_datagrams_that_wait_for_the_disk_are_few(run, tmp_path, monkeypatch):
    monkeypatch.setattr("relaywatch.sink.datagrams._UNANSWERED", 3)
    real = os.fsync

    def slow_disk(descriptor):
        import time  # noqa: PLC0415

        time.sleep(0.2)
        real(descriptor)

    async def scene():
        async with make_canaries(journal=tmp_path) as sink:
            monkeypatch.setattr(os, "fsync", slow_disk)
            said = [f"relaywatch {token(number)}".encode() for number in range(20)]
            heard = await ask(sink.datagram_endpoints[0], *said, wait=1)
            await until(lambda: sink.counters.arrivals == len(heard))
            return len(heard)

    assert 3 == run(scene())


def test_a_sink_that_closes_while_it_answers_says_nothing_more(run, tmp_path):
    async def scene():
        async with make_canaries(journal=tmp_path) as sink:
            where = sink.datagram_endpoints[0]
            asking = asyncio.create_task(ask(where, WORDS, wait=1))
            await until(lambda: sink.counters.arrivals or asking.done())
        return await asking

    assert len(run(scene())) <= 1


def test_the_turnstile_counts_by_source_and_in_all():
    turnstile = Turnstile(Limits(datagrams=3, datagrams_per_source=2))
    here, there, beyond = (Endpoint(parse_address(f"192.0.2.{number}"), 1) for number in (1, 2, 3))

    assert [True, True, False] == [turnstile.lets(here, 10.0 + number / 10) for number in range(3)]
    assert turnstile.lets(there, 10.5)
    assert not turnstile.lets(beyond, 10.6)
    assert turnstile.lets(here, 11.0)


def test_one_ipv6_customer_is_one_source():
    turnstile = Turnstile(Limits(datagrams_per_source=1))
    first, second = (Endpoint(parse_address(f"2001:db8::{number}"), 1) for number in (1, 2))

    assert turnstile.lets(first, 0.5)
    assert not turnstile.lets(second, 0.5)
