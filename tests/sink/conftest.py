"""Sinks on loopback, in asyncio's loop and in uvloop's."""

import asyncio

import pytest
import uvloop

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(params=sorted(LOOPS))
def run(request):
    """Run a coroutine to its end within 30 s, in each kind of loop."""

    def run_in_loop(work):
        async def bounded():
            async with asyncio.timeout(30):
                return await work

        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            return runner.run(bounded())

    return run_in_loop
