"""How long and how much: the limits that hold whatever a script or its peer does."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of one attempt; times in seconds, correct to a tenth."""

    connect_seconds: float = 10.0
    receive_seconds: float = 30.0
    """How long the peer may be silent where the script doesn't say."""
    send_seconds: float = 30.0
    """How long the peer may take to make room for what is sent."""
    tls_seconds: float = 20.0
    attempt_seconds: float = 600.0
    """The whole attempt, without the time that the script itself lets pass or waits for arrivals."""
    greeting_seconds: float = 3600.0
    """How much of what its greetings took an attempt is given back, all together: servers that make talkers wait
    do so at every connection, and are no tarpits for that."""
    port_seconds: float = 10.0
    """How long our own sink may take to open a port."""
    max_octets_in: int = 1 << 20
    max_operations: int = 10_000
    max_channels: int = 16
    """Channels that are open at once."""
    max_ports: int = 16
    """Ports of our sink that an attempt may have opened."""
    max_transcript_octets: int = 64 << 10
    """What a transcript may hold; each entry counts 16 octets beside its own."""
