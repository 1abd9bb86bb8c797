"""One at a time at each place, whatever leads there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from weakref import WeakValueDictionary

from .hosts import Place


class Turns:
    """Lets one target at a time have a place."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[Place, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def at(self, places: Iterable[Place]) -> AsyncIterator[None]:
        """Have all of the places, once whoever has one of them is done."""
        async with AsyncExitStack() as stack:
            for place in sorted(set(places), key=str):  # in one order, lest two wait for each other
                lock = self._locks.setdefault(place, asyncio.Lock())
                await stack.enter_async_context(lock)
            yield
