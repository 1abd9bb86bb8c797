"""One target at a time at each place."""

import asyncio
import gc
from ipaddress import ip_address

from tests.runs.checking import asyncio_run

from relaywatch.runs.turns import Turns

A, B, C = ((ip_address(f"192.0.2.{number}"), None) for number in (1, 2, 3))


def most_at_once(*targets):
    """For each place the most that had it together; the targets come and go at random moments."""
    turns = Turns()
    having, most = {}, {}

    async def target(places, pause):
        async with turns.at(places):
            for place in places:
                having[place] = having.get(place, 0) + 1
                most[place] = max(most.get(place, 0), having[place])
            await asyncio.sleep(pause)
            for place in places:
                having[place] -= 1

    async def scene():
        pauses = (0.001 * (number % 3) for number in range(len(targets)))
        await asyncio.gather(*map(target, targets, pauses))
        gc.collect()
        return len(turns._locks)

    return most, asyncio_run(scene())


def test_whoever_shares_a_place_waits_and_nobody_for_ever():
    most, left = most_at_once(*[(A, B), (B, A), (B, C), (C, A), (A,), (C, B)] * 5)

    assert ({A: 1, B: 1, C: 1}, 0) == (most, left)


def test_who_shares_none_does_not():
    turns = Turns()

    async def scene():
        async with turns.at([A]), turns.at([B]):
            return True

    assert asyncio_run(scene())
