"""The request to stop, and waiting that heeds it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from typing import TypeVar

from relaywatch.model.errors import InterruptedRunError

T = TypeVar("T")


class Interruption:
    """Set once, whether the event loop runs yet or not."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    @property
    def is_set(self) -> bool:
        """Whether somebody asked to stop."""
        return self._event.is_set()

    def set(self) -> None:
        """Ask to stop."""
        self._event.set()

    async def within(self, work: Awaitable[T]) -> T:
        """Do the work, unless the request comes first, or has come already.

        :raises InterruptedRunError: then; the work is cancelled and has ended.
        """
        task = asyncio.ensure_future(work)
        stop = asyncio.ensure_future(self._event.wait())
        try:
            await asyncio.wait((task, stop), return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.cancel()
            if self.is_set or not task.done():
                task.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await task
        if task.cancelled() or self.is_set:
            raise InterruptedRunError("the run was told to stop")
        return task.result()
