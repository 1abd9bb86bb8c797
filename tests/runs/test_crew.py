"""Worker processes: what they check is as if the run had done so itself, whatever becomes of one of them."""

import asyncio
import os
import signal
import time
from dataclasses import replace

import pytest
from tests.runs.checking import asyncio_run, check, hurried, world

from relaywatch.model.verdicts import Reason, Verdict
from relaywatch.runs import crew
from relaywatch.runs.reporting import TargetReport
from relaywatch.runs.workshop import Workshop
from relaywatch.script.brief import Patience

PATIENT = Patience(greeting=30)
HASTY = Patience(greeting=3)


@pytest.fixture(autouse=True)
def started(monkeypatch):
    """Workers check from the first host on; gives those that were started."""
    monkeypatch.setattr(crew, "_WORTH_IT", 0)
    workers = []
    start = crew.Worker.start

    async def noted(own):
        workers.append(await start(own))
        return workers[-1]

    monkeypatch.setattr(crew.Worker, "start", noted)
    return workers


def kill(worker):
    os.kill(worker._process.pid, signal.SIGKILL)


async def as_it_is(scan):
    return await scan


def scan(names, settings, *, watch=None, around=as_it_is):
    async def scene():
        async with world(settings, *names) as places:
            by_port = {place.port: name for name, place in places.places.items()}
            told = await around(check([f"127.0.0.1:{port}" for port in by_port], settings, watch=watch))
            told.by_name = {by_port[line.doors[0].port]: line for line in told.lines if line.doors}
            return told

    return asyncio_run(scene())


def essence(line):
    return line.verdict, line.reasons, [(one.case, one.proof) for one in line.findings]


def test_they_find_what_the_run_itself_finds(started, capfd):
    names = ("open", "closed", "accept-then-drop", "proxy", "socks")
    alone = scan(names, hurried())
    assert not started
    together = scan(names, hurried(workers=2))
    assert len(started) == 2

    assert set(together.by_name) == set(names)
    assert {name: essence(line) for name, line in together.by_name.items()} == {
        name: essence(line) for name, line in alone.by_name.items()
    }
    assert together.by_name["open"].verdict is Verdict.OPEN
    assert all(worker._process.returncode == 0 for worker in started)
    assert capfd.readouterr().err == ""


def killing_after(started, *moments):
    """Kill whatever workers there are, so many seconds after the first of them was started."""

    async def scene(scan):
        task = asyncio.ensure_future(scan)
        while not started:  # noqa: ASYNC110 -- there is nothing to be told by
            await asyncio.sleep(0.01)
        for moment in moments:
            await asyncio.sleep(moment)
            for worker in started:
                if worker.load:
                    kill(worker)
        return await task

    return scene


def test_what_a_worker_was_at_that_died_is_checked_by_another(started):
    told = scan(("silent",), hurried(workers=2, patience=HASTY), around=killing_after(started, 1.0))

    assert essence(told.by_name["silent"]) == (Verdict.INCONCLUSIVE, (Reason.TIMEOUT,), [])
    assert len(started) == 3


def test_a_host_of_which_workers_die_is_told_so_and_given_to_no_third(started):
    told = scan(("silent",), hurried(workers=2, patience=HASTY), around=killing_after(started, 1.0, 1.0))

    assert told.lines
    assert [Reason.BUG] * len(told.lines) == [reason for line in told.lines for reason in line.reasons]
    assert all("died" in line.error for line in told.lines)


def test_a_run_that_is_told_to_stop_ends_soon_with_what_the_workers_have(started):
    def watch(run, told):
        if isinstance(told, TargetReport):
            run.interrupt()

    began = time.monotonic()
    told = scan(("closed", "silent", "tarpit"), hurried(workers=2, patience=PATIENT), watch=watch)

    assert time.monotonic() - began < 15
    assert Reason.INTERRUPTED in told.by_name["silent"].reasons
    assert started
    assert all(worker.is_gone for worker in started)


def test_a_sink_that_fails_to_answer_keeps_no_worker_waiting(started, monkeypatch):
    facing = Workshop.sink_facing

    async def gone():
        raise OSError("gone")

    async def failing(workshop, host):
        return replace(await facing(workshop, host), catch_up=gone)

    monkeypatch.setattr(Workshop, "sink_facing", failing)
    told = scan(("accept-then-drop",), hurried(workers=2))

    assert started
    line = told.by_name["accept-then-drop"]
    assert line.verdict is Verdict.ACCEPTING
    assert Reason.SINK_UNPROVED in line.reasons


def test_a_worker_that_does_not_end_is_ended(started, monkeypatch):
    monkeypatch.setattr(crew, "_END_SECONDS", 0.5)

    def watch(_run, told):
        if isinstance(told, TargetReport):
            for worker in started:
                os.kill(worker._process.pid, signal.SIGSTOP)

    assert len(scan(("closed",), hurried(workers=2), watch=watch).lines) == 1
    assert started
    assert all(worker._process.returncode for worker in started)


def test_a_short_list_is_checked_by_the_run_itself(started, monkeypatch):
    monkeypatch.setattr(crew, "_WORTH_IT", 100)

    assert len(scan(("closed", "open"), hurried(workers=2)).by_name) == 2
    assert not started
