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
    is_whole: bool = False


class Recorder:
    """Collects a transcript up to a limit; beyond it says once that it was cut.

    Octets of a server line that comes in pieces are put into one entry, with the time of the first.
    Wherever the channel changes, a note says so; what has but one shows none.
    """

    __slots__ = ("_channel", "_clock", "_entries", "_room")

    def __init__(self, max_octets: int, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._entries: list[_Entry] = []
        self._room = max_octets
        self._channel = 0

    def record(self, direction: Direction, data: bytes, channel: int = 0, *, is_whole: bool = False) -> None:
        """Add octets that went one way; a whole datagram is an entry of its own."""
        if channel != self._channel:
            self._switch(channel)
        if self._room <= 0:
            return
        piece = data[: self._room]
        last = self._entries[-1] if self._entries else None
        if last and not is_whole and direction is Direction.SERVER and _goes_on(last):
            last.data += piece
        else:
            self._entries.append(_Entry(self._clock(), direction, bytearray(piece), is_whole))
            self._room -= _ENTRY_OCTETS
        self._room -= len(piece)
        if self._room <= 0:
            self._append_note("the rest of the transcript was cut")

    def note(self, text: str, channel: int | None = None) -> None:
        """Add a note of the engine's, of a channel or of none."""
        if channel is not None and channel != self._channel:
            self._switch(channel)
        if self._room > 0:
            self._room -= _ENTRY_OCTETS + len(text)
            self._append_note(text)

    def entries(self) -> tuple[TranscriptEntry, ...]:
        """All that was collected, in order."""
        return tuple(TranscriptEntry(entry.at, entry.direction, bytes(entry.data)) for entry in self._entries)

    def _switch(self, channel: int) -> None:
        self._channel = channel
        self.note(f"on channel {channel}")

    def _append_note(self, text: str) -> None:
        self._entries.append(_Entry(self._clock(), Direction.NOTE, bytearray(text, "utf-8", "replace")))


def _goes_on(last: _Entry) -> bool:
    """Whether the entry is a server's line that hasn't ended."""
    return last.direction is Direction.SERVER and not last.is_whole and not last.data.endswith(b"\n")
