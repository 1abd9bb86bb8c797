"""Lists are read in a thread of their own: a slow disk, pipe or keyboard holds up nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

_AHEAD = 1000
"""Entries that are read before they are wanted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How much of a list is looked at together; times in seconds."""

    most: int = 50_000
    quiet: float = 0.2
    """Without a new entry, after which what there is is gone on with."""
    longest: float = 3.0


@dataclass(frozen=True, slots=True)
class _End:
    error: Exception | None = None


async def read_in_batches(
    entries: Iterable[T], bounds: Bounds | None = None
) -> AsyncGenerator[list[T], None]:
    """Read the entries in a thread, and give as many together as come at once, in order.

    Whatever the iterable raises is raised here. Once this is closed the thread reads no further; one that
    is just waiting for its input is left behind, and keeps no process from ending.
    """
    reader = _Reader(entries, asyncio.get_running_loop())
    reader.start()
    try:
        while batch := await reader.batch(bounds or Bounds()):
            yield batch
    finally:
        reader.stop()


class _Reader(Generic[T]):
    def __init__(self, entries: Iterable[T], loop: asyncio.AbstractEventLoop) -> None:
        self._entries, self._loop = entries, loop
        self._queue: asyncio.Queue[T | _End] = asyncio.Queue()
        self._room = threading.Semaphore(_AHEAD)
        self._is_wanted = True
        self._end: _End | None = None

    def start(self) -> None:
        threading.Thread(target=self._read, name="relaywatch-list", daemon=True).start()

    def stop(self) -> None:
        self._is_wanted = False
        self._room.release()

    async def batch(self, bounds: Bounds) -> list[T]:
        """What comes next; nothing at the end."""
        batch: list[T] = []
        if self._end is None:
            self._add(batch, await self._queue.get())
        until = self._loop.time() + bounds.longest
        with contextlib.suppress(TimeoutError):
            while self._end is None and len(batch) < bounds.most:
                wait = min(bounds.quiet, until - self._loop.time())
                self._add(batch, await self._next(wait))
        if not batch and self._end is not None and self._end.error is not None:
            raise self._end.error
        return batch

    async def _next(self, seconds: float) -> T | _End:
        if not self._queue.empty():
            return self._queue.get_nowait()
        async with asyncio.timeout(seconds):
            return await self._queue.get()

    def _add(self, batch: list[T], item: T | _End) -> None:
        if isinstance(item, _End):
            self._end = item
        else:
            batch.append(item)
            self._room.release()

    # --- in the thread -------------------------------------------------------------------------

    def _read(self) -> None:
        end = _End()
        try:
            for entry in self._entries:
                self._room.acquire()
                if not self._is_wanted:
                    return
                self._hand_over(entry)
        except Exception as error:  # noqa: BLE001 -- raised where the entries are wanted
            end = _End(error)
        self._hand_over(end)

    def _hand_over(self, item: T | _End) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has closed: nobody wants it any more
            self._loop.call_soon_threadsafe(self._queue.put_nowait, item)
