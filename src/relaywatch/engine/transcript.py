"""What was said and when, while an attempt runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from relaywatch.model.evidence import Direction, TranscriptEntry

_ENTRY_OCTETS = 16


@dataclass(slots=True)
class _Entry:
    at: float
    direction: Direction
    data: bytearray


class Recorder:
    """Collects a transcript up to a limit; beyond it says once that it was cut.

    Octets of a server line that comes in pieces are put into one entry, with the time of the first.
    """

    __slots__ = ("_clock", "_entries", "_room")

    def __init__(self, max_octets: int, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._entries: list[_Entry] = []
        self._room = max_octets

    def record(self, direction: Direction, data: bytes) -> None:
        """Add octets that went one way."""
        if self._room <= 0:
            return
        piece = data[: self._room]
        last = self._entries[-1] if self._entries else None
        if last and direction is Direction.SERVER is last.direction and not last.data.endswith(b"\n"):
            last.data += piece
        else:
            self._entries.append(_Entry(self._clock(), direction, bytearray(piece)))
            self._room -= _ENTRY_OCTETS
        self._room -= len(piece)
        if self._room <= 0:
            self._append_note("the rest of the transcript was cut")

    def note(self, text: str) -> None:
        """Add a note of the engine's."""
        if self._room > 0:
            self._room -= _ENTRY_OCTETS + len(text)
            self._append_note(text)

    def entries(self) -> tuple[TranscriptEntry, ...]:
        """All that was collected, in order."""
        return tuple(TranscriptEntry(entry.at, entry.direction, bytes(entry.data)) for entry in self._entries)

    def _append_note(self, text: str) -> None:
        self._entries.append(_Entry(self._clock(), Direction.NOTE, bytearray(text, "utf-8", "replace")))
