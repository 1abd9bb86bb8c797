"""Runs a check with a human in front of it: signals end it gently, and what there is is kept."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterable, Iterator

from relaywatch.engine.loop import new_event_loop
from relaywatch.runs.reporting import TargetReport
from relaywatch.runs.run import Run
from relaywatch.targets.lists import Entry

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def run_to_the_end(run: Run, entries: Iterable[Entry], take: Callable[[TargetReport], None]) -> None:
    """Check the entries and hand each report on as it comes.

    The first SIGINT or SIGTERM interrupts the run, which ends with what it has; a second one cuts it off.
    """
    interrupted = contextlib.suppress(asyncio.CancelledError, KeyboardInterrupt)
    with interrupted, asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(_take_all(run, entries, take))


async def _take_all(run: Run, entries: Iterable[Entry], take: Callable[[TargetReport], None]) -> None:
    with _heeding_signals(run):
        async for report in run.check(entries):
            take(report)


@contextlib.contextmanager
def _heeding_signals(run: Run) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()

    def heed() -> None:
        if run.is_interrupted and task is not None:
            task.cancel()
        run.interrupt()

    for number in _SIGNALS:
        with contextlib.suppress(NotImplementedError):  # Windows
            loop.add_signal_handler(number, heed)
    try:
        yield
    finally:
        for number in _SIGNALS:
            with contextlib.suppress(NotImplementedError):
                loop.remove_signal_handler(number)
