"""The proof of the canaries: we connect to one ourselves, at its public address, and it must answer us.

A run does this first, as it proves the mailbox. Whoever connects here is us; everything is bounded in time.
So it also shows where we come from in the sink's eyes. What catches our connections on the way (a transparent
proxy of a network, at port 80 or 443 as a rule) gives itself away by the address from which it reaches us.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Iterable
from dataclasses import dataclass, replace

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
class _Words:
    """What is said to a canary, and how."""

    octets: bytes
    tls: ssl.SSLContext | None = None
    server_name: str | None = None


@dataclass(frozen=True, slots=True)
class _Reached:
    endpoint: Endpoint
    seen_from: Address


async def prove_canaries(
    places: CanaryPlaces,
    key: bytes,
    token: Token,
    await_token: AwaitToken,
    *,
    patience: CanaryPatience = CanaryPatience(),
) -> CanaryProof:
    """Say a fresh token to one canary of each address and wait until it arrives; never raises for the network.

    An address counts if any of its ports answers: what keeps us from the others need keep no proxy.
    """
    arrival = asyncio.ensure_future(await_token(token))  # before connecting, lest it be missed
    try:
        asked = [_ask_address(places, address, key, token, patience) for address in places.addresses]
        outcomes = await asyncio.gather(*asked)
        return await _conclude(places, key, token, outcomes, arrival, patience)
    finally:
        arrival.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await arrival


async def _conclude(
    places: CanaryPlaces,
    key: bytes,
    token: Token,
    outcomes: list[_Reached | str],
    arrival: asyncio.Future[Arrival],
    patience: CanaryPatience,
) -> CanaryProof:
    reached = [outcome for outcome in outcomes if isinstance(outcome, _Reached)]
    detail = "; ".join(outcome for outcome in outcomes if isinstance(outcome, str))
    if not reached:
        return CanaryProof(places=CanaryPlaces(), detail=detail or "no address of our canaries is known")
    first = reached[0]
    if not await _has_arrived(arrival, patience):
        return CanaryProof(
            places=CanaryPlaces(),
            detail=f"the canary at {first.endpoint} answered, but we didn't hear of it "
            f"within {patience.arrive:g} s",
        )
    addresses = tuple(outcome.endpoint.address for outcome in reached)
    everywhere = addresses == places.addresses
    proven = replace(places, addresses=addresses, name=places.name if everywhere else None)
    others = await _seen_elsewhere(proven, key, token, patience)
    return CanaryProof(
        places=replace(proven, seen_from=tuple(sorted({one.seen_from for one in reached} | others, key=str))),
        detail=detail,
        endpoint=first.endpoint,
    )


async def _has_arrived(arrival: asyncio.Future[Arrival], patience: CanaryPatience) -> bool:
    done, _ = await asyncio.wait([arrival], timeout=patience.arrive)
    return bool(done)


async def _ask_address(
    places: CanaryPlaces, address: Address, key: bytes, token: Token, patience: CanaryPatience
) -> _Reached | str:
    """Try an address's ports until one answers; the first failure in words if none does."""
    failures: list[str] = []
    for port in places.ports[:_MOST_PORTS]:
        endpoint = Endpoint(address, port)
        outcome = await _ask(endpoint, key, token, patience, _Words(canary_words(token) + b"\r\n"))
        if isinstance(outcome, str):
            failures.append(outcome)
            continue
        return _Reached(endpoint, outcome)
    more = f", and at {len(failures) - 1} more of its ports no better" if len(failures) > 1 else ""
    return (failures[0] + more) if failures else f"no port of our canaries at {address} is known"


async def _seen_elsewhere(
    places: CanaryPlaces, key: bytes, token: Token, patience: CanaryPatience
) -> set[Address]:
    """From where the canaries are reached at each of their ports, by words, HTTP, and TLS where that is usual."""
    asked = [
        _ask(Endpoint(address, port), key, token, patience, words)
        for address in places.addresses
        for port in places.ports[:_MOST_PORTS]
        for words in _all_words(Endpoint(address, port), token, places.name)
    ]
    return {outcome for outcome in await asyncio.gather(*asked) if not isinstance(outcome, str)}


def _all_words(endpoint: Endpoint, token: Token, name: str | None) -> Iterable[_Words]:
    page = (
        f"GET {CANARY_PATH}{token} HTTP/1.1\r\nHost: {name or endpoint}\r\nConnection: close\r\n\r\n".encode()
    )
    yield _Words(canary_words(token) + b"\r\n")
    yield _Words(page)
    if endpoint.port == _HTTPS:
        yield _Words(page, tls=_unverified(), server_name=name or str(endpoint.address))


def _unverified() -> ssl.SSLContext:
    """Our canary's certificate is its own; its answer proves it."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def _ask(
    endpoint: Endpoint, key: bytes, token: Token, patience: CanaryPatience, words: _Words
) -> Address | str:
    try:
        async with asyncio.timeout(patience.connect):
            reader, writer = await asyncio.open_connection(
                str(endpoint.address), endpoint.port, ssl=words.tls, server_hostname=words.server_name
            )
    except OSError as error:  # TimeoutError is one, and SSLError
        why = "no answer" if isinstance(error, TimeoutError) else error.strerror or str(error)
        return f"can't connect to our canary at {endpoint}: {why}"
    heard = bytearray()
    try:
        async with asyncio.timeout(patience.answer):
            writer.write(words.octets)
            while len(heard) < MAX_ANSWER and (octets := await reader.read(MAX_ANSWER)):
                heard += octets
                if (seen_from := read_canary_answer(key, token, heard.decode("latin-1"))) is not None:
                    return seen_from
    except OSError:
        pass
    finally:
        writer.transport.abort()
    return _what_answered(endpoint, bytes(heard))


def _what_answered(endpoint: Endpoint, heard: bytes) -> str:
    if not heard:
        return f"whoever listens at {endpoint} doesn't answer as our canary does; has it our key?"
    words = heard[:60].decode("utf-8", "backslashreplace")
    return f"at {endpoint} something else answers ({words!r}); is that host our sink, and has it our key?"
