"""All that a script may ask for.

An operation is awaited and answered by whoever runs the script: the engine, or a test. None of them
names a host, so that a script can reach nothing but the target that the engine has bound.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Generic, TypeVar

from relaywatch.model.evidence import Arrival, Observation
from relaywatch.model.tokens import Token

T_co = TypeVar("T_co", covariant=True)


class Op(Generic[T_co]):
    """An operation that is answered with a ``T_co``."""

    __slots__ = ()

    def __await__(self) -> Generator[Op[T_co], T_co, T_co]:
        return (yield self)


@dataclass(frozen=True, slots=True)
class Connect(Op[None]):
    """Open a connection to the target's door; one at a time.

    Answered by an error: refused, no answer, unreachable.
    """


@dataclass(frozen=True, slots=True)
class Send(Op[None]):
    """Send octets."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Receive(Op[bytes]):
    """Wait for octets: at least one, at most ``max_bytes``; none at all once the peer has closed.

    ``within`` is how long the peer may be silent, in seconds; the engine's own limit if not given.
    """

    max_bytes: int = 65536
    within: float | None = None


@dataclass(frozen=True, slots=True)
class Peek(Op[bytes]):
    """What has come already and was not received yet; waits for nothing and takes nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TLSSession:
    """What the handshake came to: the version and cipher as OpenSSL names them, the certificate in DER.

    ``dropped`` counts the octets that came in the clear after the server's go-ahead and that were
    thrown away (RFC 3207 section 4.2).
    """

    version: str
    cipher: str
    certificate: bytes
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class StartTLS(Op[TLSSession]):
    """Negotiate TLS on the open connection; any certificate will do, and is reported.

    ``server_name`` is what to ask for by SNI, if anything.
    """

    server_name: str | None = None


@dataclass(frozen=True, slots=True)
class Close(Op[None]):
    """Close the connection, if there is one."""


@dataclass(frozen=True, slots=True)
class Pause(Op[None]):
    """Let time pass: between connections, or until a greylist lets us in. Seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class AwaitArrival(Op[Arrival | None]):
    """Wait until one of these canaries arrives at our sink, or until the run's waiting time is over."""

    tokens: tuple[Token, ...]


@dataclass(frozen=True, slots=True)
class MaySend(Op[bool]):
    """Ask leave to hand the target one more message; each that it takes, as reported, uses up the leave."""


@dataclass(frozen=True, slots=True)
class Report(Op[None]):
    """Put an observation on record at once, so that it outlives whatever happens next."""

    observation: Observation
