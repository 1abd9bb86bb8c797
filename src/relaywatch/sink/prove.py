"""The proof of the sink: a message of our own goes to its public name, and must arrive.

A run does this first. Whoever sends here is us, so that no target is asked; everything is bounded in time.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from relaywatch.model.errors import RemoteProtocolError
from relaywatch.model.evidence import Arrival
from relaywatch.model.places import Address, Endpoint, parse_address
from relaywatch.model.smtp import Reply
from relaywatch.model.tokens import Token
from relaywatch.wire import smtp

ResolveExchangers = Callable[[str], Awaitable[Sequence[tuple[str, Sequence[Address]]]]]
"""Gives a domain's mail exchangers, best first, each with its addresses; none if there are none."""

AwaitToken = Callable[[Token], Awaitable[Arrival]]
"""Waits until a token arrives, without end."""

_MAXIMUM_ADDRESSES = 8


class ProofFailure(StrEnum):
    """Why the sink isn't proven."""

    UNRESOLVED = "unresolved"
    """The domain has no mail exchanger, or none with an address."""
    NO_CONNECTION = "no-connection"
    """No address could be connected to."""
    REFUSED = "refused"
    """Whoever answered doesn't take our message: another host, or a sink with another key."""
    NOT_ARRIVED = "not-arrived"
    """Whoever answered took the message, and it didn't come to us."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkProof:
    """The outcome; ``detail`` is for people, in it a stranger's words may stand."""

    arrival: Arrival | None = None
    failure: ProofFailure | None = None
    detail: str = ""
    host: str = ""
    """The mail exchanger that answered."""
    endpoint: Endpoint | None = None

    @property
    def is_proven(self) -> bool:
        """Whether our message arrived."""
        return self.arrival is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofRequest:
    """What to prove: the sink's domain (or address literal), with a fresh token. Seconds for each step."""

    domain: str
    token: Token
    port: int = 25
    ehlo_name: str = "relaywatch.invalid"
    contact: str = ""
    date: str = ""
    connect_within: float = 10.0
    send_within: float = 30.0
    arrive_within: float = 15.0
    source_address: str | None = None


async def prove_sink(request: ProofRequest, resolve: ResolveExchangers, await_token: AwaitToken) -> SinkProof:
    """Send one message to the sink's public name and wait until it arrives; never raises for the network."""
    candidates = await _candidates(request, resolve)
    if not candidates:
        return SinkProof(
            failure=ProofFailure.UNRESOLVED, detail=f"{request.domain} has no mail exchanger with an address"
        )
    arrival = asyncio.ensure_future(await_token(request.token))  # before sending, lest it be missed
    try:
        return await _try_all(request, candidates, arrival)
    finally:
        arrival.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await arrival


async def _candidates(request: ProofRequest, resolve: ResolveExchangers) -> list[tuple[str, Endpoint]]:
    domain = request.domain
    if domain.startswith("["):
        literal = domain.strip("[]")
        address = parse_address(literal[5:] if literal.lower().startswith("ipv6:") else literal)
        return [(domain, Endpoint(address, request.port))]
    exchangers = await resolve(domain)
    return [
        (host, Endpoint(address, request.port)) for host, addresses in exchangers for address in addresses
    ][:_MAXIMUM_ADDRESSES]


async def _try_all(
    request: ProofRequest, candidates: list[tuple[str, Endpoint]], arrival: asyncio.Future[Arrival]
) -> SinkProof:
    """Try each address until one takes the message; a relay would do so too."""
    failures: list[SinkProof] = []
    for host, endpoint in candidates:
        failure = await _send(request, host, endpoint)
        if failure is None:
            return await _await_arrival(request, arrival, host, endpoint)
        failures.append(failure)
    refusals = [failure for failure in failures if failure.failure is ProofFailure.REFUSED]
    return (refusals or failures)[0]


async def _await_arrival(
    request: ProofRequest, arrival: asyncio.Future[Arrival], host: str, endpoint: Endpoint
) -> SinkProof:
    done, _ = await asyncio.wait([arrival], timeout=request.arrive_within)
    if done:
        return SinkProof(arrival=arrival.result(), host=host, endpoint=endpoint)
    detail = (
        f"{host} at {endpoint} took our message, but it didn't arrive within {request.arrive_within:g} s: "
        "is that host our sink?"
    )
    return SinkProof(failure=ProofFailure.NOT_ARRIVED, detail=detail, host=host, endpoint=endpoint)


async def _send(request: ProofRequest, host: str, endpoint: Endpoint) -> SinkProof | None:
    """Hand the message over; nothing means that it was taken."""
    local = (request.source_address, 0) if request.source_address else None
    try:
        async with asyncio.timeout(request.connect_within):
            reader, writer = await asyncio.open_connection(
                str(endpoint.address), endpoint.port, local_addr=local
            )
    except OSError as error:  # TimeoutError is one
        why = error.strerror or "no answer"
        return SinkProof(
            failure=ProofFailure.NO_CONNECTION,
            detail=f"can't connect to {host} at {endpoint}: {why}",
            host=host,
            endpoint=endpoint,
        )
    try:
        async with asyncio.timeout(request.send_within):
            refusal = await _talk(request, reader, writer)
    except (OSError, EOFError, asyncio.LimitOverrunError, RemoteProtocolError) as error:
        refusal = f"speaks no proper SMTP ({str(error) or type(error).__name__})"
    finally:
        writer.transport.abort()
    if refusal is None:
        return None
    detail = f"{host} at {endpoint} {refusal}; is that host our sink, and has it our key?"
    return SinkProof(failure=ProofFailure.REFUSED, detail=detail, host=host, endpoint=endpoint)


async def _talk(
    request: ProofRequest, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> str | None:
    """Hold the dialogue; what comes back is a refusal in words."""
    steps = [
        b"",
        smtp.encode_command("EHLO", request.ehlo_name),
        smtp.encode_command("MAIL", "FROM:<>"),
        smtp.encode_command("RCPT", f"TO:<{request.token}@{request.domain}>"),
        smtp.encode_command("DATA"),
        smtp.encode_message(_message(request)),
    ]
    for step in steps:
        writer.write(step)
        reply = await _read_reply(reader)
        if not (reply.is_positive or reply.is_intermediate):
            verb = step.partition(b"\r\n")[0].decode() if len(step) < 600 and step else "our connection"
            return f"answers {verb!r} with {reply}"
    writer.write(smtp.encode_command("QUIT"))
    with contextlib.suppress(OSError, EOFError, RemoteProtocolError):
        await _read_reply(reader)
    return None


async def _read_reply(reader: asyncio.StreamReader) -> Reply:
    lines: list[smtp.ReplyLine] = []
    while not lines or not lines[-1].is_last:
        if len(lines) >= smtp.REPLY_LINES_LIMIT:
            raise RemoteProtocolError("endless reply")
        lines.append(smtp.parse_reply_line((await reader.readuntil(b"\n")).rstrip(b"\r\n")))
    return smtp.join_reply(lines)


def _message(request: ProofRequest) -> bytes:
    fields = [
        f"From: <postmaster@{request.domain}>",
        f"To: <{request.token}@{request.domain}>",
        "Subject: relaywatch proves its own sink",
        *([f"Date: {request.date}"] if request.date else []),
        f"Message-ID: <{request.token}@{request.domain}>",
        "Auto-Submitted: auto-generated",
        f"X-Relaywatch-Token: {request.token}",
    ]
    text = ["relaywatch sent this to its own mailbox, to see that mail arrives there."]
    if request.contact:
        text.append(f"Questions: {request.contact}")
    return "\r\n".join([*fields, "", *text, ""]).encode("utf-8", "replace")
