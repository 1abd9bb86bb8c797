"""A sink in another process: what arrived there before the judgement counts, however slow the way to it is."""

import asyncio
import contextlib
from urllib.parse import urlsplit

import pytest
from tests.rules.evidence import TALKS, attempt, planned, seen
from tests.runs.checking import asyncio_run, check, hurried
from tests.runs.elsewhere import serving_sink

from relaywatch.demo.server import Listener
from relaywatch.model.evidence import Fact, Weakness
from relaywatch.model.verdicts import Proof, Reason, Verdict
from relaywatch.rules.judge import judge
from relaywatch.runs.workshop import unheard
from relaywatch.sink.client import RemoteSink


async def fetches_and_denies(reader, writer):
    """A proxy that fetches what it is asked for, and says that it doesn't."""
    with contextlib.suppress(OSError, EOFError):
        method, target, *_ = (await reader.readuntil(b"\r\n\r\n")).decode().split()
        where = urlsplit(target)
        if where.scheme == "http" and where.hostname == "127.0.0.3":
            await fetch(method, where)
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")


async def fetch(method, where):
    reader, writer = await asyncio.open_connection(where.hostname, where.port or 80)
    writer.write(f"{method} {where.path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.3):
            await reader.read()
    writer.close()


@pytest.fixture
def slow_way(monkeypatch):
    """What the sink tells of its own accord is underway for a while."""
    ask = RemoteSink._ask

    async def slowly(self, *, after, limit, wait):
        page = await ask(self, after=after, limit=limit, wait=wait)
        await asyncio.sleep(2 if wait else 0)
        return page

    monkeypatch.setattr(RemoteSink, "_ask", slowly)


def told(tmp_path):
    async def scene(choice):
        async with Listener(fetches_and_denies, hosts=("127.0.0.1",)) as proxy:
            settings = hurried(probes=("http-forward",), sink=choice, sink_unproved_ok=True)
            return await check([f"127.0.0.1:{proxy.port}"], settings)

    with serving_sink(tmp_path) as (choice, _):
        return asyncio_run(scene(choice))


def test_an_arrival_that_is_still_underway_is_waited_for(tmp_path, slow_way):
    run = told(tmp_path)

    assert {Verdict.OPEN} == {line.verdict for line in run.lines}
    assert {Proof.CANARY_REACHED} == {finding.proof for finding in run.line.findings}
    assert run.observed(Fact.REFUSED)


def test_otherwise_it_would_be_missed(tmp_path, slow_way, monkeypatch):
    async def nothing(_self):
        return

    monkeypatch.setattr(RemoteSink, "catch_up", nothing)

    assert {Verdict.CLOSED} == {line.verdict for line in told(tmp_path).lines}


def test_a_proxys_yes_says_nothing_while_our_sink_cannot_be_asked():
    yes = seen(Fact.ACCEPTED, "address-443", token="t" * 32, destination="192.0.2.7:443")
    no = seen(Fact.REFUSED, "address-80", token="n" * 32, destination="192.0.2.7:80")
    told = [attempt(TALKS, planned(2), yes, no, weakness=Weakness.OPEN_PROXY)]

    judgement = judge(Weakness.OPEN_PROXY, unheard(told), ())

    assert (Verdict.ACCEPTING, (Reason.SINK_UNPROVED,)) == (judgement.verdict, judgement.reasons)
