"""What the sink has counted since it started; numbers only, nothing secret."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True, kw_only=True)
class Counters:
    """One number for each thing that happens; for ``/v1/health``."""

    connections: int = 0
    open_connections: int = 0
    turned_away: int = 0
    """Connections over a limit."""
    timed_out: int = 0
    unknown_recipients: int = 0
    """Forward-paths without a token of ours."""
    messages: int = 0
    arrivals: int = 0
    """Written down."""
    repeated: int = 0
    """Arrivals of a token that had come often enough."""
    for_people: int = 0
    """Messages for postmaster or abuse."""
    failures: int = 0
    """Messages that could not be written down and were deferred."""
