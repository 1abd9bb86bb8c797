"""The proof of the canaries: we connect to one ourselves, at its public address, and it must answer us.

A run does this first, as it proves the mailbox. Whoever connects here is us; everything is bounded in time.
So it also shows where we come from in the sink's eyes. What catches our connections on the way (a transparent
proxy of a network, at port 80 or 443 as a rule) gives itself away by the address from which it reaches us.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

from relaywatch.model.canary import CANARY_PATH, MAX_ANSWER, canary_words, read_canary_answer
from relaywatch.model.evidence import Arrival
from relaywatch.model.places import Address, Endpoint
from relaywatch.model.tokens import Token
from relaywatch.script.brief import CanaryPlaces

from .prove import AwaitToken

_MOST_PORTS = 8
_HTTPS = 443


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryProof:
    """The outcome: ``places`` are those that are proven, empty if none; ``detail`` is for people."""

    places: CanaryPlaces
    detail: str = ""
    """Why an address was left out; a stranger's words may stand in it."""
    endpoint: Endpoint | None = None
    """The canary that answered first."""

    @property
    def is_proven(self) -> bool:
        """Whether a canary answered us."""
        return self.endpoint is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryPatience:
    """Seconds for each step of the proof."""

    connect: float = 5.0
    answer: float = 5.0
    arrive: float = 15.0


@dataclass(frozen=True, slots=True)
class _Question:
    """What is said to one canary, and how."""

    endpoint: Endpoint
    octets: bytes
    tls: ssl.SSLContext | None = None
    server_name: str | None = None


@dataclass(frozen=True, slots=True)
class _Heard:
    """What came of it: the address from which we reached it, or why not, in words."""

    question: _Question
    seen_from: Address | None = None
    failure: str = ""


async def prove_canaries(
    places: CanaryPlaces,
    key: bytes,
    token: Token,
    await_token: AwaitToken,
    *,
    patience: CanaryPatience = CanaryPatience(),
) -> CanaryProof:
    """Say a fresh token to the canaries of each address and wait until it arrives; never raises for the network.

    An address counts if any of its ports answers: what keeps us from the others need keep no proxy.
    """
    arrival = asyncio.ensure_future(await_token(token))  # before connecting, lest it be missed
    try:
        asked = [_ask(question, key, token, patience) for question in _questions(places, token)]
        return await _conclude(places, await asyncio.gather(*asked), arrival, patience)
    finally:
        arrival.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await arrival


async def _conclude(
    places: CanaryPlaces,
    heard: Sequence[_Heard],
    arrival: asyncio.Future[Arrival],
    patience: CanaryPatience,
) -> CanaryProof:
    reached = [one for one in heard if one.seen_from is not None]
    answering = {one.question.endpoint.address for one in reached}
    missing = [address for address in places.addresses if address not in answering]
    detail = "; ".join(_why(address, heard) for address in missing)
    if not reached:
        return CanaryProof(places=CanaryPlaces(), detail=detail or "no address of our canaries is known")
    first = reached[0].question.endpoint
    if not await _has_arrived(arrival, patience):
        return CanaryProof(
            places=CanaryPlaces(),
            detail=f"the canary at {first} answered, but we didn't hear of it within {patience.arrive:g} s",
        )
    return CanaryProof(
        places=replace(
            places,
            addresses=tuple(address for address in places.addresses if address in answering),
            name=None if missing else places.name,
            seen_from=tuple(sorted({one.seen_from for one in reached if one.seen_from}, key=str)),
        ),
        detail=detail,
        endpoint=first,
    )


async def _has_arrived(arrival: asyncio.Future[Arrival], patience: CanaryPatience) -> bool:
    done, _ = await asyncio.wait([arrival], timeout=patience.arrive)
    return bool(done)


def _why(address: Address, heard: Iterable[_Heard]) -> str:
    """Why an address doesn't count: what came of its first port, and how many more are no better."""
    failures: dict[int, str] = {}
    for one in heard:
        if one.question.endpoint.address == address:
            failures.setdefault(one.question.endpoint.port, one.failure)
    if not failures:
        return f"no port of our canaries at {address} is known"
    more = f", and at {len(failures) - 1} more of its ports no better" if len(failures) > 1 else ""
    return next(iter(failures.values())) + more


def _questions(places: CanaryPlaces, token: Token) -> Iterator[_Question]:
    """To each port words, HTTP, and TLS where that is usual: what catches one of them lets the others pass."""
    for address, port in product(places.addresses, places.ports[:_MOST_PORTS]):
        endpoint = Endpoint(address, port)
        page = f"GET {CANARY_PATH}{token} HTTP/1.1\r\nHost: {places.name or endpoint}\r\nConnection: close\r\n\r\n"
        yield _Question(endpoint, canary_words(token) + b"\r\n")
        yield _Question(endpoint, page.encode())
        if port == _HTTPS:
            yield _Question(endpoint, page.encode(), _unverified(), places.name or str(address))


def _unverified() -> ssl.SSLContext:
    """Our canary's certificate is its own; its answer proves it."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def _ask(question: _Question, key: bytes, token: Token, patience: CanaryPatience) -> _Heard:
    endpoint = question.endpoint
    try:
        async with asyncio.timeout(patience.connect):
            reader, writer = await asyncio.open_connection(
                str(endpoint.address), endpoint.port, ssl=question.tls, server_hostname=question.server_name
            )
    except OSError as error:  # TimeoutError is one, and SSLError
        why = "no answer" if isinstance(error, TimeoutError) else error.strerror or str(error)
        return _Heard(question, failure=f"can't connect to our canary at {endpoint}: {why}")
    heard = bytearray()
    try:
        async with asyncio.timeout(patience.answer):
            writer.write(question.octets)
            while len(heard) < MAX_ANSWER and (octets := await reader.read(MAX_ANSWER)):
                heard += octets
                if (seen_from := read_canary_answer(key, token, heard.decode("latin-1"))) is not None:
                    return _Heard(question, seen_from)
    except OSError:
        pass
    finally:
        writer.transport.abort()
    return _Heard(question, failure=_what_answered(endpoint, bytes(heard)))


def _what_answered(endpoint: Endpoint, heard: bytes) -> str:
    if not heard:
        return f"whoever listens at {endpoint} doesn't answer as our canary does; has it our key?"
    words = heard[:60].decode("utf-8", "backslashreplace")
    return f"at {endpoint} something else answers ({words!r}); is that host our sink, and has it our key?"
