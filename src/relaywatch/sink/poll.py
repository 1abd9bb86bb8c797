"""The sink's HTTPS side: checkers elsewhere read arrivals here, and strangers read who we are.

``GET /v1/arrivals?after=N&limit=M&wait=S``
    With ``Authorization: Bearer`` and the poll key: a page of the journal (`ArrivalsPage`) above sequence
    number N; if there is none yet, the answer waits for up to S seconds. ``limit=0`` only tells where the
    journal stands.
``GET /v1/canaries``
    With the same key: where the canaries are that proxies are led to (`CanariesPage`).
``GET /v1/health``
    Counters; for anybody, nothing secret.
``GET /``
    The page that explains.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from types import TracebackType
from typing import Literal, Self, cast

import msgspec
from aiohttp import web

from relaywatch.model.errors import UsageError
from relaywatch.model.places import Endpoint

from .certificate import Certificate
from .journal import Journal, Page, Record
from .listening import endpoints, listen
from .page import render_page
from .server import Sink

LONGEST_WAIT = 60.0
LARGEST_PAGE = 500
_TAKEN = ("GET", "HEAD")
_CONNECTIONS = 100
_IDLE = 15.0
"""Seconds that a connection may stay without a complete request."""
_SECURITY_FIELDS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ArrivalsPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of a sink's journal: what a checker gets."""

    schema: Literal["relaywatch.arrivals/1"] = "relaywatch.arrivals/1"
    journal: str
    """The journal's identity; another one means: begin anew."""
    first: int
    last: int
    next_after: int
    records: tuple[Record, ...]


class CanariesPage(msgspec.Struct, frozen=True, kw_only=True):
    """Where a sink's canaries are, as a checker gets it; see `CanaryPlaces`."""

    schema: Literal["relaywatch.canaries/1"] = "relaywatch.canaries/1"
    is_waiting: bool
    """Whether there are canaries; without a public address, nobody can be led to them."""
    addresses: tuple[str, ...] = ()
    """Public ones, at which all of the ports are."""
    ports: tuple[int, ...] = ()
    """Those that take words, HTTP or TLS."""
    smtp_ports: tuple[int, ...] = ()
    udp_port: int | None = None
    dead_port: int | None = None
    name: str | None = None
    zone: str | None = None


class PollServer:
    """Serves a sink's journal for as long as it is entered, which must be within the sink's time."""

    def __init__(
        self,
        sink: Sink,
        poll_key: str | None,
        listen: tuple[Endpoint, ...],
        *,
        certificate: Certificate | None,
    ) -> None:
        """Without a poll key it serves the page and the counters alone; without a certificate, over HTTP.

        :raises UsageError: if there is a poll key but the sink keeps no journal, or the key is empty.
        """
        if poll_key is not None and sink.settings.journal is None:
            raise UsageError("a sink that is polled needs a journal")
        if poll_key == "":
            raise UsageError("an empty poll key would let anybody in")
        self._sink = sink
        self._poll_key = poll_key
        self._listen = listen
        self._tls = certificate.server_context() if certificate else None
        self._arrived = asyncio.Event()
        self._watch = _ConnectionWatch()
        self._runner = web.AppRunner(self._application(), access_log=None, shutdown_timeout=1.0)
        self._servers: list[asyncio.Server] = []
        self._unsubscribe: Callable[[], None] | None = None

    @property
    def addresses(self) -> tuple[Endpoint, ...]:
        """Where it listens, with the ports that it got."""
        return endpoints(self._servers)

    async def __aenter__(self) -> Self:
        """Listen.

        :raises ListenError: if an address and port can't be had.
        """
        self._unsubscribe = self._sink.subscribe(self._wake)
        await self._runner.setup()
        protocol = self._watch.factory(cast("web.Server", self._runner.server))
        try:
            self._servers = await listen(self._listen, protocol, tls=self._tls)
        except BaseException:
            await self._close()
            raise
        self._watch.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    async def _close(self) -> None:
        if self._unsubscribe:
            self._unsubscribe()
        self._watch.stop()
        for server in self._servers:
            server.close()
        self._wake()  # whoever polls gets an empty page now
        await self._runner.cleanup()
        self._servers.clear()

    def _wake(self, _: object = None) -> None:
        self._arrived.set()
        self._arrived = asyncio.Event()

    # --- requests ------------------------------------------------------------------------------

    def _application(self) -> web.Application:
        application = web.Application(
            middlewares=[self._watch.middleware, _take_reading_only], client_max_size=1024
        )
        application.router.add_get("/", self._explain)
        application.router.add_get("/v1/health", self._health)
        if self._poll_key:
            application.router.add_get("/v1/arrivals", self._arrivals)
            application.router.add_get("/v1/canaries", self._canaries)
        application.on_response_prepare.append(_secure)
        return application

    async def _explain(self, _: web.Request) -> web.Response:
        return web.Response(text=render_page(self._sink.settings), content_type="text/html")

    async def _health(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "ok"} | asdict(self._sink.counters))

    async def _arrivals(self, request: web.Request) -> web.Response:
        if not self._is_authorised(request):
            return _unauthorised()
        try:
            after = _number(request, "after", most=2**63)
            limit = int(_number(request, "limit", default=100, most=LARGEST_PAGE))
            wait = _number(request, "wait", most=LONGEST_WAIT)
        except ValueError as error:
            return web.json_response({"error": str(error)}, status=400)
        return await self._answer(after=int(after), limit=limit, wait=wait)

    async def _canaries(self, request: web.Request) -> web.Response:
        if not self._is_authorised(request):
            return _unauthorised()
        settings = self._sink.settings
        name = None if settings.domain.startswith("[") else settings.domain
        places = self._sink.canary_places(*settings.canary_addresses, name=name)
        page = CanariesPage(
            is_waiting=bool(self._sink.canary_endpoints),
            addresses=tuple(map(str, places.addresses)),
            ports=places.ports,
            smtp_ports=places.smtp_ports,
            udp_port=places.udp_port,
            dead_port=places.dead_port,
            name=places.name,
            zone=places.zone,
        )
        return web.Response(body=msgspec.json.encode(page), content_type="application/json")

    async def _answer(self, *, after: int, limit: int, wait: float) -> web.Response:
        journal = self._sink.journal
        if journal is None:
            return web.json_response({"error": "the sink is closing"}, status=503)
        arrived = self._arrived  # taken first, so that nothing slips in between
        page = await asyncio.to_thread(journal.read, after=after, limit=limit)
        if limit and wait and after == page.last:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(arrived.wait(), wait)
            page = await asyncio.to_thread(journal.read, after=after, limit=limit)
        return web.Response(body=_encode(journal, page), content_type="application/json")

    def _is_authorised(self, request: web.Request) -> bool:
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        given = key.strip().encode("utf-8", "surrogateescape")
        wanted = (self._poll_key or "").encode()
        return scheme.lower() == "bearer" and bool(wanted) and hmac.compare_digest(given, wanted)


class _ConnectionWatch:
    """Keeps HTTP connections few and drops those that ask nothing; aiohttp itself waits for ever."""

    def __init__(self) -> None:
        self._idle_since: dict[web.RequestHandler, float | None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def factory(self, handlers: web.Server) -> Callable[[], asyncio.Protocol]:
        """Make protocols as aiohttp does, and one that hangs up when there are too many."""

        def make() -> asyncio.Protocol:
            if len(self._idle_since) >= _CONNECTIONS:
                return _HangUp()
            handler = handlers()
            self._idle_since[handler] = asyncio.get_running_loop().time()
            return handler

        return make

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Note when a connection is at work."""
        self._idle_since[request.protocol] = None
        try:
            return await handler(request)
        finally:
            self._idle_since[request.protocol] = asyncio.get_running_loop().time()

    def start(self) -> None:
        """Look at the connections once a second."""
        self._timer = asyncio.get_running_loop().call_later(1.0, self._sweep)

    def stop(self) -> None:
        """Look no more."""
        if self._timer:
            self._timer.cancel()

    def _sweep(self) -> None:
        now = asyncio.get_running_loop().time()
        for handler, since in list(self._idle_since.items()):
            if since is None or now - since <= _IDLE:
                continue
            del self._idle_since[handler]
            if handler.transport is not None:  # none: it never got through the TLS handshake, or has gone
                handler.transport.abort()
        self.start()


@web.middleware
async def _take_reading_only(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse whatever isn't for reading, CONNECT's authority-form too, which leads to no path (RFC 9110 section 9.3.6)."""
    if request.method not in _TAKEN:
        raise web.HTTPMethodNotAllowed(request.method, _TAKEN)
    return await handler(request)


class _HangUp(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


async def _secure(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(_SECURITY_FIELDS)
    response.headers["Server"] = "relaywatch"


def _unauthorised() -> web.Response:
    return web.json_response(
        {"error": "the poll key is missing or wrong"}, status=401, headers={"WWW-Authenticate": "Bearer"}
    )


def _encode(journal: Journal, page: Page) -> bytes:
    return msgspec.json.encode(
        ArrivalsPage(
            journal=journal.identity,
            first=page.first,
            last=page.last,
            next_after=page.next_after,
            records=page.records,
        )
    )


def _number(request: web.Request, name: str, *, default: float = 0, most: float) -> float:
    text = request.query.get(name)
    if text is None:
        return default
    try:
        value = float(text) if name == "wait" else int(text)
    except ValueError:
        value = -1
    if not value >= 0:  # nor NaN
        raise ValueError(f"{name} is no number from 0 up")
    return min(value, most)
