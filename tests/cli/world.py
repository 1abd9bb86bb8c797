"""The demonstration's servers, kept up beside a test that runs the real command in another process."""

import asyncio
import contextlib
import os
import subprocess
import sys
import threading
from ipaddress import ip_address

from tests.ports import free_port

from relaywatch.demo.world import World
from relaywatch.model.places import Endpoint

LOOPBACK = ip_address("127.0.0.1")


class BackgroundWorld:
    """The world in a thread with a loop of its own; ``sink_port`` is where it delivers."""

    def __init__(self, names):
        self.names = names
        self.sink_port = free_port()
        self.ports = {}

    def __enter__(self):
        ready = threading.Event()
        self.thread = threading.Thread(target=lambda: asyncio.run(self._live(ready)), daemon=True)
        self.thread.start()
        assert ready.wait(10)
        return self

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.stop.set)
        self.thread.join(10)

    async def _live(self, ready):
        self.loop, self.stop = asyncio.get_running_loop(), asyncio.Event()
        async with World(Endpoint(LOOPBACK, self.sink_port), only=self.names) as world:
            self.ports = {name: place.port for name, place in world.places.items()}
            ready.set()
            await self.stop.wait()

    def command(self, *arguments):
        sink = ["--sink-address", "127.0.0.1", "--sink-port", self.sink_port]
        return [sys.executable, "-m", "relaywatch.cli", *map(str, [*arguments, *sink])]

    def run(self, *arguments, text="", environment=None):
        return subprocess.run(
            self.command(*arguments),
            input=text,
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
            env=english() | (environment or {}),
        )

    @contextlib.contextmanager
    def started(self, *arguments):
        process = subprocess.Popen(
            self.command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=english()
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate(timeout=10)


def english():
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("LC_", "LANG", "RELAYWATCH"))
    }
    return kept | {"XDG_CONFIG_HOME": "/nonexistent"}
