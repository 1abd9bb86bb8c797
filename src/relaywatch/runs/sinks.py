"""The run's own receiving end: opened in this process or polled elsewhere, and proven before it is trusted."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime

from relaywatch.engine.arrivals import ArrivalBoard
from relaywatch.engine.resolve import ResolveError, Resolver
from relaywatch.model.errors import UsageError
from relaywatch.model.evidence import Arrival
from relaywatch.model.places import Address, Endpoint, address_literal
from relaywatch.model.tokens import Mint, Token
from relaywatch.script.brief import Identity, SinkNames
from relaywatch.sink.client import RemoteSink
from relaywatch.sink.errors import ListenError
from relaywatch.sink.keys import read_keys
from relaywatch.sink.prove import ProofRequest, prove_sink
from relaywatch.sink.server import Sink
from relaywatch.sink.settings import SinkSettings

from .settings import LocalSink, RemoteSinkChoice, SinkChoice


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedSink:
    """A sink that is there for the run: how mail names it, its key, whether it is proven, and why not."""

    names: SinkNames
    key: bytes
    is_proved: bool
    detail: str


@contextlib.asynccontextmanager
async def opened_sink(
    choice: SinkChoice,
    board: ArrivalBoard,
    resolver: Resolver,
    identity: Identity,
    *,
    towards: Address | None,
) -> AsyncIterator[OpenedSink]:
    """Open the chosen sink, prove it by its public name, and keep it for as long as the run lasts.

    ``towards`` is the address that the targets see us from: where a sink listens whose address nobody
    gave. Such a one may fail to open (port 25 is privileged), and the run goes on unproven.

    :raises UsageError: if an address that the user gave can't be listened on, or a key file can't be read.
    :raises SinkError: if a sink elsewhere doesn't answer, or isn't ours.
    """
    if isinstance(choice, RemoteSinkChoice):
        keys = read_keys(choice.key_file)
        names = SinkNames(
            domain=choice.domain,
            addresses=await _sink_addresses(choice.domain, resolver),
            second_domain=choice.second_domain,
            mx_pointing_domain=choice.mx_pointing_domain,
        )
        async with RemoteSink(choice.url, keys, on_arrival=board.note):
            yield await _proved(names, keys.canary_key, 25, board, resolver, identity)
        return
    async with _local_sink(choice, board, resolver, identity, towards) as opened:
        yield opened


@contextlib.asynccontextmanager
async def _local_sink(
    choice: LocalSink, board: ArrivalBoard, resolver: Resolver, identity: Identity, towards: Address | None
) -> AsyncIterator[OpenedSink]:
    address = choice.address or towards
    if address is None:
        raise UsageError("no address to receive test mail on; name one with --sink-address")
    key = secrets.token_bytes(32)
    names = SinkNames(
        domain=choice.domain or address_literal(address),
        addresses=(address,),
        second_domain=choice.second_domain,
        mx_pointing_domain=choice.mx_pointing_domain,
    )
    settings = SinkSettings(
        domain=names.domain,
        listen=(Endpoint(address, choice.port), *await _other_family(choice, address, resolver)),
        journal=choice.journal,
        operator=identity.operator,
        contact=identity.contact,
    )
    async with contextlib.AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(Sink(settings, key, on_arrival=board.note))
        except ListenError as error:
            if choice.address is not None:
                raise
            yield OpenedSink(names=names, key=key, is_proved=False, detail=str(error))
            return
        yield await _proved(names, key, choice.port, board, resolver, identity)


async def _other_family(choice: LocalSink, address: Address, resolver: Resolver) -> tuple[Endpoint, ...]:
    """The sink's address of the other family, if its domain names one that is this machine's."""
    if choice.domain is None:
        return ()
    others = [a for a in await _sink_addresses(choice.domain, resolver) if a.version != address.version]
    return tuple(Endpoint(other, choice.port) for other in others if _is_ours(other))[:1]


def _is_ours(address: Address) -> bool:
    import socket  # noqa: PLC0415 -- only to ask the kernel whether the address is this machine's

    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind((str(address), 0))
        except OSError:
            return False
    return True


async def _sink_addresses(domain: str, resolver: Resolver) -> tuple[Address, ...]:
    return tuple(address for _, addresses in await _exchangers(domain, resolver) for address in addresses)


async def _exchangers(domain: str, resolver: Resolver) -> Sequence[tuple[str, Sequence[Address]]]:
    """The domain's mail exchangers with their addresses; none of them if the DNS can't tell."""
    try:
        return [(host, await resolver.addresses(host)) for host in await resolver.exchanges(domain)]
    except ResolveError:
        return []


async def _proved(
    names: SinkNames, key: bytes, port: int, board: ArrivalBoard, resolver: Resolver, identity: Identity
) -> OpenedSink:
    token = Mint(key, secrets.token_bytes(16)).token("sink")
    board.register([token])

    async def resolve(domain: str) -> Sequence[tuple[str, Sequence[Address]]]:
        return await _exchangers(domain, resolver)

    async def await_token(wanted: Token) -> Arrival:
        while (arrival := await board.expect([wanted], 3600)) is None:
            pass
        return arrival

    request = ProofRequest(
        domain=names.domain,
        token=token,
        port=port,
        ehlo_name=identity.ehlo_name,
        contact=identity.contact,
        date=format_datetime(datetime.now(UTC)),
    )
    proof = await prove_sink(request, resolve, await_token)
    board.forget([token])
    detail = f"{proof.host} at {proof.endpoint}" if proof.is_proven else proof.detail
    return OpenedSink(names=names, key=key, is_proved=proof.is_proven, detail=detail)
