"""What a run and its worker processes say to each other, and how it travels.

Both are this program, started by the same user: so it is pickled. Nothing that a target said is ever unpickled but
as the text that it is.
"""

from __future__ import annotations

import asyncio
import pickle
from dataclasses import dataclass

from relaywatch.model.evidence import Arrival
from relaywatch.model.places import Address, Endpoint
from relaywatch.model.tokens import Token

from .hosts import Host
from .reporting import RunEvent, TargetReport
from .settings import RunSettings
from .sinks import OpenedSink

_LENGTH = 4
_MOST = 256 << 20
"""Octets of one message: the transcripts of one host at the most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Begin:
    """To a worker, first of all: its settings, and the descriptors of what all processes share."""

    settings: RunSettings
    buckets: int
    counts: int


@dataclass(frozen=True, slots=True)
class Job:
    """To a worker: check this host. The permission is the scope's of that number, or loopback's if there is none."""

    number: int
    host: Host
    permission: int | None
    sink: OpenedSink
    """Without what only the process has that opened it: see `OpenedSink.lent`."""


@dataclass(frozen=True, slots=True)
class Done:
    """To the run: a job's reports."""

    number: int
    reports: list[TargetReport]


@dataclass(frozen=True, slots=True)
class Told:
    """To the run: something happened that whoever watches should hear of."""

    event: RunEvent


@dataclass(frozen=True, slots=True)
class Arrived:
    """To a worker: something arrived at our sink."""

    arrival: Arrival


@dataclass(frozen=True, slots=True)
class CatchUp:
    """To the run: tell of everything that has arrived by now, and then say so."""

    number: int


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """To a worker: that is done; ``trouble`` says what kept us from it."""

    number: int
    trouble: str


@dataclass(frozen=True, slots=True)
class OpenPort:
    """To the run: have our sink listen on a port of this token's, for the target of the job."""

    job: int
    token: Token
    address: Address


@dataclass(frozen=True, slots=True)
class PortOpened:
    """To a worker: where; nowhere if it can't."""

    token: Token
    place: Endpoint | None


@dataclass(frozen=True, slots=True)
class ClosePort:
    """To the run: close it, or give up on it."""

    token: Token


@dataclass(frozen=True, slots=True)
class Interrupt:
    """To a worker: end what is under way with what it has."""


class Channel:
    """One end of the way between a run and a worker."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    def send(self, message: object) -> None:
        """Send a message; to nobody if the other end is gone, which `receive` tells."""
        if self._writer.is_closing():
            return
        octets = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
        self._writer.write(len(octets).to_bytes(_LENGTH, "big") + octets)

    async def receive(self) -> object | None:
        """The next message; nothing once the other end is gone."""
        try:
            length = int.from_bytes(await self._reader.readexactly(_LENGTH), "big")
            if length > _MOST:
                raise ValueError(f"a message of {length} octets")
            message: object = pickle.loads(await self._reader.readexactly(length))  # noqa: S301 -- our own
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        return message

    async def drained(self) -> None:
        """Wait until what was sent is on its way."""
        try:
            await self._writer.drain()
        except ConnectionError:
            return

    def close(self) -> None:
        """Hang up."""
        self._writer.close()
