"""The demonstration: the whole world is checked, and what is found stands beside what was expected."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass

from relaywatch.model.results import ResultLine

from .expectations import EXPECTATIONS, Expectation
from .world import Place

Check = Callable[[Place], Awaitable[ResultLine]]
"""Checks whatever answers at the place's host and port, as an administrator's command would."""

SECONDS = 110.0
"""All of it: README promises less than two minutes."""
CONCURRENCY = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One server: what it is, what was expected, what was found. ``line`` is missing if time ran out.

    ``seconds`` is how long its check took, or how long it was waited for.
    """

    place: Place
    expected: Expectation
    line: ResultLine | None
    seconds: float

    @property
    def agrees(self) -> bool:
        """Whether what was found is what was expected."""
        return self.line is not None and self.expected.is_met_by(self.line)


async def run_demo(
    check: Check,
    places: Iterable[Place],
    *,
    watch: Callable[[Row], None] = lambda _row: None,
    seconds: float = SECONDS,
    concurrency: int = CONCURRENCY,
) -> tuple[Row, ...]:
    """Check every place, many at a time, and compare; rows come in the order of the places.

    ``watch`` is told of each row as soon as it is known. What isn't done after ``seconds`` is given up.
    An error that ``check`` raises is raised.
    """
    turns = asyncio.Semaphore(concurrency)
    end = asyncio.get_running_loop().time() + seconds

    async def row(place: Place) -> Row:
        async with turns:
            found = await _compare(check, place, end)
        watch(found)
        return found

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(row(place)) for place in places]
    return tuple(task.result() for task in tasks)


async def _compare(check: Check, place: Place, end: float) -> Row:
    began = time.monotonic()
    line: ResultLine | None = None
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout_at(end):
            line = await check(place)
    return Row(
        place=place,
        expected=EXPECTATIONS[place.name],
        line=line,
        seconds=line.seconds if line else round(time.monotonic() - began, 3),
    )


def disagreeing(rows: Sequence[Row]) -> tuple[Row, ...]:
    """The rows where something else was found than expected."""
    return tuple(row for row in rows if not row.agrees)
