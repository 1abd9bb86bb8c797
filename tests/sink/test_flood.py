"""Floods on loopback: memory stays flat, strangers leave nothing, our own mail still arrives."""

import asyncio
import gc
import sys
import time
from pathlib import Path

import pytest
from tests.sink.loopback import Peer, connect, deliver_async, make_sink, token, until

from relaywatch.sink.settings import Limits

FLOOD = 5000
ALLOWED_GROWTH = 16 * 1024 * 1024
UNKNOWN = b"EHLO spam.test\r\nMAIL FROM:<s@spam.test>\r\nRCPT TO:<user@sink.test>\r\nQUIT\r\n"
OURS = (
    b"EHLO spam.test\r\nMAIL FROM:<s@spam.test>\r\nRCPT TO:<%s@sink.test>\r\nDATA\r\n"
    b"Subject: x\r\nX: " + b"x" * 20_000 + b"\r\n\r\n.\r\nQUIT\r\n"
)


def resident():
    """Octets of memory that this process holds."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


async def flood(sink, count, octets, *, at_once=100):
    """Open so many connections, each with its say; gives how many were turned away."""
    turned_away = 0
    endpoint = sink.addresses[0]
    turns = asyncio.Semaphore(at_once)

    async def one(number):
        nonlocal turned_away
        async with turns:
            source = f"127.0.{number % 20}.{1 + number % 250}"
            reader, writer = await asyncio.open_connection(
                str(endpoint.address), endpoint.port, local_addr=(source, 0)
            )
            try:
                writer.write(octets)
                answer = await Peer(reader, writer).reply()
                await reader.read()
                turned_away += answer.startswith("421")
            except ConnectionError:
                turned_away += 1
            finally:
                writer.close()

    for begin in range(0, count, 500):
        await asyncio.gather(*(one(number) for number in range(begin, min(begin + 500, count))))
    return turned_away


@pytest.mark.parametrize(
    ("octets", "count"), [(UNKNOWN, FLOOD), (OURS % token(1).encode(), FLOOD)], ids=["strangers", "replayed"]
)
def test_a_flood_leaves_memory_and_journal_small(run, tmp_path, octets, count, record_property):
    arrivals = []

    async def scene():
        async with make_sink(arrivals, journal=tmp_path) as sink:
            await flood(sink, 500, octets)
            before, began = resident(), time.monotonic()
            turned_away = await flood(sink, count, octets)
            seconds, grown = time.monotonic() - began, resident() - before
            await deliver_async(sink.addresses[0], [f"{token(2)}@sink.test"])
            return turned_away, grown, count / seconds, sink.counters

    turned_away, grown, rate, counters = run(scene())

    record_property("connections_a_second", round(rate))
    record_property("grown_octets", grown)
    sys.stdout.write(f"{rate:.0f} connections/s, memory grew by {grown / 1024:.0f} KiB, {counters}\n")
    assert grown < ALLOWED_GROWTH
    assert 0 == turned_away
    assert token(2) == arrivals[-1].token
    assert len(arrivals) <= 11
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 300_000


def test_connections_that_only_sit_there_keep_nobody_out_for_long(run, monkeypatch):
    monkeypatch.setattr("relaywatch.sink.doorkeeper._SWEEP", 0.05)
    arrivals = []
    limits = Limits(connections=100, connections_per_source=100, idle_when_busy=0.3)

    async def scene():
        async with make_sink(arrivals, limits=limits) as sink:
            sitting = [await connect(sink) for _ in range(100)]
            late = await connect(sink)
            await until(lambda: sink.counters.open_connections <= 50)
            await deliver_async(sink.addresses[0], [f"{token()}@sink.test"])
            for peer in (*sitting, late):
                peer.close()
            return late.greeting

    assert run(scene()).startswith("421 4.3.2 ")
    assert [token()] == [arrival.token for arrival in arrivals]


def test_messages_that_never_end_hold_no_more_than_their_limit(run, record_property):
    limits = Limits(message=100_000, connections_per_source=100)
    envelope = f"MAIL FROM:<>\r\nRCPT TO:<{token()}@sink.test>\r\nDATA\r\n".encode()

    async def endless(sink):
        peer = await connect(sink)
        try:
            peer.writer.write(envelope)
            for _ in range(20):
                peer.writer.write(b"x" * 65_536)
                await peer.writer.drain()
            return (await peer.rest())[-60:]
        except ConnectionError:
            return "552"
        finally:
            peer.close()

    async def scene():
        async with make_sink(limits=limits) as sink:
            before = resident()
            answers = await asyncio.gather(*(endless(sink) for _ in range(50)))
            return answers, resident() - before

    answers, grown = run(scene())

    record_property("grown_octets", grown)
    assert all("552" in answer for answer in answers)
    assert grown < 50 * 1024 * 1024
