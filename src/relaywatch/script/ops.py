"""All that a script may ask for.

An operation is awaited and answered by whoever runs the script: the engine, or a test. None of them
names a host but those that name an address which the target itself has announced (SOCKS5 BIND and UDP
ASSOCIATE), and there the run decides whether its permission covers it; so a script can reach nothing else.

A script may have several channels to the target at once, each with a number of its own; most need one.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

from relaywatch.model.evidence import Arrival, Observation
from relaywatch.model.places import Address, Endpoint
from relaywatch.model.tokens import Token

T_co = TypeVar("T_co", covariant=True)


class Op(Generic[T_co]):
    """An operation that is answered with a ``T_co``."""

    __slots__ = ()

    def __await__(self) -> Generator[Op[T_co], T_co, T_co]:
        return (yield self)


class Carrier(StrEnum):
    """What carries a channel's octets."""

    TCP = "tcp"
    UDP = "udp"
    """Each `Send` is a datagram; `ReceiveDatagram` gives those that come from the peer alone."""


@dataclass(frozen=True, slots=True)
class Connect(Op[None]):
    """Open a channel to the target's door, after closing what it was before.

    ``at`` is another address that the target has announced; it must be the target's own, or one that the
    permission covers. ``source`` is another address of ours to come from. ``within`` is how long to wait, in
    seconds, the engine's own limit if not given. Answered by an error: refused, no answer, unreachable, not
    permitted. A UDP channel is there at once.
    """

    channel: int = 0
    at: Endpoint | None = None
    carrier: Carrier = Carrier.TCP
    source: Address | None = None
    within: float | None = None


@dataclass(frozen=True, slots=True)
class Send(Op[None]):
    """Send octets."""

    data: bytes
    channel: int = 0


@dataclass(frozen=True, slots=True)
class Receive(Op[bytes]):
    """Wait for octets: at least one, at most ``max_bytes``; none at all once the peer has closed.

    ``within`` is how long the peer may be silent, in seconds; the engine's own limit if not given.
    """

    max_bytes: int = 65536
    within: float | None = None
    channel: int = 0


@dataclass(frozen=True, slots=True)
class ReceiveDatagram(Op[bytes | None]):
    """Wait for a datagram, for so many seconds; nothing if none comes, which is no error.

    Answered by `ConnectRefusedError` where ICMP says that nobody listens at the port, and by
    `UnreachableError` where it says something else.
    """

    within: float
    channel: int = 0


@dataclass(frozen=True, slots=True)
class Peek(Op[bytes]):
    """What has come already and was not received yet; waits for nothing and takes nothing."""

    channel: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TLSSession:
    """What the handshake came to: the version and cipher as OpenSSL names them, the certificate in DER.

    ``dropped`` counts the octets that came in the clear after the server's go-ahead and that were
    thrown away (RFC 3207 section 4.2). ``alpn`` is the protocol that was agreed on, if any (RFC 7301).
    """

    version: str
    cipher: str
    certificate: bytes
    dropped: int = 0
    alpn: str = ""


@dataclass(frozen=True, slots=True)
class StartTLS(Op[TLSSession]):
    """Negotiate TLS on the open connection; any certificate will do, and is reported.

    ``server_name`` is what to ask for by SNI, if anything; ``alpn`` the protocols to offer.
    """

    server_name: str | None = None
    alpn: tuple[str, ...] = ()
    channel: int = 0


@dataclass(frozen=True, slots=True)
class Close(Op[None]):
    """Close the channel, if it is open."""

    channel: int = 0


@dataclass(frozen=True, slots=True)
class Pause(Op[None]):
    """Let time pass: between connections, or until a greylist lets us in. Seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Now(Op[float]):
    """The engine's clock, in seconds since whenever: for protocols that measure (QUIC). It never goes back."""


@dataclass(frozen=True, slots=True)
class AwaitArrival(Op[Arrival | None]):
    """Wait until one of these canaries arrives at our sink, or until the run's waiting time is over."""

    tokens: tuple[Token, ...]


@dataclass(frozen=True, slots=True)
class MaySend(Op[bool]):
    """Ask leave to hand the target one more message; each that it takes, as reported, uses up the leave."""


@dataclass(frozen=True, slots=True)
class OpenPort(Op[Endpoint | None]):
    """Have our sink listen, at its address of the target's family, on a port of the token's own.

    For targets that connect and say nothing of ours (FTP's data connection): any connection there is an
    arrival. Nothing if our sink can't do so; the port closes when the attempt ends.
    """

    token: Token


@dataclass(frozen=True, slots=True, kw_only=True)
class SSHForwarding:
    """What came of asking an SSH server to forward: its identification (RFC 4253 section 4.2), and how far."""

    identification: str
    is_admitted: bool = False
    """Authentication method ``none`` was enough (RFC 4252 section 5.2)."""
    is_opened: bool = False
    """It opened the direct-tcpip channel (RFC 4254 section 7.2)."""
    heard: bytes = b""
    """What came back through the channel."""
    methods: tuple[str, ...] = ()
    """Methods that it would take instead of ``none``."""
    error: str = ""
    """Why it went no further."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardBySSH(Op[SSHForwarding]):
    """Ask for a forwarding to our canary without any credentials, say the words, hear what comes back.

    One operation, since the library can't be driven without I/O (docs/adr/0011); opens a connection of its
    own. ``to`` must be a canary of our sink. Answered by an error as `Connect` is, where there is no connection.
    """

    username: str
    to: Endpoint
    words: bytes
    within: float


@dataclass(frozen=True, slots=True)
class Report(Op[None]):
    """Put an observation on record at once, so that it outlives whatever happens next."""

    observation: Observation
