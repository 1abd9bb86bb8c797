"""Whom the channels of an attempt tell what happens."""

from __future__ import annotations

from typing import Protocol

from relaywatch.model.evidence import Direction


class Owner(Protocol):
    """The attempt, as its channels see it."""

    def count(self, octets: int) -> None:
        """So many octets came from the wire."""

    def record(self, direction: Direction, data: bytes, channel: int = 0, *, is_whole: bool = False) -> None:
        """Put octets on the transcript; a whole datagram is an entry of its own."""

    def note(self, text: str, channel: int | None = None) -> None:
        """Put a note on the transcript, of a channel or of none."""

    def changed(self) -> None:
        """Something came, went out or ended."""
