"""A list in a thread of its own."""

import asyncio
import threading
import time
from contextlib import aclosing

import pytest
from tests.runs.checking import asyncio_run

from relaywatch.runs.feeding import Bounds, read_in_batches


def all_batches(entries, bounds=None):
    async def scene():
        return [batch async for batch in read_in_batches(entries, bounds)]

    return asyncio_run(scene())


def test_what_is_there_at_once_comes_together_and_in_order():
    assert [list(range(5000))] == all_batches(range(5000))
    assert [] == all_batches([])


def test_no_more_together_than_was_said():
    assert [[0, 1], [2, 3], [4]] == all_batches(range(5), Bounds(most=2))


def test_what_has_come_is_not_kept_back_for_what_is_slow():
    go_on = threading.Event()

    def slow():
        yield 1
        assert go_on.wait(10)
        yield 2

    async def scene():
        batches = []
        async with aclosing(read_in_batches(slow(), Bounds(quiet=0.05))) as reading:
            async for batch in reading:
                batches.append(batch)
                go_on.set()
        return batches

    assert [[1], [2]] == asyncio_run(scene())


def test_a_steady_trickle_is_not_waited_for_till_its_end():
    def trickle():
        for number in range(40):
            time.sleep(0.01)
            yield number

    batches = all_batches(trickle(), Bounds(quiet=5, longest=0.1))

    assert 1 < len(batches)
    assert list(range(40)) == [number for batch in batches for number in batch]


def test_the_loop_goes_on_while_the_list_waits():
    go_on = threading.Event()

    def waiting():
        assert go_on.wait(10)
        yield 1

    async def scene():
        async with aclosing(read_in_batches(waiting())) as reading:
            coming = asyncio.ensure_future(anext(reading))
            await asyncio.sleep(0.05)
            go_on.set()
            return await coming

    assert [1] == asyncio_run(scene())


def test_what_goes_wrong_in_the_thread_is_raised_here_behind_what_was_read():
    def broken():
        yield 1
        raise OSError("gone")

    async def scene():
        async with aclosing(read_in_batches(broken())) as reading:
            assert [1] == await anext(reading)
            await anext(reading)

    with pytest.raises(OSError, match="gone"):
        asyncio_run(scene())


def test_no_more_is_read_ahead_than_there_is_room_for_and_nothing_once_nobody_listens():
    count = 0

    def endless():
        nonlocal count
        while True:
            count += 1
            yield count

    async def scene():
        async with aclosing(read_in_batches(endless(), Bounds(most=10))) as reading:
            await anext(reading)
        await asyncio.sleep(0.1)
        before = count
        await asyncio.sleep(0.05)
        return before, count

    before, after = asyncio_run(scene())

    assert before == after < 1100
