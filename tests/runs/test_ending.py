"""How a run ends early, and how much it does at a time."""

import asyncio
import socket
import threading
import time
from contextlib import AsyncExitStack

import pytest
from tests.runs.checking import Counting, asyncio_run, check, check_world, hurried, world

from relaywatch.model.errors import UsageError
from relaywatch.model.evidence import AttemptStatus, Weakness
from relaywatch.model.places import Service
from relaywatch.model.verdicts import Reason, Verdict
from relaywatch.runs.reporting import EventKind, TargetReport
from relaywatch.runs.run import Run
from relaywatch.script.brief import Patience
from relaywatch.script.probe import Probe
from relaywatch.targets.parse import parse_target

PATIENT = Patience(greeting=30)


def stop_at_first_report(run, told):
    if isinstance(told, TargetReport):
        run.interrupt()


class TestInterrupt:
    def test_what_is_finished_is_kept_and_the_rest_ends_as_interrupted(self):
        began = time.monotonic()
        told = check_world(hurried(patience=PATIENT), "silent", "open", "tarpit", watch=stop_at_first_report)

        assert time.monotonic() - began < 5
        finished, *others = told.lines
        assert Verdict.OPEN is finished.verdict
        assert [(Verdict.INCONCLUSIVE, True)] * 2 == [
            (line.verdict, Reason.INTERRUPTED in line.reasons) for line in others
        ]
        statuses = sorted(attempt.status for attempt in told.attempts)
        assert [AttemptStatus.COMPLETED, *[AttemptStatus.INTERRUPTED] * 2] == statuses

    def test_no_further_target_is_begun(self):
        settings = hurried(concurrency=1)
        told = check_world(settings, "open", "closed", "dead-port", watch=stop_at_first_report)

        assert [Verdict.OPEN] == [line.verdict for line in told.lines]
        assert 1 == len(told.of(EventKind.TARGET_BEGAN))

    def test_a_target_that_is_interrupted_goes_to_no_further_door(self):
        def stop(run, event):
            if getattr(event, "kind", None) is EventKind.OBSERVED:
                run.interrupt()

        told = check_world(hurried(), "starttls-only", watch=stop)

        assert (1, (Reason.INTERRUPTED,)) == (told.line.attempts, told.line.reasons)

    def test_before_it_begins(self):
        settings = hurried()

        async def scene():
            async with world(settings, "open") as places:
                run = Run(settings)
                run.interrupt()
                target = parse_target(f"127.0.0.1:{places['open'].port}")
                return run.is_interrupted, [report async for report in run.check([target])]

        assert (True, []) == asyncio_run(scene())

    def test_a_run_that_nobody_stopped_was_not_interrupted(self):
        assert not Run(hurried()).is_interrupted


class TestSlowLists:
    def test_results_come_while_the_list_is_still_open(self):
        settings = hurried()
        reported = threading.Event()

        def entries(port):
            yield parse_target(f"127.0.0.1:{port}")
            assert reported.wait(20), "the result was kept back until the list's end"

        async def scene():
            async with world(settings, "closed") as places:
                verdicts = []
                async for report in Run(settings).check(entries(places["closed"].port)):
                    verdicts.append(report.line.verdict)
                    reported.set()
                return verdicts

        assert [Verdict.CLOSED] == asyncio_run(scene())

    def test_an_interruption_does_not_wait_for_the_list(self):
        open_end = threading.Event()

        def entries():
            open_end.wait(20)
            yield from ()

        async def scene():
            run = Run(hurried())
            asyncio.get_running_loop().call_later(0.1, run.interrupt)
            return [report async for report in run.check(entries())]

        began = time.monotonic()
        assert [] == asyncio_run(scene())
        assert time.monotonic() - began < 5
        open_end.set()

    def test_nor_for_name_servers(self):
        """A name server that never answers."""

        async def scene():
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as dead:
                dead.bind(("127.0.0.1", 0))
                run = Run(hurried(nameservers=(f"127.0.0.1:{dead.getsockname()[1]}",)))
                asyncio.get_running_loop().call_later(0.1, run.interrupt)
                return [report async for report in run.check([parse_target("mail.example")])]

        began = time.monotonic()
        assert [] == asyncio_run(scene())
        assert time.monotonic() - began < 2


class TestFaultsOfOurs:
    def check(self, script):
        probe = Probe(
            name="trial",
            weakness=Weakness.OPEN_PROXY,
            default_doors=(),
            references=(),
            script=script,
            services=frozenset({Service.SMTP}),
        )
        settings = hurried()

        async def scene():
            async with world(settings, "closed", "open") as places:
                run = Run(settings)
                run._probes = (probe, *run._probes)
                targets = [parse_target(f"127.0.0.1:{place.port}") for place in places.places.values()]
                return [report.line async for report in run.check(targets)]

        return asyncio_run(scene())

    def test_they_end_neither_the_run_nor_what_else_is_asked(self, caplog):
        def script(_link, _brief):
            raise ValueError("not even a coroutine")

        lines = self.check(script)

        broken = [line for line in lines if line.weakness is Weakness.OPEN_PROXY]
        assert [(Verdict.INCONCLUSIVE, (Reason.BUG,), "ValueError: not even a coroutine")] * 2 == [
            (line.verdict, line.reasons, line.error) for line in broken
        ]
        others = {line.verdict for line in lines if line.weakness is Weakness.OPEN_RELAY}
        assert {Verdict.CLOSED, Verdict.OPEN} == others
        assert 2 == caplog.text.count("went wrong")


def test_whoever_stops_listening_stops_the_run():
    settings = hurried(patience=PATIENT)

    async def scene():
        async with world(settings, "dead-port", "silent") as places:
            run = Run(settings)
            reports = run.check([parse_target(f"127.0.0.1:{place.port}") for place in places.places.values()])
            first = await anext(reports)
            await reports.aclose()
            live = run._engine.live
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            return first.line.verdict, live, [task for task in tasks if "Workshop" in repr(task)]

    assert (Verdict.ABSENT, 0, []) == asyncio_run(scene())


@pytest.mark.parametrize("bound", [1, 3])
def test_no_more_targets_are_under_way_than_the_run_may_have(bound):
    async def scene():
        async with AsyncExitStack() as stack:
            listeners = [
                await stack.enter_async_context(Counting(f"127.0.0.{number}", pause=0.05))
                for number in range(2, 10)
            ]
            targets = [f"127.0.0.{number}:{listener.port}" for number, listener in enumerate(listeners, 2)]
            return await check(targets, hurried(concurrency=bound))

    told = asyncio_run(scene())

    under_way = most = 0
    for event in told.events:
        under_way += (event.kind is EventKind.TARGET_BEGAN) - (event.kind is EventKind.TARGET_ENDED)
        most = max(most, under_way)
    assert 8 == len(told.reports)
    assert bound == most


def test_a_target_is_asked_over_one_connection_at_a_time():
    async def scene():
        async with Counting("127.0.0.2", pause=0.02) as listener:
            await check([f"127.0.0.2:{listener.port}"], hurried())
            return listener.most

    assert 1 == asyncio_run(scene())


def test_a_probe_that_nobody_knows_is_wrong_usage():
    with pytest.raises(UsageError, match=r"no probe is called 'finger'; there are: .*smtp-relay"):
        Run(hurried(probes=("smtp-relay", "finger")))


def test_nothing_to_check_is_nothing_to_tell():
    told = asyncio_run(check([], hurried()))

    assert ([], []) == (told.reports, told.events)
