"""``relaywatch sink``: the receiving end as a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from relaywatch.model.errors import UsageError
from relaywatch.model.places import Endpoint

from .certificate import read_certificate
from .keys import certificate_path, read_keys
from .poll import PollServer
from .server import Sink
from .settings import SinkSettings

if sys.platform != "win32":
    import resource

ANY_ADDRESS_8443 = (Endpoint(IPv4Address("0.0.0.0"), 8443), Endpoint(IPv6Address("::"), 8443))  # noqa: S104
_FILES = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeSettings:
    """A sink with its HTTPS side."""

    sink: SinkSettings
    """Its certificate, if it names none, becomes the one that lies beside the key file."""
    key_file: Path
    poll_listen: tuple[Endpoint, ...] = ANY_ADDRESS_8443
    page_listen: tuple[Endpoint, ...] = ()
    """Where the page that explains is served over HTTP too: port 80, say."""


@dataclass(frozen=True, slots=True)
class ServedSink:
    """A sink that runs, with where it listens."""

    sink: Sink
    poll: PollServer
    page_addresses: tuple[Endpoint, ...]


@asynccontextmanager
async def open_sink(settings: ServeSettings) -> AsyncIterator[ServedSink]:
    """Run a sink with its HTTPS side for as long as it is entered.

    :raises KeyFileError: if the keys or the certificate can't be read.
    :raises ListenError: if an address and port can't be had.
    :raises JournalError: if the journal can't be opened.
    """
    keys = await asyncio.to_thread(read_keys, settings.key_file)
    certificate = settings.sink.certificate or read_certificate(certificate_path(settings.key_file))
    if keys.certificate_sha256 not in {"", certificate.sha256}:
        raise UsageError(
            f"{settings.key_file} names another certificate than the one given; checkers would refuse it"
        )
    raise_file_limit()
    async with contextlib.AsyncExitStack() as stack:
        sink = await stack.enter_async_context(
            Sink(replace(settings.sink, certificate=certificate), keys.canary_key)
        )
        poll = await stack.enter_async_context(
            PollServer(sink, keys.poll_key, settings.poll_listen, certificate=certificate)
        )
        page = await stack.enter_async_context(PollServer(sink, None, settings.page_listen, certificate=None))
        yield ServedSink(sink, poll, page.addresses)


async def serve_sink(settings: ServeSettings) -> None:
    """Run a sink until SIGTERM or SIGINT, or until it is cancelled; raises what `open_sink` does."""
    with _until_told_to_stop() as stop:
        async with open_sink(settings):
            await stop.wait()


@contextmanager
def _until_told_to_stop() -> Iterator[asyncio.Event]:
    """An event that SIGTERM and SIGINT set."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    installed: list[signal.Signals] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError):  # Windows
            loop.add_signal_handler(number, stop.set)
            installed.append(number)
    try:
        yield stop
    finally:
        for number in installed:
            loop.remove_signal_handler(number)


def raise_file_limit() -> None:
    """Allow this process as many open files as the connections may need, if it may."""
    if sys.platform == "win32":
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
