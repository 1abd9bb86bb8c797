"""The world and a recording next hop, in a loop of their own on another thread, so that smtplib can talk to them."""

import asyncio
import contextlib
import threading
from dataclasses import dataclass

from aiosmtpd.smtp import SMTP

from relaywatch.demo.delivery import loopback
from relaywatch.demo.world import World


@dataclass(frozen=True)
class Recorded:
    reverse_path: str
    forward_paths: tuple[str, ...]
    content: bytes


class Recorder:
    """aiosmtpd's handler, which shares no code with the servers that deliver to it."""

    def __init__(self):
        self.messages = []
        self._changed = threading.Condition()

    async def handle_DATA(self, _server, _session, envelope):  # noqa: N802
        with self._changed:
            self.messages.append(
                Recorded(
                    envelope.mail_from.removeprefix("<>"), tuple(envelope.rcpt_tos), envelope.original_content
                )
            )
            self._changed.notify_all()
        return "250 2.0.0 Ok"

    def wait_for(self, mark, seconds=5.0):
        """The first message whose envelope or content holds the mark, or None when the time is over."""
        with self._changed:
            self._changed.wait_for(lambda: self.find(mark) is not None, seconds)
        return self.find(mark)

    def find(self, mark):
        def holds(message):
            paths = (message.reverse_path, *message.forward_paths)
            return any(mark in path for path in paths) or mark.encode() in message.content

        return next((message for message in self.messages if holds(message)), None)


@contextlib.asynccontextmanager
async def recording(recorder):
    """Serve the recorder on a free port of 127.0.0.1, and give the port."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(recorder, hostname="mx.sink.example", loop=loop), "127.0.0.1", 0
    )
    async with server:
        yield server.sockets[0].getsockname()[1]


class Backdrop:
    """Starts and stops the world for a test session."""

    def __init__(self):
        self.recorder = Recorder()
        self.places = {}
        self._loop = asyncio.new_event_loop()
        self._ready, self._failure = threading.Event(), None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        assert self._ready.wait(20)
        if self._failure is not None:
            raise self._failure
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(20)
        assert not self._thread.is_alive()

    def _run(self):
        try:
            self._loop.run_until_complete(self._serve())
        except Exception as error:  # noqa: BLE001 - handed to the thread that waits
            self._failure = error
            self._ready.set()
        finally:
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()

    async def _serve(self):
        self._over = asyncio.Event()
        async with recording(self.recorder) as port, World(loopback("127.0.0.1", port)) as world:
            self.places = world.places
            self._ready.set()
            await self._over.wait()
