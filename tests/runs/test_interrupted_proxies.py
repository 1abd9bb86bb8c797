"""Ctrl-C in the middle of a proxy check and of a chain: what was gathered is kept, and nothing stays open."""

import asyncio
import socket
from dataclasses import replace

import pytest
from tests.ports import free_port
from tests.runs.checking import LOOPBACK, asyncio_run, check, hurried, world

from relaywatch.cli.exit_codes import ExitCode, exit_code
from relaywatch.model.evidence import AttemptStatus, Weakness
from relaywatch.model.verdicts import Verdict
from relaywatch.runs.reporting import EventKind
from relaywatch.runs.settings import LocalSink

PROBES = ("http-connect", "socks5-connect", "smtp-relay")


def interrupted(names, is_time, *, behind=None):
    """Check the world's servers of these names at one host's ports, and tell the run to stop when it is time."""
    sink = LocalSink(address=LOOPBACK, port=free_port(), canary_ports=())
    settings = hurried(sink=sink, probes=PROBES)
    settings = replace(settings, patience=replace(settings.patience, greeting=30, reply=30, canary=30))

    def watch(run, event):
        if is_time(event):
            asyncio.get_running_loop().call_later(0.2, run.interrupt)

    async def scene():
        everybody = [*names, behind] if behind else names
        async with world(settings, *everybody) as places:
            chained = replace(
                settings,
                ports=tuple(places[name].port for name in names),
                chain_ports=(places[behind].port,) if behind else (),
            )
            return await check(["127.0.0.1"], chained, watch=watch), [places[name].port for name in names]

    async def to_its_end():
        told, ports = await asyncio.wait_for(scene(), 20)
        return told, ports, settings.sink.port, len(asyncio.all_tasks())

    return asyncio_run(to_its_end())


def a_chain_is_asked(event):
    return getattr(event, "kind", None) is EventKind.ATTEMPT_BEGAN and bool(event.door and event.door.via)


def of(told, weakness):
    return [line for line in told.lines if line.weakness is weakness]


def nobody_listens_at(port):
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((str(LOOPBACK), port), 2).close()


def test_in_the_middle_of_a_proxy_check_what_is_proven_is_kept():
    seen = []

    def second_door_is_asked(event):
        """Three attempts: both doors are recognised, the first is asked, then the second, which leads nowhere."""
        if getattr(event, "kind", None) is EventKind.ATTEMPT_BEGAN:
            seen.append(event)
        return len(seen) == 4 and event is seen[-1]

    told, _, sink_port, tasks = interrupted(["proxy", "socks-to-nowhere"], second_door_is_asked)

    (line,) = told.lines
    assert Verdict.OPEN is line.verdict
    assert ["http-connect"] == [finding.probe for finding in line.findings]
    assert {Verdict.OPEN, Verdict.ACCEPTING} == {door.verdict for door in line.doors}  # a yes is kept too
    assert AttemptStatus.INTERRUPTED is told.attempts[-1].status
    assert ExitCode.OPEN is exit_code(told.lines, is_interrupted=True)
    assert 1 == tasks
    nobody_listens_at(sink_port)


def test_a_yes_that_was_had_before_is_kept():
    seen = []

    def door_is_asked(event):
        if getattr(event, "kind", None) is EventKind.ATTEMPT_BEGAN:
            seen.append(event)
        return len(seen) == 2 and event is seen[-1]

    told, _, sink_port, _ = interrupted(["socks-to-nowhere"], door_is_asked)

    (line,) = told.lines
    assert Verdict.ACCEPTING is line.verdict  # it had said yes by then
    assert ExitCode.OPEN is exit_code(told.lines, is_interrupted=True)
    nobody_listens_at(sink_port)


def test_in_the_middle_of_a_chain_the_proxy_is_kept_and_the_chain_is_interrupted():
    told, (proxy,), sink_port, tasks = interrupted(["proxy"], a_chain_is_asked, behind="silent")

    (proxied,) = of(told, Weakness.OPEN_PROXY)
    assert Verdict.OPEN is proxied.verdict
    chained = [attempt for attempt in told.attempts if attempt.door.via]
    assert chained
    assert AttemptStatus.INTERRUPTED is chained[-1].status
    assert not any(line.verdict is Verdict.CLOSED for line in told.lines)
    assert {proxy} == {attempt.endpoint.port for attempt in told.attempts if not attempt.door.via}
    assert 1 == tasks
    nobody_listens_at(sink_port)
