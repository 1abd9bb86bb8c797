"""``relaywatch sink``: the receiving end as a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from relaywatch.model.errors import UsageError
from relaywatch.model.places import Address, Endpoint, parse_address
from relaywatch.script.brief import CanaryPlaces

from .certificate import read_certificate
from .errors import ListenError
from .keys import certificate_path, read_keys
from .poll import PollServer
from .server import Sink
from .settings import SinkSettings

if sys.platform != "win32":
    import resource

ANY_ADDRESS_8443 = (Endpoint(IPv4Address("0.0.0.0"), 8443), Endpoint(IPv6Address("::"), 8443))  # noqa: S104
_FILES = 4096
_log = logging.getLogger(__name__)


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
    places: CanaryPlaces
    """Where proxies are to be led, as strangers see it."""


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
    sink_settings = replace(
        _without_taken_ports(settings),
        certificate=certificate,
        canary_addresses=settings.sink.canary_addresses or await _public_addresses(settings.sink),
    )
    async with contextlib.AsyncExitStack() as stack:
        sink = await stack.enter_async_context(Sink(sink_settings, keys.canary_key))
        _hold_dead_port(sink)
        poll = await stack.enter_async_context(
            PollServer(sink, keys.poll_key, settings.poll_listen, certificate=certificate)
        )
        page = await stack.enter_async_context(PollServer(sink, None, settings.page_listen, certificate=None))
        yield ServedSink(sink, poll, page.addresses, sink.canary_places(*sink_settings.canary_addresses))


async def serve_sink(
    settings: ServeSettings, *, opened: Callable[[ServedSink], None] = lambda _served: None
) -> None:
    """Run a sink until SIGTERM or SIGINT, or until it is cancelled; raises what `open_sink` does."""
    with _until_told_to_stop() as stop:
        async with open_sink(settings) as served:
            opened(served)
            await stop.wait()


def _without_taken_ports(settings: ServeSettings) -> SinkSettings:
    """Leave to the mailbox, to checkers and to the page the ports that they were given."""
    named = (*settings.sink.listen, *settings.poll_listen, *settings.page_listen)
    taken = {endpoint.port for endpoint in named} - {0}
    sink = settings.sink
    return replace(
        sink,
        canary_listen=tuple(one for one in sink.canary_listen if one.port not in taken),
        smtp_also=tuple(one for one in sink.smtp_also if one.port not in taken),
    )


async def _public_addresses(settings: SinkSettings) -> tuple[Address, ...]:
    """Where strangers find us: the addresses that we were told to listen on, or those of our name."""
    wanted = dict.fromkeys(endpoint.address for endpoint in settings.canary_listen)
    if not any(address.is_unspecified for address in wanted):
        return _one_of_each_family(wanted)
    try:
        found = await asyncio.get_running_loop().getaddrinfo(settings.domain, None, type=socket.SOCK_STREAM)
    except OSError as error:
        _log.warning("%s leads nowhere (%s): proxies can't be led here", settings.domain, error)
        return ()
    return _one_of_each_family(parse_address(str(name[0]).partition("%")[0]) for *_, name in found)


def _one_of_each_family(addresses: Iterable[Address]) -> tuple[Address, ...]:
    first: dict[int, Address] = {}
    for address in addresses:
        first.setdefault(address.version, address)
    return tuple(first.values())


def _hold_dead_port(sink: Sink) -> None:
    """Hold a port at which nobody answers, beside the canaries."""
    addresses = dict.fromkeys(endpoint.address for endpoint in sink.canary_endpoints)
    if not addresses:
        return
    try:
        sink.reserve_dead_port(*addresses)
    except ListenError as error:
        _log.warning("%s: proxies that say yes to everything are told by other signs alone", error)


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
