"""The event loop that everything runs on, and how it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Make an event loop: uvloop's where it is installed, otherwise asyncio's own."""
    try:
        import uvloop  # noqa: PLC0415
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def run(main: Callable[[asyncio.Event], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine function to its end, and give what it returns.

    It is handed an event that SIGINT or SIGTERM sets: a request to stop and keep what there is. A second
    signal kills the process as if nobody had caught it. Outside of the main thread signals stay alone.
    """
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(_heed_signals(main))


async def _heed_signals(main: Callable[[asyncio.Event], Coroutine[Any, Any, T]]) -> T:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def ask_to_stop() -> None:
        stop.set()
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)

    # Neither another thread nor every platform has signal handlers.
    with contextlib.suppress(NotImplementedError, ValueError, RuntimeError):
        for number in _SIGNALS:
            loop.add_signal_handler(number, ask_to_stop)
    try:
        return await main(stop)
    finally:
        with contextlib.suppress(NotImplementedError, ValueError, RuntimeError):
            for number in _SIGNALS:
                loop.remove_signal_handler(number)
            signal.signal(signal.SIGINT, signal.default_int_handler)
