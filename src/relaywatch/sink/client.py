"""A sink elsewhere, polled: the checker's end of `relaywatch.sink.poll`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from ipaddress import ip_address
from types import TracebackType
from typing import Self, TypeVar

import aiohttp
import msgspec
from yarl import URL

from relaywatch.model.errors import UsageError
from relaywatch.model.evidence import Arrival
from relaywatch.model.places import parse_address
from relaywatch.script.brief import CanaryPlaces

from .errors import NoCanariesError, SinkError
from .keys import SinkKeys
from .poll import ArrivalsPage, CanariesPage

OnArrival = Callable[[Arrival], object]
P = TypeVar("P", ArrivalsPage, CanariesPage)

_log = logging.getLogger(__name__)
_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 30.0
_SLACK = 15.0
"""Seconds beyond the long poll's own wait before an answer counts as lost."""
_PAGE = 200
_CATCH_UP = 5.0
"""Seconds that it may take to be told of what has arrived already."""


class RemoteSink:
    """Tells of the arrivals at a sink elsewhere for as long as it is entered.

    ::

        async with RemoteSink(url, keys, on_arrival=board.note) as sink: ...

    It begins with what arrives from then on, or after sequence number ``after``. It goes on over restarts
    of the sink and failures of the network; ``trouble`` says what is wrong just now, if anything.
    """

    def __init__(
        self,
        url: str,
        keys: SinkKeys,
        *,
        on_arrival: OnArrival | Iterable[OnArrival] = (),
        after: int | None = None,
        wait: float = 25.0,
    ) -> None:
        """Contact nobody yet.

        :raises UsageError: if the URL isn't HTTPS (HTTP will do on loopback).
        """
        self._url = _check_url(url)
        self._keys = keys
        self._listeners = [on_arrival] if callable(on_arrival) else list(on_arrival)
        self._wait = wait
        self._journal = ""
        self.position = after
        """The sequence number up to which arrivals were told."""
        self.trouble = ""
        self._session: aiohttp.ClientSession | None = None
        self._task: asyncio.Task[None] | None = None
        self._read = asyncio.Event()
        """Set, and renewed, whenever a page was read."""
        self._hurry = asyncio.Event()
        """Somebody wants to be told at once, whatever trouble there was."""

    async def __aenter__(self) -> Self:
        """Make sure that the sink is there and is ours.

        :raises SinkError: if not; says what to do.
        """
        self._session = self._new_session()
        try:
            page = await self._ask(after=self.position or 0, limit=0, wait=0)
        except BaseException:
            await self._session.close()
            raise
        self._journal = page.journal
        if self.position is None or self.position > page.last:
            self.position = page.last
        self._task = asyncio.get_running_loop().create_task(self._follow())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if self._session:
            await self._session.close()

    async def catch_up(self, *, within: float = _CATCH_UP) -> None:
        """Wait until all is told that has arrived by now; while entered.

        Where the sink can't be asked, or not in so many seconds, ``trouble`` says so.
        """
        try:
            async with asyncio.timeout(within):
                page = await self._ask(after=self.position or 0, limit=0, wait=0)
                while page.journal != self._journal or (self.position or 0) < page.last:
                    read = self._read
                    self._hurry.set()
                    await read.wait()
        except SinkError as error:
            self._note_trouble(str(error))
        except TimeoutError:
            self._note_trouble(f"what has arrived can't be read within {within:g} s")

    async def everything(self) -> AsyncIterator[Arrival]:
        """All that the sink has kept until now, oldest first; without being entered.

        :raises SinkError: if the sink doesn't answer, or isn't ours.
        """
        async with self._new_session() as self._session:
            after, last = self.position or 0, None
            while last is None or after < last:
                page = await self._ask(after=after, limit=_PAGE, wait=0)
                for record in page.records:
                    yield record.arrival()
                after, last = page.next_after, page.last

    async def canaries(self) -> CanaryPlaces:
        """Where the sink's canaries are, as it says; while entered.

        :raises NoCanariesError: if it has none, or is too old to have any.
        :raises SinkError: if it doesn't answer, or isn't ours.
        """
        status, body = await self._get("v1/canaries", {}, wait=0)
        if status == 404:
            raise NoCanariesError(
                "the sink is of a version that has no canaries, so that proxies can't be proven; renew it"
            )
        page = _decode(status, body, CanariesPage)
        if not page.is_waiting:
            raise NoCanariesError("the sink runs without canaries, so that proxies can't be proven")
        if not page.addresses:
            raise NoCanariesError("the sink doesn't know its public address; start it with --public-address")
        return _places(page)

    def _new_session(self) -> aiohttp.ClientSession:
        fingerprint = bytes.fromhex(self._keys.certificate_sha256)
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=aiohttp.Fingerprint(fingerprint) if fingerprint else True),
            headers={"Authorization": f"Bearer {self._keys.poll_key}"},
            trust_env=False,
        )

    async def _follow(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            try:
                page = await self._ask(after=self.position or 0, limit=_PAGE, wait=self._wait)
            except SinkError as error:
                self._note_trouble(str(error))
                await self._rest(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
                continue
            pause, self.trouble = _FIRST_PAUSE, ""
            self._take(page)
            self._read.set()
            self._read = asyncio.Event()

    async def _rest(self, seconds: float) -> None:
        """Leave the sink alone for so long, unless somebody is in a hurry."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._hurry.wait(), seconds)
        self._hurry.clear()

    def _take(self, page: ArrivalsPage) -> None:
        position = self.position or 0
        if page.journal != self._journal or page.last < position:
            self._note_trouble("the sink has begun a new journal; reading it from its beginning")
            self._journal, self.position = page.journal, 0
            return
        if page.first > position + 1:
            lost = page.first - position - 1
            self._note_trouble(f"the sink has deleted {lost} arrivals before they were read")
        for record in page.records:
            self._tell(record.arrival())
        self.position = page.next_after

    def _tell(self, arrival: Arrival) -> None:
        for listener in self._listeners:
            try:
                listener(arrival)
            except Exception:  # noqa: BLE001  a listener's fault must not end the others' news
                _log.exception("a listener failed at an arrival")

    def _note_trouble(self, text: str) -> None:
        if text != self.trouble:
            _log.warning("sink %s: %s", self._url, text)
        self.trouble = text

    async def _ask(self, *, after: int, limit: int, wait: float) -> ArrivalsPage:
        """Ask for a page.

        :raises SinkError: with words for whatever went wrong.
        """
        status, body = await self._get(
            "v1/arrivals", {"after": str(after), "limit": str(limit), "wait": str(wait)}, wait=wait
        )
        return _read_page(status, body)

    async def _get(self, path: str, query: Mapping[str, str], *, wait: float) -> tuple[int, bytes]:
        if self._session is None:
            raise SinkError("not entered")
        try:
            async with self._session.get(
                self._url / path,
                params=query,
                timeout=aiohttp.ClientTimeout(total=wait + _SLACK, connect=_SLACK),
                allow_redirects=False,
            ) as response:
                return response.status, await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise SinkError(f"{self._url}: {_explain(error)}") from error


def _read_page(status: int, body: bytes) -> ArrivalsPage:
    page = _decode(status, body, ArrivalsPage)
    try:
        for record in page.records:
            record.arrival()
    except ValueError as error:
        raise SinkError(f"the sink's answer can't be read: {error}") from error
    return page


def _places(page: CanariesPage) -> CanaryPlaces:
    try:
        addresses = tuple(map(parse_address, page.addresses))
    except ValueError as error:
        raise SinkError(f"the sink's answer can't be read: {error}") from error
    return CanaryPlaces(
        addresses=addresses,
        ports=page.ports,
        smtp_ports=page.smtp_ports,
        udp_port=page.udp_port,
        dead_port=page.dead_port,
        name=page.name,
        zone=page.zone,
    )


def _decode(status: int, body: bytes, kind: type[P]) -> P:
    if status == 401:
        raise SinkError("the sink refuses the poll key; is the key file the sink's own?")
    if status != 200:
        raise SinkError(f"the sink answers {status}")
    try:
        return msgspec.json.decode(body, type=kind)
    except ValueError as error:  # msgspec's errors are ones too
        raise SinkError(f"the sink's answer can't be read: {error}") from error


def _explain(error: Exception) -> str:
    match error:
        case aiohttp.ServerFingerprintMismatch():
            return (
                f"another certificate than the key file's answers (fingerprint {error.got.hex()}); "
                "either it isn't the sink, or its certificate was changed: copy its key file anew"
            )
        case aiohttp.ClientConnectorCertificateError():
            return f"no certificate that a certification authority vouches for: {error.certificate_error}"
        case TimeoutError():
            return "no answer in time"
        case aiohttp.ClientConnectorError():
            return f"can't connect: {error.os_error.strerror or error.os_error}"
        case _:
            return f"{type(error).__name__}: {error}"


def _check_url(text: str) -> URL:
    try:
        url = URL(text)
    except ValueError as error:
        raise UsageError(f"{text!r} is no URL: {error}") from error
    if url.host is None or url.scheme not in {"https", "http"}:
        raise UsageError(f"{text!r}: a sink is named as https://HOST:PORT")
    if url.scheme == "http" and not _is_loopback(url.host):
        raise UsageError(f"{text!r}: the poll key is sent over HTTPS only; HTTP will do on loopback alone")
    return url.origin()


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
